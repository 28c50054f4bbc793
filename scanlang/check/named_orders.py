"""The orders that every program can name. In: a name and the number of axes; out: a walk, or one of the curves.

Those that are formulas, or made of others, are written in the language itself: `std/orders.scan`, read by `orders.py`.
"""

from __future__ import annotations

from typing import Literal

from scanlang.check.program import CurveOrder, Loop, WalkOrder, Whole
from scanlang.source import Span

Curve = Literal["diagonal", "zigzag", "spiral", "hilbert", "morton"]
CURVES: dict[str, Curve] = {
    "diagonal": "diagonal",
    "zigzag": "zigzag",
    "spiral": "spiral",
    "hilbert": "hilbert",
    "morton": "morton",
}
WALKS = ("raster", "columns", "snake")
WRITTEN = ("antidiagonal", "wrapped_diagonal", "wrapped_antidiagonal")
"""In `std/orders.scan`."""

NAMED = (*WALKS, "diagonal", *WRITTEN, "zigzag", "spiral", "hilbert", "morton")
TWO_AXES = 2


def walk_named(name: str, axes: int, span: Span) -> WalkOrder:
    """`raster`: every axis in turn; `columns`: the last one outermost; `snake`: without a jump."""
    loops: tuple[Loop, ...] = tuple(Whole(axis, "") for axis in range(axes))
    if name == "columns":
        loops = loops[::-1]
    elif name == "snake":
        loops = tuple(Whole(axis, "" if axis == 0 else "~" if axis == 1 else "~~") for axis in range(axes))
    return WalkOrder(loops, span)


def curve_named(name: str, span: Span) -> CurveOrder:
    return CurveOrder(CURVES[name], span)
