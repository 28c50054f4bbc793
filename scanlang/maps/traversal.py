"""What the directions of a scan visit. In: their orders, and those of streams that run elsewhere; out: tables for each size.

The rows of a map are its cells in raster order, then the tokens (by name, in the order of first use), then the pads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from scanlang.check.program import LABELS
from scanlang.diagnostics import ScanError
from scanlang.errors import LengthsDiffer
from scanlang.maps.bounds import Grid
from scanlang.maps.evaluate import IntArray
from scanlang.maps.order import Order
from scanlang.maps.sequence import Sequence, Tokens

Table = NDArray[np.int32]
MOST_KEPT = 64


@dataclass(frozen=True, eq=False)
class Visits:
    """A traversal at one size; L cells, R rows, J steps of the longest of K directions.

    `tables[route][k]` is the row of every step of direction k, `(lengths[k],)`; `restarts[k]` says where its state starts anew
    (True at no first step: states are zero there anyway), `labels[k]` gives the label of every step (an index into `LABELS`).
    `given[k]` names the order that is given at run time and visited by direction k: there entries below L are steps of it.
    """

    cells: int
    tokens: Tokens
    pads: int
    lengths: tuple[int, ...]
    tables: tuple[tuple[IntArray, ...], ...]
    restarts: tuple[NDArray[np.bool_], ...]
    labels: tuple[IntArray, ...]
    given: tuple[str | None, ...]

    @property
    def rows(self) -> int:
        return self.cells + sum(count for _, count in self.tokens) + self.pads

    @property
    def steps(self) -> int:
        """J: steps of the longest direction."""
        return max(self.lengths)

    @cached_property
    def simple(self) -> bool:
        """Every direction visits every row exactly once, on every route: what is written needs no zeros and no adding."""
        return all((counts == 1).all() for route in self._counts for counts in route)

    def whole(self, route: int, direction: int) -> bool:
        """Whether it visits every row, pads apart."""
        return bool((self._counts[route][direction][: self.rows - self.pads] > 0).all())

    def repeats(self, route: int, direction: int) -> bool:
        """Whether it visits a row twice, pads apart."""
        return bool((self._counts[route][direction][: self.rows - self.pads] > 1).any())

    @cached_property
    def table(self) -> Table:
        """`(routes, K, J)` int32, filled up with zeros."""
        table = np.zeros((len(self.tables), len(self.lengths), self.steps), dtype=np.int32)
        for number, route in enumerate(self.tables):
            for direction, rows in enumerate(route):
                table[number, direction, : len(rows)] = rows
        return table

    @cached_property
    def _counts(self) -> tuple[tuple[IntArray, ...], ...]:
        """How often every row is visited."""
        return tuple(tuple(np.bincount(rows, minlength=self.rows) for rows in route) for route in self.tables)


class Traversal:
    """`Traversal((orders, …))`: `routes[0]` are the directions' own orders, `routes[r][k]` the r-th other of direction k.

    Rows are numbered for the orders of all routes, or for those in `numbered`: traversals with the same have the same rows.
    """

    def __init__(self, routes: tuple[tuple[Order, ...], ...], numbered: tuple[Order, ...] | None = None) -> None:
        self.routes = routes
        self.numbered = tuple(order for route in routes for order in route) if numbered is None else numbered
        self._made: OrderedDict[Grid, Visits] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[object, ...]:
        return Traversal, (self.routes, self.numbered)

    def __repr__(self) -> str:
        return f"<traversal {'; '.join(', '.join(order.name for order in route) for route in self.routes)}>"

    @property
    def orders(self) -> tuple[Order, ...]:
        return self.routes[0]

    @cached_property
    def plain(self) -> bool:
        """One route of orders that visit every cell of every grid once, and nothing else, without restarts: R = J = L."""
        return len(self.routes) == 1 and all(order.plain for order in self.numbered)

    @cached_property
    def token_names(self) -> tuple[str, ...]:
        """In the order of first use; how many there are of each depends on the size."""
        return tuple(dict.fromkeys(name for order in self.numbered for name in order.token_names))

    @cached_property
    def given_names(self) -> tuple[str, ...]:
        """The orders given at run time."""
        given = (order.given for route in self.routes for order in route)
        return tuple(dict.fromkeys(name for name in given if name is not None))

    def at(self, grid: Grid) -> Visits:
        """The tables for one size, made once (the last 64 sizes are kept); raises ScanError for a size with findings."""
        grid = tuple(int(length) for length in grid)
        with self._lock:
            if grid not in self._made:
                self._made[grid] = self._visits(grid)
                if len(self._made) > MOST_KEPT:
                    self._made.popitem(last=False)
            self._made.move_to_end(grid)
            return self._made[grid]

    def _visits(self, grid: Grid) -> Visits:
        made: dict[int, Sequence] = {}
        for order in (*self.numbered, *(order for route in self.routes for order in route)):
            if id(order) not in made:
                made[id(order)] = order.sequence(*grid)
        routes = [[made[id(order)] for order in route] for route in self.routes]
        own = routes[0]
        for number, route in enumerate(routes):
            for k, sequence in enumerate(route):
                if sequence.steps != own[k].steps:
                    raise ScanError([_lengths_differ(self.routes[number][k], self.orders[k], sequence, own[k], grid)])
        cells = prod(grid)
        numbered = [made[id(order)] for order in self.numbered]
        tokens = self._tokens(numbered)
        pads = max(sequence.pads for sequence in numbered)
        return Visits(
            cells,
            tokens,
            pads,
            tuple(sequence.steps for sequence in own),
            tuple(tuple(rows_of(sequence, tokens) for sequence in route) for route in routes),
            tuple(sequence.restarts for sequence in own),
            tuple(labels_of(sequence, grid) for sequence in own),
            tuple(order.given for order in self.orders),
        )

    def _tokens(self, sequences: list[Sequence]) -> Tokens:
        """As many of a name as the direction that has most of them."""
        counts = dict.fromkeys(self.token_names, 0)
        for sequence in sequences:
            for name, count in sequence.tokens:
                counts[name] = max(counts[name], count)
        return tuple(counts.items())


def _lengths_differ(route: Order, direction: Order, other: Sequence, own: Sequence, grid: Grid) -> LengthsDiffer:
    sizes = tuple(zip(route.axes, grid, strict=True))
    return LengthsDiffer(route.checked.span, route.name, direction.name, other.steps, own.steps, sizes)


def rows_of(sequence: Sequence, tokens: Tokens) -> IntArray:
    """The rows of a map with `tokens` that a sequence visits."""
    first, following = {}, sequence.cells
    for name, count in tokens:
        first[name] = following
        following += count
    own = [np.arange(sequence.cells, dtype=np.int64)]
    own += [first[name] + np.arange(count, dtype=np.int64) for name, count in sequence.tokens]
    table = np.concatenate(own) if sequence.tokens else own[0]
    rows = sequence.rows
    if sequence.pads == 0:
        return table[rows] if sequence.tokens else rows
    result = following - 1 - rows
    result[rows >= 0] = table[rows[rows >= 0]]
    return result


def labels_of(sequence: Sequence, grid: Grid) -> IntArray:
    """The label of every step: the move from the cell before, along the last axis or the one before it."""
    number = {name: index for index, name in enumerate(LABELS)}
    labels = np.full(sequence.steps, number["jump"], dtype=np.int64)
    at_cells = sequence.at_cells
    both = at_cells[1:] & at_cells[:-1]
    moves = [np.diff(coordinate) for coordinate in np.unravel_index(np.where(at_cells, sequence.rows, 0), grid)]
    for axis, (back, forth) in ((-1, ("left", "right")), (-2, ("up", "down")))[: len(grid)]:
        still = both.copy()
        for other, move in enumerate(moves):
            still &= (move == 0) | (other == len(grid) + axis)
        labels[1:][still & (moves[axis] == -1)] = number[back]
        labels[1:][still & (moves[axis] == 1)] = number[forth]
    labels[sequence.restarts] = number["start"]
    labels[:1] = number["start"]
    return labels
