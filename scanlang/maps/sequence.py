"""Orders at one size, step by step. In: a `CheckedOrder` and the lengths of the axes; out: a `Sequence`, or S201 … S211.

Every construct is a function of the sequences of what is inside, at the size that it has there: an order in a window sees the
window, one that is dilated its own subgrid. What this does not do: prove anything, or choose the rows of a map (`traversal.py`).

Tokens are numbered where they are inserted, in time, and an `insert` counts on from the tokens of that name inside; pads where a
window or a dilation makes them, in time. The numbers stay with the steps, so running backwards mirrors them. Parts of a concat
or interleave that insert the same name have those tokens in common; each window has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import prod
from typing import assert_never

import numpy as np
import numpy.typing as npt

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
from scanlang.maps.structure import given_name, mixed, parts_of
from scanlang.maps.walk import cell_digits, walk_levels, walk_map
from scanlang.source import Span

MOST_STEPS = 2**26
"""The most steps of an order whose sequence is made of others' step by step."""

Flags = npt.NDArray[np.bool_]
Tokens = tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class Sequence:
    """The visits at one size: `cells` is the number of cells, `tokens` the names and how many there are of each.

    `rows[t]` is the raster index of the cell visited at step t, `cells + i` for the i-th token (those of the first name first),
    `-1 - p` for pad p. State and conv start anew between steps of different `segments`; `windows` says in which window, or
    which tiles, a step is. Both are None where there is nothing of the kind.
    """

    cells: int
    rows: IntArray
    pads: int = 0
    tokens: Tokens = ()
    segments: IntArray | None = None
    windows: IntArray | None = None

    @property
    def steps(self) -> int:
        return len(self.rows)

    @property
    def at_cells(self) -> Flags:
        """Which steps visit a cell."""
        return (self.rows >= 0) & (self.rows < self.cells)

    @property
    def restarts(self) -> Flags:
        """Where the state starts anew; nowhere at the first step."""
        result = np.zeros(self.steps, dtype=np.bool_)
        if self.segments is not None:
            result[1:] = self.segments[1:] != self.segments[:-1]
        return result

    @property
    def visits(self) -> IntArray:
        """How often each cell is visited."""
        return np.bincount(self.rows[self.at_cells], minlength=self.cells).astype(np.int64)


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
                rolled = np.roll(_cells(grid), [-offset for offset in offsets], tuple(range(len(grid))))
                return _placed(self.of(of, grid), rolled.ravel(), prod(grid))
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
        to = _cells(grid)
        to = np.flip(to, [axis for axis, flipped in enumerate(normal.flipped) if flipped])
        if normal.transposed:
            to = np.swapaxes(to, -1, -2)
        moved = _placed(inner, to.ravel(), prod(grid)) if normal.transposed or any(normal.flipped) else inner
        return _backwards(moved) if normal.reversed else moved

    def _dilated(self, order: DilateOrder, grid: Grid) -> Sequence:
        first = (0,) * len(grid) if order.pad == "decay" else order.phase
        counts = tuple(max(0, -(-(length - lost) // order.every)) for length, lost in zip(grid, first, strict=True))
        cells = [phase + order.every * np.arange(count) for phase, count in zip(order.phase, counts, strict=True)]
        return _placed(self.of(order.of, counts), _raster_indices(cells, grid, grid), prod(grid))

    def _joined(
        self, order: CheckedOrder, of: Many[CheckedOrder], grid: Grid, arrange: Callable[[list[int]], IntArray]
    ) -> Sequence:
        """`arrange` gives the places of the steps in time, in the parts one after the other."""
        parts = [self.of(part, grid) for part in of]
        self.check_steps(order, sum(part.steps for part in parts))
        tokens = _together([part.tokens for part in parts], max)
        ends = np.cumsum([part.pads for part in parts])
        rows = [_renumbered(part, tokens, pads=int(end) - part.pads) for part, end in zip(parts, ends, strict=True)]
        segments, windows = _all_segments(parts), _all_windows(parts)
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
        at = [(place, token.name) for token in order.tokens for place in self._places(order, token, inner.steps, grid)]
        at.sort(key=lambda each: each[0])
        self.check_steps(order, inner.steps + len(at))
        added = {token.name: sum(name == token.name for _, name in at) for token in order.tokens}
        tokens = _together([inner.tokens, tuple(added.items())], int.__add__)
        following = {name: inner.cells + _first(tokens, name) + dict(inner.tokens).get(name, 0) for name in added}
        rows = []
        for _, name in at:
            rows.append(following[name])
            following[name] += 1
        places = np.array([place for place, _ in at], dtype=np.int64)
        return Sequence(
            inner.cells,
            np.insert(_renumbered(inner, tokens), places, rows),
            inner.pads,
            tokens,
            _insert_like_the_step_before(inner.segments, places),
            _insert_like_the_step_before(inner.windows, places),
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
            return _placed(outer, np.zeros(0, dtype=np.int64), prod(grid))
        return _Windows(self, order, grid, sizes, counts, outer).sequence()


@dataclass
class _Windows:
    """The assembly of a window order. Its outer steps are of few kinds: windows of one shape each, tokens, pads."""

    sequencer: Sequencer
    order: WindowOrder
    grid: Grid
    sizes: Grid
    counts: Grid
    outer: Sequence

    @cached_property
    def corners(self) -> tuple[IntArray, ...]:
        """The first cell, by its coordinates, of the window of every outer step."""
        places = np.unravel_index(np.where(self.outer.at_cells, self.outer.rows, 0), self.counts)
        return tuple(place.astype(np.int64) * size for place, size in zip(places, self.sizes, strict=True))

    @cached_property
    def kinds(self) -> IntArray:
        """Of every outer step: the axes along which its window is cut off, as bits; `token` and `pad` for such steps."""
        kinds = np.zeros(self.outer.steps, dtype=np.int64)
        for axis, (corner, size, length) in enumerate(zip(self.corners, self.sizes, self.grid, strict=True)):
            kinds |= (corner + size > length).astype(np.int64) << axis
        kinds[self.outer.rows >= self.outer.cells] = self.token
        kinds[self.outer.rows < 0] = self.pad
        return kinds

    @property
    def token(self) -> int:
        return 1 << len(self.grid)

    @property
    def pad(self) -> int:
        return self.token + 1

    def inner(self, kind: int) -> Sequence:
        """What happens in an outer step of a kind; cells count from the window's corner, in the raster of the whole grid."""
        nothing, decay = Sequence(0, np.zeros(0, dtype=np.int64)), self.order.pad == "decay"
        if kind == self.token:
            return replace(nothing, rows=np.zeros(1, dtype=np.int64))
        if kind == self.pad:
            steps = self._whole().steps if decay else 0
            return replace(nothing, rows=np.full(steps, -1, dtype=np.int64))
        inside = tuple(
            length % size if kind >> axis & 1 else size
            for axis, (length, size) in enumerate(zip(self.grid, self.sizes, strict=True))
        )
        sequence = self._whole() if decay else self.sequencer.of(self.order.inner, inside)
        to = _raster_indices([np.arange(size) for size in (self.sizes if decay else inside)], inside, self.grid)
        return _placed(sequence, to, prod(self.grid))

    def _whole(self) -> Sequence:
        self.sequencer.check_steps(self.order, prod(self.sizes))
        return self.sequencer.of(self.order.inner, self.sizes)

    def sequence(self) -> Sequence:
        inner = {int(kind): self.inner(int(kind)) for kind in np.unique(self.kinds)}
        lengths = self._of_steps({kind: each.steps for kind, each in inner.items()})
        steps = int(lengths.sum())
        self.sequencer.check_steps(self.order, steps)
        rows, segments, windows = (np.zeros(steps, dtype=np.int64) for _ in range(3))
        tokens, before = self._tokens(inner)
        corner = _raster(self.corners, self.grid)
        starts = np.cumsum(lengths) - lengths
        for kind, each in inner.items():
            where = np.flatnonzero(self.kinds == kind)
            at = starts[where][:, None] + np.arange(each.steps)
            rows[at] = each.rows + corner[where][:, None]
            rows[at[:, each.rows < 0]] = -1
            for name, first, count in _ranges(each.tokens):
                named = np.flatnonzero((each.rows >= each.cells + first) & (each.rows < each.cells + first + count))
                rows[at[:, named]] = each.rows[named] - first + _first(tokens, name) + before[name][where][:, None]
            segments[at] = 0 if each.segments is None else each.segments
            windows[at] = 0 if each.windows is None else each.windows
        own = self.outer.rows >= self.outer.cells
        shifts = {name: int(before[name][-1]) for name in before}
        rows[starts[own]] = _renumbered(self.outer, tokens, shifts)[own] - self.outer.cells + prod(self.grid)
        resets = any(each.segments is not None for each in inner.values())
        outside = np.arange(self.outer.steps) if resets else self.outer.segments
        outer_windows = np.where(self.outer.rows < 0, self.outer.cells - 1 - self.outer.rows, self.outer.rows)
        return Sequence(
            prod(self.grid),
            *_pads_in_time(rows),
            tokens,
            None if outside is None else _numbers(np.repeat(_filled(outside, ~own), lengths), segments),
            _digits(np.repeat(_filled(outer_windows, ~own), lengths), windows),
        )

    def _of_steps(self, counts: Mapping[int, int]) -> IntArray:
        """A number for every outer step, from one for every kind."""
        table = np.zeros(self.pad + 1, dtype=np.int64)
        table[list(counts)] = list(counts.values())
        return table[self.kinds]

    def _tokens(self, inner: Mapping[int, Sequence]) -> tuple[Tokens, dict[str, IntArray]]:
        """The tokens, and of each name how many there are before every outer step, and in all as the last."""
        before = {}
        for name in dict(_together([each.tokens for each in inner.values()], max)):
            counts = self._of_steps({kind: dict(each.tokens).get(name, 0) for kind, each in inner.items()})
            before[name] = np.concatenate([[0], np.cumsum(counts)])
        own = tuple((name, int(counts[-1])) for name, counts in before.items())
        return _together([own, self.outer.tokens], int.__add__), before


def _length(size: Size, grid: Grid) -> int:
    return grid[size.axis] if isinstance(size, AxisSize) else size


# Rows: cells, then tokens, pads below zero.


def _cells(grid: Grid) -> IntArray:
    """The raster indices, as a map."""
    return np.arange(prod(grid), dtype=np.int64).reshape(grid)


def _raster(cell: Many[IntArray], grid: Grid) -> IntArray:
    """The raster indices of cells given by their coordinates."""
    index = np.zeros(1, dtype=np.int64)
    for coordinate, length in zip(cell, grid, strict=True):
        index = index * length + coordinate
    return index


def _raster_indices(coordinates: Many[IntArray], inside: Grid, grid: Grid) -> IntArray:
    """Of all combinations of coordinates, the last axis the fastest; -1 where one is not `inside`."""
    axes = np.meshgrid(*coordinates, indexing="ij")
    beyond = np.any([axis >= length for axis, length in zip(axes, inside, strict=True)], axis=0)
    return np.where(beyond, -1, _raster([axis.astype(np.int64) for axis in axes], grid)).ravel()


def _placed(sequence: Sequence, to: IntArray, cells: int) -> Sequence:
    """The same steps on a grid of `cells`, where cell c is `to[c]`; -1 makes a pad of it."""
    table = np.concatenate([to, cells + np.arange(sum(count for _, count in sequence.tokens), dtype=np.int64)])
    rows = sequence.rows.copy()
    rows[rows >= 0] = table[rows[rows >= 0]]
    if (to < 0).any():
        rows, pads = _pads_in_time(rows)
        return replace(sequence, cells=cells, rows=rows, pads=pads)
    return replace(sequence, cells=cells, rows=rows)


def _pads_in_time(rows: IntArray) -> tuple[IntArray, int]:
    """Every pad with a number of its own."""
    pads = rows < 0
    count = int(np.count_nonzero(pads))
    numbered = rows.copy()
    numbered[pads] = -1 - np.arange(count)
    return numbered, count


def _backwards(sequence: Sequence) -> Sequence:
    segments, windows = sequence.segments, sequence.windows
    return replace(
        sequence,
        rows=sequence.rows[::-1].copy(),
        segments=None if segments is None else segments[::-1],
        windows=None if windows is None else windows[::-1],
    )


def _together(parts: Many[Tokens], both: Callable[[int, int], int]) -> Tokens:
    """The names in the order of their first use; `both` says how many there are of a name that two parts have."""
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part:
            counts[name] = both(counts[name], count) if name in counts else count
    return tuple(counts.items())


def _ranges(tokens: Tokens) -> list[tuple[str, int, int]]:
    """The name, the index of its first token, and their number."""
    ends = np.cumsum([count for _, count in tokens])
    return [(name, int(end) - count, count) for (name, count), end in zip(tokens, ends, strict=True)]


def _first(tokens: Tokens, name: str) -> int:
    return next(first for other, first, _ in _ranges(tokens) if other == name)


def _renumbered(sequence: Sequence, tokens: Tokens, shifts: Mapping[str, int] | None = None, pads: int = 0) -> IntArray:
    """The rows where the tokens are `tokens`, those of a name counted on from its shift, and pads counted on from `pads`."""
    rows = sequence.rows.copy()
    rows[rows < 0] -= pads
    if sequence.tokens:
        indices = [
            _first(tokens, name) + (shifts or {}).get(name, 0) + np.arange(count) for name, _, count in _ranges(sequence.tokens)
        ]
        own = sequence.rows >= sequence.cells
        rows[own] = sequence.cells + np.concatenate(indices)[sequence.rows[own] - sequence.cells]
    return rows


# Numbers that say which steps belong together.


def _numbers(*of: IntArray) -> IntArray:
    """A number for every step, one more than that of the step before where any of the given ones changes."""
    changes = np.zeros(len(of[0]), dtype=np.bool_)
    for each in of:
        changes[1:] |= each[1:] != each[:-1]
    return np.cumsum(changes)


def _filled(values: IntArray, known: Flags) -> IntArray:
    """Where a value is not known, that of the step before; of the first known one at the head."""
    if not known.any():
        return np.zeros_like(values)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return values[np.where(latest < 0, np.argmax(known), latest)]


def _all_segments(parts: Many[Sequence]) -> IntArray | None:
    """Those of several parts, one after the other, none alike; a part without any is one."""
    if all(part.segments is None for part in parts):
        return None
    result, following = [], 0
    for part in parts:
        own = np.zeros(part.steps, dtype=np.int64) if part.segments is None else part.segments
        result.append(own + following)
        following = int(result[-1].max(initial=following)) + 1
    return np.concatenate(result)


def _all_windows(parts: Many[Sequence]) -> IntArray | None:
    if all(part.windows is None for part in parts):
        return None
    return np.concatenate([np.zeros(part.steps, dtype=np.int64) if part.windows is None else part.windows for part in parts])


def _digits(*numbers: IntArray) -> IntArray:
    """A number for each combination."""
    result = np.zeros(1, dtype=np.int64)
    for number in numbers:
        result = result * (int(number.max(initial=0)) + 1) + number
    return result


def _insert_like_the_step_before(numbers: IntArray | None, places: IntArray) -> IntArray | None:
    if numbers is None:
        return None
    own = numbers if len(numbers) else np.zeros(1, dtype=np.int64)
    return np.insert(numbers, places, own[np.maximum(places - 1, 0)])


def _with_restarts(sequence: Sequence, grid: Grid, every: int | str) -> Sequence:
    """State and conv start anew where the coordinate along an axis changes, or the window."""
    if isinstance(every, int):
        coordinate = sequence.rows // prod(grid[every + 1 :]) % max(grid[every], 1)
        now = _filled(coordinate, sequence.at_cells)
    else:
        now = np.zeros(sequence.steps, dtype=np.int64) if sequence.windows is None else sequence.windows
    return replace(sequence, segments=_numbers(now) if sequence.segments is None else _numbers(now, sequence.segments))


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
        cells[steps[0] : steps[-1] + 1] = _raster([np.asarray(each) for each in map_(steps, **sizes)], grid)
    return cells


def _tiles(walk: WalkOrder, rows: IntArray, grid: Grid) -> IntArray | None:
    """In which tile every step is."""
    tiles = _walk(walk)[1]
    if tiles is None:
        return None
    cell = [coordinate.astype(np.int64) for coordinate in np.unravel_index(rows, grid)]
    return _digits(*(np.broadcast_to(number, rows.shape) for number in tiles(*cell, **sizes_of(grid))))


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
