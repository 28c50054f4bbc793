"""What is projected: learned maps that make inputs of the recurrence from an input of the scan.

In: the clauses, the scan's inputs and its recurrence (None after findings). Out: a `Projection` for each clause.
"""

from __future__ import annotations

from collections.abc import Mapping

from scanlang.check.program import LEARNED, CheckedRecurrence, Projection
from scanlang.check.scan_clauses import Clauses
from scanlang.errors import NotASource, NotProjectable
from scanlang.source import Span
from scanlang.syntax.nodes import Name, Project


def check_projections(
    clauses: Clauses, inputs: Mapping[str, Span], recurrence: CheckedRecurrence | None
) -> tuple[Projection, ...]:
    projects = clauses.all(Project)
    clauses.once(tuple(name for clause in projects for name in clause.names), "projection")
    for clause in projects:
        if clause.source.name not in inputs:
            clauses.findings.unknown("input", clause.source.name, tuple(inputs), clause.source.span)
        elif recurrence is not None:
            check_source(clauses, clause.source, recurrence)
        for name in clause.names:
            if recurrence is not None:
                check_projected(clauses, name, inputs, recurrence)
    return tuple(
        Projection(tuple(name.name for name in clause.names), clause.source.name, clause.bias, clause.span)
        for clause in projects
    )


def check_source(clauses: Clauses, source: Name, recurrence: CheckedRecurrence) -> None:
    """A projection is of a map with a value for every channel."""
    operand = next((operand for operand in recurrence.operands if operand.name == source.name), None)
    if operand is not None and not operand.is_map:
        clauses.findings.report(NotASource(source.span, recurrence.name, source.name, operand.span))


def check_projected(clauses: Clauses, name: Name, inputs: Mapping[str, Span], recurrence: CheckedRecurrence) -> None:
    kinds = recurrence.kinds
    kind = kinds.get(name.name)
    if kind is None:
        known = tuple(operand for operand, operand_kind in kinds.items() if operand_kind not in LEARNED)
        clauses.findings.unknown("input", name.name, known, name.span, owner=recurrence.name)
    elif kind in LEARNED:
        reason = "it is a parameter: learned itself"
        clauses.findings.report(NotProjectable(name.span, recurrence.name, name.name, reason))
    elif name.name in inputs:
        reason = "it is an input of the scan already"
        clauses.findings.report(NotProjectable(name.span, recurrence.name, name.name, reason))
