"""The meaning of a scan graph: every node in float64 NumPy, every step of a recurrence one turn of a Python loop.

Nothing is fast here, and nothing is shared with a backend. Arrays are those of the operator, in float64, by name:

    input                            `(B, axes …, C)`, projected `(B, axes …, K, C)`
    input of units or with indices   `(B, axes …, K, heads, ·)`, `(B, axes …, K, C, ·)`; with channels split without K
    shared input                     `(B, axes …, K, ·)`
    shared input of groups           `(B, axes …, K, groups, ·)`; with channels split without K
    their tokens, named `cls`        `cls` of the scan's first input, `z_cls`, `B_cls` of others: T in place of the axes
    parameter                        `(K, C, ·)`, `(C, ·)` where shared; with channels split `(C, ·)`, `(C / K, ·)` where shared
    parameter of units               heads in place of C
    parameter without channels       `(K, ·)`, `(·)` where shared; by label `(K, labels, ·)`
    `conv_weight`, `conv_bias`       `(K, C, width)`, `(K, C)`, and as other parameters where shared or split
    `merge_weight`                   `(K)`
    order given at run time          `(B, L)`, integers

Projections not cut away read `project_weight` `(K, rows, C)` and `project_bias` `(K, rows)`, without K where shared; with
channels split the weights are `(rows, C)`, `(rows, C / K)` where shared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, assert_never

import numpy as np

from scanlang.graph.interpret_merge import Layer, merge_rows, softmax
from scanlang.graph.interpret_values import Array, Environment, silu
from scanlang.graph.scan_graph import (
    OWN,
    Conv,
    Gather,
    Input,
    Label,
    Merge,
    Pick,
    Project,
    Recur,
    Restarts,
    ScanGraph,
    Scatter,
)
from scanlang.graph.step import Step
from scanlang.graph.step_rewrites import MERGE_WEIGHT, RESTART, convolved, is_weighted
from scanlang.maps.traversal import Traversal, Visits


def project_name(number: int) -> str:
    """The name of a projection's weights: `project`, then `project_1` … for further clauses."""
    return "project" if number == 0 else f"project_{number}"


def token_argument(graph: ScanGraph, name: str, token: str) -> str:
    """How the caller names the tokens of a map."""
    return token if name == graph.scan_inputs[0] else f"{name}_{token}"


def interpret(
    graph: ScanGraph,
    arrays: Mapping[str, Any],
    grid: tuple[int, ...],
    sizes: Mapping[str, int] | None = None,
    layers: Mapping[str, Layer] | None = None,
) -> Any:
    """The result `(B, axes …, C)` of a scan graph on `arrays` (by name), in float64; with tokens, a tuple of it and of theirs.

    `sizes` (`{"state": 16}`) are those that no array shows: of a projected map (the channels of a unit, `head`, among them), or
    of a state that alone has its index. `layers` are what a merge in two phases calls; a layer that is not there is read off
    `down.weight`, `down.bias`.
    """
    flat = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    given = {index: sizes[label] for index, label in graph.step.sizes.items() if sizes and label in sizes}
    return _Run(graph, flat, grid, given | index_sizes(graph.step, flat), sizes or {}, layers or {}).result()


def index_sizes(step: Step, arrays: Mapping[str, Any]) -> dict[str, int]:
    """The extent of every index, read off the last dimensions of the arrays that have it."""
    sizes: dict[str, int] = {}
    for operand in step.operands:
        if operand.name in arrays and operand.indices:
            sizes.update(zip(operand.indices, arrays[operand.name].shape[-len(operand.indices) :], strict=True))
    return sizes


@dataclass(frozen=True)
class _Map:
    """A map, `(B, rows, …)`; one that the directions have each their own of holds K behind the row. `whole`: what follows are
    all channels of the scan, or units of them, also where each direction has its own."""

    array: Array
    per_direction: bool = False
    whole: bool = False


