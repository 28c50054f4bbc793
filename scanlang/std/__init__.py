"""The standard library: `import std.selective` reads `selective.scan` here."""
