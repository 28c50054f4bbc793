"""Does every scale cancel? The output must be the same whatever the values of the scales are.

Each value is proved to be a `Factor`, `exp(sum of c * s)` times something without scales, or a `Term`, `sum of c * s` plus
something without scales, where the `s` are the scales of this step and of steps before. A state has the same factor at every
step: that of its drive, which its decay must make of the factor of the old value. The output has the factor 1.

In: checked equations. Out: the finding at the smallest term that has no such form, or that leaves a scale in the output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import assert_never

from scanlang.check.expressions import PREV
from scanlang.check.findings import Findings
from scanlang.check.linearity import written
from scanlang.check.program import Scale, StateUpdate, Temporary
from scanlang.diagnostics import Diagnostic
from scanlang.errors import ScaleInside, ScaleRemains, ScalesDiffer
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

KEEPING = ("abs", "relu")
"""`f(c * x) = c * f(x)` for c > 0."""
MOST_BITS, MOST_SCALES = 512, 64
"""Of a coefficient, and in a value, so that the work is bounded."""


@dataclass(frozen=True, order=True)
class Symbol:
    """A scale, so many steps ago: `m[n]`, `prev(m[n])`."""

    name: str
    indices: tuple[str, ...] = ()
    steps: int = 0

    def __str__(self) -> str:
        return f"{PREV}(" * self.steps + written(self.name, self.indices) + ")" * self.steps


Coefficients = Mapping[Symbol, Fraction]


@dataclass(frozen=True)
class Factor:
    """`exp(sum of c * s)`, no coefficients being 1. Zero has any factor."""

    of: Coefficients = field(default_factory=dict)
    zero: bool = False


@dataclass(frozen=True)
class Term:
    """`sum of c * s`, which is not zero."""

    of: Coefficients


Scaled = Factor | Term
PLAIN, NOTHING = Factor(), Factor(zero=True)


class NotProved(Exception):
    """Unwinds the walk over an equation; without a finding where one was made above."""

    def __init__(self, finding: Diagnostic | None = None) -> None:
        super().__init__(finding)
        self.finding = finding


def check_scales(equations: tuple[Temporary | StateUpdate | Scale, ...], findings: Findings, head: str | None = None) -> None:
    """Report what keeps a scale from cancelling in the last equation; `head` is the index of the head, for the words."""
    scales = {equation.name for equation in equations if isinstance(equation, Scale)}
    channels = {equation.name: (head,) for equation in equations if head is not None and equation.per == "channel"}
    proof = Proof(scales, channels)
    for equation in equations if scales else ():
        try:
            proof.add(equation, is_output=equation is equations[-1])
        except NotProved as not_proved:
            if not_proved.finding is not None:
                findings.report(not_proved.finding)


@dataclass
class Proof:
    """`values` has the form of each value above, over the indices it was declared with, which `indices` has; `heads` the index
    of the head of what has a value for every channel."""

    scales: set[str]
    heads: Mapping[str, tuple[str]] = field(default_factory=dict)
    values: dict[str, Scaled] = field(default_factory=dict)
    indices: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(self, equation: Temporary | StateUpdate | Scale, is_output: bool) -> None:
        if isinstance(equation, Scale):
            if is_output:
                raise NotProved(ScaleRemains(equation.span, equation.name, equation.name, "a scale is no output"))
            return
        self.indices[equation.name] = equation.indices
        value = self.of_state(equation) if isinstance(equation, StateUpdate) else self.of(equation.value)
        if is_output and value.of:
            where = equation.drive if isinstance(equation, StateUpdate) else equation.value
            raise NotProved(ScaleRemains(self.smallest(where).span, equation.name, shown(value), cure(value)))
        self.values[equation.name] = value

    def of_state(self, update: StateUpdate) -> Factor:
        """`new = decay * old + drive`: the old value has the factor of the state, a step before."""
        what = f"the update of `{update.name}`"
        decay, drive = self.factor(update.decay, what), self.factor(update.drive, what)
        kept = Factor(steady(decay.of))
        state = kept if drive.zero else drive
        old = Factor(combined(decay.of, shifted(state.of)))
        if decay.zero or old.of == state.of:
            return state
        indices = (*update.indices, *self.heads.get(update.name, ()))
        what = f"the old value of `{written(update.name, indices)}` and what is added to it"
        if not state.of and combined(decay.of, shifted(kept.of)) == kept.of:
            missing = f"multiply what is added by `{shown(kept)}`"
            with_decay = f"with this, the old value {described(kept)}"
            raise NotProved(
                ScalesDiffer(update.drive.span, what, f"this {described(state)}", update.decay.span, with_decay, missing)
            )
        missing = f"multiply the old value by `{shown(Factor(combined(state.of, old.of, Fraction(-1))))}`"
        with_decay, added = f"with this, the old value {described(old)}", f"this {described(state)}"
        raise NotProved(ScalesDiffer(update.decay.span, what, with_decay, update.drive.span, added, missing))

    def factor(self, expr: Expr, what: str) -> Factor:
        value = self.of(expr)
        if isinstance(value, Term):
            raise self.inside(expr, what, f"`{shown(value)}` stands here without `exp`")
        return value

    def inside(self, expr: Expr, what: str, reason: str) -> NotProved:
        return NotProved(ScaleInside(self.smallest(expr).span, what, reason))

    def smallest(self, expr: Expr) -> Expr:
        """The one part that brings the scale in, if there is one."""
        match expr:
            case Negative(operand=only) | Sum(body=only):
                return self.smallest(only)
            case Binary(operator="*" | "/" | "+" | "-", left=left, right=right):
                scaled = [side for side in (left, right) if self.of(side).of]
                return self.smallest(scaled[0]) if len(scaled) == 1 else expr
            case _:
                return expr

    def of(self, expr: Expr) -> Scaled:
        """The form of an expression; numbers that get too long, or too many, end the proof."""
        value = self.of_parts(expr)
        if len(value.of) > MOST_SCALES:
            raise NotProved(ScaleInside(expr.span, "so many scales in one value", f"there are over {MOST_SCALES}"))
        if any(max(c.numerator.bit_length(), c.denominator.bit_length()) > MOST_BITS for c in value.of.values()):
            raise NotProved(ScaleInside(expr.span, "a product of so long numbers", f"a coefficient of over {MOST_BITS} bits"))
        return value

    def of_parts(self, expr: Expr) -> Scaled:
        match expr:
            case Number():
                return PLAIN if expr.value else NOTHING
            case Name():
                return self.of_name(expr)
            case Negative():
                inside = self.of(expr.operand)
                return scaled_term(inside, Fraction(-1)) if isinstance(inside, Term) else inside
            case Binary(operator="+" | "-"):
                return self.of_sum_of_two(expr)
            case Binary(operator="*" | "/"):
                return self.of_product(expr)
            case Binary():
                self.same((expr.left, expr.right), self.of(expr.left), self.of(expr.right), f"the sides of `{expr.operator}`")
                return PLAIN
            case Call():
                return self.of_call(expr)
            case Sum():
                return self.of_sum(expr)
            case CellMean():
                raise ValueError("a recurrence has no mean over cells")
            case _:
                assert_never(expr)

    def of_name(self, name: Name) -> Scaled:
        """A scale is a term; an operand has none in it."""
        indices = tuple(index.name for index in name.indices if isinstance(index, Name))
        if name.name in self.scales:
            return Term({Symbol(name.name, (*indices, *self.heads.get(name.name, ()))): Fraction(1)})
        if name.name not in self.indices:
            return PLAIN
        if name.name not in self.values:
            raise NotProved
        value = self.values[name.name]
        names = dict(zip(self.indices[name.name], indices, strict=True))
        return replace(value, of={renamed(symbol, names): c for symbol, c in value.of.items()})

    def of_sum_of_two(self, expr: Binary) -> Scaled:
        left, right = self.of(expr.left), self.of(expr.right)
        sign = Fraction(-1 if expr.operator == "-" else 1)
        if is_additive(left) and is_additive(right) and not (left.of == right.of == {}):
            return term(combined(left.of, right.of, sign))
        return self.same((expr.left, expr.right), left, right, f"the two sides of `{expr.operator}`")

    def of_product(self, expr: Binary) -> Scaled:
        left, right = self.of(expr.left), self.of(expr.right)
        is_division = expr.operator == "/"
        if isinstance(left, Term) or isinstance(right, Term):
            number = number_of(expr.right if isinstance(left, Term) else expr.left)
            if number is None or (is_division and (isinstance(right, Term) or not number)):
                side = expr.right if isinstance(right, Term) else expr.left
                reason = f"`{shown(self.of(side))}` is multiplied or divided by what is no number"
                raise self.inside(side, f"`{expr.operator}`", reason)
            return scaled_term(left if isinstance(left, Term) else right, 1 / number if is_division else number)
        if left.zero or (right.zero and not is_division):
            return NOTHING
        return Factor(combined(left.of, right.of, Fraction(-1 if is_division else 1)))

    def of_call(self, call: Call) -> Scaled:
        *before, argument = call.arguments
        values, inside = [self.of(part) for part in before], self.of(argument)
        if values:
            what = "the two branches of `where`" if call.function == "where" else f"the two sides of `{call.function}`"
            return self.same((before[-1], argument), values[-1], inside, what)
        match call.function, inside:
            case "exp", Term(of):
                return Factor(of)
            case "log", Factor(of) if of:
                return Term(of)
            case "prev", Factor(of, zero):
                return Factor(shifted(of), zero)
            case "prev", Term(of):
                return self.of_old_term(argument, of)
            case function, Factor(of, zero) if function in KEEPING:
                return inside
            case "sqrt", Factor(of, zero):
                return Factor({symbol: c / 2 for symbol, c in of.items()}, zero)
        if not inside.of:
            return PLAIN
        raise self.inside(argument, f"`{call.function}`", f"what it is applied to {described(inside)}")

    def of_old_term(self, inside: Expr, of: Coefficients) -> Scaled:
        """`prev(m)` is the old value of a scale; of any other term `prev` begins with 0, as if its scales had been 0."""
        if isinstance(inside, Name) and inside.name in self.scales:
            return Term(shifted(of))
        reason = f"it is 0 at the start, whatever `{shown(Term(of))}` is: use `{PREV}` of the scale alone, and of the rest"
        raise self.inside(inside, f"`{PREV}`", reason)

    def of_sum(self, expr: Sum) -> Scaled:
        value = self.of(expr.body)
        if isinstance(value, Term):
            raise self.inside(expr.body, "`sum`", f"`{shown(value)}` is counted once for every `{expr.index}`")
        if any(expr.index in symbol.indices for symbol in value.of):
            raise self.inside(expr.body, "`sum`", f"the factor `{shown(value)}` is another for every `{expr.index}`")
        return value

    def same(self, exprs: tuple[Expr, ...], first: Scaled, second: Scaled, what: str) -> Scaled:
        """What two values that are added, chosen from or compared have in common; zero goes with any factor."""
        if first.of == second.of and type(first) is type(second):
            return second if is_zero(first) else first
        if is_zero(first) and isinstance(second, Factor):
            return second
        if is_zero(second) and isinstance(first, Factor):
            return first
        sides = [(exprs[0], first), (exprs[1], second)]
        (wrong, here), (other, there) = sides if not first.of else reversed(sides)
        raise NotProved(
            ScalesDiffer(
                self.smallest(wrong).span,
                what,
                f"this {described(here)}",
                self.smallest(other).span,
                f"this {described(there)}",
                ratio(here, there),
            )
        )


def is_zero(value: Scaled) -> bool:
    return isinstance(value, Factor) and value.zero


def is_additive(value: Scaled) -> bool:
    """A term, or what has no scale in it."""
    return isinstance(value, Term) or not value.of


def term(of: Coefficients) -> Scaled:
    return Term(of) if of else PLAIN


def scaled_term(value: Scaled, by: Fraction) -> Scaled:
    return term({symbol: c * by for symbol, c in value.of.items() if by})


def combined(left: Coefficients, right: Coefficients, times: Fraction = Fraction(1)) -> Coefficients:
    """`left + times * right`, without zeros."""
    found = {symbol: left.get(symbol, Fraction(0)) + times * right.get(symbol, Fraction(0)) for symbol in {**left, **right}}
    return {symbol: c for symbol, c in found.items() if c}


def shifted(of: Coefficients) -> Coefficients:
    """A step later."""
    return {replace(symbol, steps=symbol.steps + 1): c for symbol, c in of.items()}


def steady(decay: Coefficients) -> Coefficients:
    """The factor that a decay keeps where nothing is added: `exp(-m)` of `exp(prev(m) - m)`."""
    kept: dict[Symbol, Fraction] = {}
    last = max((symbol.steps for symbol in decay), default=0)
    for first in {replace(symbol, steps=0) for symbol in decay}:
        total = Fraction(0)
        for steps in range(last):
            total += decay.get(replace(first, steps=steps), Fraction(0))
            kept[replace(first, steps=steps)] = total
    return {symbol: c for symbol, c in kept.items() if c}


def renamed(symbol: Symbol, names: Mapping[str, str]) -> Symbol:
    return replace(symbol, indices=tuple(names.get(index, index) for index in symbol.indices))


def number_of(expr: Expr) -> Fraction | None:
    """The value of an expression of numbers alone."""
    match expr:
        case Number(value):
            return Fraction(repr(value))
        case Negative(operand):
            inside = number_of(operand)
            return None if inside is None else -inside
        case Binary(operator, left, right):
            first, second = number_of(left), number_of(right)
            if first is None or second is None or (operator == "/" and not second):
                return None
            return {"+": first + second, "-": first - second, "*": first * second}.get(operator, first / (second or 1))
        case _:
            return None


# Words of messages


def shown(value: Scaled) -> str:
    """`exp(prev(m) - m)`; `prev(m) - 2 * m` of a term."""
    words = ""
    for symbol, c in sorted(value.of.items(), key=lambda item: (item[1] < 0, item[0])):
        size = "" if abs(c) == 1 else f"{float(abs(c)):g} * "
        sign = ("-" if c < 0 else "") if not words else " - " if c < 0 else " + "
        words += f"{sign}{size}{symbol}"
    if isinstance(value, Term):
        return words
    return f"exp({words})" if words else "1"


def described(value: Scaled) -> str:
    if not value.of:
        return "has no scale in it"
    return f"has the {'term' if isinstance(value, Term) else 'factor'} `{shown(value)}`"


def cure(value: Scaled) -> str:
    """What makes the output free of it."""
    opposite = replace(value, of={symbol: -c for symbol, c in value.of.items()})
    if isinstance(value, Term):
        return f"add `{shown(opposite)}`"
    return f"divide by what has the same factor, or multiply by `{shown(opposite)}`"


def ratio(here: Scaled, there: Scaled) -> str | None:
    """What the first is to be multiplied by, to have the factor of the second."""
    if isinstance(here, Term) or isinstance(there, Term):
        return None
    return f"multiply it by `{shown(Factor(combined(there.of, here.of, Fraction(-1))))}`"
