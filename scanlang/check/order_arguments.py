"""The arguments of a call like `window(raster, 7, w, outer = snake)`, each read as what the function takes there.

In: the call as written, and how an order expression becomes an order. Out: orders, axes, sizes and numbers, or None after
a finding at the argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scanlang.check.expressions import counted
from scanlang.check.findings import Findings
from scanlang.check.order_tree import is_given
from scanlang.check.program import AxisSize, CheckedOrder, Pad, Size
from scanlang.check.tables import Tables
from scanlang.errors import DuplicateName, GivenOrderInside, WrongCall
from scanlang.source import Span
from scanlang.syntax.nodes import Every, Keyword, Number, OrderArgument, OrderCall, OrderExpr, OrderName, Phase, Text, TokenAt

SHOWN: dict[type, str] = {Number: "a number", Text: "a text", Every: "`every …`", TokenAt: "a token and its place"}


@dataclass(frozen=True)
class Arguments:
    """`usage` is how the function is called; `resolve` makes an order, or None after a finding; `tables` reads files."""

    call: OrderCall
    usage: str
    axes: tuple[str, ...]
    resolve: Callable[[OrderExpr], CheckedOrder | None]
    tables: Tables
    findings: Findings

    @property
    def positional(self) -> tuple[OrderArgument, ...]:
        return tuple(argument for argument in self.call.arguments if not isinstance(argument, Keyword))

    def wrong(self, span: Span, given: str) -> None:
        self.findings.report(WrongCall(span, self.call.function, self.usage, given))

    def count_is(self, least: int, most: int | None) -> bool:
        """Whether there are enough arguments, those given by name apart, and not too many."""
        count = len(self.positional)
        if least <= count and (most is None or count <= most):
            return True
        self.wrong(self.call.span, counted(count))
        return False

    def keywords(self, known: tuple[str, ...]) -> dict[str, Keyword]:
        """The arguments given by name, each once."""
        found: dict[str, Keyword] = {}
        for argument in self.call.arguments:
            if not isinstance(argument, Keyword):
                continue
            if argument.name not in known:
                span = Span(argument.span.source, argument.span.start, argument.span.start + len(argument.name))
                self.findings.unknown("argument", argument.name, known, span, owner=self.call.function)
            elif argument.name in found:
                first = found[argument.name].span
                self.findings.report(DuplicateName(argument.span, "argument", argument.name, first))
            else:
                found[argument.name] = argument
        return found

    def order(self, argument: OrderArgument | Phase) -> CheckedOrder | None:
        if isinstance(argument, OrderExpr):
            return self.resolve(argument)
        self.wrong(argument.span, f"this is {SHOWN.get(type(argument), 'no order')}, not an order")
        return None

    def order_of_cells(self, argument: OrderArgument | Phase) -> CheckedOrder | None:
        """An order whose cells are known when the program is compiled."""
        order = self.order(argument)
        if order is None or not is_given(order):
            return order
        self.findings.report(GivenOrderInside(argument.span, self.call.function, shown(argument.span)))
        return None

    def axis(self, argument: OrderArgument) -> int | None:
        if not isinstance(argument, OrderName):
            self.wrong(argument.span, "this is not an axis")
            return None
        return self.axis_named(argument.name, argument.span)

    def axis_named(self, name: str, span: Span) -> int | None:
        if name in self.axes:
            return self.axes.index(name)
        self.findings.unknown("axis", name, self.axes, span)
        return None

    def integer(self, argument: OrderArgument | Phase, least: int | None = None) -> int | None:
        if not isinstance(argument, Number) or not argument.is_integer:
            self.wrong(argument.span, "this is not an integer")
        elif least is not None and argument.value < least:
            self.wrong(argument.span, f"{argument.value:g} is less than {least}")
        else:
            return int(argument.value)
        return None

    def size(self, argument: OrderArgument) -> Size | None:
        """A number of cells, or the length of an axis."""
        if isinstance(argument, OrderName):
            axis = self.axis_named(argument.name, argument.span)
            return None if axis is None else AxisSize(axis)
        return self.integer(argument, 1)

    def pad(self, keyword: Keyword | None) -> Pad | None:
        if keyword is None:
            return "skip"
        if isinstance(keyword.value, OrderName):
            if keyword.value.name == "skip":
                return "skip"
            if keyword.value.name == "decay":
                return "decay"
        self.wrong(keyword.value.span, "`pad` is `skip` or `decay`")
        return None

    def phase(self, keyword: Keyword | None, every: int | None) -> tuple[int, ...] | None:
        """The first cell along each axis, less than `every`."""
        if keyword is None:
            return (0,) * len(self.axes)
        if not isinstance(keyword.value, Phase):
            self.wrong(keyword.value.span, "`phase` is one number for each axis, in parentheses")
            return None
        numbers = keyword.value.numbers
        if len(numbers) != len(self.axes):
            self.wrong(keyword.value.span, f"{len(numbers)} number{'s'[: len(numbers) != 1]} for {len(self.axes)} axes")
            return None
        found = [self.integer(number, 0) for number in numbers]
        for number, value in zip(numbers, found, strict=True):
            if every is not None and value is not None and value >= every:
                self.wrong(number.span, f"a phase of every {every} cells is 0 … {every - 1}")
                return None
        return None if None in found else tuple(value for value in found if value is not None)


def shown(span: Span) -> str:
    """A part of the program on one line, without comments."""
    return " ".join(" ".join(line.split("#")[0] for line in span.text.split("\n")).split())
