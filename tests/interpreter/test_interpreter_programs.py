"""Any program in Triton's interpreter: random ones, and names that generated code wants for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import program_with_name, through
from operator_programs import HARD_NAMES

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.testing import assert_matches_reference, draw_inputs, grids, inputs, programs


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_that_generated_code_uses(name: str) -> None:
    loaded = program_with_name(name)
    op = scanlang.compile(loaded)
    assert_matches_reference(through(TritonScan, op), loaded, draw_inputs(op, (2, 2), batch=1, channels=2))


@settings(max_examples=10)
@given(st.data(), programs(directions=2))
def test_random_programs(data: st.DataObject, text: str) -> None:
    check_random_program(data, text)


@pytest.mark.long
@settings(max_examples=120)
@given(st.data(), programs(directions=3))
def test_many_random_programs(data: st.DataObject, text: str) -> None:
    check_random_program(data, text)


def check_random_program(data: st.DataObject, text: str) -> None:
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded)
    tensors = data.draw(inputs(op, grids(3), batches=(0, 1, 2), channels=(1, 2)))
    assert_matches_reference(through(TritonScan, op), loaded, tensors)
