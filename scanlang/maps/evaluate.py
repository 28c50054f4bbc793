"""Evaluate an integer expression: on Python ints exactly, on NumPy int64 arrays for all their elements at once.

Arrays wrap around beyond 64 bits: ask `scanlang.maps.bounds.intervals` first where values may grow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from scanlang.maps.integers import (
    Absolute,
    Add,
    Compare,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
)

IntArray = npt.NDArray[np.int64]
Value = int | IntArray


@dataclass
class ZeroDivisor(ArithmeticError):
    """A divisor was zero: in `node`, with the first values of the environment at which it was."""

    node: FloorDiv | FloorMod
    values: dict[str, int]

    def __str__(self) -> str:
        return "division by zero at " + ", ".join(f"{name} = {value}" for name, value in self.values.items())


def evaluate(expression: Integer, environment: Mapping[str, Value]) -> Value:
    """The value; an array if any name it depends on is one (arrays all of one length)."""
    return _Evaluation(environment).value(expression)


class _Evaluation:
    """One environment, and the values of the parts met so far."""

    def __init__(self, environment: Mapping[str, Value]) -> None:
        self.environment = environment
        self.known: dict[Integer, Value] = {}

    def value(self, expression: Integer) -> Value:
        if expression not in self.known:
            self.known[expression] = self._compute(expression)
        return self.known[expression]

    def _compute(self, expression: Integer) -> Value:
        match expression:
            case Constant(value):
                return value
            case Variable(name):
                return self.environment[name]
            case Add(left, right):
                return self.value(left) + self.value(right)
            case Multiply(left, right):
                return self.value(left) * self.value(right)
            case FloorDiv(left, right):
                return self.value(left) // self._divisor(expression)
            case FloorMod(left, right):
                return self.value(left) % self._divisor(expression)
            case Minimum(left, right):
                a, b = self.value(left), self.value(right)
                return min(a, b) if isinstance(a, int) and isinstance(b, int) else np.minimum(a, b)
            case Maximum(left, right):
                a, b = self.value(left), self.value(right)
                return max(a, b) if isinstance(a, int) and isinstance(b, int) else np.maximum(a, b)
            case Absolute(operand):
                inner = self.value(operand)
                return abs(inner) if isinstance(inner, int) else np.abs(inner)
            case Select():
                return self._select(expression)
            case _:
                assert_never(expression)

    def _divisor(self, node: FloorDiv | FloorMod) -> Value:
        divisor = self.value(node.right)
        if np.all(divisor):
            return divisor
        first = int(np.argmin(np.abs(divisor)))
        values = {k: int(v if isinstance(v, int) else v[first]) for k, v in self.environment.items()}
        raise ZeroDivisor(node, values)

    def _select(self, node: Select) -> Value:
        condition = self._condition(node.condition)
        if isinstance(condition, bool):
            return self.value(node.then if condition else node.otherwise)
        if condition.all() or not condition.any():
            return self._broadcast(self.value(node.then if condition.all() else node.otherwise), condition)
        try:
            return np.where(condition, self.value(node.then), self.value(node.otherwise))
        except ZeroDivisor:
            return self._branch_by_branch(node, condition)

    def _branch_by_branch(self, node: Select, condition: npt.NDArray[np.bool_]) -> Value:
        """Each branch only where it is taken: a division by zero in the other one does not count."""
        result = np.empty(condition.shape, dtype=np.int64)
        for mask, branch in ((condition, node.then), (~condition, node.otherwise)):
            part = {k: v if isinstance(v, int) else v[mask] for k, v in self.environment.items()}
            result[mask] = evaluate(branch, part)
        return result

    def _broadcast(self, value: Value, like: npt.NDArray[Any]) -> Value:
        return np.full(like.shape, value, dtype=np.int64) if isinstance(value, int) else value

    def _condition(self, node: Compare) -> bool | npt.NDArray[np.bool_]:
        left, right = self.value(node.left), self.value(node.right)
        compare = {
            "==": np.equal,
            "!=": np.not_equal,
            "<": np.less,
            "<=": np.less_equal,
            ">": np.greater,
            ">=": np.greater_equal,
        }[node.operator]
        result = compare(left, right)
        return bool(result) if isinstance(left, int) and isinstance(right, int) else result
