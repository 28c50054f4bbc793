"""Recognise a matrix-state recurrence in a step, and split it into what tensor cores compute and what is pointwise.

    Before:  d = softplus(dt + bias)                            After:  d = softplus(dt + bias)
             S[n] = exp(-exp(A) * d) * S'[n] + d * B[n] * x             core.log_decay = -exp(A) * d      core.weight = d
             y = sum(n: C[n] * S[n]) + D * x                            core.key[n] = B[n]                core.value = x
                                                                        core.query[n] = C[n]
                                                                        y = core.read + D * x

where the core is

    S[n, p] = exp(core.log_decay) * S'[n, p] + core.weight * core.key[n] * core.value[p]
    core.read[p] = sum(n: core.query[n] * S[n, p])                      (of S', if the form is `exclusive`)

A decay that may be negative has the logarithm of its size there, and its sign as `core.sign`. A second state whose drive has
`core.mass` in place of `core.value` (one number for all channels: a normaliser) is part of it: its readout is `core.sum`. In
the pointwise step the channel is an index like any other (`CHANNEL`), so that its adjoint says what is summed over channels.

In: a step; out: its form, or None where it has none.

It looks at the structure of the equations only; it does not decide whether the form is worth having.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from scanlang.graph.adjoint import adjoint
from scanlang.graph.factor import factor
from scanlang.graph.step import AdjointStep, Assign, Operand, Step, Update, gradient_of
from scanlang.graph.step_rewrites import RESTART
from scanlang.graph.values import (
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
    divide,
    free_indices,
    multiply,
    negate,
    reads,
    rename_indices,
    subtract,
)

CHANNEL = "channel."
"""The index of the channels, and the label of its size; no program has an index of that name."""

LOG_DECAY, SIGN, WEIGHT, KEY, QUERY, VALUE, MASS = (
    "core.log_decay", "core.sign", "core.weight", "core.key", "core.query", "core.value", "core.mass",
)  # fmt: skip
READ, SUM = "core.read", "core.sum"
OBJECTIVE = "core.objective"

SMALLEST = 1e-30
"""A decay is no smaller: a step from it forgets everything, and its logarithm is a number."""


@dataclass(frozen=True)
class MatrixForm:
    """`step` has no states: it computes what the core takes, and its readout from the operands `core.read` and `core.sum`.

    `index` is that of the state `state`; `normaliser` is the second one, if there is one; `states`: both in the step's order.
    `by_row`: the decay has the index too. `restarts`: the state starts anew where the operand `restart.` says so.
    """

    step: Step
    index: str
    state: str
    normaliser: str | None
    states: tuple[str, ...]
    exclusive: bool
    by_row: bool
    restarts: bool

    @cached_property
    def equations(self) -> dict[str, Assign]:
        """Everything the step computes, by name."""
        found = (*self.step.prologue, *self.step.body)
        return {equation.name: equation for equation in found if isinstance(equation, Assign)}

    @property
    def core(self) -> tuple[str, ...]:
        """The names of what the core takes."""
        return tuple(name for name in self.equations if name.startswith("core."))

    def definition(self, name: str) -> Assign:
        return self.equations[name]

    @property
    def signed(self) -> bool:
        """Whether a decay may be negative."""
        return SIGN in self.core

    @property
    def decays(self) -> bool:
        """Whether the decay is anything but 1."""
        return self.definition(LOG_DECAY).value != ZERO

    @cached_property
    def adjoint(self) -> AdjointStep:
        """The adjoint of everything pointwise at once: of the sum of the readout and of what the core takes, each times its
        gradient, `∂core.key.out`, an operand. It gives the gradients of the operands, `core.read` and `core.sum` among them."""
        step = self.step
        names = [*self.core, step.readout]
        total: Value = ZERO
        seeds = []
        for name in names:
            indices = step.indices_of(name)
            term = multiply(Read(name, indices), Read(seed_of(name), indices))
            for index in indices:
                term = Total(index, term)
            total = add(total, term)
            seeds.append(Operand(seed_of(name), "input", indices, step.body[0].span, constant=True))
        objective = Assign(OBJECTIVE, (), total, step.body[0].span)
        joined = replace(step, operands=(*step.operands, *seeds), body=(*step.body, objective), readout=OBJECTIVE)
        return adjoint(joined)


def seed_of(name: str) -> str:
    """The operand that holds the gradient of something that the pointwise step gives."""
    return f"{gradient_of(name)}.out"


def matrix_form(step: Step) -> MatrixForm | None:
    """The form of a step, None where it has none."""
    try:
        return _Recognition(step).form()
    except _NoFormError:
        return None


class _NoFormError(Exception):
    """The step is no matrix-state recurrence."""


def _require(condition: bool) -> None:
    if not condition:
        raise _NoFormError


@dataclass(frozen=True)
class _Outer:
    """A product sorted by what its factors depend on: neither, the index, the channel."""

    weight: Value
    row: Value
    column: Value


class _Recognition:
    def __init__(self, step: Step) -> None:
        self.step = step
        self.definitions = {
            equation.name: equation for equation in (*step.prologue, *step.body) if isinstance(equation, Assign)
        }
        self.channel_names = self._channel_names()
        self.sign: Value = ONE

    def _channel_names(self) -> set[str]:
        """The names that have a value for every channel."""
        own = {"channel"} if self.step.head else {"channel", "unit"}
        names = {o.name for o in self.step.operands if o.per in own and o.kind != "shared"}
        names |= {o.name for o in self.step.operands if o.per == "group" and not self.step.head}
        for equation in (*self.step.prologue, *self.step.body):
            values = (equation.decay, equation.drive) if isinstance(equation, Update) else (equation.value,)
            if any(reads(value) & names for value in values):
                names.add(equation.name)
        return names

    def has_channel(self, value: Value) -> bool:
        return bool(reads(value) & self.channel_names)

    def form(self) -> MatrixForm:
        step = self.step
        state, normaliser = self._states()
        (index,) = state.indices
        restarts, decay = self._decay(state)
        log_decay = factor(self._log(decay))
        _require(not self.has_channel(log_decay))
        outer = self._outer(state.drive, index)
        mass: Value = ZERO
        if normaliser is not None:
            _require(self._decay(normaliser) == (restarts, rename(decay, index, normaliser.indices[0])))
            outer, mass = self._with_mass(outer, self._outer(rename(normaliser.drive, normaliser.indices[0], index), index))
        readouts = _Readouts(self, state, normaliser, restarts)
        after = readouts.rewritten()
        _require(readouts.query is not None and self._is_row(readouts.query, index))
        given = [
            (LOG_DECAY, log_decay), (WEIGHT, outer.weight), (KEY, outer.row), (VALUE, outer.column),
            (QUERY, factor(readouts.query or ZERO)), *([(MASS, mass)] if normaliser is not None else []),
            *([(SIGN, self.sign)] if self.sign != ONE else []),
        ]  # fmt: skip
        by_row = index in free_indices(log_decay)
        has_index = {KEY, QUERY} | ({LOG_DECAY, SIGN} if by_row else set())
        span = state.span
        core = [Assign(name, (index,) if name in has_index else (), factor(value), span) for name, value in given]
        self.channel_names |= {VALUE, READ}
        before, late = _split(after)
        _require(not set().union(*(reads(equation.value) for equation in core)) & {equation.name for equation in late})
        operands = [Operand(READ, "input", (), span)] + [Operand(SUM, "input", (), span)] * (normaliser is not None)
        body = _needed([*before, *core, *late], step.readout)
        whole = replace(step, operands=(*step.operands, *operands), body=tuple(body))
        made = self._with_channels(whole)
        second = normaliser.name if normaliser is not None else None
        return MatrixForm(
            made, index, state.name, second, tuple(s.name for s in step.states), readouts.exclusive, by_row, restarts
        )

    def _states(self) -> tuple[Update, Update | None]:
        """The state of which every channel has its own, and the other one."""
        states = self.step.states
        _require(1 <= len(states) <= 2)
        _require(all(len(s.indices) == 1 and not s.constant and s.start == 0 for s in states))
        _require(self.step.readout not in {s.name for s in states})
        wide = [s for s in states if s.name in self.channel_names]
        narrow = [s for s in states if s.name not in self.channel_names]
        _require(len(wide) == 1)
        if narrow:
            sizes = {self.step.sizes[s.indices[0]] for s in states}
            _require(len(sizes) == 1)
        return wide[0], narrow[0] if narrow else None

    def _decay(self, state: Update) -> tuple[bool, Value]:
        """Whether the state starts anew at times, and its decay elsewhere."""
        match state.decay:
            case Apply("where", (condition, then, decay)) if condition == _BEGINS and then == ZERO:
                return True, decay
            case decay:
                return False, decay

    def _log(self, value: Value) -> Value:
        """The logarithm of a decay, without computing the decay where that can be avoided."""
        match self._opened(value):
            case Constant(number) if number > 0:
                return Constant(math.log(number)) if number != 1 else ZERO
            case Apply("exp", (exponent,)):
                return exponent
            case Apply("sigmoid", (x,)):
                return negate(Apply("softplus", (negate(x),)))
            case Apply("sub", (one, Read() as other)) if one == ONE and self._opened(other) != other:
                return self._log(subtract(ONE, self._opened(other)))
            case Apply("sub", (one, Apply("sigmoid", (x,)))) if one == ONE:
                return negate(Apply("softplus", (x,)))
            case Apply("mul", (left, right)):
                return add(self._log(left), self._log(right))
            case Apply("div", (left, right)):
                return subtract(self._log(left), self._log(right))
            case Apply("sqrt", (x,)):
                return multiply(Constant(0.5), self._log(x))
            case Apply("add", (left, right)) if self._is_kept_from_zero(left, right) or self._is_kept_from_zero(right, left):
                return Apply("log", (value,))
            case _:
                self.sign = multiply(self.sign, value)
                return Apply("log", (Apply("max", (Apply("abs", (value,)), Constant(SMALLEST))),))

    def _is_kept_from_zero(self, left: Value, right: Value) -> bool:
        return isinstance(left, Constant) and left.value > 0 and self._is_positive(right)

    def _is_positive(self, value: Value) -> bool:
        """At least zero, whatever the operands are."""
        match value:
            case Constant(number):
                return number >= 0
            case Apply("exp" | "sigmoid" | "softplus" | "relu" | "abs" | "sqrt", _):
                return True
            case Apply("add" | "mul" | "div", (left, right)):
                return self._is_positive(left) and self._is_positive(right)
            case Read(name, indices) if name in self.definitions:
                return self._is_positive(self._definition(name, indices))
            case _:
                return False

    def _opened(self, value: Value) -> Value:
        """A value of an equation above by its definition."""
        while isinstance(value, Read) and value.name in self.definitions:
            value = self._definition(value.name, value.indices)
        return value

    def _definition(self, name: str, indices: tuple[str, ...]) -> Value:
        equation = self.definitions[name]
        return rename_indices(equation.value, dict(zip(equation.indices, indices, strict=True)))

    def _outer(self, drive: Value, index: str) -> _Outer:
        """A drive as weight × row[index] × column[channel]."""
        parts: dict[str, Value] = {"weight": ONE, "row": ONE, "column": ONE}
        for one, divides in self._factors(drive, index):
            indexed, wide = index in free_indices(one), self.has_channel(one)
            _require(not (indexed and wide))
            part = "row" if indexed else "column" if wide else "weight"
            parts[part] = divide(parts[part], one) if divides else multiply(parts[part], one)
        return _Outer(**parts)

    def _factors(self, value: Value, index: str, divides: bool = False) -> Iterator[tuple[Value, bool]]:
        """The factors of a product, and whether each divides; values of steps above are opened where they mix both kinds."""
        match value:
            case Apply("mul", (left, right)):
                yield from self._factors(left, index, divides)
                yield from self._factors(right, index, divides)
            case Apply("div", (left, right)):
                yield from self._factors(left, index, divides)
                yield from self._factors(right, index, not divides)
            case Apply("neg", (operand,)):
                yield Constant(-1.0), divides
                yield from self._factors(operand, index, divides)
            case Read(name, indices) if name in self.definitions and index in indices and self.has_channel(value):
                yield from self._factors(self._definition(name, indices), index, divides)
            case _:
                yield value, divides

    def _with_mass(self, outer: _Outer, second: _Outer) -> tuple[_Outer, Value]:
        """The drive of both states over one weight, and the normaliser's number in place of the value."""
        _require(second.column == ONE and factor(second.row) == factor(outer.row))
        if factor(second.weight) == factor(outer.weight):
            return outer, ONE
        if outer.weight == ONE:
            return outer, second.weight
        return _Outer(ONE, outer.row, multiply(outer.weight, outer.column)), second.weight

    def _is_row(self, value: Value, index: str) -> bool:
        return not self.has_channel(value) and set(free_indices(value)) <= {index}

    def _with_channels(self, step: Step) -> Step:
        """The step with the channel as an index of what has a value for each."""

        def leaf(value: Value) -> Value:
            if isinstance(value, Read) and value.name in self.channel_names:
                return replace(value, indices=(*value.indices, CHANNEL))
            return value

        def widened(equation: Assign) -> Assign:
            indices = (*equation.indices, CHANNEL) if equation.name in self.channel_names else equation.indices
            return replace(equation, indices=indices, value=_mapped(equation.value, leaf))

        used = set().union(
            *(reads(equation.value) for equation in (*step.prologue, *step.body) if isinstance(equation, Assign))
        )
        operands = tuple(
            replace(o, indices=(*o.indices, CHANNEL)) if o.name in self.channel_names else o
            for o in step.operands
            if o.name in used
        )
        prologue = tuple(widened(equation) for equation in step.prologue)
        body = tuple(widened(equation) for equation in step.body if isinstance(equation, Assign))
        made = replace(step, sizes={**step.sizes, CHANNEL: CHANNEL}, operands=operands, prologue=prologue, body=body)
        _require(all(_is_flat(made, equation) for equation in (*prologue, *body)))
        return made


