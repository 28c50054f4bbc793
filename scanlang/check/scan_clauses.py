"""The clauses of a scan: which are there, which must be and which are there twice; its inputs, and lists of names.

In: the definition as written. Out: the clauses by kind, and findings.
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import TypeVar

from scanlang.check.findings import Findings
from scanlang.errors import DirectionsTwice, DuplicateName, MissingClause, RepeatedClause, ReservedName, UncoveredValue
from scanlang.source import Span
from scanlang.syntax.nodes import (
    Channels,
    Clause,
    Conv,
    Directions,
    Input,
    Label,
    Layers,
    Merge,
    Name,
    Recur,
    ScanDefinition,
    Share,
    Uncovered,
)

ONCE: dict[type, str] = {
    Input: "input",
    Directions: "directions",
    Layers: "layers",
    Channels: "channels",
    Recur: "recur",
    Conv: "conv",
    Label: "label",
    Share: "share",
    Uncovered: "uncovered",
    Merge: "merge",
}
DEFAULT_INPUT = "x"
ClauseKind = TypeVar("ClauseKind", bound=Clause)


@dataclass(frozen=True)
class Clauses:
    definition: ScanDefinition
    findings: Findings

    def all(self, kind: type[ClauseKind]) -> tuple[ClauseKind, ...]:
        return tuple(clause for clause in self.definition.clauses if isinstance(clause, kind))

    def one(self, kind: type[ClauseKind]) -> ClauseKind | None:
        return next(iter(self.all(kind)), None)

    @property
    def labels(self) -> tuple[str, ...]:
        """The sizes of the scan."""
        return tuple(formal.label for formal in self.definition.formals)

    def check(self) -> None:
        """What a scan needs is there, and what says one thing is there once."""
        first: dict[str, Clause] = {}
        for clause in self.definition.clauses:
            name = ONCE.get(type(clause))
            if name is None:
                continue
            if name in first:
                self.findings.report(RepeatedClause(clause.span, name, first[name].span))
            first.setdefault(name, clause)
        both = sorted((first[name] for name in ("directions", "layers") if name in first), key=lambda clause: clause.span.start)
        if len(both) > 1:
            self.findings.report(DirectionsTwice(both[1].span, both[0].span))
        if not both:
            self.findings.report(MissingClause(self.definition.name_span, self.definition.name, "directions"))
        if "recur" not in first:
            self.findings.report(MissingClause(self.definition.name_span, self.definition.name, "recur"))

    def inputs(self) -> dict[str, Span]:
        """The inputs of the scan, each with its place."""
        clause = self.one(Input)
        if clause is None:
            return {DEFAULT_INPUT: self.definition.name_span}
        merge = self.one(Merge)
        has_outputs = merge is not None and not isinstance(merge.rule, str)
        for name in clause.names:
            if name.name == "y" and has_outputs:
                reason = "`y` in a merge is the outputs of the directions"
                self.findings.report(ReservedName(name.span, "an input", name.name, reason))
            elif keyword.iskeyword(name.name):
                self.findings.report(ReservedName(name.span, "an input", name.name, "Python reserves this word"))
        return self.once(clause.names, "input")

    def uncovered(self) -> bool:
        """Cells that no direction visits are meant to be 0."""
        clause = self.one(Uncovered)
        if clause is not None and clause.value.value != 0:
            self.findings.report(UncoveredValue(clause.value.span))
        return clause is not None

    def once(self, names: tuple[Name, ...], kind: str) -> dict[str, Span]:
        """The names of a list, a second time each being a finding."""
        first: dict[str, Span] = {}
        for name in names:
            if name.name in first:
                self.findings.report(DuplicateName(name.span, kind, name.name, first[name.name]))
            first.setdefault(name.name, name.span)
        return first
