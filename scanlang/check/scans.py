"""One scan: its directions, the sizes and inputs of its recurrence, what is projected and shared.

In: the definition as written, the orders and recurrences it can name. Out: a `CheckedScan`, or None after findings.
The merge is checked in `merges.py`.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from scanlang.check.actuals import check_actuals
from scanlang.check.findings import Findings
from scanlang.check.imports import library_programs
from scanlang.check.merges import check_merge
from scanlang.check.orders import OrderResolver
from scanlang.check.program import CheckedRecurrence, CheckedScan, Direction, Projection
from scanlang.check.sizes import check_formals
from scanlang.diagnostics import Reporter
from scanlang.errors import (
    DuplicateName,
    IndexMisused,
    InputNotFed,
    MissingClause,
    NotProjectable,
    RepeatedClause,
    ReservedName,
    TooMany,
    UnusedName,
)
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import (
    Clause,
    Directions,
    Expr,
    Input,
    Merge,
    Name,
    OrderExpr,
    Project,
    Recur,
    RecurrenceDefinition,
    ScanDefinition,
    Share,
)

CLAUSES: dict[type, str] = {Input: "input", Directions: "directions", Recur: "recur", Share: "share", Merge: "merge"}
DEFAULT_INPUT = "x"
ClauseKind = TypeVar("ClauseKind", Input, Directions, Recur, Share, Merge)


@dataclass
class ScanChecker:
    """`orders` is None if the file has no grid, which was reported; `names_complete` is False after a failed import."""

    definition: ScanDefinition
    orders: OrderResolver | None
    recurrences: Mapping[str, CheckedRecurrence | None]
    names_complete: bool
    reporter: Reporter
    findings: Findings = field(init=False)

    def __post_init__(self) -> None:
        self.findings = Findings(self.reporter)

    def check(self) -> CheckedScan | None:
        check_formals(self.definition.formals, self.findings)
        self.check_no_indices()
        self.check_clauses()
        inputs = self.inputs()
        directions = self.directions()
        recurrence, sizes = self.recurrence()
        merge = self.clause(Merge)
        merge_uses: frozenset[str] = frozenset()
        if merge is not None:
            count = len(directions) if directions else None
            merge_inputs = per_channel(inputs, recurrence)
            merge_uses = check_merge(merge, count, merge_inputs, self.findings)
        projections = self.projections(inputs, recurrence)
        shared = self.shared(recurrence)
        if recurrence is None or directions is None:
            return None
        self.check_fed(recurrence, inputs, projections)
        self.check_inputs_used(recurrence, inputs, projections, merge_uses)
        if not self.findings.none:
            return None
        return CheckedScan(
            name=self.definition.name,
            formals=self.definition.formals,
            inputs=tuple(inputs),
            directions=directions,
            recurrence=recurrence,
            sizes=sizes,
            projections=projections,
            shared=shared,
            merge="sum" if merge is None else merge.rule,
            span=self.definition.name_span,
        )

    def clause(self, kind: type[ClauseKind]) -> ClauseKind | None:
        return next((clause for clause in self.definition.clauses if isinstance(clause, kind)), None)

    def check_no_indices(self) -> None:
        for formal in self.definition.formals:
            if formal.index is not None:
                text = f"{formal.label} {formal.index}"
                self.findings.report(IndexMisused(formal.span, text, "has an index", "the sizes of a scan have none"))
            elif keyword.iskeyword(formal.label):
                self.findings.report(ReservedName(formal.span, "a size", formal.label, "Python reserves this word"))

    def check_clauses(self) -> None:
        """`directions` and `recur` are there, and nothing but `project` is there twice."""
        first: dict[str, Clause] = {}
        for clause in self.definition.clauses:
            name = CLAUSES.get(type(clause))
            if name is None:
                continue
            if name in first:
                self.findings.report(RepeatedClause(clause.span, name, first[name].span))
            first.setdefault(name, clause)
        for name in ("directions", "recur"):
            if name not in first:
                self.findings.report(MissingClause(self.definition.name_span, self.definition.name, name))

    def inputs(self) -> dict[str, Span]:
        clause = self.clause(Input)
        if clause is None:
            return {DEFAULT_INPUT: self.definition.name_span}
        merge = self.clause(Merge)
        has_outputs = merge is not None and not isinstance(merge.rule, str)
        for name in clause.names:
            if name.name == "y" and has_outputs:
                reason = "`y` in a merge is the outputs of the directions"
                self.findings.report(ReservedName(name.span, "an input", name.name, reason))
            elif keyword.iskeyword(name.name):
                self.findings.report(ReservedName(name.span, "an input", name.name, "Python reserves this word"))
        return self.once(clause.names, "input")

    def once(self, names: tuple[Name, ...], kind: str) -> dict[str, Span]:
        """The names of a list, a second time each being a finding."""
        first: dict[str, Span] = {}
        for name in names:
            if name.name in first:
                self.findings.report(DuplicateName(name.span, kind, name.name, first[name.name]))
            first.setdefault(name.name, name.span)
        return first

    def directions(self) -> tuple[Direction, ...] | None:
        """The directions; None if one of them has findings."""
        clause = self.clause(Directions)
        if clause is None or self.orders is None:
            return None
        if len(clause.orders) > LIMITS.directions:
            beyond = clause.orders[LIMITS.directions]
            self.findings.report(TooMany(beyond.span, "directions", LIMITS.directions))
            return None
        orders = [self.orders.order(expr) for expr in clause.orders]
        found = tuple(
            Direction(order_text(expr), order, expr.span)
            for expr, order in zip(clause.orders, orders, strict=True)
            if order is not None
        )
        return found if len(found) == len(clause.orders) else None

    def recurrence(self) -> tuple[CheckedRecurrence | None, dict[str, Expr]]:
        clause = self.clause(Recur)
        if clause is None:
            return None, {}
        if clause.name not in self.recurrences:
            if self.names_complete:
                library = library_file_with(clause.name)
                known = tuple(self.recurrences)
                self.findings.unknown("recurrence", clause.name, known, recur_name_span(clause), library=library)
            return None, {}
        recurrence = self.recurrences[clause.name]
        if recurrence is None:
            return None, {}
        labels = tuple(formal.label for formal in self.definition.formals)
        return recurrence, check_actuals(clause, recurrence, labels, self.findings)

    def projections(self, inputs: dict[str, Span], recurrence: CheckedRecurrence | None) -> tuple[Projection, ...]:
        clauses = [clause for clause in self.definition.clauses if isinstance(clause, Project)]
        self.once(tuple(name for clause in clauses for name in clause.names), "projection")
        for clause in clauses:
            if clause.source.name not in inputs:
                self.findings.unknown("input", clause.source.name, tuple(inputs), clause.source.span)
            for name in clause.names:
                self.check_projected(name, inputs, recurrence)
        return tuple(
            Projection(tuple(name.name for name in clause.names), clause.source.name, clause.bias, clause.span)
            for clause in clauses
        )

    def check_projected(self, name: Name, inputs: dict[str, Span], recurrence: CheckedRecurrence | None) -> None:
        if recurrence is None:
            return
        kinds = {operand.name: operand.kind for operand in recurrence.operands}
        kind = kinds.get(name.name)
        if kind is None:
            known = tuple(operand for operand, operand_kind in kinds.items() if operand_kind != "param")
            self.findings.unknown("input", name.name, known, name.span, owner=recurrence.name)
        elif kind == "param":
            reason = "it is a parameter: learned itself"
            self.findings.report(NotProjectable(name.span, recurrence.name, name.name, reason))
        elif name.name in inputs:
            reason = "it is an input of the scan already"
            self.findings.report(NotProjectable(name.span, recurrence.name, name.name, reason))

    def shared(self, recurrence: CheckedRecurrence | None) -> frozenset[str]:
        clause = self.clause(Share)
        if clause is None or recurrence is None:
            return frozenset()
        shareable = (*(operand.name for operand in recurrence.of_kind("param")), "project")
        named = self.once(clause.names, "shared name")
        for name in clause.names:
            if name.name not in shareable:
                self.findings.unknown("parameter", name.name, shareable, name.span, owner=recurrence.name)
        return frozenset(shareable) - frozenset(named) if clause.all else frozenset(named)

    def check_fed(self, recurrence: CheckedRecurrence, inputs: dict[str, Span], projections: tuple[Projection, ...]) -> None:
        """Every `input` of the recurrence comes from somewhere. A `shared` one may be left to the operator's caller."""
        projected = {name for projection in projections for name in projection.names}
        clause = self.clause(Recur)
        for operand in recurrence.of_kind("input"):
            if operand.name not in inputs and operand.name not in projected and clause is not None:
                span = recur_name_span(clause)
                self.findings.report(InputNotFed(span, recurrence.name, operand.name, operand.span))

    def check_inputs_used(
        self,
        recurrence: CheckedRecurrence,
        inputs: dict[str, Span],
        projections: tuple[Projection, ...],
        merge_uses: frozenset[str],
    ) -> None:
        """Said only if all else is right: a misspelt use elsewhere makes an input look unused."""
        if not self.findings.none:
            return
        used = {operand.name for operand in recurrence.operands if operand.kind != "param"} | merge_uses
        used |= {projection.source for projection in projections}
        for name, span in inputs.items():
            if name not in used:
                self.findings.report(UnusedName(span, "input", name))


def per_channel(inputs: dict[str, Span], recurrence: CheckedRecurrence | None) -> tuple[str, ...]:
    """The inputs with one value per channel, which a merge can use; those fed to a `shared` operand are not."""
    shared = set() if recurrence is None else {operand.name for operand in recurrence.of_kind("shared")}
    return tuple(name for name in inputs if name not in shared)


def order_text(expr: OrderExpr) -> str:
    """How the program writes an order, on one line and without comments."""
    lines = (line.split("#")[0] for line in expr.span.text.split("\n"))
    return " ".join(" ".join(lines).split())


def recur_name_span(clause: Recur) -> Span:
    """The recurrence's name after `recur`."""
    start = clause.span.source.text.find(clause.name, clause.span.start + len("recur"), clause.span.end)
    return Span(clause.span.source, start, start + len(clause.name)) if start >= 0 else clause.span


def library_file_with(recurrence: str) -> str | None:
    """`std.selective` for `selective`."""
    for key, program in library_programs():
        if any(isinstance(item, RecurrenceDefinition) and item.name == recurrence for item in program.items):
            return key
    return None
