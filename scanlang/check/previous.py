"""Values of the step before, and what scales read: what the names alone do not show.

In: an equation whose names and indices were found right. Out: findings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from scanlang.check.expressions import PREV, mentions, names_in, parts
from scanlang.check.findings import Findings
from scanlang.check.rewrites import is_called, is_previous
from scanlang.errors import PrevMisused, ScaleReadsState
from scanlang.syntax.nodes import Call, Equation, Expr, Name


def check_previous(equation: Equation, of_one_step: Collection[str], findings: Findings) -> None:
    """`prev(e)` has a value: `of_one_step` are the scales without an old one."""
    for call in previous_in(equation.value):
        (inside,) = call.arguments
        if mentions(inside, equation.name) and not is_called(inside, equation.name):
            reason = f"`{equation.name}` is its old value in its own equation, and nothing from before that is kept"
            instead = f"use `{PREV}` of it in an equation below, or `{equation.name}` itself"
            findings.report(PrevMisused(call.span, call.span.text, reason, instead))
        if isinstance(inside, Name) and inside.name in of_one_step:
            reason = f"`{inside.name}` is a scale of this step alone: its equation does not read its old value"
            instead = f"take `{PREV}` of what `{inside.name}` is made of; a scale that reads itself has an old value"
            findings.report(PrevMisused(call.span, call.span.text, reason, instead))


def previous_in(expr: Expr) -> Iterator[Call]:
    """Every `prev(e)`, those inside others too."""
    if is_previous(expr):
        yield expr
    for part in parts(expr):
        yield from previous_in(part)


def check_reads_of_scale(equation: Equation, stateful: Collection[str], findings: Findings) -> None:
    """`stateful` are the states above, and what is made of them."""
    for name in names_in(equation.value):
        if name.name in stateful:
            findings.report(ScaleReadsState(name.span, equation.name, name.name))
