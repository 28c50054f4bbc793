"""Words of recurrences that are no scans along orders, in no version of the language, and the finding that names the idea.

In: a word that nothing defines, or that the grammar does not know. Orders of that kind are refused in `check/refused.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from scanlang.diagnostics import Diagnostic
from scanlang.errors import MatrixTransition, SeveralPredecessors, TreeScan
from scanlang.source import Span

PREDECESSORS = frozenset(
    {"predecessor", "predecessors", "parents", "neighbor", "neighbors", "neighbour", "neighbours", "wavefront", "wavefronts"}
    | {"mamba2d", "2dmamba", "v2dmamba", "gspn", "scan2d", "ssm2d"}
)
TREES = frozenset({"tree", "trees", "mst", "spanning", "forest", "mambatree", "grootv"})
MATRICES = frozenset({"matmul", "matvec", "bmm", "einsum", "matrix", "deltanet", "@"})
SHIFTS = frozenset({"shift", "roll"})
SIDES = frozenset(
    {"left", "right", "top", "bottom", "up", "down", "above", "below", "upper", "lower", "north", "south", "east", "west"}
)

TABLE: tuple[tuple[frozenset[str], Callable[[Span, str], Diagnostic]], ...] = (
    (PREDECESSORS, SeveralPredecessors),
    (TREES, TreeScan),
    (MATRICES, MatrixTransition),
)


def refusal(word: str, span: Span) -> Diagnostic | None:
    """What to say of `mamba2d`, `tree_scan`, `matmul`; None for any other word."""
    words = {word.lower(), *word.lower().split("_")}
    return next((refuse(span, word) for known, refuse in TABLE if known & words), None)


def refusal_of_function(word: str, span: Span) -> Diagnostic | None:
    """`shift(h, 1, 0)` would read the value of another step."""
    return SeveralPredecessors(span, word) if word.lower() in SHIFTS else refusal(word, span)


def refusal_of_value(word: str, span: Span, equations: frozenset[str]) -> Diagnostic | None:
    """`h_left` is a neighbour where `h` is the name of an equation; `left` always is."""
    parts = word.split("_")
    sides = [part for part in parts if part.lower() in SIDES]
    others = [part for part in parts if part.lower() not in SIDES]
    if sides and "_".join(others) in equations | {""}:
        return SeveralPredecessors(span, word)
    return refusal(word, span)
