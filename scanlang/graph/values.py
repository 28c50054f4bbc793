"""The mathematics of one step: expressions over named values, with the table of functions and their derivatives.

A `Value` is a frozen tree; `==` is structural and ignores where a term came from, so equal terms are computed once.
Constructors fold what costs nothing (`0 + a`, `1 * a`), which keeps derived expressions readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from scanlang.source import Span


@dataclass(frozen=True)
class Constant:
    value: float


@dataclass(frozen=True)
class IndexValue:
    """An index as a number: the `n` of `log(n + 1)`."""

    index: str


@dataclass(frozen=True)
class Read:
    """A named value of this step; of a state, its new value."""

    name: str
    indices: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Previous:
    """A state's value before this step."""

    name: str
    indices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Apply:
    function: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True)
class Total:
    """The sum of `body` over every value of `index`."""

    index: str
    body: Value


Value = Constant | IndexValue | Read | Previous | Apply | Total

ZERO, ONE = Constant(0.0), Constant(1.0)

LARGEST = Constant(1e36)
"""In place of infinity: more than any rate that leaves something of a state, and some hundred times it is a float32 still."""


def add(left: Value, right: Value) -> Value:
    if left == ZERO:
        return right
    if right == ZERO:
        return left
    return Apply("add", (left, right))


def subtract(left: Value, right: Value) -> Value:
    if right == ZERO:
        return left
    if left == ZERO:
        return negate(right)
    return Apply("sub", (left, right))


def multiply(left: Value, right: Value) -> Value:
    if ZERO in (left, right):
        return ZERO
    if left == ONE:
        return right
    if right == ONE:
        return left
    return Apply("mul", (left, right))


def divide(left: Value, right: Value) -> Value:
    return left if right == ONE else ZERO if left == ZERO else Apply("div", (left, right))


def negate(value: Value) -> Value:
    if isinstance(value, Constant):
        return Constant(-value.value)
    if isinstance(value, Apply) and value.function == "neg":
        return value.arguments[0]
    return Apply("neg", (value,))


def where(condition: Value, then: Value, otherwise: Value) -> Value:
    return then if then == otherwise else Apply("where", (condition, then, otherwise))


def apply(function: str, *arguments: Value) -> Value:
    """`function(arguments)` through the folding constructors."""
    folding: dict[str, Callable[..., Value]] = {
        "add": add, "sub": subtract, "mul": multiply, "div": divide, "neg": negate, "where": where,
    }  # fmt: skip
    return folding[function](*arguments) if function in folding else Apply(function, arguments)


# What each function is differentiated to: (arguments, result) -> the derivative with respect to each argument. Forms are
# chosen to stay finite for large arguments: softplus differentiates to sigmoid, never to exp / (1 + exp). expm1 and log1p keep
# their relative accuracy near 0, `logaddexp(a, b)` is log(exp(a) + exp(b)) without overflow. The slope of sqrt at 0 is 0: under
# it is mostly what a gate leaves over, as in sqrt(1 - g * g), which is flat itself where it has vanished.
Partials = Callable[[tuple[Value, ...], Value], tuple[Value, ...]]

_ROOT_HALF, _ROOT_HALF_PI = Constant(0.5**0.5), Constant(0.3989422804014327)


def _compare(function: str, left: Value, right: Value) -> Value:
    return Apply(function, (left, right))


def _gelu_slope(x: Value) -> Value:
    below = multiply(Constant(0.5), add(ONE, Apply("erf", (multiply(x, _ROOT_HALF),))))
    density = multiply(_ROOT_HALF_PI, Apply("exp", (multiply(Constant(-0.5), multiply(x, x)),)))
    return add(below, multiply(x, density))


def _chosen(first: Value, second: Value, wins: str) -> tuple[Value, Value]:
    """The derivative of min and max; ties are shared in halves, as torch does."""
    tie = where(_compare("eq", first, second), Constant(0.5), ZERO)
    return where(_compare(wins, first, second), ONE, tie), where(_compare(wins, second, first), ONE, tie)


def _first(a: tuple[Value, ...]) -> Value:
    """The part of `exp(a) + exp(b)` that the first has."""
    return Apply("sigmoid", (subtract(*a),))


def _silu_slope(x: Value) -> Value:
    gate = Apply("sigmoid", (x,))
    return multiply(gate, add(ONE, multiply(x, subtract(ONE, gate))))


