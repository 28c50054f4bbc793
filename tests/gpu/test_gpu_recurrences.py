"""Recurrences on an NVIDIA GPU against the float64 reference: those of the library and others with units, scales and states of
the caller's, outputs and every gradient, at sizes where lanes read units in every way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from operator_checks import assert_same_bits, results, through
from triton_recurrences import CASES, CHANNELS, HEADS, TEXT, Recurrence, triton

import scanlang
from scanlang.codegen.schedule import Schedule
from scanlang.testing import assert_matches_reference, draw_inputs, draw_states

pytestmark = pytest.mark.gpu

STD = Path(scanlang.__file__).parent / "std"
STATES, HEADS_OF_32 = {"state": 16}, {"state": 16, "head": 32}
LIBRARY = {
    "selective_one": ("selective_one2d", 70, {"rank": 6}),
    "ssd": ("ssd2d", 128, {"state": 16, "head": 64}),
    "ssd grouped": ("ssd_grouped2d", 256, {**HEADS_OF_32, "group": 2}),
    "gla": ("gla2d", 96, HEADS_OF_32),
    "retention": ("retention2d", 96, HEADS_OF_32),
    "linear_attention": ("linear_attention2d", 96, HEADS_OF_32),
    "mlstm": ("mlstm2d", 96, HEADS_OF_32),
    "hydra": ("hydra2d", 128, HEADS_OF_32),
    "ema": ("ema2d", 70, {}),
    "ema damped": ("damped_ema2d", 70, STATES),
    "mingru": ("mingru2d", 70, {}),
    "rg_lru": ("rg_lru2d", 70, {}),
    "hgrn": ("hgrn2d", 70, {}),
    "s4d": ("s4d2d", 70, STATES),
    "wkv": ("wkv2d", 70, {}),
}
"""The scan of a file, channels, and the sizes that it leaves open."""

SIZES = {
    "heads of 64": Recurrence(HEADS, "x, dt", 192, {"state": 16, "head": 64}),
    "heads of 24": Recurrence(HEADS, "x, dt", 96, {"state": 4, "head": 24}),
    "many numbers of a channel": Recurrence(CHANNELS, "x, f", 100, {"state": 16}),
}
DTYPES = ["float32", "bfloat16", "float16", "float64"]
ALL = {**CASES, **SIZES}


def case(name: str) -> Recurrence:
    return replace(ALL[name], grid=(12, 16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", LIBRARY)
def test_library(name: str, dtype: str) -> None:
    scan, channels, sizes = LIBRARY[name]
    program = scanlang.load(STD / f"{name.split()[0]}.scan")
    op = scanlang.compile(program, scan)
    drawn = draw_inputs(op, (12, 17), channels=channels, sizes=sizes, dtype=getattr(torch, dtype), device="cuda")
    assert_matches_reference(op, program, drawn, scan)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_recurrences(name: str, dtype: str) -> None:
    case(name).check(dtype=getattr(torch, dtype), batch=2, device="cuda")


@pytest.mark.parametrize("lanes", [32, 64])
@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("addressing", ["nest", "table"])
@pytest.mark.parametrize("name", ["two blocks a head", "heads across blocks", "a scale of small heads"])
def test_schedules(name: str, addressing: str, merge: str, lanes: int) -> None:
    schedule = Schedule(addressing, merge, lanes, 4, 2)  # type: ignore[arg-type]
    case(name).check(schedule, batch=2, device="cuda")


@pytest.mark.parametrize("name", ALL)
def test_states_of_the_caller(name: str) -> None:
    """From `h0=` to the states after the last step, both differentiated."""
    made = case(name)
    sizes, op = {"channels": made.channels, "sizes": made.sizes}, made.op
    states = draw_states(op, device="cuda", **sizes)  # type: ignore[arg-type]
    assert_matches_reference(op, made.program, made.drawn(batch=2, device="cuda"), states=states)


@pytest.mark.parametrize("name", ["heads of 64", "heads of 24", "a scale of blocks"])
def test_the_same_bits_every_time(name: str) -> None:
    drawn = case(name).drawn(batch=2, device="cuda")
    op = through(triton(None), case(name).op)
    assert_same_bits(results(op, drawn), results(op, drawn))


def test_more_than_two_to_the_31_numbers_of_units() -> None:
    """Of one image: their gradients' offsets need 64 bits, in every lane's own place."""
    text = TEXT.replace("RECURRENCE", CHANNELS).replace("FORMALS", "dim, state").replace("ARGUMENTS", "state = state")
    op = scanlang.compile(scanlang.loads(text.replace("INPUTS", "input x, f").replace("CLAUSES", "directions rows")))
    rows, channels, width = 2**11 + 8, 64, 16
    assert rows * 2**10 * channels * width > 2**31
    f = torch.zeros(1, rows, 2**10, 1, channels, width, dtype=torch.bfloat16, device="cuda")
    x = torch.zeros(1, rows, 2**10, channels, dtype=torch.bfloat16, device="cuda")
    x[:, -1, -2:], b = 1.0, torch.ones(1, channels, width, device="cuda")
    y = op(x=x, f=f.requires_grad_(), b=b)
    assert y[:, :-1].abs().max() == 0
    assert torch.equal(y[0, -1, -1], torch.full_like(y[0, -1, -1], width * 1.5 + 1))
    (gradient,) = torch.autograd.grad(y, f, torch.ones_like(y))
    assert gradient[0, :-1].abs().max() == 0
    assert torch.equal(gradient[0, -1, -1], torch.full_like(gradient[0, -1, -1], 0.25))
