"""Formula orders as index maps. In: a `FormulaOrder`; out: (t) -> (c0, c1, …), written as the formula is, nothing folded.

What it does not do: say whether the map visits every cell once (`verify.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scanlang.check.program import FormulaOrder
from scanlang.diagnostics import InternalError
from scanlang.maps.bounds import SIZES, STEP
from scanlang.maps.index_map import IndexMap
from scanlang.maps.integers import (
    Absolute,
    Add,
    Compare,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
)
from scanlang.source import Span
from scanlang.syntax.nodes import Binary, Call, Expr, Name, Negative, Number

COMPARISONS = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@dataclass(frozen=True)
class Formula:
    """`places` says where a part stands in the text, the first place where it stands more than once."""

    map: IndexMap
    places: dict[Integer, Span] = field(compare=False, repr=False)


def formula_span(order: FormulaOrder) -> Span:
    """The cell as it is written, with its parentheses: `(t % h, t // h)`."""
    text, start = order.span.source.text, order.cell[0].span.start
    before = text[order.span.start : start]
    opened = len(before) - len(before.rstrip("( \t\r\n"))
    lead = len(before[len(before) - opened :]) - len(before[len(before) - opened :].lstrip())
    return Span(order.span.source, start - opened + lead, order.span.end)


def lower_formula(order: FormulaOrder) -> Formula:
    names: dict[str, Integer] = {**dict(zip(order.axes, SIZES, strict=False)), order.parameter: STEP}
    places: dict[Integer, Span] = {}
    outputs = tuple(_lower(cell, names, places) for cell in order.cell)
    return Formula(IndexMap((STEP.name,), outputs), places)


def _lower(expression: Expr, names: dict[str, Integer], places: dict[Integer, Span]) -> Integer:
    result = _lower_node(expression, names, places)
    places.setdefault(result, expression.span)
    return result


def _lower_node(expression: Expr, names: dict[str, Integer], places: dict[Integer, Span]) -> Integer:
    match expression:
        case Number(value, is_integer=True):
            return Constant(int(value))
        case Name(name, ()) if name in names:
            return names[name]
        case Negative(operand):
            return Multiply(Constant(-1), _lower(operand, names, places))
        case Binary(operator, left, right):
            a, b = _lower(left, names, places), _lower(right, names, places)
            match operator:
                case "+":
                    return Add(a, b)
                case "-":
                    return Add(a, Multiply(Constant(-1), b))
                case "*":
                    return Multiply(a, b)
                case "//":
                    return FloorDiv(a, b)
                case "%":
                    return FloorMod(a, b)
        case Call("where", (Binary(operator, left, right), then, otherwise)) if operator in COMPARISONS:
            sides = _lower(left, names, places), _lower(right, names, places)
            branches = _lower(then, names, places), _lower(otherwise, names, places)
            return Select(Compare(operator, *sides), *branches)  # type: ignore[arg-type]
        case Call("abs", (operand,)):
            return Absolute(_lower(operand, names, places))
        case Call("min", (left, right)):
            return Minimum(_lower(left, names, places), _lower(right, names, places))
        case Call("max", (left, right)):
            return Maximum(_lower(left, names, places), _lower(right, names, places))
    raise InternalError(f"{expression.span}: not an expression of a checked formula: {expression}")