DERIVATIVES: Mapping[str, Partials] = {
    "add": lambda a, r: (ONE, ONE),
    "sub": lambda a, r: (ONE, Constant(-1.0)),
    "mul": lambda a, r: (a[1], a[0]),
    "div": lambda a, r: (divide(ONE, a[1]), negate(divide(r, a[1]))),
    "neg": lambda a, r: (Constant(-1.0),),
    "exp": lambda a, r: (r,),
    "expm1": lambda a, r: (Apply("exp", (a[0],)),),
    "log": lambda a, r: (divide(ONE, a[0]),),
    "log1p": lambda a, r: (divide(ONE, add(ONE, a[0])),),
    "logaddexp": lambda a, r: (_first(a), subtract(ONE, _first(a))),
    "sqrt": lambda a, r: (where(_compare("eq", r, ZERO), ZERO, divide(Constant(0.5), r)),),
    "sigmoid": lambda a, r: (multiply(r, subtract(ONE, r)),),
    "silu": lambda a, r: (_silu_slope(a[0]),),
    "softplus": lambda a, r: (Apply("sigmoid", (a[0],)),),
    "tanh": lambda a, r: (subtract(ONE, multiply(r, r)),),
    "relu": lambda a, r: (where(_compare("gt", a[0], ZERO), ONE, ZERO),),
    "gelu": lambda a, r: (_gelu_slope(a[0]),),
    "abs": lambda a, r: (where(_compare("gt", a[0], ZERO), ONE, where(_compare("lt", a[0], ZERO), Constant(-1.0), ZERO)),),
    "min": lambda a, r: _chosen(a[0], a[1], "lt"),
    "max": lambda a, r: _chosen(a[0], a[1], "gt"),
    "where": lambda a, r: (ZERO, where(a[0], ONE, ZERO), where(a[0], ZERO, ONE)),
}

COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


def reads(value: Value) -> frozenset[str]:
    """The names that a value reads, previous values of states included."""
    match value:
        case Constant() | IndexValue():
            return frozenset()
        case Read(name) | Previous(name):
            return frozenset((name,))
        case Apply(_, arguments):
            return frozenset().union(*(reads(argument) for argument in arguments))
        case Total(_, body):
            return reads(body)
        case _:
            assert_never(value)


def mapped(value: Value, leaf: Callable[[Value], Value]) -> Value:
    """`value` with each of its leaves replaced."""
    match value:
        case Constant() | IndexValue() | Read() | Previous():
            return leaf(value)
        case Apply(function, arguments):
            return Apply(function, tuple(mapped(argument, leaf) for argument in arguments))
        case Total(index, body):
            return Total(index, mapped(body, leaf))
        case _:
            assert_never(value)


def applies(value: Value, functions: frozenset[str]) -> bool:
    """Whether one of the functions is applied anywhere in a value."""
    match value:
        case Apply(function, arguments):
            return function in functions or any(applies(argument, functions) for argument in arguments)
        case Total(_, body):
            return applies(body, functions)
        case _:
            return False


def free_indices(value: Value) -> tuple[str, ...]:
    """The indices a value depends on, in the order of first use."""
    match value:
        case Constant():
            return ()
        case IndexValue(index):
            return (index,)
        case Read(_, indices) | Previous(_, indices):
            return tuple(dict.fromkeys(indices))
        case Apply(_, arguments):
            return tuple(dict.fromkeys(i for argument in arguments for i in free_indices(argument)))
        case Total(index, body):
            return tuple(i for i in free_indices(body) if i != index)
        case _:
            assert_never(value)


def rename_indices(value: Value, names: Mapping[str, str]) -> Value:
    """`value` with its free indices renamed; a sum whose own index would capture one is given another name."""
    match value:
        case Constant():
            return value
        case IndexValue(index):
            return IndexValue(names.get(index, index))
        case Read(name, indices, span):
            return Read(name, tuple(names.get(i, i) for i in indices), span)
        case Previous(name, indices):
            return Previous(name, tuple(names.get(i, i) for i in indices))
        case Apply(function, arguments):
            return Apply(function, tuple(rename_indices(argument, names) for argument in arguments))
        case Total(index, body):
            inner = {old: new for old, new in names.items() if old != index}
            if index in inner.values():
                raise ValueError(f"renaming to {index} inside a sum over {index}")
            return Total(index, rename_indices(body, inner))
        case _:
            assert_never(value)


_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}
_COMPARE_SIGNS = {function: sign for sign, function in COMPARISONS.items()}


def show(value: Value, level: int = 0) -> str:
    """A value as a person writes it: `exp(-A * dt) * h'[n]` (the dash marks the previous value of a state)."""
    match value:
        case Constant(number):
            return f"{number:g}" if number >= 0 or level == 0 else f"({number:g})"
        case IndexValue(index):
            return index
        case Read(name, indices):
            return name + (f"[{', '.join(indices)}]" if indices else "")
        case Previous(name, indices):
            return name + "'" + (f"[{', '.join(indices)}]" if indices else "")
        case Total(index, body):
            return f"sum({index}: {show(body)})"
        case Apply("neg", (operand,)):
            text = "-" + show(operand, 3)
            return f"({text})" if level > 1 else text
        case Apply("mul", (left, Apply("div", (Constant(1.0), below)))):
            return show(Apply("div", (left, below)), level)
        case Apply(function, (left, right)) if function in _INFIX:
            sign, strength = _INFIX[function]
            text = f"{show(left, strength)} {sign} {show(right, strength + (function in ('sub', 'div')))}"
            return f"({text})" if strength < level else text
        case Apply(function, (left, right)) if function in _COMPARE_SIGNS:
            return f"{show(left, 1)} {_COMPARE_SIGNS[function]} {show(right, 1)}"
        case Apply(function, arguments):
            return f"{function}({', '.join(show(argument) for argument in arguments)})"
        case _:
            assert_never(value)
