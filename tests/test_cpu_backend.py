"""The C backend against a loop over the steps written here in float64 torch: outputs and every gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import scanlang
from scanlang.codegen.cpu import run_c
from scanlang.codegen.cpu.c_order import Act, shorten_lifetimes, split_early
from scanlang.codegen.cpu.run_c import CpuScan
from scanlang.codegen.kernel import Advance, Let
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule

ORDERS = """
import std.selective
grid h, w
order rows = walk h, w
order columns = walk w, -h
order wave = walk h, ~w
recurrence gated(state n) {
  input x, g
  shared K[n], Q[n]
  param lam[n] = 1
  f[n] = sigmoid(lam[n] + g)
  h[n] = f[n] * h[n] + (1 - f[n]) * K[n] * x
  y    = tanh(sum(n: Q[n] * h[n])) * silu(g)
}
"""
SELECTIVE = "recur selective(state = {n}, rank = 3)"
PROGRAMS = {
    "one": "scan s(dim) { directions columns " + SELECTIVE + " merge sum }",
    "cross": "scan s(dim) { directions rows, columns, reverse(wave) " + SELECTIVE + " merge sum }",
    "mean": "scan s(dim) { directions rows, reverse(rows) share A_log, D " + SELECTIVE + " merge mean }",
    "gated": "scan s(dim) { input x, g directions wave, columns recur gated(state = {n}) merge sum }",
    "merged": "scan s(dim) { input x, z directions rows, columns " + SELECTIVE + " merge (y[0] - y[1] * x) * silu(z) / 2 }",
}
SELECTIVE_NAMES = ("x", "low", "B", "C", "dt_weight", "dt_bias", "A_log", "D")


@cache
def compiled(program: str, states: int = 2, chunk: int = 4, lanes: int = 0) -> CpuScan:
    graph = scanlang.loads(ORDERS + PROGRAMS[program].replace("{n}", str(states))).operator_graph("s")
    kernels = lower_to_kernels(graph, {"state": states, "rank": 3})
    return CpuScan(kernels, graph.orders, Schedule("table", "turns", lanes, chunk, chunk))


def make_arrays(scan: CpuScan, images: int, grid: tuple[int, int], channels: int, seed: int = 0) -> dict[str, Tensor]:
    """Every array the scan takes, in float64."""
    generator = torch.Generator().manual_seed(seed)
    steps, directions = grid[0] * grid[1], scan.kernels.directions

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.7

    arrays = {}
    for stream in scan.kernels.streams:
        shape = (images, steps, channels) if stream.lanes else (images, steps, directions, stream.width)
        arrays[stream.name] = draw(*shape)
    for of in scan.kernels.parameters:
        arrays[of.name] = draw(*(() if of.shared else (directions,)), channels, of.width)
    if scan.kernels.merge is not None:
        arrays["z"] = draw(images, steps, channels)
    return arrays


def selective_step(h: Tensor, a: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    step = torch.nn.functional.softplus(a["dt_bias"][:, 0] + torch.einsum("cr,br->bc", a["dt_weight"], a["low"]))
    h = torch.exp(-torch.exp(a["A_log"]) * step[..., None]) * h + (step * a["x"])[..., None] * a["B"][:, None]
    return h, (h * a["C"][:, None]).sum(-1) + a["D"][:, 0] * a["x"]


def gated_step(h: Tensor, a: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    forget = torch.sigmoid(a["lam"] + a["g"][..., None])
    h = forget * h + (1 - forget) * a["K"][:, None] * a["x"][..., None]
    return h, torch.tanh((h * a["Q"][:, None]).sum(-1)) * torch.nn.functional.silu(a["g"])


def reference(program: str, scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int]) -> Tensor:
    """The scan, step by step."""
    step = gated_step if program == "gated" else selective_step
    shared = {of.name for of in scan.kernels.parameters if of.shared}
    parameters = {of.name for of in scan.kernels.parameters}
    outputs = []
    for k, order in enumerate(scan.orders):
        own = {name: arrays[name] if name in shared else arrays[name][k] for name in parameters}
        x = arrays["x"]
        h = torch.zeros(x.shape[0], x.shape[2], len(scan.kernels.forward.states), dtype=x.dtype)
        cells: dict[int, Tensor] = {}
        for cell in order.positions(*grid).tolist():
            lanes = {s.name: arrays[s.name][:, cell] for s in scan.kernels.streams if s.lanes}
            rows = {s.name: arrays[s.name][:, cell, k] for s in scan.kernels.streams if not s.lanes}
            h, cells[cell] = step(h, own | lanes | rows)
        outputs.append(torch.stack([cells[i] for i in range(x.shape[1])], 1))
    if program == "merged":
        return (outputs[0] - outputs[1] * arrays["x"]) * torch.nn.functional.silu(arrays["z"]) / 2
    return torch.stack(outputs).sum(0) / (len(outputs) if program == "mean" else 1)


def run(scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int], gradient: Tensor) -> dict[str, Tensor]:
    """The output as `y` and every gradient."""
    output, saved = scan.forward(arrays, grid, True)
    return {"y": output} | scan.backward(gradient, saved, arrays, grid)


def expected(
    program: str, scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int], gradient: Tensor
) -> dict[str, Tensor]:
    leaves = {name: array.clone().requires_grad_() for name, array in arrays.items()}
    output = reference(program, scan, leaves, grid)
    output.backward(gradient)
    grads = {name: leaf.grad for name, leaf in leaves.items()}
    return {"y": output.detach()} | {name: grad for name, grad in grads.items() if grad is not None}


def assert_close(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], tolerance: float) -> None:
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        scale = float(value.abs().max()) if value.numel() else 0.0
        error = float((found[name].double() - value).abs().max()) if value.numel() else 0.0
        assert error <= tolerance * max(scale, 1.0), f"{name}: off by {error:g} of {scale:g}"


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is missed leaves NaN."""
    make: Callable[[Sequence[int], torch.dtype], Tensor] = run_c.empty
    monkeypatch.setattr(run_c, "empty", lambda shape, dtype: make(shape, dtype).fill_(float("nan")))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("images, channels", [(1, 1), (3, 3), (1, 16), (2, 17), (1, 40)], ids=lambda n: str(n))
