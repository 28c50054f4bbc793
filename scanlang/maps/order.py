"""`Order`: a checked order and what follows from it. In: a `CheckedOrder`; out: its maps, nest, tables and proof."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scanlang.check.program import CheckedOrder, FormulaOrder, WalkOrder
from scanlang.diagnostics import ScanError
from scanlang.errors import GridSize
from scanlang.maps.algebra import NormalOrder, normal_order
from scanlang.maps.bounds import HEIGHT, SIZES, WIDTH
from scanlang.maps.evaluate import IntArray
from scanlang.maps.exhaustive import formula_cells
from scanlang.maps.formula import lower_formula
from scanlang.maps.index_map import Bijection, IndexMap, mirror
from scanlang.maps.integers import Constant
from scanlang.maps.nest import Nest, walk_nest
from scanlang.maps.proofs import prove_formula
from scanlang.maps.walk import walk_levels, walk_map

CHUNK = 1 << 16
MOST_CELLS = 2**31
MOST_CHECKED = 2**26
"""The most cells of a grid on which a formula without a proof is checked step by step."""


@dataclass(frozen=True, eq=False)
class Order:
    """`program.orders["rows"].positions(3, 4)`: the raster index of the cell visited at every step of a 3 × 4 grid.

    `axes` are the grid's names. Two orders are equal when they are the same walk or formula with the same reversals,
    transpositions and flips around it, whatever their names. Sizes that no grid has, and sizes where a formula is no
    order, raise ScanError.
    """

    name: str
    axes: tuple[str, ...]
    checked: CheckedOrder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and self.normal == other.normal

    def __hash__(self) -> int:
        return hash(self.normal)

    @cached_property
    def normal(self) -> NormalOrder:
        return normal_order(self.checked)

    @property
    def leaf(self) -> WalkOrder | FormulaOrder:
        """What is inside all reversals, transpositions and flips."""
        return self.normal.leaf

    @cached_property
    def bijection(self) -> Bijection | None:
        """(t) <-> (c0, c1), composed, for walks; a formula's inverse is a table (`ranks`)."""
        if isinstance(self.leaf, FormulaOrder):
            return None
        before, after = _around(self.normal)
        return before.then(walk_map(walk_levels(self.leaf))).then(after)

    @cached_property
    def map(self) -> IndexMap:
        """Step t to the cell (c0, c1), in t and the lengths n0, n1."""
        if self.bijection is not None:
            return self.bijection.forward
        assert isinstance(self.leaf, FormulaOrder)
        core = lower_formula(self.leaf).map
        if self.normal.transposed:
            swapped = core.with_sizes({"n0": WIDTH, "n1": HEIGHT})
            core = IndexMap(core.inputs, (swapped.outputs[1], swapped.outputs[0]))
        before, after = _around(self.normal)
        return after.forward.compose(core).compose(before.forward)

    @property
    def inverse_map(self) -> IndexMap | None:
        """Cell (c0, c1) to its step, None where only a table has it."""
        return self.bijection.backward if self.bijection else None

    @cached_property
    def nest(self) -> Nest | None:
        """The loops, None for formulas."""
        return walk_nest(self.normal)

    @cached_property
    def proof(self) -> str | None:
        """Why every cell is visited exactly once at every size, None if only sizes one by one can be checked."""
        if isinstance(self.leaf, WalkOrder):
            return "walk: every axis whole, by construction"
        return prove_formula(self.leaf)

    def positions(self, h: int, w: int) -> IntArray:
        """int64, h * w long: the raster index of the cell visited at every step."""
        finding = size_finding(self, h, w) or unproved_finding(self, self.name, h, w)
        if finding is not None:
            raise ScanError([finding])
        if isinstance(self.leaf, FormulaOrder):
            return _formula_positions(self.name, self.normal, self.leaf, h, w)
        sized = self.map.with_sizes({"n0": Constant(h), "n1": Constant(w)})
        cells = np.empty(h * w, dtype=np.int64)
        for steps in chunks(h * w):
            row, column = sized(steps)
            cells[steps[0] : steps[-1] + 1] = row * w + column
        return cells

    def ranks(self, h: int, w: int) -> IntArray:
        """int64, h * w long: the step at which every cell, in raster order, is visited."""
        positions = self.positions(h, w)
        ranks = np.empty_like(positions)
        ranks[positions] = np.arange(h * w, dtype=np.int64)
        return ranks


def size_finding(order: Order, h: int, w: int) -> GridSize | None:
    """Why there is no grid of h × w; the finding points at `order`."""
    if min(h, w) >= 1 and h * w <= MOST_CELLS:
        return None
    return GridSize(order.checked.span, order.name, (h, w), MOST_CELLS)


def unproved_finding(order: Order, name: str, h: int, w: int) -> GridSize | None:
    """Why the formula in `order`, called `name`, is not checked at h × w."""
    if h * w <= MOST_CHECKED or order.proof is not None:
        return None
    return GridSize(order.leaf.span, name, (h, w), MOST_CHECKED, unproved=True)


def chunks(count: int) -> Iterator[IntArray]:
    """0 … count - 1 in pieces that fit the processor's cache."""
    for start in range(0, count, CHUNK):
        yield np.arange(start, min(count, start + CHUNK), dtype=np.int64)


def _around(order: NormalOrder) -> tuple[Bijection, Bijection]:
    """What comes before the leaf (reversal of t) and after it (flips of the cell)."""
    before = mirror(("t",), "t", HEIGHT * WIDTH, order.reversed)
    rows = mirror(("c0", "c1"), "c0", SIZES[0], order.flipped[0])
    return before, rows.then(mirror(("c0", "c1"), "c1", SIZES[1], order.flipped[1]))


def _formula_positions(name: str, order: NormalOrder, leaf: FormulaOrder, h: int, w: int) -> IntArray:
    """The formula's own table, checked, then transposed, mirrored and reversed as a table."""
    if order.transposed:
        column, row = formula_cells(name, leaf, w, h)
    else:
        row, column = formula_cells(name, leaf, h, w)
    row = h - 1 - row if order.flipped[0] else row
    column = w - 1 - column if order.flipped[1] else column
    cells = row * w + column
    return cells[::-1].copy() if order.reversed else cells
