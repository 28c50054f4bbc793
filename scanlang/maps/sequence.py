"""Orders at one size, step by step. In: a `CheckedOrder` and the lengths of the axes; out: a `Sequence`, or S201 … S211.

Every construct is a function of the sequences of what is inside, at the size that it has there: an order in a window sees the
window, one that is dilated its own subgrid. What this does not do: prove anything, or choose the rows of a map
(`traversal.py`).

Tokens are numbered where they are inserted, in time, and an `insert` counts on from the tokens of that name inside; pads where
a window or a dilation makes them, in time. The numbers stay with the steps, so running backwards mirrors them. Parts of a
concat or interleave that insert the same name have those tokens in common; each window has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from math import prod
from typing import assert_never

import numpy as np

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    ConcatOrder,
    CurveOrder,
    DilateOrder,
    FlipOrder,
    FormulaOrder,
    GivenOrder,
    InsertOrder,
    InterleaveOrder,
    RandomOrder,
    ResetOrder,
    ReverseOrder,
    ShiftOrder,
    Size,
    TableOrder,
    Token,
    TransposeOrder,
    WalkOrder,
    WindowOrder,
)
from scanlang.diagnostics import InternalError, ScanError
from scanlang.errors import MixedWithGiven, SpreadTooWide, TableSize, TokenBeyondEnd, TooManySteps
from scanlang.maps.algebra import normal_order, transposed
from scanlang.maps.bounds import Grid, sizes_of
from scanlang.maps.curves import curve, random_order
from scanlang.maps.evaluate import IntArray
from scanlang.maps.exhaustive import CHUNK, formula_cells
from scanlang.maps.index_map import IndexMap, TileSplit
from scanlang.maps.steps import Sequence as Sequence
from scanlang.maps.steps import Tokens as Tokens
from scanlang.maps.steps import (
    all_segments,
    all_windows,
    backwards,
    combined,
    filled,
    first_token,
    inserted_like_before,
    map_of_cells,
    numbered_changes,
    placed,
    raster_indices,
    raster_of,
    renumbered,
    together,
)
from scanlang.maps.structure import given_name, mixed, parts_of
from scanlang.maps.walk import cell_digits, walk_levels, walk_map
from scanlang.maps.windows import Windows
from scanlang.source import Span

MOST_STEPS = 2**26
"""The most steps of an order whose sequence is made of others' step by step."""


