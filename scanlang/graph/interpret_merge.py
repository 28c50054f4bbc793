"""The meaning of a merge in float64 NumPy. In: the outputs of the directions, each `(B, rows, C)`; out: the result's rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import assert_never

import numpy as np

from scanlang.graph.build_step import OPERATORS
from scanlang.graph.interpret_values import FUNCTIONS, Array, Environment
from scanlang.graph.scan_graph import ScanGraph, output_name
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

Layer = Callable[[Array], Array]

NORM_EPSILON = {"layer_norm": 1e-5, "rms_norm": 1e-6}
"""Those of a module's own layers."""


def merge_rows(
    graph: ScanGraph, taken: Mapping[str, Array], arrays: Mapping[str, Array], layers: Mapping[str, Layer], cells: int
) -> Array:
    """The merge of what it takes (`y[0]`, `y[1]`, … and inputs); the first `cells` rows are cells."""
    outputs = [taken[output_name(k)] for k in range(graph.directions)]
    if graph.second is not None:
        made = _Second(graph, taken, arrays, layers, cells).value_of(graph.second, {})
        return np.broadcast_to(made, (*outputs[0].shape[:2], made.shape[-1]))
    if graph.split is not None or graph.merge == "concat":
        return np.concatenate(outputs, axis=-1)
    match graph.merge:
        case "sum":
            return np.asarray(np.sum(np.stack(outputs), axis=0))
        case "mean":
            return np.asarray(np.sum(np.stack(outputs), axis=0) / graph.directions)
        case "weighted":
            weights = softmax(arrays["merge_weight"])
            return np.asarray(np.sum(np.stack([w * y for w, y in zip(weights, outputs, strict=True)]), axis=0))
        case _:
            return np.broadcast_to(Environment({}, dict(taken)).compute(graph.merge, {}), outputs[0].shape)


def softmax(weights: Array) -> Array:
    powers = np.exp(weights - np.max(weights))
    return np.asarray(powers / np.sum(powers))


class _Second:
    """A merge in two phases: an expression of the program over outputs that are all there."""

    def __init__(
        self,
        graph: ScanGraph,
        taken: Mapping[str, Array],
        arrays: Mapping[str, Array],
        layers: Mapping[str, Layer],
        cells: int,
    ) -> None:
        self.graph, self.taken, self.arrays, self.layers, self.cells = graph, taken, arrays, layers, cells

    def value_of(self, expression: Expr, bound: Mapping[str, int]) -> Array:
        match expression:
            case Number(value):
                return np.full((1, 1, 1), float(value))
            case Name("y", (Number(direction),)):
                return self.taken[output_name(int(direction))]
            case Name("y", (Name(counter),)):
                return self.taken[output_name(bound[counter])]
            case Name(name):
                return self.taken[name]
            case Negative(operand):
                return -self.value_of(operand, bound)
            case Binary(operator, left, right):
                return np.asarray(FUNCTIONS[OPERATORS[operator]](self.value_of(left, bound), self.value_of(right, bound)))
            case Call(function, arguments):
                values = [self.value_of(argument, bound) for argument in arguments]
                if function in self.graph.layers:
                    return self.layer(function, values[0])
                return np.asarray(FUNCTIONS[function](*values))
            case Sum(index, body):
                terms = [self.value_of(body, {**bound, index: k}) for k in range(self.graph.directions)]
                return np.asarray(np.sum(np.stack(np.broadcast_arrays(*terms)), axis=0))
            case CellMean(body):
                inner = self.value_of(body, bound)
                return np.asarray(np.mean(inner[:, : self.cells], axis=1, keepdims=True))
            case _:
                assert_never(expression)

    def layer(self, name: str, x: Array) -> Array:
        """A layer as it was given, or of its weights, which are called as in torch."""
        if name in self.layers:
            return np.asarray(self.layers[name](x))
        kind, weight, bias = self.graph.layers[name], self.arrays[f"{name}.weight"], self.arrays.get(f"{name}.bias")
        if kind == "linear":
            made = x @ weight.T
        else:
            centred = x - np.mean(x, axis=-1, keepdims=True) if kind == "layer_norm" else x
            made = weight * centred / np.sqrt(np.mean(centred**2, axis=-1, keepdims=True) + NORM_EPSILON[kind])
        return np.asarray(made if bias is None else made + bias)
