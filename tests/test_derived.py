"""The derived mathematics as text and as LaTeX: well-formed, complete, and sympy's objects are the values that they print."""

from __future__ import annotations

import itertools
import random
import re
from functools import cache
from pathlib import Path

import matplotlib.mathtext
import numpy as np
import pytest
import sympy

import scanlang
from scanlang.codegen.derived import Derived, derive
from scanlang.codegen.latex import Formulas, adjoint_latex, symbol_text
from scanlang.codegen.stages import adjoint_text
from scanlang.graph.interpret_values import FUNCTIONS
from scanlang.graph.step import Step
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value, free_indices

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "examples").glob("*.scan"), *(ROOT / "scanlang" / "std").glob("*.scan")])
FILES = [path for path in FILES if re.search(r"^recurrence", path.read_text(encoding="utf-8"), re.MULTILINE)]

HEADS = """grid h
recurrence ssd(state n, head p, group = 1) {
  input x[p], dt
  shared B[n], C[n] per group units
  param A_log, dt_bias, D[p]
  d       = softplus(dt_bias + dt)
  S[n, p] = exp(-exp(A_log) * d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D[p] * x[p]
}
scan s(dim) { input x directions raster recur ssd(state = 4, head = 8, group = 2) project dt, B, C from x }"""
SCALES = """grid h
recurrence wkv {
  input k, v
  param w, u
  scale m = max(prev(m) - exp(w), k)
  a = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
  b = exp(prev(m) - exp(w) - m) * b + exp(k - m)
  scale q = max(prev(m), u + k)
  y = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))
}
scan s(dim) { input k, v directions raster recur wkv() }"""
EVERYTHING = """grid h, w
recurrence odd(state n) {
  input x, g
  param alpha_1[n] = log(n + 1)
  s = where(x > 0.25, gelu(x), relu(-x)) + abs(g) + min(x, g) + log(1 + exp(g)) + log(exp(x) + exp(g))
  h[n] = sigmoid(alpha_1[n]) * h[n] + sqrt(1 + s * s)
  y = sum(n: tanh(h[n])) / (1 + g * g) + silu(prev(x * g))
}
scan s(dim) { input x, g directions reset(raster, every h) recur odd(state = 3) conv 2 }"""


@cache
def steps() -> dict[str, tuple[Step, str | None]]:
    """Every recurrence that is shipped, as its operator computes it, and those of here."""
    found: dict[str, tuple[Step, str | None]] = {}
    programs = [("heads", scanlang.loads(HEADS)), ("scales", scanlang.loads(SCALES)), ("odd", scanlang.loads(EVERYTHING))]
    programs += [(path.stem, scanlang.load(path)) for path in FILES]
    for stem, program in programs:
        for scan, checked in program.checked.scans.items():
            step = program.operator_graph(scan).step
            if step not in (other for other, _ in found.values()):
                found[f"{stem}-{scan}"] = step, checked.recurrence.head
    return found


def check_latex(text: str) -> None:
    """Balanced groups, brackets and environments, and no sign of LaTeX's in a text."""
    depth = 0
    for sign in text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", ""):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\left") == text.count(r"\right")
    assert len(re.findall(r"\\big\[", text)) == len(re.findall(r"\\big\]", text))
    open_environments: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+\*?)\}", text):
        if kind == "begin":
            open_environments.append(name)
        else:
            assert open_environments.pop() == name
    assert not open_environments
    assert not re.search(r"(?<!\\)[#%]|[^\x20-\x7e\n]", text)


def check_rendering(text: str) -> None:
    """Matplotlib's TeX reads every row that has no cases."""
    parser = matplotlib.mathtext.MathTextParser("path")
    blocks = re.findall(r"\\begin\{align\*\}\n(.*?)\\end\{align\*\}", text, re.DOTALL)
    rows = [row for block in blocks for row in block.split("\\\\\n")]
    assert rows
    for row in rows:
        if "cases" not in row:
            row = row.replace(r"\big", "")  # which it does not know
            parser.parse(f"${row.split('&&')[0].replace('&', '').strip()}$")


def test_latex_of_everything_shipped_is_well_formed() -> None:
    for step, head in steps().values():
        check_latex(adjoint_latex(step, head))


def rendered() -> list[object]:
    return [pytest.param(name, marks=[] if name == "odd-s" else [pytest.mark.long]) for name in steps()]


@pytest.mark.parametrize("name", rendered())
def test_latex_is_drawn(name: str) -> None:
    check_rendering(adjoint_latex(*steps()[name]))


def number(value: Value, numbers: dict[tuple[object, ...], float], bound: dict[str, int]) -> float:
    """A value by the functions that the compiler's own interpreter has; names have random numbers."""
    match value:
        case Constant(constant):
            return constant
        case IndexValue(index):
            return bound[index]
        case Read(name, indices) | Previous(name, indices):
            key = name, isinstance(value, Previous), tuple(bound[i] for i in indices)
            return numbers.setdefault(key, random.Random(repr(key)).uniform(0.1, 1.5))
        case Total(index, body):
            return sum(number(body, numbers, {**bound, index: i}) for i in range(2))
        case Apply(function, arguments):
            return float(FUNCTIONS[function](*(np.asarray(number(a, numbers, bound)) for a in arguments)))


