"""The initial value of a parameter: which names and draws it may use, and that it is a finite number.

In: a `param` with its `= ...`. Out: findings. Values are tried in the first directions and at the first two values of
each index (all of `label`), with every draw at the middle of its range; the draws themselves are made where a module is built.
"""

from __future__ import annotations

import itertools
import math
import operator as operators
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import assert_never

from scanlang.check.expressions import INITIAL, check_expression, names_in, parts
from scanlang.check.findings import Findings
from scanlang.check.program import DIRECTION, LABEL, LABELS, UNIT, UNITS
from scanlang.errors import BadInitial, HeadMisused, IndexMisused
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Operand, Sum

DRAWS = frozenset({"uniform", "loguniform", "normal"})

TRIED_DIRECTIONS = 4
"""The directions in which values are tried: what treats one of them apart treats one of the first."""

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operators.lt, "<=": operators.le, ">": operators.gt, ">=": operators.ge, "==": operators.eq, "!=": operators.ne,
}  # fmt: skip


@dataclass(frozen=True)
class InitialNames:
    """An initial value may use the parameter's own indices, as numbers from 0 (that of the head is none), and the numbers of
    its direction and of its unit, where these have values of their own."""

    operand: Operand
    head: str | None
    numbers: tuple[str, ...]
    findings: Findings

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name == self.head:
            reason = "the channels of a unit have no numbers; a draw is made anew for each"
            self.findings.report(HeadMisused(name.span, name.name, "is no number in an initial value", reason))
        elif name.name not in (*self.operand.indices, *self.numbers):
            known = tuple(index for index in self.operand.indices if index != self.head)
            self.findings.unknown("index", name.name, (*known, *self.numbers), name.span)
        elif name.indices:
            self.findings.report(IndexMisused(name.span, name.span.text, "has an index", "it is a number itself"))

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        raise ValueError("an initial value has no sum")


def check_initial(operand: Operand, head: str | None, numbers: tuple[str, ...], findings: Findings) -> None:
    """Check `A_log[n] = log(n + 1)`; `head` is the index of the head, `numbers` are names beside the indices."""
    assert operand.initial is not None
    before = findings.count
    check_expression(operand.initial, INITIAL, InitialNames(operand, head, numbers, findings), findings)
    if findings.count == before:
        check_draws(operand.name, operand.initial, findings)
    if findings.count == before:
        check_finite(operand, operand.initial, findings)


def check_draws(name: str, expr: Expr, findings: Findings) -> None:
    """Every draw in `expr` has constant bounds that make sense."""
    for part in parts(expr):
        check_draws(name, part, findings)
    if not isinstance(expr, Call) or expr.function not in DRAWS:
        return
    problem = draw_problem(expr)
    if problem:
        findings.report(BadInitial(expr.span, name, problem))


def draw_problem(draw: Call) -> str | None:
    for argument in draw.arguments:
        if any(True for _ in names_in(argument)) or has_draw(argument):
            return f"the arguments of `{draw.function}` are constants"
    low, high = (value_at(argument, {}) for argument in draw.arguments)
    if low is None or high is None:
        return f"the arguments of `{draw.function}` are finite numbers"
    if draw.function == "normal":
        return f"the deviation {high:g} is negative" if high < 0 else None
    if draw.function == "loguniform" and low <= 0:
        return f"the lower bound {low:g} is not positive"
    return f"the lower bound {low:g} is not below the upper bound {high:g}" if low >= high else None


def has_draw(expr: Expr) -> bool:
    return (isinstance(expr, Call) and expr.function in DRAWS) or any(has_draw(part) for part in parts(expr))


def check_finite(operand: Operand, initial: Expr, findings: Findings) -> None:
    used = {name.name for name in names_in(initial)}
    directions, steps = TRIED_DIRECTIONS if DIRECTION in used else 1, len(LABELS) if LABEL in operand.indices else 2
    for direction, step in itertools.product(range(directions), range(steps)):
        at = {index: step if index == LABEL else min(step, 1) for index in operand.indices}
        numbers = {DIRECTION: direction, UNIT: step, UNITS: step + 1}
        at = {**{name: value for name, value in numbers.items() if name in used}, **at}
        if value_at(initial, at) is None:
            where = " and ".join(f"{index} = {value}" for index, value in at.items())
            reason = f"it is not a finite number at {where}" if where else "it is not a finite number"
            findings.report(BadInitial(initial.span, operand.name, reason))
            return


def value_at(expr: Expr, indices: Mapping[str, float]) -> float | None:
    """The value for these indices, with every draw at the middle of its range; None where it is not finite."""
    try:
        value = evaluate(expr, indices)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def evaluate(expr: Expr, indices: Mapping[str, float]) -> float:
    match expr:
        case Number():
            return expr.value
        case Name():
            return indices[expr.name]
        case Negative():
            return -evaluate(expr.operand, indices)
        case Binary():
            return operate(expr.operator, evaluate(expr.left, indices), evaluate(expr.right, indices))
        case Call("where", (Binary() as condition, yes, no)):
            return evaluate(yes if holds(condition, indices) else no, indices)
        case Call():
            return call(expr.function, [evaluate(argument, indices) for argument in expr.arguments])
        case Sum() | CellMean():
            raise ValueError("an initial value has no sum and no mean")
        case _:
            assert_never(expr)


def holds(condition: Binary, indices: Mapping[str, float]) -> bool:
    return _COMPARISONS[condition.operator](evaluate(condition.left, indices), evaluate(condition.right, indices))


def operate(operator: str, left: float, right: float) -> float:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case _:
            raise ValueError(f"an initial value has no {operator}")


def call(function: str, values: list[float]) -> float:
    first, last = values[0], values[-1]
    match function:
        case "exp" | "expm1" | "log" | "log1p" | "sqrt" | "tanh":
            result: float = getattr(math, function)(first)
            return result
        case "abs" | "relu":
            return abs(first) if function == "abs" else max(first, 0.0)
        case "min" | "max":
            return min(values) if function == "min" else max(values)
        case "sigmoid" | "silu":
            gate = (1 + math.tanh(first / 2)) / 2
            return gate if function == "sigmoid" else first * gate
        case "softplus":
            return max(first, 0.0) + math.log1p(math.exp(-abs(first)))
        case "inv_softplus":
            return first + math.log(-math.expm1(-first))
        case "gelu":
            return first * (1 + math.erf(first / math.sqrt(2))) / 2
        case "uniform":
            return (first + last) / 2
        case "loguniform":
            return math.sqrt(first) * math.sqrt(last)
        case "normal":
            return first
        case _:
            raise ValueError(f"an initial value has no {function}")
