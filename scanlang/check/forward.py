"""`forward x = …` of a block: what its names mean, how layers and functions are called, and that all of them are used.

In: the body as written and the block's scope and layers. Out: findings. Channels and grids are followed later, with numbers
(`scanlang.networks.widths`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from scanlang.check.expressions import counted, operator_span
from scanlang.check.findings import Findings
from scanlang.check.layer_calls import inputs_of
from scanlang.check.network_arguments import name_span
from scanlang.check.network_scope import FLAGS, OVER_CELLS, Scope, kind_of
from scanlang.check.program import CheckedLayer, FormalCallee
from scanlang.errors import (
    DuplicateName,
    IndexMisused,
    MisplacedKeyword,
    MisplacedLayer,
    NotAllowedHere,
    NotANumber,
    ReservedName,
    UnusedName,
    WrongCall,
)
from scanlang.networks.vocabulary import FUNCTIONS, NUMBER_FUNCTIONS, POINTWISE
from scanlang.source import Span
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import Binary, Body, Call, CellMean, Expr, Forward, Let, Name, Negative, Number, Sum

AT_LEAST: Mapping[str, int] = {"split": 2, "concat": 2}
EXACTLY: Mapping[str, int] = {name: usage.count(",") + 1 for name, usage in FUNCTIONS.items() if name not in AT_LEAST}
"""How many arguments the functions take."""


@dataclass
class ForwardChecker:
    """`layers` by name, None for those with findings. `values` are inputs and what `let` names, where they stand."""

    scope: Scope
    layers: Mapping[str, CheckedLayer | None]
    values: dict[str, Span] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    @property
    def findings(self) -> Findings:
        return self.scope.findings

    def check(self, forward: Forward) -> None:
        for name in forward.inputs:
            self._bind(name, "an input")
        body: Body = forward.body
        bound: list[Let] = []
        while isinstance(body, Let):
            self.value(body.value)
            for name in body.names:
                self._bind(name, "a value")
            bound.append(body)
            body = body.body
        self.value(body)
        if self.findings.none:
            self._check_used(forward, bound)

    def _bind(self, name: Name, kind: str) -> None:
        """A name for a value, which nothing else here has."""
        first = self.values.get(name.name) or self.scope.spans.get(name.name)
        if name.name in FLAGS:
            self.findings.report(ReservedName(name.span, kind, name.name, "it is a flag"))
        elif first is not None:
            self.findings.report(DuplicateName(name.span, "name", name.name, first))
        self.values.setdefault(name.name, name.span)

    def _check_used(self, forward: Forward, bound: list[Let]) -> None:
        for name in forward.inputs:
            if name.name not in self.used:
                self.findings.report(UnusedName(name.span, "input", name.name))
        for let in bound:
            if not self.used & {name.name for name in let.names}:
                self.findings.report(UnusedName(let.names[0].span, "value", let.names[0].name))
        for layer in self.layers:
            if layer not in self.used:
                self.findings.report(UnusedName(self.scope.spans[layer], "layer", layer))

    def value(self, expr: Expr) -> None:
        match expr:
            case Number():
                return
            case Name():
                self._name(expr)
            case Negative(operand=part) | CellMean(body=part):
                self.value(part)
            case Binary():
                self._binary(expr)
            case Call():
                self._call(expr)
            case Sum():
                self.findings.report(NotAllowedHere(expr.span, "sum", "`forward`", "`mean(cells: ...)` goes over the cells"))
            case _:
                assert_never(expr)

    def _name(self, name: Name) -> None:
        kind = kind_of(self.scope, name.name)
        if name.name in self.values or kind == "number":
            self.used.add(name.name)
            if name.indices:
                self.findings.report(IndexMisused(name.span, name.span.text, "has an index", "values in `forward` have none"))
        elif name.name in self.scope.layers:
            self.findings.report(MisplacedLayer(name.span, name.name, "layer", "it is called", f"write `{name.name}(...)`"))
        elif name.name in FLAGS:
            self.findings.report(NotAllowedHere(name.span, name.name, "`forward`", "flags are for arguments of layers"))
        else:
            known = (*self.values, *self.scope.numbers)
            self.findings.unknown("value", name.name, known, name.span)

    def _binary(self, expr: Binary) -> None:
        if expr.operator in ("//", "%") and not self._is_number(expr):
            instead = "use `/`: features are real numbers" if expr.operator == "//" else None
            self.findings.report(NotAllowedHere(operator_span(expr), expr.operator, "`forward`", instead))
        self.value(expr.left)
        self.value(expr.right)

    def _is_number(self, expr: Expr) -> bool:
        """Nothing in it comes from an image."""
        match expr:
            case Number():
                return True
            case Name():
                return expr.name in self.scope.numbers and expr.name not in self.values
            case Negative(operand=part):
                return self._is_number(part)
            case Binary(left=left, right=right):
                return self._is_number(left) and self._is_number(right)
            case Call(function=function, arguments=arguments):
                is_function = function in NUMBER_FUNCTIONS or function in POINTWISE
                return is_function and function not in self.layers and all(map(self._is_number, arguments))
            case Sum() | CellMean():
                return False
        assert_never(expr)

    def _call(self, call: Call) -> None:
        if call.keywords:
            label = call.keywords[0].label
            self.findings.report(MisplacedKeyword(call.keywords[0].span, call.function, label))
            return
        if call.function in self.scope.layers:
            self.used.add(call.function)
            self._call_of_layer(call)
        elif call.function in FUNCTIONS:
            self._call_of_function(call)
        elif call.function in NUMBER_FUNCTIONS and len(call.arguments) == 1 and self._is_number(call):
            self.value(call.arguments[0])
        else:
            self._unknown(call)

    def _call_of_layer(self, call: Call) -> None:
        layer = self.layers.get(call.function)
        if layer is not None and not isinstance(layer.callee, FormalCallee):
            inputs = inputs_of(layer.callee)
            if len(call.arguments) != len(inputs):
                usage = f"{call.function}({', '.join(inputs)})"
                self.findings.report(WrongCall(call.span, call.function, usage, counted(len(call.arguments))))
        elif not call.arguments:
            self.findings.report(WrongCall(call.span, call.function, f"{call.function}(x)", counted(0)))
        for argument in call.arguments:
            self.value(argument)

    def _call_of_function(self, call: Call) -> None:
        count = len(call.arguments)
        if count != EXACTLY.get(call.function, count) or count < AT_LEAST.get(call.function, 0):
            usage = f"{call.function}{FUNCTIONS[call.function]}"
            self.findings.report(WrongCall(call.span, call.function, usage, counted(count)))
            return
        first, *others = call.arguments
        self.value(first)
        if call.function == "token":
            self._check_token(call)
            return
        for other in others:
            self.value(other)
        if call.function == "split":
            for other in others:
                if self.findings.none and not self._is_number(other):
                    usage = f"{call.function}{FUNCTIONS[call.function]}"
                    self.findings.report(WrongCall(other.span, call.function, usage, "this is not a number"))

    def _check_token(self, call: Call) -> None:
        name = call.arguments[1]
        if not isinstance(name, Name) or name.indices:
            usage = f"token{FUNCTIONS['token']}"
            self.findings.report(WrongCall(name.span, "token", usage, "the name of a token stands here"))

    def _unknown(self, call: Call) -> None:
        name, span = call.function, name_span(call)
        if name in OVER_CELLS:
            self.findings.report(WrongCall(call.span, name, f"{name}(cells: x)", "over what?"))
        elif (kind := kind_of(self.scope, name)) in ("scan", "block", "layer"):
            advice = f"above: `name = {name}(...)`; here: `{format_expression(Call('name', call.arguments, span=span))}`"
            self.findings.report(MisplacedLayer(span, name, kind, "a layer is made on a line of its own", advice))
        elif kind == "number" or name in self.values:
            self.findings.report(NotANumber(span, name, kind or "value", "layer"))
        else:
            known = (*self.scope.layers, *FUNCTIONS, "mean", "softmax")
            self.findings.unknown("layer or function", name, known, span)
        for argument in call.arguments:
            self.value(argument)
