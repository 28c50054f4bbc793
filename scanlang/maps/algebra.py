"""reverse, transpose and flip, in normal form: at most one of each around a walk or formula.

In: a `CheckedOrder`; out: a `NormalOrder`. The rules (D4 and reversal in time, which commutes with all of it):
    reverse(reverse(o)) --> o            flip(flip(o, a), a) --> o            transpose(transpose(o)) --> o
    transpose(flip(o, h)) --> flip(transpose(o), w)                           transpose(walk h, ~w) --> walk w, ~h
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    FlipOrder,
    FormulaOrder,
    Loop,
    Phases,
    ReverseOrder,
    Size,
    Tiles,
    TransposeOrder,
    WalkOrder,
    Whole,
)


@dataclass(frozen=True)
class NormalOrder:
    """`leaf`, on the transposed grid if `transposed` and its cells transposed back, then mirrored and run backwards."""

    leaf: WalkOrder | FormulaOrder
    transposed: bool = False
    flipped: tuple[bool, bool] = (False, False)
    reversed: bool = False


def normal_order(order: CheckedOrder) -> NormalOrder:
    around: list[ReverseOrder | TransposeOrder | FlipOrder] = []
    while isinstance(order, ReverseOrder | TransposeOrder | FlipOrder):
        around.append(order)
        order = order.of
    transposed, flipped, is_reversed = False, (False, False), False
    for operation in reversed(around):
        match operation:
            case ReverseOrder():
                is_reversed = not is_reversed
            case TransposeOrder():
                transposed, flipped = not transposed, (flipped[1], flipped[0])
            case FlipOrder(axis=axis):
                flipped = (flipped[0] != (axis == 0), flipped[1] != (axis == 1))
            case _:
                assert_never(operation)
    if transposed and isinstance(order, WalkOrder):
        order, transposed = transposed_walk(order), False
    return NormalOrder(order, transposed, flipped, is_reversed)


def transposed_walk(walk: WalkOrder) -> WalkOrder:
    """walk h by 2, ~w, h --> walk w by 2, ~h, w"""
    return replace(walk, loops=tuple(_transposed_loop(loop) for loop in walk.loops))


def _transposed_loop(loop: Loop) -> Loop:
    axis = 1 - loop.axis
    match loop:
        case Whole():
            return replace(loop, axis=axis)
        case Tiles(by=by, first=first):
            return replace(loop, axis=axis, by=_other_size(by), first=None if first is None else _other_size(first))
        case Phases(mod=mod):
            return replace(loop, axis=axis, mod=_other_size(mod))
        case _:
            assert_never(loop)


def _other_size(size: Size) -> Size:
    return AxisSize(1 - size.axis) if isinstance(size, AxisSize) else size
