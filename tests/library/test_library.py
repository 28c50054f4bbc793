"""The library against transcriptions of the published code: what is visited, exactly; outputs and all gradients in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from library.library_checks import CASES, SCANS, Call, program
from library.slow import moves, rows_of
from library.transcriptions import DESIGNS
from library.walks import Walks

from scanlang.maps.traversal import Visits


def test_every_scan_is_transcribed() -> None:
    assert set(SCANS) == set(DESIGNS)
    for (file, scan), design in DESIGNS.items():
        assert len(program(file).scans[scan].layers) == len(design.layers), scan


@pytest.mark.parametrize(("file", "scan", "layer"), CASES)
def test_directions(file: str, scan: str, layer: int) -> None:
    """Cells, tokens, padding and starts of every direction; labels; where other streams run. On every size of the design."""
    design = DESIGNS[file, scan]
    orders, graph = program(file).directions(scan, layer), program(file).graph(scan, layer)
    for grid in design.grids:
        count = math.prod(grid)
        walks = design.walks(layer, grid, range(count) if design.given else None)
        visits, rows = graph.traversal.at(grid), rows_of(walks, count)
        assert_same(visits, 0, walks, rows)
        for k, walk in enumerate(walks):
            assert np.flatnonzero(visits.restarts[k]).tolist() == sorted(walk.starts)
            if design.labelled:
                assert visits.labels[k].tolist() == moves(walk, grid)
            if design.given is None:
                kinds = [step if isinstance(step, int) else -1 if step is None else count for step in walk.steps]
                assert np.minimum(orders[k].positions(*grid), count).tolist() == kinds
        if design.operands is not None:
            for name in ("low", "B", "C"):
                assert_same(visits, graph.stream_routes[name], design.operands(*grid), rows)
        written = walks if design.outputs is None else design.outputs(*grid)
        assert_same(visits, graph.output_route, written, rows)


def assert_same(visits: Visits, route: int, walks: Walks, rows: dict[object, int]) -> None:
    """The rows of a route; padding has many rows in the compiler, one here."""
    assert list(visits.lengths) == [len(walk) for walk in walks]
    for table, walk in zip(visits.tables[route], walks, strict=True):
        assert np.minimum(table, rows[None]).tolist() == [rows[step] for step in walk.steps]


@pytest.mark.parametrize(("file", "scan", "layer"), CASES)
def test_outputs_and_gradients(file: str, scan: str, layer: int) -> None:
    first, second, *_ = DESIGNS[file, scan].grids
    Call(file, scan, layer, first).compare()
    Call(file, scan, layer, second, batch=1, seed=1).compare()