def by_sympy(derived: Derived, value: Value, numbers: dict[tuple[object, ...], float], bound: dict[str, int]) -> float:
    """The same through the objects that are printed."""
    made = Formulas(derived).value(value)
    made = made.subs({symbol: 2 for symbol in made.free_symbols if symbol.name.startswith("N_")}).doit()
    made = made.subs({sympy.Symbol(index, integer=True): at for index, at in bound.items()})
    t = sympy.Symbol("t", integer=True)

    def look_up(leaf: sympy.Expr) -> sympy.Float:
        if isinstance(leaf, sympy.Indexed):
            name, indices = str(leaf.base.label), list(leaf.indices)
            previous = indices[:1] == [t - 1]
            rest = indices if name in derived.fixed else indices[1:]
            return sympy.Float(numbers[name, previous, tuple(int(i) for i in rest)], 30)
        return sympy.Float(numbers[leaf.name, False, ()], 30)

    made = made.xreplace({leaf: look_up(leaf) for leaf in made.atoms(sympy.Indexed)})
    made = made.xreplace({leaf: look_up(leaf) for leaf in made.free_symbols if (leaf.name, False, ()) in numbers})
    own = {name: function for name, function in FUNCTIONS.items() if name not in dir(np)}
    return float(sympy.lambdify([], made, [own, "numpy", "math"])())


@pytest.mark.parametrize("name", ["heads", "scales", "odd"])
def test_what_is_printed_is_what_was_derived(name: str) -> None:
    step, head = next(found for key, found in steps().items() if key.startswith(name))
    derived = derive(step, head)
    for line in itertools.chain.from_iterable(section.lines for section in derived.sections):
        bound = dict.fromkeys((*line.left.indices, *free_indices(line.right)), 1)
        numbers: dict[tuple[object, ...], float] = {}
        expected = number(line.right, numbers, bound)
        assert by_sympy(derived, line.right, numbers, bound) == pytest.approx(expected, rel=1e-12), line


def test_the_head_is_shown_where_a_value_is_a_channel_s() -> None:
    text = adjoint_text(*steps()["heads-s"])
    for line in (
        "d = softplus(in.0)",
        "S[n, p] = exp(fixed.0 * d) * S'[n, p] + d * x[p] * B[n]",
        "∂dt = sum(p: ∂in.0[p])    # per cell and unit",
        "∂x[p] = ∂y[p] * D[p] + d * sum(n: ∂S[n, p] * B[n])    # per cell and channel",
        "∂B[n] = d * x[p] * ∂S[n, p]    # summed over channels of a group",
        "∂D[p] = ∂y[p] * x[p]    # summed over steps and images",
        "∂A_log = (-∂fixed.0) * min(exp(A_log), 1e+36)",
    ):
        assert f"  {line}\n" in text
    assert r"\partial \mathrm{dt}_{t} &= \sum_{p} {\partial \mathrm{in}^{(0)}_{t,p}}" in adjoint_latex(*steps()["heads-s"])


def test_names_that_no_program_has_are_explained() -> None:
    text = adjoint_text(*steps()["odd-s"])
    explained, _, _ = text.partition("\nonce, from the parameters\n")
    for kind in ("fixed.0", "in.0", "prev.0", "conv.0", "x.conv", "carry.", "total.", "restart."):
        assert f"\n  {kind}" in explained, kind
    assert "  restart.           1 where the states start anew, 0 elsewhere\n" in text
    assert r"$\mathrm{restart}$: 1 where the states start anew, 0 elsewhere." in adjoint_latex(*steps()["odd-s"])
    plain = scanlang.loads("grid h recurrence r { input x  y = prev(x) } scan s(dim) { directions raster recur r() }")
    assert "restart." not in adjoint_text(plain.operator_graph().step)


def test_the_step_has_a_letter_of_its_own() -> None:
    text = "grid h recurrence r { input s  param t  h = t * h + s  y = h } scan s(dim) { input s directions raster recur r() }"
    latex = adjoint_latex(scanlang.loads(text).operator_graph().step)
    check_latex(latex)
    assert r"h_{i} &= t\,h_{i - 1} + s_{i}" in latex
    assert r"\partial t &= \sum_{i, \mathrm{images}} h_{i - 1}\,\partial h_{i}" in latex


def test_scales_are_said_to_have_no_gradient() -> None:
    text = adjoint_text(*steps()["scales-s"])
    assert "m = max(m' - fixed.0, k)    # starts at -1e+30; a scale: it cancels in the output, and has no gradient" in text
    assert "∂m" not in text
    assert "carry.m" not in text
    assert "carry.a <- exp(in.0) * ∂a + ∂in.4 * exp(in.2)    # handed to the step before" in text


def test_derived_text_has_no_empty_arithmetic() -> None:
    for step, head in steps().values():
        text = adjoint_text(step, head)
        assert not re.search(r"(?<![\w.])[01] \*|\* [01]\b(?!\.)|\+ -|- -|-\(-", text), text


def test_names_are_escaped() -> None:
    carries = {"carry.h": "h", "carry.conv.1": "conv.1"}
    written = {
        "x": "x", "A_log": r"\mathrm{A\_log}", "alpha": r"\alpha", "fixed.0": r"\mathrm{fixed}^{(0)}", "x1": r"\mathrm{x1}",
        "∂dt": r"\partial \mathrm{dt}", "carry.h": r"\lambda^{h}", "carry.conv.1": r"\lambda^{\mathrm{conv}^{(1)}}",
        "total.D": r"\partial D", "restart.": r"\mathrm{restart}", "x.conv": r"x^{\mathrm{conv}}",
    }  # fmt: skip
    assert {name: symbol_text(name, carries) for name in written} == written
