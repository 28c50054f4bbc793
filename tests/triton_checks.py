"""What the interpreter's tests and the GPU's tests share: two scans as float64 torch loops, compared by autograd.

The loops are written by hand from the equations; nothing of the compiler is in them but the traversal's tables. What a
program may ask of the kernels (streams on other routes, tokens, directions of different length …) is set by hand here:
`rerouted` kernels along the tables of `ByHand`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import torch
from operator_checks import program
from torch import Tensor

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import TIME, Access, Gradient, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal, Visits

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

Made = tuple[ScanKernels, Traversal]


def kernels_of(of: scanlang.Program, scan: str, sizes: Mapping[str, int]) -> Made:
    graph = of.operator_graph(scan)
    return lower_to_kernels(graph, sizes), Traversal((graph.orders,))


def cross(
    directions: str = "rows, columns, reverse(rows), reverse(columns)", merge: str = "sum", state: int = 1, rank: int = 2
) -> Made:
    """The selective recurrence along some orders."""
    text = CROSS.replace("DIRECTIONS", directions).replace("MERGE", merge)
    return kernels_of(scanlang.loads(text), "cross", {"state": state, "rank": rank})


def gated() -> Made:
    return kernels_of(program("gated"), "gated", {"state": 4})


# What a program may ask of kernels, by hand.


def rerouted(kernels: ScanKernels, streams: Mapping[str, Mapping[str, object]], **changes: object) -> ScanKernels:
    """The kernels with some streams on other routes (`{"B": {"route": 1}}`), constant, and what else changes."""

    def stream(of: Stream) -> Stream:
        return replace(of, **streams.get(of.name, {}))  # type: ignore[arg-type]

    def accesses(given: Sequence[Access]) -> tuple[Access, ...]:
        return tuple(Access(stream(a.of), a.names) if isinstance(a.of, Stream) else a for a in given)

    forward, backward = kernels.forward, kernels.backward
    gradients = tuple(Gradient(stream(g.of), g.atoms) for g in backward.gradients if not stream(g.of).constant)
    return replace(
        kernels,
        forward=replace(forward, reads=accesses(forward.reads)),
        backward=replace(backward, reads=accesses(backward.reads), gradients=gradients),
        **changes,  # type: ignore[arg-type]
    )


@dataclass(frozen=True, eq=False)
class ByHand:
    """A traversal whose tables are written down: `tables[route][direction]`. Of one grid, in one dimension."""

    cells: int
    tables: Sequence[Sequence[Sequence[int]]]
    tokens: int = 0
    pads: int = 0
    given: bool = False
    plain: bool = False
    visits: Visits = field(init=False)

    def __post_init__(self) -> None:
        tables = tuple(tuple(np.array(t, dtype=np.int64) for t in route) for route in self.tables)
        steps = tuple(len(table) for table in tables[0])
        restarts = tuple(np.zeros(n, dtype=np.bool_) for n in steps)
        labels = tuple(np.zeros(n, dtype=np.int64) for n in steps)
        tokens = (("cls", self.tokens),) if self.tokens else ()
        given = ("o" if self.given else None,) * len(steps)
        made = Visits(self.cells, tokens, self.pads, steps, tables, restarts, labels, given)
        object.__setattr__(self, "visits", made)

    @property
    def given_names(self) -> tuple[str, ...]:
        return ("o",) if self.given else ()

    @property
    def orders(self) -> tuple[SimpleNamespace, ...]:
        return tuple(SimpleNamespace(name=f"by hand {k}", nest=None, leaf=None) for k in range(len(self.tables[0])))

    def at(self, grid: tuple[int, ...]) -> Visits:
        assert grid == (self.cells,)
        return self.visits


# The scans as loops over sequences: streams (B, J, ·), parameters of one direction.


def softplus(x: Tensor) -> Tensor:
    """torch's own takes softplus(x) for x from 20 on, an error of 2e-9."""
    return torch.logaddexp(x, torch.zeros_like(x))


