"""The arguments of a layer's call: `linear(dim, 2 * dim, bias = false)`, `core(inner, state = 1)`.

In: the call as written, and what it calls. Out: its arguments, those of a formal by what the caller may give for it; or None
after findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from scanlang.check.findings import Findings
from scanlang.check.layer_calls import WEIGHT, Match, Signature, match, only_names, scan_text, signature
from scanlang.check.network_arguments import Arguments
from scanlang.check.program import Argument, Callee, CheckedScan, FormalCallee
from scanlang.errors import DuplicateName, FirstWeights, NoSuchSize, WrongLayerCall
from scanlang.networks.vocabulary import INITIALS
from scanlang.source import Span
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import Actual, Call, Expr


@dataclass(frozen=True)
class Calling:
    """One call of a layer, in a scope that `arguments` has. `defaults` are those of its formals of kind scan and block."""

    arguments: Arguments
    call: Call
    callee: Callee
    defaults: Mapping[str, Callee]

    @property
    def findings(self) -> Findings:
        return self.arguments.scope.findings

    @cached_property
    def keywords(self) -> dict[str, Actual]:
        """Each once."""
        given: dict[str, Actual] = {}
        for actual in self.call.keywords:
            if actual.label in given:
                self.findings.report(DuplicateName(actual.span, "argument", actual.label, given[actual.label].span))
            given.setdefault(actual.label, actual)
        return given

    def check(self) -> tuple[tuple[Argument, ...], dict[str, Argument]] | None:
        """Those without and with their names; None after findings."""
        if isinstance(self.callee, FormalCallee):
            default = self.defaults.get(self.callee.name)
            if default is None or isinstance(default, FormalCallee) or self._fits(signature(default)):
                return self._through_formal()
            return None
        described = signature(self.callee)
        return self._directly(described) if self._fits(described) else None

    def _fits(self, described: Signature) -> bool:
        """The arguments are as many as there are formals, and have their names."""
        findings, before = self.findings, self.findings.count
        found: Match[Expr] = match(described, self.call.arguments, {name: one.value for name, one in self.keywords.items()})
        if found.unknown and isinstance(self.callee, FormalCallee) and isinstance(described.thing, CheckedScan):
            findings.report(self._no_such_size(described.thing, found.unknown))
        else:
            kind = "size" if described.kind == "scan" else "argument"
            for name in found.unknown:
                findings.unknown(kind, name, described.names, self._label_span(name), owner=described.name)
        if found.problem is not None:
            problem = WrongLayerCall(self.call.span, described.name, found.problem, described.usage, described.declared)
            findings.report(problem)
        if found.weight is not None and not described.learned:
            span = self._label_span(WEIGHT)
            findings.report(FirstWeights(span, f"`{described.name}` takes no first weights"))
        return findings.count == before

    def _no_such_size(self, scan: CheckedScan, unknown: tuple[str, ...]) -> NoSuchSize:
        """The default of a formal, and the scan as it would be with all sizes that it is told."""
        known = tuple(formal.label for formal in scan.formals)
        values = {name: self.keywords[name].value for name in unknown}
        shown = {name: format_expression(value) if only_names(value, known) else None for name, value in values.items()}
        return NoSuchSize(self._label_span(unknown[0]), scan.name, unknown[0], known, scan_text(scan, shown), scan.span)

    def _label_span(self, name: str) -> Span:
        span = self.keywords[name].span
        return Span(span.source, span.start, span.start + len(name))

    def _directly(self, described: Signature) -> tuple[tuple[Argument, ...], dict[str, Argument]] | None:
        positional = [
            self._one(described, name, value) for name, value in zip(described.names, self.call.arguments, strict=False)
        ]
        named = {name: self._one(described, name, actual.value) for name, actual in self.keywords.items()}
        return complete(positional, named)

    def _one(self, described: Signature, name: str, value: Expr) -> Argument | None:
        if name not in described.names:
            return self.arguments.first_weights(value)
        slot = described.slot(name)
        if slot.kind in ("scan", "block"):
            return self.arguments.thing(name, slot.kind, value, slot.span)
        return self.arguments.number(value)

    def _through_formal(self) -> tuple[tuple[Argument, ...], dict[str, Argument]] | None:
        positional = [self.arguments.either(value) for value in self.call.arguments]
        named: dict[str, Argument | None] = {}
        for name, actual in self.keywords.items():
            is_weight = name == WEIGHT and isinstance(actual.value, Call) and actual.value.function in INITIALS
            named[name] = self.arguments.first_weights(actual.value) if is_weight else self.arguments.either(actual.value)
        return complete(positional, named)


def complete(
    positional: list[Argument | None], named: dict[str, Argument | None]
) -> tuple[tuple[Argument, ...], dict[str, Argument]] | None:
    """Nothing in it is None, or None."""
    there = tuple(value for value in positional if value is not None)
    kept = {name: value for name, value in named.items() if value is not None}
    return (there, kept) if len(there) == len(positional) and len(kept) == len(named) else None
