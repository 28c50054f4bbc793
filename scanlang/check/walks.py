"""The structure of a walk: every axis of the grid is visited whole, tiles and phases have their inner loop.

In: the loops as written. Out: a `WalkOrder` over axis numbers, or None after findings. A walk that passes visits every
cell exactly once on every grid.
"""

from __future__ import annotations

from scanlang.check.findings import Findings
from scanlang.check.program import AxisSize, Loop, Phases, Size, Tiles, WalkOrder, Whole
from scanlang.errors import (
    SnakeOutermost,
    TooMany,
    WalkMissesAxis,
    WalkMissesInnerLoop,
    WalkRepeatsAxis,
    WalkSize,
)
from scanlang.limits import LIMITS
from scanlang.syntax.nodes import Name, Number, Walk, WalkItem


def check_walk(walk: Walk, axes: tuple[str, ...], findings: Findings) -> WalkOrder | None:
    """`walk h by 7, ~w, h` as loops over axes 0 and 1."""
    before = findings.count
    if len(walk.items) > LIMITS.loops:
        findings.report(TooMany(walk.items[LIMITS.loops].span, "loops in a walk", LIMITS.loops))
        return None
    check_directions(walk, findings)
    loops = [check_item(item, axes, findings) for item in walk.items]
    if None not in loops:
        check_coverage(walk, axes, findings)
    if findings.count > before:
        return None
    return WalkOrder(tuple(loop for loop in loops if loop is not None), walk.span)


def check_directions(walk: Walk, findings: Findings) -> None:
    outermost = walk.items[0]
    if outermost.direction in ("~", "~~"):
        findings.report(SnakeOutermost(outermost.span, outermost.axis, outermost.direction))


def check_item(item: WalkItem, axes: tuple[str, ...], findings: Findings) -> Loop | None:
    """One loop with its axis as a number; None only if its axis is unknown."""
    if item.axis not in axes:
        findings.unknown("axis", item.axis, axes, item.span)
        return None
    axis = axes.index(item.axis)
    if item.mod is not None:
        return Phases(axis, item.direction, check_size(item.mod, "there is at least one residue", axes, findings))
    if item.by is None:
        return Whole(axis, item.direction)
    by = check_size(item.by, "a tile has at least one cell", axes, findings)
    if item.start is None:
        return Tiles(axis, item.direction, by, None)
    first = check_size(item.start, "the first tile has at least one cell", axes, findings)
    if isinstance(by, int) and isinstance(first, int) and first > by > 0:
        reason = f"the first tile is at most as long as the others, {by}"
        findings.report(WalkSize(item.start.span, str(first), reason))
    return Tiles(axis, item.direction, by, first)


def check_size(size: Number | Name, reason: str, axes: tuple[str, ...], findings: Findings) -> Size:
    """A size as a positive integer, or as the length of an axis; 1 after a finding."""
    if isinstance(size, Number):
        if size.value >= 1:
            return int(size.value)
        findings.report(WalkSize(size.span, f"{size.value:g}", reason))
        return 1
    if size.name in axes:
        return AxisSize(axes.index(size.name))
    findings.unknown("axis", size.name, axes, size.span)
    return 1


def check_coverage(walk: Walk, axes: tuple[str, ...], findings: Findings) -> None:
    """Every axis ends with exactly one loop over all that is left of it."""
    whole: dict[str, WalkItem] = {}
    split: dict[str, WalkItem] = {}
    for item in walk.items:
        if item.axis in whole:
            findings.report(WalkRepeatsAxis(item.span, item.axis, whole[item.axis].span))
        elif item.by is None and item.mod is None:
            whole[item.axis] = item
        else:
            split[item.axis] = item
    missed = tuple(axis for axis in axes if axis not in whole and axis not in split)
    if missed:
        findings.report(WalkMissesAxis(walk.span, missed))
    for axis, item in split.items():
        if axis not in whole:
            findings.report(WalkMissesInnerLoop(item.span, axis, " ".join(item.span.text.split())))
