"""The meaning of a scan in float64 torch, straight from the checked program: a loop over time, gradients by autograd.

In: a program and the tensors of a call. Out: the result, differentiable in every tensor. Shares the parser, the checker and
`Order.sequence` with the compiler, but neither its scan graph nor its adjoint, kernels or backends.

A value of a step is a tensor `(K, B, C, one dimension per index of the recurrence)` with 1 where it does not depend. Directions
of fewer steps or channels than others repeat their last one, and what comes of it is thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scanlang.check.program import LABELS, CheckedOperand, CheckedScan, Projection, StateUpdate
from scanlang.maps.order import Order
from scanlang.program import Program
from scanlang.syntax.nodes import Name, Number
from scanlang.testing.reference_values import LEADING, evaluate, merge

Layer = Callable[[Tensor], Tensor]


def reference(program: Program, scan: str | None = None, layer: int = 0, /, **given: Any) -> Any:
    """The result `(B, axes …, C)` in float64 of a scan called with `given`, the arguments of its operator.

    >>> y = reference(program, "cross", x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    With tokens the result is a tuple of it and of theirs, `(B, T, C)`. What a merge in two phases calls is given by name, as
    functions of tensors. What the scan projects may be left out if the weights are given instead, as `Scan2d` names them:
    `project_weight` `(K, rows, C)`, `project_bias` `(K, rows)`, `project_1_weight` …, without K where the directions share
    them; with channels split the weights are `(rows, C)`, or `(rows, C / K)` where shared.
    """
    checked = program.checked.scans[program.scan_name(scan)].at_layer(layer)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    layers = {name: value for name, value in given.items() if not isinstance(value, Tensor)}
    exact = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
    return _Scan(checked, program.checked.axes, exact, layers).result()


def index_sizes(scan: CheckedScan, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of every index of a recurrence: as the scan says, or read off the tensors that have it as a last dimension."""
    recurrence, formals = scan.recurrence, {f.label: f.default for f in scan.formals}
    sizes: dict[str, int] = {}
    for index, label in recurrence.indices.items():
        size = scan.sizes[label]
        size = (isinstance(size, Name) and formals[size.name]) or size
        if isinstance(size, Number):
            sizes[index] = int(size.value)
    for operand in recurrence.operands:
        own = _own_indices(operand)
        if own and operand.name in tensors:
            sizes.update(zip(own, tensors[operand.name].shape[-len(own) :], strict=True))
    return sizes


def _own_indices(operand: CheckedOperand) -> tuple[str, ...]:
    """The indices of an operand at one step: that of the label has been looked up."""
    return operand.indices[1:] if _is_table(operand) else operand.indices


def _is_table(operand: CheckedOperand) -> bool:
    return operand.kind == "shared param" and operand.indices[:1] == ("label",)


@dataclass(frozen=True)
class _Run:
    """Some orders at one size: the row of every step `(K, J)`, how many steps there are, and where they start anew `(K, J)`.

    `given` names the order given at run time whose steps a direction's rows below L are.
    """

    rows: Tensor
    lengths: tuple[int, ...]
    restarts: Tensor
    given: tuple[str | None, ...]

    @property
    def segments(self) -> Tensor:
        return self.restarts.cumsum(1)


class _Scan:
    """One layer of a scan and the arguments of one call."""

    def __init__(
        self, scan: CheckedScan, axes: tuple[str, ...], given: Mapping[str, Tensor], layers: Mapping[str, Layer]
    ) -> None:
        self.scan, self.axes, self.given, self.layers = scan, axes, given, layers
        self.recurrence, self.indices = scan.recurrence, tuple(scan.recurrence.indices)
        self.sizes, self.count = index_sizes(scan, given), len(scan.directions)
        maps = [given[name] for name in self.maps if name in given]
        self.grid = tuple(int(n) for n in maps[0].shape[1 : 1 + len(axes)])
        self.cells, self.batch, self.device = math.prod(self.grid), maps[0].shape[0], maps[0].device

    # What there is.

    @cached_property
    def maps(self) -> tuple[str, ...]:
        """The names of arguments that are maps; the others are parameters."""
        return (*(o.name for o in self.recurrence.operands if o.kind in ("input", "shared")), *self.scan.inputs)

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        return tuple(Order(direction.text, self.axes, direction.order) for direction in self.scan.directions)

    @cached_property
    def tokens(self) -> dict[str, int]:
        """How many tokens there are of each name: as many as the direction has that has the most."""
        found: dict[str, int] = {}
        for order in self.orders:
            for name, count in order.tokens(*self.grid):
                found[name] = max(count, found.get(name, 0))
        return found

    @cached_property
    def pads(self) -> int:
        return max(order.sequence(*self.grid).pads for order in self.orders)

    @property
    def count_rows(self) -> int:
        return self.cells + sum(self.tokens.values()) + self.pads

    @cached_property
    def channels(self) -> int:
        """All channels of the scan."""
        kinds = {operand.name: operand.kind for operand in self.recurrence.operands}
        for name in self.maps:
            if name in self.given and kinds.get(name) != "shared":
                return self.given[name].shape[-1]
        operand = next(o for o in self.recurrence.operands if o.kind == "param")
        if operand.name in self.scan.shared:
            return self.given[operand.name].shape[0] * (self.count if self.scan.split else 1)
        return self.given[operand.name].shape[0 if self.scan.split else 1]

    @cached_property
    def own_channels(self) -> list[range]:
        """The channels of every direction."""
        if self.scan.split is None:
            return [range(self.channels)] * self.count
        unit, ends = self.channels // sum(self.scan.split), [0]
        for part in self.scan.split:
            ends.append(ends[-1] + part * unit)
        return [range(first, end) for first, end in pairwise(ends)]

    @cached_property
    def lanes(self) -> Tensor:
        """`(K, C)`: the channel of the scan that each channel of a direction is."""
        most = max(map(len, self.own_channels))
        return torch.tensor([[own[min(i, len(own) - 1)] for i in range(most)] for own in self.own_channels], device=self.device)

    # Where steps are.

    def run(self, orders: Sequence[Order]) -> _Run:
        """Tokens and pads are numbered as those of the directions."""
        sequences = [order.sequence(*self.grid) for order in orders]
        longest = max(1, *(sequence.steps for sequence in sequences)) if sequences else 1
        rows = torch.zeros(len(orders), longest, dtype=torch.int64)
        restarts = torch.zeros(len(orders), longest, dtype=torch.bool)
        starts, following = {}, self.cells
        for name, count in self.tokens.items():
            starts[name], following = following, following + count
        for k, sequence in enumerate(sequences):
            named = [starts[name] + i for name, count in sequence.tokens for i in range(count)]
            for t, row in enumerate(sequence.rows.tolist()):
                rows[k, t] = row if 0 <= row < self.cells else named[row - self.cells] if row >= 0 else following - 1 - row
            rows[k, sequence.steps :] = rows[k, sequence.steps - 1] if sequence.steps else 0
            restarts[k, : sequence.steps] = torch.from_numpy(sequence.restarts)
        lengths = tuple(sequence.steps for sequence in sequences)
        return _Run(rows.to(self.device), lengths, restarts.to(self.device), tuple(order.given for order in orders))

    @cached_property
    def own(self) -> _Run:
        return self.run(self.orders)

    def run_of(self, name: str) -> _Run:
        """Where an operand is read."""
        along = self.scan.along.get(name)
        if along is None:
            return self.own
        orders = (Order(along.text, self.axes, along.order),) * self.count
        return self.own if orders == self.orders else self.run(orders)

    @cached_property
    def written(self) -> _Run:
        ways = [direction.writes or direction for direction in self.scan.directions]
        return self.run([Order(way.text, self.axes, way.order) for way in ways])

    def rows_of(self, run: _Run) -> Tensor:
        """`(B, K, J)`: the row of every step, with the orders given at run time."""
        rows = run.rows.expand(self.batch, *run.rows.shape).clone()
        for k, name in enumerate(run.given):
            if name is not None:
                order = self.given[name].to(torch.int64).to(self.device)
                steps = rows[:, k]
                rows[:, k] = torch.where(steps < self.cells, order.gather(1, steps.clamp(max=self.cells - 1)), steps)
        return rows

    @cached_property
    def labels(self) -> Tensor:
        """`(K, J)`: the label of every step."""
        found = torch.full(self.own.rows.shape, LABELS.index("jump"), dtype=torch.int64)
        moves = {(0, 1): "right", (0, -1): "left", (1, 0): "down", (-1, 0): "up"}
        for k, rows in enumerate(self.own.rows.tolist()):
            before: tuple[int, ...] | None = None
            for t, row in enumerate(rows):
                cell = self.cell(row) if row < self.cells else None
                if t == 0 or self.own.restarts[k, t]:
                    found[k, t] = LABELS.index("start")
                elif cell is not None and before is not None:
                    move = [now - then for now, then in zip((0, *cell), (0, *before), strict=True)]
                    if not any(move[:-2]) and tuple(move[-2:]) in moves:
                        found[k, t] = LABELS.index(moves[move[-2], move[-1]])
                before = cell
        return found.to(self.device)

    def cell(self, index: int) -> tuple[int, ...]:
        coordinates = []
        for length in reversed(self.grid):
            index, coordinate = divmod(index, length)
            coordinates.append(coordinate)
        return tuple(reversed(coordinates))

    # From maps to sequences `(J, K, B, C or 1, …)`.

    def packed(self, name: str) -> Tensor:
        """A map as rows: cells, tokens, zeros for pads."""
        value = self.given[name].flatten(1, len(self.grid))
        first = name == self.scan.inputs[0]
        parts = [value, *(self.given[token if first else f"{name}_{token}"] for token in self.tokens)]
        return torch.cat([*parts, value.new_zeros(self.batch, self.pads, *value.shape[2:])], 1)

    def gathered(self, rows: Tensor, run: _Run, own: bool) -> Tensor:
        """`(B, rows, …)`, or `(B, rows, K, …)` if each direction has its own, in time: `(J, K, B, …)`."""
        image = torch.arange(self.batch, device=self.device)[:, None, None]
        direction = torch.arange(run.rows.shape[0], device=self.device)[None, :, None]
        picked = rows[image, self.rows_of(run), direction] if own else rows[image, self.rows_of(run)]
        return picked.movedim(2, 0).movedim(2, 1)

    def with_own_channels(self, sequence: Tensor) -> Tensor:
        """`(J, K, B, all channels)` to the channels of each direction."""
        if self.scan.split is None:
            return sequence
        lanes = self.lanes[: sequence.shape[1], None].expand(*sequence.shape[1:3], -1)
        return sequence.gather(-1, lanes.expand(sequence.shape[0], *lanes.shape))

    def placed(self, sequence: Tensor, run: _Run) -> list[Tensor]:
        """The sequence of every direction on the grid, `(B, rows, C)`: visits of a row add up, and others are 0."""
        rows, made = self.rows_of(run), []
        for k, length in enumerate(run.lengths):
            steps = sequence[:length, k].movedim(0, 1)
            index = rows[:, k, :length, None].expand(steps.shape)
            made.append(steps.new_zeros(self.batch, self.count_rows, steps.shape[-1]).scatter_add(1, index, steps))
        return made

    def sequence(self, name: str, run: _Run) -> Tensor:
        """An input of the scan or of the operator in time, `(J, K, B, C, …)`, convolved if it is the one that is."""
        if self.scan.conv is None or name != self.scan.inputs[0]:
            kinds = {operand.name: operand.kind for operand in self.recurrence.operands}
            own = kinds.get(name) == "shared" or name in self.scan.projected
            made = self.gathered(self.packed(name), run, own)
            return made if own else self.with_own_channels(made)
        along, read = self.convolved_along or self.own, self.convolved_along or self.run_of(name)
        made = self.convolved(self.with_own_channels(self.gathered(self.packed(name), read, False)), along)
        return made if run is along else self.gathered(torch.stack(self.placed(made, along), 2), run, True)

    def is_convolved(self, name: str) -> bool:
        """Whether it is the input that is convolved in the time of every direction."""
        return self.scan.conv is not None and name == self.scan.inputs[0] and self.convolved_along is None

    @cached_property
    def convolved_along(self) -> _Run | None:
        """The order that the first input is convolved along; None in the time of the directions, and where that is the same."""
        assert self.scan.conv is not None
        along = self.scan.conv.along
        if along is None or (self.scan.inputs[0] not in self.scan.along and all(along.order == o.checked for o in self.orders)):
            return None
        return self.run([Order(along.text, self.axes, along.order)] * self.count)

    def convolved(self, x: Tensor, run: _Run) -> Tensor:
        """Causal, one filter a channel, then silu; what was before a restart counts as zero."""
        assert self.scan.conv is not None
        weight, total = self.parameter("conv_weight"), self.parameter("conv_bias")
        steps, segments = torch.arange(len(x), device=self.device), run.segments
        for age in range(self.scan.conv.width):
            then = (steps - age).clamp(min=0)
            seen = (steps >= age) & (segments == segments[:, then])
            total = total + weight[..., self.scan.conv.width - 1 - age] * x[then] * seen.T[:, :, None, None]
        return functional.silu(total)

    def parameter(self, name: str) -> Tensor:
        """`(K, 1, C, …)`, or 1 in place of K."""
        value = self.given[name]
        common = name in self.scan.shared or (name.startswith("conv_") and "conv" in self.scan.shared)
        if common:
            return value[None, None]
        return (value if self.scan.split is None else value[self.lanes])[:, None]

    def projected(self, projection: Projection, number: int, name: str) -> Tensor:
        """What a projection makes of its source in the time of `name`, `(J, K, B, C, …)`."""
        stem = "project" if number == 0 else f"project_{number}"
        weight, bias, single = self.given[f"{stem}_weight"], self.given.get(f"{stem}_bias"), "project" in self.scan.shared
        if single:
            weight = weight[None].expand(self.count, *weight.shape)
        elif self.scan.split is not None:
            weight = torch.stack([weight[:, lanes] for lanes in self.lanes])
        if self.scan.split is not None and not single:
            real = [[i < len(own) for i in range(self.lanes.shape[1])] for own in self.own_channels]
            weight = weight * torch.tensor(real, device=self.device)[:, None]
        rows = torch.einsum("jkbc,krc->jkbr", self.sequence(projection.source, self.run_of(name)), weight)
        rows = rows if bias is None else rows + (bias if single else bias[:, None])
        start = 0
        for made in projection.names:
            operand = next(o for o in self.recurrence.operands if o.name == made)
            shape = [self.channels] if operand.kind == "input" else [self.sizes[i] for i in operand.indices]
            width = math.prod(shape)
            if made == name:
                return rows[..., start : start + width].reshape(*rows.shape[:3], *shape)
            start += width
        raise KeyError(name)

    def stream(self, operand: CheckedOperand) -> Tensor:
        """An operand in time, `(J, K, B, C, indices …)`."""
        own = _own_indices(operand)
        if _is_table(operand):
            table = self.given[operand.name]
            if operand.name in self.scan.shared:
                looked_up = table[self.labels]
            else:
                looked_up = torch.stack([table[k, labels] for k, labels in enumerate(self.labels)])
            return _with_indices(looked_up.movedim(1, 0)[:, :, None, None], own, self.indices)
        for number, projection in enumerate(self.scan.projections):
            if operand.name in projection.names and operand.name not in self.given:
                made = self.projected(projection, number, operand.name)
                break
        else:
            made = self.sequence(operand.name, self.own if self.is_convolved(operand.name) else self.run_of(operand.name))
        return _with_indices(made.unsqueeze(3) if operand.kind == "shared" else made, own, self.indices)

    # The scan.

    def fixed(self) -> dict[str, Tensor]:
        """The parameters, `(K, 1, C, indices …)`."""
        found = {}
        for operand in self.recurrence.operands:
            if operand.kind == "param":
                value = self.parameter(operand.name)
            elif operand.kind == "shared param" and not _is_table(operand):
                value = self.given[operand.name]
                value = (value[None] if operand.name in self.scan.shared else value)[:, None, None]
            else:
                continue
            found[operand.name] = _with_indices(value, operand.indices, self.indices)
        return found

    def outputs(self) -> Tensor:
        """The output of every direction in its own time, `(J, K, B, C)`."""
        fixed, run = self.fixed(), self.own
        streams = {
            operand.name: self.stream(operand).unbind(0)
            for operand in self.recurrence.operands
            if operand.kind in ("input", "shared") or _is_table(operand)
        }
        shape = (1,) * (LEADING + len(self.indices))
        zero = torch.zeros(shape, dtype=torch.float64, device=self.device)
        states = {equation.name: zero for equation in self.recurrence.equations if isinstance(equation, StateUpdate)}
        outputs = []
        for t in range(run.rows.shape[1]):
            if run.restarts[:, t].any():
                anew = run.restarts[:, t].reshape(-1, *shape[1:])
                states = {name: torch.where(anew, zero, state) for name, state in states.items()}
            values = {**fixed, **{name: stream[t] for name, stream in streams.items()}, **states}
            for equation in self.recurrence.equations:
                if isinstance(equation, StateUpdate):
                    kept = evaluate(equation.decay, values, self.indices, self.sizes) * states[equation.name]
                    values[equation.name] = kept + evaluate(equation.drive, values, self.indices, self.sizes)
                    states[equation.name] = values[equation.name]
                else:
                    values[equation.name] = evaluate(equation.value, values, self.indices, self.sizes)
            readout = values[self.recurrence.readout].reshape(values[self.recurrence.readout].shape[:LEADING])
            outputs.append(readout.expand(self.count, self.batch, self.lanes.shape[1]))
        return torch.stack(outputs)

    def result(self) -> Any:
        placed = self.placed(self.outputs(), self.written)
        if self.scan.split is not None:
            merged = torch.cat([part[..., : len(own)] for part, own in zip(placed, self.own_channels, strict=True)], -1)
        else:
            maps = {name: self.packed(name) for name in self.scan.inputs if name in self.given}
            weight = self.given.get("merge_weight")
            merged = merge(self.scan.merge, torch.stack(placed), maps, self.layers, self.cells, weight)
        parts = merged.split([self.cells, *self.tokens.values(), self.pads], 1)
        y = parts[0].reshape(self.batch, *self.grid, merged.shape[-1])
        return (y, *parts[1:-1]) if self.tokens else y


def _with_indices(value: Tensor, own: tuple[str, ...], indices: tuple[str, ...]) -> Tensor:
    """The last dimensions of `value`, which run over `own`, in the order of `indices`, with 1 for those it lacks."""
    front = value.ndim - len(own)
    value = value.permute(*range(front), *(front + own.index(i) for i in indices if i in own))
    for place, index in enumerate(indices):
        if index not in own:
            value = value.unsqueeze(front + place)
    return value
