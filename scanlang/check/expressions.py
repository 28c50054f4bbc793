"""What every kind of expression has in common: which operators and functions it may use, and a walk over its names.

In: an expression, the dialect of its place and the rules for its names. Out: findings only; nothing is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

from scanlang.check.findings import Findings
from scanlang.errors import NotAllowedHere, WrongCall
from scanlang.source import Span
from scanlang.syntax.never import refusal_of_function
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
UNARY = ("exp", "expm1", "log", "log1p", "sqrt", "sigmoid", "silu", "softplus", "tanh", "relu", "gelu", "abs")
CHOICES: dict[str, tuple[str, ...]] = {"min": ("a", "b"), "max": ("a", "b")}
WHERE: dict[str, tuple[str, ...]] = {"where": ("a < b", "yes", "no")}
PREV = "prev"
MATHEMATICS: dict[str, tuple[str, ...]] = dict.fromkeys(UNARY, ("value",)) | CHOICES


@dataclass(frozen=True)
class Dialect:
    """`functions` gives each function's arguments as a message shows them; `instead` what to use for an operator."""

    place: str
    operators: frozenset[str]
    functions: Mapping[str, tuple[str, ...]]
    instead: Mapping[str, str]
    sums: bool = False
    cell_means: bool = False
    integers: bool = False


FORMULA = Dialect(
    place="a formula order",
    operators=frozenset({"+", "-", "*", "//", "%"}) | COMPARISONS,
    functions={"abs": ("value",)} | CHOICES | WHERE,
    instead={"/": "use `//`, the division that rounds down: coordinates are integers"},
    integers=True,
)
RECURRENCE = Dialect(
    place="a recurrence",
    operators=frozenset({"+", "-", "*", "/"}) | COMPARISONS,
    functions=MATHEMATICS | WHERE | {PREV: ("value",)},
    instead={"//": "use `/`: recurrences compute in real numbers"},
    sums=True,
)
MERGE = Dialect(
    place="a merge",
    operators=RECURRENCE.operators,
    functions=MATHEMATICS | WHERE,
    instead={"//": "use `/`: a merge computes in real numbers"},
    sums=True,
    cell_means=True,
)
SIZE = Dialect(
    place="a size",
    operators=frozenset({"+", "-", "*", "/", "//", "%"}),
    functions={"ceil": ("value",), "floor": ("value",)} | CHOICES,
    instead={},
)
INITIAL = Dialect(
    place="an initial value",
    operators=RECURRENCE.operators,
    functions=MATHEMATICS
    | WHERE
    | {
        "inv_softplus": ("value",),
        "uniform": ("low", "high"),
        "loguniform": ("low", "high"),
        "normal": ("mean", "deviation"),
    },
    instead={"//": "use `/`: initial values are real numbers"},
)


class NameRules(Protocol):
    """What the names of an expression may be; `bound` are the indices that have a value there."""

    def check_name(self, name: Name, bound: frozenset[str]) -> None: ...

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None: ...


def check_expression(
    expr: Expr, dialect: Dialect, names: NameRules, findings: Findings, bound: frozenset[str] = frozenset()
) -> None:
    """Check the operators, functions and names of `expr`."""
    match expr:
        case Number():
            if dialect.integers and not expr.is_integer:
                findings.report(NotAllowedHere(expr.span, expr.span.text, dialect.place, "use integers"))
        case Name():
            names.check_name(expr, bound)
        case Negative():
            check_expression(expr.operand, dialect, names, findings, bound)
        case Binary():
            if expr.operator not in dialect.operators:
                instead = dialect.instead.get(expr.operator)
                findings.report(NotAllowedHere(operator_span(expr), expr.operator, dialect.place, instead))
            check_expression(expr.left, dialect, names, findings, bound)
            check_expression(expr.right, dialect, names, findings, bound)
        case Call():
            if not check_call(expr, dialect, findings):
                return
            for argument in expr.arguments:
                check_expression(argument, dialect, names, findings, bound)
        case Sum():
            if not dialect.sums:
                findings.report(NotAllowedHere(expr.span, "sum", dialect.place))
                return
            names.check_binder(expr, bound)
            check_expression(expr.body, dialect, names, findings, bound | {expr.index})
        case CellMean():
            if not dialect.cell_means:
                word = Span(expr.span.source, expr.span.start, expr.span.start + len("mean"))
                instead = dialect.instead.get("mean", "it stands in a `merge`, and in no other mean")
                findings.report(NotAllowedHere(word, "mean(cells: ...)", dialect.place, instead))
                return
            inside = replace(dialect, place="a mean over cells", cell_means=False)
            check_expression(expr.body, inside, names, findings, bound)
        case _:
            assert_never(expr)


def operator_span(expr: Binary) -> Span:
    """Where the operator stands, between its operands."""
    source = expr.span.source
    found = source.text.find(expr.operator, expr.left.span.end, expr.right.span.start)
    return Span(source, found, found + len(expr.operator)) if found >= 0 else expr.span


def check_call(call: Call, dialect: Dialect, findings: Findings) -> bool:
    """The function exists in this place and has its number of arguments; False if these need no look of their own."""
    expected = dialect.functions.get(call.function)
    if expected is None:
        name_span = Span(call.span.source, call.span.start, call.span.start + len(call.function))
        refused = refusal_of_function(call.function, name_span) if dialect is RECURRENCE else None
        if refused is not None:
            findings.refuse(refused)
            return False
        findings.unknown("function", call.function, tuple(dialect.functions), name_span)
        return True
    usage = f"{call.function}({', '.join(expected)})"
    if len(call.arguments) != len(expected):
        findings.report(WrongCall(call.span, call.function, usage, counted(len(call.arguments))))
        return True
    if call.function == "where" and not is_comparison(call.arguments[0]):
        problem = "this is a value, not a comparison"
        findings.report(WrongCall(call.arguments[0].span, call.function, usage, problem))
    return True


def is_comparison(expr: Expr) -> bool:
    return isinstance(expr, Binary) and expr.operator in COMPARISONS


def counted(arguments: int) -> str:
    """`1 argument given`, `2 arguments given`."""
    return f"{arguments} argument{'' if arguments == 1 else 's'} given"


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The expressions directly inside `expr`, the indices of a name not among them."""
    match expr:
        case Number() | Name():
            return ()
        case Negative():
            return (expr.operand,)
        case Binary():
            return (expr.left, expr.right)
        case Call():
            return expr.arguments
        case Sum() | CellMean():
            return (expr.body,)
        case _:
            assert_never(expr)


def names_in(expr: Expr) -> Iterator[Name]:
    """Every name of an expression, in the order of the text."""
    if isinstance(expr, Name):
        yield expr
    for part in parts(expr):
        yield from names_in(part)


def mentions(expr: Expr, name: str) -> bool:
    return any(found.name == name for found in names_in(expr))
