"""The meaning of values in float64 NumPy: the functions of the language, and the equations of a step one by one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from scanlang.graph.step import Assign, Step, Update
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value

Array = NDArray[np.float64]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def sigmoid(x: Array) -> Any:
    decay = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, decay) / (1.0 + decay)


def silu(x: Array) -> Any:
    return x * sigmoid(x)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative,
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "logaddexp": np.logaddexp, "sqrt": np.sqrt,
    "tanh": np.tanh, "abs": np.abs, "erf": _erf,
    "sigmoid": sigmoid, "silu": silu, "softplus": lambda x: np.logaddexp(x, 0.0),
    "relu": lambda x: np.maximum(x, 0.0), "gelu": lambda x: 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5))),
    "min": np.minimum, "max": np.maximum, "where": np.where,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


class Environment:
    """Values by name, each `(…, indices …)`, and how to compute one more. `old` are the states before the step."""

    def __init__(self, sizes: Mapping[str, int], values: dict[str, Array]) -> None:
        self.sizes, self.values = sizes, values
        self.old: dict[str, Array] = {}

    def begin(self, states: tuple[Update, ...], shape: tuple[int, ...]) -> None:
        """All states at their starts, over `shape`."""
        for update in states:
            self.values[update.name] = np.full((*shape, *(self.sizes[i] for i in update.indices)), update.start)

    def step(self, step: Step) -> Array:
        """Run the equations of one step; the readout."""
        self.old = {update.name: self.values[update.name] for update in step.states}
        for equation in step.body:
            self.run(equation)
        return self.values[step.readout]

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
            case Read(name, indices):
                return self.element(self.values[name], indices, bound)
            case Previous(name, indices):
                return self.element(self.old[name], indices, bound)
            case Total(index, body):
                terms = [self.compute(body, {**bound, index: i}) for i in range(self.sizes[index])]
                return np.asarray(np.sum(np.stack(np.broadcast_arrays(*terms)), axis=0))
            case Apply(function, arguments):
                return np.asarray(FUNCTIONS[function](*(self.compute(argument, bound) for argument in arguments)))
            case _:
                assert_never(value)

    def element(self, array: Array, indices: tuple[str, ...], bound: Mapping[str, int]) -> Array:
        place: tuple[Any, ...] = (..., *(bound[i] for i in indices))
        return np.asarray(array[place])
