"""The C backend against a loop over the steps written here in float64 torch: outputs and every gradient.

Programs run as the compiler lowers them; what no order of a small program gives (rows visited twice or never, directions of
different length, streams on other routes or along time, channels of each direction's own) is made by hand: a `Case` is a
program's kernels with a few fields changed, on tables of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scanlang
from scanlang.codegen.cpu import run_c
from scanlang.codegen.cpu.c_order import Act, shorten_lifetimes, split_early
from scanlang.codegen.cpu.c_streams import gradient_pointer, pointer
from scanlang.codegen.cpu.run_c import CpuScan
from scanlang.codegen.kernel import (
    TIME,
    Access,
    Accumulate,
    Advance,
    BackwardKernel,
    ForwardKernel,
    Gradient,
    Let,
    Parameter,
    ParameterGradient,
    ScanKernels,
    Stream,
)
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal, Visits

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
recurrence restarting(state n) {
  input x
  shared again, B[n], C[n]
  param lam[n] = 1
  h[n] = where(again > 0.5, 0, sigmoid(lam[n])) * h[n] + B[n] * x
  y    = sum(n: C[n] * h[n])
}
"""
SELECTIVE = "recur selective(state = {n}, rank = 3)"
PROGRAMS = {
    "one": "scan s(dim) { directions columns " + SELECTIVE + " merge sum }",
    "cross": "scan s(dim) { directions rows, columns, reverse(wave) " + SELECTIVE + " merge sum }",
    "mean": "scan s(dim) { directions rows, reverse(rows) share A_log, D " + SELECTIVE + " merge mean }",
    "gated": "scan s(dim) { input x, g directions wave, columns recur gated(state = {n}) merge sum }",
    "projected": "scan s(dim) { directions wave, columns recur gated(state = {n}) project g, K, Q from x merge sum }",
    "restarting": "scan s(dim) { directions rows, columns recur restarting(state = {n}) merge sum }",
    "merged": "scan s(dim) { input x, z directions rows, columns " + SELECTIVE + " merge (y[0] - y[1] * x) * silu(z) / 2 }",
}
SELECTIVE_NAMES = ("x", "low", "B", "C", "dt_weight", "dt_bias", "A_log", "D")


class Fixed(Traversal):
    """The same tables at every size."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits

    def at(self, grid: tuple[int, ...]) -> Visits:
        return self.visits


class Adding(Visits):
    """Tables said not to be simple, whatever they are."""

    simple = False


def make_visits(rows: int, *routes: Sequence[Sequence[int]], pads: int = 0, kind: type[Visits] = Visits) -> Visits:
    """What directions visit, route by route; every row but the pads is a cell."""
    tables = tuple(tuple(np.array(table, np.int64) for table in route) for route in routes)
    lengths = tuple(map(len, routes[0]))
    restarts = tuple(np.zeros(length, np.bool_) for length in lengths)
    labels = tuple(np.zeros(length, np.int64) for length in lengths)
    return kind(rows - pads, (), pads, lengths, tables, restarts, labels, (None,) * len(lengths))


def draw_routes(rows: int, lengths: Sequence[int], routes: int, seed: int = 0) -> list[list[list[int]]]:
    """Rows at random, some twice and some never."""
    generator = np.random.default_rng(seed)
    return [[generator.integers(0, rows, length).tolist() for length in lengths] for _ in range(routes)]


def shuffled(rows: int, directions: int, routes: int, seed: int = 0) -> list[list[list[int]]]:
    """Every row once."""
    generator = np.random.default_rng(seed)
    return [[generator.permutation(rows).tolist() for _ in range(directions)] for _ in range(routes)]


@dataclass(frozen=True)
class Case:
    """A program's kernels with streams, parameters and other fields changed; `unit` channels are the fewest."""

    program: str
    visits: Visits
    streams: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    unit: int = 1


