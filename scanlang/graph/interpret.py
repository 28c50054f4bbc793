"""The meaning of a scan graph: every node in float64 NumPy, every step of a recurrence one turn of a Python loop.

Nothing is fast here, and nothing is shared with a backend. Arrays are those of the operator, in float64: inputs
`(B, H, W, C)`, shared inputs `(B, H, W, K, ·)`, parameters `(K, C, ·)` or `(C, ·)` where shared; projections not cut away
read `project_weight` `(K, rows, C)` (and `project_bias` `(K, rows)`), without K where shared.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from scanlang.graph.scan_graph import Gather, Input, Merge, Pick, Project, Recur, ScanGraph, Scatter
from scanlang.graph.step import Assign, Step, Update
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: Array) -> Any:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, decay) / (1.0 + decay)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "abs": np.abs, "erf": _erf,
    "sigmoid": _sigmoid, "silu": lambda x: x * _sigmoid(x), "softplus": lambda x: np.logaddexp(x, 0.0),
    "relu": lambda x: np.maximum(x, 0.0), "gelu": lambda x: 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))),
    "min": np.minimum, "max": np.maximum, "where": np.where,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


def project_name(number: int) -> str:
    """The name of a projection's weights: `project`, then `project_1` … for further clauses."""
    return "project" if number == 0 else f"project_{number}"


def interpret(
    graph: ScanGraph, arrays: Mapping[str, Array], grid: tuple[int, int], sizes: Mapping[str, int] | None = None
) -> Array:
    """The result `(B, H, W, C)` of a scan graph on `arrays` (by name), in float64.

    `sizes` (`{"state": 16}`) are those that no array shows: of a projected map, or of a state that alone has its index.
    """
    height, width = grid
    flat = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    given = {index: sizes[label] for index, label in graph.step.sizes.items() if sizes and label in sizes}
    extents = given | index_sizes(graph.step, flat)
    values: dict[str, Any] = {}
    for key in graph.in_order():
        taken = {operand: values[source] for source, operand in graph.operands(key)}
        values[key] = _evaluate(graph, key, taken, flat, grid, extents)
    result = np.asarray(values["merge"])
    return result.reshape(result.shape[0], height, width, result.shape[-1])


def _evaluate(
    graph: ScanGraph,
    key: str,
    taken: dict[str, Any],
    arrays: Mapping[str, Array],
    grid: tuple[int, int],
    extents: Mapping[str, int],
) -> Any:
    match graph.nodes[key]:
        case Input(name):
            shape = arrays[name].shape
            return _Map(arrays[name].reshape(shape[0], grid[0] * grid[1], *shape[3:]), graph.nodes[key])
        case Gather(direction):
            (value,) = taken.values()
            return value.of(direction)[:, graph.orders[direction].positions(*grid)]
        case Project(number, names, direction):
            (value,) = taken.values()
            return _project(graph, arrays, number, names, direction, value, extents)
        case Pick(name):
            (value,) = taken.values()
            return value[name]
        case Recur(direction):
            return _recur(graph, direction, taken, arrays, extents)
        case Scatter(direction):
            (value,) = taken.values()
            placed = np.full_like(value, np.nan)
            placed[:, graph.orders[direction].positions(*grid)] = value
            return placed
        case Merge():
            return _merge(graph, taken)


class _Map:
    """A map in grid order, `(B, L, …)`; one that the directions have each their own of holds K behind the cell."""

    def __init__(self, array: Array, node: Any) -> None:
        self.array, self.per_direction = array, node.per_direction

    def of(self, direction: int) -> Array:
        return self.array[:, :, direction] if self.per_direction else self.array


def _project(
    graph: ScanGraph,
    arrays: Mapping[str, Array],
    number: int,
    names: tuple[str, ...],
    direction: int,
    value: Any,
    extents: Mapping[str, int],
) -> dict[str, Any]:
    stem, single = project_name(number), "project" in graph.shared
    weight = arrays[f"{stem}_weight"] if single else arrays[f"{stem}_weight"][direction]
    is_map = isinstance(value, _Map)
    rows = (value.of(direction) if is_map else value) @ weight.T
    if f"{stem}_bias" in arrays:
        rows = rows + (arrays[f"{stem}_bias"] if single else arrays[f"{stem}_bias"][direction])
    made, start = {}, 0
    for name in names:
        operand = next(o for o in graph.step.operands if o.name == name)
        shape = tuple(extents[i] for i in operand.indices)
        count = math.prod(shape) if operand.kind == "shared" else weight.shape[-1]
        part = rows[..., start : start + count]
        part = part.reshape(*part.shape[:2], *shape) if operand.kind == "shared" else part
        made[name] = _Map(part, Input(name, "input", (), False)) if is_map else part
        start += count
    return made


