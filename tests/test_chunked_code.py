"""Machine code of matrix products over chunks, made without a GPU: on tensor cores, within a program's shared memory."""

from __future__ import annotations

import pytest
from chunked_programs import BODIES, program

import scanlang
from scanlang.codegen.gpu.choose_chunked import chunked_schedule
from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.machine_code import compile_module
from scanlang.codegen.gpu.triton_layout import Layout, Shape
from scanlang.codegen.lower_to_kernels import lower_to_kernels

pytestmark = pytest.mark.triton

SHARED = 99 * 1024
"""Bytes that a program may have on every architecture from sm_80 on."""


def layout(name: str, state: int, head: int, dtype: str, channels: int = 128) -> Layout:
    op = scanlang.compile(program(BODIES[name], state=state, head=head))
    kernels = lower_to_kernels(op.graph, {"state": state, "head": head})
    types = tuple((s.name, dtype) for s in kernels.streams) + tuple((p.name, "float32") for p in kernels.parameters)
    return Layout(kernels, op.graph.traversal, chunked_schedule(kernels, dtype), Shape((14, 14), channels, types))


def test_text_is_the_same_on_every_run() -> None:
    first, second = (layout("normalised", 16, 32, "bfloat16") for _ in range(2))
    texts = [emit_triton(one.kernels, one.traversal, one.schedule, one.shape) for one in (first, second)]
    assert texts[0] == texts[1]
    assert "input_precision" not in texts[0]


@pytest.mark.parametrize(
    ("name", "state", "dtype"),
    [
        ("ssd", 16, "bfloat16"),
        *(
            pytest.param(name, state, dtype, marks=pytest.mark.long)
            for name in ("ssd", "normalised", "gated")
            for state in (64, 128)
            for dtype in ("bfloat16", "float32")
        ),
    ],
)
def test_tensor_cores(name: str, state: int, dtype: str) -> None:
    for code in compile_module(layout(name, state, 64, dtype), 90):
        if code.report.name in ("forward", "backward"):
            assert "MMA" in code.sass
            assert code.report.shared <= SHARED, f"{code.report.name} takes {code.report.shared} bytes"
