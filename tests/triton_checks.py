"""What the interpreter's tests and the GPU's tests share: two scans as float64 torch loops, compared by autograd.

The loops are written by hand from the equations; nothing of the compiler is in them but the orders' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from operator_checks import program
from torch import Tensor

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.order import Order

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}

CROSS = """
grid h, w
order rows    = walk h, w
order columns = walk w, h
order zigzags = walk h, ~w
import std.selective
scan cross(dim, state, rank) {
  directions DIRECTIONS
  recur selective(state = state, rank = rank)
  merge MERGE
}
"""


def kernels_of(of: scanlang.Program, scan: str, sizes: Mapping[str, int]) -> tuple[ScanKernels, tuple[Order, ...]]:
    graph = of.operator_graph(scan)
    return lower_to_kernels(graph, sizes), graph.orders


def cross(
    directions: str = "rows, columns, reverse(rows), reverse(columns)", merge: str = "sum", state: int = 1, rank: int = 2
) -> tuple[ScanKernels, tuple[Order, ...]]:
    """The selective recurrence along some orders."""
    text = CROSS.replace("DIRECTIONS", directions).replace("MERGE", merge)
    return kernels_of(scanlang.loads(text), "cross", {"state": state, "rank": rank})


def gated() -> tuple[ScanKernels, tuple[Order, ...]]:
    return kernels_of(program("gated"), "gated", {"state": 4})


def draw(
    kernels: ScanKernels, batch: int, cells: int, channels: int, dtype: torch.dtype, device: str = "cpu"
) -> dict[str, Tensor]:
    """Random arrays for every stream and parameter, in the shapes of `Executable`."""
    generator, directions = torch.Generator().manual_seed(cells + channels), kernels.directions
    arrays = {}
    for stream in kernels.streams:
        row = (channels,) if stream.lanes else (directions, stream.width)
        arrays[stream.name] = torch.randn(batch, cells, *row, generator=generator, dtype=torch.float64).to(dtype)
    for parameter in kernels.parameters:
        values = torch.randn(directions, channels, parameter.width, generator=generator, dtype=torch.float64)
        arrays[parameter.name] = values.to(torch.promote_types(dtype, torch.float32))
    return {name: array.to(device) for name, array in arrays.items()}


def softplus(x: Tensor) -> Tensor:
    """torch's own takes softplus(x) for x from 20 on, an error of 2e-9."""
    return torch.logaddexp(x, torch.zeros_like(x))


def selective_loop(a: Mapping[str, Tensor], k: int, cells: Tensor) -> Tensor:
    """Direction k of the selective recurrence, (B, L, C) in grid order."""
    decay, outputs = -torch.exp(a["A_log"][k]), torch.zeros_like(a["x"])
    state = torch.zeros(*a["x"][:, 0].shape, decay.shape[-1], dtype=torch.float64, device=cells.device)
    steps = []
    for cell in cells.tolist():
        x, low, b, c = a["x"][:, cell], a["low"][:, cell, k], a["B"][:, cell, k], a["C"][:, cell, k]
        dt = softplus(low @ a["dt_weight"][k].T + a["dt_bias"][k, :, 0])
        state = torch.exp(decay * dt[..., None]) * state + (dt * x)[..., None] * b[:, None]
        steps.append((state * c[:, None]).sum(-1) + a["D"][k, :, 0] * x)
    return outputs.index_add(1, cells, torch.stack(steps, 1))


def gated_loop(a: Mapping[str, Tensor], k: int, cells: Tensor) -> Tensor:
    """Direction k of `examples/gated.scan`."""
    outputs, state = torch.zeros_like(a["x"]), torch.zeros((), dtype=torch.float64, device=cells.device)
    steps = []
    for cell in cells.tolist():
        x, g, key, query = a["x"][:, cell], a["g"][:, cell], a["K"][:, cell, k], a["Q"][:, cell, k]
        forget = torch.sigmoid(a["lam"][k] + g[..., None])
        state = forget * state + (1 - forget) * key[:, None] * x[..., None]
        steps.append(torch.tanh((state * query[:, None]).sum(-1)) * torch.nn.functional.silu(g))
    return outputs.index_add(1, cells, torch.stack(steps, 1))


@dataclass(frozen=True)
class Case:
    """One scan at one size under one schedule."""

    kernels: ScanKernels
    orders: tuple[Order, ...]
    loop: Callable[[Mapping[str, Tensor], int, Tensor], Tensor]
    merge: Callable[[Tensor], Tensor]
    grid: tuple[int, int]
    channels: int
    schedule: Schedule | None = None
    dtype: torch.dtype = torch.float64
    batch: int = 2

    def with_schedule(self, **changes: object) -> Case:
        assert self.schedule is not None
        return replace(self, schedule=replace(self.schedule, **changes))  # type: ignore[arg-type]


def expected(case: Case, arrays: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """The output (`""`) and every gradient, by autograd over the loop in float64."""
    exact = {name: array.double().requires_grad_() for name, array in arrays.items()}
    device = cotangent.device
    tables = [torch.from_numpy(order.positions(*case.grid)).to(device) for order in case.orders]
    partials = torch.stack([case.loop(exact, k, table) for k, table in enumerate(tables)])
    result = case.merge(partials)
    gradients = torch.autograd.grad(result, list(exact.values()), cotangent.double())
    return {"": result.detach(), **dict(zip(exact, gradients, strict=True))}


def run(case: Case, arrays: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """The same by the generated kernels."""
    chosen = case.schedule
    scan = TritonScan(case.kernels, case.orders) if chosen is None else TritonScan(case.kernels, case.orders, lambda *_: chosen)
    result, saved = scan.forward(arrays, case.grid, True)
    assert torch.equal(result, scan.forward(arrays, case.grid, False)[0]), "saving states changes the output"
    return {"": result, **scan.backward(cotangent, saved, arrays, case.grid)}


def check(case: Case, device: str = "cpu") -> dict[str, Tensor]:
    """Compare, and give what the kernels computed."""
    cells = case.grid[0] * case.grid[1]
    arrays = draw(case.kernels, case.batch, cells, case.channels, case.dtype, device)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(case.batch, cells, case.channels, generator=generator, dtype=torch.float64)
    cotangent = cotangent.to(case.dtype).to(device)
    found, wanted = run(case, arrays, cotangent), expected(case, arrays, cotangent)
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        got = found[name].double().reshape(value.shape)
        error = ((got - value).abs().max() / value.abs().max().clamp_min(1e-6)).item()
        assert error <= TOLERANCE[case.dtype], f"{name or 'the output'} is off by {error:.1e}"  # NaN fails too
    return found
