"""What a person writes down as it is computed safely. In: a step, or a value; out: the same mathematics.

    log(1 + exp(x))  →  softplus(x)                  1 / (1 + exp(-x)), exp(x) / (1 + exp(x))  →  sigmoid(x)
    log(exp(a) + exp(b))  →  logaddexp(a, b)         exp(a) / (exp(a) + exp(b))  →  sigmoid(a - b)
    log(1 + u)  →  log1p(u)                          (exp(a) - exp(b)) / (exp(a) + exp(b))  →  tanh((a - b) / 2)
    log(1 - exp(a))  →  log(-expm1(a))               x * sigmoid(x), x / (1 + exp(-x))  →  silu(x)
    log1p(exp(x))  →  softplus(x)                    sigmoid(a) / (sigmoid(a) + sigmoid(b))  →  sigmoid(softplus(-b) - …)
    exp(a) / (exp(a) + exp(b) + exp(c))  →  exp(a - logaddexp(logaddexp(a, b), c))
    log(sigmoid(x))  →  -softplus(-x)                exp(a) * exp(b), exp(a) / exp(b)  →  exp(a + b), exp(a - b)
    log(1 - sigmoid(x))  →  -softplus(x)             exp(log(a))  →  a, and exp(-log(a))  →  1 / a, for positive a
    log(exp(a) * b)  →  a + log(b)                   sqrt(a * a)  →  abs(a), and sqrt(exp(a))  →  exp(a / 2)
    1 - sigmoid(x) * sigmoid(x)  →  (1 - sigmoid(x)) * (1 + sigmoid(x))

Every rule is an identity of real numbers wherever its left side is defined, and its right side overflows only where the left
one does: a finite result stays what it is up to rounding, and to what is smaller than any number of the type. So exponentials
become one where they are multiplied with each other, not across a third factor, which may be small. `1 - exp(a)` and
`1 - sigmoid(x)` are left alone here; the code for them loses nothing either (`codegen/unroll.py`). A temporary that stands for
one of these forms is seen through.

What it does not do: distribute, collect, or share. `tidy` is what derivatives need, arithmetic alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import assert_never

from scanlang.graph.step import Assign, Step, Update
from scanlang.graph.values import (
    ONE,
    ZERO,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    add,
    apply,
    divide,
    free_indices,
    multiply,
    negate,
    reads,
    rename_indices,
    subtract,
)

POSITIVE = frozenset(("exp", "sigmoid", "softplus"))
"""Functions of which every value is positive."""


def stable(step: Step) -> Step:
    """The step with all its equations in their safe forms."""
    rules = _Safe(frozenset(operand.name for operand in step.operands if operand.kind == "param"))
    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign():
                made = replace(equation, value=rules.of(equation.value))
                rules.meanings[made.name] = made
                body.append(made)
            case Update():
                body.append(replace(equation, decay=rules.of(equation.decay), drive=rules.of(equation.drive)))
            case _:
                assert_never(equation)
    return replace(step, body=tuple(body))


def safe(value: Value) -> Value:
    """A value in its safe form."""
    return _Safe(frozenset()).of(value)


def tidy(value: Value) -> Value:
    """Arithmetic on numbers done, signs and reciprocals where they cost nothing, equal factors cancelled."""
    return _Tidy().of(value)


class _Tidy:
    """Rules for one application of a function to arguments that are tidy."""

    def of(self, value: Value) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Total(index, body):
                inner = self.of(body)
                return ZERO if inner == ZERO else Total(index, inner)
            case Apply(function, arguments):
                return self.apply(function, *(self.of(argument) for argument in arguments))
            case _:
                assert_never(value)

    def apply(self, function: str, *arguments: Value) -> Value:
        match function, arguments:
            case (("add" | "sub"), (left, right)):
                return _sum(function == "sub", left, right)
            case "neg", (Apply("sub", (left, right)),):
                return self.apply("sub", right, left)
            case "mul", (left, right):
                return self.product(left, right)
            case "div", (left, right):
                return self.quotient(left, right)
            case _:
                return apply(function, *arguments)

    def product(self, left: Value, right: Value) -> Value:
        match left, right:
            case (other, Apply("div", (above, below))) | (Apply("div", (above, below)), other) if other == below:
                return above
        factors = _factors(multiply(left, right))
        numbers = [factor.value for factor in factors if isinstance(factor, Constant)]
        if len(numbers) < 2:
            return multiply(left, right)
        number: Value = Constant(math.prod(numbers))
        return reduce(multiply, (factor for factor in factors if not isinstance(factor, Constant)), number)

    def quotient(self, left: Value, right: Value) -> Value:
        if left == right:
            return ONE
        above = _factors(left)
        if len(above) > 1 and right in above:
            above.remove(right)
            return reduce(multiply, above)
        return divide(left, right)


def _sum(minus: bool, left: Value, right: Value) -> Value:
    match left, right:
        case Constant(a), Constant(b):
            return Constant(a - b if minus else a + b)
        case _ if minus and left == right:
            return ZERO
        case _, Apply("neg", (operand,)):
            return _sum(not minus, left, operand)
        case Apply("neg", (operand,)), _ if not minus:
            return _sum(True, right, operand)
        case _:
            return subtract(left, right) if minus else add(left, right)


@dataclass
class _Safe(_Tidy):
    """`meanings` are the temporaries by name, in their safe forms already."""

    parameters: frozenset[str]
    meanings: dict[str, Assign] = field(default_factory=dict)

    def apply(self, function: str, *arguments: Value) -> Value:
        found: Value | None = None
        match function, arguments:
            case "log", (argument,):
                found = self.log(argument)
            case "log1p", (argument,):
                found = self.log(add(ONE, argument))
            case "exp", (argument,):
                found = self.exp(argument)
            case "sqrt", (argument,):
                found = self.sqrt(argument)
            case "sub", (Constant(1.0), taken):
                found = self.rest_of_square(taken)
        return super().apply(function, *arguments) if found is None else found

    def seen(self, value: Value) -> Value:
        """What a temporary stands for; any other value is itself."""
        while isinstance(value, Read) and value.name in self.meanings:
            meaning = self.meanings[value.name]
            value = rename_indices(meaning.value, dict(zip(meaning.indices, value.indices, strict=True)))
        return value

    def exponent(self, value: Value) -> Value | None:
        """The logarithm of what is an exponential, or a positive number."""
        match self.seen(value):
            case Constant(number) if 0 < number < math.inf:
                return Constant(math.log(number))
            case Apply("exp", (exponent,)):
                return exponent
        return None

    def exponents(self, value: Value) -> list[tuple[bool, Value]] | None:
        """(is it taken away, exponent) for every term of a sum of two or more exponentials, one that is no number at least."""
        found, symbolic = [], False
        for minus, term in self.terms(value):
            exponent = self.exponent(term)
            if exponent is None:
                return None
            found.append((minus, exponent))
            symbolic = symbolic or not isinstance(exponent, Constant)
        return found if len(found) > 1 and symbolic else None

    def terms(self, value: Value) -> list[tuple[bool, Value]]:
        """(is it taken away, term) of a sum."""
        match self.seen(value):
            case Apply("add", (left, right)):
                return self.terms(left) + self.terms(right)
            case Apply("sub", (left, right)):
                return self.terms(left) + [(not minus, term) for minus, term in self.terms(right)]
            case Apply("neg", (operand,)):
                return [(not minus, term) for minus, term in self.terms(operand)]
            case _:
                return [(False, value)]

    def log(self, value: Value) -> Value | None:
        exponents = self.exponents(value)
        if exponents is not None and not any(minus for minus, _ in exponents):
            return reduce(_log_of_sum, (exponent for _, exponent in exponents))
        match self.terms(value):
            case [(False, Constant(1.0)), *rest] | [*rest, (False, Constant(1.0))] if rest:
                return self.log_beside_one(rest)
        return self.log_of_product(value)

    def log_beside_one(self, rest: list[tuple[bool, Value]]) -> Value:
        """log(1 + rest)."""
        match [(minus, self.seen(term)) for minus, term in rest]:
            case [(True, Apply("sigmoid", (x,)))]:
                return negate(Apply("softplus", (x,)))
            case [(True, Apply("exp", (exponent,)))]:
                return Apply("log", (negate(Apply("expm1", (exponent,))),))
        total: Value = ZERO
        for minus, term in rest:
            total = _sum(minus, total, term)
        return Apply("log1p", (total,))

    def log_of_product(self, value: Value) -> Value | None:
        """Exponentials and sigmoids taken out of a product: what is left has the same sign."""
        outside: Value = ZERO
        left: Value = ONE
        above, below = self.fraction(value)
        for function, into, factors in (("add", "mul", above), ("sub", "div", below)):
            for factor in factors:
                logarithm = self.logarithm(factor)
                if logarithm is None:
                    left = apply(into, left, factor)
                else:
                    outside = self.apply(function, outside, logarithm)
        match left:
            case Constant(1.0):
                return outside
            case Apply("div", (Constant(1.0), bottom)):
                return self.apply("sub", outside, Apply("log", (bottom,)))
        return None if outside == ZERO else self.apply("add", outside, Apply("log", (left,)))

    def fraction(self, value: Value) -> tuple[list[Value], list[Value]]:
        """What is above and below the line."""
        match self.seen(value):
            case Apply("mul", _) as product:
                return _factors(product), []
            case Apply("div", (above, below)):
                return _factors(above), _factors(below)
            case seen:
                return [seen if isinstance(seen, Apply) and seen.function in POSITIVE else value], []

    def logarithm(self, value: Value) -> Value | None:
        """The logarithm of an exponential or a sigmoid."""
        match self.seen(value):
            case Apply("exp", (exponent,)):
                return exponent
            case Apply("sigmoid", (x,)):
                return negate(Apply("softplus", (negate(x),)))
        return None

    def exp(self, value: Value) -> Value | None:
        match value:
            case Constant(0.0):
                return ONE
            case Apply("log", (inside,)) if self.is_positive(inside):
                return inside
            case Apply("log1p", (inside,)) if self.is_positive(inside):
                return add(ONE, inside)
            case Apply("neg", (Apply("log" | "log1p", (inside,)) as logarithm,)) if self.is_positive(inside):
                return self.apply("div", ONE, self.apply("exp", logarithm))
            case Apply("neg", (Apply("softplus", (x,)),)):
                return Apply("sigmoid", (negate(x),))
        return None

    def sqrt(self, value: Value) -> Value | None:
        match value:
            case Apply("exp", (exponent,)):
                return Apply("exp", (self.apply("mul", Constant(0.5), exponent),))
            case Apply("mul", (left, right)) if left == right:
                return Apply("abs", (left,))
        return None

    def rest_of_square(self, value: Value) -> Value | None:
        """1 - value, where the value is the square of a gate: 1 - gate is known to the last digit."""
        match self.seen(value):
            case Apply("mul", (gate, other)) if gate == other and self.is_sigmoid(gate):
                return multiply(subtract(ONE, gate), add(ONE, gate))
        return None

    def is_sigmoid(self, value: Value) -> bool:
        seen = self.seen(value)
        return isinstance(seen, Apply) and seen.function == "sigmoid"

    def is_positive(self, value: Value) -> bool:
        match self.seen(value):
            case Constant(number):
                return number > 0
            case Apply(function, arguments) if function in ("add", "mul", "div"):
                return all(self.is_positive(argument) for argument in arguments)
            case Apply(function, _):
                return function in POSITIVE
            case _:
                return False

    def product(self, left: Value, right: Value) -> Value:
        match left, right:
            case Apply("exp", (a,)), Apply("exp", (b,)) if self.is_one_exponential(a, b):
                return self.apply("exp", self.apply("mul", Constant(2.0), a) if a == b else self.apply("add", a, b))
        factors = _factors(left) + _factors(right)
        for i, factor in enumerate(factors):
            for j, gate in enumerate(factors):
                if gate == Apply("sigmoid", (factor,)):
                    others = [one for k, one in enumerate(factors) if k not in (i, j)]
                    return reduce(multiply, [*others, Apply("silu", (factor,))])
        return super().product(left, right)

    def is_one_exponential(self, a: Value, b: Value) -> bool:
        """Whether exp(a + b) is evaluated no more often than exp(a) and exp(b): a table that depends on parameters alone is
        made once, and an outer product has more entries than its factors."""
        wide, narrow = sorted((a, b), key=lambda value: -len(free_indices(value)))
        if not set(free_indices(narrow)) <= set(free_indices(wide)):
            return False
        return set(free_indices(narrow)) == set(free_indices(wide)) or not reads(wide) <= self.parameters

    def quotient(self, left: Value, right: Value) -> Value:
        exponents = self.exponents(right) or self.gates(right)
        if exponents is not None and not any(minus for minus, _ in exponents):
            found = self.share(left, *(exponent for _, exponent in exponents))
            if found is not None:
                return found
        match left, right:
            case Apply("exp", (a,)), Apply("exp", (b,)) if self.is_one_exponential(a, b):
                return self.apply("exp", self.apply("sub", a, b))
        return super().quotient(left, right)

    def gates(self, value: Value) -> list[tuple[bool, Value]] | None:
        """(False, logarithm) for both terms of a sum of two sigmoids, which may be as small as exponentials."""
        match self.terms(value):
            case [(False, first), (False, second)]:
                found = [self.seen(term) for term in (first, second)]
                if all(isinstance(term, Apply) and term.function == "sigmoid" for term in found):
                    return [(False, logarithm) for term in found if (logarithm := self.logarithm(term)) is not None]
        return None

    def share(self, value: Value, *exponents: Value) -> Value | None:
        """value / (exp(a) + exp(b) + …)."""
        if len(exponents) > 2:
            return self.share_of_many(value, exponents)
        a, b = exponents
        match self.exponents(value):
            case [(False, first), (True, second)] | [(True, second), (False, first)] if {first, second} == {a, b}:
                return Apply("tanh", (_half_difference(first, second),))
        factors = _factors(value)
        for i, factor in enumerate(factors):
            exponent = self.logarithm(factor) or self.exponent(factor)
            if exponent is not None and exponent in (a, b):
                gate = Apply("sigmoid", (self.apply("sub", exponent, b if exponent == a else a),))
                return reduce(self.product, [*factors[:i], *factors[i + 1 :], gate])
        if ZERO in (a, b):
            other = b if a == ZERO else a
            return self.product(value, Apply("sigmoid", (self.apply("neg", other),)))
        return None

    def share_of_many(self, value: Value, exponents: tuple[Value, ...]) -> Value | None:
        """A softmax: exp(a) / (exp(a) + exp(b) + exp(c))."""
        factors = _factors(value)
        for i, factor in enumerate(factors):
            exponent = self.exponent(factor)
            if exponent in exponents:
                part = self.apply("exp", self.apply("sub", exponent, reduce(_log_of_sum, exponents)))
                return reduce(self.product, [*factors[:i], *factors[i + 1 :], part])
        return None


def _log_of_sum(a: Value, b: Value) -> Value:
    """log(exp(a) + exp(b))."""
    match a, b:
        case Constant(first), Constant(second):
            return Constant(math.log(math.exp(first) + math.exp(second)))
        case (other, Constant(0.0)) | (Constant(0.0), other):
            return Apply("softplus", (other,))
        case _:
            return Apply("logaddexp", (a, b))


def _factors(value: Value) -> list[Value]:
    match value:
        case Apply("mul", (left, right)):
            return _factors(left) + _factors(right)
        case _:
            return [value]


def _half_difference(a: Value, b: Value) -> Value:
    return a if b == negate(a) else safe(multiply(Constant(0.5), subtract(a, b)))
