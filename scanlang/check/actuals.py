"""The sizes that a scan gives its recurrence: `recur selective(state = 1, rank = rank)`.

In: the clause, the recurrence, the labels of the scan's formals. Out: an expression in those labels for each size of
the recurrence; a default is used where none is given, with the recurrence's other sizes put in.
"""

from __future__ import annotations

from scanlang.check.expressions import parts
from scanlang.check.findings import Findings
from scanlang.check.program import CheckedRecurrence
from scanlang.check.sizes import check_constant, check_size, substitute
from scanlang.errors import DuplicateName, MissingSize, TooMany
from scanlang.limits import LIMITS
from scanlang.syntax.nodes import Actual, Expr, Formal, Name, Recur


def check_actuals(
    clause: Recur, recurrence: CheckedRecurrence, scan_labels: tuple[str, ...], findings: Findings
) -> dict[str, Expr]:
    """`state = 1` of the clause, `rank = ceil(dim / 16)` of a default --> both in terms of the scan's formals."""
    given = collect(clause, recurrence, scan_labels, findings)
    if not findings.none:
        return {}
    sizes: dict[str, Expr] = {}
    nodes: dict[str, int] = {}
    for formal in recurrence.formals:
        actual = given.get(formal.label)
        if actual is not None:
            sizes[formal.label], nodes[formal.label] = actual.value, count_nodes(actual.value, {})
        elif formal.default is None:
            findings.report(MissingSize(clause.span, recurrence.name, formal.label, formal.span))
            return {}
        else:
            nodes[formal.label] = count_nodes(formal.default, nodes)
            if nodes[formal.label] > LIMITS.tokens:
                findings.report(TooMany(formal.default.span, "sizes made of other sizes", LIMITS.tokens))
                return {}
            sizes[formal.label] = substitute(formal.default, sizes)
            check_constant(formal.label, sizes[formal.label], limit_of(formal), findings)
    return sizes


def collect(
    clause: Recur, recurrence: CheckedRecurrence, scan_labels: tuple[str, ...], findings: Findings
) -> dict[str, Actual]:
    formals = {formal.label: formal for formal in recurrence.formals}
    given: dict[str, Actual] = {}
    for actual in clause.actuals:
        if actual.label not in formals:
            findings.unknown("size", actual.label, tuple(formals), actual.span, owner=recurrence.name)
            continue
        if actual.label in given:
            findings.report(DuplicateName(actual.span, "size", actual.label, given[actual.label].span))
        given.setdefault(actual.label, actual)
        check_size(actual.label, actual.value, scan_labels, limit_of(formals[actual.label]), findings)
    return given


def limit_of(formal: Formal) -> int:
    return LIMITS.integer if formal.index is None else LIMITS.index_size


def count_nodes(expr: Expr, nodes: dict[str, int]) -> int:
    """The nodes of an expression once the names in `nodes` are replaced."""
    if isinstance(expr, Name):
        return nodes.get(expr.name, 1)
    return 1 + sum(count_nodes(part, nodes) for part in parts(expr))
