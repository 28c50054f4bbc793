"""What the directions of a scan have in common: parameters, projections, the convolution.

In: the clauses and the recurrence (None after findings). Out: the shared names, each with where the scan says so.
"""

from __future__ import annotations

from scanlang.check.program import LEARNED, CheckedRecurrence
from scanlang.check.scan_clauses import Clauses
from scanlang.errors import NothingToShare
from scanlang.source import Span
from scanlang.syntax.nodes import Conv, Project, Share

CONV, PROJECT = "conv", "project"


def check_shared(clauses: Clauses, recurrence: CheckedRecurrence | None) -> dict[str, Span]:
    """What the directions have in common, each with where it says so; `all` leaves out what the scan has not."""
    clause = clauses.one(Share)
    if clause is None or recurrence is None:
        return {}
    there = {PROJECT: bool(clauses.all(Project)), CONV: clauses.one(Conv) is not None}
    shareable = tuple(operand.name for operand in recurrence.operands if operand.kind in LEARNED)
    named = clauses.once(clause.names, "shared name")
    for name in clause.names:
        if not there.get(name.name, True):
            clauses.findings.report(NothingToShare(name.span, name.name))
        elif name.name not in (*shareable, *there):
            clauses.findings.unknown("parameter", name.name, (*shareable, *there), name.span, owner=recurrence.name)
    if not clause.all:
        return named
    known = (*shareable, *(name for name in there if there[name]))
    return {name: clause.span for name in known if name not in named}
