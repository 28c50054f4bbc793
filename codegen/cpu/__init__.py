"""The CPU backend: kernels → C text with vector extensions, built by the machine's compiler, run on threads."""
