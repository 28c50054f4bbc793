"""The named orders that are no walks: their tables, their definitions on every small grid, and what a curve is to be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from slow_orders import CURVES as DEFINED
from slow_orders import splitmix64

import scanlang
from scanlang.maps.curves import CURVES, curve, random_order

SIZES = [*product(range(1, 10), repeat=2), (1, 40), (40, 1), (2, 33), (33, 2), (7, 12), (13, 8), (16, 16), (31, 17), (32, 64)]

# The step of every cell of a 3 × 4 grid, as the reference design has it.
TABLES = {
    "diagonal": [[0, 1, 3, 6], [2, 4, 7, 9], [5, 8, 10, 11]],
    "antidiagonal": [[6, 3, 1, 0], [9, 7, 4, 2], [11, 10, 8, 5]],
    "wrapped_diagonal": [[0, 3, 6, 9], [10, 1, 4, 7], [8, 11, 2, 5]],
    "wrapped_antidiagonal": [[0, 3, 6, 9], [4, 7, 10, 1], [8, 11, 2, 5]],
    "zigzag": [[0, 1, 5, 6], [2, 4, 7, 10], [3, 8, 9, 11]],
    "spiral": [[0, 1, 2, 3], [9, 10, 11, 4], [8, 7, 6, 5]],
    "hilbert": [[0, 1, 10, 11], [3, 2, 9, 8], [4, 5, 6, 7]],
    "morton": [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 10, 11]],
    "random(7)": [[5, 0, 10, 9], [7, 3, 8, 4], [2, 6, 1, 11]],
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_3x4(name: str) -> None:
    order = scanlang.order(name)
    assert order.ranks(3, 4).reshape(3, 4).tolist() == TABLES[name]
    assert order.proof is not None
    assert order.plain


@pytest.mark.parametrize("name", CURVES)
def test_curves_are_what_they_are_defined_to_be(name: str) -> None:
    for h, w in SIZES:
        assert curve(name, h, w).tolist() == [r * w + c for r, c in DEFINED[name](h, w)], (h, w)


def test_zigzag_is_that_of_jpeg() -> None:
    first = [(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2)]
    assert curve("zigzag", 8, 8)[:8].tolist() == [8 * r + c for r, c in first]


@pytest.mark.parametrize("formula", [("wrapped_diagonal", 1), ("wrapped_antidiagonal", -1)])
def test_wrapped_diagonals_go_down_the_rows(formula: tuple[str, int]) -> None:
    name, sign = formula
    for h, w in SIZES:
        cells = [(t % h, (t // h + sign * (t % h)) % w) for t in range(h * w)]
        assert scanlang.order(name).positions(h, w).tolist() == [r * w + c for r, c in cells]


def test_hilbert_goes_from_corner_to_corner_in_unit_steps() -> None:
    """But for one diagonal step where the longer side is odd and the shorter one even."""
    for h, w in product(range(1, 41), repeat=2):
        row, column = np.divmod(curve("hilbert", h, w), w)
        assert sorted((row * w + column).tolist()) == list(range(h * w))
        assert (row[0], column[0]) == (0, 0)
        assert (row[-1], column[-1]) == ((0, w - 1) if w >= h else (h - 1, 0))
        moves = np.stack([np.abs(np.diff(row)), np.abs(np.diff(column))])
        diagonal = int(np.count_nonzero((moves == 1).all(axis=0)))
        assert diagonal == (max(h, w) % 2 == 1 and min(h, w) % 2 == 0)
        assert np.count_nonzero(moves.sum(axis=0) == 1) == h * w - 1 - diagonal


def test_hilbert_stays_close() -> None:
    """A quarter of the steps of a square stay in a part of about a quarter of it: no row by row walk does."""
    row, column = np.divmod(curve("hilbert", 32, 32), 32)
    for quarter in range(4):
        part = slice(256 * quarter, 256 * (quarter + 1))
        assert max(np.ptp(row[part]), np.ptp(column[part])) < 20


def test_morton_blocks_are_aligned() -> None:
    row, column = np.divmod(curve("morton", 16, 16), 16)
    assert all((row[i : i + 4].max() - row[i : i + 4].min(), np.ptp(column[i : i + 4])) == (1, 1) for i in range(0, 256, 4))
    assert (row[1], column[1]) == (0, 1)


def test_random_is_the_same_on_every_machine() -> None:
    assert random_order(0, 8).tolist() == [2, 4, 6, 5, 1, 7, 0, 3]
    assert splitmix64(0, 0) == 0xE220A8397B1DCDAF, "the generator's published first number"
    for seed in (0, 1, -1, 2**31 - 1):
        for cells in (1, 2, 37):
            expected = sorted(range(cells), key=lambda cell: (splitmix64(seed, cell), cell))
            assert random_order(seed, cells).tolist() == expected
    assert random_order(3, 100).tolist() != random_order(4, 100).tolist()
    assert scanlang.order("random(3)", "t, h, w").positions(2, 3, 4).tolist() == random_order(3, 24).tolist()


@pytest.mark.parametrize("name", [*CURVES, "random(5)"])
def test_large_grids(name: str) -> None:
    for size in ((1248, 1247), (1, 3000), (2049, 3)):
        positions = scanlang.order(name).positions(*size)
        assert positions.dtype == np.int64
        assert (np.bincount(positions, minlength=size[0] * size[1]) == 1).all()
