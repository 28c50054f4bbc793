"""Rewrites of a step: what a scan says around its recurrence, as equations of the recurrence. In: a step; out: a step.

What they add has a dot in its name, so it meets no name of a program; parameters are called as the caller knows them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from scanlang.graph.step import Assign, Operand, Step, Update
from scanlang.graph.values import ZERO, Apply, Constant, IndexValue, Previous, Read, Total, Value, add, multiply, where
from scanlang.source import Span

RESTART = "restart."
MERGE_WEIGHT = "merge_weight"
CONV_BIAS = "conv_bias"
WEIGHTED = ".weighted"


def conv_weight(tap: int) -> str:
    """The parameter of one tap: entry `tap` of `conv_weight`; the last tap meets the present."""
    return f"conv_weight.{tap}"


def conv_state(age: int) -> str:
    """The state that holds the input of so many steps ago, as seen by the next step."""
    return f"conv.{age}"


def convolved(name: str) -> str:
    """What the recurrence reads in place of an input that is convolved."""
    return f"{name}.conv"


def conv_parameters(width: int) -> tuple[str, ...]:
    return (*(conv_weight(tap) for tap in range(width)), CONV_BIAS)


def convolve(step: Step, source: str, width: int) -> Step:
    """Convolve an input in the time of the step: the last inputs are states, handed on from one to the next.

    Before:  h = … x …                                                                       (conv 3)
    After:   conv.0 = conv_bias + conv_weight.2 * x + conv_weight.1 * conv.1' + conv_weight.0 * conv.2'
             x.conv = silu(conv.0)      conv.1 = x      conv.2 = conv.1'      h = … x.conv …
    """
    span = next(operand.span for operand in step.operands if operand.name == source)
    body = [*conv_equations(source, width, span), *_with_read(step, source, convolved(source)).body]
    parameters = tuple(Operand(name, "param", (), span) for name in conv_parameters(width))
    return replace(step, operands=(*step.operands, *parameters), body=tuple(body))


def conv_step(source: str, width: int, span: Span) -> Step:
    """A recurrence that does nothing but convolve its input."""
    parameters = tuple(Operand(name, "param", (), span) for name in conv_parameters(width))
    operands = (Operand(source, "input", (), span), *parameters)
    return Step("conv", {}, operands, (), tuple(conv_equations(source, width, span)), convolved(source))


def conv_equations(source: str, width: int, span: Span) -> list[Assign | Update]:
    """`x.conv` from `x` and the states of the convolution, and their updates."""
    past: list[Value] = [Read(source), *(Previous(conv_state(age)) for age in range(1, width))]
    terms = [multiply(Read(conv_weight(width - 1 - age)), value) for age, value in enumerate(past)]
    total: Value = Read(CONV_BIAS)
    for term in terms:
        total = add(total, term)
    made = [Assign(conv_state(0), (), total, span)]
    made.append(Assign(convolved(source), (), Apply("silu", (Read(conv_state(0)),)), span))
    return [*made, *(Update(conv_state(age), (), ZERO, past[age - 1], span) for age in range(1, width))]


def read_convolved(step: Step, source: str) -> Step:
    """The step over an input that was convolved before: `x.conv` in place of `x`."""
    operands = tuple(replace(o, name=convolved(source)) if o.name == source else o for o in step.operands)
    return replace(_with_read(step, source, convolved(source)), operands=operands)


def restart(step: Step) -> Step:
    """Let states start anew where the operand `restart.` says so: at 0, or where else they start.

    Before:  h[n] = a * h'[n] + b
    After:   h[n] = where(restart. > 0.5, 0, a) * h'[n] + b        (and so for `h'` in any other equation)
    """
    begins = Apply("gt", (Read(RESTART), Constant(0.5)))
    starts = {state.name: Constant(state.start) for state in step.states}

    def fresh(value: Value) -> Value:
        return _mapped(value, lambda leaf: where(begins, starts[leaf.name], leaf) if isinstance(leaf, Previous) else leaf)

    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign():
                body.append(replace(equation, value=fresh(equation.value)))
            case Update():
                decay, drive = fresh(equation.decay), fresh(equation.drive)
                begun = where(begins, multiply(decay, starts[equation.name]), ZERO)
                body.append(replace(equation, decay=where(begins, ZERO, decay), drive=add(begun, drive)))
            case _:
                assert_never(equation)
    operand = Operand(RESTART, "shared", (), step.body[0].span, constant=True, per="all")
    return replace(step, operands=(*step.operands, operand), body=tuple(body))


def weigh(step: Step) -> Step:
    """Multiply the readout by the parameter `merge_weight`.

    Before:  y = …
    After:   y = …      y.weighted = y * merge_weight
    """
    span, readout = step.body[-1].span, step.readout + WEIGHTED
    weighted = Assign(readout, (), multiply(Read(step.readout), Read(MERGE_WEIGHT)), span)
    operand = Operand(MERGE_WEIGHT, "param", (), span, per="all")
    return replace(step, operands=(*step.operands, operand), body=(*step.body, weighted), readout=readout)


def is_weighted(step: Step) -> bool:
    """Whether `merge_weight` is the weight of the merge: a parameter of a recurrence may be called so too."""
    return step.readout.endswith(WEIGHTED)


def _with_read(step: Step, name: str, instead: str) -> Step:
    """The step with another value in place of the operand `name`."""

    def renamed(leaf: Value) -> Value:
        return replace(leaf, name=instead) if isinstance(leaf, Read) and leaf.name == name else leaf

    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign():
                body.append(replace(equation, value=_mapped(equation.value, renamed)))
            case Update():
                decay, drive = _mapped(equation.decay, renamed), _mapped(equation.drive, renamed)
                body.append(replace(equation, decay=decay, drive=drive))
            case _:
                assert_never(equation)
    return replace(step, body=tuple(body))


def _mapped(value: Value, leaf: Callable[[Value], Value]) -> Value:
    """`value` with each of its leaves replaced."""
    match value:
        case Constant() | IndexValue() | Read() | Previous():
            return leaf(value)
        case Apply(function, arguments):
            return Apply(function, tuple(_mapped(argument, leaf) for argument in arguments))
        case Total(index, body):
            return Total(index, _mapped(body, leaf))
        case _:
            assert_never(value)
