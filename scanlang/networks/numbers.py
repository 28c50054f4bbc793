"""The arithmetic of blocks and backbones: exact, as fractions; `0.2` is its decimal value, a square root the nearest double.

In: expressions and the values of their names. Out: values, or a `NumberProblem` that says where and why there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import assert_never

from scanlang.diagnostics import InternalError
from scanlang.limits import LIMITS
from scanlang.networks.network import Number
from scanlang.networks.vocabulary import INITIALS, RAMP, Kind
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Sum

Value = Fraction | bool


class NumberProblem(Exception):
    """An expression has no value; `text` is empty where that was said before, of a number it uses."""

    def __init__(self, span: Span, text: str) -> None:
        super().__init__(text)
        self.span, self.text = span, text


class TooMuchWork(Exception):
    """More operations than a network's numbers may take."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


@dataclass
class Budget:
    """What is left of the operations of one network."""

    left: int = LIMITS.network_work

    def spend(self, span: Span) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooMuchWork(span)


@dataclass(frozen=True)
class Numbers:
    """`names` holds None for a number without a value. `ramp`: how far the repeats of the backbone have come, 0 to 1."""

    names: Mapping[str, Value | None]
    budget: Budget
    ramp: Fraction | None = None

    def value(self, expr: Expr) -> Value:
        """A number, or a flag that stands alone."""
        if isinstance(expr, Name):
            self.budget.spend(expr.span)
            return self._name(expr)
        return self.fraction(expr)

    def fraction(self, expr: Expr) -> Fraction:
        self.budget.spend(expr.span)
        match expr:
            case nodes.Number(value=value, is_integer=is_integer):
                return Fraction(int(value)) if is_integer else Fraction(repr(float(value)))
            case Name():
                found = self._name(expr)
                if isinstance(found, bool):
                    raise NumberProblem(expr.span, f"`{expr.name}` is `{shown(found)}`, and no number")
                return found
            case Negative(operand=operand):
                return -self.fraction(operand)
            case Binary():
                return within_bounds(self._binary(expr), expr.span)
            case Call():
                return within_bounds(self._call(expr), expr.span)
            case Sum() | CellMean():
                raise InternalError("a number has no sum and no mean")
        assert_never(expr)

    def _name(self, name: Name) -> Value:
        if name.name in ("true", "false"):
            return name.name == "true"
        found = self.names[name.name]
        if found is None:
            raise NumberProblem(name.span, "")
        return found

    def _binary(self, expr: Binary) -> Fraction:
        left, right = self.fraction(expr.left), self.fraction(expr.right)
        if expr.operator in ("/", "//", "%") and right == 0:
            raise NumberProblem(expr.right.span, "this comes to 0, and divides")
        match expr.operator:
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
        raise InternalError(f"a number has no {expr.operator}")

    def _call(self, call: Call) -> Fraction:
        values = [self.fraction(argument) for argument in call.arguments]
        match call.function:
            case "ceil":
                return Fraction(math.ceil(values[0]))
            case "floor":
                return Fraction(math.floor(values[0]))
            case "min":
                return min(values)
            case "max":
                return max(values)
            case "sqrt":
                return root(values[0], call.span)
        if call.function == RAMP and self.ramp is not None:
            return values[0] * self.ramp
        if call.function in INITIALS:
            raise NumberProblem(call.span, "these are first weights, and no number")
        raise InternalError(f"a number has no {call.function} here")


def within_bounds(value: Fraction, span: Span) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > LIMITS.number_bits:
        raise NumberProblem(span, f"this number takes more than {LIMITS.number_bits} bits")
    return value


def root(value: Fraction, span: Span) -> Fraction:
    """Exact where it is a fraction."""
    if value < 0:
        raise NumberProblem(span, f"the square root of {shown(value)}")
    above, below = math.isqrt(value.numerator), math.isqrt(value.denominator)
    if above * above == value.numerator and below * below == value.denominator:
        return Fraction(above, below)
    return Fraction(math.sqrt(as_float(value, span)))


def as_float(value: Fraction, span: Span) -> float:
    try:
        return float(value)
    except OverflowError:
        raise NumberProblem(span, "it is larger than a double") from None


def plain(value: Value, span: Span) -> Number:
    """As Python has it: an int where it is whole."""
    if isinstance(value, bool):
        return value
    return int(value) if value.denominator == 1 else as_float(value, span)


def of_kind(value: Value, kind: Kind, span: Span) -> Number:
    """What a layer's formal takes."""
    if kind == "flag":
        if not isinstance(value, bool):
            raise NumberProblem(span, f"it comes to {shown(value)}; a flag is `true` or `false`")
        return value
    if isinstance(value, bool):
        raise NumberProblem(span, f"it is `{shown(value)}`, and no number")
    if kind == "number":
        return plain(value, span)
    if kind == "amount" or kind == "rate":
        return _from_0(value, kind == "rate", span)
    return whole(value, 1 if kind == "size" else 0, span)


def _from_0(value: Fraction, is_rate: bool, span: Span) -> Number:
    if value < 0 or (is_rate and value > 1):
        wanted = "from 0 to 1" if is_rate else "at least 0"
        raise NumberProblem(span, f"it comes to {shown(value)}; it is {wanted}")
    return plain(value, span)


def whole(value: Fraction, least: int, span: Span, most: int = LIMITS.integer) -> int:
    """An integer within bounds."""
    if value.denominator != 1:
        raise NumberProblem(span, f"it comes to {shown(value)}, which is not an integer")
    if value < least:
        raise NumberProblem(span, f"it comes to {shown(value)}; it is at least {least}")
    if value > most:
        raise NumberProblem(span, f"it comes to {shown(value)}; it is at most {most}")
    return int(value)


def given(value: object, span: Span) -> Value:
    """A number or flag that came from Python."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return within_bounds(Fraction(int(value)), span)
    if isinstance(value, Fraction):
        return within_bounds(value, span)
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            raise NumberProblem(span, f"it is {number}, which is not finite")
        return Fraction(repr(number))
    raise NumberProblem(span, f"it is {_named(value)}, and no number")


def _named(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def shown(value: Value) -> str:
    """`48.5`, `true`, `about 0.333`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value.denominator == 1 and abs(value) <= LIMITS.integer:
        return str(value)
    try:
        number = float(value)
    except OverflowError:
        return "a number larger than a double"
    text = f"{number:.6g}"
    return text if Fraction(text) == value else f"about {number:.3g}"
