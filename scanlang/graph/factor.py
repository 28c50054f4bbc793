"""Order the factors of products by the indices they depend on, and take factors out of sums they do not depend on.

    Before:  sum(n: ∂h[n] * x * B[n])       dt * B[n] * x
    After:   x * sum(n: ∂h[n] * B[n])       dt * x * B[n]        (dt * x once, not once for every n)

Only rounding changes. It makes the work of a step grow with its indices no faster than it must, and equal terms meet.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import assert_never

from scanlang.graph.values import (
    ONE,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    free_indices,
    multiply,
    negate,
)


def factor(value: Value) -> Value:
    """`value` with every product in it ordered and every sum freed of outer factors."""
    match value:
        case Constant() | IndexValue() | Read() | Previous():
            return value
        case Apply("mul" | "neg", _):
            negative, factors = _factors(value)
            return _signed(negative, _product(factors))
        case Apply(function, arguments):
            return Apply(function, tuple(factor(argument) for argument in arguments))
        case Total(index, body):
            negative, factors = _factors(body)
            inside = [one for one in factors if index in free_indices(one)]
            outside = [one for one in factors if index not in free_indices(one)]
            return _signed(negative, multiply(_product(outside), Total(index, _product(inside))))
        case _:
            assert_never(value)


def _factors(value: Value) -> tuple[bool, list[Value]]:
    """Whether the product is negated, and its factors, each factored itself."""
    match value:
        case Apply("neg", (operand,)):
            negative, factors = _factors(operand)
            return not negative, factors
        case Apply("mul", (left, right)):
            (left_negative, lefts), (right_negative, rights) = _factors(left), _factors(right)
            return left_negative != right_negative, lefts + rights
        case Total():
            factored = factor(value)
            return _factors(factored) if isinstance(factored, Apply) else (False, [factored])
        case _:
            return False, [factor(value)]


def _product(factors: Iterable[Value]) -> Value:
    """The product of the factors without an index, times that of those with the same indices, and so on."""
    groups: dict[tuple[str, ...], list[Value]] = {}
    for one in factors:
        groups.setdefault(tuple(sorted(free_indices(one))), []).append(one)
    products: list[Value] = [reduce(multiply, groups[key]) for key in sorted(groups, key=lambda key: (len(key), key))]
    unit: Value = ONE
    return reduce(multiply, products, unit)


def _signed(negative: bool, value: Value) -> Value:
    return negate(value) if negative else value