def index_sizes(step: Step, arrays: Mapping[str, Any]) -> dict[str, int]:
    """The extent of every index, read off the last dimensions of the arrays that have it."""
    sizes: dict[str, int] = {}
    for operand in step.operands:
        if operand.name in arrays and operand.indices:
            sizes.update(zip(operand.indices, arrays[operand.name].shape[-len(operand.indices) :], strict=True))
    return sizes


def _recur(
    graph: ScanGraph, direction: int, taken: dict[str, Any], arrays: Mapping[str, Array], extents: Mapping[str, int]
) -> Array:
    """One step after another; a value is an array `(B, C, indices …)`."""
    step = graph.step
    kinds = {operand.name: operand for operand in step.operands}
    sequences = {}
    for name, array in taken.items():
        sequence = array.of(direction) if isinstance(array, _Map) else array
        sequences[name] = sequence if kinds[name].kind == "input" else sequence[:, :, None]
    fixed = {}
    for operand in step.operands:
        if operand.kind == "param":
            array = arrays[operand.name]
            fixed[operand.name] = (array if operand.name in graph.shared else array[direction])[None]
    environment = _Environment(extents, dict(fixed))
    for fixed_equation in step.prologue:
        environment.assign(fixed_equation.name, fixed_equation.indices, fixed_equation.value)
    batch, length, channels = next(s for n, s in sequences.items() if kinds[n].kind == "input").shape[:3]
    for update in step.states:
        shape = tuple(extents[i] for i in update.indices)
        environment.values[update.name] = np.zeros((batch, channels, *shape))
    outputs = np.zeros((batch, length, channels))
    for t in range(length):
        environment.values.update({name: sequence[:, t] for name, sequence in sequences.items()})
        for equation in step.body:
            environment.run(equation)
        outputs[:, t] = environment.values[step.readout]
    return outputs


class _Environment:
    """Values by name, and how to compute one more."""

    def __init__(self, sizes: Mapping[str, int], values: dict[str, Array]) -> None:
        self.sizes, self.values = sizes, values

    def run(self, equation: Assign | Update) -> None:
        match equation:
            case Assign(name, indices, value):
                self.assign(name, indices, value)
            case Update(name, indices, decay, drive):
                self.assign(name, indices, Apply("add", (Apply("mul", (decay, Previous(name, indices))), drive)))
            case _:
                assert_never(equation)

    def assign(self, name: str, indices: tuple[str, ...], value: Value) -> None:
        elements = [
            self.compute(value, dict(zip(indices, element, strict=True)))
            for element in itertools.product(*(range(self.sizes[i]) for i in indices))
        ]
        stacked = np.stack(np.broadcast_arrays(*elements), axis=-1)
        self.values[name] = stacked.reshape(*stacked.shape[:-1], *(self.sizes[i] for i in indices))

    def compute(self, value: Value, bound: Mapping[str, int]) -> Array:
        match value:
            case Constant(number):
                return np.full((1, 1), number)
            case IndexValue(index):
                return np.full((1, 1), float(bound[index]))
            case Read(name, indices) | Previous(name, indices):
                element: tuple[Any, ...] = (..., *(bound[i] for i in indices))
                return np.asarray(self.values[name][element])
            case Total(index, body):
                terms = [self.compute(body, {**bound, index: i}) for i in range(self.sizes[index])]
                return np.asarray(np.sum(np.stack(np.broadcast_arrays(*terms)), axis=0))
            case Apply(function, arguments):
                return np.asarray(FUNCTIONS[function](*(self.compute(argument, bound) for argument in arguments)))
            case _:
                assert_never(value)


def _merge(graph: ScanGraph, taken: dict[str, Any]) -> Array:
    outputs = {name: value.array if isinstance(value, _Map) else value for name, value in taken.items()}
    if graph.merge in ("sum", "mean"):
        total = np.sum(np.stack(list(outputs.values())), axis=0)
        return np.asarray(total / graph.directions if graph.merge == "mean" else total)
    assert not isinstance(graph.merge, str)
    return _Environment({}, outputs).compute(graph.merge, {})
