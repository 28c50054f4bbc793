"""The adjoint of a step, derived by reverse-mode differentiation of its equations. Nobody writes a gradient.

Before:   dt = softplus(b + low)      h[n] = a[n] * h'[n] + u[n]      y = sum(n: C[n] * h[n])
After:    ∂h[n] = carry.h[n] + ∂y * C[n]        ∂dt = …               carry.h[n] ← a[n] * ∂h[n]

What is constant (a scale) has no gradient: it is left out, as is all that would flow through it. The adjoint does not decide
what is kept and what is computed again: that is a schedule's business.
"""

from __future__ import annotations

from collections import defaultdict
from typing import assert_never

from scanlang.graph.factor import factor
from scanlang.graph.simplify import tidy
from scanlang.graph.step import AdjointStep, Assign, Step, Update, carry_of, gradient_of, total_of
from scanlang.graph.values import (
    DERIVATIVES,
    LARGEST,
    ONE,
    ZERO,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    add,
    applies,
    divide,
    free_indices,
    multiply,
    negate,
    reads,
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
        self.constant = {named.name for named in (*step.operands, *step.body) if named.constant}
        self.given = {operand.name for operand in step.operands if operand.constant}
        self.fixed = {operand.name for operand in step.operands if operand.kind == "param"} | {e.name for e in step.prologue}
        self.exponents: set[str] = set()
        """Names that are read inside an exponential."""

    def push(
        self,
        value: Value,
        cotangent: Value,
        free: tuple[str, ...],
        guards: tuple[Guard, ...] = (),
        exponent: bool = False,
    ) -> None:
        """Send `cotangent`, the gradient of `value`, on to what `value` reads; `free` are the indices in scope.

        `guards` are the branches that `value` stands in: what arrives from one that is not taken is zero, whatever was made of
        it. `exponent` says that `value` stands inside an exponential.
        """
        if cotangent == ZERO:
            return
        match value:
            case Constant() | IndexValue():
                return
            case Read(name, indices):
                if exponent:
                    self.exponents.add(name)
                if name not in self.constant:
                    arrived = self.summed(_guarded(cotangent, guards), name, indices, free)
                    self.sums[name] = add(self.sums[name], arrived)
            case Previous(name, indices):
                if name not in self.constant:
                    arrived = self.summed(_guarded(cotangent, guards), name, indices, free)
                    self.previous[name] = add(self.previous[name], arrived)
            case Total(index, body):
                self.push(body, cotangent, (*free, index), guards, exponent)
            case Apply("where", (condition, then, otherwise)):
                for branch, taken in ((then, True), (otherwise, False)):
                    guard = condition, taken
                    if applies(branch, STEEP) and not reads(condition) <= self.given:
                        self.push(branch, cotangent, free, (*guards, guard), exponent)
                    else:
                        self.push(branch, _guarded(cotangent, (guard,)), free, guards, exponent)
            case Apply("exp", (argument,)) if exponent:
                self.push(argument, _of_vanished(cotangent, value), free, guards, exponent)
            case Apply("min", (Apply("exp", (argument,)), bound)) if bound == LARGEST:
                self.push(argument, multiply(cotangent, value), free, guards, exponent)
            case Apply(function, arguments):
                if function not in DERIVATIVES:
                    return  # comparisons are flat
                for argument, slope in zip(arguments, DERIVATIVES[function](arguments, value), strict=True):
                    self.push(argument, self.scaled(cotangent, slope), free, guards, exponent or function == "exp")
            case _:
                assert_never(value)

    def summed(self, cotangent: Value, name: str, indices: tuple[str, ...], free: tuple[str, ...]) -> Value:
        """`cotangent` of `name[indices]`, summed over the other indices in scope, over the declared indices of `name`."""
        for index in free:
            if index not in indices:
                cotangent = Total(index, cotangent)
        return rename_indices(cotangent, dict(zip(indices, self.step.indices_of(name), strict=True)))

    def scaled(self, cotangent: Value, slope: Value) -> Value:
        """`cotangent * slope`, with one division for all that is divided by the same."""
        match slope:
            case Constant(-1.0):
                return negate(cotangent)
            case Apply("neg", (operand,)):
                return negate(self.scaled(cotangent, operand))
            case Apply("div", (above, below)):
                once = reads(below) <= self.fixed or not set(free_indices(cotangent)) <= set(free_indices(below))
                return multiply(multiply(cotangent, divide(ONE, below)) if once else divide(cotangent, below), above)
            case _:
                return multiply(cotangent, slope)


Guard = tuple[Value, bool]
"""A condition, and which side of it a branch stands for."""

STEEP = frozenset(("div", "exp", "expm1", "log", "log1p", "sqrt"))
"""Functions that may have no finite slope where they are not wanted: at log(0), in the branch of a `where` not taken."""


def _guarded(cotangent: Value, guards: tuple[Guard, ...]) -> Value:
    for condition, taken in reversed(guards):
        cotangent = where(condition, cotangent, ZERO) if taken else where(condition, ZERO, cotangent)
    return cotangent


def _of_vanished(cotangent: Value, slope: Value) -> Value:
    """`cotangent * slope`, zero where the cotangent is: exp(-exp(a)) has vanished long before exp(a) is infinite."""
    return where(Apply("eq", (cotangent, ZERO)), ZERO, multiply(cotangent, slope))


def settled(value: Value) -> Value:
    """A derived value as one writes it."""
    return tidy(factor(tidy(value)))


def adjoint(step: Step) -> AdjointStep:
    """Derive the backward of a step."""
    cotangents = _Cotangents(step)
    readout_gradient = gradient_of(step.readout)
    readout_indices = step.indices_of(step.readout)
    body: list[Assign] = []
    carries: dict[str, Value] = {}
    for equation in reversed(step.body):
        if equation.constant:
            continue
        gradient = Read(gradient_of(equation.name), equation.indices)
        total = cotangents.sums.pop(equation.name, ZERO)
        match equation:
            case Assign(name, indices, value, span):
                if name == step.readout:
                    total = add(Read(readout_gradient + ".out", readout_indices), total)
                if total == ZERO:
                    continue
                body.append(Assign(gradient.name, indices, settled(total), span))
                cotangents.push(value, gradient, indices, exponent=name in cotangents.exponents)
            case Update(name, indices, decay, drive, span):
                total = add(Read(carry_of(name), indices), total)
                if name == step.readout:
                    total = add(Read(readout_gradient + ".out", readout_indices), total)
                body.append(Assign(gradient.name, indices, settled(total), span))
                cotangents.push(decay, multiply(gradient, Previous(name, indices)), indices)
                cotangents.push(drive, gradient, indices)
                carries[name] = multiply(decay, gradient)
            case _:
                assert_never(equation)
    carries = {name: settled(add(value, cotangents.previous[name])) for name, value in carries.items()}
    gradients = {name: settled(value) for name, value in cotangents.sums.items()}
    epilogue, parameters = _prologue_adjoint(step, gradients)
    return AdjointStep(step, readout_gradient + ".out", tuple(body), carries, gradients, epilogue, parameters)


def _prologue_adjoint(step: Step, per_step: dict[str, Value]) -> tuple[tuple[Assign, ...], dict[str, Value]]:
    """From the accumulated totals of what the steps read to the gradients of the parameters."""
    fixed = {equation.name for equation in step.prologue} | {o.name for o in step.operands if o.kind == "param"}
    cotangents = _Cotangents(step)
    cotangents.fixed = set()
    for name in per_step:
        if name in fixed:
            cotangents.sums[name] = Read(total_of(name), step.indices_of(name))
    epilogue: list[Assign] = []
    for equation in reversed(step.prologue):
        total = cotangents.sums.pop(equation.name, ZERO)
        if total == ZERO:
            continue
        gradient = Read(gradient_of(equation.name), equation.indices)
        epilogue.append(Assign(gradient.name, equation.indices, tidy(total), equation.span))
        cotangents.push(equation.value, gradient, equation.indices)
    return tuple(epilogue), {name: tidy(value) for name, value in cotangents.sums.items()}
