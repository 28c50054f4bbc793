"""Checked recurrence → step: expressions become values, and what depends on parameters alone is computed once.

`prev(e)` of what is no state becomes a state of its own, `prev.0`, at the end of the body.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from scanlang.check.expressions import PREV
from scanlang.check.program import LABEL, CheckedOperand, CheckedRecurrence, Scale, StateUpdate, Temporary
from scanlang.diagnostics import InternalError
from scanlang.graph.factor import factor
from scanlang.graph.simplify import stable
from scanlang.graph.step import LOWEST, Assign, Operand, Step, Update
from scanlang.graph.values import (
    COMPARISONS,
    LARGEST,
    ZERO,
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
    rename_indices,
)
from scanlang.source import Span
from scanlang.syntax import nodes as syntax

OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", **COMPARISONS}


def build_step(recurrence: CheckedRecurrence) -> Step:
    """The recurrence as equations between values, what depends on parameters alone taken out of the loop.

    A table with an entry for every label is a shared operand: at every step its entry for the label of the step.
    """
    values = Values(recurrence)
    body = [_equation(equation, values) for equation in recurrence.equations]
    operands = tuple(_operand(operand) for operand in recurrence.operands)
    step = Step(
        recurrence.name,
        dict(recurrence.indices),
        operands,
        (),
        (*body, *values.kept()),
        recurrence.readout,
        recurrence.head is not None,
    )
    return name_arguments(hoist_prologue(stable(step)))


def _equation(equation: Temporary | StateUpdate | Scale, values: Values) -> Assign | Update:
    name, indices, span = equation.name, equation.indices, equation.span
    match equation:
        case Temporary(value=value):
            return Assign(name, indices, values.build(value), span)
        case StateUpdate(decay=decay, drive=drive):
            return Update(name, indices, values.build(decay), values.build(drive), span, per=equation.per)
        case Scale(value=value, running=False):
            return Assign(name, indices, values.build(value, is_constant=True), span, constant=True)
        case Scale(value=value):
            new = values.build(value, own=name, is_constant=True)
            return Update(name, indices, ZERO, new, span, start=LOWEST, constant=True, per=equation.per)
        case _:
            assert_never(equation)


def is_labelled(operand: CheckedOperand) -> bool:
    """Whether it is a table with an entry for every label."""
    return operand.kind == "shared param" and operand.indices[:1] == (LABEL,)


def _operand(operand: CheckedOperand) -> Operand:
    if is_labelled(operand):
        return Operand(operand.name, "shared", operand.indices[1:], operand.span, per="all")
    kind: Literal["input", "shared", "param"] = "param" if operand.kind == "shared param" else operand.kind
    return Operand(operand.name, kind, operand.indices, operand.span, per=operand.per, units=operand.units)


@dataclass
class _Kept:
    """What `prev(e)` keeps for the step after: a state; `constant` while only scales read it."""

    state: str
    indices: tuple[str, ...]
    span: Span
    per: Literal["channel", "unit"]
    constant: bool


@dataclass
class Values:
    """Expressions of a recurrence as values; `old` has what they keep for the step after."""

    recurrence: CheckedRecurrence
    old: dict[Value, _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labelled = {operand.name for operand in self.recurrence.operands if is_labelled(operand)}
        self.states = {
            equation.name
            for equation in self.recurrence.equations
            if isinstance(equation, StateUpdate) or (isinstance(equation, Scale) and equation.running)
        }
        self.of_channels = {o.name for o in self.recurrence.operands if o.per == "channel"}
        self.of_channels |= {equation.name for equation in self.recurrence.equations if equation.per == "channel"}

    def build(self, expression: syntax.Expr, own: str = "", is_constant: bool = False) -> Value:
        """`own` is the scale whose equation this is: its name is its old value. What `is_constant` has no gradient."""

        def build(expression: syntax.Expr) -> Value:
            match expression:
                case syntax.Number(value):
                    return Constant(float(value))
                case syntax.Name(name, ()) if name in self.recurrence.indices:
                    return IndexValue(name)
                case syntax.Name(name, indices):
                    names = tuple(_index_name(i) for i in (indices[1:] if name in self.labelled else indices))
                    return Previous(name, names) if name == own else Read(name, names, expression.span)
                case syntax.Negative(operand):
                    return negate(build(operand))
                case syntax.Binary(operator, left, right):
                    return apply(OPERATORS[operator], build(left), build(right))
                case syntax.Call("prev", (inside,)):
                    return self.previous(build(inside), expression.span, is_constant)
                case syntax.Call(function, arguments):
                    return apply(function, *(build(argument) for argument in arguments))
                case syntax.Sum(index, body):
                    return Total(index, build(body))
                case syntax.CellMean():
                    raise InternalError("a recurrence knows no cells")
                case _:
                    assert_never(expression)

        return build(expression)

    def previous(self, value: Value, span: Span, is_constant: bool) -> Previous:
        """The value at the step before: of a state, or of what is kept in a state for that."""
        if isinstance(value, Read) and value.name in self.states:
            return Previous(value.name, value.indices)
        if value not in self.old:
            per: Literal["channel", "unit"] = "channel" if self.is_of_channels(value) else "unit"
            self.old[value] = _Kept(f"{PREV}.{len(self.old)}", free_indices(value), span, per, is_constant)
        kept = self.old[value]
        kept.constant = kept.constant and is_constant
        return Previous(kept.state, kept.indices)

    def is_of_channels(self, value: Value) -> bool:
        channels = self.of_channels | {kept.state for kept in self.old.values() if kept.per == "channel"}
        return self.recurrence.head is None or bool(reads(value) & channels)

    def kept(self) -> tuple[Update, ...]:
        """The updates of those states: at the end of the step, what `e` is."""
        return tuple(
            Update(kept.state, kept.indices, ZERO, value, kept.span, constant=kept.constant, per=kept.per)
            for value, kept in self.old.items()
        )


def _index_name(index: syntax.Expr) -> str:
    if isinstance(index, syntax.Name) and not index.indices:
        return index.name
    raise InternalError(f"index {index} was not checked")


def hoist_prologue(step: Step) -> Step:
    """Take out of the loop what depends on parameters alone.

    Before:  h[n] = exp(-exp(A_log[n]) * dt) * h'[n] + …
    After:   fixed.0[n] = -min(exp(A_log[n]), 1e36)            h[n] = exp(fixed.0[n] * dt) * h'[n] + …

    An exponential that is read inside another stays finite: a rate of `LARGEST` leaves nothing of a state, as an infinite one
    would, and 0 times it is 0, in the gradient of `dt` as in a step of length 0.
    """
    parameters = {operand.name for operand in step.operands if operand.kind == "param"}
    hoister, exponents = _Hoister(parameters), _read_in_exponents(step)
    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign(name=name, value=value, span=span):
                value = hoister.take(value, span, name in exponents)
                hoister.define(equation, value)
                body.append(replace(equation, value=factor(value)))
            case Update(decay=decay, drive=drive, span=span):
                decay, drive = factor(hoister.take(decay, span)), factor(hoister.take(drive, span))
                body.append(replace(equation, decay=decay, drive=drive))
            case _:
                assert_never(equation)
    return replace(step, prologue=hoister.prologue(), body=tuple(body))


def name_arguments(step: Step) -> Step:
    """Give the sums that a function is applied to, or that are divided, names of their own: their gradients are computed once.

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
            case Apply(function, arguments) if function == "div" or (len(arguments) == 1 and function != "neg"):
                return Apply(function, tuple(name_sum(argument, span, bound) for argument in arguments))
            case Apply(function, arguments):
                return Apply(function, tuple(take(argument, span, bound) for argument in arguments))
            case _:
                assert_never(value)

    def name_sum(value: Value, span: Span, bound: frozenset[str]) -> Value:
        taken = take(value, span, bound)
        return named(taken, span) if _is_sum(value) and not bound & set(free_indices(value)) else taken

    def named(value: Value, span: Span) -> Read:
        if value not in names:
            names[value] = Read(f"in.{len(names)}", free_indices(value))
            body.append(Assign(names[value].name, names[value].indices, value, span))
        return names[value]

    for equation in step.body:
        match equation:
            case Assign(value=value, span=span):
                body.append(replace(equation, value=take(value, span, frozenset())))
            case Update(decay=decay, drive=drive, span=span):
                decay, drive = take(decay, span, frozenset()), take(drive, span, frozenset())
                body.append(replace(equation, decay=decay, drive=drive))
            case _:
                assert_never(equation)
    return replace(step, body=_without_gradients(body, {read.name for read in names.values()}))


