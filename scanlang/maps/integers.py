"""Integer expressions, of which maps and nests are made. In: numbers and names; out: expressions.

| node | value |
|---|---|
| `Constant(value)`, `Variable(name)` | themselves |
| `Add`, `Multiply` (left, right) | exact; there is no minus: `a - b` is `Add(a, Multiply(Constant(-1), b))` |
| `FloorDiv(left, right)` | the greatest integer not above left / right |
| `FloorMod(left, right)` | left - right * FloorDiv(left, right), so its sign is that of `right` |
| `Minimum`, `Maximum` (left, right), `Absolute(operand)` | as named |
| `Select(condition, then, otherwise)` | `then` where the `Compare` holds, else `otherwise`; the other is not met |

C and Triton divide towards zero: a bare `/` or `%` stands for FloorDiv or FloorMod only where left >= 0 and right > 0
(`scanlang.maps.bounds.is_nonnegative`). Nodes of the same structure are the same object, and may be part of many others: walk
them with a memo (`nodes`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar, Literal, Self, assert_never
from weakref import WeakValueDictionary

Comparison = Literal["==", "!=", "<", "<=", ">", ">="]


_made: WeakValueDictionary[tuple[object, ...], Node] = WeakValueDictionary()
_making = Lock()


class Node:
    """There is only one node of each structure, so that `==` and `hash` take no time however much is shared inside."""

    __match_args__: ClassVar[tuple[str, ...]]

    def __new__(cls, *parts: object) -> Self:
        with _making:
            node = _made.get((cls, *parts))
            if node is None:
                node = _made[(cls, *parts)] = super().__new__(cls)
        return node  # type: ignore[return-value]

    def __reduce__(self) -> tuple[type[Node], tuple[object, ...]]:
        """Copies and pickles are made anew, and so are the one node again."""
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)

    def __repr__(self) -> str:
        """As a person writes it; parts that are shared get names, so that it stays short."""
        from scanlang.maps.show import show

        lines, (text,) = show(Select(self, Constant(1), Constant(0)) if isinstance(self, Compare) else self)  # type: ignore[arg-type]
        return "; ".join([*lines, text])

    def __add__(self, other: Integer | int) -> Integer:
        return add(self, other)  # type: ignore[arg-type]

    def __radd__(self, other: int) -> Integer:
        return add(other, self)  # type: ignore[arg-type]

    def __sub__(self, other: Integer | int) -> Integer:
        return add(self, multiply(-1, other))  # type: ignore[arg-type]

    def __rsub__(self, other: int) -> Integer:
        return add(other, multiply(-1, self))  # type: ignore[arg-type]

    def __mul__(self, other: Integer | int) -> Integer:
        return multiply(self, other)  # type: ignore[arg-type]

    def __rmul__(self, other: int) -> Integer:
        return multiply(other, self)  # type: ignore[arg-type]

    def __floordiv__(self, other: Integer | int) -> Integer:
        return floor_div(self, other)  # type: ignore[arg-type]

    def __mod__(self, other: Integer | int) -> Integer:
        return floor_mod(self, other)  # type: ignore[arg-type]

    def __neg__(self) -> Integer:
        return multiply(-1, self)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False, repr=False)
class Constant(Node):
    value: int


@dataclass(frozen=True, eq=False, repr=False)
class Variable(Node):
    name: str


@dataclass(frozen=True, eq=False, repr=False)
class Add(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Multiply(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class FloorDiv(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class FloorMod(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Minimum(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Maximum(Node):
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Absolute(Node):
    operand: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Compare(Node):
    """A condition, never a value: only `Select` holds one."""

    operator: Comparison
    left: Integer
    right: Integer


@dataclass(frozen=True, eq=False, repr=False)
class Select(Node):
    condition: Compare
    then: Integer
    otherwise: Integer


Integer = Constant | Variable | Add | Multiply | FloorDiv | FloorMod | Minimum | Maximum | Absolute | Select


def integer(value: Integer | int) -> Integer:
    return Constant(value) if isinstance(value, int) else value


def add(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b):
            return Constant(a + b)
        case Constant(0), other:
            return other
        case other, Constant(0):
            return other
        case a, b:
            return Add(a, b)


def multiply(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b):
            return Constant(a * b)
        case (Constant(0), _) | (_, Constant(0)):
            return Constant(0)
        case (Constant(1), other) | (other, Constant(1)):
            return other
        case a, b:
            return Multiply(a, b)


def floor_div(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b) if b != 0:
            return Constant(a // b)
        case other, Constant(1):
            return other
        case a, b:
            return FloorDiv(a, b)


def floor_mod(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b) if b != 0:
            return Constant(a % b)
        case _, Constant(1):
            return Constant(0)
        case a, b:
            return FloorMod(a, b)


def minimum(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b):
            return Constant(min(a, b))
        case a, b:
            return a if a == b else Minimum(a, b)


def maximum(left: Integer | int, right: Integer | int) -> Integer:
    match integer(left), integer(right):
        case Constant(a), Constant(b):
            return Constant(max(a, b))
        case a, b:
            return a if a == b else Maximum(a, b)


def absolute(operand: Integer | int) -> Integer:
    match integer(operand):
        case Constant(a):
            return Constant(abs(a))
        case other:
            return Absolute(other)


def select(condition: Compare | bool, then: Integer | int, otherwise: Integer | int) -> Integer:
    then, otherwise = integer(then), integer(otherwise)
    match condition:
        case bool():
            return then if condition else otherwise
        case Compare(operator, Constant(a), Constant(b)):
            return then if holds(operator, a, b) else otherwise
        case _:
            return then if then == otherwise else Select(condition, then, otherwise)


def holds(operator: Comparison, left: int, right: int) -> bool:
    match operator:
        case "==":
            return left == right
        case "!=":
            return left != right
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case _:
            assert_never(operator)


def children(expression: Integer) -> tuple[Integer, ...]:
    """The direct parts; a `Select`'s condition counts as its two sides."""
    match expression:
        case Constant() | Variable():
            return ()
        case Add(a, b) | Multiply(a, b) | FloorDiv(a, b) | FloorMod(a, b) | Minimum(a, b) | Maximum(a, b):
            return (a, b)
        case Absolute(a):
            return (a,)
        case Select(condition, then, otherwise):
            return (condition.left, condition.right, then, otherwise)
        case _:
            assert_never(expression)


