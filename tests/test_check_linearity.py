"""The algebra of state updates: `decay * state + drive` is the update as written, and what is not linear is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanlang.check import check
from scanlang.check.expressions import mentions
from scanlang.check.program import CheckedRecurrence, StateUpdate
from scanlang.diagnostics import ScanError
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Binary, Call, Equation, Expr, Name, Negative, Number, RecurrenceDefinition, Sum
from scanlang.syntax.parse import parse_text

SIZE = 3
VALUES = st.floats(0.25, 2.0)


def recurrence(body: str, formals: str = "") -> CheckedRecurrence:
    source = Source("test.scan", f"recurrence r({formals}) {{\n{body}\n}}")
    return check(build_syntax(parse_text(source), source), source).recurrences["r"]


def update(body: str, formals: str = "") -> StateUpdate:
    return next(e for e in recurrence(body, formals).equations if isinstance(e, StateUpdate))


def expression(text: str) -> Expr:
    source = Source("test.scan", f"recurrence r {{ value = {text} }}")
    definition = build_syntax(parse_text(source), source).items[0]
    assert isinstance(definition, RecurrenceDefinition)
    equation = definition.body[0]
    assert isinstance(equation, Equation)
    return equation.value


def findings(body: str, formals: str = "") -> list[tuple[str, str, str]]:
    """(code, the text that is pointed at, the label)."""
    with pytest.raises(ScanError) as caught:
        recurrence(body, formals)
    return [(d.code, d.span.text, d.label) for d in caught.value.diagnostics]


def evaluate(expr: Expr, values: Mapping[str, float], indices: Mapping[str, int]) -> float:
    """The value of an expression; an indexed name is its value times (1 + index)."""
    match expr:
        case Number():
            return expr.value
        case Name():
            selected = [indices[index.name] for index in expr.indices if isinstance(index, Name)]
            return values[expr.name] * math.prod(1 + index for index in selected)
        case Negative():
            return -evaluate(expr.operand, values, indices)
        case Binary():
            left, right = evaluate(expr.left, values, indices), evaluate(expr.right, values, indices)
            return {"+": left + right, "-": left - right, "*": left * right, ">": float(left > right)}.get(
                expr.operator, left / right if right else 0.0
            )
        case Call(function="where"):
            condition, yes, no = (evaluate(argument, values, indices) for argument in expr.arguments)
            return yes if condition else no
        case Call(function="sigmoid"):
            return 1 / (1 + math.exp(-evaluate(expr.arguments[0], values, indices)))
        case Sum():
            return sum(evaluate(expr.body, values, {**indices, expr.index: k}) for k in range(SIZE))
        case _:
            raise AssertionError(expr)


FREE = st.recursive(
    st.sampled_from(["x", "a", "f", "b[n]", "0.5", "2", "sum(m: c[m])"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda e: f"sigmoid({e})"),
    ),
    max_leaves=4,
)


def linear(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    both = st.one_of(inner, FREE)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-"), both).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(both, st.sampled_from("+-"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from("*/"), FREE).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(FREE, inner).map(lambda t: f"({t[0]} * {t[1]})"),
        inner.map(lambda e: f"(-{e})"),
        st.tuples(FREE, both, inner).map(lambda t: f"where({t[0]} > 1, {t[1]}, {t[2]})"),
        inner.map(lambda e: f"sum(m: c[m] * {e})" if "m:" not in e else e),
    )


UPDATES = st.recursive(st.just("h[n]"), linear, max_leaves=5)
DECLARED = "input x, f\nparam a, b[n], c[m]\n"


@given(UPDATES, st.fixed_dictionaries(dict.fromkeys("xfabch", VALUES)), st.integers(0, SIZE - 1))
def test_split_means_the_update(text: str, values: dict[str, float], entry: int) -> None:
    if not mentions(expression(text), "h"):
        return
    body = f"{DECLARED}h[n] = {text}\ny = sum(n: h[n]) + x + f + a + sum(n: b[n]) + sum(m: c[m])"
    split = update(body, "state n, taps m")
    assert not mentions(split.decay, "h")
    assert not mentions(split.drive, "h")
    state = values["h"] * (1 + entry)
    expected = evaluate(expression(text), values, {"n": entry})
    actual = evaluate(split.decay, values, {"n": entry}) * state + evaluate(split.drive, values, {"n": entry})
    assert actual == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "text, decay, drive",
    [
        ("a * h + x", "a", "x"),
        ("h + x", "1", "x"),
        ("x + h * a", "a", "x"),
        ("-h", "-1", "0"),
        ("x - h", "-1", "x"),
        ("x - (-(a * h))", "a", "x"),
        ("h + (x - h) * a", "1 + -1 * a", "x * a"),
        ("a * (h + x)", "a", "a * x"),
        ("(h + x) / a", "1 / a", "x / a"),
        ("where(x > 0, h, a)", "where(x > 0, 1, 0)", "where(x > 0, 0, a)"),
        ("a * h * x", "a * x", "0"),
        ("2 * (a * h + 1 * h)", "2 * (a + 1)", "0"),
    ],
)
def test_split_is_tidy(text: str, decay: str, drive: str) -> None:
    split = update(f"input x\nparam a\nh = {text}\ny = h + a * x")
    assert (split.decay, split.drive) == (expression(decay), expression(drive))


@pytest.mark.parametrize(
    "text, term, label",
    [
        ("a * h * h + x", "a * h * h", "`h` multiplied by itself"),
        ("h * h + x", "h * h", "`h` squared"),
        ("exp(h) + a * x", "exp(h)", "`h` inside `exp`"),
        ("a * max(h, x)", "max(h, x)", "`h` inside `max`"),
        ("x / h + a", "h", "division by `h`"),
        ("a / (1 + h) * x", "1 + h", "division by `h`"),
        ("where(h > 0, h, a * x)", "h > 0", "`h` in a condition"),
        ("(h + x) * (h - a)", "(h + x) * (h - a)", "`h` multiplied by itself"),
    ],
)
def test_what_is_not_linear_is_named(text: str, term: str, label: str) -> None:
    (found,) = findings(f"input x\nparam a\nh = {text}\ny = h + a * x")
    assert found[0] == "S129"
    assert found[1].strip("()") == term.strip("()")
    assert found[2] == label


def test_another_entry_is_named_also_without_a_sum() -> None:
    body = "input x\nparam A[n, m]\nh[n] = sum(m: A[n, m] * h[m]) + x\ny = sum(n: h[n])"
    assert findings(body, "state n, other m")[0][:2] == ("S130", "h[m]")
    body = "input x\nparam A[n, m]\nS[n, m] = A[n, m] * S[m, n] + x\ny = sum(n: sum(m: S[n, m]))"
    label = "`S[m, n]` in the update of `S[n, m]`: another entry of the state"
    assert findings(body, "state n, other m") == [("S130", "S[m, n]", label)]


def test_new_state_may_be_used_in_any_way_below() -> None:
    checked = recurrence("input x\nparam a\nh = a * h + x\nu = tanh(h) * h\ny = exp(u) / (1 + h * h)")
    assert [type(e).__name__ for e in checked.equations] == ["StateUpdate", "Temporary", "Temporary"]
    assert checked.readout == "y"


def test_a_state_may_use_those_above_it_but_not_those_below() -> None:
    assert len(recurrence("input x\nparam a\nh = a * h + x\ns = a * s + x\ny = h * s").equations) == 3
    checked = recurrence("input x\nparam a\nh = a * h + x\nu = h * x\ns = sigmoid(h) * s + u * h\ny = s")
    assert [type(e).__name__ for e in checked.equations] == ["StateUpdate", "Temporary", "StateUpdate", "Temporary"]
    found = findings("input x\nparam a\nh = a * h + s\ns = a * s + h + x\ny = s")
    assert [(code, text) for code, text, _ in found] == [("S162", "s")]


def test_last_equation_may_be_the_state() -> None:
    assert recurrence("input x\nparam a\nh = a * h + x").readout == "h"


@pytest.mark.parametrize(
    "body, codes",
    [
        ("input x\nparam a\nh[n, n] = a * h[n, n] + x\ny = sum(n: h[n, n])", ["S123"]),
        ("input x\nparam a[k]\nh[n] = h[n] + x\ny = sum(n: h[n])", ["S101"]),
        ("input x\nparam n\nh = h + x * n", ["S108"]),
        ("input x\nparam a[n]\nh[n] = a[m] * h[n] + x\ny = sum(n: h[n])", ["S122"]),
        ("input x\nparam a[n]\nh[m] = sum(n: a[n]) * h[m] + a[m] * x\ny = sum(m: h[m])", ["S123"]),
        ("input x\nparam a[n]\nh[n] = a[n + 1] * h[n] + x\ny = sum(n: h[n])", ["S123"]),
        ("input x\nh = sum(q: x) * h + x", ["S101"]),
        ("input x\nh = h + x\ny = h\nz = y * later\nlater = z", ["S132"]),
        ("input x\nh = h % 2 + x", ["S120"]),
        ("input x\nh = min(h) + x", ["S113"]),
        ("input x\nparam a = uniform(1, n)\nh = a * h + x", ["S101"]),
        ("input x\nparam a[n] = uniform(0, n)\nh[n] = a[n] * h[n] + x\ny = sum(n: h[n])", ["S133"]),
        ("input x\nparam a = normal(0, -1)\nh = a * h + x", ["S133"]),
        ("input x\nparam a = uniform(0, uniform(1, 2))\nh = a * h + x", ["S133"]),
        ("input x\nparam a = 1 / 0\nh = a * h + x", ["S133"]),
        ("input x\nparam a = inv_softplus(0)\nh = a * h + x", ["S133"]),
        ("input x\nparam a[n] = 1 / (n - 1)\nh[n] = a[n] * h[n] + x\ny = sum(n: h[n])", ["S133"]),
        ("input x\nparam a = sum(n: n)\nh = a * h + x", ["S120"]),
    ],
)
def test_findings_in_recurrences(body: str, codes: list[str]) -> None:
    assert [code for code, _, _ in findings(body, "state n, other m")] == codes


def test_initial_values_may_use_indices_draws_and_functions() -> None:
    body = "input x\nparam a[n] = log(n + 1), b = inv_softplus(loguniform(1e-3, 0.1)), c = exp(-normal(0, 1)) / 2\n"
    checked = recurrence(body + "h[n] = a[n] * h[n] + b * c * x\ny = sum(n: h[n])", "state n = 2 * 8")
    assert [operand.initial is not None for operand in checked.of_kind("param")] == [True, True, True]