_BEGINS = Apply("gt", (Read(RESTART), Constant(0.5)))


class _Readouts:
    """Rewrites the equations that read the states, and finds the query they read them with."""

    def __init__(self, of: _Recognition, state: Update, normaliser: Update | None, restarts: bool) -> None:
        self.of, self.state, self.normaliser, self.restarts = of, state, normaliser, restarts
        self.query: Value | None = None
        self.kinds: set[bool] = set()

    @property
    def exclusive(self) -> bool:
        return self.kinds == {True}

    def rewritten(self) -> list[Assign]:
        equations = [equation for equation in self.of.step.body if isinstance(equation, Assign)]
        found = [replace(equation, value=self._rewrite(equation.value)) for equation in equations]
        _require(len(self.kinds) == 1)
        return found

    @property
    def names(self) -> dict[str, str]:
        """What stands for the readout of a state."""
        second = {self.normaliser.name: SUM} if self.normaliser is not None else {}
        return {self.state.name: READ, **second}

    def _rewrite(self, value: Value) -> Value:
        if not reads(value) & self.names.keys():
            return value
        match value:
            case Apply(function, arguments):
                return Apply(function, tuple(self._rewrite(argument) for argument in arguments))
            case Total(index, body):
                return self._total(index, body)
            case _:
                raise _NoFormError

    def _total(self, index: str, body: Value) -> Value:
        found = reads(body) & self.names.keys()
        _require(len(found) == 1)
        (state,) = found
        coefficient, rest = self._linear(body, state, index)
        inside, outside = self._apart(coefficient, index)
        query = rename(inside, index, self.state.indices[0])
        _require(self.query is None or factor(self.query) == factor(query))
        self.query = query
        read = multiply(outside, Read(self.names[state]))
        return read if rest == ZERO else add(read, factor(Total(index, rest)))

    def _apart(self, coefficient: Value, index: str) -> tuple[Value, Value]:
        """The factors that have the index, and the others."""
        inside: Value = ONE
        outside: Value = ONE
        for one, divides in self.of._factors(coefficient, index):
            combine: Callable[[Value, Value], Value] = divide if divides else multiply
            if index in free_indices(one):
                inside = combine(inside, one)
            else:
                outside = combine(outside, one)
        return inside, outside

    def _linear(self, value: Value, state: str, index: str) -> tuple[Value, Value]:
        """`value` as coefficient × state + rest."""
        if state not in reads(value):
            return ZERO, value
        match self._unrestarted(value):
            case Read(name, indices) if name == state and indices == (index,):
                self.kinds.add(False)
                return ONE, ZERO
            case Previous(name, indices) if name == state and indices == (index,):
                self.kinds.add(True)
                return ONE, ZERO
            case Apply("add" | "sub" as function, (left, right)):
                combine = add if function == "add" else subtract
                (a, b), (c, d) = self._linear(left, state, index), self._linear(right, state, index)
                return combine(a, c), combine(b, d)
            case Apply("neg", (operand,)):
                a, b = self._linear(operand, state, index)
                return negate(a), negate(b) if b != ZERO else ZERO
            case Apply("mul", (left, right)):
                if state in reads(right):
                    left, right = right, left
                _require(state not in reads(right))
                a, b = self._linear(left, state, index)
                return multiply(a, right), multiply(b, right)
            case Apply("div", (left, right)):
                _require(state not in reads(right))
                a, b = self._linear(left, state, index)
                return divide(a, right), divide(b, right)
            case _:
                raise _NoFormError

    def _unrestarted(self, value: Value) -> Value:
        """A previous value without the test of whether the state starts anew: the core knows where it does."""
        match value:
            case Apply("where", (condition, then, Previous() as old)) if (
                self.restarts and condition == _BEGINS and then == ZERO
            ):
                return old
            case _:
                return value


