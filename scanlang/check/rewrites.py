"""Expressions of a checked equation as the passes after want them: without the index of the head, and with the old value of a
state in its own update written as the state itself. Out: expressions; no findings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard, assert_never

from scanlang.check.expressions import PREV
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum


def without_head(expr: Expr, head: str | None) -> Expr:
    """`S[n, p] * x[p]` --> `S[n] * x`."""

    def change(part: Expr) -> Expr:
        if not isinstance(part, Name):
            return part
        left = tuple(index for index in part.indices if not (isinstance(index, Name) and index.name == head))
        return part if left == part.indices else replace(part, indices=left)

    return expr if head is None else rebuilt(expr, change)


def with_old_value(expr: Expr, name: str) -> Expr:
    """In the equation of `h`: `prev(h)` --> `h`."""

    def change(part: Expr) -> Expr:
        return replace(part.arguments[0], span=part.span) if is_previous(part) and is_called(part.arguments[0], name) else part

    return rebuilt(expr, change)


def is_previous(expr: Expr) -> TypeGuard[Call]:
    """`prev(e)`."""
    return isinstance(expr, Call) and expr.function == PREV


def is_called(expr: Expr, name: str) -> bool:
    """`h`, `h[n]`."""
    return isinstance(expr, Name) and expr.name == name


def rebuilt(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """`expr` with every part changed, the innermost first; indices of names are no parts."""
    match expr:
        case Number() | Name():
            return change(expr)
        case Negative():
            return change(replace(expr, operand=rebuilt(expr.operand, change)))
        case Binary():
            return change(replace(expr, left=rebuilt(expr.left, change), right=rebuilt(expr.right, change)))
        case Call():
            return change(replace(expr, arguments=tuple(rebuilt(argument, change) for argument in expr.arguments)))
        case Sum() | CellMean():
            return change(replace(expr, body=rebuilt(expr.body, change)))
        case _:
            assert_never(expr)