def _without_gradients(body: list[Assign | Update], helpers: set[str]) -> tuple[Assign | Update, ...]:
    """The equations, those helpers constant that only scales read."""
    differentiated: set[str] = set()
    kept: list[Assign | Update] = []
    for equation in reversed(body):
        constant = equation.constant or (equation.name in helpers and equation.name not in differentiated)
        if not constant:
            values = (equation.value,) if isinstance(equation, Assign) else (equation.decay, equation.drive)
            differentiated |= frozenset().union(*map(reads, values))
        kept.append(replace(equation, constant=constant))
    return tuple(reversed(kept))


def _is_sum(value: Value) -> bool:
    return isinstance(value, Total) or (isinstance(value, Apply) and value.function in ("add", "sub"))


def _read_in_exponents(step: Step) -> set[str]:
    """The names that are read inside an exponential, or in the equation of such a name."""
    found: set[str] = set()

    def look(value: Value, exponent: bool) -> None:
        match value:
            case Read(name) if exponent:
                found.add(name)
            case Apply(function, arguments):
                for argument in arguments:
                    look(argument, exponent or function == "exp")
            case Total(_, body):
                look(body, exponent)

    for equation in reversed(step.body):
        values = (equation.value,) if isinstance(equation, Assign) else (equation.decay, equation.drive)
        for value in values:
            look(value, isinstance(equation, Assign) and equation.name in found)
    return found