@dataclass
class Sequencer:
    """Makes the sequences of one order, called `name`, on one grid; `names` are those of the formulas in it, by their place."""

    name: str
    axes: tuple[str, ...]
    grid: Grid
    names: Mapping[Span, str] = field(default_factory=dict)
    by_window: bool = False
    known: dict[tuple[int, Grid], Sequence] = field(default_factory=dict)

    def of(self, order: CheckedOrder, grid: Grid) -> Sequence:
        """The sequence of a part of the order, on the grid that it has there. Parts used twice are made once."""
        key = id(order), grid
        if key not in self.known:
            self.known[key] = self._make(order, grid)
        return self.known[key]

    def _make(self, order: CheckedOrder, grid: Grid) -> Sequence:
        match order:
            case ReverseOrder() | TransposeOrder() | FlipOrder():
                return self._around(order, grid)
            case ShiftOrder(of=of, offsets=offsets):
                rolled = np.roll(map_of_cells(grid), [-offset for offset in offsets], tuple(range(len(grid))))
                return placed(self.of(of, grid), rolled.ravel(), prod(grid))
            case WindowOrder():
                return self._windows(order, grid)
            case DilateOrder():
                return self._dilated(order, grid)
            case ConcatOrder(parts=parts):
                return self._joined(order, parts, grid, _one_after_the_other)
            case InterleaveOrder(parts=parts):
                return self._joined(order, parts, grid, _in_turn)
            case ResetOrder(of=of, every=every):
                return _with_restarts(self.of(of, grid), grid, every)
            case InsertOrder():
                return self._inserted(order, grid)
            case _:
                return self._leaf(order, grid)

    def _leaf(self, order: CheckedOrder, grid: Grid) -> Sequence:
        cells = prod(grid)
        if cells == 0:
            return Sequence(0, np.zeros(0, dtype=np.int64))
        match order:
            case WalkOrder():
                rows = walk_positions(order, grid)
                return Sequence(cells, rows, windows=_tiles(order, rows, grid) if self.by_window else None)
            case FormulaOrder():
                return Sequence(cells, formula_cells(self.names.get(order.span, self.name), order, grid))
            case CurveOrder(name=name):
                return Sequence(cells, curve(name, *grid))
            case RandomOrder(seed=seed):
                return Sequence(cells, random_order(seed, cells))
            case TableOrder():
                return Sequence(cells, self._table(order, grid))
            case GivenOrder():
                return Sequence(cells, np.arange(cells, dtype=np.int64))
            case _:
                raise InternalError(f"{order} is not a leaf")

    def _table(self, order: TableOrder, grid: Grid) -> IntArray:
        if order.shape not in (grid, (prod(grid),)):
            raise ScanError([TableSize(order.span, self.name, order.file, order.shape, self._sizes(), self._part(grid))])
        return np.frombuffer(order.cells, dtype="<i8").astype(np.int64)

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        return tuple(zip(self.axes, self.grid, strict=True))

    def _part(self, grid: Grid) -> Grid | None:
        """The size of the part of the grid that an order inside sees, None for the whole."""
        return None if grid == self.grid else grid

    def check_steps(self, order: CheckedOrder, steps: int) -> None:
        if steps > MOST_STEPS:
            raise ScanError([TooManySteps(order.span, self.name, steps, MOST_STEPS, self._sizes())])

    def _around(self, order: CheckedOrder, grid: Grid) -> Sequence:
        """A chain of reversals, transpositions and flips, however long, at once."""
        normal = normal_order(order, len(grid))
        inner = self.of(normal.leaf, transposed(grid) if normal.transposed else grid)
        to = map_of_cells(grid)
        to = np.flip(to, [axis for axis, flipped in enumerate(normal.flipped) if flipped])
        if normal.transposed:
            to = np.swapaxes(to, -1, -2)
        moved = placed(inner, to.ravel(), prod(grid)) if normal.transposed or any(normal.flipped) else inner
        return backwards(moved) if normal.reversed else moved

    def _dilated(self, order: DilateOrder, grid: Grid) -> Sequence:
        first = (0,) * len(grid) if order.pad == "decay" else order.phase
        counts = tuple(max(0, -(-(length - lost) // order.every)) for length, lost in zip(grid, first, strict=True))
        cells = [phase + order.every * np.arange(count) for phase, count in zip(order.phase, counts, strict=True)]
        return placed(self.of(order.of, counts), raster_indices(cells, grid, grid), prod(grid))

    def _joined(
        self, order: CheckedOrder, of: Many[CheckedOrder], grid: Grid, arrange: Callable[[list[int]], IntArray]
    ) -> Sequence:
        """`arrange` gives the places of the steps in time, in the parts one after the other."""
        parts = [self.of(part, grid) for part in of]
        self.check_steps(order, sum(part.steps for part in parts))
        tokens = together([part.tokens for part in parts], max)
        ends = np.cumsum([part.pads for part in parts])
        rows = [renumbered(part, tokens, pads=int(end) - part.pads) for part, end in zip(parts, ends, strict=True)]
        segments, windows = all_segments(parts), all_windows(parts)
        places = arrange([part.steps for part in parts])
        return Sequence(
            prod(grid),
            np.concatenate(rows)[places],
            int(ends[-1]),
            tokens,
            None if segments is None else segments[places],
            None if windows is None else windows[places],
        )

    def _inserted(self, order: InsertOrder, grid: Grid) -> Sequence:
        inner = self.of(order.of, grid)
        places = [self._places(order, token, inner.steps, grid) for token in order.tokens]
        self.check_steps(order, inner.steps + sum(map(len, places)))
        names = list(dict.fromkeys(token.name for token in order.tokens))
        token_of = np.repeat([names.index(token.name) for token in order.tokens], list(map(len, places)))
        before = np.concatenate([np.asarray(each, dtype=np.int64) for each in places])
        in_time = np.argsort(before, kind="stable")
        before, token_of = before[in_time], token_of[in_time]
        added = tuple((name, int(np.count_nonzero(token_of == number))) for number, name in enumerate(names))
        tokens = together([inner.tokens, added], int.__add__)
        rows = np.empty(len(before), dtype=np.int64)
        for number, (name, count) in enumerate(added):
            first = inner.cells + first_token(tokens, name) + dict(inner.tokens).get(name, 0)
            rows[token_of == number] = first + np.arange(count)
        return Sequence(
            inner.cells,
            np.insert(renumbered(inner, tokens), before, rows),
            inner.pads,
            tokens,
            inserted_like_before(inner.segments, before),
            inserted_like_before(inner.windows, before),
        )

    def _places(self, order: InsertOrder, token: Token, steps: int, grid: Grid) -> Many[int]:
        """Before which of the `steps` steps inside the tokens go."""
        number = _length(token.number, grid)
        match token.place:
            case "head":
                return [0]
            case "middle":
                return [steps // 2]
            case "tail":
                return [steps]
            case "index":
                self._check_number(TokenBeyondEnd, order, token, number, steps, grid)
                return [number]
            case "every":
                return range(number, steps + 1, number) if number else ()
            case "spread":
                self._check_number(SpreadTooWide, order, token, number, steps, grid)
                return [steps // (number + 1) * count for count in range(1, number + 1)]
            case _:
                assert_never(token.place)

    def _check_number(
        self, wrong: type[TokenBeyondEnd | SpreadTooWide], order: InsertOrder, token: Token, number: int, steps: int, grid: Grid
    ) -> None:
        if number > steps:
            raise ScanError([wrong(order.span, self.name, token.name, number, steps, self._sizes(), self._part(grid))])

    def _windows(self, order: WindowOrder, grid: Grid) -> Sequence:
        sizes = tuple(_length(size, grid) for size in order.sizes)
        counts = tuple(-(-length // max(size, 1)) for length, size in zip(grid, sizes, strict=True))
        outer = self.of(order.outer, counts)
        if outer.cells == 0:
            return placed(outer, np.zeros(0, dtype=np.int64), prod(grid))
        of_size, check_steps = partial(self.of, order.inner), partial(self.check_steps, order)
        return Windows(order, grid, sizes, counts, outer, of_size, check_steps).sequence()


def _length(size: Size, grid: Grid) -> int:
    return grid[size.axis] if isinstance(size, AxisSize) else size


def _with_restarts(sequence: Sequence, grid: Grid, every: int | str) -> Sequence:
    """State and conv start anew where the coordinate along an axis changes, or the window."""
    if isinstance(every, int):
        coordinate = sequence.rows // prod(grid[every + 1 :]) % max(grid[every], 1)
        now = filled(coordinate, sequence.at_cells)
    else:
        now = np.zeros(sequence.steps, dtype=np.int64) if sequence.windows is None else sequence.windows
    return replace(
        sequence, segments=numbered_changes(now) if sequence.segments is None else numbered_changes(now, sequence.segments)
    )


# Arrangements of parts: the places of the steps, in the parts one after the other, in time.


def _one_after_the_other(lengths: list[int]) -> IntArray:
    return np.arange(sum(lengths), dtype=np.int64)


def _in_turn(lengths: list[int]) -> IntArray:
    """A step of each; longer ones go on alone."""
    steps = np.concatenate([np.arange(length, dtype=np.int64) for length in lengths])
    return np.argsort(steps, kind="stable")


# Walks.


@lru_cache(maxsize=1024)
def _walk(walk: WalkOrder) -> tuple[IndexMap, IndexMap | None]:
    """Step to cell; cell to the numbers of the tiles it is in, axis by axis, None without tiles."""
    levels = walk_levels(walk)
    digits = cell_digits(levels)
    tiles = [pair for pair in zip(levels, digits.forward.outputs, strict=True) if isinstance(pair[0].split, TileSplit)]
    tiles.sort(key=lambda pair: pair[0].axis)
    numbers = tuple(number for _, number in tiles)
    return walk_map(levels).forward, IndexMap(digits.forward.inputs, numbers) if numbers else None


def walk_positions(walk: WalkOrder, grid: Grid) -> IntArray:
    """The raster index of the cell visited at every step."""
    return map_positions(_walk(walk)[0], grid)


def map_positions(map_: IndexMap, grid: Grid) -> IntArray:
    cells, sizes = np.empty(prod(grid), dtype=np.int64), sizes_of(grid)
    for start in range(0, len(cells), CHUNK):
        steps = np.arange(start, min(len(cells), start + CHUNK), dtype=np.int64)
        cells[steps[0] : steps[-1] + 1] = raster_of([np.asarray(each) for each in map_(steps, **sizes)], grid)
    return cells


def _tiles(walk: WalkOrder, rows: IntArray, grid: Grid) -> IntArray | None:
    """In which tile every step is."""
    tiles = _walk(walk)[1]
    if tiles is None:
        return None
    cell = [coordinate.astype(np.int64) for coordinate in np.unravel_index(rows, grid)]
    return combined(*(np.broadcast_to(number, rows.shape) for number in tiles(*cell, **sizes_of(grid))))


def sequence_of(
    order: CheckedOrder, axes: tuple[str, ...], grid: Grid, name: str, names: Mapping[Span, str] | None = None
) -> Sequence:
    """The sequence of an order called `name`; `names` are those of the formulas in it, by the place where they stand.

    Raises ScanError for a size at which it is no order.
    """
    part = mixed(order)
    if part is not None:
        raise ScanError([MixedWithGiven(part.span, name, given_name(part) or "")])
    by_window = any(isinstance(part, ResetOrder) and part.every == "window" for part in parts_of(order))
    return Sequencer(name, axes, grid, names or {}, by_window).of(order, grid)
