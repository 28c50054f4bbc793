"""The steps of a recurrence one after the other, straight from its equations; gradients are left to autograd.

In: the sequences and parameters of every direction, and what the states were before the first step. Out: the outputs, and the
states after the last step. A value is a tensor `(K, B, C, one dimension per index of the recurrence)`, 1 where it does not
depend: every channel has that of its unit. `prev(e)` is what `e` was at the step before, looked up in the values of that step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scanlang.check.program import CheckedRecurrence, Scale, StateUpdate
from scanlang.syntax.nodes import Binary, Call, Expr, Name, Negative, Sum
from scanlang.testing.reference_values import LEADING, evaluate

BEFORE_ALL = -1e30
"""What a running log-scale is before the first step."""


@dataclass(frozen=True)
class State:
    """What a step hands on to the next: a scale, or of `prev(…)` of an expression the `value` of that."""

    indices: tuple[str, ...]
    per_unit: bool
    is_scale: bool = False
    value: Expr | None = None


def states_of(recurrence: CheckedRecurrence) -> dict[str, State]:
    """The states of a recurrence by name: those it names, its running scales, and `prev.0` … of what it asks back for."""
    found, units = dict[str, State](), _units(recurrence)
    for equation in recurrence.equations:
        if isinstance(equation, StateUpdate):
            found[equation.name] = State(equation.indices, equation.per == "unit")
        elif isinstance(equation, Scale) and equation.running:
            found[equation.name] = State(equation.indices, equation.per == "unit", is_scale=True)
    kept: dict[Expr, None] = {}
    for expr in expressions(recurrence):
        kept |= dict.fromkeys(e for e in asked_back(expr) if not (isinstance(e, Name) and e.name in found))
    for number, value in enumerate(kept):
        read = names_in(value)
        indices = tuple(dict.fromkeys(index for index in _free(value, recurrence)))
        found[f"prev.{number}"] = State(indices, all(units.get(name, True) for name in read), value=value)
    return found


def expressions(recurrence: CheckedRecurrence) -> list[Expr]:
    """All expressions of the equations, in order."""
    found: list[Expr] = []
    for equation in recurrence.equations:
        found += [equation.decay, equation.drive] if isinstance(equation, StateUpdate) else [equation.value]
    return found


def _parts(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Negative(operand):
            return (operand,)
        case Binary(_, left, right):
            return left, right
        case Call(_, arguments):
            return arguments
        case Sum(_, body):
            return (body,)
        case _:
            return ()


def asked_back(expr: Expr) -> list[Expr]:
    """The `e` of every `prev(e)`, from the inside out."""
    found = [inner for part in _parts(expr) for inner in asked_back(part)]
    return [*found, expr.arguments[0]] if isinstance(expr, Call) and expr.function == "prev" else found


def names_in(expr: Expr) -> set[str]:
    return {expr.name} if isinstance(expr, Name) else {name for part in _parts(expr) for name in names_in(part)}


def _free(expr: Expr, recurrence: CheckedRecurrence) -> list[str]:
    """The indices that a value depends on, in the order of first use."""
    if isinstance(expr, Name):
        return [index.name for index in expr.indices if isinstance(index, Name) and index.name in recurrence.indices]
    found = [index for part in _parts(expr) for index in _free(part, recurrence)]
    return [index for index in found if index != expr.index] if isinstance(expr, Sum) else found


def _units(recurrence: CheckedRecurrence) -> dict[str, bool]:
    """Whether a name has one value for a whole unit."""
    return {one.name: one.per != "channel" for one in (*recurrence.operands, *recurrence.equations)}


@dataclass
class Steps:
    """One run. `shape` is `(K, B, C)`; `lengths` says how many steps each direction has, `restarts` `(K, J)` where it starts
    anew.

    `entry` has what states were before the first step; others are at their starts. `values` grows by the values of a step.
    """

    recurrence: CheckedRecurrence
    sizes: Mapping[str, int]
    shape: tuple[int, int, int]
    lengths: tuple[int, ...]
    restarts: Tensor
    fixed: Mapping[str, Tensor]
    streams: Mapping[str, tuple[Tensor, ...]]
    entry: Mapping[str, Tensor]
    values: list[dict[str, Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.indices = tuple(self.recurrence.indices)
        self.states = states_of(self.recurrence)
        self.kept = {state.value: name for name, state in self.states.items() if state.value is not None}

    def run(self) -> tuple[list[Tensor], dict[str, Tensor]]:
        """The output of every step, and the states after each direction's last one, over all that they might depend on."""
        last = {name: self.before(0, name) for name in self.states}
        for t in range(self.restarts.shape[1]):
            self.step(t)
            now = torch.tensor([t < length for length in self.lengths], device=self.restarts.device)
            for name, state in self.states.items():
                value = self.values[t][name] if state.value is None else self.value_of(state.value, t)
                last[name] = torch.where(self.over(now), value, last[name])
        outputs = [values[self.recurrence.readout] for values in self.values]
        return [value.reshape(value.shape[:LEADING]).expand(self.shape) for value in outputs], last

    def step(self, t: int) -> None:
        old = {name: self.before(t, name) for name, state in self.states.items() if state.value is None}
        values = {**self.fixed, **{name: stream[t] for name, stream in self.streams.items()}, **old}
        self.values.append(values)
        for equation in self.recurrence.equations:
            match equation:
                case StateUpdate(name):
                    kept = self.value_of(equation.decay, t) * old[name]
                    values[name] = kept + self.value_of(equation.drive, t)
                case Scale(name):
                    values[name] = self.value_of(equation.value, t).detach()
                case _:
                    values[equation.name] = self.value_of(equation.value, t)

    def value_of(self, expr: Expr, t: int) -> Tensor:
        return evaluate(expr, self.values[t], self.indices, self.sizes, lambda inner: self.previous(inner, t))

    def previous(self, expr: Expr, t: int) -> Tensor:
        """`prev(expr)` at step t."""
        is_state = isinstance(expr, Name) and expr.name in self.states
        return self.before(t, expr.name if is_state else self.kept[expr])  # type: ignore[union-attr]

    def before(self, t: int, name: str) -> Tensor:
        """What a state is before step t."""
        state = self.states[name]
        number, shape = BEFORE_ALL if state.is_scale else 0.0, (1,) * (LEADING + len(self.indices))
        start = torch.full(shape, number, dtype=torch.float64, device=self.restarts.device)
        if t == 0:
            return self.entry.get(name, start)
        value = self.values[t - 1][name] if state.value is None else self.value_of(state.value, t - 1)
        anew = self.restarts[:, t]
        return torch.where(self.over(anew), start, value) if anew.any() else value

    def over(self, directions: Tensor) -> Tensor:
        """`(K)`, over the dimensions of a value."""
        return directions.reshape(-1, *(1,) * (LEADING - 1 + len(self.indices)))
