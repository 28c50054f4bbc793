"""Backends against each other and against `interpret`; what happens where there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import PROGRAMS, assert_same_bits, operator, results, through
from torch import Tensor

import scanlang
from scanlang.codegen.cpu.build_c import find_compiler
from scanlang.codegen.cpu.run_c import CpuScan
from scanlang.codegen.executable import Executable, Saved
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.run_torch import TorchScan
from scanlang.graph.interpret import interpret
from scanlang.testing import TOLERANCES, assert_close, assert_matches_reference, draw_inputs, grids, inputs, programs

BACKENDS: dict[str, Callable[..., Executable]] = {"torch": TorchScan, "c": CpuScan}


def run(backend: str, op: scanlang.CompiledScan, tensors: dict[str, Tensor], save: bool = True) -> dict[str, Tensor]:
    """The output (`""`) and every gradient of an executable, called as the operator calls it."""
    given = [tensors[name] for name in op.arguments]
    kernels = lower_to_kernels(op.graph, op.signature.check(given))
    executable = BACKENDS[backend](kernels, op.graph.orders)
    grid, arrays = op.grid(given), op.flatten(given)
    result, saved = executable.forward(arrays, grid, save)
    found = {"": result}
    if save:
        cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(0)).to(result.dtype)
        found |= executable.backward(cotangent, saved, arrays, grid)
    assert set(found) - {""} == (set(op.arguments) if save else set())
    check_saved(executable, saved, result, grid, save)
    return found


def check_saved(executable: Executable, saved: Saved, result: Tensor, grid: tuple[int, int], save: bool) -> None:
    """The saved states and partial outputs have the shapes that the operator promises to fake tensors."""
    kernels = executable.kernels  # type: ignore[attr-defined]
    chunks = -(-grid[0] * grid[1] // executable.chunk(grid))
    states = (result.shape[0], kernels.directions, chunks, len(kernels.forward.states), result.shape[-1])
    partials = (0,) if kernels.merge_scale is not None else (kernels.directions, *result.shape)
    assert tuple(saved.states.shape) == (states if save else (0,))
    assert tuple(saved.partials.shape) == (partials if save else (0,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("name", PROGRAMS)
def test_backends_agree(name: str, dtype: torch.dtype) -> None:
    op = operator(name)
    tensors = draw_inputs(op, (9, 8), dtype=dtype, batch=2, channels=5, seed=5)
    ours, theirs = run("c", op, tensors), run("torch", op, tensors)
    computing = torch.float64 if dtype == torch.float64 else torch.float32
    for key, value in ours.items():
        tolerance = TOLERANCES[computing].gradient if key else TOLERANCES[computing].output + TOLERANCES[dtype].rounding
        assert_close(key or "the output", value.double(), theirs[key].double(), tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_backend_is_what_interpret_says(name: str, backend: str) -> None:
    op = operator(name)
    tensors = draw_inputs(op, (3, 4), dtype=torch.float64, channels=2, seed=6)
    expected = interpret(op.graph, {key: t.numpy() for key, t in tensors.items()}, (3, 4), op.signature.fixed)
    got = run(backend, op, tensors, save=False)[""]
    assert_close("the output", got.reshape(expected.shape), torch.from_numpy(expected), TOLERANCES[torch.float64].output)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_result_does_not_depend_on_what_is_saved(backend: str) -> None:
    for name in ("cross", "merge-z"):
        tensors = draw_inputs(operator(name), (9, 8))
        assert torch.equal(run(backend, operator(name), tensors, False)[""], run(backend, operator(name), tensors, True)[""])


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
    tensors = draw_inputs(op, (3, 4))
    assert isinstance(op.executable([tensors[name] for name in op.arguments]), CpuScan)
