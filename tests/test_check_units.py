"""Heads, groups of units, values of the step before and scales: what is refused, and the twin beside it that is not."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_check_linearity import expression, findings, recurrence

import scanlang
from scanlang.check.findings import Findings
from scanlang.check.program import CheckedRecurrence, Scale, StateUpdate, Temporary
from scanlang.check.scales import check_scales
from scanlang.diagnostics import Reporter, ScanError
from scanlang.source import Source, Span
from scanlang.syntax.nodes import Binary, Call, Expr, Name, Negative, Number
from scanlang.testing import draw_inputs, reference

HEADS = "state n, other j, head p, group = 2"

SSD = """\
input x[p], dt
shared B[n], C[n] per group units
param A_log, D[p]
d = softplus(dt)
S[n, p] = exp(-exp(A_log) * d) * S[p, n] + d * B[n] * x[p]
y[p] = sum(n: C[n] * S[n, p]) + D[p] * x[p]"""

MLSTM = """\
input v[p], q[n], k[n], i, f
lf = -softplus(-f)
scale m = max(lf + m, i)
C[n, p] = exp(lf + prev(m) - m) * C[n, p] + exp(i - m) * k[n] * v[p]
a[n] = exp(lf + prev(m) - m) * a[n] + exp(i - m) * k[n]
y[p] = sum(n: C[n, p] * q[n]) / max(abs(sum(n: a[n] * q[n])), exp(-m))"""

WKV = """\
input k, v
param w, u
scale m = max(prev(m) - exp(w), k)
a = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
b = exp(prev(m) - exp(w) - m) * b + exp(k - m)
scale q = max(prev(m), u + k)
y = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))"""

LOG_WKV = """\
input k
param w, u
scale m = max(prev(m) - exp(w), k)
b = exp(prev(m) - exp(w) - m) * b + exp(k - m)
scale q = max(prev(m), u + k)
y = q + log(exp(prev(m) - q) * prev(b) + exp(u + k - q))"""
LOGSUMEXP = "input k\nscale m = max(m, k)\ns = exp(prev(m) - m) * s + exp(k - m)\ny = log(s) + m"
ENTRIES = """\
input k[n], v
scale m[n] = max(m[n], k[n])
a[n] = exp(prev(m[n]) - m[n]) * a[n] + exp(k[n] - m[n]) * v
b[n] = exp(prev(m[n]) - m[n]) * b[n] + exp(k[n] - m[n])
y = sum(n: a[n] / b[n])"""


def head_of(body: str) -> str:
    return HEADS if "[p]" in body else "state n, other j"


def checked(body: str) -> CheckedRecurrence:
    return recurrence(body, head_of(body))


def found(body: str) -> list[tuple[str, str, str]]:
    return findings(body, head_of(body))


def test_heads_are_said_by_per_and_stand_in_no_index() -> None:
    ssd = recurrence(SSD, HEADS)
    assert ssd.head == "p"
    assert ssd.indices == {"n": "state", "j": "other"}
    operands = {operand.name: (operand.indices, operand.per, operand.units) for operand in ssd.operands}
    assert operands == {
        **dict.fromkeys(("x", "D"), ((), "channel", 1)),
        **dict.fromkeys(("dt", "A_log"), ((), "unit", 1)),
        **dict.fromkeys("BC", (("n",), "group", "group")),
    }
    assert [(e.name, e.indices, e.per) for e in ssd.equations] == [
        *(("d", (), "unit"), ("S", ("n",), "channel"), ("y", (), "channel")),
    ]


def test_without_a_head_a_unit_is_a_channel() -> None:
    body = "input x, f[n]\nshared B[n] per 4 units\nshared c\nparam a\nh[n] = a * h[n] + c * B[n] * f[n] * x\ny = sum(n: h[n])"
    plain = recurrence(body, "state n")
    assert plain.head is None
    assert [(o.per, o.units) for o in plain.operands] == [
        *(("channel", 1), ("channel", 1), ("group", 4), ("all", 1), ("channel", 1)),
    ]
    assert {equation.per for equation in plain.equations} == {"channel"}


def test_scales_that_read_themselves_run() -> None:
    scales = {e.name: e for e in recurrence(WKV).equations if isinstance(e, Scale)}
    assert {name: scale.running for name, scale in scales.items()} == {"m": True, "q": False}
    assert not [part for part in calls(scales["m"].value) if part.function == "prev"], "its name is its old value"


def calls(expr: Expr) -> list[Call]:
    match expr:
        case Call(_, arguments):
            return [expr, *(call for argument in arguments for call in calls(argument))]
        case Binary(_, left, right):
            return calls(left) + calls(right)
        case _:
            return []


def test_prev_of_a_state_in_its_own_update_is_the_state() -> None:
    plain, written = (recurrence(f"input x\nh = 0.9 * {old} + x").equations for old in ("h", "prev(h)"))
    assert plain == written
    assert isinstance(written[0], StateUpdate)


def test_prev_alone_is_a_state() -> None:
    assert [type(e) for e in recurrence("input x\ny = x - prev(x)").equations] == [Temporary]
    assert found("input x\ny = x")[0][0] == "S127"


PAIRS = [
    # linear and diagonal
    ("input x\nh = exp(prev(h)) * x", "S129", "exp(prev(h))", "input x\nh = 0.9 * h + x\ny = exp(prev(h)) * x"),
    ("input x\nh = h * prev(h) + x", "S129", "h * prev(h)", "input x\nh = 0.9 * h + x\ny = h * prev(h)"),
    ("input x\nh = 0.9 * h + x / (1 + prev(h))", "S129", "1 + prev(h)", "input x\nh = 0.9 * h + x / (1 + prev(x))"),
    ("input x\ng = sigmoid(prev(h))\nh = g * h + x", "S163", "h", "input x\ng = sigmoid(prev(x))\nh = g * h + x"),
    (
        "input x[p], a\ng[p] = prev(h[p])\nh[p] = a * h[p] + x[p]\ny[p] = h[p] * g[p]",
        *("S132", "h[p]"),
        "input x[p], a\nh[p] = a * h[p] + x[p]\ng[p] = prev(h[p])\ny[p] = h[p] * g[p]",
    ),
    (
        "input x[p], a[n]\nS[n, p] = sum(j: S[j, p]) + x[p]\ny[p] = sum(n: a[n] * S[n, p])",
        *("S130", "S[j, p]"),
        "input x[p], a[n]\nS[n, p] = a[n] * S[p, n] + x[p]\ny[p] = sum(n: S[n, p])",
    ),
    (
        "input x[p], a\nS[p] = exp(S[p]) * a + x[p]\ny[p] = S[p]",
        *("S129", "exp(S[p])"),
        "input x[p], a\nS[p] = exp(a) * S[p] + x[p]\ny[p] = S[p]",
    ),
    (
        "input x\nh = 0.9 * h + prev(g) + x\ng = 0.9 * g + h\ny = h + g",
        *("S162", "g"),
        "input x\nh = 0.9 * h + x\ng = 0.9 * g + prev(h)\ny = h + g",
    ),
    # the index of the head
    (SSD.replace("D[p] * x[p]", "p * D[p] * x[p]"), "S180", "p", SSD),
    (SSD.replace("C[n] per group units", "C[n, p]"), "S180", "C[n, p]", SSD),
    (SSD.replace("sum(n: C[n] * S[n, p])", "sum(p: sum(n: C[n] * S[n, p]))"), "S180", "sum(p: sum(n: C[n] * S[n, p]))", SSD),
    (SSD.replace("D[p]\n", "D[p] = p\n"), "S180", "p", SSD.replace("D[p]\n", "D[p] = 1\n")),
    (SSD.replace("softplus(dt)", "softplus(dt) * x[p]"), "S181", "x[p]", SSD),
    (SSD.replace("d * B[n] * x[p]", "d * B[n] * x"), "S121", "x", SSD),
    (SSD.replace("d * B[n] * x[p]", "d[p] * B[n] * x[p]"), "S121", "d[p]", SSD),
    (SSD.replace("S[p, n]", "S[p, p]"), "S121", "S[p, p]", SSD),
    (SSD + "\nz = d", "S182", "z = d", SSD),
    (SSD + "\nz[n, p] = S[n, p] + y[p]", "S182", "z[n, p] = S[n, p] + y[p]", SSD + "\nz[p] = sum(n: S[n, p]) + y[p]"),
    (SSD.replace("x[p], dt", "dt, x").replace("x[p]", "x"), "S183", "r", SSD),
    # per
    (SSD.replace("per group units", "per 0 units"), "S185", "0", SSD),
    (SSD.replace("per group units", "per groups units"), "S101", "groups", SSD),
    (SSD.replace("D[p]\n", "D[p] per 2 units\n"), "S185", "2", SSD.replace("per group", "per 2")),
    ("input x\nshared param T per 2 units\nh = T * h + x", "S185", "2", "input x\nshared T per 2 units\nh = T * h + x"),
    # prev
    ("input x\nh = 0.9 * h + prev(prev(h)) + x", "S186", "prev(prev(h))", "input x\nh = 0.9 * h + x\ny = prev(prev(h))"),
    ("input x\nh = 0.9 * h + prev(x * h)", "S186", "prev(x * h)", "input x\nh = 0.9 * h + prev(x) * h"),
    ("input x\ny = x + prev(x, x)", "S113", "prev(x, x)", "input x\ny = x + prev(x)"),
    (WKV.replace("exp(prev(m) - q) * prev(a)", "exp(prev(q) - q) * prev(a)"), "S186", "prev(q)", WKV),
    (LOGSUMEXP.replace("max(m, k)", "max(prev(m + 1), k)"), "S186", "prev(m + 1)", LOGSUMEXP.replace("max(m", "max(m + 1")),
    # scales
    (WKV.replace("max(prev(m), u + k)", "max(prev(m), u + k + b)"), "S187", "b", WKV),
    (WKV.replace("max(prev(m), u + k)", "max(prev(m), u + prev(a))"), "S187", "a", WKV),
    (MLSTM.replace("exp(-m))", "1)"), "S189", "1", MLSTM),
    (MLSTM.replace("exp(-m))", "exp(m))"), "S189", "exp(m)", MLSTM),
    (MLSTM.replace(" / max(abs(sum(n: a[n] * q[n])), exp(-m))", " * sum(n: a[n])"), "S188", None, MLSTM),
    (MLSTM.replace("a[n] = exp(lf + prev(m) - m)", "a[n] = exp(lf)"), "S189", "exp(lf)", MLSTM),
    (MLSTM.replace("a[n] = exp(lf + prev(m) - m)", "a[n] = exp(lf + m - prev(m))"), "S189", "exp(lf + m - prev(m))", MLSTM),
    (MLSTM.replace("* a[n] + exp(i - m)", "* a[n] + exp(i + m)"), "S189", "exp(lf + prev(m) - m)", MLSTM),
    (MLSTM.replace("* a[n] + exp(i - m)", "* a[n] + exp(i)"), "S189", "exp(i) * k[n]", MLSTM),
    (WKV.replace("exp(u + k - q) * v)", "exp(u + k) * v)"), "S189", "exp(u + k) * v", WKV),
    (WKV.replace("prev(a)", "a"), "S189", None, WKV),
    (WKV.replace(" / (", " * ("), "S188", None, WKV),
    (LOG_WKV.replace("q + log", "log"), "S188", None, LOG_WKV),
    (LOG_WKV.replace("q + log", "prev(m) + log"), "S188", None, LOG_WKV),
    (LOG_WKV.replace("y = q", "y = -q"), "S188", None, LOG_WKV.replace("y = q + log", "y = -(2 * (q + log") + ")) / 3"),
    (LOGSUMEXP.replace("+ m", "+ 0.5 * m"), "S188", None, LOGSUMEXP.replace("+ m", "+ 0.5 * m + m / 2")),
    (LOGSUMEXP.replace("log(s) + m", "log(s + 1) + m"), "S189", "1", LOGSUMEXP.replace("log(s)", "log(s + exp(-m))")),
    (LOGSUMEXP.replace("log(s) + m", "tanh(s)"), "S190", "s", LOGSUMEXP.replace("log(s) + m", "tanh(s / exp(-m))")),
    (LOGSUMEXP.replace("log(s) + m", "s * m"), "S190", "m", LOGSUMEXP.replace("log(s) + m", "s * exp(m)")),
    (LOGSUMEXP.replace("+ m", "+ prev(m + k)"), "S190", "m", LOGSUMEXP.replace("+ m", "+ m + prev(k)")),
    (LOGSUMEXP.replace("log(s) + m", "relu(m)"), "S190", "m", LOGSUMEXP.replace("log(s) + m", "relu(s) / exp(-m)")),
    (
        LOGSUMEXP.replace("log(s) + m", "where(s > 1, k, 0)"),
        *("S189", "1"),
        LOGSUMEXP.replace("log(s) + m", "where(s > exp(-m), k, 0)"),
    ),
    (LOGSUMEXP.replace("log(s) + m", "sqrt(s * s)"), "S188", None, LOGSUMEXP.replace("log(s) +", "sqrt(s) * exp(0.5 *") + ")"),
    (LOGSUMEXP.replace("s) + m", "s) + m\nscale z = m"), "S188", "scale z = m", LOGSUMEXP.replace("s) + m", "s) + m\nz = y")),
    (ENTRIES.replace("a[n] / b[n])", "a[n]) / sum(n: b[n])"), "S190", "a[n]", ENTRIES),
    (ENTRIES.replace("a[n] / b[n])", "m[n] * 0 + m[n])"), "S190", "m[n]", ENTRIES),
    (
        "input x\nscale m = max(m, x)\nh = exp(-m) * h\ny = h * x",
        *("S189", "exp(-m)"),
        "input x\nscale m = max(m, x)\nh = exp(prev(m) - m) * h\ny = h * exp(m) * x",
    ),
]  # fmt: skip


@pytest.mark.parametrize("refused, code, at, twin", PAIRS)
def test_refused_and_its_twin(refused: str, code: str, at: str | None, twin: str) -> None:
    assert checked(twin).equations
    places = [text for said, text, _ in found(refused) if said == code]
    assert places
    assert at is None or places[0] == at


def test_every_scale_of_a_program_is_said() -> None:
    body = MLSTM.replace("a[n] = exp(lf + prev(m) - m)", "a[n] = exp(lf)").replace(
        "C[n, p] = exp(lf + prev(m) - m)", "C[n, p] = exp(lf)"
    )
    assert [(code, text) for code, text, _ in findings(body, HEADS)] == [("S189", "exp(lf)")] * 2


def cure(body: str) -> str | None:
    with pytest.raises(ScanError) as caught:
        checked(body)
    return caught.value.diagnostics[0].help


@pytest.mark.parametrize(
    "body, words",
    [
        (MLSTM.replace("exp(-m))", "1)"), "multiply it by `exp(-m)`"),
        (MLSTM.replace("a[n] = exp(lf + prev(m) - m)", "a[n] = exp(lf)"), "multiply the old value by `exp(prev(m) - m)`"),
        (MLSTM.replace("* a[n] + exp(i - m)", "* a[n] + exp(i)"), "multiply what is added by `exp(-m)`"),
        (LOGSUMEXP.replace("log(s) + m", "log(s) + 3 * m"), "add `-2 * m`"),
        (LOGSUMEXP.replace("log(s) + m", "s"), "divide by what has the same factor, or multiply by `exp(m)`"),
        (WKV.replace("exp(prev(m) - q) * prev(a)", "prev(a)"), None),
    ],
)
def test_help_says_what_is_missing(body: str, words: str | None) -> None:
    said = cure(body)
    assert said == words if words is not None else said is not None


def test_a_product_of_scales_is_bounded() -> None:
    """Coefficients that grow from line to line end the proof, not the machine."""
    lines = "\n".join(f"z{k + 1} = 1.2345678901234567e300 * z{k}" for k in range(300))
    body = f"input k\nscale m = max(m, k)\nh = 0.9 * h + k\nz0 = m + h\n{lines}\ny = z300"
    with pytest.raises(ScanError):
        recurrence(body)


VALUES = st.floats(0.25, 2.0)
LEAVES = ["x", "f", "2", "0", "exp(m)", "exp(x - m)", "exp(f - prev(m))", "exp(-2 * m)", "m", "prev(m)", "m - prev(m)"]
TERMS = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(st.sampled_from(("exp", "log", "sqrt", "abs", "relu", "tanh")), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(("min", "max")), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
        st.tuples(inner, inner, inner, inner).map(lambda t: f"where({t[0]} < {t[1]}, {t[2]}, {t[3]})"),
    ),
    max_leaves=6,
)


def is_free_of_scales(value: Expr) -> bool:
    """Whether `y = value` is accepted, where `m` is a scale."""
    nowhere = Span(Source("", ""), 0, 0)
    scale = Scale("m", (), Name("x", span=nowhere), True, nowhere)
    reporter = Reporter()
    check_scales((scale, Temporary("y", (), value, nowhere)), Findings(reporter))
    return not reporter.diagnostics


def evaluate(expr: Expr, values: Mapping[str, float]) -> float:
    match expr:
        case Number(value):
            return value
        case Name(name):
            return values[name]
        case Negative(operand):
            return -evaluate(operand, values)
        case Call("prev", (Name(name),)):
            return values[f"prev({name})"]
        case Call("where", (Binary(_, left, right), then, otherwise)):
            return evaluate(then if evaluate(left, values) < evaluate(right, values) else otherwise, values)
        case Call(function, arguments):
            first, *rest = (evaluate(argument, values) for argument in arguments)
            chosen = {"min": min, "max": max}.get(function)
            if chosen is not None:
                return chosen(first, *rest)
            if function in ("abs", "relu"):
                return abs(first) if function == "abs" else max(first, 0.0)
            return float(getattr(math, function)(first))
        case Binary(operator, left, right):
            first, second = evaluate(left, values), evaluate(right, values)
            if operator == "/":
                return first / second
            return {"+": first + second, "-": first - second, "*": first * second}[operator]
        case _:
            raise AssertionError(expr)


@given(TERMS, VALUES, VALUES, st.tuples(VALUES, VALUES), st.tuples(VALUES, VALUES))
def test_what_is_accepted_does_not_depend_on_scales(
    text: str, x: float, f: float, first: tuple[float, float], second: tuple[float, float]
) -> None:
    value = expression(text)
    if not is_free_of_scales(value):
        return
    outputs = []
    for now, before in (first, second):
        try:
            outputs.append(evaluate(value, {"x": x, "f": f, "m": now, "prev(m)": before}))
        except (ValueError, ZeroDivisionError, OverflowError):
            return
    assert outputs[0] == pytest.approx(outputs[1], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["exp(x - m) * exp(m)", "log(exp(x - m)) + m", "exp(x - m) / exp(f - m)", "sqrt(exp(-2 * m)) * exp(m)"]
)
def test_some_are_accepted(text: str) -> None:
    assert is_free_of_scales(expression(text))
    assert not is_free_of_scales(expression(f"({text}) + m"))


def outputs(body: str, noise: str) -> torch.Tensor:
    """Of the recurrence in a scan along rows, by the loop of the reference, every scale made larger by `noise`."""
    changed = re.sub(r"^(scale .*)$", rf"\1 + {noise}", body, flags=re.MULTILINE)
    operands = re.findall(r"\w+", re.sub(r"\[.*?\]", "", next(line for line in body.splitlines() if line.startswith("input"))))[
        1:
    ]
    sizes = "state = 2, head = 2" if "[p]" in body else "state = 2" if "[n]" in body else ""
    formals = "state n, head p" if "[p]" in body else "state n" if "[n]" in body else ""
    scan = f"scan s(dim) {{ input {', '.join(operands)} directions snake recur r({sizes}) }}"
    program = scanlang.loads(f"recurrence r({formals}) {{\n{changed}\n}}\n{scan}")
    given: dict[str, Any] = draw_inputs(scanlang.compile(program), (2, 3), batch=1, channels=4, dtype=torch.float64)
    output: torch.Tensor = reference(program, None, **given)
    return output


@pytest.mark.parametrize(
    "body, noise",
    [(MLSTM, "0.3 * i"), (WKV, "0.3 * k"), (LOG_WKV, "0.3 * k"), (LOGSUMEXP, "0.3 * k"), (ENTRIES, "0.3 * k[n]")],
)
def test_another_scale_gives_the_same_output(body: str, noise: str) -> None:
    torch.testing.assert_close(outputs(body, noise), outputs(body, "0"), rtol=1e-9, atol=1e-9)
