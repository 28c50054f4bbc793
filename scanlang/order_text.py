"""`scanlang.order`: one order from its text. In: an order expression or a formula, and the axes; out: an `Order`.

The text is checked as the program `grid h, w order o = <text>`, whose first line findings do not count.
"""

from __future__ import annotations

import re

from scanlang.check.program import FormulaOrder
from scanlang.diagnostics import ScanError
from scanlang.errors import UnexpectedEnd, UnexpectedText
from scanlang.maps.order import Order
from scanlang.pipeline import check_text
from scanlang.source import Source, Span
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import FormulaDefinition, Grid, OrderDefinition
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import make_source

NAME = "_"
FORMULA = re.compile(r"\s*[A-Za-z_]\w*\s*\([^()]*\)\s*=(?!=)")


class Fragment(Source):
    """A program whose first line is not the user's: places are those in the text below it."""

    def position(self, offset: int) -> tuple[int, int]:
        line, column = super().position(offset)
        return line - 1, column

    def line(self, number: int) -> str:
        return super().line(number + 1)


def order(text: str, grid: str = "h, w") -> Order:
    """`scanlang.order("walk h by 7, w by 7, h, w").positions(14, 14)`: an order from text, of a grid with these axes.

    The text is any order expression in walks and named orders (`window(snake, 7, 7)`), or a formula (`o(t) = (t // w, t % w)`).
    Raises ScanError, with places in the text, as loading a program with this order would.
    """
    what = "order" if FORMULA.match(text) else f"order {NAME} ="
    source = Fragment("<order>", f"grid {' '.join(grid.split())} {what}\n{make_source('<order>', text).text}")
    _check_items(source)
    program = check_text(source)
    ((name, found),) = program.orders.items()
    if isinstance(found.checked, FormulaOrder):
        return found
    return Order(" ".join(text.split()) if name == NAME else name, found.axes, found.checked)


def _check_items(source: Source) -> None:
    """A grid and an order, and nothing else."""
    if not source.text.split("\n", 1)[1].strip():
        raise ScanError([UnexpectedEnd(Span(source, len(source.text), len(source.text)), ("an order",))])
    items = build_syntax(parse_text(source), source).items
    wanted = (Grid, OrderDefinition | FormulaDefinition)
    for number, item in enumerate(items):
        if number >= len(wanted) or not isinstance(item, wanted[number]):
            raise ScanError([UnexpectedText(item.span, f"`{item.span.text.split()[0]}`", ("the end of the order",))])
