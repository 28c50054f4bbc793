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

from scanlang.check.program import LABELS, CheckedOperand, CheckedScan, Projection
from scanlang.check.sizes import evaluate_size
from scanlang.maps.order import Order
from scanlang.program import Program
from scanlang.syntax.nodes import Name, Number
from scanlang.testing.reference_steps import State, Steps, names_in, states_of
from scanlang.testing.reference_values import LEADING, merge

Layer = Callable[[Tensor], Tensor]


def reference(
    program: Program,
    scan: str | None = None,
    layer: int = 0,
    /,
    h0: Tensor | Mapping[str, Tensor] | None = None,
    return_state: bool = False,
    **given: Any,
) -> Any:
    """The result `(B, axes …, C)` in float64 of a scan called with `given`, the arguments of its operator.

    >>> y = reference(program, "cross", x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    With tokens the result is a tuple of it and of theirs, `(B, T, C)`. What a merge in two phases calls is given by name, as
    functions of tensors. What the scan projects may be left out if the weights are given instead, as `Scan2d` names them:
    `project_weight` `(K, rows, C)`, `project_bias` `(K, rows)`, `project_1_weight` …, without K where the directions share
    them; with channels split the weights are `(rows, C)`, or `(rows, C / K)` where shared.

    `h0` has states before the first step, by name `(B, K, C, ·)` (of units `(B, K, heads, ·)`; with channels split without K),
    or is the only one; with `return_state` the last part of the result are the states after each direction's last step.
    """
    checked = program.checked.scans[program.scan_name(scan)].at_layer(layer)
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    layers = {name: value for name, value in given.items() if not isinstance(value, Tensor)}
    exact = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
    run = _Scan(checked, program.checked.axes, exact, layers, h0)
    return run.result_and_states() if return_state else run.result()


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


