"""Named orders that are no walks: diagonals, zigzag, spiral, Hilbert and Morton curves, and random permutations.

In: a name and a size; out: the raster index of the cell visited at every step. Each is a permutation by construction: by a
closed rank that numbers the cells one after the other (`_by_rank`), by sorting the cells, or by cutting the grid into runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanlang.maps.evaluate import IntArray

Words = npt.NDArray[np.uint64]


def curve(name: str, h: int, w: int) -> IntArray:
    """int64, h * w long."""
    return CURVES[name](h, w)


def _rows_and_columns(h: int, w: int) -> tuple[IntArray, IntArray]:
    """The coordinates, to be broadcast against each other."""
    return np.arange(h, dtype=np.int64)[:, None], np.arange(w, dtype=np.int64)[None, :]


def _by_rank(ranks: IntArray) -> IntArray:
    positions = np.empty(ranks.size, dtype=np.int64)
    positions[ranks.ravel()] = np.arange(ranks.size, dtype=np.int64)
    return positions


def _diagonals(h: int, w: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Of every cell: r + c, the first rank on that diagonal, the place on it counted by r, and its length."""
    row, column = _rows_and_columns(h, w)
    number = row + column
    numbers = np.arange(h + w - 1, dtype=np.int64)
    lengths = 1 + np.minimum(np.minimum(numbers, numbers[::-1]), min(h, w) - 1)
    starts = np.cumsum(lengths) - lengths
    return number, starts[number], row - np.maximum(0, number - w + 1), lengths[number]


def diagonal(h: int, w: int) -> IntArray:
    """r + c = 0, 1, 2, …, r ascending inside."""
    _, start, place, _ = _diagonals(h, w)
    return _by_rank(start + place)


def zigzag(h: int, w: int) -> IntArray:
    """JPEG's: (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), …"""
    number, start, place, length = _diagonals(h, w)
    return _by_rank(start + np.where(number % 2 == 1, place, length - 1 - place))


def spiral(h: int, w: int) -> IntArray:
    """Inward, clockwise, from (0, 0) to the right; ring k starts after all that is outside of it."""
    row, column = _rows_and_columns(h, w)
    ring = np.minimum(np.minimum(row, h - 1 - row), np.minimum(column, w - 1 - column))
    down, right = h - 1 - 2 * ring, w - 1 - 2 * ring
    r, c = row - ring, column - ring
    on_ring = np.where(
        r == 0, c, np.where(c == right, right + r, np.where(r == down, 2 * right + down - c, 2 * (right + down) - r))
    )
    return _by_rank(h * w - (down + 1) * (right + 1) + on_ring)


def morton(h: int, w: int) -> IntArray:
    """By the bits of row and column, interleaved, the column's in the lowest place."""
    row, column = _rows_and_columns(h, w)
    return np.argsort((_spread(row) * 2 + _spread(column)).ravel(), kind="stable")


def _spread(numbers: IntArray) -> IntArray:
    """Bit i moved to place 2 i, of numbers below 2³¹."""
    for shift, mask in (
        (16, 0x0000FFFF0000FFFF),
        (8, 0x00FF00FF00FF00FF),
        (4, 0x0F0F0F0F0F0F0F0F),
        (2, 0x3333333333333333),
        (1, 0x5555555555555555),
    ):
        numbers = (numbers | numbers << shift) & mask
    return numbers


@dataclass(frozen=True)
class _Blocks:
    """Rectangles in the order they are visited, each from its corner `start` to the other end of the side `length`.

    `along` and `across` are the steps in raster index to the next cell along the side of `length` and of `breadth`.
    """

    start: IntArray
    along: IntArray
    length: IntArray
    across: IntArray
    breadth: IntArray

    @property
    def columns(self) -> tuple[IntArray, ...]:
        return self.start, self.along, self.length, self.across, self.breadth


def hilbert(h: int, w: int) -> IntArray:
    """From (0, 0) to the corner along the longer side (along the rows if the sides are equal), by halving blocks.

    A block much longer than broad is cut across into two halves. Any other is three blocks: up the first half of its length
    to half of the breadth, then all along above, then down the other half. Halves are even where they can be, so that all
    steps are unit steps but one, diagonal, where the longer side is odd and the shorter one even.
    """
    sides = (1, w, w, h) if w >= h else (w, h, 1, w)
    blocks = _Blocks(*(np.array([value], dtype=np.int64) for value in (0, *sides)))
    while (cut := (blocks.length > 1) & (blocks.breadth > 1)).any():
        blocks = _cut(blocks, cut)
    in_line = blocks.breadth == 1
    return _runs(blocks.start, np.where(in_line, blocks.along, blocks.across), np.maximum(blocks.length, blocks.breadth))


def _cut(blocks: _Blocks, cut: npt.NDArray[np.bool_]) -> _Blocks:
    """Every block that `cut` says in two or three, in their places."""
    long = 2 * blocks.length > 3 * blocks.breadth
    counts = np.where(cut, np.where(long, 2, 3), 1)
    first = np.cumsum(counts) - counts
    result = _Blocks(*(np.repeat(column, counts) for column in blocks.columns))
    _cut_across(result, first[cut & long])
    _cut_in_three(result, first[cut & ~long])
    return result


def _even_half(of: IntArray) -> IntArray:
    half: IntArray = of // 2
    return np.where((half % 2 == 1) & (of > 2), half + 1, half)


def _cut_across(blocks: _Blocks, places: IntArray) -> None:
    """Copies of a block at `places` and behind them become its two halves."""
    half = _even_half(blocks.length[places])
    blocks.length[places] = half
    blocks.start[places + 1] += half * blocks.along[places]
    blocks.length[places + 1] -= half


def _cut_in_three(blocks: _Blocks, places: IntArray) -> None:
    """Copies of a block at `places` and the two behind them become the way up, along and down."""
    start, along, length, across, breadth = (column[places] for column in blocks.columns)
    up = _even_half(breadth)
    half = np.where(up == 1, length - 1, length // 2)  # a way down of one row ends where it starts
    last = start + (length - 1) * along + (up - 1) * across
    parts = (
        (start, across, up, along, half),
        (start + up * across, along, length, across, breadth - up),
        (last, -across, up, -along, length - half),
    )
    for number, part in enumerate(parts):
        for column, values in zip(blocks.columns, part, strict=True):
            column[places + number] = values


def _runs(starts: IntArray, strides: IntArray, lengths: IntArray) -> IntArray:
    """start, start + stride, … of every run, one after the other."""
    ends = np.cumsum(lengths)
    steps = np.arange(ends[-1], dtype=np.int64) - np.repeat(ends - lengths, lengths)
    return np.repeat(starts, lengths) + np.repeat(strides, lengths) * steps


CURVES: dict[str, Callable[[int, int], IntArray]] = {
    "diagonal": diagonal,
    "zigzag": zigzag,
    "spiral": spiral,
    "hilbert": hilbert,
    "morton": morton,
}

GOLDEN = 0x9E3779B97F4A7C15


def random_order(seed: int, cells: int) -> IntArray:
    """The cells sorted by the numbers that SplitMix64, started at `seed`, gives them in raster order; ties in raster order."""
    key: Words = np.arange(1, cells + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(seed % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        key = (key ^ key >> np.uint64(shift)) * np.uint64(factor)
    return np.argsort(key ^ key >> np.uint64(31), kind="stable")
