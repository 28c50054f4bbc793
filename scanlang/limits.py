"""The bounds on a program, so that reading a stranger's file is bounded work. Each is a diagnostic with its place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes are counts; `text` counts characters (and bytes of a file), `tokens` words and signs of one file."""

    text: int = 1_000_000
    tokens: int = 20_000
    nesting: int = 64
    expression_depth: int = 128
    integer: int = 2**31 - 1
    directions: int = 64
    index_size: int = 4096
    import_depth: int = 32
    unrolled: int = 1024
    loops: int = 16


LIMITS = Limits()
