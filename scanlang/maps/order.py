"""`Order`: a checked order and what follows from it. In: a `CheckedOrder`; out: its maps, nest, tables and proof."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from scanlang.check.program import CheckedOrder, FormulaOrder, ShiftOrder, WalkOrder
from scanlang.diagnostics import ScanError
from scanlang.errors import GridSize
from scanlang.maps import compare
from scanlang.maps.algebra import NormalOrder, normal_order, transposed
from scanlang.maps.bounds import SIZES, STEP, Grid, cell_count, cell_names
from scanlang.maps.evaluate import IntArray
from scanlang.maps.formula import lower_formula
from scanlang.maps.index_map import Bijection, IndexMap, identity, mirror, roll
from scanlang.maps.nest import Nest, walk_nest
from scanlang.maps.prove import prove
from scanlang.maps.sequence import MOST_STEPS, Sequence, Tokens, map_positions, sequence_of
from scanlang.maps.structure import given_name, only_cells, token_names, visits_once
from scanlang.maps.walk import walk_levels, walk_map

MOST_CELLS = 2**31


@dataclass(frozen=True, eq=False, repr=False)
class Order:
    """`program.orders["rows"].positions(3, 4)`: the raster index of the cell visited at every step of a 3 × 4 grid.

    `axes` are the grid's names. Two orders are equal when they visit alike, whatever their names and however they are written
    (`compare.py` says how that is found out). Sizes that no grid has, and sizes where it is no order, raise ScanError.
    """

    name: str
    axes: tuple[str, ...]
    checked: CheckedOrder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Order) and compare.alike(self, other)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __str__(self) -> str:
        """As it is written; the name for an order that stands in no text."""
        text = " ".join(self.checked.span.text.split())
        if isinstance(self.checked, FormulaOrder):
            return f"{self.name}({self.checked.parameter}) = {text}"
        return text or self.name

    def __repr__(self) -> str:
        return f"<order {self}>"

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.axes)

    @cached_property
    def normal(self) -> NormalOrder:
        return normal_order(self.checked, self.rank)

    @property
    def leaf(self) -> CheckedOrder:
        """What is inside all reversals, transpositions and flips."""
        return self.normal.leaf

    @cached_property
    def bijection(self) -> Bijection | None:
        """(t) <-> (c0, c1, …), composed, for walks and what is rolled, mirrored or reversed of them; else None."""
        inner: Bijection | None = None
        if isinstance(self.leaf, WalkOrder):
            inner = walk_map(walk_levels(self.leaf))
        elif isinstance(self.leaf, ShiftOrder) and not self.normal.transposed:
            inner = Order(self.name, self.axes, self.leaf.of).bijection
            inner = None if inner is None else inner.then(rolled(self.leaf))
        if inner is None:
            return None
        before, after = _around(self.normal)
        return before.then(inner).then(after)

    @cached_property
    def map(self) -> IndexMap | None:
        """Step t to the cell (c0, c1, …), in t and the lengths n0, n1, …; None where only a table has it."""
        if self.bijection is not None:
            return self.bijection.forward
        core: IndexMap | None = None
        if isinstance(self.leaf, FormulaOrder):
            core = lower_formula(self.leaf).map
        elif isinstance(self.leaf, ShiftOrder):
            inner = Order(self.name, self.axes, self.leaf.of).map
            core = None if inner is None else rolled(self.leaf).forward.compose(inner)
        if core is None:
            return None
        if self.normal.transposed:
            swapped = core.with_sizes(dict(zip((size.name for size in SIZES), transposed(SIZES[: self.rank]), strict=False)))
            core = IndexMap(core.inputs, transposed(swapped.outputs))
        before, after = _around(self.normal)
        return after.forward.compose(core).compose(before.forward)

    @property
    def inverse_map(self) -> IndexMap | None:
        """Cell (c0, c1, …) to its step, None where only a table has it."""
        return self.bijection.backward if self.bijection else None

    @cached_property
    def nest(self) -> Nest | None:
        """The loops, None for all but walks."""
        return walk_nest(self.normal)

    @cached_property
    def proof(self) -> str | None:
        """Why it visits what it should at every size, None if only sizes one by one can be checked.

        That is every cell exactly once, but for what `dilate`, `concat` and `interleave` leave out or repeat as they say.
        """
        return prove(self.checked, self.axes)

    @cached_property
    def plain(self) -> bool:
        """Every cell of every grid exactly once, and nothing else: no tokens, pads, restarts, nothing given at run time."""
        return visits_once(self.checked) and only_cells(self.checked)

    @cached_property
    def covers(self) -> bool:
        """Every cell of every grid is visited exactly once, whatever else is."""
        return visits_once(self.checked)

    @cached_property
    def token_names(self) -> tuple[str, ...]:
        return token_names(self.checked)

    @cached_property
    def given(self) -> str | None:
        """The name of the order given at run time that is inside; then positions below L are steps of that order."""
        return given_name(self.checked)

    def sequence(self, *grid: int) -> Sequence:
        """What is visited, step by step; raises ScanError for a size where it is no order."""
        self.check_size(grid)
        if self.bijection is not None:
            return Sequence(prod(grid), map_positions(self.bijection.forward, grid))
        return sequence_of(self.checked, self.axes, grid, self.name)

    def check_size(self, grid: Grid) -> None:
        """Raises ScanError where there is no such grid, or too many steps would have to be made or checked one by one."""
        finding = size_finding(self, grid)
        if finding is None and self.bijection is None and prod(grid) > MOST_STEPS:
            unproved = isinstance(self.leaf, FormulaOrder) and self.proof is None
            finding = GridSize(self.leaf.span, self.name, grid, MOST_STEPS, self.axes, unproved)
        if finding is not None:
            raise ScanError([finding])

    def positions(self, *grid: int) -> IntArray:
        """int64: the raster index of the cell visited at every step; L + i for the order's own i-th token, -1 for a pad."""
        return np.maximum(self.sequence(*grid).rows, -1)

    def ranks(self, *grid: int) -> IntArray:
        """int64, a value for every cell in raster order: the step of its first visit, -1 if it has none."""
        sequence = self.sequence(*grid)
        steps = np.flatnonzero(sequence.at_cells)[::-1]
        ranks = np.full(sequence.cells, -1, dtype=np.int64)
        ranks[sequence.rows[steps]] = steps
        return ranks

    def visits(self, *grid: int) -> IntArray:
        """int64, a value for every cell in raster order: how often it is visited."""
        return self.sequence(*grid).visits

    def tokens(self, *grid: int) -> Tokens:
        """The names of its tokens and how many there are of each: rows L, L + 1, … are those of the first name."""
        return self.sequence(*grid).tokens

    @cached_property
    def digest(self) -> bytes:
        """Equal orders have equal digests."""
        return compare.digest(self)

    def _repr_svg_(self) -> str | None:
        """Its picture, for notebooks."""
        from scanlang.draw import order_svg

        return order_svg(self)


def size_finding(order: Order, grid: Grid) -> GridSize | None:
    """Why there is no such grid; the finding points at `order`."""
    if len(grid) == order.rank and min(grid) >= 1 and prod(grid) <= MOST_CELLS:
        return None
    return GridSize(order.checked.span, order.name, grid, MOST_CELLS, order.axes)


def rolled(order: ShiftOrder) -> Bijection:
    """What a shift does to a cell."""
    names = cell_names(len(order.offsets))
    total = roll(names, names[0], SIZES[0], order.offsets[0])
    for axis in range(1, len(names)):
        total = total.then(roll(names, names[axis], SIZES[axis], order.offsets[axis]))
    return total


def _around(order: NormalOrder) -> tuple[Bijection, Bijection]:
    """What comes before the leaf (reversal of t) and after it (flips of the cell)."""
    rank = len(order.flipped)
    before = mirror((STEP.name,), STEP.name, cell_count(rank), order.reversed)
    after = identity(cell_names(rank))
    for axis, flipped in enumerate(order.flipped):
        after = after.then(mirror(after.names, f"c{axis}", SIZES[axis], flipped))
    return before, after
