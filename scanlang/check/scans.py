"""One scan: what its clauses say, put together.

In: the definition as written, the orders and recurrences it can name. Out: a `CheckedScan`, or None after findings. Each
clause is checked in a file of its own (`scan_*.py`, `uses.py`, `merges.py`); here is what lies between them.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field

from scanlang.check.actuals import check_actuals
from scanlang.check.findings import Findings
from scanlang.check.imports import library_programs
from scanlang.check.merges import check_merge
from scanlang.check.orders import OrderResolver
from scanlang.check.program import LEARNED, CheckedRecurrence, CheckedScan, Direction, Projection, Use
from scanlang.check.scan_arguments import Arguments
from scanlang.check.scan_channels import check_projections_of_parts, check_sharing_of_parts, check_split
from scanlang.check.scan_clauses import Clauses
from scanlang.check.scan_directions import Layer, ScanDirections
from scanlang.check.scan_projections import check_projections
from scanlang.check.scan_sharing import check_shared
from scanlang.check.scan_streams import check_along, check_conv, check_labelled, check_labels
from scanlang.check.sizes import check_formals
from scanlang.check.uses import Uses
from scanlang.check.widths import never_fits
from scanlang.diagnostics import Reporter
from scanlang.errors import IndexMisused, InputNotFed, ReservedName, UnusedName
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.never import refusal
from scanlang.syntax.nodes import Conv, Expr, Layers, Merge, Project, Recur, RecurrenceDefinition, ScanDefinition


@dataclass
class ScanChecker:
    """`orders` is None if the file has no grid, which was reported; `names_complete` is False after a failed import."""

    definition: ScanDefinition
    orders: OrderResolver | None
    recurrences: Mapping[str, CheckedRecurrence | None]
    names_complete: bool
    reporter: Reporter
    findings: Findings = field(init=False)
    clauses: Clauses = field(init=False)

    def __post_init__(self) -> None:
        self.findings = Findings(self.reporter)
        self.clauses = Clauses(self.definition, self.findings)

    def check(self) -> CheckedScan | None:
        check_formals(self.definition.formals, self.findings)
        self.check_no_indices()
        self.clauses.check()
        inputs = self.clauses.inputs()
        directions = ScanDirections(self.clauses, self.orders)
        layers = directions.layers()
        counts = None if layers is None else tuple(len(layer) for layer in layers)
        recurrence, sizes = self.recurrence()
        uses = Uses(self.clauses).check()
        merged = self.merge(counts, inputs, recurrence)
        projections = check_projections(self.clauses, inputs, recurrence)
        shared = check_shared(self.clauses, recurrence)
        split = check_split(self.clauses, counts)
        check_sharing_of_parts(self.clauses, shared, recurrence)
        check_projections_of_parts(self.clauses, projections, recurrence)
        conv = check_conv(self.clauses, inputs, recurrence, directions)
        along = check_along(self.clauses, recurrence, directions)
        labelled = check_labels(self.clauses, recurrence, self.recur_span())
        uncovered = self.clauses.uncovered()
        if recurrence is None or layers is None:
            return None
        elsewhere = (*along.values(), *((conv.along,) if conv is not None and conv.along is not None else ()))
        if labelled:
            check_labelled(layers, self.clauses)
        self.check_fed(recurrence, inputs, projections)
        self.check_arguments(recurrence, inputs, layers, directions, elsewhere)
        self.check_used(recurrence, inputs, projections, merged)
        self.check_widths(uses)
        if not self.findings.none:
            return None
        rule, written = self.clauses.one(Merge), self.clauses.one(Layers)
        return CheckedScan(
            name=self.definition.name,
            formals=self.definition.formals,
            inputs=tuple(inputs),
            layers=layers,
            recurrence=recurrence,
            sizes=sizes,
            projections=projections,
            shared=frozenset(shared),
            merge="sum" if rule is None else rule.rule,
            span=self.definition.name_span,
            layer_rule="directions" if written is None else written.rule,
            whole_backbone=written is not None and written.whole_backbone,
            split=split,
            conv=conv,
            along=along,
            labelled=labelled,
            uses=uses,
            uncovered=uncovered,
        )

    def check_no_indices(self) -> None:
        for formal in self.definition.formals:
            if formal.index is not None:
                text = f"{formal.label} {formal.index}"
                self.findings.report(IndexMisused(formal.span, text, "has an index", "the sizes of a scan have none"))
            elif keyword.iskeyword(formal.label):
                self.findings.report(ReservedName(formal.span, "a size", formal.label, "Python reserves this word"))

    def recurrence(self) -> tuple[CheckedRecurrence | None, dict[str, Expr]]:
        clause = self.clauses.one(Recur)
        if clause is None:
            return None, {}
        if clause.name not in self.recurrences:
            self.report_unknown(clause)
            return None, {}
        recurrence = self.recurrences[clause.name]
        if recurrence is None:
            return None, {}
        return recurrence, check_actuals(clause, recurrence, self.clauses.labels, self.findings)

    def report_unknown(self, clause: Recur) -> None:
        refused = refusal(clause.name, recur_name_span(clause))
        if refused is not None:
            self.findings.refuse(refused)
        elif self.names_complete:
            library = library_file_with(clause.name)
            known = tuple(self.recurrences)
            self.findings.unknown("recurrence", clause.name, known, recur_name_span(clause), library=library)

    def recur_span(self) -> Span | None:
        clause = self.clauses.one(Recur)
        return None if clause is None else recur_name_span(clause)

    def merge(
        self, counts: tuple[int, ...] | None, inputs: dict[str, Span], recurrence: CheckedRecurrence | None
    ) -> frozenset[str]:
        """The inputs and layers that the merge uses."""
        merge = self.clauses.one(Merge)
        if merge is None:
            return frozenset()
        layers = tuple(use.name.name for use in self.clauses.all(nodes.Use))
        return check_merge(merge, counts, per_channel(inputs, recurrence), layers, self.findings)

    def check_fed(self, recurrence: CheckedRecurrence, inputs: dict[str, Span], projections: tuple[Projection, ...]) -> None:
        """Every `input` of the recurrence comes from somewhere. A `shared` one may be left to the operator's caller."""
        projected = {name for projection in projections for name in projection.names}
        span = self.recur_span()
        for operand in recurrence.of_kind("input"):
            if operand.name not in inputs and operand.name not in projected and span is not None:
                self.findings.report(InputNotFed(span, recurrence.name, operand.name, operand.span))

    def check_arguments(
        self,
        recurrence: CheckedRecurrence,
        inputs: dict[str, Span],
        layers: tuple[Layer, ...],
        directions: ScanDirections,
        elsewhere: tuple[Direction, ...],
    ) -> None:
        """Names of the operator's arguments, and tokens where streams run elsewhere."""
        merge = self.clauses.one(Merge)
        there = {
            "project": bool(self.clauses.all(Project)),
            "conv": self.clauses.one(Conv) is not None,
            "weighted": merge is not None and merge.rule == "weighted",
        }
        own = tuple(direction for layer in layers for direction in layer)
        visited = (*own, *(direction.writes for direction in own if direction.writes is not None), *elsewhere)
        arguments = Arguments(inputs, recurrence, self.findings)
        arguments.check_weights(tuple(clause for clause, is_there in there.items() if is_there))
        arguments.check_layers(tuple(use.name for use in self.clauses.all(nodes.Use)))
        arguments.check_given(visited)
        arguments.check_tokens(visited)
        directions.check_tokens(layers, elsewhere)

    def check_used(
        self,
        recurrence: CheckedRecurrence,
        inputs: dict[str, Span],
        projections: tuple[Projection, ...],
        merged: frozenset[str],
    ) -> None:
        """Said only if all else is right: a misspelt use elsewhere makes an input look unused."""
        if not self.findings.none:
            return
        used = {operand.name for operand in recurrence.operands if operand.kind not in LEARNED} | merged
        used |= {projection.source for projection in projections}
        for name, span in inputs.items():
            if name not in used:
                self.findings.report(UnusedName(span, "input", name))
        for use in self.clauses.all(nodes.Use):
            if use.name.name not in merged:
                self.findings.report(UnusedName(use.name.span, "layer", use.name.name))

    def check_widths(self, uses: tuple[Use, ...]) -> None:
        """Said only if all else is right: the layers are those that were written."""
        merge = self.clauses.one(Merge)
        if not self.findings.none or merge is None or isinstance(merge.rule, str) or not uses:
            return
        finding = never_fits(merge.rule, uses, self.definition.formals)
        if finding is not None:
            self.findings.report(finding)


def per_channel(inputs: dict[str, Span], recurrence: CheckedRecurrence | None) -> tuple[str, ...]:
    """The inputs with one value per channel, which a merge can use; those fed to operands of another shape are not."""
    others = set() if recurrence is None else {o.name for o in recurrence.operands if not o.is_map}
    return tuple(name for name in inputs if name not in others)


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
