"""How a checked scan merges → a word, a value over the directions' outputs, or a second phase on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Literal

from scanlang.check.expressions import parts
from scanlang.check.program import CheckedScan
from scanlang.diagnostics import InternalError
from scanlang.graph.build_step import OPERATORS
from scanlang.graph.scan_graph import output_name
from scanlang.graph.simplify import safe
from scanlang.graph.values import Constant, Read, Value, add, apply, negate
from scanlang.syntax import nodes as syntax

Rule = Literal["sum", "mean", "weighted", "concat"]


def build_merge(scan: CheckedScan) -> tuple[Rule | Value, syntax.Expr | None]:
    """How the outputs come together in one pass, and what is made of them in a second one.

    Channels that each direction has its own of are side by side in one output anyway; so is the output of one direction.
    """
    count = len(scan.directions)
    match scan.merge:
        case "sum" | "mean" | "weighted":
            return scan.merge, None
        case "concat":
            return "concat" if count > 1 and scan.split is None else "sum", None
        case "max":
            outputs: list[Value] = [Read(output_name(k)) for k in range(count)]
            return reduce(lambda left, right: apply("max", left, right), outputs), None
        case _ if needs_second_phase(scan, scan.merge):
            return "concat", scan.merge
        case _:
            return safe(_merge_value(scan.merge, count, {})), None


def needs_second_phase(scan: CheckedScan, merge: syntax.Expr) -> bool:
    """Whether a merge takes means over cells, or calls layers: all outputs of an image must be there before."""
    return any(isinstance(term, syntax.CellMean) for term in terms(merge)) or bool(called_layers(scan, merge))


def called_layers(scan: CheckedScan, merge: syntax.Expr) -> dict[str, str]:
    """The layers that a merge calls: name → kind."""
    called = {term.function for term in terms(merge) if isinstance(term, syntax.Call)}
    return {use.name: use.layer for use in scan.uses if use.name in called}


def terms(expression: syntax.Expr) -> Iterator[syntax.Expr]:
    """The expression and everything in it, the numbers of directions apart."""
    yield expression
    for part in parts(expression):
        yield from terms(part)


def _merge_value(expression: syntax.Expr, directions: int, bound: Mapping[str, int]) -> Value:
    """A merge expression as a value over `y[0]`, `y[1]`, …; sums over directions are written out."""

    def build(expression: syntax.Expr) -> Value:
        return _merge_value(expression, directions, bound)

    match expression:
        case syntax.Number(value):
            return Constant(float(value))
        case syntax.Name(name, ()) if name in bound:
            return Constant(float(bound[name]))
        case syntax.Name(name, ()):
            return Read(name, (), expression.span)
        case syntax.Name("y", (index,)):
            return Read(output_name(_direction(index, bound)), (), expression.span)
        case syntax.Negative(operand):
            return negate(build(operand))
        case syntax.Binary(operator, left, right):
            return apply(OPERATORS[operator], build(left), build(right))
        case syntax.Call(function, arguments):
            return apply(function, *(build(argument) for argument in arguments))
        case syntax.Sum(index, body):
            total: Value = Constant(0.0)
            for k in range(directions):
                total = add(total, _merge_value(body, directions, {**bound, index: k}))
            return total
    raise InternalError(f"merge term {expression} was not checked")


def _direction(index: syntax.Expr, bound: Mapping[str, int]) -> int:
    match index:
        case syntax.Number(value):
            return int(value)
        case syntax.Name(name, ()):
            return bound[name]
    raise InternalError(f"direction {index} was not checked")
