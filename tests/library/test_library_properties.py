"""What holds for every order, scan and file of the library, whatever design it is: the property tests, run over all of it."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from library.library_checks import CASES, FILES, FIRST_LAYERS, SCANS, program
from library.transcriptions import DESIGNS
from operator_checks import assert_same_bits, call, results

import scanlang
from scanlang.maps.order import Order
from scanlang.maps.verify import verify_size
from scanlang.testing import TOLERANCES, Tolerance, assert_bijection, assert_matches_reference, draw_inputs, draw_layers, grids

WITHOUT_SOURCE = {"selective", "orders"}
MOST_LINES = 15
ORDERS = sorted({file for file, _ in SCANS})
NEEDS = {"mamba_reg": 13}
"""Registers need so many cells."""


# Files.


@pytest.mark.parametrize("file", sorted(set(FILES) - WITHOUT_SOURCE))
def test_a_file_names_its_source(file: str) -> None:
    comment = re.match(r"(?:#.*\n)+", program(file).source.text)
    assert comment is not None
    assert re.search(r"github\.com/[\w.-]+/[\w.-]+|arXiv \d{4}\.\d{5}", comment[0])


def test_scans_are_short() -> None:
    for file, scan in SCANS:
        text = program(file).source.text
        start = text.index(f"scan {scan}(")
        assert text[start : text.index("\n}", start)].count("\n") < MOST_LINES, scan


def test_no_two_scans_of_the_library_have_one_name() -> None:
    assert {scan: count for scan, count in Counter(scan for _, scan in SCANS).items() if count > 1} == {}


@pytest.mark.parametrize("file", FILES)
def test_a_file_can_be_imported(file: str) -> None:
    brought = scanlang.loads(f"import std.{file}")
    assert set(brought.scans) >= {scan for name, scan in SCANS if name == file}


# Orders.


def orders_of(file: str) -> list[Order]:
    scans = [(scan, len(program(file).scans[scan].layers)) for name, scan in SCANS if name == file]
    return [order for scan, layers in scans for layer in range(layers) for order in program(file).directions(scan, layer)]


@pytest.mark.parametrize("file", ORDERS)
@settings(max_examples=10)
@given(st.data())
def test_orders_visit_what_they_say(file: str, data: st.DataObject) -> None:
    """Every cell once, or with the counts of `visits`; ranks are first visits; reversed, the same backwards."""
    rank = len(program(file).checked.axes)
    grid = data.draw(grids(9 if rank < 3 else 4, axes=rank))
    assume(math.prod(grid) >= NEEDS.get(file, 1))
    for order in orders_of(file):
        verify_size(order, *grid)
        if order.plain:
            assert_bijection(order, *grid)
        positions, ranks = order.positions(*grid), order.ranks(*grid)
        cells = positions[(positions >= 0) & (positions < math.prod(grid))]
        assert np.array_equal(order.visits(*grid), np.bincount(cells, minlength=math.prod(grid)))
        steps = {int(cell): t for t, cell in reversed(list(enumerate(positions)))}
        assert ranks.tolist() == [steps.get(cell, -1) for cell in range(math.prod(grid))]


@pytest.mark.parametrize(("file", "scan", "layer"), CASES)
def test_directions_cover_the_grid_together(file: str, scan: str, layer: int) -> None:
    for grid in DESIGNS[file, scan].grids:
        assert np.sum([order.visits(*grid) for order in program(file).directions(scan, layer)], axis=0).all()


@pytest.mark.parametrize("file", ORDERS)
def test_every_order_is_proved(file: str) -> None:
    """No order of the library is merely checked at some sizes."""
    unproved = [name for name, found in program(file).verified.verifications.items() if found.proof is None]
    assert not unproved


# Operators.


@pytest.mark.parametrize(("file", "scan", "layer"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_operators_match_the_reference(file: str, scan: str, layer: int, dtype: torch.dtype) -> None:
    """Output and every gradient, from inputs in any layout; the compiler's own reference stands in for the transcriptions."""
    design, op = DESIGNS[file, scan], scanlang.compile(program(file), scan, layer)
    tolerances = TOLERANCES
    if dtype == torch.bfloat16 and (op.convolves_before or op.graph.second is not None):
        rounding = TOLERANCES[dtype].rounding  # what one pass hands to the next is of the maps' type
        tolerances = {torch.float32: Tolerance(rounding, 4 * rounding, 16 * rounding)}
    drawn = draw_inputs(op, design.grids[0], channels=design.channels, sizes=design.sizes, dtype=dtype, contiguous=False)
    assert_matches_reference(op, program(file), drawn, scan, layer, tolerances=tolerances)


@pytest.mark.parametrize(("file", "scan"), FIRST_LAYERS)
def test_operators_of_torch(file: str, scan: str) -> None:
    """The schema, fake tensors and autograd registration of the operator; the same bits on a second run."""
    design, op = DESIGNS[file, scan], scanlang.compile(program(file), scan)
    given = draw_inputs(op, design.grids[0], channels=design.channels, sizes=design.sizes, batch=1)
    given |= draw_layers(program(file), scan, channels=design.channels)
    assert_same_bits(results(op, given), results(op, given))
    called = call(op, given)
    tensors = tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in called.tensors)
    torch.library.opcheck(op.torch_op, (*tensors, None), {"grid": list(called.grid), "save": True})
