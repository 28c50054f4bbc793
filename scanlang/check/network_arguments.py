"""The values in blocks and backbones: numbers, and the names of scans and blocks where a formal wants one.

In: expressions as written, and the scope that they stand in. Out: an `Argument`, or None after findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from scanlang.check.expressions import CHOICES, Dialect, check_expression
from scanlang.check.library_names import library_program_with
from scanlang.check.network_scope import FLAGS, Scope, kind_of
from scanlang.check.program import Argument, Callee, CheckedBlock, CheckedScan, FormalCallee, Word
from scanlang.errors import (
    FirstWeights,
    IndexMisused,
    MisplacedKeyword,
    MisplacedLayer,
    MisplacedRamp,
    NotAllowedHere,
    NotANumber,
    WrongThing,
    listed,
)
from scanlang.networks.vocabulary import INITIALS, POINTWISE, RAMP
from scanlang.source import Span
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

NUMBERS = Dialect(
    place="a number of a block or backbone",
    operators=frozenset({"+", "-", "*", "/", "//", "%"}),
    functions={"ceil": ("value",), "floor": ("value",), "sqrt": ("value",)} | CHOICES,
    instead={"mean": "a block makes it: `block means() { forward x = mean(cells: x) }`, and `means()` is a layer"},
)
WITH_RAMP = replace(NUMBERS, functions={**NUMBERS.functions, RAMP: ("value",)})


@dataclass(frozen=True)
class Arguments:
    """`no_ramp` says why `ramp` cannot stand here, None where it can."""

    scope: Scope
    no_ramp: str | None = "it stands in the arguments of a repeated layer of a backbone"

    def number(self, expr: Expr) -> Expr | None:
        """A number or flag; None after findings."""
        findings = self.scope.findings
        before = findings.count
        if isinstance(expr, Name) and expr.name in FLAGS and not expr.indices:
            return expr
        if not self._without_layers(expr):
            return None
        check_expression(expr, NUMBERS if self.no_ramp else WITH_RAMP, self, findings)
        return expr if findings.count == before else None

    def _without_layers(self, expr: Expr) -> bool:
        """No layer is called in it, no function with keywords, `ramp` only where it may stand."""
        findings = self.scope.findings
        before = findings.count
        for call in calls_in(expr):
            if call.function == RAMP and self.no_ramp is not None:
                findings.report(MisplacedRamp(name_span(call), self.no_ramp))
            elif call.function in WITH_RAMP.functions and call.keywords:
                findings.report(MisplacedKeyword(call.keywords[0].span, call.function, call.keywords[0].label))
            elif call.function in WITH_RAMP.functions:
                continue
            elif (kind := kind_of(self.scope, call.function)) is not None and kind != "number":
                problem = "a layer is made on a line of its own"
                advice = f"write `name = {format_expression(call)}`"
                findings.report(MisplacedLayer(name_span(call), call.function, kind, problem, advice))
        return findings.count == before

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        scope, findings = self.scope, self.scope.findings
        if name.name in scope.numbers:
            if name.indices:
                findings.report(IndexMisused(name.span, name.span.text, "has an index", "numbers have none"))
        elif name.name in FLAGS:
            findings.report(NotAllowedHere(name.span, name.name, "arithmetic", "a flag stands alone"))
        elif (kind := kind_of(scope, name.name)) is not None:
            findings.report(NotANumber(name.span, name.name, kind))
        else:
            hint = f"write `{name.name.lower()}`" if name.name in ("True", "False") else None
            if name.name in POINTWISE:
                hint = f"what changes a feature stands in `forward`: `{name.name}(x)`"
            findings.unknown("number", name.name, scope.numbers, name.span, hint=hint)

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        raise ValueError("a number has no sum")

    def thing(self, formal: str, wanted: str, expr: Expr, declared: Span | None = None) -> Callee | None:
        """The scan or block that a formal of that kind is given; None after findings, here or in what is named."""
        findings = self.scope.findings
        if not isinstance(expr, Name) or expr.indices:
            found = "a number" if isinstance(expr, Number) else "a call" if isinstance(expr, Call) else "an expression"
            findings.report(WrongThing(expr.span, formal, wanted, found, declared))
            return None
        name, kind = expr.name, kind_of(self.scope, expr.name)
        if kind is None:
            self._unknown_thing(wanted, expr)
            return None
        thing = self.scope.callee(name) if self.scope.is_callee(name) else None
        fits = {"scan": isinstance(thing, CheckedScan), "block": isinstance(thing, CheckedBlock | Word)}[wanted]
        if isinstance(thing, FormalCallee):
            fits = kind == wanted
        if thing is None and self.scope.is_callee(name):
            findings.count += 1
        elif not fits:
            findings.report(WrongThing(expr.span, formal, wanted, f"a {kind}", declared))
        return thing if fits else None

    def _unknown_thing(self, wanted: str, name: Name) -> None:
        scope = self.scope
        if not scope.things.complete:
            scope.findings.count += 1
            return
        kinds = (wanted, "layer") if wanted == "block" else (wanted,)
        known = tuple(other for other in scope.callable_names if kind_of(scope, other) in kinds)
        scope.findings.unknown(wanted, name.name, known, name.span, library=library_program_with((wanted,), name.name))

    def either(self, expr: Expr) -> Argument | None:
        """A value for a formal that is not known here: a name is that of a number, or else of a scan or block."""
        if not isinstance(expr, Name) or expr.indices or expr.name in (*self.scope.numbers, *FLAGS):
            return self.number(expr)
        if not self.scope.is_callee(expr.name):
            return self.number(expr)
        thing = self.scope.callee(expr.name)
        if thing is None:
            self.scope.findings.count += 1
        return thing

    def first_weights(self, expr: Expr) -> Expr | None:
        """`truncated_normal(0.02)`; None after findings."""
        findings = self.scope.findings
        problem = None
        if not isinstance(expr, Call) or expr.function not in INITIALS:
            problem = f"{listed(INITIALS, 'or')} stands here"
        elif len(expr.arguments) != 1 or expr.keywords:
            problem = f"`{expr.function}` takes one number"
        if problem is not None:
            findings.report(FirstWeights(expr.span, problem))
            return None
        assert isinstance(expr, Call)
        return None if self.number(expr.arguments[0]) is None else expr


def name_span(call: Call) -> Span:
    """The name of what is called."""
    return Span(call.span.source, call.span.start, call.span.start + len(call.function))


def calls_in(expr: Expr) -> Iterator[Call]:
    """Every call, the outer before the inner; of a layer only itself."""
    match expr:
        case Call(arguments=arguments, keywords=keywords):
            yield expr
            for part in (*arguments, *(keyword.value for keyword in keywords)):
                yield from calls_in(part)
        case Negative(operand=part) | Sum(body=part) | CellMean(body=part):
            yield from calls_in(part)
        case Binary(left=left, right=right):
            yield from calls_in(left)
            yield from calls_in(right)
        case Number() | Name():
            return
