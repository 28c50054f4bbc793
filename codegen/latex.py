"""The derived mathematics as the body of a LaTeX document, for `\\usepackage{amsmath}`. In: `Derived`; out: text.

Values become sympy's objects, indexed by the step `t`, and sympy's printer writes them; names of a program are escaped.

    h[n]  →  h_{t,n}        h'[n]  →  h_{t-1,n}        ∂h[n]  →  \\partial h_{t,n}        carry.h[n]  →  \\lambda^{h}_{t,n}
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, assert_never

import sympy
from sympy.printing.latex import LatexPrinter

from scanlang.codegen.derived import CHANNELS, GROUP, IMAGES, STEPS, Derived, Line, derive
from scanlang.graph.step import Step, gradient_of, total_of
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value, free_indices

STEP_LETTERS = ("t", "s", "i", "j", "k", "l", "m")
"""The step is the first of these that the recurrence has no name for."""
WIDEST = 80
"""Signs of a formula on one line, about."""

GREEK = frozenset(
    ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi", "pi",
     "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma",
     "Upsilon", "Phi", "Psi", "Omega")
)  # fmt: skip
SUMS = {IMAGES: r"\mathrm{images}", CHANNELS: r"\mathrm{channels}", GROUP: r"\mathrm{group}"}
ESCAPES = {"_": r"\_", "#": r"\#", "%": r"\%", "&": r"\&", "$": r"\$", "∂": r"$\partial$", "'": "'"}

OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "neg": lambda a: -a, "exp": sympy.exp, "log": sympy.log, "sqrt": sympy.sqrt, "tanh": sympy.tanh, "abs": sympy.Abs,
    "erf": sympy.erf, "min": sympy.Min, "max": sympy.Max, "where": lambda c, a, b: sympy.Piecewise((a, c), (b, True)),
    "lt": sympy.Lt, "le": sympy.Le, "gt": sympy.Gt, "ge": sympy.Ge, "eq": sympy.Eq, "ne": sympy.Ne,
}  # fmt: skip
"""What sympy has; other functions keep their names."""


def adjoint_latex(step: Step, head: str | None = None) -> str:
    """What `stages.adjoint_text` says, as LaTeX."""
    derived = derive(step, head)
    writer = Formulas(derived)
    t = writer.step.name
    lines = [
        rf"\section*{{Recurrence {_text(step.recurrence)}}}",
        rf"$h_{{{t}}}$ is a state after step ${t}$, $h_{{{t}-1}}$ before it; $\partial a$ is the gradient of the result by",
        rf"$a$, and $\lambda^{{h}}_{{{t}}}$ what step ${t} + 1$ hands to step ${t}$ of the gradient of $h_{{{t}}}$: after the",
        r"last step the gradient of the final state, before the first one that of the initial state.",
    ]
    for name, meaning in derived.own_names:
        if not name.startswith(("carry.", "total.")):  # said already, and not written
            lines.append(rf"${symbol_text(name, derived.carries)}$: {_text(meaning.replace('`', ''))}.")
    for section in derived.sections:
        if all(is_named_again(line) for line in section.lines):
            continue
        lines += ["", rf"\paragraph{{{_text(section.title)}}}", r"\begin{align*}"]
        lines.append(" \\\\\n".join(writer.rows(line) for line in section.lines if not is_named_again(line)))
        lines.append(r"\end{align*}")
    return "\n".join(lines) + "\n"


def is_named_again(line: Line) -> bool:
    """Whether the line says but that a sum over the steps is what it is."""
    return isinstance(line.right, Read) and line.right.name == total_of(line.left.name.removeprefix(gradient_of("")))


class Formulas:
    """The lines of one recurrence."""

    def __init__(self, derived: Derived) -> None:
        self.derived = derived
        self.printer = _Printer(derived)
        self.step = sympy.Symbol(step_letter(derived), integer=True)

    def rows(self, line: Line) -> str:
        """The rows of one equation, in an `align*`."""
        left = self.printer.doprint(self.symbol(line.left, earlier=line.handed_on))
        rows = _broken(self.terms(line))
        note = rf" && \text{{{_text(line.note)}}}" if line.note else ""
        return " \\\\\n".join([f"{left} &= {rows[0]}{note}", *(rf"&\quad {row}" for row in rows[1:])])

    def terms(self, line: Line) -> list[str]:
        """The right side in pieces that a row may begin with, each with its sign but the first."""
        value = self.value(line.right)
        terms = value.as_ordered_terms() if isinstance(value, sympy.Add) else [value]
        pieces = [self.printer.doprint(term) for term in terms]
        signed = pieces[:1] + [f"- {p[1:].strip()}" if p.startswith("-") else f"+ {p}" for p in pieces[1:]]
        if not line.over:
            return signed
        sums = {**SUMS, STEPS: self.step.name}
        total = rf"\sum_{{{', '.join(sums[over] for over in line.over)}}}"
        if len(signed) == 1:
            sign = "- " if signed[0].startswith("-") else ""
            return [f"{sign}{total} {signed[0].removeprefix('-').strip()}"]
        return [rf"{total} \big[ {signed[0]}", *signed[1:-1], rf"{signed[-1]} \big]"]

    def value(self, value: Value) -> Any:
        """A value as sympy's object."""
        match value:
            case Constant(number):
                return _number(number)
            case IndexValue(index):
                return sympy.Symbol(index, integer=True)
            case Read() | Previous():
                return self.symbol(value)
            case Total(index, body):
                count = sympy.Symbol(f"N_{index}", integer=True)
                return sympy.Sum(self.value(body), (sympy.Symbol(index, integer=True), 0, count - 1))
            case Apply(function, arguments):
                operation = OPERATIONS.get(function) or sympy.Function(function)
                return operation(*(self.value(argument) for argument in arguments))
            case _:
                assert_never(value)

    def symbol(self, value: Read | Previous, earlier: bool = False) -> Any:
        """A name at its step: `h[t - 1, n]`; what is learned has none."""
        indices: list[Any] = [sympy.Symbol(index, integer=True) for index in value.indices]
        if value.name not in self.derived.fixed:
            indices = [self.step - 1 if earlier or isinstance(value, Previous) else self.step, *indices]
        return sympy.IndexedBase(value.name)[tuple(indices)] if indices else sympy.Symbol(value.name)


