"""The scan in plain torch, for machines without a C compiler. Any device, any order, forward and backward; slow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from scanlang.codegen.executable import Saved
from scanlang.codegen.kernel import TIME, Access, Atom, CellKernel, Let, Parameter, ScanKernels, Stream
from scanlang.codegen.torch_steps import evaluate, sequence, value_of
from scanlang.maps.traversal import Traversal

CHUNK = 64


def computing_type(arrays: Mapping[str, Tensor], streams: Iterable[Stream]) -> torch.dtype:
    """float64 if any stream is, else float32."""
    return torch.float64 if any(arrays[s.name].dtype == torch.float64 for s in streams) else torch.float32


class TorchScan:
    """`TorchScan(kernels, traversal)` implements `Executable`."""

    def __init__(self, kernels: ScanKernels, traversal: Traversal) -> None:
        self.kernels, self.traversal = kernels, traversal

    def chunk(self, grid: tuple[int, ...], computing: torch.dtype = torch.float32) -> int:
        return CHUNK

    def forward(
        self,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        save: bool,
        tables: Tensor | None = None,
        entry: Tensor | None = None,
        final: Tensor | None = None,
    ) -> tuple[Tensor, Saved]:
        run, kernel = _Run(self, arrays, grid, tables), self.kernels.forward
        outputs, entries = run.zero_outputs(), run.zero_states() if save else run.empty()
        for group in run.groups:
            states = group.starts(kernel.states, kernel.starts) if entry is None else group.states_of(kernel.states, entry)
            for number, steps in enumerate(group.chunks()):
                if save and kernel.states:
                    group.keep(entries, number, [states[name] for name in kernel.states])
                values = group.values(kernel.parameters, kernel.prologue, kernel.reads, steps)
                states = sequence(kernel.body, kernel.advances, states, values, run.empty(), steps)
                group.scatter(outputs, group.expand(values, kernel.output, steps), steps)
            if final is not None:
                group.put_states(final, range(len(kernel.states)), states.values())
        result, partials = self._merge(run, outputs)
        return result.to(run.output_type), Saved(entries, partials if save else run.empty())

    def _merge(self, run: _Run, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and the partial outputs where they are needed again."""
        if self.kernels.stacked:
            return outputs.permute(1, 2, 0, 3).contiguous(), run.empty()
        if self.kernels.split is not None:
            parts = zip(outputs, self.kernels.channels(run.channels), strict=True)
            return torch.cat([output[..., :count] for output, (_, count) in parts], -1) * run.scale, run.empty()
        if self.kernels.merge is None:
            return outputs.sum(0) * run.scale, run.empty()
        values = run.cell_values(self.kernels.merge, outputs, None)
        return values[self.kernels.merge.writes[0].atoms[0]].expand_as(outputs[0]), outputs

    def backward(
        self,
        gradient: Tensor,
        saved: Saved,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        tables: Tensor | None = None,
        final: Tensor | None = None,
        entry: Tensor | None = None,
    ) -> dict[str, Tensor]:
        run = _Run(self, arrays, grid, tables)
        cotangents, found = self._merge_adjoint(run, gradient.to(run.type), saved.partials)
        wanted = [s.name for s in self.kernels.streams if not s.constant] + [p.name for p in self.kernels.parameters]
        for name in wanted:  # it may be read by the merge too, or only decide branches
            found.setdefault(name, torch.zeros(arrays[name].shape, dtype=run.type, device=run.device))
        for group in run.groups:
            carries = self._group_backward(group, saved.states, cotangents, found, final)
            if entry is not None:
                group.put_states(entry, self.kernels.backward.carried, carries.values())
        return found

    def _group_backward(
        self, group: _Group, entries: Tensor, cotangents: Tensor, found: dict[str, Tensor], final: Tensor | None
    ) -> dict[str, Tensor]:
        """Adds to what was found; returns the gradient of the states before the first step."""
        kernel, like = self.kernels.backward, group.run.empty()
        totals = group.zeros([a.accumulator for a in kernel.accumulates])
        carries = group.zeros(kernel.carries) if final is None else group.states_of(kernel.carries, final, kernel.carried)
        for number, steps in reversed(list(enumerate(group.chunks()))):
            entry = dict(zip(kernel.states, group.kept(entries, number), strict=True))
            values = group.values(kernel.parameters, kernel.prologue, kernel.reads, steps)
            sequence(kernel.forward, kernel.advances, entry, values, like, steps)
            values[kernel.cotangent] = group.gathered(cotangents, steps)
            carries = sequence(kernel.backward, kernel.carry_advances, carries, values, like, steps, backwards=True)
            for part in kernel.gradients:
                group.add_gradient(found[part.of.name], part.of, [group.expand(values, a, steps) for a in part.atoms], steps)
            for one in kernel.accumulates:
                totals[one.accumulator] += group.expand(values, one.value, steps).sum(2)
        values = group.values(kernel.parameters, kernel.prologue, (), range(0))
        values.update({name: total.unsqueeze(2) for name, total in totals.items()})
        evaluate(kernel.epilogue, values, like)
        for result in kernel.parameter_gradients:
            atoms = [group.expand(values, atom, range(1)).squeeze(2).sum(0) for atom in result.atoms]
            group.add_parameter_gradient(found[result.of.name], result.of, torch.stack(atoms, -1))
        return carries

    def _merge_adjoint(self, run: _Run, gradient: Tensor, partials: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradient of every direction's output, laid out as by `zero_outputs`, and those of the merge's own inputs."""
        if self.kernels.stacked:
            return gradient.permute(2, 0, 1, 3), {}
        if self.kernels.split is not None:
            cotangents = run.zero_outputs()
            for k, (first, count) in enumerate(self.kernels.channels(run.channels)):
                cotangents[k, ..., :count] = gradient[..., first : first + count] * run.scale
            return cotangents, {}
        if self.kernels.merge is None:
            return (gradient * run.scale).expand(run.directions, *gradient.shape), {}
        kernel = self.kernels.merge_adjoint
        assert kernel is not None
        values = run.cell_values(kernel, partials, gradient)
        made = {w.of.name: value_of(values, w.atoms[0], gradient).expand_as(gradient) for w in kernel.writes}
        cotangents = torch.stack([made.pop(f"∂y[{k}]") for k in range(run.directions)])
        own = {name.removeprefix("∂"): value.clone() for name, value in made.items()}
        for value in (cotangents, *own.values()):  # pads are no output, whatever the merge makes of them
            value[..., run.visits.rows - run.visits.pads :, :] = 0
        return cotangents, own


class _Run:
    """The arrays of one call, in the computing type, and its groups of directions."""

    def __init__(self, scan: TorchScan, arrays: Mapping[str, Tensor], grid: tuple[int, ...], tables: Tensor | None) -> None:
        self.kernels, self.visits, self.arrays = scan.kernels, scan.traversal.at(grid), arrays
        self.type = computing_type(arrays, self.kernels.streams)
        x = arrays[self.kernels.leading.name]
        self.output_type, self.device, self.batch = x.dtype, x.device, x.shape[0]
        self.channels, self.directions = self.kernels.channel_count(arrays), self.kernels.directions
        self.scale = 1.0 if self.kernels.merge_scale is None else self.kernels.merge_scale
        if tables is None:
            tables = torch.from_numpy(self.visits.table)[None].to(self.device)
        self.tables = tables.long().expand(self.batch, *tables.shape[1:])

    @cached_property
    def groups(self) -> list[_Group]:
        """Directions of as many steps and as many channels run side by side."""
        alike: dict[tuple[int, int], list[int]] = {}
        for k, (_, count) in enumerate(self.kernels.channels(self.channels)):
            alike.setdefault((self.visits.lengths[k], count), []).append(k)
        return [_Group(self, tuple(members), *key) for key, members in alike.items()]

    @property
    def most_channels(self) -> int:
        return max(count for _, count in self.kernels.channels(self.channels))

    def empty(self) -> Tensor:
        return torch.empty(0, dtype=self.type, device=self.device)

    def zero_outputs(self) -> Tensor:
        """A map for the output of every direction, `(K, B, R, C)`, its own channels first."""
        shape = (self.directions, self.batch, self.visits.rows, self.most_channels)
        return torch.zeros(shape, dtype=self.type, device=self.device)

    def zero_states(self) -> Tensor:
        chunks = -(-self.visits.steps // CHUNK)
        shape = (self.batch, self.directions, chunks, len(self.kernels.forward.states), self.most_channels)
        return torch.zeros(shape, dtype=self.type, device=self.device)

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
        evaluate(kernel.body, values, self.empty())
        for write in kernel.writes:
            values[write.atoms[0]] = value_of(values, write.atoms[0], partials)
        return values


@dataclass(frozen=True)
class _Group:
    """Directions of one length and one number of channels; values of a chunk are `(B, G, T, C)`."""

    run: _Run
    members: tuple[int, ...]
    length: int
    channels: int

    def chunks(self) -> list[range]:
        return [range(t, min(t + CHUNK, self.length)) for t in range(0, self.length, CHUNK)]

    def zeros(self, names: Iterable[str]) -> dict[str, Tensor]:
        shape = (self.run.batch, len(self.members), self.channels)
        return {name: torch.zeros(shape, dtype=self.run.type, device=self.run.device) for name in names}

    def starts(self, names: Sequence[str], values: Sequence[float]) -> dict[str, Tensor]:
        return {name: zero + value for (name, zero), value in zip(self.zeros(names).items(), values, strict=True)}

    def states_of(self, names: Sequence[str], packed: Tensor, places: Sequence[int] | None = None) -> dict[str, Tensor]:
        """The states called `names` of `(B, K, states, C)`: all of them, or those at `places`."""
        own = packed[:, list(self.members), :, : self.channels].to(self.run.type)
        return {name: own[:, :, place] for name, place in zip(names, places or range(len(names)), strict=True)}

    def put_states(self, packed: Tensor, places: Iterable[int], states: Iterable[Tensor]) -> None:
        for place, state in zip(places, states, strict=True):
            packed[:, list(self.members), place, : self.channels] = state

    @cached_property
    def firsts(self) -> tuple[int, ...]:
        """Where the channels of each direction begin."""
        channels = self.run.kernels.channels(self.run.channels)
        return tuple(channels[k][0] for k in self.members)

    def rows(self, route: int, steps: range) -> Tensor:
        """The row of every step, `(B, G, T)`."""
        return self.run.tables[:, route, list(self.members), steps.start : steps.stop]

    def values(
        self, parameters: Iterable[Access], prologue: Iterable[Let], reads: Iterable[Access], steps: range
    ) -> dict[Atom, Tensor]:
        values: dict[Atom, Tensor] = {}
        for access in parameters:
            assert isinstance(access.of, Parameter)
            array = self.parameter(access.of)
            values.update({name: array[None, :, None, :, i] for i, name in enumerate(access.names)})
        for access in reads:
            assert isinstance(access.of, Stream)
            values.update(zip(access.names, self.read(access.of, steps), strict=True))
        evaluate(prologue, values, self.run.empty())
        return values

    def parameter(self, of: Parameter) -> Tensor:
        """The values of every direction, `(G or 1, C, width)`."""
        array = self.run.arrays[of.name].to(self.run.type).repeat_interleave(of.every, -2)
        if of.shared:
            return array.unsqueeze(0)
        if self.run.kernels.split is None:
            return array[list(self.members)]
        return torch.stack([array[first : first + self.channels] for first in self.firsts])

    def add_parameter_gradient(self, total: Tensor, of: Parameter, value: Tensor) -> None:
        value = _unit_sums(value, of.every)
        for i, k in enumerate(self.members):
            if of.shared:
                total += value[i]
            elif self.run.kernels.split is None:
                total[k] += value[i]
            else:
                total[self.own_units(i, of.every)] += value[i]

    def own_units(self, member: int, every: int) -> slice:
        """The places of what a direction with channels of its own has, one for so many channels."""
        first = self.firsts[member]
        return slice(first // every, (first + self.channels) // every)

    def read(self, stream: Stream, steps: range) -> list[Tensor]:
        """What a stream gives at every step, one tensor for each of its names."""
        array = self.run.arrays[stream.name].to(self.run.type)
        if stream.route == TIME:
            picked = array[list(self.members), steps.start : steps.stop][None]
            return [picked[..., i : i + 1] for i in range(stream.width)]
        rows = self.rows(stream.route, steps)
        images = torch.arange(self.run.batch, device=self.run.device)[:, None, None]
        if stream.lanes:
            array = array[..., None]
        if stream.uniform or stream.per_direction:
            picked = array[images, rows, torch.tensor(self.members, device=self.run.device)[:, None]]
        else:
            picked = array[images, rows]
            if self.run.kernels.split is not None:
                places = range(len(self.members))
                picked = torch.stack([picked[:, i, :, self.own_units(i, stream.every)] for i in places], 1)
        if stream.uniform:
            return [picked[..., i : i + 1] for i in range(stream.width)]
        return list(picked.repeat_interleave(stream.every, -2).unbind(-1))

    def add_gradient(self, total: Tensor, stream: Stream, atoms: list[Tensor], steps: range) -> None:
        value = _unit_sums(torch.stack(atoms, -1), stream.every or self.channels)
        if stream.lanes:
            total = total[..., None]
        if stream.uniform:
            value = value.squeeze(-2)
        for i, k in enumerate(self.members):
            if stream.route == TIME:
                total[k, steps.start : steps.stop] += value[:, i].sum(0)
                continue
            if stream.uniform or stream.per_direction:
                target = total[:, :, k]
            else:
                target = total if self.run.kernels.split is None else total[:, :, self.own_units(i, stream.every)]
            self._add(target, self.rows(stream.route, steps)[:, i], value[:, i])

    def gathered(self, outputs: Tensor, steps: range) -> Tensor:
        """The gradient of every direction's output at its steps."""
        rows = self.rows(self.run.kernels.output_route, steps)
        images = torch.arange(self.run.batch, device=self.run.device)[:, None]
        return torch.stack([outputs[k, images, rows[:, i], : self.channels] for i, k in enumerate(self.members)], 1)

    def scatter(self, outputs: Tensor, value: Tensor, steps: range) -> None:
        rows = self.rows(self.run.kernels.output_route, steps)
        for i, k in enumerate(self.members):
            self._add(outputs[k, ..., : self.channels], rows[:, i], value[:, i])

    def _add(self, target: Tensor, rows: Tensor, value: Tensor) -> None:
        """`target[b, rows[b, t]] += value[b, t]`; a row may be visited several times."""
        images = torch.arange(self.run.batch, device=self.run.device)[:, None].expand_as(rows)
        target.index_put_((images, rows), value, accumulate=True)

    def keep(self, entries: Tensor, number: int, states: Sequence[Tensor]) -> None:
        for place, state in enumerate(states):
            entries[:, list(self.members), number, place, : self.channels] = state

    def kept(self, entries: Tensor, number: int) -> list[Tensor]:
        """The states before a chunk."""
        return list(entries[:, list(self.members), number, :, : self.channels].unbind(2))

    def expand(self, values: Mapping[Atom, Tensor], atom: Atom, steps: range) -> Tensor:
        shape = (self.run.batch, len(self.members), len(steps), self.channels)
        return value_of(values, atom, self.run.empty()).expand(shape)


def _unit_sums(value: Tensor, every: int) -> Tensor:
    """`(…, C, width)` → `(…, C / every, width)`: one value for so many channels gets the sum of their gradients."""
    return value if every == 1 else value.unflatten(-2, (-1, every)).sum(-2)
