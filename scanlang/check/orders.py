"""The orders of a file: names resolved and inlined, axes as numbers, calls and the structure of walks checked.

In: the definitions as written and the imported orders. Out: a `CheckedOrder` each, or None after findings. Whether an
order visits every cell exactly once is not decided here (a walk of the right structure does; the others are tried later).
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field
from functools import cache
from typing import assert_never

from scanlang.check.expressions import FORMULA, check_expression
from scanlang.check.findings import Findings
from scanlang.check.named_orders import CURVES, NAMED, TWO_AXES, WALKS, WRITTEN, curve_named, walk_named
from scanlang.check.order_arguments import Arguments
from scanlang.check.order_calls import FUNCTIONS
from scanlang.check.order_tree import excess
from scanlang.check.program import CheckedOrder, FormulaOrder, GivenOrder
from scanlang.check.refused import refusal
from scanlang.check.tables import Tables
from scanlang.check.walks import check_walk
from scanlang.diagnostics import Diagnostic, Reporter
from scanlang.errors import (
    FormulaCell,
    IndexMisused,
    OrderNeedsAxes,
    RecursiveOrder,
    ReservedName,
    TooMany,
    WrongCall,
    closest,
)
from scanlang.library import library_source
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import FormulaDefinition, Name, OrderCall, OrderDefinition, OrderExpr, OrderName, Sum, Walk
from scanlang.syntax.parse import parse_text

LIBRARY = "std.orders"


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
    """Resolves the orders of one file. `imported` and `resolved` hold None for an order with findings of its own.

    `chain` holds the definitions that are being resolved, `depth` counts the calls inside each other.
    """

    axes: tuple[str, ...]
    definitions: dict[str, OrderDefinition | FormulaDefinition]
    imported: dict[str, CheckedOrder | None]
    names_complete: bool
    findings: Findings
    tables: Tables = field(default_factory=Tables)
    resolved: dict[str, CheckedOrder | None] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)
    depth: int = 0

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
        order = self.defined(definition)
        self.chain.pop()
        return self.resolved.setdefault(name, order)

    def defined(self, definition: OrderDefinition | FormulaDefinition) -> CheckedOrder | None:
        if isinstance(definition, FormulaDefinition):
            return self.formula(definition)
        if not isinstance(definition.value, nodes.GivenOrder):
            return self.order(definition.value)
        if keyword.iskeyword(definition.name):
            kind = "an order given at run time"
            finding = ReservedName(definition.name_span, kind, definition.name, "Python reserves this word")
            self.findings.report(finding)
            return None
        return GivenOrder(definition.name, definition.value.span)

    def order(self, expr: OrderExpr) -> CheckedOrder | None:
        """Resolve an order expression; None after a finding."""
        match expr:
            case Walk():
                return check_walk(expr, self.axes, self.findings)
            case OrderName():
                return self.named(expr)
            case OrderCall():
                return self.call(expr)
            case _:
                assert_never(expr)

    def named(self, expr: OrderName) -> CheckedOrder | None:
        if expr.name in self.definitions:
            return self.define(expr.name)
        if expr.name in self.imported:
            return self.imported[expr.name]
        if expr.name in WALKS:
            return walk_named(expr.name, len(self.axes), expr.span)
        if expr.name in NAMED:
            return self.curve(expr)
        if self.names_complete:
            self.unknown(expr)
        return None

    def curve(self, expr: OrderName) -> CheckedOrder | None:
        if len(self.axes) != TWO_AXES:
            self.findings.report(OrderNeedsAxes(expr.span, expr.name, "two axes", self.axes))
            return None
        return curve_named(expr.name, expr.span) if expr.name in CURVES else written_order(expr.name)

    def unknown(self, expr: OrderName) -> None:
        function = FUNCTIONS.get(expr.name)
        refused = self.refused(expr.name, expr.span)
        if function is not None:
            self.findings.report(WrongCall(expr.span, expr.name, function.shown(self.axes), "no argument given"))
        elif refused is not None:
            self.findings.report(refused)
        else:
            known = (*(name for name in self.definitions if name not in self.chain), *self.imported, *NAMED)
            self.findings.unknown("order", expr.name, tuple(dict.fromkeys(known)), expr.span)

    def refused(self, name: str, span: Span) -> Diagnostic | None:
        """A word that is refused, unless it looks like a slip of a name of the program's own."""
        return None if closest(name, (*self.definitions, *self.imported)) else refusal(name, span)

    def call(self, expr: OrderCall) -> CheckedOrder | None:
        function = FUNCTIONS.get(expr.function)
        if function is None:
            self.unknown_function(expr)
            return None
        if self.depth >= LIMITS.nesting:
            self.findings.report(TooMany(expr.span, "orders built on orders", LIMITS.nesting))
            return None
        self.depth += 1
        usage = function.shown(self.axes)
        order = function.call(Arguments(expr, usage, self.axes, self.order, self.tables, self.findings))
        self.depth -= 1
        return None if order is None else self.bounded(order)

    def unknown_function(self, call: OrderCall) -> None:
        span = Span(call.span.source, call.span.start, call.span.start + len(call.function))
        refused = self.refused(call.function, span)
        if call.function in (*self.definitions, *self.imported, *NAMED):
            self.findings.report(WrongCall(span, call.function, call.function, "an order takes no arguments"))
        elif refused is not None:
            self.findings.report(refused)
        else:
            self.findings.unknown("function on orders", call.function, tuple(FUNCTIONS), span)

    def bounded(self, order: CheckedOrder) -> CheckedOrder | None:
        """An order made of too many others is refused, since every later pass goes through all of them."""
        found = excess(order)
        if found is None:
            return order
        self.findings.report(TooMany(order.span, *found))
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


@cache
def written_order(name: str) -> CheckedOrder | None:
    """A named order that `std/orders.scan` defines, on two axes."""
    return library_orders().define(name)


@cache
def library_orders() -> OrderResolver:
    source = library_source(LIBRARY)
    program = build_syntax(parse_text(source), source)
    definitions = {
        item.name: item
        for item in program.items
        if isinstance(item, OrderDefinition | FormulaDefinition) and item.name in WRITTEN
    }
    (axes,) = (tuple(axis.name for axis in item.axes) for item in program.items if isinstance(item, nodes.Grid))
    return OrderResolver(axes, definitions, {}, names_complete=True, findings=Findings(Reporter()))
