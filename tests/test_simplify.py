"""What a person writes down naively is computed safely: the forms are recognised, accurate in float32 at ±100 and near 0,
and so are their derivatives. sympy and mpmath say what is exact; they see values, never a text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import mpmath
import pytest
import sympy
import torch
from torch import Tensor

import scanlang
from scanlang.codegen.torch_steps import evaluate
from scanlang.codegen.unroll import Block, Names, Unroller
from scanlang.graph.adjoint import adjoint
from scanlang.graph.build_step import Values
from scanlang.graph.simplify import safe, stable, tidy
from scanlang.graph.step import Assign, Operand, Step
from scanlang.graph.values import DERIVATIVES, ONE, Apply, Constant, Read, Total, Value, divide, multiply, negate, show
from scanlang.testing import assert_matches_reference

NAMES = ("x", "a", "b")
POINTS = (100.0, -100.0, 40.0, -40.0, 17.0, -17.0, 1.0, -1.0, 0.3, 1e-3, -1e-3, 1e-8, -1e-8, 0.0)

EXACT = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda a: -a, "exp": sympy.exp, "log": sympy.log, "sqrt": sympy.sqrt, "tanh": sympy.tanh, "erf": sympy.erf,
    "expm1": lambda a: sympy.exp(a) - 1, "log1p": lambda a: sympy.log(1 + a), "sigmoid": lambda a: 1 / (1 + sympy.exp(-a)),
    "silu": lambda a: a / (1 + sympy.exp(-a)), "softplus": lambda a: sympy.log(1 + sympy.exp(a)),
    "gelu": lambda a: a * (1 + sympy.erf(a / sympy.sqrt(2))) / 2,
    "logaddexp": lambda a, b: sympy.log(sympy.exp(a) + sympy.exp(b)),
}  # fmt: skip

FORMS = {
    "log(1 + exp(x))": "softplus(x)",
    "log(exp(-x) + 1)": "softplus(-x)",
    "1 / (1 + exp(-x))": "sigmoid(x)",
    "exp(x) / (1 + exp(x))": "sigmoid(x)",
    "a / (1 + exp(x))": "a * sigmoid(-x)",
    "x * sigmoid(x)": "silu(x)",
    "a * x / (1 + exp(-x))": "a * silu(x)",
    "log(sigmoid(x))": "-softplus(-x)",
    "log(1 / (1 + exp(-x)))": "-softplus(-x)",
    "log(1 - sigmoid(x))": "-softplus(x)",
    "log(1 + x * x)": "log1p(x * x)",
    "log(exp(a) + exp(b))": "logaddexp(a, b)",
    "log(exp(a) + exp(b) + 1)": "softplus(logaddexp(a, b))",
    "exp(a) / (exp(a) + exp(b))": "sigmoid(a - b)",
    "(exp(x) - exp(-x)) / (exp(x) + exp(-x))": "tanh(x)",
    "(exp(2 * x) - 1) / (exp(2 * x) + 1)": "tanh(x)",
    "(exp(a) - exp(b)) / (exp(b) + exp(a))": "tanh(0.5 * (a - b))",
    "exp(a) * exp(x)": "exp(a + x)",
    "exp(a) * exp(-a)": "1",
    "exp(a) / exp(b)": "exp(a - b)",
    "exp(x) * exp(x)": "exp(2 * x)",
    "log(exp(x))": "x",
    "log(exp(a) * (1 + b * b))": "a + log(1 + b * b)",
    "exp(log(1 + exp(x)))": "exp(softplus(x))",
    "exp(log(softplus(x)))": "softplus(x)",
    "exp(-log(softplus(x) + 1))": "1 / (1 + softplus(x))",
    "exp(-log(1 + exp(-x)))": "sigmoid(x)",
    "log1p(exp(x))": "softplus(x)",
    "sigmoid(a) / (sigmoid(a) + sigmoid(b))": "sigmoid(softplus(-b) - softplus(-a))",
    "x * sigmoid(a) / (sigmoid(b) + sigmoid(a))": "x * sigmoid(softplus(-b) - softplus(-a))",
    "exp(a) / (exp(a) + exp(b) + 1)": "exp(a - softplus(logaddexp(a, b)))",
    "exp(a) / (exp(x) + exp(a) + exp(b))": "exp(a - logaddexp(logaddexp(x, a), b))",
    "sqrt(x * x)": "abs(x)",
    "sqrt(exp(x))": "exp(0.5 * x)",
    "1 - sigmoid(x) * sigmoid(x)": "(1 - sigmoid(x)) * (1 + sigmoid(x))",
}
NOT_EXACT = (
    "exp(log(x))",
    "log(a * b)",
    "log(a / b)",
    "log(2 + x)",
    "log(exp(a) - exp(b))",
    "exp(a + log(b))",
    "exp(a) * b * exp(x)",
    "x / exp(a)",
    "1 / (1 - exp(x))",
    "exp(a) / (exp(a) + b)",
    "x * sigmoid(a)",
    "x / (1 + sigmoid(a))",
    "x / (sigmoid(a) + sigmoid(b))",
    "x / (exp(a) + exp(b) + 1)",
    "(1 - exp(x)) * (1 - sigmoid(x))",
    "1 - sigmoid(a) * sigmoid(b)",
    "1 - a * a",
)
"""What no rule may touch: it would be wrong somewhere, or no safer."""

PRECISE = ("1 - exp(-x * x)", "exp(a) - 1", "sqrt(1 - exp(-2 * x * x))", "1 - sigmoid(x)", "1 - exp(-a * a) * exp(-a * a)")
"""What the code computes without losing digits, as it stands."""


def value_of(expression: str) -> Value:
    text = f"grid h\nrecurrence r {{ input x, a, b  e = {expression}  s = 0.5 * s + e + x + a + b  y = s }}"
    recurrence = scanlang.loads(f"{text}\nscan t(dim) {{ input x, a, b directions raster recur r() }}").checked.recurrences["r"]
    return Values(recurrence).build(recurrence.equations[0].value)  # type: ignore[union-attr]


def exact(value: Value) -> sympy.Expr:
    match value:
        case Constant(number):
            return sympy.Rational(number)
        case Read(name):
            return sympy.Symbol(name)
        case Apply(function, arguments):
            return EXACT[function](*map(exact, arguments))
    raise AssertionError(value)


def computed(values: list[Value], at: Mapping[str, Tensor], is_derived: bool = False) -> list[Tensor]:
    """As a kernel computes them, in the type of `at`."""
    names, block = Names(), Block()
    given = {names.declare(block, name, ())[0]: tensor for name, tensor in at.items()}
    unroller = Unroller({}, names, Block(block, exact=not is_derived))
    atoms = [unroller.atom(value, {}) for value in values]
    like = next(iter(at.values()))
    scope: dict[str | float, Tensor] = dict(given)
    evaluate(unroller.block.lets, scope, like)
    return [scope[atom] if isinstance(atom, str) else torch.full_like(like, atom) for atom in atoms]


def wanted(expression: sympy.Expr, at: list[tuple[float, ...]], names: tuple[str, ...]) -> Tensor:
    with mpmath.workdps(150):
        function = sympy.lambdify([sympy.Symbol(name) for name in names], expression, "mpmath")
        return torch.tensor([float(function(*map(mpmath.mpf, point))) for point in at], dtype=torch.float64)


def points_for(value: Value, names: tuple[str, ...]) -> list[tuple[float, ...]]:
    """Where the value is a number in float32 at all: exp(100) is none."""
    far = POINTS if len(names) == 1 else (100.0, -100.0, 17.0, -1.0, 1e-8, 0.3)
    points = [tuple(float(torch.tensor(p)) for p in point) for point in itertools.product(far, repeat=len(names))]
    found = wanted(exact(value), points, names)
    return [point for point, number in zip(points, found, strict=True) if abs(number) < 3e38]


def gradients_of(value: Value, names: tuple[str, ...]) -> list[Value]:
    span = scanlang.loads("grid h\norder o = walk h").checked.orders["o"].span
    operands = tuple(Operand(name, "input", (), span) for name in names)
    derived = adjoint(Step("r", {}, operands, (), (Assign("y", (), value, span),), "y"))
    assert [str(one) for one in derived.body] == ["∂y = ∂y.out"]
    return [derived.gradients.get(name, Constant(0.0)) for name in names]


def check(value: Value, simplified: Value) -> None:
    """The simplified form in float32, and its derivatives, against the exact ones of what was written."""
    names = tuple(name for name in NAMES if name in {str(s) for s in exact(value).free_symbols})
    if not names:
        return
    points = points_for(value, names)
    at = {name: torch.tensor([point[i] for point in points]) for i, name in enumerate(names)}
    (found,) = computed([simplified], at)
    torch.testing.assert_close(found.double(), wanted(exact(value), points, names), rtol=3e-6, atol=1e-36)
    for name, gradient in zip(names, gradients_of(simplified, names), strict=True):
        (slope,) = computed([gradient], {**at, "∂y": torch.ones(len(points))}, is_derived=True)
        exactly = wanted(sympy.diff(exact(value), sympy.Symbol(name)), points, names)
        torch.testing.assert_close(slope.double(), exactly, rtol=1e-5, atol=3e-6, msg=lambda m, n=name: f"by {n}: {m}")


@pytest.mark.parametrize("written", FORMS)
def test_a_form_is_recognised_and_safe(written: str) -> None:
    value = value_of(written)
    simplified = safe(value)
    assert show(simplified) == FORMS[written]
    if "sqrt" not in written:  # sqrt(x * x) has a kink
        check(value, simplified)


@pytest.mark.parametrize("written", NOT_EXACT)
def test_what_no_rule_may_touch(written: str) -> None:
    assert safe(value_of(written)) == value_of(written)


@pytest.mark.parametrize("written", PRECISE)
def test_differences_from_one_lose_no_digits(written: str) -> None:
    value = value_of(written)
    assert safe(value) == value or "* exp" in written
    names = tuple(sorted(str(s) for s in exact(value).free_symbols))
    points = [tuple(float(torch.tensor(p)) for p in point) for point in itertools.product(POINTS[4:-1], repeat=len(names))]
    at = {name: torch.tensor([point[i] for point in points]) for i, name in enumerate(names)}
    (found,) = computed([safe(value)], at)
    torch.testing.assert_close(found.double(), wanted(exact(value), points, names), rtol=3e-6, atol=0.0)


def test_a_temporary_is_seen_through() -> None:
    text = """grid h
      recurrence r { input x  param p  e = exp(x)  s = 1 + e  h = e / s * h + log(s)  y = h + log(exp(p) * exp(x)) }
      scan t(dim) { input x directions raster recur r() }"""
    body = [str(one) for one in scanlang.loads(text).graph().step.body]
    assert body[-2:] == ["h = sigmoid(x) * h' + softplus(x)", "y = h + p + x"]


def test_the_rest_of_a_squared_gate_keeps_its_digits() -> None:
    """Through a temporary, in float32, where g * g is 1 already."""
    text = """grid h
      recurrence r { input x, z  g = sigmoid(z)  h = g * h + sqrt(1 - g * g) * x  y = h }
      scan t(dim) { input x, z directions raster recur r() }"""
    loaded = scanlang.loads(text)
    given = {"x": torch.ones(1, 6, 1), "z": torch.tensor([0.0, 5.0, 12.0, 17.0, 25.0, 30.0]).reshape(1, 6, 1)}
    assert_matches_reference(scanlang.compile(loaded), loaded, given)


def test_an_exponential_table_is_still_made_once() -> None:
    """`exp(A[n])` depends on parameters alone; merged with exp(x) it would be evaluated at every step for every n."""
    span = scanlang.loads("grid h\norder o = walk h").checked.orders["o"].span
    table, gate = Apply("exp", (Read("A", ("n",)),)), Apply("exp", (Read("x"),))
    operands = (Operand("A", "param", ("n",), span), Operand("x", "input", (), span))
    body = (Assign("y", (), Total("n", multiply(table, gate)), span),)
    step = Step("r", {"n": "state"}, operands, (), body, "y")
    assert stable(step) == step


def test_derived_arithmetic_is_tidy() -> None:
    x, y = Read("x"), Read("y")
    assert tidy(multiply(Constant(2.0), multiply(x, Constant(0.5)))) == x
    assert tidy(Apply("add", (x, negate(y)))) == Apply("sub", (x, y))
    assert tidy(Apply("sub", (x, negate(y)))) == Apply("add", (x, y))
    assert tidy(negate(Apply("sub", (x, y)))) == Apply("sub", (y, x))
    assert tidy(divide(x, x)) == ONE
    assert tidy(multiply(x, divide(y, x))) == y
    assert tidy(divide(multiply(x, y), x)) == y
    assert tidy(multiply(x, multiply(y, Constant(0.0)))) == Constant(0.0)


def test_a_division_is_done_once_in_the_backward() -> None:
    assert [show(gradient) for gradient in gradients_of(divide(Read("x"), Read("a")), ("x", "a"))] == [
        "∂y / a",
        "-(∂y / a * x / a)",
    ]


def test_a_branch_not_taken_gives_no_nan() -> None:
    x = Read("x")
    value = Apply("where", (Apply("gt", (x, Constant(0.0))), Apply("log", (x,)), Apply("sqrt", (negate(x),))))
    at = {"x": torch.tensor([0.0, -1.0, 1.0, 100.0, -100.0]), "∂y": torch.ones(5)}
    (slope,) = computed(gradients_of(value, ("x",)), at, is_derived=True)
    assert slope[1:].tolist() == pytest.approx([-0.5, 1.0, 0.01, -0.05])


ONE_ARGUMENT = ("exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "silu", "softplus", "tanh", "gelu")


@pytest.mark.parametrize("function", ONE_ARGUMENT)
def test_slopes_against_sympy(function: str) -> None:
    """At ±100 and ±1e-8, in float32."""
    x = Read("x")
    low = {"log": 0.0, "sqrt": 0.0, "log1p": -1.0}.get(function, -1e9)
    points = [(float(torch.tensor(p)),) for p in POINTS if p > low and not (function in ("exp", "expm1") and p > 88)]
    at = {"x": torch.tensor([p for (p,) in points])}
    (slope,) = computed(list(DERIVATIVES[function]((x,), Apply(function, (x,)))), at, is_derived=True)
    exactly = wanted(sympy.diff(exact(Apply(function, (x,))), sympy.Symbol("x")), points, ("x",))
    torch.testing.assert_close(slope.double(), exactly, rtol=1e-5, atol=2e-7)
