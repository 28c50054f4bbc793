"""The scan in plain torch, for machines without a C compiler: what does not depend on the states is computed for a chunk of
steps at once, the states step by step in between. Any device, any order, forward and backward; slow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from scanlang.codegen.executable import Saved
from scanlang.codegen.kernel import Access, Advance, Atom, CellKernel, Let, Parameter, ScanKernels, Stream
from scanlang.maps.order import Order

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg,
    "exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt, "tanh": torch.tanh, "erf": torch.erf,
    "abs": torch.abs, "min": torch.minimum, "max": torch.maximum, "where": torch.where,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge, "eq": torch.eq, "ne": torch.ne,
}  # fmt: skip

CHUNK = 64


def computing_type(arrays: Mapping[str, Tensor], streams: Iterable[Stream]) -> torch.dtype:
    """float64 if any stream is, else float32."""
    return torch.float64 if any(arrays[s.name].dtype == torch.float64 for s in streams) else torch.float32


class TorchScan:
    """`TorchScan(kernels, orders)` implements `Executable`."""

    def __init__(self, kernels: ScanKernels, orders: Sequence[Order]) -> None:
        self.kernels, self.orders = kernels, tuple(orders)

    def chunk(self, grid: tuple[int, int]) -> int:
        return CHUNK

    def forward(self, arrays: Mapping[str, Tensor], grid: tuple[int, int], save: bool) -> tuple[Tensor, Saved]:
        run = _Run(self, arrays, grid)
        kernel = self.kernels.forward
        outputs, saved = run.empty_like_output(), []
        states = run.zeros(kernel.states)
        for steps in run.chunks():
            saved += [states] if save else []
            values = run.values(kernel.parameters, kernel.prologue, kernel.reads, steps)
            states = _sequence(kernel.body, kernel.advances, states, values, steps)
            run.scatter(outputs, _expand(values, kernel.output, run, steps), steps)
        result, partials = self._merge(run, outputs)
        kept = torch.stack([torch.stack([s[n] for n in kernel.states], 2) for s in saved], 2) if saved else run.empty()
        return result.to(run.output_type), Saved(kept, partials if save else run.empty())

    def _merge(self, run: _Run, outputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.kernels.merge_scale is not None:
            return outputs.sum(0) * self.kernels.merge_scale, run.empty()
        assert self.kernels.merge is not None
        values = run.cell_values(self.kernels.merge, outputs, None)
        return values[self.kernels.merge.writes[0].atoms[0]].expand_as(outputs[0]), outputs

    def backward(
        self, gradient: Tensor, saved: Saved, arrays: Mapping[str, Tensor], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        run, kernel = _Run(self, arrays, grid), self.kernels.backward
        cotangents, found = self._merge_adjoint(run, gradient.to(run.type), saved.partials)
        for stream in self.kernels.streams:  # it may be read by the merge too, or only decide branches
            found.setdefault(stream.name, run.zero_gradient(stream))
        totals = {a.accumulator: run.zero_total() for a in kernel.accumulates}
        carries = run.zeros(kernel.carries)
        for number, steps in reversed(list(enumerate(run.chunks()))):
            entry = {name: saved.states[:, :, number, i] for i, name in enumerate(kernel.states)}
            values = run.values(kernel.parameters, kernel.prologue, kernel.reads, steps)
            _sequence(kernel.forward, kernel.advances, entry, values, steps)
            values[kernel.cotangent] = run.gathered(cotangents, steps)
            carries = _sequence(kernel.backward, kernel.carry_advances, carries, values, steps, backwards=True)
            for part in kernel.gradients:
                run.add_gradient(found[part.of.name], part.of, [_expand(values, a, run, steps) for a in part.atoms], steps)
            for one in kernel.accumulates:
                totals[one.accumulator] += _expand(values, one.value, run, steps).sum(2)
        values = run.values(kernel.parameters, kernel.prologue, (), range(0))
        values.update({name: total.unsqueeze(2) for name, total in totals.items()})
        _evaluate(kernel.epilogue, values)
        for result in kernel.parameter_gradients:
            atoms = [_expand(values, a, run, range(1)).squeeze(2).sum(0) for a in result.atoms]
            stacked = torch.stack(atoms, -1)
            found[result.of.name] = stacked.sum(0) if result.of.shared else stacked
        return found

    def _merge_adjoint(self, run: _Run, gradient: Tensor, partials: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient of every direction's output `(K, B, L, C)`, and those of the merge's own inputs."""
        if self.kernels.merge_scale is not None:
            return (gradient * self.kernels.merge_scale).expand(len(self.orders), *gradient.shape), {}
        kernel = self.kernels.merge_adjoint
        assert kernel is not None
        values = run.cell_values(kernel, partials, gradient)
        made = {w.of.name: _number(values, w.atoms[0], gradient).expand_as(gradient) for w in kernel.writes}
        cotangents = torch.stack([made.pop(f"∂y[{k}]") for k in range(len(self.orders))])
        return cotangents, {name.removeprefix("∂"): value.clone() for name, value in made.items()}