def test_output_and_every_gradient(program: str, images: int, channels: int) -> None:
    scan, grid = compiled(program), (3, 5)
    arrays = make_arrays(scan, images, grid, channels)
    gradient = torch.randn(images, 15, channels, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = expected(program, scan, arrays, grid, gradient)
    single = {name: array.float() for name, array in arrays.items()}
    assert_close(run(scan, single, grid, gradient.float()), wanted, 3e-6)
    assert_close(run(scan, arrays, grid, gradient), wanted, 1e-13)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (4, 1), (2, 2), (7, 11)], ids=lambda g: f"H{g[0]}-W{g[1]}")
def test_any_size_runs_the_same_code(grid: tuple[int, int]) -> None:
    scan = compiled("cross")
    arrays = make_arrays(scan, 1, grid, 5)
    gradient = torch.ones(1, grid[0] * grid[1], 5, dtype=torch.float64)
    assert_close(run(scan, arrays, grid, gradient), expected("cross", scan, arrays, grid, gradient), 1e-13)


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=lambda d: str(d)[6:])
def test_other_vector_widths(lanes: int, dtype: torch.dtype) -> None:
    scan, grid = compiled("cross", states=5, lanes=lanes), (3, 4)
    arrays = {name: array.to(dtype) for name, array in make_arrays(scan, 1, grid, 11).items()}
    gradient = torch.ones(1, 12, 11, dtype=dtype)
    wide = {name: array.double() for name, array in arrays.items()}
    wanted = expected("cross", scan, wide, grid, gradient.double())
    assert_close(run(scan, arrays, grid, gradient), wanted, 3e-6 if dtype == torch.float32 else 1e-13)


def test_batch_zero_has_empty_outputs_and_zero_parameter_gradients() -> None:
    scan = compiled("cross")
    arrays = make_arrays(scan, 0, (3, 5), 4)
    found = run(scan, arrays, (3, 5), torch.empty(0, 15, 4, dtype=torch.float64))
    assert {name: value.shape for name, value in found.items() if name != "y"} == {n: a.shape for n, a in arrays.items()}
    assert found["y"].shape == (0, 15, 4)
    assert all(not found[of.name].any() for of in scan.kernels.parameters)