def selective_loop(s: Mapping[str, Tensor], p: Mapping[str, Tensor]) -> Tensor:
    """The selective recurrence along one sequence, (B, J, C)."""
    decay = -torch.exp(p["A_log"])
    state = torch.zeros(*s["x"][:, :1].sum(1).shape, decay.shape[-1], dtype=torch.float64, device=decay.device)
    steps = []
    for x, low, b, c in zip(*(s[name].unbind(1) for name in ("x", "low", "B", "C")), strict=True):
        dt = softplus(low @ p["dt_weight"].T + p["dt_bias"][:, 0])
        state = torch.exp(decay * dt[..., None]) * state + (dt * x)[..., None] * b[:, None]
        steps.append((state * c[:, None]).sum(-1) + p["D"][:, 0] * x)
    return torch.stack(steps, 1) if steps else torch.zeros_like(s["x"])


def gated_loop(s: Mapping[str, Tensor], p: Mapping[str, Tensor]) -> Tensor:
    """`examples/gated.scan` along one sequence."""
    state, steps = torch.zeros((), dtype=torch.float64, device=s["x"].device), []
    for x, g, key, query in zip(*(s[name].unbind(1) for name in ("x", "g", "K", "Q")), strict=True):
        forget = torch.sigmoid(p["lam"] + g[..., None])
        state = forget * state + (1 - forget) * key[:, None] * x[..., None]
        steps.append(torch.tanh((state * query[:, None]).sum(-1)) * torch.nn.functional.silu(g))
    return torch.stack(steps, 1)


def total(outputs: Sequence[Tensor], _: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(outputs)).sum(0)


def mean(outputs: Sequence[Tensor], _: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(outputs)).mean(0)


def stacked(outputs: Sequence[Tensor], _: Mapping[str, Tensor]) -> Tensor:
    return torch.stack(list(outputs), 2)


def side_by_side(outputs: Sequence[Tensor], _: Mapping[str, Tensor]) -> Tensor:
    return torch.cat(list(outputs), -1)


@dataclass(frozen=True)
class Case:
    """One scan at one size under one schedule. `merge` makes the result of the directions' outputs (B, R, C) and the arrays;
    `tables` are those of the images (B, routes, K, J), if they have their own."""

    kernels: ScanKernels
    traversal: Traversal | ByHand
    loop: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
    grid: tuple[int, ...]
    channels: int
    merge: Callable[[Sequence[Tensor], Mapping[str, Tensor]], Tensor] = total
    schedule: Schedule | None = None
    dtype: torch.dtype = torch.float64
    batch: int = 2
    tables: Tensor | None = None

    def with_schedule(self, **changes: object) -> Case:
        assert self.schedule is not None
        return replace(self, schedule=replace(self.schedule, **changes))  # type: ignore[arg-type]

    @property
    def visits(self) -> Visits:
        return self.traversal.at(self.grid)

    @property
    def result_shape(self) -> tuple[int, ...]:
        middle = (self.kernels.directions,) if self.kernels.stacked else ()
        return (self.batch, self.visits.rows, *middle, self.channels)


def draw(case: Case, device: str = "cpu") -> dict[str, Tensor]:
    """Random arrays for every stream and parameter, in the shapes of `Executable`."""
    kernels, visits, channels = case.kernels, case.visits, case.channels
    generator, directions = torch.Generator().manual_seed(visits.cells + channels), kernels.directions
    arrays: dict[str, Tensor] = {}

    def add(name: str, shape: Sequence[int], dtype: torch.dtype) -> None:
        arrays.setdefault(name, torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).to(device))

    for stream in kernels.streams:
        middle = (directions,) if stream.per_direction or not stream.lanes else ()
        width = channels if stream.lanes else stream.width
        timed = (directions, visits.steps, width)
        add(stream.name, timed if stream.route == TIME else (case.batch, visits.rows, *middle, width), case.dtype)
    for access in kernels.merge.reads if kernels.merge else ():
        if not access.of.name.startswith("y["):
            add(access.of.name, (case.batch, visits.rows, channels), case.dtype)
    for parameter in kernels.parameters:
        own = channels // (directions if parameter.shared else 1) if kernels.split else channels
        apart = not parameter.shared and kernels.split is None
        shape = (*((directions,) if apart else ()), own, parameter.width)
        add(parameter.name, shape, torch.promote_types(case.dtype, torch.float32))
    return arrays