class _Run:
    """The arrays of one call, in the computing type, and how steps find their cells. Values are `(B, K, T, C)`."""

    def __init__(self, scan: TorchScan, arrays: Mapping[str, Tensor], grid: tuple[int, int]) -> None:
        streams = scan.kernels.streams
        self.type = computing_type(arrays, streams)
        lanes = next(s for s in streams if s.lanes)
        x = arrays[lanes.name]
        self.arrays, self.output_type, self.device = arrays, x.dtype, x.device
        self.batch, self.length, self.channels, self.directions = x.shape[0], x.shape[1], x.shape[-1], len(scan.orders)
        positions = [torch.from_numpy(order.positions(*grid)) for order in scan.orders]
        self.cells = torch.stack(positions).to(self.device)

    def chunks(self) -> list[range]:
        return [range(t, min(t + CHUNK, self.length)) for t in range(0, self.length, CHUNK)]

    def empty(self) -> Tensor:
        return torch.empty(0, dtype=self.type, device=self.device)

    def zeros(self, names: Iterable[str]) -> dict[str, Tensor]:
        shape = (self.batch, self.directions, self.channels)
        return {name: torch.zeros(shape, dtype=self.type, device=self.device) for name in names}

    def zero_total(self) -> Tensor:
        return torch.zeros(self.batch, self.directions, self.channels, dtype=self.type, device=self.device)

    def zero_gradient(self, stream: Stream) -> Tensor:
        width = self.channels if stream.lanes else stream.width
        middle = (self.directions,) if stream.per_direction else ()
        return torch.zeros(self.batch, self.length, *middle, width, dtype=self.type, device=self.device)

    def empty_like_output(self) -> Tensor:
        shape = (self.directions, self.batch, self.length, self.channels)
        return torch.full(shape, math.nan, dtype=self.type, device=self.device)

    def values(
        self, parameters: Iterable[Access], prologue: Iterable[Let], reads: Iterable[Access], steps: range
    ) -> dict[Atom, Tensor]:
        values: dict[Atom, Tensor] = {}
        for access in parameters:
            assert isinstance(access.of, Parameter)
            array = self.arrays[access.of.name].to(self.type)
            array = array.unsqueeze(0) if access.of.shared else array
            values.update({name: array[None, :, None, :, i] for i, name in enumerate(access.names)})
        for access in reads:
            assert isinstance(access.of, Stream)
            values.update(zip(access.names, self.read(access.of, steps), strict=True))
        _evaluate(prologue, values)
        return values

    def read(self, stream: Stream, steps: range) -> list[Tensor]:
        cells = self.cells[:, steps.start : steps.stop]
        array = self.arrays[stream.name].to(self.type)
        if not stream.per_direction:
            return [array[:, cells]]
        picked = torch.stack([array[:, cells[k], k] for k in range(self.directions)], 1)
        return [picked] if stream.lanes else [picked[..., i : i + 1] for i in range(stream.width)]

    def gathered(self, outputs: Tensor, steps: range) -> Tensor:
        cells = self.cells[:, steps.start : steps.stop]
        return torch.stack([outputs[k][:, cells[k]] for k in range(self.directions)], 1)

    def scatter(self, outputs: Tensor, value: Tensor, steps: range) -> None:
        for k in range(self.directions):
            outputs[k][:, self.cells[k, steps.start : steps.stop]] = value[:, k]

    def add_gradient(self, total: Tensor, stream: Stream, atoms: list[Tensor], steps: range) -> None:
        value = atoms[0] if stream.lanes else torch.stack([atom.sum(-1) for atom in atoms], -1)
        for k in range(self.directions):
            cells = self.cells[k, steps.start : steps.stop]
            if stream.per_direction:
                total[:, cells, k] = value[:, k]
            else:
                total[:, cells] += value[:, k]

    def cell_values(self, kernel: CellKernel, partials: Tensor, cotangent: Tensor | None) -> dict[Atom, Tensor]:
        values: dict[Atom, Tensor] = {}
        for access in kernel.reads:
            name = access.of.name
            if name.startswith("y["):
                values[access.names[0]] = partials[int(name[2:-1])]
            elif cotangent is not None and name.startswith("∂"):
                values[access.names[0]] = cotangent
            else:
                values[access.names[0]] = self.arrays[name].to(self.type)
        _evaluate(kernel.body, values)
        for write in kernel.writes:
            values[write.atoms[0]] = _number(values, write.atoms[0], partials)
        return values


