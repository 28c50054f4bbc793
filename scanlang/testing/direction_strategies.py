"""Strategies for what a scan visits: the orders of its directions, as program text that holds on every grid.

Three kinds: permutations of the cells, some with resets, all with the same tokens or none; directions of any length, with
tokens, pads, parts of the grid and cells that are visited twice; an order given at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from scanlang.testing.order_strategies import WALKS, Axes, expressions, permutations

GIVEN, BACK = "given_order", "back_order"
TOKENS = ("cls", "reg")


@dataclass(frozen=True)
class Directions:
    """`definitions` are orders to define, `clauses` those of the scan; each layer has `count` directions. `like` are further
    orders with as many steps as every direction; `given` says that one is given at run time."""

    definitions: tuple[str, ...]
    clauses: tuple[str, ...]
    count: int
    like: tuple[str, ...] = ()
    given: bool = False


@st.composite
def directions_of_scan(draw: st.DrawFn, axes: Axes, defined: tuple[str, ...], most: int) -> Directions:
    """Directions over orders already `defined` and named ones, `most` of them at most."""
    choice = draw(st.integers(0, 9))
    if choice == 0:
        return draw(_given(axes, most))
    if choice < 4:
        return draw(_of_any_length(axes, most))
    return draw(_permutations(axes, defined, most))


@st.composite
def _permutations(draw: st.DrawFn, axes: Axes, defined: Sequence[str], most: int) -> Directions:
    """Every direction visits every cell once, and the same tokens."""
    tokens = draw(st.lists(st.sampled_from(TOKENS), unique=True)) if draw(st.booleans()) else []
    resets = draw(st.booleans())

    def order() -> str:
        text = draw(st.one_of(st.sampled_from((*WALKS, *defined, *defined)), permutations(axes, 1)))
        if resets and draw(st.booleans()):
            text = f"reset({text}, every {draw(st.sampled_from(axes))})"
        if tokens:
            places = [f"{token} at {draw(st.sampled_from(('head', 'middle', 'tail', '1')))}" for token in tokens]
            text = f"insert({text}, {', '.join(places)})"
        return draw(st.sampled_from(("{}", "{}", "reverse({})"))).format(text)

    count = draw(st.integers(1, most))
    layers = [[order() for _ in range(count)] for _ in range(draw(st.sampled_from((1, 1, 1, 2))))]
    like = (order(), order())
    if draw(st.booleans()):
        return Directions((), (_clause(layers),), count, like)
    target = order()
    layers[0][draw(st.integers(0, count - 1))] = BACK
    return Directions((f"order {BACK} = {order()}",), (_clause(layers), f"{BACK} writes {target}"), count, like)


@st.composite
def _of_any_length(draw: st.DrawFn, axes: Axes, most: int) -> Directions:
    """Tokens here and there, pads, parts of the grid, cells that are visited twice."""
    own = draw(st.lists(expressions(axes, 1), min_size=1, max_size=most))
    return Directions((), (_clause([own]), "uncovered = 0"), len(own))


@st.composite
def _given(draw: st.DrawFn, axes: Axes, most: int) -> Directions:
    """Directions over an order that is given at run time, and others."""
    forms = ("{}", "reverse({})", "insert({}, cls at middle)", "concat({0}, reverse({0}))")
    own = [draw(st.sampled_from(forms)).format(GIVEN)]
    own += draw(st.lists(st.sampled_from((GIVEN, f"reverse({GIVEN})", *WALKS)), max_size=most - 1))
    return Directions((f"order {GIVEN} = input",), (_clause([draw(st.permutations(own))]),), len(own), given=True)


def _clause(layers: Sequence[Sequence[str]]) -> str:
    if len(layers) == 1:
        return f"directions {', '.join(layers[0])}"
    return f"layers cycle {', '.join('(' + ', '.join(layer) + ')' for layer in layers)}"