@dataclass(frozen=True)
class _Run:
    graph: ScanGraph
    arrays: Mapping[str, Array]
    grid: tuple[int, ...]
    extents: Mapping[str, int]
    sizes: Mapping[str, int]
    layers: Mapping[str, Layer]

    @cached_property
    def visits(self) -> Visits:
        return self.graph.traversal.at(self.grid)

    @cached_property
    def batch(self) -> int:
        names = (*self.graph.inputs(), *self.graph.scan_inputs)
        return len(next(self.arrays[name] for name in names if name in self.arrays))

    def result(self) -> Any:
        values: dict[str, Any] = {}
        for key in self.graph.in_order():
            taken = {operand: values[source] for source, operand in self.graph.operands(key)}
            values[key] = self.evaluate(self.graph.nodes[key], taken)
        rows, cells = values["merge"], self.visits.cells
        parts = [rows[:, :cells].reshape(self.batch, *self.grid, rows.shape[-1])]
        for _, count in self.visits.tokens:
            parts.append(rows[:, cells : cells + count])
            cells += count
        return tuple(parts) if len(parts) > 1 else parts[0]

    def evaluate(self, node: Any, taken: dict[str, Any]) -> Any:
        match node:
            case Input(name):
                return _Map(self.packed(name), node.per_direction, node.per != "all")
            case Label(name, direction):
                table = self.arrays[name] if name in self.graph.shared else self.arrays[name][direction]
                return self.for_each_image(table[self.visits.labels[direction]])
            case Restarts(direction):
                return self.for_each_image(self.visits.restarts[direction].astype(np.float64))
            case Gather(direction, route):
                (value,) = taken.values()
                return self.gathered(self.of(value, direction), self.rows(self.graph.traversal, route, direction))
            case Conv(direction, along):
                (value,) = taken.values()
                if along:
                    return _Map(self.convolved_along(self.of(value, direction), direction))
                return self.convolved(value, direction, self.visits.restarts[direction])
            case Project():
                (value,) = taken.values()
                return self.projected(node, value)
            case Pick(name):
                (value,) = taken.values()
                return value[name]
            case Recur(direction):
                return self.recur(direction, taken)
            case Scatter(direction, route):
                (value,) = taken.values()
                return _Map(self.scattered(value, self.rows(self.graph.traversal, route, direction), self.visits.rows))
            case Merge():
                outputs = {name: value.array for name, value in taken.items()}
                return merge_rows(self.graph, outputs, self.arrays, self.layers, self.visits.cells)
            case _:
                assert_never(node)

    def packed(self, name: str) -> Array:
        """A map as rows: cells, tokens, pads; one that is convolved before is made of what it was."""
        conv = self.graph.conv
        if conv is not None and name == convolved(conv.source):
            return self.convolved_before(conv.source)
        array, first = self.arrays[name], 1 + len(self.grid)
        parts = [array.reshape(self.batch, self.visits.cells, *array.shape[first:])]
        parts += [self.arrays[token_argument(self.graph, name, token)] for token, _ in self.visits.tokens]
        parts.append(np.zeros((self.batch, self.visits.pads, *array.shape[first:])))
        return np.concatenate(parts, axis=1)

    def convolved_before(self, source: str) -> Array:
        """The input `x.conv` of an operator's graph: with K behind the rows where each direction has its own."""
        (node,) = (node for name, node in self.graph.inputs().items() if name == convolved(source))
        x, conv = _Map(self.packed(source), False, True), self.graph.conv
        assert conv is not None
        assert conv.along is not None
        made = [self.convolved_along(self.of(x, k), k) for k in range(len(conv.along.orders))]
        return np.stack(made, axis=2) if node.per_direction else np.concatenate(made, axis=-1)

    def of(self, value: _Map, direction: int) -> Array:
        """What a direction sees of a map."""
        array = value.array[:, :, direction] if value.per_direction else value.array
        return array[:, :, self.graph.channels(direction, array.shape[2])] if value.whole else array

    def rows(self, traversal: Traversal, route: int, direction: int) -> Any:
        """The row of every step, `(B, steps)`."""
        visits, order = traversal.at(self.grid), traversal.routes[route][direction]
        table = self.for_each_image(visits.tables[route][direction])
        if order.given is None:
            return table
        cells = np.take_along_axis(self.arrays[order.given].astype(np.int64), np.minimum(table, visits.cells - 1), axis=1)
        return np.where(table < visits.cells, cells, table)

    def for_each_image(self, array: Any) -> Any:
        return np.broadcast_to(array, (self.batch, *array.shape))

    def gathered(self, array: Array, rows: Any) -> Array:
        return np.asarray(array[np.arange(self.batch)[:, None], rows])

    def scattered(self, sequence: Array, rows: Any, count: int) -> Array:
        placed = np.zeros((self.batch, count, *sequence.shape[2:]))
        np.add.at(placed, (np.arange(self.batch)[:, None], rows), sequence)
        return placed

    def convolved(self, x: Array, direction: int, restarts: Any) -> Array:
        """Causal, depthwise, with silu; nothing is seen of what was before a restart."""
        conv = self.graph.conv
        assert conv is not None
        weight, bias = self.parameter("conv_weight", direction), self.parameter("conv_bias", direction)
        made = np.zeros_like(x)
        begin = 0
        for t in range(x.shape[1]):
            begin = t if restarts[t] else begin
            for age in range(min(conv.width, t - begin + 1)):
                made[:, t] += weight[:, conv.width - 1 - age] * x[:, t - age]
        return np.asarray(silu(made + bias))

    def convolved_along(self, x: Array, direction: int) -> Array:
        """Convolved in the time of the convolution's own order, and put back."""
        assert self.graph.conv is not None
        along = self.graph.conv.along
        assert along is not None
        rows, restarts = self.rows(along, OWN, direction), along.at(self.grid).restarts[direction]
        return self.scattered(self.convolved(self.gathered(x, rows), direction, restarts), rows, self.visits.rows)

    def parameter(self, name: str, direction: int) -> Array:
        """A parameter as a direction sees it, `(C, ·)`, or `(1, ·)` without channels."""
        stem, _, entry = name.partition(".")
        array = self.arrays[stem]
        if stem == MERGE_WEIGHT and is_weighted(self.graph.step):
            return softmax(array)[None, direction]
        common = name in self.graph.shared or ("conv" in self.graph.shared and stem in ("conv_weight", "conv_bias"))
        if name in self.graph.channelless:
            return array[None] if common else array[None, direction]
        if not common:
            array = array[direction] if self.graph.split is None else array[self.graph.channels(direction, len(array))]
        return array[..., int(entry)] if entry else array

    def projected(self, node: Project, value: Any) -> dict[str, Any]:
        stem, single, split = project_name(node.number), "project" in self.graph.shared, self.graph.split is not None
        weight, bias = self.arrays[f"{stem}_weight"], self.arrays.get(f"{stem}_bias")
        if not single:
            weight = weight[:, self.graph.channels(node.direction, weight.shape[-1])] if split else weight[node.direction]
        is_map = isinstance(value, _Map)
        rows = (self.of(value, node.direction) if is_map else value) @ weight.T
        if bias is not None:
            rows = rows + (bias if single else bias[node.direction])
        made, start = {}, 0
        for name in node.names:
            operand = next(o for o in self.graph.step.operands if o.name == name)
            every, extents = operand.channels(self.sizes), [self.extents[i] for i in operand.indices]
            shape = (weight.shape[-1] // every, *extents) if every else extents
            part = rows[..., start : start + math.prod(shape)].reshape(*rows.shape[:2], *shape)
            made[name] = _Map(part) if is_map else part
            start += math.prod(shape)
        return made

    def recur(self, direction: int, taken: dict[str, Array]) -> Array:
        """One step after another; a value is an array `(B, C, indices …)`: every channel has the value of its unit."""
        step, restarts = self.graph.step, self.visits.restarts[direction]
        operands = {operand.name: operand for operand in step.operands}
        shape = next(
            a.shape[:3] for name, a in taken.items() if operands[name].kind == "input" and operands[name].per == "channel"
        )
        sequences = {
            name: array[:, :, None] if operands[name].per == "all" else _spread(array, 2, shape[2])
            for name, array in taken.items()
        }
        fixed = {
            o.name: _spread(self.parameter(o.name, direction), 0, shape[2])[None] for o in step.operands if o.kind == "param"
        }
        environment = Environment(self.extents, fixed)
        for equation in step.prologue:
            environment.run(equation)
        environment.begin(step.states, (shape[0], shape[2]))
        outputs = np.zeros(shape)
        for t in range(shape[1]):
            if restarts[t] and RESTART not in operands:
                environment.begin(step.states, (shape[0], shape[2]))
            environment.values.update({name: sequence[:, t] for name, sequence in sequences.items()})
            outputs[:, t] = environment.step(step)
        return outputs


def _spread(array: Array, axis: int, channels: int) -> Array:
    """One entry for every channel, of what has one for every so many."""
    return np.repeat(array, channels // array.shape[axis], axis)