def _sizes_by_label(scan: CheckedScan, channels: int) -> dict[str, int]:
    """The sizes of the recurrence that the scan's sizes come to, by label: the first of these are the channels."""
    own: dict[str, int] = {}
    for place, formal in enumerate(scan.formals):
        if place == 0 or formal.default is not None:
            own[formal.label] = channels if formal.default is None else int(evaluate_size(formal.default, own))
    return {label: int(evaluate_size(size, own)) for label, size in scan.sizes.items() if names_in(size) <= own.keys()}


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
        self,
        scan: CheckedScan,
        axes: tuple[str, ...],
        given: Mapping[str, Tensor],
        layers: Mapping[str, Layer],
        entry: Tensor | Mapping[str, Tensor] | None,
    ) -> None:
        self.scan, self.axes, self.given, self.layers = scan, axes, given, layers
        self.recurrence, self.indices = scan.recurrence, tuple(scan.recurrence.indices)
        self.operands = {operand.name: operand for operand in self.recurrence.operands}
        self.sizes, self.count = index_sizes(scan, given), len(scan.directions)
        maps = [given[name] for name in self.maps if name in given]
        self.grid = tuple(int(n) for n in maps[0].shape[1 : 1 + len(axes)])
        self.cells, self.batch, self.device = math.prod(self.grid), maps[0].shape[0], maps[0].device
        self.entry = {next(iter(self.states)): entry} if isinstance(entry, Tensor) else entry or {}

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
        for name in self.maps:
            operand = self.operands.get(name)
            if name in self.given and (operand is None or (operand.kind == "input" and operand.per == "channel")):
                return self.given[name].shape[-1 - (0 if operand is None else len(operand.indices))]
        operand = next(o for o in self.recurrence.operands if o.kind == "param" and o.per == "channel")
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

    @cached_property
    def states(self) -> dict[str, State]:
        """What a step hands on, what convolution does among it."""
        conv = self.scan.conv
        ages = range(1, conv.width) if conv is not None and self.convolved_along is None else ()
        return {**states_of(self.recurrence), **{f"conv.{age}": State((), per_unit=False) for age in ages}}

    @cached_property
    def unit_sizes(self) -> dict[str, int]:
        """The sizes of the recurrence by label; of a head as what is given for every unit shows it."""
        sizes = _sizes_by_label(self.scan, self.channels)
        for name, operand in self.operands.items():
            if operand.per == "unit" and name in self.given:
                in_common = self.scan.split is not None and name in self.scan.shared
                channels = len(self.own_channels[0]) if in_common else self.channels
                sizes["head"] = channels // self.given[name].shape[-1 - len(operand.indices)]
        return sizes

    def has_own(self, name: str) -> bool:
        """Whether every direction has a map of its own of that name."""
        operand = self.operands.get(name)
        if operand is None:
            return False
        if name in self.scan.projected or operand.per == "all":
            return True
        return self.scan.split is None and (operand.per != "channel" or operand.indices != ())

    def of_direction(self, value: Tensor, k: int, axis: int) -> Tensor:
        """An entry for every channel of a direction, where `axis` runs over all channels of the scan, or units of them."""
        return value.index_select(axis, self.lanes[k] // (self.channels // value.shape[axis]))

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
        """`(J, K, B, all channels or units, …)` to the channels of each direction."""
        return torch.stack([self.of_direction(sequence[:, k], k, 2) for k in range(self.count)], 1)

    def placed(self, sequence: Tensor, run: _Run) -> list[Tensor]:
        """The sequence of every direction on the grid, `(B, rows, C)`: visits of a row add up, and others are 0."""
        rows, made = self.rows_of(run), []
        for k, length in enumerate(run.lengths):
            steps = sequence[:length, k].movedim(0, 1)
            index = rows[:, k, :length, None].expand(steps.shape)
            made.append(steps.new_zeros(self.batch, self.count_rows, steps.shape[-1]).scatter_add(1, index, steps))
        return made

    def sequence(self, name: str, run: _Run) -> Tensor:
        """A map in time, `(J, K, B, C, …)`, without C what all channels share; convolved if it is the one that is."""
        if self.scan.conv is None or name != self.scan.inputs[0]:
            made = self.gathered(self.packed(name), run, self.has_own(name))
            return made if name in self.operands and self.operands[name].per == "all" else self.with_own_channels(made)
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
        weight, total, width = self.parameter("conv_weight"), self.parameter("conv_bias"), self.scan.conv.width
        history = torch.cat([self.before_all(width - 1, x), x])
        segments = torch.cat([run.segments[:, :1].expand(-1, width - 1), run.segments], 1)
        for age in range(width):
            then = slice(width - 1 - age, len(history) - age)
            seen = segments[:, then] == segments[:, width - 1 :]
            total = total + weight[..., width - 1 - age] * history[then] * seen.T[:, :, None, None]
        return functional.silu(total)

    def before_all(self, count: int, x: Tensor) -> Tensor:
        """What convolution saw in the steps before the first one, `(count, K, B, C)`."""
        known = self.given_states
        there = [known[f"conv.{age}"] if f"conv.{age}" in known else torch.zeros_like(x[0]) for age in range(count, 0, -1)]
        return torch.stack(there) if there else x[:0]

    def parameter(self, name: str) -> Tensor:
        """`(K, 1, C, …)`."""
        value = self.given[name]
        common = name in self.scan.shared or (name.startswith("conv_") and "conv" in self.scan.shared)
        if common:
            every = len(self.own_channels[0]) // len(value)
            return value.repeat_interleave(every, 0).expand(self.count, 1, -1, *value.shape[1:])
        own = value if self.scan.split is None else value.expand(self.count, *value.shape)
        return torch.stack([self.of_direction(own[k], k, 0) for k in range(self.count)])[:, None]

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
            shape = [*self.count_units(self.operands[made]), *(self.sizes[i] for i in self.operands[made].indices)]
            width = math.prod(shape)
            if made == name:
                found = rows[..., start : start + width].reshape(*rows.shape[:3], *shape)
                return found if self.operands[made].per == "all" else self.with_own_channels(found)
            start += width
        raise KeyError(name)

    def count_units(self, operand: CheckedOperand) -> list[int]:
        """How many values there are of an operand, each for some channels; nothing where there is one for all."""
        sizes = self.unit_sizes
        match operand.per:
            case "channel":
                return [self.channels]
            case "unit":
                return [self.channels // sizes["head"]]
            case "group":
                units = sizes[operand.units] if isinstance(operand.units, str) else operand.units
                return [self.channels // sizes.get("head", 1) // units]
            case _:
                return []

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
        return _with_indices(made.unsqueeze(3) if operand.per == "all" else made, own, self.indices)

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

    @cached_property
    def given_states(self) -> dict[str, Tensor]:
        """The states before the first step that the caller gave, as every channel sees them, `(K, B, C, ·)`."""
        found = {}
        for name, value in self.entry.items():
            exact = value.double().movedim(1, 0) if self.scan.split is None else value.double().expand(self.count, *value.shape)
            found[name] = torch.stack([self.of_direction(exact[k], k, 1) for k in range(self.count)])
        return found

    @cached_property
    def run_of_steps(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The output of every direction in its own time, `(J, K, B, C)`, and the states after the last step."""
        streams = {
            operand.name: self.stream(operand).unbind(0)
            for operand in self.recurrence.operands
            if operand.kind in ("input", "shared") or _is_table(operand)
        }
        own = {name: state for name, state in self.states.items() if name in self.given_states and not name.startswith("conv.")}
        entry = {name: _with_indices(self.given_states[name], state.indices, self.indices) for name, state in own.items()}
        entry = {name: value.detach() if own[name].is_scale else value for name, value in entry.items()}
        shape = (self.count, self.batch, self.lanes.shape[1])
        steps = Steps(self.recurrence, self.sizes, shape, self.own.lengths, self.own.restarts, self.fixed(), streams, entry)
        outputs, last = steps.run()
        return torch.stack(outputs), last

    def final_states(self) -> dict[str, Tensor]:
        """The states after each direction's last step, as the caller wants them."""
        last = {name: self.over_indices(value, self.states[name]) for name, value in self.run_of_steps[1].items()}
        last |= self.last_convolved()
        return {name: self.units_of_directions(value, self.states[name]) for name, value in last.items()}

    def over_indices(self, value: Tensor, state: State) -> Tensor:
        """`(K, B, C, ·)`, in the order of the state's own indices."""
        sizes = [self.sizes[index] if index in state.indices else 1 for index in self.indices]
        value = value.expand(self.count, self.batch, self.lanes.shape[1], *sizes)
        places = [LEADING + self.indices.index(index) for index in state.indices]
        others = [place for place in range(LEADING, value.ndim) if place not in places]
        return value.permute(*range(LEADING), *places, *others).flatten(LEADING + len(places) - 1)

    def last_convolved(self) -> dict[str, Tensor]:
        """What convolution has yet to see: the last inputs of each direction, but for those before it started anew."""
        ages = [name for name in self.states if name.startswith("conv.")]
        if not ages:
            return {}
        run = self.run_of(self.scan.inputs[0])
        x = self.with_own_channels(self.gathered(self.packed(self.scan.inputs[0]), run, False))
        history, count = torch.cat([self.before_all(len(ages), x), x]), len(ages)
        segments = torch.cat([self.own.segments[:, :1].expand(-1, count), self.own.segments], 1)
        found = {}
        for age, name in enumerate(ages, start=1):
            ends = [length + count for length in self.own.lengths]
            parts = [history[end - age, k] * (segments[k, end - age] == segments[k, end - 1]) for k, end in enumerate(ends)]
            found[name] = torch.stack(parts)
        return found

    def units_of_directions(self, value: Tensor, state: State) -> Tensor:
        """`(K, B, C, ·)` to `(B, K, C, ·)`, or `(B, C, ·)` with channels split; of units the value of their first channel."""
        every = self.unit_sizes.get("head", 1) if state.per_unit else 1
        parts = [value[k, :, : len(own) : every] for k, own in enumerate(self.own_channels)]
        return torch.stack(parts, 1) if self.scan.split is None else torch.cat(parts, 1)

    def result(self) -> Any:
        placed = self.placed(self.run_of_steps[0], self.written)
        if self.scan.split is not None:
            merged = torch.cat([part[..., : len(own)] for part, own in zip(placed, self.own_channels, strict=True)], -1)
        else:
            maps = {name: self.packed(name) for name in self.scan.inputs if name in self.given}
            weight = self.given.get("merge_weight")
            merged = merge(self.scan.merge, torch.stack(placed), maps, self.layers, self.cells, weight)
        parts = merged.split([self.cells, *self.tokens.values(), self.pads], 1)
        y = parts[0].reshape(self.batch, *self.grid, merged.shape[-1])
        return (y, *parts[1:-1]) if self.tokens else y

    def result_and_states(self) -> Any:
        y = self.result()
        return (*(y if isinstance(y, tuple) else (y,)), self.final_states())


def _with_indices(value: Tensor, own: tuple[str, ...], indices: tuple[str, ...]) -> Tensor:
    """The last dimensions of `value`, which run over `own`, in the order of `indices`, with 1 for those it lacks."""
    front = value.ndim - len(own)
    value = value.permute(*range(front), *(front + own.index(i) for i in indices if i in own))
    for place, index in enumerate(indices):
        if index not in own:
            value = value.unsqueeze(front + place)
    return value
