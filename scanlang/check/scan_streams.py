"""How streams run along the directions: the convolution before the recurrence, operands in another order, labels of steps.

In: the clauses, the scan's inputs and its recurrence (None after findings). Out: one part of a `CheckedScan` each.
"""

from __future__ import annotations

from collections.abc import Mapping

from scanlang.check.order_tree import is_given
from scanlang.check.program import LABEL, LEARNED, CheckedRecurrence, Conv, Direction
from scanlang.check.scan_clauses import Clauses
from scanlang.check.scan_directions import Layer, ScanDirections
from scanlang.errors import BadConv, DuplicateName, LabelMisfit, LabelsOfGiven, NotAlong
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Along, Label, Name, Project


def check_conv(
    clauses: Clauses, inputs: Mapping[str, Span], recurrence: CheckedRecurrence | None, directions: ScanDirections
) -> Conv | None:
    """A width in bounds, and a first input that is used where the convolution takes its place."""
    clause = clauses.one(nodes.Conv)
    if clause is None:
        return None
    if not 1 <= clause.width.value <= LIMITS.conv_width:
        reason = f"a width of {clause.width.span.text}: it is 1 to {LIMITS.conv_width} steps"
        clauses.findings.report(BadConv(clause.width.span, reason))
    first = next(iter(inputs), None)
    sources = {project.source.name for project in clauses.all(Project)}
    maps = () if recurrence is None else tuple(operand.name for operand in recurrence.operands if operand.is_map)
    operands = {} if recurrence is None else recurrence.kinds
    is_read = first in maps or (first in sources and first not in operands)
    if recurrence is not None and not is_read:
        reason = f"it is of the first input, and neither the recurrence nor a projection reads `{first}` per channel"
        clauses.findings.report(BadConv(clause.span, reason))
    along = None if clause.along is None else directions.direction(clause.along)
    return Conv(int(clause.width.value), along, clause.span)


def check_along(clauses: Clauses, recurrence: CheckedRecurrence | None, directions: ScanDirections) -> dict[str, Direction]:
    """Each operand of the recurrence that runs in another order, with that order."""
    first: dict[str, Span] = {}
    found: dict[str, Direction] = {}
    kinds = {} if recurrence is None else recurrence.kinds
    for clause in clauses.all(Along):
        order = directions.direction(clause.order)
        for name in clause.names:
            if name.name in first:
                clauses.findings.report(DuplicateName(name.span, "the order of operand", name.name, first[name.name]))
            elif recurrence is not None:
                check_operand(clauses, name, kinds, recurrence)
            first.setdefault(name.name, name.span)
            if order is not None:
                found.setdefault(name.name, order)
    return found


def check_operand(clauses: Clauses, name: Name, kinds: Mapping[str, str], recurrence: CheckedRecurrence) -> None:
    """It is something that the recurrence reads anew at every step."""
    if name.name not in kinds:
        known = tuple(operand for operand, kind in kinds.items() if kind not in LEARNED)
        clauses.findings.unknown("operand", name.name, known, name.span, owner=recurrence.name)
    elif kinds[name.name] in LEARNED:
        clauses.findings.report(NotAlong(name.span, name.name, "it is a parameter: the same at every step"))


def check_labels(clauses: Clauses, recurrence: CheckedRecurrence | None, recur: Span | None) -> bool:
    """Labels are given where the recurrence reads them, and nowhere else. `recur` is where the scan names it."""
    clause = clauses.one(Label)
    if recurrence is not None:
        read = next((operand.name for operand in recurrence.operands if LABEL in operand.indices), None)
        if clause is not None and read is None:
            clauses.findings.report(LabelMisfit(clause.span, recurrence.name, None))
        if clause is None and read is not None and recur is not None:
            clauses.findings.report(LabelMisfit(recur, recurrence.name, read))
    return clause is not None


def check_labelled(layers: tuple[Layer, ...], clauses: Clauses) -> None:
    """Moves are known when the program is compiled: not those of an order that comes with the call."""
    directions = {direction.text: direction for layer in layers for direction in layer}
    for direction in directions.values():
        if is_given(direction.order):
            clauses.findings.report(LabelsOfGiven(direction.span, direction.text))
