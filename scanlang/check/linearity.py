"""Is a state's update linear in its old value, entry by entry? If so, split it: `h = decay * h + drive`.

The split is algebra on the tree (`+ - * /`, minus, `where`, `sum`), so `h + (1 - h) * f` comes out as `1 - f` and `f`.
In: the right-hand side, its names checked. Out: decay and drive, neither of which mentions the state, or a finding at
the term that is not linear.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from scanlang.check.expressions import mentions
from scanlang.check.findings import Findings
from scanlang.errors import NotDiagonal, NotLinear
from scanlang.source import Span
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum


@dataclass(frozen=True)
class Split:
    """`decay * state + drive`; None stands for zero and is never written."""

    decay: Expr | None
    drive: Expr | None


class NotSplit(Exception):
    """Unwinds the walk after its finding was reported."""


@dataclass(frozen=True)
class StateEntry:
    """The state whose update is split; `text` is how it is declared, `h[n]`, with the index of the head."""

    name: str
    indices: tuple[str, ...]
    text: str
    findings: Findings

    def refuse(self, span: Span, reason: str) -> NotSplit:
        self.findings.report(NotLinear(span, self.text, reason))
        return NotSplit()


def split_update(value: Expr, state: StateEntry) -> tuple[Expr, Expr] | None:
    """`exp(a) * h + b * x` --> `exp(a)`, `b * x`; None after a finding."""
    try:
        split = split_expression(value, state)
    except NotSplit:
        return None
    zero = Number(0.0, True, span=value.span)
    return split.decay or zero, split.drive or zero


def split_expression(expr: Expr, state: StateEntry) -> Split:
    if not mentions(expr, state.name):
        return Split(None, expr)
    match expr:
        case Name():
            return split_name(expr, state)
        case Negative():
            inner = split_expression(expr.operand, state)
            return Split(negated(inner.decay, expr.span), negated(inner.drive, expr.span))
        case Binary():
            return split_binary(expr, state)
        case Call():
            return split_call(expr, state)
        case Sum():
            inner = split_expression(expr.body, state)
            return Split(summed(inner.decay, expr), summed(inner.drive, expr))
        case Number():
            return Split(None, expr)
        case CellMean():
            raise ValueError("a recurrence has no mean over cells")
        case _:
            assert_never(expr)


def split_name(name: Name, state: StateEntry) -> Split:
    indices = tuple(index.name for index in name.indices if isinstance(index, Name))
    if indices != state.indices:
        state.findings.report(NotDiagonal(name.span, state.text, name.span.text))
        raise NotSplit
    return Split(Number(1.0, True, span=name.span), None)


def split_binary(expr: Binary, state: StateEntry) -> Split:
    match expr.operator:
        case "+" | "-":
            left, right = split_expression(expr.left, state), split_expression(expr.right, state)
            return Split(combined(expr, left.decay, right.decay), combined(expr, left.drive, right.drive))
        case "*":
            return split_product(expr, state)
        case "/":
            if mentions(expr.right, state.name):
                raise state.refuse(expr.right.span, f"division by `{state.text}`")
            left = split_expression(expr.left, state)
            return Split(over(left.decay, expr), over(left.drive, expr))
        case _:
            raise state.refuse(expr.span, f"`{state.text}` under `{expr.operator}`")


def split_product(expr: Binary, state: StateEntry) -> Split:
    left_has, right_has = mentions(expr.left, state.name), mentions(expr.right, state.name)
    if left_has and right_has:
        raise state.refuse(expr.span, self_product(expr, state))
    if left_has:
        left = split_expression(expr.left, state)
        return Split(product(left.decay, expr.right, expr.span), product(left.drive, expr.right, expr.span))
    right = split_expression(expr.right, state)
    return Split(product(expr.left, right.decay, expr.span), product(expr.left, right.drive, expr.span))


def self_product(expr: Binary, state: StateEntry) -> str:
    if isinstance(expr.left, Name) and isinstance(expr.right, Name):
        return f"`{state.text}` squared"
    gates = [side for side in (expr.left, expr.right) if isinstance(side, Call) and side.function != "where"]
    return f"a gate that reads `{state.text}`" if gates else f"`{state.text}` multiplied by itself"


def split_call(expr: Call, state: StateEntry) -> Split:
    if expr.function != "where":
        raise state.refuse(expr.span, f"`{state.text}` inside `{expr.function}`")
    condition, yes, no = expr.arguments
    if mentions(condition, state.name):
        raise state.refuse(condition.span, f"`{state.text}` in a condition")
    left, right = split_expression(yes, state), split_expression(no, state)
    return Split(chosen(expr, left.decay, right.decay), chosen(expr, left.drive, right.drive))


def negated(expr: Expr | None, span: Span) -> Expr | None:
    """`-(-a)` --> `a`."""
    if expr is None:
        return None
    return expr.operand if isinstance(expr, Negative) else Negative(expr, span=span)


def combined(expr: Binary, left: Expr | None, right: Expr | None) -> Expr | None:
    """The parts of a sum or difference, without a zero: `0 - a` --> `-a`."""
    if right is None:
        return left
    if left is None:
        return right if expr.operator == "+" else negated(right, expr.span)
    return replace(expr, left=left, right=right)


def product(left: Expr | None, right: Expr | None, span: Span) -> Expr | None:
    """`1 * a` --> `a`, `a * 1` --> `a`, and nothing where a factor is zero."""
    if left is None or right is None:
        return None
    if is_one(left):
        return right
    return left if is_one(right) else Binary("*", left, right, span=span)


def over(numerator: Expr | None, expr: Binary) -> Expr | None:
    return None if numerator is None else replace(expr, left=numerator)


def summed(body: Expr | None, expr: Sum) -> Expr | None:
    return None if body is None else replace(expr, body=body)


def chosen(expr: Call, yes: Expr | None, no: Expr | None) -> Expr | None:
    """`where(c, a, b)` of one side of the split; a side that is zero is written as 0."""
    if yes is None and no is None:
        return None
    zero = Number(0.0, True, span=expr.span)
    return replace(expr, arguments=(expr.arguments[0], yes or zero, no or zero))


def is_one(expr: Expr) -> bool:
    return isinstance(expr, Number) and expr.value == 1


def written(name: str, indices: tuple[str, ...]) -> str:
    """`h[n]`, `h`."""
    return f"{name}[{', '.join(indices)}]" if indices else name
