"""Expressions and orders as canonical text, with no more parentheses than their trees need."""

from __future__ import annotations

from typing import assert_never

from scanlang.syntax import nodes

_STRENGTH = {"+": 2, "-": 2, "*": 3, "/": 3, "//": 3, "%": 3}
_COMPARISON, _UNARY, _ATOM = 1, 4, 5


def strength(expression: nodes.Expr) -> int:
    """How tightly the outermost operator binds: 1 comparisons, 2 sums, 3 products, 4 minus, 5 everything else."""
    match expression:
        case nodes.Binary(operator=operator):
            return _STRENGTH.get(operator, _COMPARISON)
        case nodes.Negative():
            return _UNARY
        case _:
            return _ATOM


def format_expression(expression: nodes.Expr, at_least: int = 0) -> str:
    """In parentheses where the expression binds less tightly than `at_least`."""
    text = _bare(expression)
    return text if strength(expression) >= at_least else f"({text})"


def _bare(expression: nodes.Expr) -> str:
    match expression:
        case nodes.Number():
            return format_number(expression)
        case nodes.Name(name=name, indices=indices):
            return name + (f"[{_list(indices)}]" if indices else "")
        case nodes.Negative(operand=operand):
            return f"-{format_expression(operand, _UNARY)}"
        case nodes.Binary(operator=operator, left=left, right=right):
            own = strength(expression)
            first = own + 1 if own == _COMPARISON else own
            return f"{format_expression(left, first)} {operator} {format_expression(right, own + 1)}"
        case nodes.Call(function=function, arguments=arguments, keywords=keywords):
            return f"{function}({', '.join((*map(format_expression, arguments), *map(format_actual, keywords)))})"
        case nodes.Sum(index=index, body=body):
            return f"sum({index}: {format_expression(body)})"
        case nodes.CellMean(body=body, function=function):
            return f"{function}(cells: {format_expression(body)})"
    assert_never(expression)


def format_actual(actual: nodes.Actual) -> str:
    return f"{actual.label} = {format_expression(actual.value)}"


def _list(expressions: tuple[nodes.Expr, ...]) -> str:
    return ", ".join(map(format_expression, expressions))


def format_number(number: nodes.Number) -> str:
    """As it was written, where that is known and means this value: `1e-3` stays `1e-3`."""
    written = number.span.text
    if number.is_integer:
        return str(int(number.value))
    try:
        kept = written if float(written) == number.value and not written.isdigit() else ""
    except ValueError:
        kept = ""
    return kept or repr(float(number.value))


def format_walk(walk: nodes.Walk) -> str:
    return f"walk {', '.join(map(_walk_item, walk.items))}"


def _walk_item(item: nodes.WalkItem) -> str:
    text = item.direction + item.axis
    if item.by is not None:
        text += f" by {format_expression(item.by)}"
    if item.start is not None:
        text += f" from {format_expression(item.start)}"
    if item.mod is not None:
        text += f" mod {format_expression(item.mod)}"
    return text


def format_order(order: nodes.OrderExpr, is_alone: bool = False) -> str:
    """`is_alone` where no comma can follow, so that a walk needs no parentheses."""
    match order:
        case nodes.Walk():
            return format_walk(order) if is_alone else f"({format_walk(order)})"
        case nodes.OrderName(name=name):
            return name
        case nodes.OrderCall(function=function, arguments=arguments):
            shown = (_argument(argument, is_alone=len(arguments) == 1) for argument in arguments)
            return f"{function}({', '.join(shown)})"
    assert_never(order)


def _argument(argument: nodes.OrderArgument, is_alone: bool) -> str:
    match argument:
        case nodes.Number():
            return format_number(argument)
        case nodes.Text(value=value):
            return f'"{value}"'
        case nodes.Keyword(name=name, value=value):
            return f"{name} = {_keyword_value(value)}"
        case nodes.Every(what=what):
            return f"every {what}"
        case nodes.TokenAt(name=name, place=place, number=number):
            words = (name, "at", "" if place == "index" else place, "" if number is None else format_expression(number))
            return " ".join(filter(None, words))
        case _:
            return format_order(argument, is_alone)


def _keyword_value(value: nodes.OrderExpr | nodes.Number | nodes.Phase) -> str:
    match value:
        case nodes.Number():
            return format_number(value)
        case nodes.Phase(numbers=numbers):
            return f"({', '.join(map(format_number, numbers))})"
        case _:
            return format_order(value)
