"""Backends against each other and against `interpret`; what happens where there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_checks import PER_IMAGE, TABLES, check_executable, check_states, draw_tables
from operator_checks import assert_same_bits, call, check_pads_of_a_merge, draw, operator, results, through
from operator_programs import FEATURES, PROGRAMS
from operator_recurrences import DEFINITIONS
from test_cpu_backend import CASES, compiled_case, make_arrays, make_gradient
from torch import Tensor, nn

import scanlang
from scanlang.codegen.cpu.build_c import find_compiler
from scanlang.codegen.cpu.run_c import CpuScan
from scanlang.codegen.executable import Executable
from scanlang.codegen.run_torch import TorchScan
from scanlang.graph.interpret import interpret
from scanlang.testing import TOLERANCES, assert_close, assert_matches_reference, draw_inputs, grids, inputs, programs

BACKENDS: dict[str, Callable[..., Executable]] = {"torch": TorchScan, "c": CpuScan}

GATED = """
recurrence gated(state n) {
  input x, f[n]
  shared B[n], C[n] per 2 units
  h[n] = sigmoid(f[n]) * h[n] + B[n] * x
  y    = sum(n: C[n] * h[n]) * prev(x)
}
"""
UNITS = {
    "heads": "input x, dt directions raster, reverse(columns) recur ssd(state = 2, head = 3, group = 2) merge sum",
    "projected": "input x directions raster recur ssd(state = 2, head = 4) project dt, B, C from x merge sum",
    "split": "input x, dt directions raster, columns channels split recur ssd(state = 2, head = 3)",
    "columns": "input x, f directions raster, reverse(raster) recur gated(state = 2) merge sum(k: y[k]) * x",
    "scales": "input k, v directions raster, columns recur wkv merge mean",
}


def run(backend: str, name: str, given: dict[str, Any], save: bool = True) -> dict[str, Tensor]:
    return call(operator(name), given).run(BACKENDS[backend], save)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("name", [*PROGRAMS, *FEATURES])
def test_backends_agree(name: str, dtype: torch.dtype) -> None:
    given = draw(name, (9, 8), dtype=dtype, batch=2, channels=5, seed=5)
    ours, theirs = run("c", name, given), run("torch", name, given)
    computing = torch.float64 if dtype == torch.float64 else torch.float32
    for key, value in ours.items():
        tolerance = TOLERANCES[computing].gradient if key else TOLERANCES[computing].output + TOLERANCES[dtype].rounding
        assert_close(key or "the output", value.double(), theirs[key].double(), tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*PROGRAMS, *FEATURES])
def test_backend_is_what_interpret_says(name: str, backend: str) -> None:
    op = operator(name)
    given = draw(name, (3, 4), dtype=torch.float64, channels=2, seed=6)
    got = through(BACKENDS[backend], op)(**given)
    expected = interpret(op.graph, arrays(given), (3, 4), op.signature.fixed)
    parts = zip(got, expected, strict=True) if isinstance(got, tuple) else [(got, expected)]
    for part, exactly in parts:
        assert_close("the output", part.detach(), torch.tensor(exactly), TOLERANCES[torch.float64].output)


def arrays(given: dict[str, Any]) -> dict[str, Any]:
    """Tensors and the weights of layers as NumPy arrays, by name."""
    found = {name: value.numpy() for name, value in given.items() if isinstance(value, Tensor)}
    for name, layer in given.items():
        if isinstance(layer, nn.Module):
            found |= {f"{name}.{weight}": value.detach().numpy() for weight, value in layer.named_parameters()}
    return found


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_result_does_not_depend_on_what_is_saved(backend: str) -> None:
    for name in ("cross", "merge-z", "conv-pads", "dilate-max"):
        given = draw(name, (9, 8))
        assert torch.equal(run(backend, name, given, False)[""], run(backend, name, given, True)[""])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tables", TABLES)
def test_any_tables(tables: str, backend: str) -> None:
    kernels, visits = TABLES[tables]
    check_executable(BACKENDS[backend], kernels, visits, channels=6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tables", TABLES)
def test_states_with_any_tables(tables: str, backend: str) -> None:
    kernels, visits = TABLES[tables]
    check_states(BACKENDS[backend], kernels, visits, channels=6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tables", PER_IMAGE)
def test_tables_of_every_image(tables: str, backend: str) -> None:
    kernels, visits = TABLES[tables]
    check_executable(BACKENDS[backend], kernels, visits, channels=6, tables=draw_tables(kernels, visits, batch=2))


@pytest.mark.parametrize("name", [name for name in CASES if "units" in name or "columns" in name])
def test_backends_agree_on_units_and_given_states(name: str) -> None:
    scan, channels = compiled_case(name), 3 * CASES[name].unit
    most = max(count for _, count in scan.kernels.channels(channels))
    shape = (2, scan.kernels.directions, len(scan.kernels.forward.states), most)
    arrays, generator = make_arrays(scan, 2, (0, 0), channels), torch.Generator().manual_seed(0)
    entry, d_final = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    gradient, found = make_gradient(scan, arrays), []
    for one in (scan, TorchScan(scan.kernels, scan.traversal)):
        final, d_entry = torch.zeros_like(entry), torch.zeros_like(entry)
        y, saved = one.forward(arrays, (0, 0), True, None, entry, final)
        given = one.backward(gradient, saved, arrays, (0, 0), None, d_final, d_entry)
        found.append({"y": y[:, : CASES[name].visits.cells], "final": final, "entry": d_entry} | given)
    assert set(found[0]) == set(found[1])
    for key, value in found[0].items():
        assert_close(key, value, found[1][key].reshape(value.shape), 1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scan", UNITS)
def test_units_scales_and_old_values(scan: str, backend: str) -> None:
    program = scanlang.loads(DEFINITIONS + GATED + "scan s(dim) { " + UNITS[scan] + " }")
    op = scanlang.compile(program)
    assert_matches_reference(through(BACKENDS[backend], op), program, draw_inputs(op, (3, 4)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_merge_makes_of_pads_reaches_nothing(backend: str) -> None:
    check_pads_of_a_merge(BACKENDS[backend])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch", [0, 1])
def test_few_images(batch: int, backend: str) -> None:
    for kernels, visits in (TABLES["uneven"], TABLES["merge"], TABLES["stacked"], TABLES["split"]):
        check_executable(BACKENDS[backend], kernels, visits, batch=batch, channels=3)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_same_bits_with_any_number_of_threads(threads: int) -> None:
    op, before = operator("cross"), torch.get_num_threads()
    tensors = draw_inputs(op, (9, 8), channels=70, batch=2)
    expected = results(op, tensors)
    torch.set_num_threads(threads)
    try:
        assert_same_bits(expected, results(op, tensors))
    finally:
        torch.set_num_threads(before)


@settings(max_examples=40)
@given(st.data(), programs())
def test_the_torch_backend_runs_any_program(data: st.DataObject, text: str) -> None:
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded)
    tensors = data.draw(inputs(op, grids(4), batches=(0, 1, 2), channels=(1, 2)))
    assert_matches_reference(through(TorchScan, op), loaded, tensors)


SCRIPT = """
import warnings
import torch, scanlang
from scanlang.testing import assert_matches_reference, draw_inputs
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for clause in ("merge mean", "merge sum(k: y[k]) * x"):
        scan = "directions raster, columns recur selective(state = 2, rank = 2) " + clause
        text = "import std.selective grid h, w scan s(dim) { " + scan + " }"
        program = scanlang.loads(text)
        op = scanlang.compile(program)
        for grid in ((3, 4), (9, 8)):
            assert_matches_reference(op, program, draw_inputs(op, grid))
ours = [str(w.message) for w in caught if "scanlang" in str(w.message)]
print(len(ours), *ours)
"""


def without_compiler(tmp_path: Path) -> str:
    empty = tmp_path / "empty"
    empty.mkdir()
    hidden = ("CC", "SCANLANG_CC", "SCANLANG_CACHE", "XDG_CACHE_HOME")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    environment |= {"PATH": str(empty), "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_a_compiler_torch_runs_it_with_one_warning(tmp_path: Path) -> None:
    said = without_compiler(tmp_path)
    assert said.startswith("1 "), said
    assert "no C compiler was found" in said
    assert "gcc or clang" in said


def test_a_compiler_is_found_here() -> None:
    """The other tests on the CPU are about the C backend: without a compiler they would be about torch."""
    assert find_compiler() is not None
    op = operator("cross")
    tensors, _ = op.on_rows.split(call(op, draw_inputs(op, (3, 4))).tensors)
    assert isinstance(op.on_rows.executable(tensors), CpuScan)
