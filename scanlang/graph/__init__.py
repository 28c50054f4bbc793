"""The scan graph: what a program computes, its meaning in NumPy, and the rewrites on it."""
