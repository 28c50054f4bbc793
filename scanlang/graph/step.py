"""One step of a recurrence and its adjoint, as equations between values. Comes from a checked recurrence; knows no order,
no merge, no device.

    prologue   what depends on parameters alone; computed once
    body       the equations of a step, in order; an `Update` advances a state
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scanlang.check.program import HEAD, Per
from scanlang.graph.values import ZERO, Apply, Total, Value, reads, show
from scanlang.source import Span


@dataclass(frozen=True)
class Operand:
    """An array the recurrence takes: `kind` says where it lives, `indices` its last dimensions; one that is
    `constant` has no gradient.

    `per` says how far one value reaches (`check/program.py`); of an input `channel` or `unit`, of a shared one `group` (of
    `units` units, a number or the label of a size) or `all`, of a parameter `channel`, `unit` or (without channels) `all`.
    """

    name: str
    kind: Literal["input", "shared", "param"]
    indices: tuple[str, ...]
    span: Span = field(compare=False, repr=False)
    constant: bool = False
    per: Per = "channel"
    units: int | str = 1

    def channels(self, sizes: Mapping[str, int]) -> int:
        """How many consecutive channels have the same value, 0 for all of them; `sizes` by label."""
        match self.per:
            case "channel":
                return 1
            case "unit":
                return sizes.get(HEAD, 1)
            case "group":
                return sizes.get(HEAD, 1) * (sizes[self.units] if isinstance(self.units, str) else self.units)
            case _:
                return 0


@dataclass(frozen=True)
class Assign:
    """`dt = softplus(…)`. What is `constant` (a scale) has no gradient."""

    name: str
    indices: tuple[str, ...]
    value: Value
    span: Span = field(compare=False, repr=False)
    constant: bool = False

    def __str__(self) -> str:
        return f"{named(self.name, self.indices)} = {show(self.value)}"


@dataclass(frozen=True)
class Update:
    """`h[n] = decay * h'[n] + drive`, from `start` on.

    What is `constant` (a running scale) has no gradient; its drive may read its own old value in any way. `per` is what it has
    one value for: every channel computes the state of its unit.
    """

    name: str
    indices: tuple[str, ...]
    decay: Value
    drive: Value
    span: Span = field(compare=False, repr=False)
    start: float = 0.0
    constant: bool = False
    per: Literal["channel", "unit"] = "channel"

    def __str__(self) -> str:
        if self.decay == ZERO:
            return f"{named(self.name, self.indices)} = {show(self.drive)}"
        state = named(self.name + "'", self.indices)
        return f"{named(self.name, self.indices)} = {show(self.decay, 2)} * {state} + {show(self.drive, 1)}"


@dataclass(frozen=True)
class Step:
    """`sizes` maps an index to the label of its size (`n` → `state`); with `head` a unit is a head of consecutive channels."""

    recurrence: str
    sizes: dict[str, str]
    operands: tuple[Operand, ...]
    prologue: tuple[Assign, ...]
    body: tuple[Assign | Update, ...]
    readout: str
    head: bool = False

    @property
    def states(self) -> tuple[Update, ...]:
        return tuple(equation for equation in self.body if isinstance(equation, Update))

    def indices_of(self, name: str) -> tuple[str, ...]:
        """The declared indices of an operand, a prologue value, a temporary or a state."""
        for item in (*self.operands, *self.prologue, *self.body):
            if item.name == name:
                return item.indices
        raise KeyError(name)


@dataclass(frozen=True)
class AdjointStep:
    """The adjoint of a step, walked from the last step to the first. What is constant has no gradient and no carry.

    `cotangent` names the gradient of the readout. `carries` maps a state to the value handed to the step before:
    `decay * d_state`, which that step reads as `carry.<state>`. `gradients` maps an input or shared operand, or an
    accumulated name (a parameter, or a value of the prologue), to its contribution of this step. `epilogue` takes the
    accumulated `total.<name>` back through the prologue to the gradients of the parameters (`parameters`).
    """

    step: Step
    cotangent: str
    body: tuple[Assign, ...]
    carries: dict[str, Value]
    gradients: dict[str, Value]
    epilogue: tuple[Assign, ...]
    parameters: dict[str, Value]


def operations(step: Step, extents: Mapping[str, int]) -> int:
    """How many operations a step takes when every index is written out."""

    def count(value: Value) -> int:
        match value:
            case Apply(_, arguments):
                return 1 + sum(count(argument) for argument in arguments)
            case Total(index, body):
                return extents[index] * (1 + count(body))
            case _:
                return 0

    total = 0
    for equation in (*step.prologue, *step.body):
        values = (equation.decay, equation.drive) if isinstance(equation, Update) else (equation.value,)
        total += math.prod(extents[i] for i in equation.indices) * (1 + sum(count(value) for value in values))
    return total


def is_diagonal(step: Step) -> bool:
    """Whether every state is its own old value times a decay, and something, neither of which any state decides."""
    states = {update.name for update in step.states}
    decided = set(states)
    for equation in step.body:
        values = (equation.decay, equation.drive) if isinstance(equation, Update) else (equation.value,)
        read = frozenset[str]().union(*map(reads, values))
        if isinstance(equation, Update):
            if equation.constant or read & decided:
                return False
        elif read & decided:
            decided.add(equation.name)
    return bool(states)


def named(name: str, indices: tuple[str, ...]) -> str:
    return name + (f"[{', '.join(indices)}]" if indices else "")


LOWEST = -1e30
"""Where a running log-scale starts: -∞, but for the difference of two of them."""


def carry_of(state: str) -> str:
    """The name under which a step reads the state adjoint that the step after it handed on."""
    return f"carry.{state}"


def total_of(name: str) -> str:
    """The name of the sum over all steps of a gradient."""
    return f"total.{name}"


def gradient_of(name: str) -> str:
    return f"∂{name}"
