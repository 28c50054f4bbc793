"""Any order, any merge and any recurrence go together: the C backend's outputs and every gradient against the reference."""

from __future__ import annotations

import math

import pytest
from library.matrix import CELLS, STRIDE, Combination, all_directions, all_recurrences, combinations

import scanlang
from scanlang.testing import assert_matches_reference, draw_inputs
from scanlang.testing.program_strategies import MERGES
from scanlang.testing.tensors import fewest_channels

QUICK, LONG = 28, 280


def marked(one: Combination) -> object:
    return pytest.param(one, id=str(one), marks=[] if one.number < QUICK else [pytest.mark.long])


@pytest.mark.parametrize("one", [marked(one) for one in combinations(LONG)])
def test_combination(one: Combination) -> None:
    program = one.program()
    op = scanlang.compile(program)
    assert_matches_reference(op, program, draw_inputs(op, CELLS[len(one.directions.axes)], channels=fewest_channels(op, {})))


def test_the_quick_ones_have_every_recurrence_and_every_merge() -> None:
    quick, rest = combinations(QUICK), combinations(LONG)
    assert {one.recurrence for one in quick} == set(all_recurrences())
    assert {one.merge for one in quick} == set(MERGES)
    assert {one.directions for one in rest} == set(all_directions())
    assert math.gcd(len(all_directions()), STRIDE) == 1
