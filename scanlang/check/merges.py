"""A merge expression: the outputs `y[0]`, `y[1]` ... of the directions and the inputs of the scan.

In: the clause, the number of directions (None if that is unknown after findings) and the scan's inputs. Out: findings,
and which inputs the merge uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scanlang.check.expressions import MERGE, check_expression
from scanlang.check.findings import Findings
from scanlang.errors import DirectionOutOfRange, DirectionsUnused, IndexMisused, IndexShadowed, ReservedName
from scanlang.syntax.nodes import Expr, Merge, Name, Negative, Number, Sum

OUTPUTS = "y"


def check_merge(merge: Merge, count: int | None, inputs: tuple[str, ...], findings: Findings) -> frozenset[str]:
    """The inputs that the merge uses; `sum` and `mean` use none."""
    if isinstance(merge.rule, str):
        return frozenset()
    before = findings.count
    names = MergeNames(count, inputs, findings)
    check_expression(merge.rule, MERGE, names, findings)
    if findings.count == before and count is not None and not names.all_directions:
        unused = tuple(k for k in range(count) if k not in names.directions)
        if unused:
            findings.report(DirectionsUnused(merge.span, unused, count))
    return frozenset(names.used)


@dataclass
class MergeNames:
    """The rules for names in a merge, and what was used."""

    count: int | None
    inputs: tuple[str, ...]
    findings: Findings
    used: set[str] = field(default_factory=set)
    directions: set[int] = field(default_factory=set)
    all_directions: bool = False

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name == OUTPUTS:
            self.check_output(name, bound)
        elif name.name in bound:
            reason = "it only counts the directions"
            self.findings.report(IndexMisused(name.span, name.name, "is an index, not a value", reason))
        elif name.name not in self.inputs:
            self.findings.unknown("name", name.name, (OUTPUTS, *self.inputs), name.span)
        elif name.indices:
            reason = "the inputs of a scan have one value per channel"
            self.findings.report(IndexMisused(name.span, name.span.text, "has an index", reason))
        else:
            self.used.add(name.name)

    def check_output(self, name: Name, bound: frozenset[str]) -> None:
        if len(name.indices) != 1:
            problem = "needs the number of a direction"
            reason = "write `y[0]`, or `sum(k: y[k])` for all directions"
            self.findings.report(IndexMisused(name.span, name.span.text, problem, reason))
            return
        index = name.indices[0]
        if isinstance(index, Name) and index.name in bound and not index.indices:
            self.all_directions = True
        elif isinstance(index, Number) and index.is_integer:
            self.check_number(index)
        elif isinstance(index, Negative) and isinstance(index.operand, Number):
            self.out_of_range(index)
        else:
            reason = "directions are numbered `0`, `1` ..., or counted by `sum(k: ...)`"
            self.findings.report(IndexMisused(index.span, index.span.text, "is no direction", reason))

    def check_number(self, index: Number) -> None:
        number = int(index.value)
        self.directions.add(number)
        if self.count is not None and number >= self.count:
            self.out_of_range(index)

    def out_of_range(self, index: Expr) -> None:
        if self.count is not None:
            self.findings.report(DirectionOutOfRange(index.span, index.span.text, self.count))

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        if node.index in bound:
            self.findings.report(IndexShadowed(node.span, node.index))
        elif node.index == OUTPUTS or node.index in self.inputs:
            meaning = "the outputs of the directions" if node.index == OUTPUTS else "an input of the scan"
            self.findings.report(ReservedName(node.span, "an index", node.index, f"`{node.index}` is {meaning}"))
