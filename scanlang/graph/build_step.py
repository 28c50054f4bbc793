"""Checked recurrence → step: expressions become values, and what depends on parameters alone is computed once."""

from __future__ import annotations

from typing import Literal, assert_never

from scanlang.check.program import LABEL, CheckedOperand, CheckedRecurrence, StateUpdate, Temporary
from scanlang.diagnostics import InternalError
from scanlang.graph.factor import factor
from scanlang.graph.step import Assign, Operand, Step, Update
from scanlang.graph.values import (
    COMPARISONS,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    apply,
    free_indices,
    negate,
    reads,
)
from scanlang.source import Span
from scanlang.syntax import nodes as syntax

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", **COMPARISONS}


def build_step(recurrence: CheckedRecurrence) -> Step:
    """The recurrence as equations between values, what depends on parameters alone taken out of the loop.

    A table with an entry for every label is a shared operand: at every step its entry for the label of the step.
    """
    operands = tuple(_operand(operand) for operand in recurrence.operands)
    body: list[Assign | Update] = []
    for equation in recurrence.equations:
        match equation:
            case Temporary(name, indices, value, span):
                body.append(Assign(name, indices, build_value(value, recurrence), span))
            case StateUpdate(name, indices, decay, drive, span):
                parts = build_value(decay, recurrence), build_value(drive, recurrence)
                body.append(Update(name, indices, *parts, span))
            case _:
                assert_never(equation)
    step = Step(recurrence.name, dict(recurrence.indices), operands, (), tuple(body), recurrence.readout)
    return name_arguments(hoist_prologue(step))


def is_labelled(operand: CheckedOperand) -> bool:
    """Whether it is a table with an entry for every label."""
    return operand.kind == "shared param" and operand.indices[:1] == (LABEL,)


def _operand(operand: CheckedOperand) -> Operand:
    if is_labelled(operand):
        return Operand(operand.name, "shared", operand.indices[1:], operand.span)
    kind: Literal["input", "shared", "param"] = "param" if operand.kind == "shared param" else operand.kind
    return Operand(operand.name, kind, operand.indices, operand.span)


def build_value(expression: syntax.Expr, recurrence: CheckedRecurrence) -> Value:
    """An expression of a recurrence as a value."""

    labelled = {operand.name for operand in recurrence.operands if is_labelled(operand)}

    def build(expression: syntax.Expr) -> Value:
        match expression:
            case syntax.Number(value):
                return Constant(float(value))
            case syntax.Name(name, ()) if name in recurrence.indices:
                return IndexValue(name)
            case syntax.Name(name, indices):
                own = indices[1:] if name in labelled else indices
                return Read(name, tuple(_index_name(i) for i in own), expression.span)
            case syntax.Negative(operand):
                return negate(build(operand))
            case syntax.Binary(operator, left, right):
                return apply(OPERATORS[operator], build(left), build(right))
            case syntax.Call(function, arguments):
                return apply(function, *(build(argument) for argument in arguments))
            case syntax.Sum(index, body):
                return Total(index, build(body))
            case syntax.CellMean():
                raise InternalError("a recurrence knows no cells")
            case _:
                assert_never(expression)

    return build(expression)


def _index_name(index: syntax.Expr) -> str:
    if isinstance(index, syntax.Name) and not index.indices:
        return index.name
    raise InternalError(f"index {index} was not checked")


def hoist_prologue(step: Step) -> Step:
    """Take out of the loop what depends on parameters alone.

    Before:  h[n] = exp(-exp(A_log[n]) * dt) * h'[n] + …
    After:   fixed.0[n] = -exp(A_log[n])            h[n] = exp(fixed.0[n] * dt) * h'[n] + …
    """
    parameters = {operand.name for operand in step.operands if operand.kind == "param"}
    hoister = _Hoister(parameters)
    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign(name, indices, value, span):
                body.append(Assign(name, indices, factor(hoister.take(value, span)), span))
            case Update(name, indices, decay, drive, span):
                parts = factor(hoister.take(decay, span)), factor(hoister.take(drive, span))
                body.append(Update(name, indices, *parts, span))
            case _:
                assert_never(equation)
    return Step(step.recurrence, step.sizes, step.operands, tuple(hoister.prologue), tuple(body), step.readout)


def name_arguments(step: Step) -> Step:
    """Give the sums that a function is applied to names of their own, so that their gradients are computed once.

    Before:  dt = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))
    After:   in.0 = dt_bias + sum(r: dt_weight[r] * low[r])            dt = softplus(in.0)
    """
    body: list[Assign | Update] = []
    names: dict[Value, Read] = {}

    def take(value: Value, span: Span, bound: frozenset[str]) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Total(index, inner):
                return Total(index, take(inner, span, bound | {index}))
            case Apply(function, (argument,)) if function != "neg" and _is_sum(argument):
                if not bound & set(free_indices(argument)):
                    return Apply(function, (named(take(argument, span, bound), span),))
                return Apply(function, (take(argument, span, bound),))
            case Apply(function, arguments):
                return Apply(function, tuple(take(argument, span, bound) for argument in arguments))
            case _:
                assert_never(value)

    def named(value: Value, span: Span) -> Read:
        if value not in names:
            names[value] = Read(f"in.{len(names)}", free_indices(value))
            body.append(Assign(names[value].name, names[value].indices, value, span))
        return names[value]

    for equation in step.body:
        match equation:
            case Assign(name, indices, value, span):
                body.append(Assign(name, indices, take(value, span, frozenset()), span))
            case Update(name, indices, decay, drive, span):
                decay, drive = take(decay, span, frozenset()), take(drive, span, frozenset())
                body.append(Update(name, indices, decay, drive, span))
            case _:
                assert_never(equation)
    return Step(step.recurrence, step.sizes, step.operands, step.prologue, tuple(body), step.readout)


def _is_sum(value: Value) -> bool:
    return isinstance(value, Total) or (isinstance(value, Apply) and value.function in ("add", "sub"))


class _Hoister:
    def __init__(self, parameters: set[str]) -> None:
        self.parameters = parameters
        self.names: dict[Value, Read] = {}
        self.prologue: list[Assign] = []

    def is_fixed(self, value: Value) -> bool:
        return bool(reads(value)) and reads(value) <= self.parameters

    def take(self, value: Value, span: Span) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Apply() | Total() if self.is_fixed(value):
                return self.named(value, span)
            case Apply(function, arguments):
                return Apply(function, tuple(self.take(argument, span) for argument in arguments))
            case Total(index, body):
                return Total(index, self.take(body, span))
            case _:
                assert_never(value)

    def named(self, value: Value, span: Span) -> Read:
        if value not in self.names:
            name, indices = f"fixed.{len(self.prologue)}", free_indices(value)
            self.names[value] = Read(name, indices)
            self.prologue.append(Assign(name, indices, value, span))
        return self.names[value]