def rebuild(expression: Integer, parts: tuple[Integer, ...]) -> Integer:
    """The same node over other parts, constants folded."""
    match expression:
        case Constant() | Variable():
            return expression
        case Add():
            return add(*parts)
        case Multiply():
            return multiply(*parts)
        case FloorDiv():
            return floor_div(*parts)
        case FloorMod():
            return floor_mod(*parts)
        case Minimum():
            return minimum(*parts)
        case Maximum():
            return maximum(*parts)
        case Absolute():
            return absolute(*parts)
        case Select(condition):
            left, right, then, otherwise = parts
            return select(Compare(condition.operator, left, right), then, otherwise)
        case _:
            assert_never(expression)


def nodes(expression: Integer) -> list[Integer]:
    """Every different node, each part before what it is part of."""
    seen: dict[Integer, None] = {}
    waiting: list[tuple[Integer, bool]] = [(expression, False)]
    while waiting:
        node, parts_done = waiting.pop()
        if node in seen:
            continue
        if parts_done:
            seen[node] = None
            continue
        waiting.append((node, True))
        waiting.extend((part, False) for part in reversed(children(node)))
    return list(seen)


def substitute(expression: Integer, values: Mapping[str, Integer | int]) -> Integer:
    """`expression` with names replaced, all at once; equal parts stay shared."""
    return replace(expression, {Variable(name): integer(value) for name, value in values.items()})


def replace(expression: Integer, parts: Mapping[Integer, Integer]) -> Integer:
    """`expression` with every occurrence of a key replaced by its value, all at once."""
    done: dict[Integer, Integer] = {}
    for node in nodes(expression):
        new = parts.get(node)
        if new is None:
            old_parts = children(node)
            new_parts = tuple(done[part] for part in old_parts)
            new = node if new_parts == old_parts else rebuild(node, new_parts)
        done[node] = new
    return done[expression]


def free_variables(expression: Integer) -> frozenset[str]:
    return frozenset(node.name for node in nodes(expression) if isinstance(node, Variable))


def sort_key(expression: Integer) -> str:
    """A text that is the same in every run, short also for expressions whose parts are shared many times."""
    known = expression.__dict__.get("_key")
    if known is None:
        match expression:
            case Constant(value):
                known = str(value)
            case Variable(name):
                known = name
            case _:
                operator = expression.condition.operator if isinstance(expression, Select) else ""
                inner = ",".join(sort_key(part) for part in children(expression))
                known = f"{type(expression).__name__}{operator}({inner})"
        if len(known) > 120:
            known = "#" + hashlib.sha256(known.encode()).hexdigest()
        object.__setattr__(expression, "_key", known)
    return str(known)
