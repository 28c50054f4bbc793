"""What the parts of `instantiate.py` have in common: what names stand for, where a layer is, and what is found on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TypeVar

from scanlang.check.layer_calls import Thing
from scanlang.check.program import Argument, Callee, CheckedBlock, CheckedScan, FormalCallee, Word
from scanlang.diagnostics import Diagnostic, Reporter, ScanError
from scanlang.errors import BadNumber, TooMany
from scanlang.limits import LIMITS
from scanlang.networks.numbers import Budget, NumberProblem, Numbers, Value
from scanlang.source import Span
from scanlang.syntax.nodes import Expr

Made = TypeVar("Made")
CALLEES = (Word, FormalCallee, CheckedScan, CheckedBlock)


class NotMade(Exception):
    """A layer cannot be made; why was reported."""


@dataclass(frozen=True)
class Place:
    """`calls`: the layers around, the innermost first. `number` counts in the innermost repeat, `whole` over all repeats of the
    backbone; `ramp` is how far these have come, for the arguments of one of them."""

    calls: tuple[Span, ...] = ()
    number: int = 0
    whole: int = 0
    ramp: Fraction | None = None

    def inside(self, call: Span) -> Place:
        return replace(self, calls=(call, *self.calls), ramp=None)

    def repeated(self, number: int, count: int) -> Place:
        """A repeat in a block: all of them are counted through, one repeat around after the other."""
        return replace(self, number=number, whole=self.whole * count + number, ramp=None)


@dataclass
class Names:
    """What formals and numbers stand for; None for one that was found wrong."""

    numbers: dict[str, Value | None] = field(default_factory=dict)
    things: dict[str, Thing | None] = field(default_factory=dict)

    def thing(self, callee: Callee) -> Thing | None:
        return self.things[callee.name] if isinstance(callee, FormalCallee) else callee


@dataclass
class Building:
    """The findings of one network, and how much work it took so far.

    `given`: there are numbers from Python. One of them that is wrong makes many more: the first finding says it.
    """

    reporter: Reporter = field(default_factory=Reporter)
    budget: Budget = field(default_factory=Budget)
    layers: int = 0
    given: bool = False
    seen: set[tuple[type[Diagnostic], Span]] = field(default_factory=set)

    def report(self, diagnostic: Diagnostic) -> None:
        """Each place once: it may be met in every repeat of a block."""
        key = type(diagnostic), diagnostic.span
        if key not in self.seen:
            self.seen.add(key)
            self.reporter.report(diagnostic)

    def count_layer(self, span: Span) -> None:
        self.layers += 1
        if self.layers > LIMITS.network_layers:
            raise ScanError([TooMany(span, "layers in one network", LIMITS.network_layers)])

    def numbers(self, names: Mapping[str, Value | None], ramp: Fraction | None = None) -> Numbers:
        return Numbers(names, self.budget, ramp)

    def wanted(self, what: str, calls: tuple[Span, ...], compute: Callable[[], Made]) -> Made | None:
        """What it computes, for `what` as a message says it. A problem is a finding, unless it was one before."""
        try:
            return compute()
        except NumberProblem as problem:
            is_next = self.given and any(issubclass(kind, BadNumber) for kind, _ in self.seen)
            if problem.text and not is_next:
                self.report(BadNumber(problem.span, what, problem.text, calls))
            return None


def as_number(argument: Argument) -> Expr | None:
    """The expression, of an argument that is no scan or block."""
    return None if isinstance(argument, CALLEES) else argument


def as_callee(argument: Argument | None) -> Callee | None:
    return argument if isinstance(argument, CALLEES) else None


def fits(thing: Thing, kind: str) -> bool:
    return isinstance(thing, CheckedScan) == (kind == "scan")


def kind_of(thing: Thing) -> str:
    return "scan" if isinstance(thing, CheckedScan) else "block" if isinstance(thing, CheckedBlock) else "layer"
