"""Rows of the benchmark that run Triton's kernels themselves, at tiny sizes in its interpreter."""

from __future__ import annotations

import pytest

from scanlang.bench.catalogue import catalogue
from scanlang.bench.row import Where

QUICK = (
    "schedule-stage3-before_ahead-both",
    "orders-stage1-window7-formula-forward",
    "chunked-linear-16-large-32turns-forward",
)
LONG = (
    "schedule-vim-two-forward",
    "schedule-stage1-two_ahead-both",
    "orders-stage1-raster-arithmetic-forward",
    "orders-stage2-snake-table-backward",
    "orders-stage1-reset7-table-backward",
    "chunked-ssd-16-stage1-32-both",
    "chunked-gla-16-stage3-steps-forward",
)


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)])
def test_rows_run(name: str) -> None:
    assert catalogue()[name].measure(Where("cpu", tiny=True)).median is not None
