"""reverse, transpose and flip, in normal form: at most one of each around any other order.

In: a `CheckedOrder`; out: a `NormalOrder`. The rules (D4 and reversal in time, which commutes with all of it):
    reverse(reverse(o)) --> o            flip(flip(o, a), a) --> o            transpose(transpose(o)) --> o
    transpose(flip(o, h)) --> flip(transpose(o), w)                           transpose(walk h, ~w) --> walk w, ~h
Tokens, pads and restarts stay with their steps, so the rules hold for orders that have them too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar, assert_never

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    FlipOrder,
    Loop,
    Phases,
    ReverseOrder,
    Size,
    Tiles,
    TransposeOrder,
    WalkOrder,
    Whole,
)

T = TypeVar("T")


@dataclass(frozen=True)
class NormalOrder:
    """`leaf`, on the transposed grid if `transposed` and its cells transposed back, then mirrored and run backwards."""

    leaf: CheckedOrder
    transposed: bool
    flipped: tuple[bool, ...]
    reversed: bool

    @property
    def bare(self) -> bool:
        """Nothing is around the leaf."""
        return not (self.transposed or self.reversed or any(self.flipped))


def transposed(of: tuple[T, ...]) -> tuple[T, ...]:
    """What belongs to the axes, with the last two exchanged."""
    return (*of[:-2], of[-1], of[-2])


def normal_order(order: CheckedOrder, rank: int) -> NormalOrder:
    """Of an order on a grid of `rank` axes."""
    around: list[ReverseOrder | TransposeOrder | FlipOrder] = []
    while isinstance(order, ReverseOrder | TransposeOrder | FlipOrder):
        around.append(order)
        order = order.of
    is_transposed, flipped, is_reversed = False, (False,) * rank, False
    for operation in reversed(around):
        match operation:
            case ReverseOrder():
                is_reversed = not is_reversed
            case TransposeOrder():
                is_transposed, flipped = not is_transposed, transposed(flipped)
            case FlipOrder(axis=axis):
                flipped = tuple(flip != (place == axis) for place, flip in enumerate(flipped))
            case _:
                assert_never(operation)
    if is_transposed and isinstance(order, WalkOrder):
        order, is_transposed = transposed_walk(order, rank), False
    return NormalOrder(order, is_transposed, flipped, is_reversed)


def transposed_walk(walk: WalkOrder, rank: int) -> WalkOrder:
    """walk h by 2, ~w, h --> walk w by 2, ~h, w"""
    axes = transposed(tuple(range(rank)))
    return replace(walk, loops=tuple(_transposed_loop(loop, axes) for loop in walk.loops))


def _transposed_loop(loop: Loop, axes: tuple[int, ...]) -> Loop:
    axis = axes[loop.axis]
    match loop:
        case Whole():
            return replace(loop, axis=axis)
        case Tiles(by=by, first=first):
            return replace(loop, axis=axis, by=_other_size(by, axes), first=None if first is None else _other_size(first, axes))
        case Phases(mod=mod):
            return replace(loop, axis=axis, mod=_other_size(mod, axes))
        case _:
            assert_never(loop)


def _other_size(size: Size, axes: tuple[int, ...]) -> Size:
    return AxisSize(axes[size.axis]) if isinstance(size, AxisSize) else size
