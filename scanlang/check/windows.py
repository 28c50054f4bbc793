"""Windows of walks as one walk. In: a `WindowOrder`; out: the `WalkOrder` that visits exactly alike, if there is one.

    window(raster, 7, 7)                                →  walk h by 7, w by 7, h, w
    window((walk w, ~h), 2, w, outer = reverse(raster)) →  walk -h by 2, -w by w, w, ~h

The loops over windows become loops over tiles, the loops inside stay. That is not the same walk, and the order stays as it
is, where a loop counts over all windows what it should count in each (`~~`), where a size is that of a window (`mod h` inside)
or counts windows, and where the windows are dealt out (`mod` outside).
"""

from __future__ import annotations

from dataclasses import replace

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
    WindowOrder,
)
from scanlang.limits import LIMITS


def walk_of_windows(order: WindowOrder) -> WalkOrder | None:
    """The same order as one walk; None where it is none."""
    inner, outer = as_walk(order.inner), as_walk(order.outer)
    if order.pad != "skip" or inner is None or outer is None:
        return None
    loops = [loop_over_windows(loop, order.sizes[loop.axis]) for loop in outer.loops]
    loops += [loop_in_window(loop, depth) for depth, loop in enumerate(inner.loops)]
    found = tuple(loop for loop in loops if loop is not None)
    return WalkOrder(found, order.span) if len(found) == len(loops) <= LIMITS.loops else None


def loop_over_windows(loop: Loop, size: Size) -> Loop | None:
    """The loop over cells that goes from window to window as this one does over the grid of windows."""
    match loop:
        case Whole():
            return Tiles(loop.axis, loop.direction, size, None)
        case Tiles(by=int(by), first=int() | None as first) if isinstance(size, int) and by * size <= LIMITS.integer:
            return replace(loop, by=by * size, first=None if first is None else first * size)
        case _:
            return None


def loop_in_window(loop: Loop, depth: int) -> Loop | None:
    """The loop among those of all windows. Directly inside the outermost one, `~~` is `~`."""
    if any(isinstance(size, AxisSize) for size in sizes_of(loop)) or (loop.direction == "~~" and depth > 1):
        return None
    return replace(loop, direction="~") if loop.direction == "~~" else loop


def sizes_of(loop: Loop) -> tuple[Size | None, ...]:
    match loop:
        case Whole():
            return ()
        case Tiles():
            return loop.by, loop.first
        case Phases():
            return (loop.mod,)


def as_walk(order: CheckedOrder) -> WalkOrder | None:
    """The walk that an order is, with what is done to a walk as a whole done to its loops."""
    match order:
        case WalkOrder():
            return order
        case ReverseOrder(of):
            walk = as_walk(of)
            return None if walk is None else turned(walk, frozenset(loop.axis for loop in walk.loops))
        case FlipOrder(of, axis):
            walk = as_walk(of)
            loops = () if walk is None else tuple(loop for loop in walk.loops if loop.axis == axis)
            return turned(walk, frozenset({axis})) if walk is not None and len(loops) == 1 else None
        case TransposeOrder(of):
            walk = as_walk(of)
            return None if walk is None else transposed(walk)
        case _:
            return None


def turned(walk: WalkOrder, axes: frozenset[int]) -> WalkOrder | None:
    """The loops over `axes` the other way; None where one of them turns by itself."""
    loops = [turned_loop(loop) if loop.axis in axes else loop for loop in walk.loops]
    found = tuple(loop for loop in loops if loop is not None)
    return WalkOrder(found, walk.span) if len(found) == len(loops) else None


def turned_loop(loop: Loop) -> Loop | None:
    match loop.direction:
        case "":
            return replace(loop, direction="-")
        case "-":
            return replace(loop, direction="")
        case _:
            return None


def transposed(walk: WalkOrder) -> WalkOrder:
    """The last two axes exchanged, as loops and as sizes."""
    count = 1 + max(loop.axis for loop in walk.loops)
    exchanged = {count - 1: count - 2, count - 2: count - 1}

    def size(value: Size) -> Size:
        return AxisSize(exchanged.get(value.axis, value.axis)) if isinstance(value, AxisSize) else value

    def of(loop: Loop) -> Loop:
        axis = exchanged.get(loop.axis, loop.axis)
        match loop:
            case Whole():
                return replace(loop, axis=axis)
            case Tiles():
                return replace(loop, axis=axis, by=size(loop.by), first=None if loop.first is None else size(loop.first))
            case Phases():
                return replace(loop, axis=axis, mod=size(loop.mod))

    return WalkOrder(tuple(of(loop) for loop in walk.loops), walk.span)