def expected(case: Case, arrays: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """The output (`""`) and every gradient, by autograd over the loop in float64."""
    exact = {name: array.double().requires_grad_() for name, array in arrays.items()}
    result = case.merge([direction(case, exact, k) for k in range(case.kernels.directions)], exact)
    constant = {stream.name for stream in case.kernels.streams if stream.constant}
    wanted = {name: array for name, array in exact.items() if name not in constant}
    gradients = torch.autograd.grad(result, list(wanted.values()), cotangent.double())
    return {"": result.detach(), **dict(zip(wanted, gradients, strict=True))}


def direction(case: Case, arrays: Mapping[str, Tensor], k: int) -> Tensor:
    """What direction k adds to every row, (B, R, its channels)."""
    kernels, visits = case.kernels, case.visits
    first, count = kernels.channels(case.channels)[k]
    steps = visits.lengths[k]

    def rows(route: int, width: int) -> Tensor:
        if case.tables is None:
            found = torch.from_numpy(visits.tables[route][k]).expand(case.batch, -1)
        else:
            found = case.tables[:, route, k, :steps].long().cpu()
        return found.to(next(iter(arrays.values())).device)[..., None].expand(-1, -1, width)

    sequences, parameters = {}, {}
    for stream in kernels.streams:
        array = arrays[stream.name]
        if stream.route == TIME:
            sequences[stream.name] = array[k, :steps].expand(case.batch, -1, -1)
            continue
        array = array[:, :, k] if stream.per_direction or not stream.lanes else array[..., first : first + count]
        sequences[stream.name] = array.gather(1, rows(stream.route, array.shape[-1]))
    for parameter in kernels.parameters:
        array = arrays[parameter.name]
        own = array[first : first + count] if kernels.split else array[k]
        parameters[parameter.name] = array if parameter.shared else own
    made = case.loop(sequences, parameters)
    nothing = torch.zeros(case.batch, visits.rows, count, dtype=torch.float64, device=made.device)
    return nothing.scatter_add(1, rows(kernels.output_route, count), made)


def run(case: Case, arrays: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    """The same by the generated kernels."""
    chosen, rules = case.schedule, {} if case.schedule is None else {"choose": lambda *_: chosen}
    scan = TritonScan(case.kernels, case.traversal, **rules)  # type: ignore[arg-type]
    tables = {} if case.tables is None else {"tables": case.tables.to(cotangent.device)}
    result, saved = scan.forward(arrays, case.grid, True, **tables)
    again = scan.forward(arrays, case.grid, False, **tables)[0]
    assert torch.equal(cells_of(case, result), cells_of(case, again)), "saving states changes the output"
    assert not saved.states.isnan().any(), "states that nobody wrote"
    return {"": result, **scan.backward(cotangent, saved, arrays, case.grid, **tables)}


def cells_of(case: Case, rows: Tensor) -> Tensor:
    """All rows but the pads, whose values nobody looks at."""
    return rows[:, : case.visits.rows - case.visits.pads]


def check(case: Case, device: str = "cpu") -> dict[str, Tensor]:
    """Compare, and give what the kernels computed."""
    arrays = draw(case, device)
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(*case.result_shape, generator=generator, dtype=torch.float64)
    cotangent[:, case.visits.rows - case.visits.pads :] = 0
    cotangent = cotangent.to(case.dtype).to(device)
    found, wanted = run(case, arrays, cotangent), expected(case, arrays, cotangent)
    assert set(found) == set(wanted)
    without_rows = {p.name for p in case.kernels.parameters} | {s.name for s in case.kernels.streams if s.route == TIME}
    for name, value in wanted.items():
        got = found[name].double().reshape(value.shape)
        if name not in without_rows:
            got, value = cells_of(case, got), cells_of(case, value)
        error = ((got - value).abs().max() / value.abs().max().clamp_min(1e-6)).item()
        assert error <= TOLERANCE[case.dtype], f"{name or 'the output'} is off by {error:.1e}"  # NaN fails too
    return found
