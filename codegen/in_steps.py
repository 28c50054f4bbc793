"""What a pass before makes of a cell that is visited several times: a row for every visit. In: the graphs of a scan and of its
convolution; out: the same with one more route, along which the pass writes and what is projected from it is read.

A convolution gives something else at every visit, and a map has one row per cell: visits after the first get rows of their own
behind the pads, where nothing else reads or writes.

    o = concat(raster, reverse(raster)), 3 cells        own route 0 1 2 2 1 0        in steps 0 1 2 3 4 5
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scanlang.check.order_tree import within
from scanlang.check.program import ConcatOrder, InterleaveOrder
from scanlang.graph.scan_graph import OWN, ScanGraph
from scanlang.maps.bounds import Grid
from scanlang.maps.evaluate import IntArray
from scanlang.maps.traversal import Traversal, Visits


class InSteps(Traversal):
    """`InSteps(traversal)`: its last route is the directions' own, with a row for every visit."""

    def __init__(self, traversal: Traversal) -> None:
        super().__init__((*traversal.routes, traversal.orders), traversal.numbered)
        self.inside = traversal

    def __reduce__(self) -> tuple[object, ...]:
        return InSteps, (self.inside,)

    def _visits(self, grid: Grid) -> Visits:
        visits = self.inside.at(grid)
        moved = tuple(_apart(rows, visits.rows) for rows in visits.tables[OWN])
        most = max((int(rows.max(initial=0)) for rows in moved), default=0)
        pads = max(visits.rows, most + 1) - (visits.rows - visits.pads)
        return replace(visits, pads=pads, tables=(*visits.tables, moved))


def _apart(rows: IntArray, following: int) -> IntArray:
    """The rows with every visit after a row's first in a row of its own, counted from `following`."""
    _, firsts = np.unique(rows, return_index=True)
    again = np.ones(len(rows), dtype=np.bool_)
    again[firsts] = False
    apart = rows.copy()
    apart[again] = following + np.arange(np.count_nonzero(again))
    return apart


def visits_twice(traversal: Traversal) -> bool:
    """Some order may visit a cell several times."""
    return any(isinstance(part, ConcatOrder | InterleaveOrder) for order in traversal.orders for part in within(order.checked))


def read_in_steps(graph: ScanGraph, names: frozenset[str]) -> ScanGraph:
    """The graph with the operands `names` read at a row for every visit, those that run along another order apart."""
    routes = {name: len(graph.traversal.routes) for name in names if name not in graph.stream_routes}
    return replace(graph, traversal=InSteps(graph.traversal), stream_routes={**graph.stream_routes, **routes})


def written_in_steps(graph: ScanGraph) -> ScanGraph:
    """The graph with its outputs in a row for every visit."""
    return replace(graph, traversal=InSteps(graph.traversal), output_route=len(graph.traversal.routes))
