"""Integer expressions: their values, what simplifying keeps, and what the prover may claim."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies_orders import integers_of

from scanlang.maps.bounds import GRID, STEPS, intervals, is_nonnegative
from scanlang.maps.evaluate import ZeroDivisor, evaluate
from scanlang.maps.integers import (
    Compare,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Variable,
    free_variables,
    maximum,
    minimum,
    select,
    substitute,
)
from scanlang.maps.simplify import Simplifier, equal, simplify

H, W, T = Variable("n0"), Variable("n1"), Variable("t")
GRIDS = [(1, 1), (1, 5), (4, 1), (2, 3), (3, 2), (4, 4), (5, 7)]


def steps_of(h: int, w: int) -> dict[str, object]:
    return {"t": np.arange(h * w), "n0": h, "n1": w}


@given(integers_of("t", "n0", "n1"))
@settings(max_examples=300)
def test_simplify_keeps_values(expression: Integer) -> None:
    simple = simplify(expression, STEPS)
    canonical = Simplifier(STEPS, canonical=True).simplify(expression)
    assert free_variables(simple) <= free_variables(expression)
    for h, w in GRIDS:
        expected = np.broadcast_to(evaluate(expression, steps_of(h, w)), h * w)
        assert np.array_equal(np.broadcast_to(evaluate(simple, steps_of(h, w)), h * w), expected)
        assert np.array_equal(np.broadcast_to(evaluate(canonical, steps_of(h, w)), h * w), expected)


@given(integers_of("t", "n0", "n1"))
@settings(max_examples=200)
def test_proved_signs_are_right(expression: Integer) -> None:
    if is_nonnegative(expression, STEPS):
        assert all(np.all(evaluate(expression, steps_of(h, w)) >= 0) for h, w in GRIDS)


@given(integers_of("t", "n0", "n1"), integers_of("t", "n0", "n1"))
@settings(max_examples=100)
def test_proved_equalities_are_right(left: Integer, right: Integer) -> None:
    if equal(left, right, STEPS):
        for h, w in GRIDS:
            assert np.all(evaluate(left, steps_of(h, w)) == evaluate(right, steps_of(h, w)))
    assert equal(left, left + right - right, STEPS)


@given(integers_of("t", "n0", "n1"))
def test_arrays_and_numbers_give_the_same(expression: Integer) -> None:
    together = np.broadcast_to(evaluate(expression, steps_of(3, 4)), 12)
    assert together.tolist() == [evaluate(expression, {"t": t, "n0": 3, "n1": 4}) for t in range(12)]


@given(integers_of("t", "n0", "n1"), integers_of("n0", "n1"))
def test_substitution_is_evaluation_in_two_steps(expression: Integer, value: Integer) -> None:
    inner = evaluate(value, {"n0": 3, "n1": 4})
    assert evaluate(substitute(expression, {"t": value}), {"n0": 3, "n1": 4}) == evaluate(
        expression, {"t": inner, "n0": 3, "n1": 4}
    )


@given(integers_of("t", "n0", "n1"))
def test_intervals_hold_every_value(expression: Integer) -> None:
    values = evaluate(expression, steps_of(3, 4))
    low, high = intervals(expression, {"t": (0, 11), "n0": (3, 3), "n1": (4, 4)})[expression]
    assert np.all(values >= low)
    assert np.all(values <= high)


@given(st.integers(-20, 20), st.integers(-5, 5).filter(bool))
def test_division_goes_down(left: int, right: int) -> None:
    a, b = Variable("a"), Variable("b")
    for environment in ({"a": left, "b": right}, {"a": np.array([left]), "b": np.array([right])}):
        assert evaluate(a // b, environment) == left // right
        assert evaluate(a % b, environment) == left % right


RULES = {
    "digit above": ((H * W - 1) // W, H - 1),
    "digit of a sum": ((T // W * W + T % W) // W, T // W),
    "digit below": ((T // W * W + T % W) % W, T % W),
    "step in the grid": (T // (H * W), Constant(0)),
    "row in the grid": ((T // W) % H, T // W),
    "nested division": (T // W // H, Constant(0)),
    "minimum in range": (minimum(T % W, W - 1), T % W),
    "maximum in range": (maximum(T, 0), T),
    "decided choice": (select(Compare("<", T, H * W), T, 0), T),
    "flattened": ((T % W + H) % W, (T + H) % W),
    "common factor": ((T * 2) // (W * 2), T // W),
    "common factor of a remainder": ((T * W + T % W) % (H * W), T % H * W + T % W),
    "three digits": ((T % (H * W)) // W, T // W),
}


@pytest.mark.parametrize("name", RULES)
def test_rule(name: str) -> None:
    before, after = RULES[name]
    assert simplify(before, STEPS) == simplify(after, STEPS)


def test_a_dividend_stays_nonnegative() -> None:
    """(h * w - 1 - t) % w must not become (-1 - t) % w: C would give another remainder."""
    mirrored = simplify((H * W - 1 - T) % W, STEPS)
    assert isinstance(mirrored, FloorMod)
    assert is_nonnegative(mirrored.left, STEPS)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [(H * W - 1 - T, True), (H - 1 - T // W, True), (T // W - H, False), (T - 1, False), (W - 1 - T % W, True)],
)
def test_signs(expression: Integer, expected: bool) -> None:
    assert is_nonnegative(expression, STEPS) == expected


def test_ranges_of_loops_depend_on_outer_loops() -> None:
    tiles = (H + 6) // 7
    inside = GRID.with_loop("tile", tiles).with_loop("row", minimum(7, H - Variable("tile") * 7))
    row = Variable("tile") * 7 + Variable("row")
    assert is_nonnegative(H - 1 - row, inside)
    assert is_nonnegative(minimum(7, H - Variable("tile") * 7) - 1, inside)
    assert not is_nonnegative(H - 2 - row, inside)


def test_division_by_zero_names_the_place() -> None:
    division = FloorDiv(T, W - 2)
    with pytest.raises(ZeroDivisor, match="t = 0, n1 = 2") as caught:
        evaluate(division, {"t": np.arange(4), "n1": 2})
    assert caught.value.node == division
    with pytest.raises(ZeroDivisor, match="t = 3"):
        evaluate(T % (T - 3), {"t": np.arange(6)})


def test_only_the_chosen_branch_divides() -> None:
    guarded = select(Compare("==", T % 3, Constant(0)), -1, FloorDiv(Constant(12), T % 3))
    assert np.array_equal(evaluate(guarded, {"t": np.arange(6)}), [-1, 12, 6, -1, 12, 6])


def shared(variable: Integer) -> Integer:
    """Written out it would have 3**40 terms."""
    expression = variable
    for _ in range(40):
        expression = expression * expression % 7 + expression
    return expression


def test_shared_parts_stay_cheap() -> None:
    assert shared(T) == shared(T)
    assert isinstance(evaluate(shared(T), {"t": 3}), int)
    assert substitute(shared(T), {"t": H}) == shared(H)
    assert evaluate(simplify(shared(T), STEPS), {"t": 3}) == evaluate(shared(T), {"t": 3})
    assert len(repr(shared(T))) < 3000


def test_equal_expressions_are_one_object() -> None:
    assert shared(T) is shared(T)
    assert copy.deepcopy(shared(T)) is shared(T)
    assert pickle.loads(pickle.dumps(T // W)) is T // W
    assert Constant(3) != Constant(4)
