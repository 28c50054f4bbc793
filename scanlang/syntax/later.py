"""What the language has and this version does not read yet, so that a message can say so rather than puzzle."""

from __future__ import annotations

LATER_KEYWORDS = frozenset(
    {"block", "backbone", "layers", "channels", "conv", "operands", "left", "label", "use", "schedule", "uncovered"}
    | {"scale", "head", "per", "along", "every", "at", "let"}
)
"""Words that begin a construct: of a file, of a scan, of a recurrence."""

LATER_ORDER_FUNCTIONS = frozenset(
    {"window", "dilate", "shift", "concat", "interleave", "reset", "insert", "rotate", "table", "random"}
)

LATER_ORDERS = frozenset(
    {"diagonal", "antidiagonal", "wrapped_diagonal", "wrapped_antidiagonal", "zigzag", "spiral", "hilbert", "morton"}
    | {"input"}
)

LATER_MERGES = frozenset({"max", "concat", "weighted"})

LATER_FUNCTIONS = frozenset({"prev"})
