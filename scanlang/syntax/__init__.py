"""Text to tree and back: grammar, nodes, parse, build, format."""