def _number(values: Mapping[Atom, Tensor], atom: Atom, like: Tensor) -> Tensor:
    return values[atom] if isinstance(atom, str) else torch.tensor(atom, dtype=like.dtype, device=like.device)


def _expand(values: Mapping[Atom, Tensor], atom: Atom, run: _Run, steps: range) -> Tensor:
    return _number(values, atom, run.cells.to(run.type)).expand(run.batch, run.directions, len(steps), run.channels)


def _evaluate(lets: Iterable[Let], values: dict[Atom, Tensor]) -> None:
    like = next(iter(values.values()), torch.zeros(()))
    for let in lets:
        values[let.name] = FUNCTIONS[let.function](*(_number(values, a, like) for a in let.arguments))


def _sequence(
    body: Sequence[Let],
    advances: Sequence[Advance],
    states: dict[str, Tensor],
    values: dict[Atom, Tensor],
    steps: range,
    backwards: bool = False,
) -> dict[str, Tensor]:
    """Evaluate `body` for all steps of a chunk; only what hands a state from step to step is evaluated one by one.

    Leaves every let in `values`, and every state as it was before its step; returns the states after the last one.
    """
    carried = _carried(body, states)
    chain = [let for let in _needed_for(body, advances) if let.name in carried]
    _evaluate([let for let in body if let.name not in carried], values)
    history: dict[str, list[Tensor]] = {name: [] for name in states}
    inputs = {a for let in chain for a in let.arguments if isinstance(a, str)} | {a.value for a in advances}
    for t in reversed(range(len(steps))) if backwards else range(len(steps)):
        for name, state in states.items():
            history[name].append(state)
        now: dict[Atom, Tensor] = {a: _at(values[a], t) for a in inputs if a in values}
        now.update(states)
        _evaluate(chain, now)
        like = next(iter(states.values()))
        states = {**states, **{a.state: _number(now, a.value, like).expand_as(like) for a in advances}}
    for name, seen in history.items():
        values[name] = torch.stack(seen[::-1] if backwards else seen, 2)
    _evaluate([let for let in body if let.name in carried], values)
    return states


def _at(value: Tensor, t: int) -> Tensor:
    return value if value.ndim == 0 else value[:, :, t if value.shape[2] > 1 else 0]


def _carried(body: Sequence[Let], states: Mapping[str, Tensor]) -> set[str]:
    """The lets that depend on a state."""
    found: set[str] = set()
    for let in body:
        if any(a in states or a in found for a in let.arguments):
            found.add(let.name)
    return found


def _needed_for(body: Sequence[Let], advances: Sequence[Advance]) -> list[Let]:
    wanted, kept = {a.value for a in advances}, []
    for let in reversed(body):
        if let.name in wanted:
            kept.append(let)
            wanted |= set(let.arguments)
    return kept[::-1]
