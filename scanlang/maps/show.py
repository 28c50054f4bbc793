"""Integer expressions as a person writes them, terms that occur more than once named first.

a = t // n1
(7 * (a // 7), t % n1 + a)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import assert_never

from scanlang.maps.integers import (
    Absolute,
    Add,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
    children,
)

_SUM, _PRODUCT, _ATOM = 1, 2, 3


def show(*expressions: Integer) -> tuple[list[str], list[str]]:
    """The lines that name repeated terms, in order, and the text of each expression."""
    counts: Counter[Integer] = Counter()
    order: dict[Integer, None] = {}
    for expression in expressions:
        _count(expression, counts, order)
    names: dict[Integer, str] = {}
    lines = []
    for term in order:
        if counts[term] > 1 and not isinstance(term, Constant | Variable) and not _is_negated(term):
            text = _text(term, names, 0)
            names[term] = f"a{len(names)}"
            lines.append(f"{names[term]} = {text}")
    return lines, [_text(expression, names, 0) for expression in expressions]


def _is_negated(term: Integer) -> bool:
    return isinstance(term, Multiply) and term.left == Constant(-1)


def _count(expression: Integer, counts: Counter[Integer], order: dict[Integer, None]) -> None:
    """Occurrences, a term inside a repeated term counted once; `order` has terms after what they are made of."""
    counts[expression] += 1
    if counts[expression] > 1:
        return
    for child in children(expression):
        _count(child, counts, order)
    order[expression] = None


def _text(expression: Integer, names: Mapping[Integer, str], level: int) -> str:
    if expression in names:
        return names[expression]

    def inner(part: Integer, level: int = 0) -> str:
        return _text(part, names, level)

    match expression:
        case Constant(value):
            return str(value) if value >= 0 or level < _PRODUCT else f"({value})"
        case Variable(name):
            return name
        case Add(left, Multiply(Constant(value), right)) if value < 0:
            text = inner(right, _PRODUCT) if value == -1 else f"{-value} * {inner(right, _PRODUCT)}"
            return _bracketed(f"{inner(left, _SUM)} - {text}", _SUM, level)
        case Add(left, Constant(value)) if value < 0:
            return _bracketed(f"{inner(left, _SUM)} - {-value}", _SUM, level)
        case Add(left, right):
            return _bracketed(f"{inner(left, _SUM)} + {inner(right, _SUM)}", _SUM, level)
        case Multiply(Constant(-1), right):
            return _bracketed(f"-{inner(right, _ATOM)}", _SUM, level)
        case Multiply(left, right):
            return _bracketed(f"{inner(left, _PRODUCT)} * {inner(right, _ATOM)}", _PRODUCT, level)
        case FloorDiv(left, right):
            return _bracketed(f"{inner(left, _PRODUCT)} // {inner(right, _ATOM)}", _PRODUCT, level)
        case FloorMod(left, right):
            return _bracketed(f"{inner(left, _PRODUCT)} % {inner(right, _ATOM)}", _PRODUCT, level)
        case Minimum(left, right):
            return f"min({inner(left)}, {inner(right)})"
        case Maximum(left, right):
            return f"max({inner(left)}, {inner(right)})"
        case Absolute(operand):
            return f"abs({inner(operand)})"
        case Select(condition, then, otherwise):
            test = f"{inner(condition.left, _SUM)} {condition.operator} {inner(condition.right, _SUM)}"
            return f"where({test}, {inner(then)}, {inner(otherwise)})"
        case _:
            assert_never(expression)


def _bracketed(text: str, strength: int, level: int) -> str:
    return f"({text})" if strength < level else text
