"""A merge expression: the outputs `y[0]`, `y[1]` ... of the directions, the inputs of the scan, and the layers it uses.

In: the clause, how many directions each layer has (None if that is unknown after findings), the scan's inputs and used
layers. Out: findings, and what the merge names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from scanlang.check.expressions import MERGE, check_expression, parts
from scanlang.check.findings import Findings
from scanlang.errors import (
    DirectionOutOfRange,
    DirectionsUnused,
    IndexMisused,
    IndexShadowed,
    ReservedName,
    WrongCall,
    listed,
)
from scanlang.syntax.nodes import Call, CellMean, Expr, Merge, Name, Negative, Number, Sum

OUTPUTS = "y"
WORDS = ("sum", "mean", "max", "concat", "weighted")
"""Merges that are a word."""


def check_merge(
    merge: Merge, counts: tuple[int, ...] | None, inputs: tuple[str, ...], layers: tuple[str, ...], findings: Findings
) -> frozenset[str]:
    """The inputs and layers that the merge uses; `sum`, `mean`, `max`, `concat` and `weighted` use none."""
    if isinstance(merge.rule, str):
        return frozenset()
    before = findings.count
    names = MergeNames(counts, inputs, layers, findings, is_word=isinstance(merge.rule, Name))
    functions = {**MERGE.functions, **dict.fromkeys(layers, ("value",))}
    check_expression(merge.rule, replace(MERGE, functions=functions), names, findings)
    check_means(merge.rule, findings)
    if findings.count == before and counts is not None and not names.all_directions:
        check_all_used(merge, counts, names.directions, findings)
    return frozenset(names.used) | {call.function for call in calls(merge.rule) if call.function in layers}


def check_all_used(merge: Merge, counts: tuple[int, ...], used: set[int], findings: Findings) -> None:
    """Of every layer; the first that has an unused direction is said."""
    for layer, count in enumerate(counts):
        unused = tuple(k for k in range(count) if k not in used)
        if unused:
            findings.report(DirectionsUnused(merge.span, unused, count, layer if len(set(counts)) > 1 else None))
            return


def check_means(expr: Expr, findings: Findings) -> None:
    """A mean over cells is of something that cells have."""
    if isinstance(expr, CellMean) and is_constant(expr):
        problem = "this is the same in every cell"
        findings.report(WrongCall(expr.body.span, "mean", "mean(cells: value)", problem))
    for part in parts(expr):
        check_means(part, findings)


def is_constant(expr: Expr) -> bool:
    return not isinstance(expr, Name) and all(is_constant(part) for part in parts(expr))


def calls(expr: Expr) -> Iterator[Call]:
    if isinstance(expr, Call):
        yield expr
    for part in parts(expr):
        yield from calls(part)


@dataclass
class MergeNames:
    """The rules for names in a merge, and what was used. `is_word`: the merge is one name, perhaps to be `sum` or its like."""

    counts: tuple[int, ...] | None
    inputs: tuple[str, ...]
    layers: tuple[str, ...]
    findings: Findings
    is_word: bool = False
    used: set[str] = field(default_factory=set)
    directions: set[int] = field(default_factory=set)
    all_directions: bool = False

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name == OUTPUTS:
            self.check_output(name, bound)
        elif name.name in bound:
            reason = "it only counts the directions"
            self.findings.report(IndexMisused(name.span, name.name, "is an index, not a value", reason))
        elif name.name in self.layers and name.name not in self.inputs:
            self.findings.report(WrongCall(name.span, name.name, f"{name.name}(value)", "a layer is called"))
        elif name.name not in self.inputs:
            words = (*WORDS, OUTPUTS, *self.inputs) if self.is_word else (OUTPUTS, *self.inputs)
            hint = None if not self.is_word else f"a merge is {listed(WORDS, 'or')}, or an expression such as `y[0] + y[1]`"
            self.findings.unknown("name", name.name, words, name.span, hint=hint)
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
        if self.counts is not None and number >= min(self.counts):
            self.out_of_range(index)

    def out_of_range(self, index: Expr) -> None:
        if self.counts is not None:
            fewest = min(self.counts)
            layer = self.counts.index(fewest) if len(set(self.counts)) > 1 else None
            self.findings.report(DirectionOutOfRange(index.span, index.span.text, fewest, layer))

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        if node.index in bound:
            self.findings.report(IndexShadowed(node.span, node.index))
        elif node.index == OUTPUTS or node.index in self.inputs:
            meaning = "the outputs of the directions" if node.index == OUTPUTS else "an input of the scan"
            self.findings.report(ReservedName(node.span, "an index", node.index, f"`{node.index}` is {meaning}"))
