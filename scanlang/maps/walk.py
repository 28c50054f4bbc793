"""Walks: from the loops of a checked walk to what each loop does (`Level`), and to the bijection steps <-> cells.

In: a `WalkOrder`; out: levels in terms of the digits `d0`, `d1`, … (which tile, phase or place each loop is at), and
the composed `Bijection` (t) <-> (c0, c1, …). A loop over an axis of which `extent` is left has `others` = the product of
what is left of all other axes; whatever its direction, its part that has been done is a multiple of `others` steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, assert_never

from scanlang.check.program import AxisSize, Loop, Phases, Size, Tiles, WalkOrder, Whole
from scanlang.maps.bounds import SIZES, cell_names
from scanlang.maps.index_map import (
    Bijection,
    PhaseSplit,
    TileSplit,
    drop_zero,
    identity,
    mirror,
    permute,
    rename,
    split_dealt,
    split_digits,
    split_phases,
    split_tiles,
)
from scanlang.maps.integers import Compare, Constant, Integer, Variable, maximum, minimum, select

Split = TileSplit | PhaseSplit | None


@dataclass(frozen=True)
class Level:
    """One loop. `extent`, `others`, `backward` depend on the digits of the levels around it, `inner` on its own too.

    `count` is the number of iterations, `inner` what is left of the axis inside one, `split` how the axis is cut.
    """

    axis: int
    digit: str
    extent: Integer
    others: Integer
    count: Integer
    inner: Integer
    split: Split
    backward: Compare | bool

    @property
    def iteration(self) -> Integer:
        """The number of the iteration, counted as executed, from the digit; and the digit from that number."""
        digit = Variable(self.digit)
        return select(self.backward, self.count - 1 - digit, digit)


def rank_of(walk: WalkOrder) -> int:
    """The number of axes: each has one loop over all that is left of it."""
    return sum(isinstance(loop, Whole) for loop in walk.loops)


def walk_levels(walk: WalkOrder) -> tuple[Level, ...]:
    """A level per loop, the outermost first."""
    extents: list[Integer] = list(SIZES[: rank_of(walk)])
    levels: list[Level] = []
    for loop in walk.loops:
        digit, extent, split = f"d{len(levels)}", extents[loop.axis], _split(loop, extents[loop.axis])
        others: Integer = Constant(1)
        for axis in range(len(extents)):
            others = others if axis == loop.axis else others * extents[axis]
        count = extent if split is None else split.count
        extents[loop.axis] = Constant(1) if split is None else split.size(Variable(digit))
        backward = _backward(loop.direction, levels, walk)
        levels.append(Level(loop.axis, digit, extent, others, count, extents[loop.axis], split, backward))
    return tuple(levels)


def size_expression(size: Size) -> Integer:
    return SIZES[size.axis] if isinstance(size, AxisSize) else Constant(size)


def _split(loop: Loop, extent: Integer) -> Split:
    match loop:
        case Whole():
            return None
        case Tiles(by=by, first=first):
            return TileSplit(extent, size_expression(by), size_expression(by if first is None else first))
        case Phases(mod=mod):
            return PhaseSplit(extent, size_expression(mod))
        case _:
            assert_never(loop)


def _backward(direction: Literal["", "-", "~", "~~"], around: list[Level], walk: WalkOrder) -> Compare | bool:
    match direction:
        case "":
            return False
        case "-":
            return True
        case "~":
            return _is_odd(around[-1].iteration) if around else False
        case "~~":
            return _is_odd(_runs_so_far(tuple(around), walk)) if around else False
        case _:
            assert_never(direction)


def _is_odd(number: Integer) -> Compare:
    return Compare("==", number % 2, Constant(1))


# `~~`: how often the loop inside `around` has been entered before.


def _runs_so_far(around: tuple[Level, ...], walk: WalkOrder) -> Integer:
    """Sum over the loops around: what their earlier iterations, in the present run of the loop, entered it."""
    total: Integer = Constant(0)
    for depth, level in enumerate(around):
        between = walk.loops[depth + 1 : len(around)]
        runs = _earlier_iterations(level, tuple(loop for loop in between if loop.axis == level.axis))
        for axis in range(rank_of(walk)):
            if axis != level.axis:
                extent = _extent_left(around[:depth], axis)
                runs = runs * _iterations(extent, tuple(loop for loop in between if loop.axis == axis))
        total = total + runs
    return total


def _extent_left(levels: tuple[Level, ...], axis: int) -> Integer:
    return next((level.inner for level in reversed(levels) if level.axis == axis), SIZES[axis])


@lru_cache(maxsize=4096)
def _iterations(extent: Integer, loops: tuple[Loop, ...]) -> Integer:
    """How often the innermost of `loops` iterates in all, `extent` being left of their axis; 1 without loops."""
    if not loops:
        return Constant(1)
    split, rest = _split(loops[0], extent), loops[1:]
    match split:
        case None:
            return extent
        case TileSplit():
            last = split.count - 1
            behind = _of_tiles_before(split, last, rest) + _iterations(split.size(last), rest)
            return select(Compare("==", last, Constant(0)), _iterations(extent, rest), behind)
        case PhaseSplit():
            return _of_phases_before(split, split.count, rest)
        case _:
            assert_never(split)


def _of_tiles_before(split: TileSplit, tile: Integer, rest: tuple[Loop, ...]) -> Integer:
    """Iterations of `rest` in the tiles before `tile`, every one of which is complete."""
    behind = _iterations(split.first, rest) + (tile - 1) * _iterations(split.by, rest)
    return select(Compare("==", tile, Constant(0)), 0, behind)


def _of_phases_before(split: PhaseSplit, phase: Integer, rest: tuple[Loop, ...]) -> Integer:
    longer = minimum(phase, split.longer) * _iterations(split.base + 1, rest)
    return longer + maximum(0, phase - split.longer) * _iterations(split.base, rest)


def _earlier_iterations(level: Level, rest: tuple[Loop, ...]) -> Integer:
    """Iterations of `rest` (over the same axis) in the iterations of `level` done before the present one."""
    if not rest:
        return level.iteration
    digit = Variable(level.digit)
    match level.split:
        case None:
            return level.iteration
        case TileSplit():
            last = level.count - 1
            ahead = (level.count - 2 - digit) * _iterations(level.split.by, rest)
            after = select(Compare("==", digit, last), 0, ahead + _iterations(level.split.size(last), rest))
            before = _of_tiles_before(level.split, digit, rest)
        case PhaseSplit():
            before = _of_phases_before(level.split, digit, rest)
            upto = _of_phases_before(level.split, digit + 1, rest)
            after = _of_phases_before(level.split, level.count, rest) - upto
        case _:
            assert_never(level.split)
    return select(level.backward, after, before)


def walk_map(levels: tuple[Level, ...]) -> Bijection:
    """(t) <-> (c0, c1, …): the loops take the step apart, then each axis puts its digits together."""
    total = identity(("t",))
    for level in levels:
        for step in _decode(level, total.names):
            total = total.then(step)
    total = total.then(drop_zero(total.names, "t"))
    return total.then(cell_digits(levels).inverse)


def _decode(level: Level, names: tuple[str, ...]) -> Iterator[Bijection]:
    """(…, t) <-> (…, digit, t): what is left of t is the step within the iteration."""
    place, rest, digit = "q", "u", level.digit
    step = split_digits(names, "t", (place, rest), level.others)
    yield step
    yield mirror(step.names, place, level.extent, level.backward)
    match level.split:
        case None:
            yield rename(step.names, (*names[:-1], digit, "t"))
            return
        case TileSplit():
            cut = split_tiles(step.names, place, (digit, "x"), level.split)
        case PhaseSplit():
            cut = split_dealt(step.names, place, (digit, "x"), level.split)
        case _:
            assert_never(level.split)
    yield cut
    yield mirror(cut.names, "x", level.inner, level.backward)
    yield split_digits((*names[:-1], digit, "t"), "t", ("x", rest), level.others).inverse


def cell_digits(levels: tuple[Level, ...]) -> Bijection:
    """(c0, c1, …) <-> the digits of all loops, in the order of the loops."""
    total = identity(cell_names(1 + max(level.axis for level in levels)))
    for level in levels:
        cell = f"c{level.axis}"
        match level.split:
            case None:
                total = total.then(rename(total.names, tuple(level.digit if name == cell else name for name in total.names)))
            case TileSplit():
                total = total.then(split_tiles(total.names, cell, (level.digit, cell), level.split))
            case PhaseSplit():
                total = total.then(split_phases(total.names, cell, (level.digit, cell), level.split))
            case _:
                assert_never(level.split)
    return total.then(permute(total.names, tuple(level.digit for level in levels)))
