"""Checked recurrence → step: units, values kept for the step after, and what has no gradient."""

from __future__ import annotations

import pytest
from test_check_linearity import recurrence
from test_check_units import HEADS, MLSTM, SSD, WKV

from scanlang.graph.build_step import build_step
from scanlang.graph.step import LOWEST, Step
from scanlang.graph.values import ZERO


def step(body: str, formals: str = "state n, other j") -> Step:
    return build_step(recurrence(body, formals))


def shown(step: Step) -> list[str]:
    return [str(equation) for equation in step.body]


def test_operands_reach_what_the_program_says() -> None:
    ssd = step(SSD, HEADS)
    assert ssd.head
    assert ssd.sizes == {"n": "state", "j": "other"}
    sizes = {"head": 64, "group": 2}
    assert {operand.name: operand.channels(sizes) for operand in ssd.operands} == {
        **dict.fromkeys(("x", "D"), 1),
        **dict.fromkeys(("dt", "A_log"), 64),
        **dict.fromkeys(("B", "C"), 128),
    }
    assert [str(fixed) for fixed in ssd.prologue] == ["fixed.0 = -min(exp(A_log), 1e+36)"]
    assert [(state.name, state.indices, state.per) for state in ssd.states] == [("S", ("n",), "channel")]


@pytest.mark.parametrize(
    "body, prologue",
    [
        ("h = exp(-exp(a) * x) * h + x", ["-min(exp(a), 1e+36)"]),
        ("rate = exp(a)  r = rate * x  h = exp(-r) * h + x", ["min(exp(a), 1e+36)"]),
        ("h = exp(-exp(a)) * h + x", ["exp(-min(exp(a), 1e+36))"]),
        ("h = exp(-exp(a) * x) * h + x / -exp(a)", ["-min(exp(a), 1e+36)"]),
        ("h = 0.5 * h + exp(a) * x", ["exp(a)"]),
        ("h = exp(a * x) * h + exp(a) * sigmoid(x)", ["exp(a)"]),
    ],
)
def test_an_exponential_of_parameters_inside_another_is_bounded(body: str, prologue: list[str]) -> None:
    made = step(f"input x\nparam a\n{body}\ny = h")
    assert [str(equation).split(" = ")[1] for equation in made.prologue] == prologue


def test_without_a_head_a_group_is_of_channels() -> None:
    plain = step("input x\nshared B per 4 units\nshared C\nh = B * h + C * x")
    assert not plain.head
    assert [operand.channels({}) for operand in plain.operands] == [1, 4, 0]


def test_a_running_scale_is_a_constant_state_that_starts_below_everything() -> None:
    wkv = step(WKV)
    m, a, b = wkv.states
    assert (m.name, m.decay, m.start, m.constant) == ("m", ZERO, LOWEST, True)
    assert str(m) == "m = max(m' - fixed.0, k)"
    assert [(state.start, state.constant) for state in (a, b)] == [(0.0, False)] * 2
    assert {equation.name for equation in wkv.body if equation.constant} == {"m", "q"}
    assert any("exp(in.2) * a' + exp(in.3) * v" in equation for equation in shown(wkv))


def test_states_of_units_have_one_value_for_a_unit() -> None:
    assert {state.name: state.per for state in step(MLSTM, HEADS).states} == {"m": "unit", "C": "channel", "a": "unit"}


def test_what_a_scale_alone_is_made_of_has_no_gradient() -> None:
    scale = "scale m = max(m, log(i + v) + tanh(sigmoid(i * v + 1)) + prev(v))"
    body = f"input i, v\n{scale}\nh = exp(prev(m) - m) * h + exp(-m) * v\ny = h * exp(m)"
    made = step(body)
    assert [equation.name for equation in made.body if equation.constant] == ["in.0", "in.1", "m", "prev.0"]
    used = step(body.replace("y = h", "y = log(i + v) * prev(v) * h"))
    assert [equation.name for equation in used.body if equation.constant] == ["in.1", "m"]


@pytest.mark.parametrize(
    "readout, expected",
    [
        ("prev(h)", ["h'"]),
        ("prev(x)", ["prev.0'", "prev.0 = x"]),
        ("prev(x) + prev(x) * prev(x * h)", ["prev.0' + prev.0' * prev.1'", "prev.0 = x", "prev.1 = x * h"]),
        ("prev(prev(h))", ["prev.0'", "prev.0 = h'"]),
        ("prev(prev(x))", ["prev.1'", "prev.0 = x", "prev.1 = prev.0'"]),
    ],
)
def test_values_of_the_step_before(readout: str, expected: list[str]) -> None:
    made = step(f"input x\nh = 0.9 * h + x\ny = {readout} + h")
    assert shown(made)[-len(expected) :] == [f"y = {expected[0]} + h", *expected[1:]]
    assert made.readout == "y"
    assert all(state.decay == ZERO for state in made.states[1:])


def test_values_of_the_step_before_have_their_indices_and_units() -> None:
    body = "input x[p], a, k[n]\nh[p] = prev(a) * h[p] + x[p]\ny[p] = prev(sum(n: prev(k[n] * h[p]) * prev(k[n])))"
    states = [state for state in step(body, HEADS).states if state.name != "h"]
    assert [(state.name, state.indices, state.per) for state in states] == [
        *(("prev.0", (), "unit"), ("prev.1", ("n",), "channel"), ("prev.2", ("n",), "unit"), ("prev.3", (), "channel")),
    ]


def test_prev_is_state_enough() -> None:
    assert [state.name for state in step("input x\ny = x + prev(x)").states] == ["prev.0"]
