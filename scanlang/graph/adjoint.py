"""The adjoint of a step, derived by reverse-mode differentiation of its equations. Nobody writes a gradient.

Before:   dt = softplus(b + low)      h[n] = a[n] * h'[n] + u[n]      y = sum(n: C[n] * h[n])
After:    ∂h[n] = carry.h[n] + ∂y * C[n]        ∂dt = …               carry.h[n] ← a[n] * ∂h[n]

It does not decide what is kept and what is computed again: that is a schedule's business.
"""

from __future__ import annotations

from collections import defaultdict
from typing import assert_never

from scanlang.graph.factor import factor
from scanlang.graph.step import AdjointStep, Assign, Step, Update, carry_of, gradient_of, total_of
from scanlang.graph.values import (
    DERIVATIVES,
    ZERO,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    add,
    multiply,
    negate,
    rename_indices,
    where,
)


class _Cotangents:
    """Sums of contributions, by the name they belong to, over that name's declared indices; `previous` has those that belong
    to the value a state had before the step."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.sums: dict[str, Value] = defaultdict(lambda: ZERO)
        self.previous: dict[str, Value] = defaultdict(lambda: ZERO)
        self.constant = {operand.name for operand in step.operands if operand.constant}

    def push(self, value: Value, cotangent: Value, free: tuple[str, ...]) -> None:
        """Send `cotangent`, the gradient of `value`, on to what `value` reads; `free` are the indices in scope."""
        if cotangent == ZERO:
            return
        match value:
            case Constant() | IndexValue():
                return
            case Read(name, indices):
                if name not in self.constant:
                    self.sums[name] = add(self.sums[name], self.summed(cotangent, name, indices, free))
            case Previous(name, indices):
                self.previous[name] = add(self.previous[name], self.summed(cotangent, name, indices, free))
            case Total(index, body):
                self.push(body, cotangent, (*free, index))
            case Apply("where", (condition, then, otherwise)):
                self.push(then, where(condition, cotangent, ZERO), free)
                self.push(otherwise, where(condition, ZERO, cotangent), free)
            case Apply(function, arguments):
                if function not in DERIVATIVES:
                    return  # comparisons are flat
                for argument, slope in zip(arguments, DERIVATIVES[function](arguments, value), strict=True):
                    self.push(argument, _scaled(cotangent, slope), free)
            case _:
                assert_never(value)

    def summed(self, cotangent: Value, name: str, indices: tuple[str, ...], free: tuple[str, ...]) -> Value:
        """`cotangent` of `name[indices]`, summed over the other indices in scope, over the declared indices of `name`."""
        for index in free:
            if index not in indices:
                cotangent = Total(index, cotangent)
        return rename_indices(cotangent, dict(zip(indices, self.step.indices_of(name), strict=True)))


def _scaled(cotangent: Value, slope: Value) -> Value:
    if slope == Constant(-1.0):
        return negate(cotangent)
    return multiply(cotangent, slope)


def adjoint(step: Step) -> AdjointStep:
    """Derive the backward of a step."""
    cotangents = _Cotangents(step)
    readout_gradient = gradient_of(step.readout)
    readout_indices = step.indices_of(step.readout)
    body: list[Assign] = []
    carries: dict[str, Value] = {}
    for equation in reversed(step.body):
        gradient = Read(gradient_of(equation.name), equation.indices)
        total = cotangents.sums.pop(equation.name, ZERO)
        match equation:
            case Assign(name, indices, value, span):
                if name == step.readout:
                    total = add(Read(readout_gradient + ".out", readout_indices), total)
                if total == ZERO:
                    continue
                body.append(Assign(gradient.name, indices, factor(total), span))
                cotangents.push(value, gradient, indices)
            case Update(name, indices, decay, drive, span):
                total = add(Read(carry_of(name), indices), total)
                if name == step.readout:
                    total = add(Read(readout_gradient + ".out", readout_indices), total)
                body.append(Assign(gradient.name, indices, factor(total), span))
                cotangents.push(decay, multiply(gradient, Previous(name, indices)), indices)
                cotangents.push(drive, gradient, indices)
                carries[name] = multiply(decay, gradient)
            case _:
                assert_never(equation)
    carries = {name: factor(add(value, cotangents.previous[name])) for name, value in carries.items()}
    gradients = {name: factor(value) for name, value in cotangents.sums.items()}
    epilogue, parameters = _prologue_adjoint(step, gradients)
    return AdjointStep(step, readout_gradient + ".out", tuple(body), carries, gradients, epilogue, parameters)


def _prologue_adjoint(step: Step, per_step: dict[str, Value]) -> tuple[tuple[Assign, ...], dict[str, Value]]:
    """From the accumulated totals of what the steps read to the gradients of the parameters."""
    fixed = {equation.name for equation in step.prologue} | {o.name for o in step.operands if o.kind == "param"}
    cotangents = _Cotangents(step)
    for name in per_step:
        if name in fixed:
            cotangents.sums[name] = Read(total_of(name), step.indices_of(name))
    epilogue: list[Assign] = []
    for equation in reversed(step.prologue):
        total = cotangents.sums.pop(equation.name, ZERO)
        if total == ZERO:
            continue
        gradient = Read(gradient_of(equation.name), equation.indices)
        epilogue.append(Assign(gradient.name, equation.indices, total, equation.span))
        cotangents.push(equation.value, gradient, equation.indices)
    return tuple(epilogue), dict(cotangents.sums)
