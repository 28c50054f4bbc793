"""Sizes: the formals of recurrences and scans, their defaults, and the arithmetic of size expressions.

Sizes are computed exactly, as fractions, and must come to a positive integer. Out: findings, and `evaluate_size`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import assert_never

from scanlang.check.expressions import SIZE, check_expression, names_in
from scanlang.check.findings import Findings
from scanlang.errors import BadSize, DuplicateName, IndexMisused
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Formal, Name, Negative, Number, Sum


def evaluate_size(expr: Expr, sizes: Mapping[str, int]) -> Fraction:
    """`evaluate_size(ceil(dim / 16), {"dim": 96})` is 6. ZeroDivisionError where the expression divides by zero."""
    match expr:
        case Number():
            return Fraction(expr.value)
        case Name():
            return Fraction(sizes[expr.name])
        case Negative():
            return -evaluate_size(expr.operand, sizes)
        case Binary():
            return operate(expr.operator, evaluate_size(expr.left, sizes), evaluate_size(expr.right, sizes))
        case Call():
            values = [evaluate_size(argument, sizes) for argument in expr.arguments]
            return call(expr.function, values)
        case Sum() | CellMean():
            raise ValueError("a size has no sum and no mean")
        case _:
            assert_never(expr)


def operate(operator: str, left: Fraction, right: Fraction) -> Fraction:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return left / right
        case "//":
            return Fraction(left // right)
        case "%":
            return left % right
        case _:
            raise ValueError(f"a size has no {operator}")


def call(function: str, values: list[Fraction]) -> Fraction:
    match function:
        case "ceil":
            return Fraction(math.ceil(values[0]))
        case "floor":
            return Fraction(math.floor(values[0]))
        case "min":
            return min(values)
        case "max":
            return max(values)
        case _:
            raise ValueError(f"a size has no {function}")


def size_problem(value: Fraction, limit: int) -> str | None:
    """Why `value` is no size, or None."""
    if value.denominator != 1:
        return f"it comes to {shown(value)}, which is not an integer"
    if value < 1:
        return f"it comes to {shown(value)}; a size is at least 1"
    if value > limit:
        return f"it is more than {limit}, the largest size"
    return None


def shown(value: Fraction) -> str:
    return str(value) if abs(value) <= LIMITS.integer else f"about {float(value):.3g}"


def problem_at(expr: Expr, sizes: Mapping[str, int], limit: int) -> str | None:
    """Why the expression comes to no size there, or None."""
    try:
        return size_problem(evaluate_size(expr, sizes), limit)
    except ZeroDivisionError:
        return "it divides by zero"
    except OverflowError:
        return f"it is more than {limit}, the largest size"


def check_constant(label: str, expr: Expr, limit: int, findings: Findings) -> None:
    """A size without names in it is computed right away."""
    if any(True for _ in names_in(expr)):
        return
    problem = problem_at(expr, {}, limit)
    if problem:
        findings.report(BadSize(expr.span, label, problem))


@dataclass(frozen=True)
class SizeNames:
    """A size expression may use the formals that are known where it stands."""

    known: tuple[str, ...]
    findings: Findings

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name not in self.known:
            self.findings.unknown("size", name.name, self.known, name.span)
        elif name.indices:
            self.findings.report(IndexMisused(name.span, name.span.text, "has an index", "sizes have none"))

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        raise ValueError("a size has no sum")


def check_size(label: str, expr: Expr, known: tuple[str, ...], limit: int, findings: Findings) -> None:
    """Check a size expression: its names, and its value where it has no names."""
    before = findings.count
    check_expression(expr, SIZE, SizeNames(known, findings), findings)
    if findings.count == before:
        check_constant(label, expr, limit, findings)


def check_formals(formals: tuple[Formal, ...], findings: Findings) -> None:
    """Labels and indices are given once, and a default uses only the formals before it."""
    labels: dict[str, Span] = {}
    indices: dict[str, Span] = {}
    for formal in formals:
        limit = LIMITS.integer if formal.index is None else LIMITS.index_size
        if formal.default is not None:
            check_size(formal.label, formal.default, tuple(labels), limit, findings)
        if formal.label in labels:
            findings.report(DuplicateName(formal.span, "size", formal.label, labels[formal.label]))
        labels.setdefault(formal.label, formal.span)
        if formal.index is None:
            continue
        if formal.index in indices:
            findings.report(DuplicateName(formal.span, "index", formal.index, indices[formal.index]))
        indices.setdefault(formal.index, formal.span)


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """`ceil(dim / 16)` with `dim` standing for `2 * width` --> `ceil(2 * width / 16)`."""
    match expr:
        case Number():
            return expr
        case Name():
            return values[expr.name]
        case Negative():
            return replace(expr, operand=substitute(expr.operand, values))
        case Binary():
            return replace(expr, left=substitute(expr.left, values), right=substitute(expr.right, values))
        case Call():
            return replace(expr, arguments=tuple(substitute(argument, values) for argument in expr.arguments))
        case Sum() | CellMean():
            raise ValueError("a size has no sum and no mean")
        case _:
            assert_never(expr)