def rename(value: Value, old: str, new: str) -> Value:
    return value if old == new else rename_indices(value, {old: new})


def _split(equations: Iterable[Assign]) -> tuple[list[Assign], list[Assign]]:
    """The equations that do not depend on what the core gives, and those that do."""
    made, before, late = {READ, SUM}, [], []
    for equation in equations:
        if reads(equation.value) & made:
            made.add(equation.name)
            late.append(equation)
        else:
            before.append(equation)
    return before, late


def _needed(equations: Iterable[Assign], readout: str) -> list[Assign]:
    """What the core and the readout depend on."""
    wanted, kept = {readout}, []
    for equation in reversed(list(equations)):
        if equation.name in wanted or equation.name.startswith("core."):
            kept.append(equation)
            wanted |= reads(equation.value)
    return kept[::-1]


def _is_flat(step: Step, equation: Assign) -> bool:
    """No value of it, nor of what it reads, has more than one index; no sum is over what does not depend on its index."""

    def check(value: Value) -> bool:
        match value:
            case Constant() | IndexValue():
                return True
            case Read(_, indices):
                return len(indices) <= 1
            case Previous():
                return False
            case Total(index, body):
                return index in free_indices(body) and len(free_indices(body)) == 1 and check(body)
            case Apply(_, arguments):
                return len(free_indices(value)) <= 1 and all(map(check, arguments))

    return len(equation.indices) <= 1 and check(equation.value)


def _mapped(value: Value, leaf: Callable[[Value], Value]) -> Value:
    """`value` with each of its leaves replaced."""
    match value:
        case Apply(function, arguments):
            return Apply(function, tuple(_mapped(argument, leaf) for argument in arguments))
        case Total(index, body):
            return Total(index, _mapped(body, leaf))
        case _:
            return leaf(value)