def step_letter(derived: Derived) -> str:
    """What the step is called: `t`, unless a name or an index of the recurrence is."""
    values = [value for section in derived.sections for line in section.lines for value in (line.left, line.right)]
    taken = {*derived.names, *derived.step.sizes, *(index for value in values for index in free_indices(value))}
    return next(letter for letter in (*STEP_LETTERS, "step") if letter not in taken)


class _Printer(LatexPrinter):  # type: ignore[misc]
    """sympy's, with the names of a program."""

    def __init__(self, derived: Derived) -> None:
        super().__init__({"mul_symbol": r"\,"})
        self.carries = derived.carries

    def _print_Symbol(self, symbol: Any, style: str = "plain") -> str:
        return symbol_text(symbol.name, self.carries)

    def _print_Indexed(self, indexed: Any) -> str:
        subscript = ",".join(self._print(index) for index in indexed.indices)
        name = symbol_text(str(indexed.base.label), self.carries)
        return f"{{{name}_{{{subscript}}}}}" if "^" in name else f"{name}_{{{subscript}}}"

    def _print_Sum(self, total: Any) -> str:
        (index, _, _), *_ = total.limits
        body = self._print(total.function)
        return rf"\sum_{{{self._print(index)}}} " + (rf"\left({body}\right)" if total.function.is_Add else body)

    def _print_ExpBase(self, expression: Any, exp: str | None = None) -> str:
        made = rf"\exp\left({self._print(expression.args[0])}\right)"
        return made if exp is None else f"{made}^{{{exp}}}"


def symbol_text(name: str, carries: Mapping[str, str]) -> str:
    """A name in mathematics: `A_log` is `\\mathrm{A\\_log}`, `fixed.0` is `\\mathrm{fixed}^{(0)}`."""
    if name in carries:
        return rf"\lambda^{{{_plain(carries[name])}}}"
    for mark in ("∂", "total."):
        if name.startswith(mark):
            return rf"\partial {symbol_text(name.removeprefix(mark), carries)}"
    return _plain(name)


def _plain(name: str) -> str:
    base, *marks = (part for part in name.split(".") if part)
    above = ",".join(f"({mark})" if mark.isdigit() else rf"\mathrm{{{_text(mark)}}}" for mark in marks)
    letter = rf"\{base}" if base in GREEK else base if len(base) == 1 else rf"\mathrm{{{_text(base)}}}"
    return f"{letter}^{{{above}}}" if above else letter


def _text(text: str) -> str:
    """A text with LaTeX's own signs escaped."""
    return "".join(ESCAPES.get(sign, sign) for sign in text)


def _number(number: float) -> Any:
    exact = Fraction(number) if math.isfinite(number) else Fraction(0)
    if math.isfinite(number) and exact.denominator <= 64 and abs(exact) < 10**6:
        return sympy.Rational(exact.numerator, exact.denominator)
    return sympy.Float(number)


def _broken(terms: Iterable[str]) -> list[str]:
    """Terms side by side, in rows that are not too wide."""
    rows: list[str] = []
    for term in terms:
        if rows and _width(rows[-1]) + _width(term) <= WIDEST:
            rows[-1] += f" {term}"
        else:
            rows.append(term)
    return rows


def _width(text: str) -> int:
    """How many signs a formula shows, about."""
    bare = re.sub(r"\\(?:mathrm|operatorname)\{([^{}]*)\}", r"\1", text)
    return len(re.sub(r"\\(?:left|right|big)\b|\\[a-z]|[{}_^ ]", "", bare))
