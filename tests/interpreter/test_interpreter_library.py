"""Every scan of the library in Triton's interpreter, on small maps: output and every gradient against the reference."""

from __future__ import annotations

import math

import pytest
from library.library_checks import SCANS, program
from library.transcriptions import DESIGNS
from operator_checks import through

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.testing import assert_matches_reference, draw_inputs

QUICK = {
    "cross2d", "vim_v2", "vim_v1", "plainmamba_released", "cascade_rows", "es2d", "groupmamba", "pointmamba", "mambairv2",
    "ssd_grouped2d", "mlstm2d", "hydra",
}  # fmt: skip
"""One for each thing that a program can ask of kernels; the others are `long`."""

FEWEST_CELLS = 6


@pytest.mark.parametrize(
    ("file", "scan"), [pytest.param(*one, id=one[1], marks=[] if one[1] in QUICK else [pytest.mark.long]) for one in SCANS]
)
def test_library(file: str, scan: str) -> None:
    design = DESIGNS[file, scan]
    grid = min((grid for grid in design.grids if math.prod(grid) >= FEWEST_CELLS), key=math.prod)
    op = scanlang.compile(program(file), scan)
    tensors = draw_inputs(op, grid, batch=1, channels=design.channels, sizes=design.sizes)
    assert_matches_reference(through(TritonScan, op), program(file), tensors, scan)