def _bounded(value: Value, exponent: bool) -> Value:
    """`value` with every exponential in it at most `LARGEST` that is read inside another; `exponent`: all of it is."""
    match value:
        case Apply("exp", (argument,)):
            made = Apply("exp", (_bounded(argument, True),))
            return Apply("min", (made, LARGEST)) if exponent else made
        case Apply(function, arguments):
            return Apply(function, tuple(_bounded(argument, exponent) for argument in arguments))
        case Total(index, body):
            return Total(index, _bounded(body, exponent))
        case _:
            return value


class _Hoister:
    """`names` has what each value of parameters alone is called, `rates` those that are read inside an exponential."""

    def __init__(self, parameters: set[str]) -> None:
        self.parameters = parameters
        self.names: dict[Value, Read] = {}
        self.spans: dict[Value, Span] = {}
        self.rates: set[Value] = set()
        self.known: dict[str, tuple[tuple[str, ...], Value]] = {}

    def is_fixed(self, value: Value) -> bool:
        return bool(reads(value)) and reads(value) <= self.parameters | {read.name for read in self.names.values()}

    def define(self, equation: Assign, value: Value) -> None:
        """Later equations read what a temporary of parameters alone stands for."""
        if self.is_fixed(value) and not equation.constant:
            self.known[equation.name] = equation.indices, value

    def prologue(self) -> tuple[Assign, ...]:
        return tuple(
            Assign(read.name, read.indices, _bounded(value, value in self.rates), self.spans[value])
            for value, read in self.names.items()
        )

    def take(self, value: Value, span: Span, exponent: bool = False) -> Value:
        """`exponent`: what is made of the value is read inside an exponential."""
        return self.taken(self.resolved(value), span, exponent)

    def resolved(self, value: Value) -> Value:
        match value:
            case Read(name, indices) if name in self.known:
                declared, stands_for = self.known[name]
                return rename_indices(stands_for, dict(zip(declared, indices, strict=True)))
            case Apply(function, arguments):
                return Apply(function, tuple(self.resolved(argument) for argument in arguments))
            case Total(index, body):
                return Total(index, self.resolved(body))
            case _:
                return value

    def taken(self, value: Value, span: Span, exponent: bool) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Apply() | Total() if self.is_fixed(value):
                if exponent:
                    self.rates.add(value)
                return self.named(value, span)
            case Apply(function, arguments):
                inside = exponent or function == "exp"
                return Apply(function, tuple(self.taken(argument, span, inside) for argument in arguments))
            case Total(index, body):
                return Total(index, self.taken(body, span, exponent))
            case _:
                assert_never(value)

    def named(self, value: Value, span: Span) -> Read:
        if value not in self.names:
            self.names[value] = Read(f"fixed.{len(self.names)}", free_indices(value))
            self.spans[value] = span
        return self.names[value]
