"""Any program in Triton's interpreter: random ones, and names that generated code wants for itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import program_with_name, through
from operator_programs import HARD_NAMES

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal
from scanlang.testing import assert_matches_reference, draw_inputs, grids, inputs, programs


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_that_generated_code_uses(name: str) -> None:
    loaded = program_with_name(name)
    op = scanlang.compile(loaded)
    assert_matches_reference(through(TritonScan, op), loaded, draw_inputs(op, (2, 2), batch=1, channels=2))


@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("name", ["cotangent", "running", "running_x", "B_0", "restart", "table", "states"])
def test_names_of_inputs_that_generated_code_uses(name: str, merge: str) -> None:
    """Beside a stream `B` that is loaded word by word, and the one that says where the state starts anew."""
    loaded = scanlang.loads(f"""grid h, w  order lines = reset(raster, every h)
    recurrence r(state n) {{
      input x, {name}
      shared B[n]
      param a
      h[n] = sigmoid(a + B[n]) * h[n] + x * {name}
      y = sum(n: h[n] * B[n])
    }}
    scan s(dim) {{ input x, {name}  directions raster, lines  recur r(state = 2) }}""")
    op, schedule = scanlang.compile(loaded), Schedule("table", merge, 32, 2, 2)  # type: ignore[arg-type]

    def backend(kernels: ScanKernels, traversal: Traversal) -> TritonScan:
        return TritonScan(kernels, traversal, lambda *_: schedule)

    assert_matches_reference(through(backend, op), loaded, draw_inputs(op, (2, 2), batch=1, channels=2))


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
