"""What a function, an operator or a sum over cells makes of values, or why they do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction

from scanlang.errors import BadSplit, NoResult, NoSuchToken, WrongKind
from scanlang.networks.meeting import Meeting, Misfit
from scanlang.networks.values import Map, Quantity, Several, Value, Vector, counted

Number = Fraction | None


def met(operator: str, values: tuple[Value, Value], at: Meeting) -> Value:
    """Values that are added, multiplied, compared: a vector meets every row of a map, a number everything."""
    check_single(values, at)
    left, right = values
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return Quantity(_operate(operator, left.value, right.value))
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        return right if isinstance(left, Quantity) else left
    assert isinstance(left, Map | Vector)
    assert isinstance(right, Map | Vector)
    named = (at.arguments[0], left), (at.arguments[1], right)
    if isinstance(left, Map) and isinstance(right, Map):
        at.check_alike((at.arguments[0], left), (at.arguments[1], right))
    at.check_same_channels(*named)
    return replace(left if isinstance(left, Map) else right, channels=max(left.channels, right.channels))


def check_single(values: tuple[Value, ...], at: Meeting) -> None:
    """None is several values."""
    for number, value in enumerate(values):
        if isinstance(value, Several):
            raise Misfit(NoResult(at.call, at.place, at.arguments[number], str(value)))


def applied(function: str, values: tuple[Value, ...], at: Meeting) -> Value:
    """A function of values; `token` and `split` have their own below."""
    check_single(values, at)
    if function in ("min", "max"):
        return met(function, (values[0], values[1]), at)
    rule = RULES.get(function)
    if rule is not None:
        return rule(values, at)
    (value,) = values
    return Quantity(_of_number(function, value.value)) if isinstance(value, Quantity) else value


def _concat(values: tuple[Value, ...], at: Meeting) -> Value:
    first, *others = found = [at.features(value, number) for number, value in enumerate(values)]
    for number, value in enumerate(others, 1):
        if isinstance(first, Map) and isinstance(value, Map):
            at.check_alike((at.arguments[0], first), (at.arguments[number], value))
        elif type(value) is not type(first):
            taker, wanted = f"{at.name}({at.arguments[0]}, ...)", "a map" if isinstance(first, Map) else "a vector"
            raise Misfit(WrongKind(at.call, at.place, taker, wanted, str(value), at.what(number)))
    return replace(first, channels=sum(value.channels for value in found))


def _cells(values: tuple[Value, ...], at: Meeting) -> Value:
    return replace(at.a_map(values[0]), tokens=())


def _resize(values: tuple[Value, ...], at: Meeting) -> Value:
    at.check_axes()
    return _on_the_grid(values, at)


def _nearest(values: tuple[Value, ...], at: Meeting) -> Value:
    at.check_axes((1, 2, 3))
    return _on_the_grid(values, at)


def _on_the_grid(values: tuple[Value, ...], at: Meeting) -> Value:
    return replace(at.only_cells(values[0]), extent=at.a_map(values[1], 1).extent)


RULES: Mapping[str, Callable[[tuple[Value, ...], Meeting], Value]] = {
    "concat": _concat,
    "cells": _cells,
    "resize": _resize,
    "nearest": _nearest,
}


def token(value: Value, name: str, at: Meeting) -> Value:
    """One row of a map."""
    found = at.a_map(value)
    if name not in found.token_names:
        raise Misfit(NoSuchToken(at.call, at.place, name, found.token_names, at.what()))
    return Vector(found.channels)


def split(value: Value, numbers: tuple[Value, ...], at: Meeting) -> Value:
    """Equal parts, or parts of so many channels."""
    found = at.features(value)
    sizes = [_size(number, at) for number in numbers]
    if len(sizes) == 1:
        if found.channels % sizes[0]:
            raise Misfit(BadSplit(at.call, at.place, at.name, f"cannot divide {_channels(found)} into {sizes[0]} parts"))
        sizes = [found.channels // sizes[0]] * sizes[0]
    elif sum(sizes) != found.channels:
        parts = " + ".join(map(str, sizes))
        raise Misfit(BadSplit(at.call, at.place, at.name, f"makes {parts} = {sum(sizes)} channels of {found.channels}"))
    return Several(tuple(replace(found, channels=channels) for channels in sizes))


def _size(value: Value, at: Meeting) -> int:
    number = value.value if isinstance(value, Quantity) else None
    if number is None or number.denominator != 1 or number < 1:
        shown = str(value) if number is None else str(number)
        raise Misfit(BadSplit(at.call, at.place, at.name, f"has parts of {shown}, which is no integer from 1"))
    return int(number)


def _channels(value: Map | Vector) -> str:
    return counted(value.channels, "channel")


def over_cells(function: str, value: Value, at: Meeting) -> Value:
    """`mean(cells: x)` and `max(cells: x)` leave a vector, `softmax(cells: x)` a map of the cells alone."""
    found = at.a_map(value)
    return replace(found, tokens=()) if function == "softmax" else Vector(found.channels)


# Numbers, exact as long as possible.


def negated(value: Value, at: Meeting) -> Value:
    check_single((value,), at)
    if isinstance(value, Quantity):
        return Quantity(None if value.value is None else -value.value)
    return value


def _operate(operator: str, left: Number, right: Number) -> Number:
    if left is None or right is None or (operator in ("/", "//", "%") and right == 0):
        return None
    exact: Mapping[str, Callable[[Fraction, Fraction], Fraction | int]] = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b,
        "//": lambda a, b: a // b,
        "%": lambda a, b: a % b,
        "min": min,
        "max": max,
    }
    return Fraction(exact[operator](left, right)) if operator in exact else None


def _of_number(function: str, value: Number) -> Number:
    if value is None:
        return None
    exact: Mapping[str, Callable[[Fraction], Fraction | int]] = {
        "abs": abs,
        "relu": lambda a: max(a, Fraction(0)),
        "ceil": math.ceil,
        "floor": math.floor,
    }
    return Fraction(exact[function](value)) if function in exact else None
