"""Matrix products over chunks of steps in Triton's interpreter, on small maps, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from chunked_programs import BODIES, CLAUSES, SSD, check, in_chunks, program

from scanlang.testing import TOLERANCES, Tolerance

TRUNCATED = {**TOLERANCES, torch.float32: Tolerance(2**-7, 2**-7, 2**-5)}
"""The interpreter cuts bfloat16 off where a GPU rounds."""

QUICK = ("ssd", "weighed", "gated")


def some(names: Any, *quick: str) -> list[Any]:
    return [pytest.param(name, id=name, marks=[] if name in quick else [pytest.mark.long]) for name in names]


@pytest.fixture(autouse=True)
def products_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter keeps bfloat16 as integers, and multiplies matrices of these; here they are numbers."""
    from triton.runtime import interpreter

    def values(handle: Any) -> Any:
        if str(handle.dtype.scalar) != "bf16":
            return handle.data
        return (handle.data.astype(np.uint32) << 16).view(np.float32)

    def create_dot(_: Any, a: Any, b: Any, onto: Any, *__: Any) -> Any:
        return interpreter.TensorHandle(np.matmul(values(a), values(b)) + onto.data, onto.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.mark.parametrize("name", some(BODIES, *QUICK))
def test_recurrences(name: str) -> None:
    """Three chunks, the last of them short."""
    check(program(BODIES[name]), in_chunks(16), batch=2 if name == "ssd" else 1)


@pytest.mark.parametrize("name", some(BODIES, "low rank"))
def test_rows_and_channels_that_fill_no_tile(name: str) -> None:
    check(program(BODIES[name], state=10, head=12), in_chunks(16), channels=24)


@pytest.mark.parametrize("clauses", some(CLAUSES, "split", "some rows"))
def test_what_directions_do(clauses: str) -> None:
    body = BODIES["linear"] if clauses == "along" else SSD
    check(program(body, CLAUSES[clauses]), in_chunks(16))


@pytest.mark.parametrize("name", some(["normalised", "bonus"], "normalised"))
def test_restarts(name: str) -> None:
    check(program(BODIES[name], CLAUSES["restarts"]), in_chunks(16))


@pytest.mark.parametrize("name", some(["ssd", "normalised", "exclusive", "gated"], "normalised"))
def test_states_of_the_caller(name: str) -> None:
    check(program(BODIES[name]), in_chunks(16), with_states=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", some(["ssd", "normalised", "gated"], "ssd"))
def test_types(name: str, dtype: torch.dtype) -> None:
    check(program(BODIES[name]), in_chunks(32), dtype=dtype, tolerances=TRUNCATED if dtype == torch.bfloat16 else TOLERANCES)


def test_directions_in_turn() -> None:
    check(program(SSD), in_chunks(16, "turns"))
    check(program(SSD, CLAUSES["mean"]), in_chunks(16, "turns"), dtype=torch.float16)


@pytest.mark.long
def test_several_programs_of_one_unit() -> None:
    """A head of 128 channels is two blocks: what they have in common is the sum of both."""
    check(program(BODIES["normalised"], head=128), in_chunks(16), (4, 5), channels=128)
    check(program(BODIES["normalised"], head=128), in_chunks(16), (4, 5), channels=128, with_states=True)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (8, 2)], ids=str)
def test_small_maps(batch: int, grid: tuple[int, int]) -> None:
    check(program(SSD), in_chunks(16), grid, batch=batch, channels=16)
