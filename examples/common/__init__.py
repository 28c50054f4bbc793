"""What the examples share: timing, pictures, a progress line, a photograph."""
