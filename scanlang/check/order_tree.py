"""What a checked order is made of: its parts, and what is in them. In: a `CheckedOrder`; out: facts about it.

Nothing is visited here. What every later pass goes through again and again is bounded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    ConcatOrder,
    CurveOrder,
    FormulaOrder,
    GivenOrder,
    InsertOrder,
    InterleaveOrder,
    RandomOrder,
    ResetOrder,
    TableOrder,
    Tiles,
    Token,
    WalkOrder,
    WindowOrder,
)
from scanlang.limits import LIMITS


def parts(order: CheckedOrder) -> tuple[CheckedOrder, ...]:
    """The orders directly inside."""
    match order:
        case WindowOrder():
            return (order.inner, order.outer)
        case ConcatOrder() | InterleaveOrder():
            return order.parts
        case WalkOrder() | FormulaOrder() | CurveOrder() | RandomOrder() | TableOrder() | GivenOrder():
            return ()
        case _:
            return (order.of,)


def within(order: CheckedOrder) -> Iterator[CheckedOrder]:
    """The order, and every order inside."""
    waiting = [order]
    while waiting:
        order = waiting.pop()
        yield order
        waiting += reversed(parts(order))


def excess(order: CheckedOrder) -> tuple[str, int] | None:
    """What there is too much of, and how much there may be. Orders named several times are there several times."""
    waiting, seen = [(order, 0)], 0
    while waiting:
        inner, depth = waiting.pop()
        seen += 1
        if depth > LIMITS.nesting:
            return "orders built on orders", LIMITS.nesting
        if seen > LIMITS.orders:
            return "orders in one order", LIMITS.orders
        waiting += [(part, depth + 1) for part in parts(inner)]
    return ("steps for each cell", LIMITS.visits) if steps_per_cell(order) > LIMITS.visits else None


def steps_per_cell(order: CheckedOrder) -> Fraction:
    """At most how many steps there are for each cell, pads and a fixed number of tokens apart."""
    match order:
        case WindowOrder():
            return steps_per_cell(order.inner) * steps_per_cell(order.outer)
        case ConcatOrder() | InterleaveOrder():
            return sum((steps_per_cell(part) for part in order.parts), Fraction(0))
        case InsertOrder():
            return steps_per_cell(order.of) * (1 + sum((tokens_per_step(token) for token in order.tokens), Fraction(0)))
        case _:
            return steps_per_cell(parts(order)[0]) if parts(order) else Fraction(1)


def tokens_per_step(token: Token) -> Fraction:
    """At most; a token at a place of its own is one, however many steps there are."""
    if token.place == "every":
        return Fraction(1, 1 if isinstance(token.number, AxisSize) else token.number)
    return Fraction(token.place == "spread")


def is_given(order: CheckedOrder) -> bool:
    """Something in it is known at run time only."""
    return any(isinstance(inner, GivenOrder) for inner in within(order))


def has_resets(order: CheckedOrder) -> bool:
    return any(isinstance(inner, ResetOrder) for inner in within(order))


def token_names(order: CheckedOrder) -> frozenset[str]:
    return frozenset(token.name for inner in within(order) if isinstance(inner, InsertOrder) for token in inner.tokens)


def has_windows(order: CheckedOrder) -> bool:
    """Every step is in a window, or in a tile of a walk."""
    match order:
        case WindowOrder():
            return True
        case WalkOrder():
            return any(isinstance(loop, Tiles) for loop in order.loops)
        case _:
            return bool(parts(order)) and all(has_windows(part) for part in parts(order))