APART: Mapping[str, Any] = {"merge_scale": None}
ELSEWHERE = {"x": {"route": 2}, "low": {"route": 1}, "C": {"route": TIME}}
RESTARTS = {"again": {"name": "restart.", "route": TIME, "constant": True}}
CASES = {
    "uneven": Case("cross", make_visits(15, *draw_routes(13, (13, 0, 21), 1))),
    "one direction": Case("one", make_visits(15, *draw_routes(13, (18,), 1))),
    "shared": Case("mean", make_visits(15, *draw_routes(13, (18, 7), 1))),
    "projected": Case("projected", make_visits(15, *draw_routes(13, (9, 18), 1))),
    "merged": Case("merged", make_visits(15, *draw_routes(15, (9, 18), 1), pads=2)),
    "stacked": Case("cross", make_visits(15, *shuffled(15, 3, 1)), changes={**APART, "stacked": True}),
    "stacked uneven": Case("cross", make_visits(15, *draw_routes(13, (9, 0, 20), 1)), changes={**APART, "stacked": True}),
    "routes": Case("cross", make_visits(15, *shuffled(15, 3, 4)), ELSEWHERE, {"output_route": 3, "routes": 4}),
    "routes uneven": Case(
        "cross", make_visits(15, *draw_routes(13, (13, 0, 21), 4)), ELSEWHERE, {"output_route": 3, "routes": 4}
    ),
    "merged routes": Case(
        "merged", make_visits(15, *draw_routes(15, (9, 18), 4), pads=2), ELSEWHERE, {"output_route": 3, "routes": 4}
    ),
    "restarts": Case("restarting", make_visits(15, *shuffled(15, 2, 1)), {**RESTARTS, "B": {"route": TIME}}),
    "restarts uneven": Case("restarting", make_visits(15, *draw_routes(13, (5, 17), 1)), RESTARTS),
    "split": Case("cross", make_visits(15, *shuffled(15, 3, 1)), changes={**APART, "split": (2, 1, 1)}, unit=4),
    "split uneven": Case(
        "cross", make_visits(15, *draw_routes(13, (9, 0, 20), 4)), ELSEWHERE,
        {**APART, "split": (1, 1, 2), "output_route": 3, "routes": 4}, unit=4,
    ),
    "split shared": Case("mean", make_visits(15, *shuffled(15, 2, 1)), changes={"merge_scale": 1.0, "split": (1, 1)}, unit=2),
}  # fmt: skip


def per_unit(low: int, b: int, c: int, split: bool = False) -> dict[str, dict[str, int]]:
    """Streams and parameters of `selective` with one value for so many channels."""
    streams = {name: {"every": every, "per_direction": not split} for name, every in (("low", low), ("B", b), ("C", c))}
    return {**streams, "dt_bias": {"every": low}, "A_log": {"every": b}}