def test_narrow_streams_compute_in_float32_and_come_back() -> None:
    scan, grid = compiled("cross"), (3, 5)
    arrays = {name: array.bfloat16() for name, array in make_arrays(scan, 2, grid, 6).items()}
    output, _ = scan.forward(arrays, grid, False)
    wanted, _ = scan.forward({name: array.float() for name, array in arrays.items()}, grid, False)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, wanted.bfloat16())


@pytest.mark.parametrize("program", ["cross", "merged"])
def test_same_bits_on_a_second_run_and_on_any_number_of_threads(program: str) -> None:
    scan, grid = compiled(program), (9, 13)
    arrays = {name: array.float() for name, array in make_arrays(scan, 2, grid, 200).items()}
    gradient = torch.ones(2, 117, 200)
    before, runs = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5, 2):
            torch.set_num_threads(threads)
            runs.append(run(scan, arrays, grid, gradient))
    finally:
        torch.set_num_threads(before)
    for other in runs[1:]:
        assert all(torch.equal(runs[0][name], other[name]) for name in runs[0])


def test_channels_of_another_layout_are_copied() -> None:
    scan, grid = compiled("one"), (3, 5)
    arrays = make_arrays(scan, 2, grid, 6)
    strided = arrays | {"x": arrays["x"].transpose(1, 2).contiguous().transpose(1, 2)}
    assert not strided["x"].is_contiguous()
    assert torch.equal(scan.forward(arrays, grid, False)[0], scan.forward(strided, grid, False)[0])


def test_extreme_steps_stay_finite() -> None:
    """softplus and its slope far out on both sides."""
    scan, grid = compiled("one"), (2, 2)
    arrays = {name: array.float() for name, array in make_arrays(scan, 1, grid, 4).items()}
    arrays["dt_bias"] = torch.tensor([-200.0, -30.0, 30.0, 200.0]).reshape(1, 4, 1)
    found = run(scan, arrays, grid, torch.ones(1, 4, 4))
    assert all(value.isfinite().all() for value in found.values())


def test_the_text_names_its_origins() -> None:
    text = compiled("cross").text()
    assert "// selective.scan:13" in text
    assert "chunk=4" in text.splitlines()[1]
    assert "math.h" not in text


def test_the_text_is_the_same_in_every_process() -> None:
    code = (
        "import hashlib, test_cpu_backend as t\n"
        "text = ''.join(t.compiled(p).text(c) for p in t.PROGRAMS for c in ('float32', 'float64'))\n"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    folder = str(Path(__file__).parent)
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": folder},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_a_forked_child_runs_too() -> None:
    """The parent's threads are not in the child."""
    scan, grid = compiled("cross"), (9, 13)
    arrays = {name: array.float() for name, array in make_arrays(scan, 1, grid, 200).items()}
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        wanted, _ = scan.forward(arrays, grid, False)
        child = os.fork()
        if child == 0:
            found = scan.forward(arrays, grid, False)[0].numpy()
            os._exit(int(not (found == wanted.numpy()).all()))
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)


def test_moving_early_work_out_takes_only_what_all_states_wait_for() -> None:
    lets = [
        Let("dt", "exp", ("x",)), Let("a0", "mul", ("dt", "A0")), Let("a1", "mul", ("dt", "A1")),
        Let("n0", "mul", ("a0", "h0")), Let("n1", "mul", ("a1", "h1")),
    ]  # fmt: skip
    early, late = split_early(lets, ["h0", "h1"], [Advance("h0", "n0"), Advance("h1", "n1")])
    assert [let.name for let in early] == ["dt"]
    assert [let.name for let in late] == ["a0", "a1", "n0", "n1"]


def test_a_state_changes_after_everyone_has_read_it() -> None:
    items = [Act("h = n;", ("n",), "h"), Let("m", "mul", ("h", "h")), Let("n", "neg", ("h",)), Act("store(m);", ("m",))]
    lines = [item.line if isinstance(item, Act) else item.name for item in shorten_lifetimes(items)]
    assert sorted(lines) == ["h = n;", "m", "n", "store(m);"]
    assert lines.index("h = n;") > max(lines.index("m"), lines.index("n"))
