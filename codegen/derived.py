"""The derived mathematics of a recurrence, in the order in which a person reads it. In: a step; out: titled equations.

`stages.py` prints them as text, `latex.py` as LaTeX. A value that a unit has for every one of its channels has the index of the
head, which the compiler leaves out. What comes from nothing but sums over channels, steps or images is said, not written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from scanlang.graph.adjoint import adjoint
from scanlang.graph.step import AdjointStep, Assign, Step, Update, carry_of, gradient_of, total_of
from scanlang.graph.values import Previous, Read, Total, Value, add, free_indices, mapped, multiply, reads

STEPS, IMAGES, CHANNELS, GROUP = "steps", "images", "channels", "channels of a group"

OWN_NAMES = (
    (re.compile(r"fixed\.\d+"), "made of parameters alone, once"),
    (re.compile(r"in\.\d+"), "what a function is applied to, or a side of a division"),
    (re.compile(r"prev\.\d+"), "the value that `prev` looks back at"),
    (re.compile(r"conv\.\d+"), "of the convolution: what it adds up, and from 1 on inputs of steps before"),
    (re.compile(r"\w+\.conv"), "the input, convolved"),
    (re.compile(r"restart\."), "1 where the states start anew, 0 elsewhere"),
    (re.compile(r"\w+\.weighted"), "the output with the weight of its direction"),
    (re.compile(r"carry\..+"), "the gradient that the step after hands on"),
    (re.compile(r"total\..+"), "a gradient summed over steps and images"),
)
"""Names that no program has, and what they stand for."""


@dataclass(frozen=True)
class Line:
    """`left = right`, summed `over` what is named; `handed_on`: the step before reads it."""

    left: Read | Previous
    right: Value
    over: tuple[str, ...] = ()
    note: str = ""
    handed_on: bool = False


@dataclass(frozen=True)
class Section:
    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Derived:
    """`fixed` are the names that have one value for all steps, `carries` the state adjoints by name."""

    step: Step
    sections: tuple[Section, ...]
    cotangent: str
    fixed: frozenset[str]
    carries: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the lines mention, as it is met first."""
        lines = [line for section in self.sections for line in section.lines]
        return tuple(dict.fromkeys(name for line in lines for name in (*sorted(reads(line.right)), line.left.name)))

    @property
    def own_names(self) -> tuple[tuple[str, str], ...]:
        """The first name of each kind that is not the program's, and what such names stand for."""
        found = []
        for kind, meaning in OWN_NAMES:
            first = min((name for name in self.names if kind.fullmatch(name)), default=None)
            if first is not None:
                found.append((first, meaning))
        return tuple(found)


def derive(step: Step, head: str | None = None) -> Derived:
    """`head` is what the program calls the index of the head."""
    derived = adjoint(step)
    told = _Telling(derived, head if step.head else None)
    sections = [
        Section("once, from the parameters", tuple(told.line(one) for one in step.prologue)),
        Section("a step", tuple(told.forward(one) for one in step.body)),
        Section(
            f"its adjoint, from the last step to the first ({derived.cotangent} is the gradient of the output)",
            (*(told.line(one) for one in derived.body), *told.carries()),
        ),
        Section("gradients", tuple(told.gradients())),
        Section("once, to the parameters", tuple(told.parameters())),
    ]
    fixed = {o.name for o in step.operands if o.kind == "param"} | {e.name for e in step.prologue}
    fixed |= {gradient_of(name) for name in fixed} | {total_of(name) for name in fixed}
    carried = {carry_of(update.name): update.name for update in step.states}
    return Derived(step, tuple(s for s in sections if s.lines), derived.cotangent, frozenset(fixed), carried)


class _Telling:
    """The equations of an adjoint step with the index of the head where a value is one channel's."""

    def __init__(self, derived: AdjointStep, head: str | None) -> None:
        self.derived, self.step, self.head = derived, derived.step, head
        self.operands = {operand.name: operand for operand in self.step.operands}
        self.of_channels = self._of_channels() if head is not None else set()

    def _of_channels(self) -> set[str]:
        """The names that have a value for every channel of a unit. Gradients of what is one unit's have a part of every one."""
        found = {operand.name for operand in self.step.operands if operand.per == "channel"}
        found |= {update.name for update in self.step.states if update.per == "channel"}
        found |= {self.derived.cotangent} | {carry_of(update.name) for update in self.step.states}
        for equation in (*self.step.prologue, *self.step.body, *self.derived.body):
            values = (equation.decay, equation.drive) if isinstance(equation, Update) else (equation.value,)
            if any(reads(value) & found for value in values):
                found.add(equation.name)
        learned = [equation.name for equation in self.step.prologue] + [o.name for o in self.step.operands if o.kind == "param"]
        return found | {of(name) for name in learned if name in found for of in (gradient_of, total_of)}

    def shown(self, value: Value) -> Value:
        """`value` with the index of the head at every name of a channel."""

        def leaf(one: Value) -> Value:
            if isinstance(one, Read | Previous) and self.head is not None and one.name in self.of_channels:
                return replace(one, indices=(*one.indices, self.head))
            return one

        return mapped(value, leaf)

    def named(self, name: str, indices: tuple[str, ...]) -> Read:
        left = self.shown(Read(name, indices))
        assert isinstance(left, Read)
        return left

    def line(self, equation: Assign) -> Line:
        return Line(self.named(equation.name, equation.indices), self.shown(equation.value))

    def forward(self, equation: Assign | Update) -> Line:
        note = "a scale: it cancels in the output, and has no gradient" if equation.constant else ""
        if isinstance(equation, Assign):
            return replace(self.line(equation), note=note)
        value = add(multiply(equation.decay, Previous(equation.name, equation.indices)), equation.drive)
        start = f"starts at {equation.start:g}" if equation.start else ""
        return Line(self.named(equation.name, equation.indices), self.shown(value), note="; ".join(filter(None, (start, note))))

    def carries(self) -> Iterable[Line]:
        for state, value in self.derived.carries.items():
            left = self.named(carry_of(state), self.step.indices_of(state))
            yield Line(left, self.shown(value), note="handed to the step before", handed_on=True)

    def gradients(self) -> Iterable[Line]:
        for name, value in self.derived.gradients.items():
            operand = self.operands.get(name)
            left, right = self.summed(name, value)
            if operand is None or operand.kind == "param":
                yield Line(left, right, (STEPS, IMAGES))
            elif operand.per in ("all", "group"):
                yield Line(left, right, (CHANNELS,) if operand.per == "all" else (GROUP,))
            else:
                yield Line(left, right, note=f"per cell and {operand.per}")

    def parameters(self) -> Iterable[Line]:
        if self.derived.epilogue:
            for equation in self.derived.epilogue:
                left, right = self.summed(equation.name.removeprefix(gradient_of("")), equation.value)
                yield Line(left, right)
            for name, value in self.derived.parameters.items():
                yield Line(*self.summed(name, value))

    def summed(self, name: str, value: Value) -> tuple[Read, Value]:
        """The gradient of `name`, and what it is: of a unit's, the sum over its channels."""
        indices, right = self.step.indices_of(name), self.shown(value)
        left = Read(gradient_of(name), indices)
        if name in self.of_channels and self.head is not None:
            return replace(left, indices=(*indices, self.head)), right
        operand = self.operands.get(name)
        is_of_unit = operand is None or operand.per in ("channel", "unit")
        if is_of_unit and self.head is not None and self.head in free_indices(right):
            return left, Total(self.head, right)
        return left, right