def joined(*changes: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    names = {name: None for change in changes for name in change}
    return {name: {key: value for change in changes for key, value in change.get(name, {}).items()} for name in names}


MANY: Mapping[str, Any] = {"output_route": 3, "routes": 4}
ROUTES = {"x": {"route": 2}, "low": {"route": 1}, "C": {"route": 3}}
UNEVEN = make_visits(15, *draw_routes(13, (13, 0, 21), 4))
CASES |= {
    "units of 1, 2, 3": Case("cross", make_visits(15, *shuffled(15, 3, 1)), per_unit(1, 2, 3), unit=6),
    "units of 8, 24, 64": Case("cross", make_visits(15, *shuffled(15, 3, 1)), per_unit(64, 8, 24), unit=192),
    "units of 16, 32, 48": Case("cross", make_visits(15, *shuffled(15, 3, 1)), per_unit(16, 32, 48), unit=96),
    "units uneven": Case("cross", UNEVEN, joined(per_unit(8, 24, 16), ROUTES), MANY, 48),
    "columns uneven": Case("cross", UNEVEN, joined(per_unit(1, 1, 32), ROUTES), MANY, 32),
    "units shared": Case("mean", make_visits(15, *shuffled(15, 2, 1)), joined(per_unit(3, 1, 3), {"D": {"every": 3}}), unit=3),
    "units merged": Case("merged", make_visits(15, *draw_routes(15, (9, 18), 1), pads=2), per_unit(4, 16, 32), unit=32),
    "units stacked": Case("cross", make_visits(15, *shuffled(15, 3, 1)), per_unit(5, 5, 1), {**APART, "stacked": True}, 5),
    "units split": Case(
        "cross", make_visits(15, *shuffled(15, 3, 1)), per_unit(16, 16, 64, True), {**APART, "split": (2, 1, 1)}, unit=256
    ),
    "units split uneven": Case(
        "cross", make_visits(15, *draw_routes(13, (9, 0, 20), 4)), joined(per_unit(1, 3, 16, True), ROUTES),
        {**MANY, **APART, "split": (1, 1, 2)}, 192,
    ),
    "units split shared": Case(
        "mean", make_visits(15, *shuffled(15, 2, 1)), joined(per_unit(2, 4, 4, True), {"D": {"every": 4}}),
        {"merge_scale": 1.0, "split": (1, 1)}, 8,
    ),
    "units restarting": Case("restarting", make_visits(15, *shuffled(15, 2, 1)), joined(RESTARTS, {"B": {"every": 4}}), unit=4),
}  # fmt: skip


@cache
def compiled(program: str, states: int = 2, chunk: int = 4, lanes: int = 0) -> CpuScan:
    graph = scanlang.loads(ORDERS + PROGRAMS[program].replace("{n}", str(states))).operator_graph("s")
    kernels = lower_to_kernels(graph, {"state": states, "rank": 3})
    return CpuScan(kernels, graph.traversal, Schedule("table", "turns", lanes, chunk, chunk))


@cache
def compiled_case(name: str, lanes: int = 0) -> CpuScan:
    case = CASES[name]
    scan = compiled(case.program, lanes=lanes)
    kernels = replace(with_streams(scan.kernels, case.streams), **case.changes)
    return CpuScan(kernels, Fixed(case.visits), scan.schedule)


def on(scan: CpuScan, visits: Visits) -> CpuScan:
    """The same code on other tables."""
    other = CpuScan(scan.kernels, Fixed(visits), scan.schedule)
    other._libraries = scan._libraries
    return other


def with_streams(kernels: ScanKernels, changes: Mapping[str, Mapping[str, Any]]) -> ScanKernels:
    """The same with streams and parameters changed."""

    def changed(found: Sequence[Any]) -> Any:
        return tuple(replace(one, of=replace(one.of, **changes.get(one.of.name, {}))) for one in found)

    forward, backward = kernels.forward, kernels.backward
    return replace(
        kernels,
        forward=replace(forward, reads=changed(forward.reads), parameters=changed(forward.parameters)),
        backward=replace(
            backward,
            reads=changed(backward.reads),
            parameters=changed(backward.parameters),
            gradients=changed(backward.gradients),
            parameter_gradients=changed(backward.parameter_gradients),
        ),
    )


def make_arrays(scan: CpuScan, images: int, grid: tuple[int, int], channels: int, seed: int = 0) -> dict[str, Tensor]:
    """Every array the scan takes, in float64."""
    generator = torch.Generator().manual_seed(seed)
    kernels, visits = scan.kernels, scan.traversal.at(grid)
    rows, directions = visits.rows, kernels.directions

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.7

    arrays = {}
    for stream in kernels.streams:
        if stream.route == TIME:
            arrays[stream.name] = draw(directions, visits.steps, stream.width)
        elif stream.lanes:
            arrays[stream.name] = draw(images, rows, *((directions,) if stream.per_direction else ()), channels)
        elif stream.uniform:
            arrays[stream.name] = draw(images, rows, directions, stream.width)
        else:
            own = () if kernels.split else (directions,)
            arrays[stream.name] = draw(images, rows, *own, channels // stream.every, stream.width)
    for of in kernels.parameters:
        if kernels.split is not None:
            arrays[of.name] = draw((channels // directions if of.shared else channels) // of.every, of.width)
        else:
            arrays[of.name] = draw(*(() if of.shared else (directions,)), channels // of.every, of.width)
    if kernels.merge is not None:
        arrays["z"] = draw(images, rows, channels)
    return arrays


def make_gradient(scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int] = (0, 0)) -> Tensor:
    """A gradient of the output; pads have none."""
    x, visits = arrays["x"], scan.traversal.at(grid)
    stacked = (scan.kernels.directions,) if scan.kernels.stacked else ()
    shape = (x.shape[0], visits.rows, *stacked, x.shape[-1])
    gradient = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradient[:, visits.rows - visits.pads :] = 0
    return gradient


def selective_step(h: Tensor, a: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    step = torch.nn.functional.softplus(a["dt_bias"][:, 0] + (a["dt_weight"] * a["low"]).sum(-1))
    h = torch.exp(-torch.exp(a["A_log"]) * step[..., None]) * h + (step * a["x"])[..., None] * a["B"]
    return h, (h * a["C"]).sum(-1) + a["D"][:, 0] * a["x"]


def gated_step(h: Tensor, a: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    forget = torch.sigmoid(a["lam"] + a["g"][..., None])
    h = forget * h + (1 - forget) * a["K"] * a["x"][..., None]
    return h, torch.tanh((h * a["Q"]).sum(-1)) * torch.nn.functional.silu(a["g"])


def restarting_step(h: Tensor, a: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    again = a["again" if "again" in a else "restart."] > 0.5
    h = torch.where(again, 0, torch.sigmoid(a["lam"]) * h) + a["B"] * a["x"][..., None]
    return h, (h * a["C"]).sum(-1)


STEPS = {"gated": gated_step, "projected": gated_step, "restarting": restarting_step}


def each_direction(
    program: str,
    scan: CpuScan,
    arrays: Mapping[str, Tensor],
    visits: Visits,
    tables: Tensor,
    entry: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """What every direction writes, (B, R, its channels), step by step; its states at the end, (B, states, its channels)."""
    step, kernels, x = STEPS.get(program, selective_step), scan.kernels, arrays["x"]
    image, outputs, finals = torch.arange(x.shape[0]), [], []
    for k, (first, count) in enumerate(kernels.channels(x.shape[-1])):
        own = slice(first, first + count)
        values = {}
        for of in kernels.parameters:
            given = arrays[of.name].repeat_interleave(of.every, -2)
            values[of.name] = given if of.shared else given[own] if kernels.split is not None else given[k]
        h = torch.zeros(x.shape[0], count, len(kernels.forward.states), dtype=x.dtype)
        h = h if entry is None else entry[:, k, :, :count].transpose(1, 2)
        output = torch.zeros(x.shape[0], visits.rows, count, dtype=x.dtype)
        for t in range(visits.lengths[k]):
            for stream in kernels.streams:
                if stream.route == TIME:
                    values[stream.name] = arrays[stream.name][k, t].expand(x.shape[0], 1, -1)
                    continue
                here = arrays[stream.name][image, tables[:, stream.route, k, t]]
                if stream.lanes:
                    values[stream.name] = (here[:, k] if stream.per_direction else here)[:, own]
                elif stream.uniform:
                    values[stream.name] = here[:, [k]]
                else:
                    here = (here if kernels.split else here[:, k]).repeat_interleave(stream.every, 1)
                    values[stream.name] = here[:, own] if kernels.split else here
            h, written = step(h, values)
            output = output.index_put((image, tables[:, kernels.output_route, k, t]), written, accumulate=True)
        outputs.append(output)
        finals.append(h.transpose(1, 2))
    return outputs, finals


def reference(
    program: str,
    scan: CpuScan,
    arrays: Mapping[str, Tensor],
    grid: tuple[int, int],
    tables: Tensor | None = None,
    entry: Tensor | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The scan, step by step: its output and the final states."""
    visits, images = scan.traversal.at(grid), arrays["x"].shape[0]
    table = torch.from_numpy(visits.table)
    per_image = (table.expand(images, *table.shape) if tables is None else tables).long()
    outputs, finals = each_direction(program, scan, arrays, visits, per_image, entry)
    if scan.kernels.stacked:
        return torch.stack(outputs, 2), finals
    if scan.kernels.split is not None:
        return torch.cat(outputs, -1), finals
    if program == "merged":
        return (outputs[0] - outputs[1] * arrays["x"]) * torch.nn.functional.silu(arrays["z"]) / 2, finals
    return torch.stack(outputs).sum(0) / (len(outputs) if program == "mean" else 1), finals


def run(
    scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int], gradient: Tensor, tables: Tensor | None = None
) -> dict[str, Tensor]:
    """The output as `y` and every gradient."""
    output, saved = scan.forward(arrays, grid, True, tables)
    assert not saved.states.isnan().any()
    return {"y": output} | scan.backward(gradient, saved, arrays, grid, tables)


def expected(
    program: str,
    scan: CpuScan,
    arrays: Mapping[str, Tensor],
    grid: tuple[int, int],
    gradient: Tensor,
    tables: Tensor | None = None,
) -> dict[str, Tensor]:
    leaves = {name: array.clone().requires_grad_() for name, array in arrays.items()}
    output, _ = reference(program, scan, leaves, grid, tables)
    if output.requires_grad:  # any step at all
        output.backward(gradient)
    return {"y": output.detach()} | gradients(scan, leaves)


def gradients(scan: CpuScan, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What autograd found; zero where an array may only decide branches."""
    constant = {stream.name for stream in scan.kernels.streams if stream.constant}
    grads = {name: leaf.grad for name, leaf in leaves.items() if name not in constant}
    return {name: torch.zeros_like(leaves[name]) if grad is None else grad for name, grad in grads.items()}


def single(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: array.float() for name, array in arrays.items()}


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
    gradient = make_gradient(scan, arrays, grid)
    wanted = expected(program, scan, arrays, grid, gradient)
    assert_close(run(scan, single(arrays), grid, gradient.float()), wanted, 3e-6)
    assert_close(run(scan, arrays, grid, gradient), wanted, 1e-13)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("images, channels", [(1, 1), (3, 3), (2, 17)], ids=lambda n: str(n))
def test_rows_routes_and_channels_of_every_kind(name: str, images: int, channels: int) -> None:
    case, scan = CASES[name], compiled_case(name)
    channels = channels if case.unit < 16 else min(channels, 4)
    arrays = make_arrays(scan, images, (0, 0), channels * case.unit)
    gradient = make_gradient(scan, arrays)
    wanted = expected(case.program, scan, arrays, (0, 0), gradient)
    cells = slice(0, case.visits.cells)
    for found, tolerance in (
        (run(scan, single(arrays), (0, 0), gradient.float()), 3e-6), (run(scan, arrays, (0, 0), gradient), 1e-13)
    ):  # fmt: skip
        assert_close(found | {"y": found["y"][:, cells]}, wanted | {"y": wanted["y"][:, cells]}, tolerance)


@pytest.mark.parametrize("name", ["routes", "split", "merged", "stacked", "restarts"])
def test_an_order_of_every_image_s_own(name: str) -> None:
    case, scan = CASES[name], compiled_case(name)
    arrays = make_arrays(scan, 3, (0, 0), 5 * case.unit)
    gradient = make_gradient(scan, arrays)
    table = torch.from_numpy(case.visits.table)
    tables = torch.stack([torch.randperm(15, generator=torch.Generator().manual_seed(i))[table] for i in range(3)]).int()
    tables = tables if case.visits.simple else tables.clamp(max=case.visits.cells - 1)
    wanted = expected(case.program, scan, arrays, (0, 0), gradient, tables)
    assert_close(run(scan, arrays, (0, 0), gradient, tables), wanted, 1e-13)


@given(rows=st.integers(1, 9), lengths=st.tuples(*[st.integers(0, 11)] * 3), seed=st.integers(0, 99), images=st.integers(1, 2))
@settings(max_examples=40)
def test_any_tables(rows: int, lengths: tuple[int, ...], seed: int, images: int) -> None:
    scan = on(compiled_case("routes"), make_visits(rows, *draw_routes(rows, lengths, 4, seed)))
    arrays = make_arrays(scan, images, (0, 0), 3, seed)
    gradient = make_gradient(scan, arrays)
    assert_close(run(scan, arrays, (0, 0), gradient), expected("cross", scan, arrays, (0, 0), gradient), 1e-13)


@pytest.mark.parametrize("name", ["stacked", "routes", "restarts", "split", "units of 1, 2, 3", "units split"])
def test_adding_from_zero_gives_the_bits_of_storing(name: str) -> None:
    scan, visits = compiled_case(name), CASES[name].visits
    assert visits.simple
    adding = on(scan, make_visits(visits.rows, *[[list(map(int, t)) for t in route] for route in visits.tables], kind=Adding))
    arrays = single(make_arrays(scan, 2, (0, 0), 20 * CASES[name].unit))
    gradient = make_gradient(scan, arrays).float()
    stored, added = run(scan, arrays, (0, 0), gradient), run(adding, arrays, (0, 0), gradient)
    assert all(torch.equal(stored[name], added[name]) for name in stored)


@pytest.mark.parametrize("name", CASES)
def test_states_that_the_caller_gives_and_takes(name: str) -> None:
    case, scan = CASES[name], compiled_case(name)
    arrays = make_arrays(scan, 2, (0, 0), 3 * case.unit)
    gradient, own = make_gradient(scan, arrays), [count for _, count in scan.kernels.channels(3 * case.unit)]
    shape = (2, scan.kernels.directions, len(scan.kernels.forward.states), max(own))
    generator = torch.Generator().manual_seed(2)
    entry, d_final = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    leaves = {n: array.clone().requires_grad_() for n, array in {**arrays, "entry": entry}.items()}
    output, finals = reference(case.program, scan, leaves, (0, 0), entry=leaves["entry"])
    reached = (output * gradient).sum() + sum((d_final[:, k, :, : own[k]] * final).sum() for k, final in enumerate(finals))
    torch.as_tensor(reached).backward()
    wanted = {"y": output.detach()} | gradients(scan, leaves)
    cells = slice(0, case.visits.cells)
    for dtype, tolerance in ((torch.float32, 3e-6), (torch.float64, 1e-13)):
        given = {n: array.to(dtype) for n, array in arrays.items()}
        final, d_entry = (torch.full(shape, 7.0, dtype=dtype) for _ in range(2))
        y, saved = scan.forward(given, (0, 0), True, None, entry.to(dtype), final)
        found = scan.backward(gradient.to(dtype), saved, given, (0, 0), None, d_final.to(dtype), d_entry)
        for k, count in enumerate(own):
            assert_close({"": final[:, k, :, :count]}, {"": finals[k].detach()}, tolerance)
            assert (final[:, k, :, count:] == 7).all()
            assert (d_entry[:, k, :, count:] == 7).all()
            d_entry[:, k, :, count:] = 0
        assert_close(found | {"y": y[:, cells], "entry": d_entry}, wanted | {"y": wanted["y"][:, cells]}, tolerance)


def test_sums_over_units_of_whole_vectors_take_less_than_a_number_for_every_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    scan, made = compiled_case("units of 16, 32, 48"), list[int]()
    arrays, make = single(make_arrays(scan, 2, (0, 0), 768)), run_c.empty

    def counted(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        made.append(int(np.prod(shape)))
        return make(shape, dtype)

    monkeypatch.setattr(run_c, "empty", counted)
    found = run(scan, arrays, (0, 0), make_gradient(scan, arrays).float())
    widest = max(found[name].numel() * stream.every for stream in scan.kernels.streams if (name := stream.name) != "x")
    assert max(made) < widest / 2


def test_a_row_that_nobody_visits_is_zero() -> None:
    visits = make_visits(15, *draw_routes(13, (13, 0, 21), 1))
    scan = on(compiled_case("uneven"), visits)
    arrays = make_arrays(scan, 2, (0, 0), 4)
    found = run(scan, arrays, (0, 0), make_gradient(scan, arrays))
    assert all(not found[name][:, 13:].any() for name in ("y", "x", "low", "B", "C"))


def test_what_a_merge_makes_of_pads_is_no_output() -> None:
    case, scan = CASES["merged"], compiled_case("merged")
    arrays = make_arrays(scan, 2, (0, 0), 4)
    gradient = make_gradient(scan, arrays)
    wanted = run(scan, arrays, (0, 0), gradient)
    arrays["z"][:, case.visits.cells :] = float("inf")
    found = run(scan, arrays, (0, 0), gradient)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted if name != "y")


def convolution() -> ScanKernels:
    """y[t] = w0 x[t] + w1 x[t-1] + w2 x[t-2] of what came since the last restart, by hand: two states that pass x on."""
    x, restart = Stream("x", 1, False), Stream("restart.", 0, True, 1, TIME, constant=True)
    weight = Parameter("conv_weight", False, 3)
    parameters = (Access(weight, ("b_w_0", "b_w_1", "b_w_2")),)
    reads = (Access(x, ("b_x",)), Access(restart, ("b_restart",)))
    states, carries = ("b_conv_1", "b_conv_2"), ("b_d_conv_1", "b_d_conv_2")
    advances = (Advance("b_conv_1", "b_x"), Advance("b_conv_2", "b_one"))
    fresh = (
        Let("b_again", "gt", ("b_restart", 0.5)),
        Let("b_one", "where", ("b_again", 0.0, "b_conv_1")),
        Let("b_two", "where", ("b_again", 0.0, "b_conv_2")),
    )
    forward = ForwardKernel(
        parameters, (), states, reads,
        (*fresh, Let("b_p", "mul", ("b_w_0", "b_x")), Let("b_q", "mul", ("b_w_1", "b_one")),
         Let("b_r", "mul", ("b_w_2", "b_two")), Let("b_s", "add", ("b_p", "b_q")), Let("b_y", "add", ("b_s", "b_r"))),
        advances, "b_y", (0.0, 0.0),
    )  # fmt: skip
    backward = BackwardKernel(
        parameters, (), states, reads, fresh[:2], advances, states, "b_d_y", carries,
        (*fresh, Let("b_p", "mul", ("b_w_0", "b_d_y")), Let("b_d_x", "add", ("b_p", "b_d_conv_1")),
         Let("b_q", "mul", ("b_w_1", "b_d_y")), Let("b_s", "add", ("b_q", "b_d_conv_2")), Let("b_r", "mul", ("b_w_2", "b_d_y")),
         Let("b_next_1", "where", ("b_again", 0.0, "b_s")), Let("b_next_2", "where", ("b_again", 0.0, "b_r")),
         *(Let(f"b_g_{i}", "mul", ("b_d_y", value)) for i, value in enumerate(("b_x", "b_one", "b_two")))),
        (Advance("b_d_conv_1", "b_next_1"), Advance("b_d_conv_2", "b_next_2")), (Gradient(x, ("b_d_x",)),),
        tuple(Accumulate(f"b_total_{i}", f"b_g_{i}") for i in range(3)), (),
        (ParameterGradient(weight, ("b_total_0", "b_total_1", "b_total_2")),), (0, 1),
    )  # fmt: skip
    return ScanKernels("convolution", 2, forward, backward, 1.0, None, None)


def test_states_that_only_pass_on_start_anew() -> None:
    restarts = [[0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0]]
    visits = make_visits(11, [list(range(10, -1, -1)), list(range(7))])
    scan = CpuScan(convolution(), Fixed(visits), Schedule("table", "turns", 0, 4, 4))
    arrays = make_arrays(scan, 2, (0, 0), 5)
    arrays["restart."] = torch.tensor([restarts[0], restarts[1] + [0] * 4], dtype=torch.float64).reshape(2, 11, 1)
    x, weight = (arrays[name].clone().requires_grad_() for name in ("x", "conv_weight"))
    output = torch.zeros(2, 11, 5, dtype=torch.float64)
    for k, table in enumerate(visits.tables[0]):
        for t, row in enumerate(table):
            begin = max(i for i in range(t + 1) if restarts[k][i] or i == 0)
            value = sum(weight[k, :, i] * x[:, table[t - i]] for i in range(3) if t - i >= begin)
            output = output.index_add(1, torch.tensor([int(row)]), torch.as_tensor(value)[:, None])
    gradient = make_gradient(scan, arrays)
    output.backward(gradient)
    assert x.grad is not None
    assert weight.grad is not None
    found = run(scan, arrays, (0, 0), gradient)
    assert_close(found, {"y": output.detach(), "x": x.grad, "conv_weight": weight.grad}, 1e-13)


def normalised() -> ScanKernels:
    """m = max(m', f), h = exp(m' - m) h' + exp(f - m) x, y = h, by hand: m is a scale, so it starts low and has no gradient.

    Three channels have one f.
    """
    x, f = Stream("x", 1, False), Stream("f", 3, True)
    reads, states = (Access(x, ("b_x",)), Access(f, ("b_f",))), ("b_m", "b_h")
    body = (
        Let("b_new_m", "max", ("b_m", "b_f")), Let("b_back", "sub", ("b_m", "b_new_m")), Let("b_decay", "exp", ("b_back",)),
        Let("b_up", "sub", ("b_f", "b_new_m")), Let("b_drive", "exp", ("b_up",)), Let("b_kept", "mul", ("b_decay", "b_h")),
        Let("b_new", "mul", ("b_drive", "b_x")), Let("b_new_h", "add", ("b_kept", "b_new")),
    )  # fmt: skip
    advances = (Advance("b_m", "b_new_m"), Advance("b_h", "b_new_h"))
    forward = ForwardKernel((), (), states, reads, body, advances, "b_new_h", (-1e30, 0.0))
    backward = BackwardKernel(
        (), (), states, reads, body, advances, ("b_decay", "b_drive"), "b_d_y", ("b_d_h",),
        (Let("b_all", "add", ("b_d_y", "b_d_h")), Let("b_d_x", "mul", ("b_all", "b_drive")),
         Let("b_d_f", "mul", ("b_d_x", "b_x")), Let("b_on", "mul", ("b_all", "b_decay"))),
        (Advance("b_d_h", "b_on"),), (Gradient(x, ("b_d_x",)), Gradient(f, ("b_d_f",))), (), (), (), (1,),
    )  # fmt: skip
    return ScanKernels("normalised", 2, forward, backward, 1.0, None, None)


@pytest.mark.parametrize("continued", [False, True], ids=["from the start", "continued"])
def test_a_scale_has_no_gradient(continued: bool) -> None:
    visits = make_visits(11, [list(range(10, -1, -1)), list(range(7))])
    scan = CpuScan(normalised(), Fixed(visits), Schedule("table", "turns", 0, 4, 4))
    arrays = make_arrays(scan, 2, (0, 0), 21)
    x, f = (arrays[name].clone().requires_grad_() for name in ("x", "f"))
    entry = torch.randn(2, 2, 2, 21, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    output, finals = torch.zeros(2, 11, 21, dtype=torch.float64), []
    for k, table in enumerate(visits.tables[0]):
        m, h = entry.detach()[:, k, 0] if continued else torch.full((2, 21), -1e30), entry[:, k, 1] * int(continued)
        for row in map(int, table):
            level = f[:, row, k].repeat_interleave(3, 1)[..., 0].reshape(2, 21)
            new = torch.maximum(m, level.detach())
            h = torch.exp(m - new) * h + torch.exp(level - new) * x[:, row]
            m, output = new, output.index_add(1, torch.tensor([row]), h[:, None])
        finals.append(torch.stack([m, h], 1))
    gradient, final, d_entry = make_gradient(scan, arrays), torch.empty_like(entry), torch.full_like(entry, 7.0)
    d_final = torch.randn(entry.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    wanted = torch.autograd.grad((output * gradient).sum() + (torch.stack(finals, 1) * d_final).sum(), [x, f, entry])
    y, saved = scan.forward(arrays, (0, 0), True, None, entry.detach() if continued else None, final)
    found = scan.backward(gradient, saved, arrays, (0, 0), None, d_final, d_entry if continued else None)
    assert_close({"y": y, "final": final}, {"y": output.detach(), "final": torch.stack(finals, 1).detach()}, 1e-13)
    assert_close(found, {"x": wanted[0], "f": wanted[1]}, 1e-13)
    assert (d_entry[:, :, 0] == 7).all()
    assert not continued or torch.allclose(d_entry[:, :, 1], wanted[2][:, :, 1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (4, 1), (2, 2), (7, 11)], ids=lambda g: f"H{g[0]}-W{g[1]}")
def test_any_size_runs_the_same_code(grid: tuple[int, int]) -> None:
    scan = compiled("cross")
    arrays = make_arrays(scan, 1, grid, 5)
    gradient = torch.ones(1, grid[0] * grid[1], 5, dtype=torch.float64)
    assert_close(run(scan, arrays, grid, gradient), expected("cross", scan, arrays, grid, gradient), 1e-13)


@pytest.mark.parametrize("lanes", [4, 8])
@pytest.mark.parametrize("name", ["units of 1, 2, 3", "units of 8, 24, 64", "units split uneven"])
def test_units_in_other_vector_widths(name: str, lanes: int) -> None:
    case, scan = CASES[name], compiled_case(name, lanes)
    arrays = make_arrays(scan, 1, (0, 0), 3 * case.unit)
    gradient = make_gradient(scan, arrays)
    wanted = expected(case.program, scan, arrays, (0, 0), gradient)
    assert_close(run(scan, single(arrays), (0, 0), gradient.float()), wanted, 3e-6)
    assert_close(run(scan, arrays, (0, 0), gradient), wanted, 1e-13)


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


@pytest.mark.parametrize("name", CASES)
def test_batch_zero_of_every_kind(name: str) -> None:
    scan = compiled_case(name)
    arrays = make_arrays(scan, 0, (0, 0), 4 * CASES[name].unit)
    found = run(scan, arrays, (0, 0), make_gradient(scan, arrays))
    constant = {stream.name for stream in scan.kernels.streams if stream.constant}
    assert {n: value.shape for n, value in found.items() if n != "y"} == {
        n: array.shape for n, array in arrays.items() if n not in constant
    }
    assert not any(value.any() for value in found.values())


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
    assert_same_on_any_number_of_threads(scan, grid, (1, 2, 5, 2))


@pytest.mark.parametrize(
    "name", ["routes uneven", "merged", "restarts", "split uneven", "stacked uneven", "units uneven", "columns uneven"]
)
def test_same_bits_of_every_kind(name: str) -> None:
    unit = CASES[name].unit
    assert_same_on_any_number_of_threads(compiled_case(name), (0, 0), (1, 3), -(-200 // unit) * unit)


def test_rows_visited_many_times_add_up_in_time_order() -> None:
    visits = make_visits(3, [np.random.default_rng(0).integers(0, 3, 20_000).tolist()])
    assert_same_on_any_number_of_threads(on(compiled("one"), visits), (0, 0), (1, 3, 3), channels=1)


def assert_same_on_any_number_of_threads(
    scan: CpuScan, grid: tuple[int, int], counts: Sequence[int], channels: int = 200
) -> None:
    arrays = single(make_arrays(scan, 2, grid, channels))
    gradient = make_gradient(scan, arrays, grid).float()
    before, runs = torch.get_num_threads(), []
    try:
        for threads in counts:
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


def test_states_that_wait_for_no_long_function_hold_nothing_back() -> None:
    lets = [Let("dt", "exp", ("low",)), Let("n", "mul", ("dt", "h")), Let("again", "gt", ("restart", 0.5)),
            Let("old", "where", ("again", 0.0, "conv_1"))]  # fmt: skip
    advances = [Advance("h", "n"), Advance("conv_1", "x"), Advance("conv_2", "old")]
    early, late = split_early(lets, ["h", "conv_1", "conv_2"], advances)
    assert [let.name for let in early] == ["dt"]
    assert [let.name for let in late] == ["n", "again", "old"]


def test_arrays_have_names_of_their_own() -> None:
    names = [
        "x",
        "y",
        "d_x",
        "table",
        "lengths",
        "states",
        "sums",
        "partials",
        "entry",
        "final",
        "sums_64",
        "sums_64_",
        "restart",
        "restart.",
        "restart_",
    ]
    own = ("y", "d_y", "table", "lengths", "states", "sums", "partials", "d_partials", "entry", "d_entry", "final", "d_final")
    files = {f"p_{name}" for name in (*own, "sums_64_")}
    made = [*map(pointer, names), *map(gradient_pointer, names)]
    assert len({*made, *files}) == len(made) + len(files)


def test_a_state_changes_after_everyone_has_read_it() -> None:
    items = [Act("h = n;", ("n",), "h"), Let("m", "mul", ("h", "h")), Let("n", "neg", ("h",)), Act("store(m);", ("m",))]
    lines = [item.line if isinstance(item, Act) else item.name for item in shorten_lifetimes(items)]
    assert sorted(lines) == ["h = n;", "m", "n", "store(m);"]
    assert lines.index("h = n;") > max(lines.index("m"), lines.index("n"))
