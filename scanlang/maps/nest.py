"""Orders as loop nests of runs: what a generator turns into loops with constant strides.

In: the levels of a walk and what is around it; out: a `Nest`. Its innermost level is a run: `length` consecutive steps
whose cells have the raster indices start, start + stride, …; adjacent loops are one run where that is proved
(raster is a single run). Loop variables `i0`, `i1`, … count iterations as executed, from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scanlang.check.program import WalkOrder
from scanlang.maps.algebra import NormalOrder
from scanlang.maps.bounds import GRID, SIZES, Ranges, raster_index, sizes_of
from scanlang.maps.evaluate import IntArray, Value, evaluate
from scanlang.maps.index_map import PhaseSplit, TileSplit
from scanlang.maps.integers import Constant, Integer, Variable, free_variables, nodes, select, substitute
from scanlang.maps.simplify import Simplifier
from scanlang.maps.walk import Level, rank_of, walk_levels

MOST_NODES = 120


@dataclass(frozen=True)
class NestLoop:
    """`variable` runs over 0 … count - 1; `count` may depend on sizes and on the variables of the loops around."""

    variable: str
    count: Integer


@dataclass(frozen=True)
class Nest:
    """Loops, the outermost first, around a run; all expressions in `n0`, `n1`, … and the loop variables."""

    loops: tuple[NestLoop, ...]
    start: Integer
    stride: Integer
    length: Integer

    @property
    def ranges(self) -> Ranges:
        """What is known inside all loops."""
        ranges = GRID
        for loop in self.loops:
            ranges = ranges.with_loop(loop.variable, loop.count)
        return ranges

    @property
    def uniform(self) -> bool:
        """Every count and the length a number."""
        return all(isinstance(bound, Constant) for bound in (*(loop.count for loop in self.loops), self.length))

    def at(self, *grid: int) -> Nest:
        """The nest of an h × w grid, simplified: loops of one iteration are gone."""
        sizes = {name: Constant(size) for name, size in sizes_of(grid).items()}
        loops = tuple(NestLoop(loop.variable, substitute(loop.count, sizes)) for loop in self.loops)
        rest = (substitute(part, sizes) for part in (self.start, self.stride, self.length))
        return _tidy(Nest(loops, *rest))

    def enumerate(self, *grid: int) -> IntArray:
        """The raster index of the cell visited at every step, by running the loops."""
        environment: dict[str, Value] = {**sizes_of(grid)}
        lanes = 1
        for loop in self.loops:
            environment, lanes = _run_loop(environment, lanes, loop.variable, loop.count)
        environment, lanes = _run_loop(environment, lanes, "step", self.length)
        cells = evaluate(self.start + self.stride * Variable("step"), environment)
        return np.broadcast_to(np.asarray(cells, dtype=np.int64), (lanes,)).copy()


def _run_loop(environment: dict[str, Value], lanes: int, variable: str, count: Integer) -> tuple[dict[str, Value], int]:
    """Every lane becomes as many as the loop has iterations for it."""
    counts = np.broadcast_to(np.asarray(evaluate(count, environment), dtype=np.int64), (lanes,))
    total = int(counts.sum())
    first = np.repeat(np.cumsum(counts) - counts, counts)
    repeated = {k: v if isinstance(v, int) else np.repeat(v, counts) for k, v in environment.items()}
    return {**repeated, variable: np.arange(total, dtype=np.int64) - first}, total


def walk_nest(order: NormalOrder) -> Nest | None:
    """The nest of a walk with what is around it; None for other orders."""
    if not isinstance(order.leaf, WalkOrder):
        return None
    levels = walk_levels(order.leaf)
    digits: dict[str, Integer] = {}
    loops: list[NestLoop] = []
    for number, level in enumerate(levels[:-1]):
        variable = f"i{number}"
        around = {**digits, level.digit: Variable(variable)}
        digits[level.digit] = substitute(level.iteration, around)
        loops.append(NestLoop(variable, substitute(level.count, digits)))
    run = levels[-1]
    first = substitute(run.iteration, {**digits, run.digit: Constant(0)})
    sign = substitute(select(run.backward, -1, 1), digits)
    axes = range(rank_of(order.leaf))
    cells = [substitute(_cell(levels, axis), {**digits, run.digit: first}) for axis in axes]
    steps = [sign * _slope(levels, axis) if axis == run.axis else Constant(0) for axis in axes]
    for axis in axes:
        if order.flipped[axis]:
            cells[axis], steps[axis] = SIZES[axis] - 1 - cells[axis], -steps[axis]
    nest = Nest(tuple(loops), raster_index(cells), raster_index(steps), substitute(run.count, digits))
    return _tidy(_reversed(nest) if order.reversed else nest)


def _cell(levels: tuple[Level, ...], axis: int) -> Integer:
    """The coordinate along `axis`, in terms of the digits."""
    cell: Integer = Constant(0)
    for level in reversed([level for level in levels if level.axis == axis]):
        digit = Variable(level.digit)
        match level.split:
            case None:
                cell = digit
            case TileSplit():
                cell = level.split.start(digit) + cell
            case PhaseSplit():
                cell = digit + cell * level.split.modulus
    return cell


def _slope(levels: tuple[Level, ...], axis: int) -> Integer:
    """How far along `axis` one iteration of its whole loop goes."""
    slope: Integer = Constant(1)
    for level in levels:
        if level.axis == axis and isinstance(level.split, PhaseSplit):
            slope = slope * level.split.modulus
    return slope


def _reversed(nest: Nest) -> Nest:
    """Every loop and the run backwards."""
    mirrored: dict[str, Integer] = {}
    loops: list[NestLoop] = []
    for loop in nest.loops:
        count = substitute(loop.count, mirrored)
        mirrored[loop.variable] = count - 1 - Variable(loop.variable)
        loops.append(NestLoop(loop.variable, count))
    start, stride, length = (substitute(part, mirrored) for part in (nest.start, nest.stride, nest.length))
    return Nest(tuple(loops), start + stride * (length - 1), -stride, length)


# Tidying: simplify, drop loops of one iteration, join the run with the loop around it.


def _tidy(nest: Nest) -> Nest:
    """Nests of walks cut many times over stay as they are until a size makes them small: work is bounded."""
    parts = (*(loop.count for loop in nest.loops), nest.start, nest.stride, nest.length)
    if len({node for part in parts for node in nodes(part)}) > MOST_NODES:
        return nest
    nest = _joined(_without_single_iterations(_simplified(nest)))
    numbers = {loop.variable: f"i{number}" for number, loop in enumerate(nest.loops)}
    names = {old: Variable(new) for old, new in numbers.items()}
    loops = tuple(NestLoop(numbers[loop.variable], substitute(loop.count, names)) for loop in nest.loops)
    rest = (substitute(part, names) for part in (nest.start, nest.stride, nest.length))
    return _simplified(Nest(loops, *rest))


def _simplified(nest: Nest) -> Nest:
    ranges, loops = GRID, []
    for loop in nest.loops:
        count = Simplifier(ranges).simplify(loop.count)
        loops.append(NestLoop(loop.variable, count))
        ranges = ranges.with_loop(loop.variable, count)
    simplifier = Simplifier(ranges)
    start, stride, length = (simplifier.simplify(part) for part in (nest.start, nest.stride, nest.length))
    return Nest(tuple(loops), start, Constant(1) if length == Constant(1) else stride, length)


def _without_single_iterations(nest: Nest) -> Nest:
    single = {loop.variable: Constant(0) for loop in nest.loops if loop.count == Constant(1)}
    if not single:
        return nest
    kept = [loop for loop in nest.loops if loop.variable not in single]
    loops = tuple(NestLoop(loop.variable, substitute(loop.count, single)) for loop in kept)
    rest = (substitute(part, single) for part in (nest.start, nest.stride, nest.length))
    return _simplified(Nest(loops, *rest))


def _joined(nest: Nest) -> Nest:
    """for i in 0 … count-1: run(start + i * length * stride, stride, length) --> run(start, stride, count * length)"""
    while nest.loops:
        loop = nest.loops[-1]
        if loop.variable in free_variables(nest.stride) | free_variables(nest.length):
            return nest
        simplifier = Simplifier(nest.ranges, canonical=True)
        onward = {loop.variable: Variable(loop.variable) + 1}
        step = simplifier.normal(substitute(nest.start, onward) - nest.start).expression()
        single = nest.length == Constant(1)
        adjacent = single or simplifier.is_zero(step - nest.stride * nest.length)
        if not adjacent or loop.variable in free_variables(step):
            return nest
        start = substitute(nest.start, {loop.variable: Constant(0)})
        nest = Nest(nest.loops[:-1], start, step if single else nest.stride, loop.count * nest.length)
    return nest
