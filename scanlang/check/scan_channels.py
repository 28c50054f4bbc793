"""`channels split`: every direction has channels of its own, and what that leaves of merges, sharing and projections.

In: the clauses and what was found of the other clauses. Out: the proportions of the directions, and findings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from scanlang.check.program import CheckedRecurrence, Projection
from scanlang.check.scan_clauses import Clauses
from scanlang.errors import BadPart, PartsMisfit, SplitMerge, SplitProjection, UnequalParts
from scanlang.source import Span
from scanlang.syntax.nodes import Channels, Merge

SIDE_BY_SIDE = ("sum", "concat")


def split_of(clauses: Clauses) -> Channels | None:
    clause = clauses.one(Channels)
    return clause if clause is not None and clause.split else None


def check_split(clauses: Clauses, counts: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The proportions of the first layer's directions; None without a split or after a finding."""
    split = split_of(clauses)
    if split is None:
        return None
    merge = clauses.one(Merge)
    if merge is not None and merge.rule not in SIDE_BY_SIDE:
        clauses.findings.report(SplitMerge(merge.span, split.span))
    for part in split.parts:
        if part.value < 1:
            clauses.findings.report(BadPart(part.span, part.span.text))
    if counts is None:
        return None
    for layer, count in enumerate(counts):
        if split.parts and len(split.parts) != count:
            where = layer if len(counts) > 1 else None
            clauses.findings.report(PartsMisfit(split.span, len(split.parts), count, where))
            return None
    parts = tuple(int(part.value) for part in split.parts) or (1,) * counts[0]
    divisor = math.gcd(*parts) or 1
    return tuple(part // divisor for part in parts)


def check_sharing_of_parts(clauses: Clauses, shared: Mapping[str, Span], recurrence: CheckedRecurrence | None) -> None:
    """What has values per channel is shared by equal parts only; a `shared param` has none."""
    split = split_of(clauses)
    if split is None or recurrence is None or len({part.value for part in split.parts}) < 2:
        return
    without_channels = {operand.name for operand in recurrence.of_kind("shared param")}
    name = next((name for name in shared if name not in without_channels), None)
    if name is not None:
        clauses.findings.report(UnequalParts(shared[name], name, split.span))


def check_projections_of_parts(
    clauses: Clauses, projections: tuple[Projection, ...], recurrence: CheckedRecurrence | None
) -> None:
    """No projection makes a value for every channel, unit or group."""
    split = split_of(clauses)
    if split is None or recurrence is None:
        return
    per_channel = {operand.name for operand in recurrence.operands if operand.kind == "input" or operand.per == "group"}
    for projection in projections:
        for name in projection.names:
            if name in per_channel:
                clauses.findings.report(SplitProjection(projection.span, name, split.span))
