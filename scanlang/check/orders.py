"""The orders of a file: names resolved and inlined, axes as numbers, the structure of walks checked.

In: the definitions as written and the imported orders. Out: a `CheckedOrder` each, or None after findings. Whether an
order visits every cell exactly once is not decided here (a walk of the right structure does; formulas are tried later).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from scanlang.check.expressions import FORMULA, check_expression, counted
from scanlang.check.findings import Findings
from scanlang.check.program import CheckedOrder, FlipOrder, FormulaOrder, ReverseOrder, TransposeOrder, WalkOrder, Whole
from scanlang.check.walks import check_walk
from scanlang.errors import (
    FormulaCell,
    IndexMisused,
    NotSupportedYet,
    RecursiveOrder,
    ReservedName,
    TooMany,
    WrongCall,
)
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.later import LATER_ORDERS
from scanlang.syntax.nodes import (
    FormulaDefinition,
    Name,
    Number,
    OrderCall,
    OrderDefinition,
    OrderExpr,
    OrderName,
    Sum,
    Walk,
)

NAMED = {
    "raster": (Whole(0, ""), Whole(1, "")),
    "columns": (Whole(1, ""), Whole(0, "")),
    "snake": (Whole(0, ""), Whole(1, "~")),
}
FUNCTIONS = {"reverse": "reverse(order)", "transpose": "transpose(order)", "flip": "flip(order, axis)"}


@dataclass(frozen=True)
class FormulaNames:
    """A formula may use its parameter (the step) and the axes (their lengths)."""

    known: tuple[str, ...]
    findings: Findings

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name not in self.known:
            self.findings.unknown("name", name.name, self.known, name.span)
        elif name.indices:
            self.findings.report(IndexMisused(name.span, name.span.text, "has an index", "formulas have none"))

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        raise ValueError("a formula has no sum")


@dataclass
class OrderResolver:
    """Resolves the orders of one file. `imported` and `resolved` hold None for an order with findings of its own."""

    axes: tuple[str, ...]
    definitions: dict[str, OrderDefinition | FormulaDefinition]
    imported: dict[str, CheckedOrder | None]
    names_complete: bool
    findings: Findings
    resolved: dict[str, CheckedOrder | None] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)

    def define(self, name: str) -> CheckedOrder | None:
        """The order that this file defines under `name`."""
        if name in self.resolved:
            return self.resolved[name]
        definition = self.definitions[name]
        if name in self.chain:
            around = (*self.chain[self.chain.index(name) :], name)
            self.findings.report(RecursiveOrder(self.definitions[around[0]].name_span, around))
            self.resolved.update(dict.fromkeys(around))
            return None
        if len(self.chain) >= LIMITS.nesting:
            self.findings.report(TooMany(definition.name_span, "orders built on orders", LIMITS.nesting))
            self.resolved[name] = None
            return None
        self.chain.append(name)
        order = self.formula(definition) if isinstance(definition, FormulaDefinition) else self.order(definition.value)
        self.chain.pop()
        return self.resolved.setdefault(name, order)

    def order(self, expr: OrderExpr) -> CheckedOrder | None:
        """Resolve an order expression; None after a finding."""
        match expr:
            case Walk():
                return check_walk(expr, self.axes, self.findings)
            case OrderName():
                return self.named(expr)
            case OrderCall():
                return self.bounded(self.call(expr))
            case _:
                assert_never(expr)

    def named(self, expr: OrderName) -> CheckedOrder | None:
        if expr.name in self.definitions:
            return self.define(expr.name)
        if expr.name in self.imported:
            return self.imported[expr.name]
        if expr.name in NAMED:
            return WalkOrder(NAMED[expr.name], expr.span)
        if expr.name in LATER_ORDERS:
            self.findings.report(NotSupportedYet(expr.span, f"the order `{expr.name}`"))
        elif self.names_complete:
            known = (*self.definitions, *self.imported, *NAMED)
            self.findings.unknown("order", expr.name, tuple(dict.fromkeys(known)), expr.span)
        return None

    def call(self, expr: OrderCall) -> CheckedOrder | None:
        if expr.function not in FUNCTIONS:
            span = Span(expr.span.source, expr.span.start, expr.span.start + len(expr.function))
            self.findings.unknown("function on orders", expr.function, tuple(FUNCTIONS), span)
            return None
        wanted = 2 if expr.function == "flip" else 1
        if len(expr.arguments) != wanted:
            self.wrong_call(expr, expr.span, counted(len(expr.arguments)))
            return None
        inner = expr.arguments[0]
        if isinstance(inner, Number):
            self.wrong_call(expr, inner.span, "this is a number, not an order")
            return None
        return self.apply(expr, self.order(inner))

    def apply(self, expr: OrderCall, inner: CheckedOrder | None) -> CheckedOrder | None:
        if expr.function == "flip":
            axis = self.axis(expr, expr.arguments[1])
            return None if inner is None or axis is None else FlipOrder(inner, axis, expr.span)
        if inner is None:
            return None
        return ReverseOrder(inner, expr.span) if expr.function == "reverse" else TransposeOrder(inner, expr.span)

    def axis(self, call: OrderCall, argument: OrderExpr | Number) -> int | None:
        if not isinstance(argument, OrderName):
            self.wrong_call(call, argument.span, "this is not an axis")
            return None
        if argument.name not in self.axes:
            self.findings.unknown("axis", argument.name, self.axes, argument.span)
            return None
        return self.axes.index(argument.name)

    def wrong_call(self, call: OrderCall, span: Span, given: str) -> None:
        self.findings.report(WrongCall(span, call.function, FUNCTIONS[call.function], given))

    def bounded(self, order: CheckedOrder | None) -> CheckedOrder | None:
        """An order made of too many others is refused, since every later pass goes through all of them."""
        depth, inner = 0, order
        while isinstance(inner, ReverseOrder | TransposeOrder | FlipOrder):
            depth, inner = depth + 1, inner.of
        if order is None or depth <= LIMITS.nesting:
            return order
        self.findings.report(TooMany(order.span, "orders built on orders", LIMITS.nesting))
        return None

    def formula(self, definition: FormulaDefinition) -> CheckedOrder | None:
        before = self.findings.count
        if definition.parameter in self.axes:
            reason = f"`{definition.parameter}` is an axis of the grid"
            kind = "the parameter of a formula"
            self.findings.report(ReservedName(definition.parameter_span, kind, definition.parameter, reason))
        if len(definition.cell) != len(self.axes):
            count = len(definition.cell)
            self.findings.report(FormulaCell(definition.cell_span, definition.name, count, self.axes))
        names = FormulaNames((definition.parameter, *self.axes), self.findings)
        for coordinate in definition.cell:
            check_expression(coordinate, FORMULA, names, self.findings)
        if self.findings.count > before:
            return None
        return FormulaOrder(definition.parameter, self.axes, definition.cell, definition.cell_span)
