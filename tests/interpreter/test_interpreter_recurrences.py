"""Units, scales, earlier values and states of the caller's in Triton's interpreter, on small maps, against the reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from triton_recurrences import CASES

from scanlang.codegen.schedule import Schedule
from scanlang.testing import TOLERANCES, Tolerance

NEST, TABLE = Schedule("nest", "partials", 32, 2, 2), Schedule("table", "partials", 32, 6, 3)
TURNS, WIDE = replace(NEST, merge="turns"), Schedule("nest", "partials", 64, 2, 1)
CUT = Schedule("table", "partials", 32, 4, 2, segments=3)
ABREAST = Schedule("table", "partials", 32, 2, 1, warps=4, abreast=4)
TRUNCATED = {**TOLERANCES, torch.float32: Tolerance(2**-7, 2**-7, 2**-5)}
"""The interpreter cuts bfloat16 off where a GPU rounds."""

CLAUSES = {
    "split": "directions rows, reverse(columns) channels split",
    "split unevenly": "directions rows, reverse(columns) channels split 2, 1",
    "stacked": "directions rows, columns merge concat",
    "max": "directions rows, columns merge max",
    "twice": "directions twice, columns",
    "tokens": "directions marked, reverse(marked)",
    "pads": "directions spread, rows",
    "along": "directions rows, columns operands OPERAND along columns",
}


def some(names: Iterable[str], *quick: str) -> list[object]:
    """All of them as parameters of a test, `long` where they are not quick."""
    return [pytest.param(name, id=name, marks=[] if name in quick else [pytest.mark.long]) for name in names]


@pytest.mark.parametrize("name", some(CASES, "two blocks a head", "heads across blocks", "a scale of small heads"))
def test_recurrences(name: str) -> None:
    CASES[name].check(dtype=torch.float64)


@pytest.mark.parametrize("schedule", [CUT, ABREAST], ids=["segments", "abreast"])
@pytest.mark.parametrize("name", some([name for name in CASES if "scale" not in name], "small heads"))
def test_directions_in_parts(name: str, schedule: Schedule) -> None:
    """From states that are given, too."""
    CASES[name].check(schedule, dtype=torch.float64)
    CASES[name].check_ends(schedule)


@pytest.mark.parametrize("dtype", some(["float32", "bfloat16", "float16"], "bfloat16"))
@pytest.mark.parametrize("name", ["keys of blocks", "keys of small heads"])
def test_words_of_units(name: str, dtype: str) -> None:
    tolerances = TRUNCATED if dtype == "bfloat16" else TOLERANCES
    CASES[name].check(NEST, tolerances, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("schedule", [NEST, TURNS, TABLE, WIDE], ids=["nest", "turns", "table", "64"])
@pytest.mark.parametrize("name", some(CASES, "heads across blocks"))
def test_schedules(name: str, schedule: Schedule) -> None:
    CASES[name].check(schedule, dtype=torch.float64)


@pytest.mark.parametrize("clauses", some(CLAUSES, "split", "twice", "along"))
def test_what_directions_do_with_units_of_blocks(clauses: str) -> None:
    check_clauses("a block of lanes a head", clauses, "dt")


@pytest.mark.parametrize("clauses", some(CLAUSES, "split unevenly", "tokens", "twice"))
def test_what_directions_do_with_small_units(clauses: str) -> None:
    check_clauses("small groups", clauses, "C")


@pytest.mark.long
@pytest.mark.parametrize("clauses", CLAUSES)
def test_what_directions_do_with_keys(clauses: str) -> None:
    check_clauses("keys of small heads", clauses, "f")


def check_clauses(name: str, clauses: str, operand: str) -> None:
    parts = {"split": 2, "split unevenly": 3}.get(clauses, 1)
    changed = replace(CASES[name], clauses=CLAUSES[clauses].replace("OPERAND", operand), grid=(2, 3))
    replace(changed, channels=parts * changed.channels).check(dtype=torch.float64)


@pytest.mark.parametrize("name", some(CASES, "a block of lanes a head", "a scale of small heads"))
def test_states_of_the_caller(name: str) -> None:
    CASES[name].check_ends(NEST, batch=2)


@pytest.mark.parametrize("clauses", some(["split unevenly", "tokens", "twice", "stacked"], "split unevenly"))
def test_states_of_directions(clauses: str) -> None:
    replace(CASES["small groups"], clauses=CLAUSES[clauses], channels=72, grid=(2, 3)).check_ends()


def test_states_of_directions_in_turn() -> None:
    CASES["a scale of small heads"].check_ends(TURNS)


def test_scales_start_below_everything() -> None:
    """At zero they would stay above these keys."""
    CASES["a scale of channels"].check_ends(NEST, low=-3.0, high=-2.0)
