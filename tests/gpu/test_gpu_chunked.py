"""Matrix products over chunks of steps on an NVIDIA GPU: as in the interpreter, at sizes that fill more of one.

Compiling takes longest: 8 processor seconds a backward, and more of more rows, or where a decay has the index of the state. So
tests of one type and recurrence share a grid and sizes, and what costs most is asked of the recurrences that differ in it.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from chunked_programs import BODIES, CLAUSES, SSD, check, in_chunks, program
from operator_checks import assert_same_bits, results, through

import scanlang
from scanlang.testing import draw_inputs

pytestmark = pytest.mark.gpu

CHUNK = 32
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
GRID, LONG = (9, 13), (25, 28)
"""Of four chunks and of 22, the last of them short."""


def short(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", BODIES)
def test_recurrences(name: str, dtype: torch.dtype) -> None:
    """In float32 along sequences that lose what a chunk hands to the next badly."""
    grid = LONG if dtype == torch.float32 else GRID
    check(program(BODIES[name]), in_chunks(CHUNK), grid, 64, batch=3, dtype=dtype, device="cuda")


@pytest.mark.parametrize("name", ["ssd", "normalised", "gated", "bonus"])
def test_heads_that_fill_no_tile_or_several(name: str) -> None:
    """A head that is two blocks of channels, and where nothing is a power of two."""
    check(program(BODIES[name], state=32, head=128), in_chunks(CHUNK), GRID, 256, batch=2, device="cuda")
    check(program(BODIES[name], state=24, head=40), in_chunks(CHUNK), (7, 11), 80, dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize(("name", "steps"), [("ssd", 16), ("normalised", 16), ("gated", 16), ("ssd", 64)])
def test_chunks_of_other_lengths(name: str, steps: int) -> None:
    """No rule chooses them. By pairs of steps of 64 a backward takes half a minute to compile."""
    check(program(BODIES[name], state=24, head=40), in_chunks(steps), (7, 11), 80, dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=short)
@pytest.mark.parametrize("state", [64, 128])
@pytest.mark.parametrize("name", ["ssd", "normalised", "gated"])
def test_large_states(name: str, state: int, dtype: torch.dtype) -> None:
    """By four warps and by eight, in TF32 and in halves."""
    check(program(BODIES[name], state=state, head=64), in_chunks(CHUNK), GRID, 128, dtype=dtype, device="cuda")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=short)
def test_the_largest_state_and_head(dtype: torch.dtype) -> None:
    check(program(BODIES["normalised"], state=128, head=128), in_chunks(CHUNK), GRID, 128, dtype=dtype, device="cuda")


@pytest.mark.parametrize("clauses", CLAUSES)
def test_what_directions_do(clauses: str) -> None:
    body = BODIES["linear"] if clauses == "along" else SSD
    check(program(body, CLAUSES[clauses]), in_chunks(CHUNK), GRID, 64, batch=3, device="cuda")
    check(program(body, CLAUSES[clauses]), in_chunks(CHUNK), GRID, 64, batch=3, dtype=torch.bfloat16, device="cuda")


@pytest.mark.parametrize("name", ["ssd", "normalised", "exclusive", "gated"])
def test_states_of_the_caller(name: str) -> None:
    check(program(BODIES[name]), in_chunks(CHUNK), GRID, 64, batch=2, with_states=True, device="cuda")


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
def test_directions_in_turn(dtype: torch.dtype) -> None:
    check(program(SSD, CLAUSES["mean"]), in_chunks(CHUNK, "turns"), GRID, 64, batch=2, dtype=dtype, device="cuda")


@pytest.mark.parametrize("grid", [(1, 1), (1, 67), (31, 8)], ids=short)
def test_maps(grid: tuple[int, int]) -> None:
    for batch in (0, 1):
        check(program(SSD), in_chunks(CHUNK), grid, batch=batch, device="cuda")


def test_the_same_bits_on_every_run_and_chosen_by_itself() -> None:
    op = scanlang.compile(program(SSD))
    given = draw_inputs(op, GRID, batch=4, channels=64, device="cuda", dtype=torch.bfloat16)
    assert_same_bits(results(op, given), results(op, given))
    assert_same_bits(results(op, given), results(through(in_chunks(CHUNK), op), given))
