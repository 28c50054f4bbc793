"""The library on an NVIDIA GPU: modules against the transcriptions of the published code, operators against the reference.

Most of the time goes into compiling, once for a size and type: in float32 modules and operators take the same size and share
their kernels, the second size is that of the operators in bfloat16.
"""

from __future__ import annotations

import pytest
import torch
from library.library_checks import CASES, FIRST_LAYERS, Call, program
from library.matrix import CELLS, Combination, combinations
from library.transcriptions import DESIGNS

import scanlang
from scanlang.testing import TOLERANCES, Tolerance, assert_matches_reference, draw_inputs
from scanlang.testing.tensors import fewest_channels

pytestmark = pytest.mark.gpu

COMBINATIONS = 80
WIDER = 11
"""So many times the channels of the tests on the CPU: more than a warp, and no multiple of one."""


@pytest.mark.parametrize(("file", "scan", "layer"), CASES)
def test_modules_match_the_transcriptions(file: str, scan: str, layer: int) -> None:
    """MHS-VM in float64: a deviation over a mean that may be near zero has no accuracy in float32."""
    design, dtype = DESIGNS[file, scan], torch.float64 if file == "mhs_vm" else torch.float32
    Call(file, scan, layer, design.grids[0], channels=WIDER * design.channels, dtype=dtype, device="cuda").compare()


@pytest.mark.parametrize(("size", "dtype"), [(0, torch.float32), (1, torch.bfloat16)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("file", "scan"), FIRST_LAYERS)
def test_operators_match_the_reference(file: str, scan: str, size: int, dtype: torch.dtype) -> None:
    design, op = DESIGNS[file, scan], scanlang.compile(program(file), scan)
    tolerances = TOLERANCES
    if dtype == torch.bfloat16 and (op.convolves_before or op.graph.second is not None):
        rounding = TOLERANCES[dtype].rounding
        tolerances = {torch.float32: Tolerance(rounding, 4 * rounding, 16 * rounding)}
    grid, channels = design.grids[size], WIDER * design.channels
    drawn = draw_inputs(op, grid, channels=channels, sizes=design.sizes, dtype=dtype, device="cuda")
    assert_matches_reference(op, program(file), drawn, scan, tolerances=tolerances)


@pytest.mark.parametrize("one", combinations(COMBINATIONS), ids=str)
def test_any_order_merge_and_recurrence(one: Combination) -> None:
    program = one.program()
    op = scanlang.compile(program)
    channels = WIDER * fewest_channels(op, {})
    assert_matches_reference(op, program, draw_inputs(op, CELLS[len(one.directions.axes)], channels=channels, device="cuda"))
