"""`Sequence`: the visits of an order at one size, and what is done to all of its steps at once.

In: sequences, and arrays with a value for every step; out: the same. Which construct does what is said in `sequence.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from scanlang.maps.bounds import Grid
from scanlang.maps.evaluate import IntArray

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


# Rows: cells, then tokens, pads below zero.


def map_of_cells(grid: Grid) -> IntArray:
    """The raster indices, as a map."""
    return np.arange(prod(grid), dtype=np.int64).reshape(grid)


def raster_of(cell: Many[IntArray], grid: Grid) -> IntArray:
    """The raster indices of cells given by their coordinates."""
    index = np.zeros(1, dtype=np.int64)
    for coordinate, length in zip(cell, grid, strict=True):
        index = index * length + coordinate
    return index


def raster_indices(coordinates: Many[IntArray], inside: Grid, grid: Grid) -> IntArray:
    """Of all combinations of coordinates, the last axis the fastest; -1 where one is not `inside`."""
    axes = np.meshgrid(*coordinates, indexing="ij")
    beyond = np.any([axis >= length for axis, length in zip(axes, inside, strict=True)], axis=0)
    return np.where(beyond, -1, raster_of([axis.astype(np.int64) for axis in axes], grid)).ravel()


def placed(sequence: Sequence, to: IntArray, cells: int) -> Sequence:
    """The same steps on a grid of `cells`, where cell c is `to[c]`; -1 makes a pad of it."""
    table = np.concatenate([to, cells + np.arange(sum(count for _, count in sequence.tokens), dtype=np.int64)])
    rows = sequence.rows.copy()
    rows[rows >= 0] = table[rows[rows >= 0]]
    if (to < 0).any():
        rows, pads = pads_in_time(rows)
        return replace(sequence, cells=cells, rows=rows, pads=pads)
    return replace(sequence, cells=cells, rows=rows)


def pads_in_time(rows: IntArray) -> tuple[IntArray, int]:
    """Every pad with a number of its own."""
    pads = rows < 0
    count = int(np.count_nonzero(pads))
    numbered = rows.copy()
    numbered[pads] = -1 - np.arange(count)
    return numbered, count


def backwards(sequence: Sequence) -> Sequence:
    segments, windows = sequence.segments, sequence.windows
    return replace(
        sequence,
        rows=sequence.rows[::-1].copy(),
        segments=None if segments is None else segments[::-1],
        windows=None if windows is None else windows[::-1],
    )


def together(parts: Many[Tokens], both: Callable[[int, int], int]) -> Tokens:
    """The names in the order of their first use; `both` says how many there are of a name that two parts have."""
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part:
            counts[name] = both(counts[name], count) if name in counts else count
    return tuple(counts.items())


def token_ranges(tokens: Tokens) -> list[tuple[str, int, int]]:
    """The name, the index of its first token, and their number."""
    ends = np.cumsum([count for _, count in tokens])
    return [(name, int(end) - count, count) for (name, count), end in zip(tokens, ends, strict=True)]


def first_token(tokens: Tokens, name: str) -> int:
    return next(first for other, first, _ in token_ranges(tokens) if other == name)


def renumbered(sequence: Sequence, tokens: Tokens, shifts: Mapping[str, int] | None = None, pads: int = 0) -> IntArray:
    """The rows where the tokens are `tokens`, those of a name counted on from its shift, and pads counted on from `pads`."""
    rows = sequence.rows.copy()
    rows[rows < 0] -= pads
    if sequence.tokens:
        indices = [
            first_token(tokens, name) + (shifts or {}).get(name, 0) + np.arange(count)
            for name, _, count in token_ranges(sequence.tokens)
        ]
        own = sequence.rows >= sequence.cells
        rows[own] = sequence.cells + np.concatenate(indices)[sequence.rows[own] - sequence.cells]
    return rows


# Numbers that say which steps belong together.


def numbered_changes(*of: IntArray) -> IntArray:
    """A number for every step, one more than that of the step before where any of the given ones changes."""
    changes = np.zeros(len(of[0]), dtype=np.bool_)
    for each in of:
        changes[1:] |= each[1:] != each[:-1]
    return np.cumsum(changes)


def filled(values: IntArray, known: Flags) -> IntArray:
    """Where a value is not known, that of the step before; of the first known one at the head."""
    if not known.any():
        return np.zeros_like(values)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    result: IntArray = values[np.where(latest < 0, np.argmax(known), latest)]
    return result


def all_segments(parts: Many[Sequence]) -> IntArray | None:
    """Those of several parts, one after the other, none alike; a part without any is one."""
    if all(part.segments is None for part in parts):
        return None
    result, following = [], 0
    for part in parts:
        own = np.zeros(part.steps, dtype=np.int64) if part.segments is None else part.segments
        result.append(own + following)
        following = int(result[-1].max(initial=following)) + 1
    return np.concatenate(result)


def all_windows(parts: Many[Sequence]) -> IntArray | None:
    """Those of several parts, one after the other; a part without any is in a window of its own."""
    if all(part.windows is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(part.steps, dtype=np.int64) if part.windows is None else 1 + part.windows for part in parts]
    )


def combined(*numbers: IntArray) -> IntArray:
    """A number for each combination."""
    result = np.zeros(1, dtype=np.int64)
    for number in numbers:
        result = result * (int(number.max(initial=0)) + 1) + number
    return result


def inserted_like_before(numbers: IntArray | None, places: IntArray) -> IntArray | None:
    if numbers is None:
        return None
    own = numbers if len(numbers) else np.zeros(1, dtype=np.int64)
    return np.insert(numbers, places, own[np.maximum(places - 1, 0)])
