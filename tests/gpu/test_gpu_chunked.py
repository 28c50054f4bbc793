"""Matrix products over chunks of steps on an NVIDIA GPU: as in the interpreter, at sizes that fill more of one, and against the
schedule step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chunked_programs import BODIES, CLAUSES, SSD, check, in_chunks, program
from operator_checks import assert_same_bits, results, through

import scanlang
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.testing import assert_close, draw_inputs

pytestmark = pytest.mark.gpu

STEPS = (16, 32, 64)
FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def short(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", BODIES)
def test_recurrences(name: str, dtype: torch.dtype) -> None:
    check(program(BODIES[name]), in_chunks(32), (9, 13), 64, batch=3, dtype=dtype, device="cuda")


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", ["ssd", "normalised", "gated", "bonus"])
def test_chunks(name: str, steps: int) -> None:
    """Of every length, on a head that is two blocks of channels, and where nothing is a power of two."""
    check(program(BODIES[name], state=32, head=128), in_chunks(steps), (14, 14), 256, batch=2, device="cuda")
    check(program(BODIES[name], state=24, head=40), in_chunks(steps), (7, 11), 80, dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize(("state", "head"), [(64, 64), (128, 64), (128, 128)], ids=str)
@pytest.mark.parametrize("name", ["ssd", "normalised", "gated"])
def test_large_states(name: str, state: int, head: int, dtype: torch.dtype) -> None:
    check(program(BODIES[name], state=state, head=head), in_chunks(32), (9, 16), 128, dtype=dtype, device="cuda")


@pytest.mark.parametrize("clauses", CLAUSES)
def test_what_directions_do(clauses: str) -> None:
    body = BODIES["linear"] if clauses == "along" else SSD
    check(program(body, CLAUSES[clauses]), in_chunks(32), (9, 13), 64, batch=2, device="cuda")
    check(program(body, CLAUSES[clauses]), in_chunks(32), (9, 13), 64, batch=2, dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize("name", ["ssd", "normalised", "exclusive", "gated"])
def test_states_of_the_caller(name: str) -> None:
    check(program(BODIES[name]), in_chunks(32), (9, 13), 64, batch=2, with_states=True, device="cuda")


def test_directions_in_turn() -> None:
    for dtype in FLOATS:
        check(program(SSD, CLAUSES["mean"]), in_chunks(32, "turns"), (9, 13), 64, batch=2, dtype=dtype, device="cuda")


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("grid", [(1, 1), (1, 67), (31, 8)], ids=short)
def test_maps(batch: int, grid: tuple[int, int]) -> None:
    check(program(SSD), in_chunks(32), grid, batch=batch, device="cuda")


def test_the_same_bits_on_every_run_and_chosen_by_itself() -> None:
    op = scanlang.compile(program(SSD))
    given = draw_inputs(op, (14, 14), batch=4, channels=64, device="cuda", dtype=torch.bfloat16)
    assert_same_bits(results(op, given), results(op, given))
    assert_same_bits(results(op, given), results(through(in_chunks(32), op), given))


@pytest.mark.parametrize("name", BODIES)
def test_agrees_with_step_by_step(name: str) -> None:
    op = scanlang.compile(program(BODIES[name]))
    given = draw_inputs(op, (28, 28), batch=2, channels=64, device="cuda")
    step_by_step = through(lambda kernels, traversal: TritonScan(kernels, traversal, sequential_schedule), op)
    ours, theirs = results(through(in_chunks(32), op), given), results(step_by_step, given)
    for key, value in theirs.items():
        assert_close(key or "the output", ours[key], value, 1e-4)
