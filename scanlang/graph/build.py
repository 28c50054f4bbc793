"""Checked scan and its orders → scan graph; checked recurrence → step. Expressions become values here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import networkx as nx

from scanlang.check.program import CheckedRecurrence, CheckedScan, StateUpdate, Temporary
from scanlang.diagnostics import InternalError
from scanlang.graph.factor import factor
from scanlang.graph.scan_graph import (
    MERGE,
    Gather,
    Input,
    Merge,
    Node,
    Pick,
    Project,
    Recur,
    ScanGraph,
    Scatter,
    output_name,
)
from scanlang.graph.step import Assign, Operand, Step, Update
from scanlang.graph.values import (
    COMPARISONS,
    Apply,
    Constant,
    IndexValue,
    Previous,
    Read,
    Total,
    Value,
    add,
    apply,
    free_indices,
    negate,
    reads,
)
from scanlang.maps.order import Order
from scanlang.source import Span
from scanlang.syntax import nodes as syntax

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", **COMPARISONS}


def build_graph(scan: CheckedScan, orders: tuple[Order, ...]) -> ScanGraph:
    """The scan as written: every direction gathers its inputs, projects in its own time, recurs and scatters."""
    step = build_step(scan.recurrence)
    inputs = {name: Input(name, "input", (), False) for name in scan.inputs}
    made = {name for projection in scan.projections for name in projection.names}
    for operand in step.operands:
        if operand.kind == "shared" and operand.name not in made:
            inputs[operand.name] = Input(operand.name, "shared", operand.indices, True)
        elif operand.kind == "input" and operand.name not in made:
            inputs[operand.name] = Input(operand.name, "input", operand.indices, False)
    nodes: dict[str, Node] = {f"input {name}": node for name, node in inputs.items()}
    edges: list[tuple[str, str, str]] = []
    for k in range(len(orders)):
        _add_direction(scan, step, k, nodes, edges)
    nodes[MERGE] = Merge()
    edges += [(f"scatter {k}", MERGE, output_name(k)) for k in range(len(orders))]
    if isinstance(scan.merge, str):
        empty = ScanGraph(scan.name, orders, step, scan.shared, scan.merge, {}, nx.DiGraph(), merge_span=scan.span)
        return empty.rewritten(nodes, edges)
    merge = _merge_value(scan.merge, len(orders), {})
    edges += [(f"input {name}", MERGE, name) for name in scan.inputs if name in reads(merge)]
    empty = ScanGraph(scan.name, orders, step, scan.shared, merge, {}, nx.DiGraph(), merge_span=scan.merge.span)
    return empty.rewritten(nodes, edges)


def _add_direction(scan: CheckedScan, step: Step, k: int, nodes: dict[str, Node], edges: list[tuple[str, str, str]]) -> None:
    def gathered(name: str) -> str:
        key = f"gather {k} {name}"
        if key not in nodes:
            nodes[key] = Gather(k)
            edges.append((f"input {name}", key, name))
        return key

    nodes[f"recur {k}"], nodes[f"scatter {k}"] = Recur(k), Scatter(k)
    for number, projection in enumerate(scan.projections):
        key = f"project {k}.{number}"
        nodes[key] = Project(number, projection.names, k, projection.bias)
        edges.append((gathered(projection.source), key, projection.source))
        for name in projection.names:
            nodes[f"pick {k} {name}"] = Pick(name)
            edges += [(key, f"pick {k} {name}", name), (f"pick {k} {name}", f"recur {k}", name)]
    for operand in step.operands:
        if operand.kind != "param" and operand.name not in scan.projected:
            edges.append((gathered(operand.name), f"recur {k}", operand.name))
    edges.append((f"recur {k}", f"scatter {k}", step.readout))


def build_step(recurrence: CheckedRecurrence) -> Step:
    """The recurrence as equations between values, what depends on parameters alone taken out of the loop."""
    operands = tuple(Operand(o.name, o.kind, o.indices, o.span) for o in recurrence.operands)
    body: list[Assign | Update] = []
    for equation in recurrence.equations:
        match equation:
            case Temporary(name, indices, value, span):
                body.append(Assign(name, indices, build_value(value, recurrence), span))
            case StateUpdate(name, indices, decay, drive, span):
                parts = build_value(decay, recurrence), build_value(drive, recurrence)
                body.append(Update(name, indices, *parts, span))
            case _:
                assert_never(equation)
    step = Step(recurrence.name, dict(recurrence.indices), operands, (), tuple(body), recurrence.readout)
    return name_arguments(hoist_prologue(step))


def build_value(expression: syntax.Expr, recurrence: CheckedRecurrence) -> Value:
    """An expression of a recurrence as a value."""

    def build(expression: syntax.Expr) -> Value:
        match expression:
            case syntax.Number(value):
                return Constant(float(value))
            case syntax.Name(name, ()) if name in recurrence.indices:
                return IndexValue(name)
            case syntax.Name(name, indices):
                return Read(name, tuple(_index_name(i) for i in indices), expression.span)
            case syntax.Negative(operand):
                return negate(build(operand))
            case syntax.Binary(operator, left, right):
                return apply(_OPERATORS[operator], build(left), build(right))
            case syntax.Call(function, arguments):
                return apply(function, *(build(argument) for argument in arguments))
            case syntax.Sum(index, body):
                return Total(index, build(body))
            case _:
                assert_never(expression)

    return build(expression)


def _index_name(index: syntax.Expr) -> str:
    if isinstance(index, syntax.Name) and not index.indices:
        return index.name
    raise InternalError(f"index {index} was not checked")


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
            return apply(_OPERATORS[operator], build(left), build(right))
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


def hoist_prologue(step: Step) -> Step:
    """Take out of the loop what depends on parameters alone.

    Before:  h[n] = exp(-exp(A_log[n]) * dt) * h'[n] + …
    After:   fixed.0[n] = -exp(A_log[n])            h[n] = exp(fixed.0[n] * dt) * h'[n] + …
    """
    parameters = {operand.name for operand in step.operands if operand.kind == "param"}
    hoister = _Hoister(parameters)
    body: list[Assign | Update] = []
    for equation in step.body:
        match equation:
            case Assign(name, indices, value, span):
                body.append(Assign(name, indices, factor(hoister.take(value, span)), span))
            case Update(name, indices, decay, drive, span):
                parts = factor(hoister.take(decay, span)), factor(hoister.take(drive, span))
                body.append(Update(name, indices, *parts, span))
            case _:
                assert_never(equation)
    return Step(step.recurrence, step.sizes, step.operands, tuple(hoister.prologue), tuple(body), step.readout)


def name_arguments(step: Step) -> Step:
    """Give the sums that a function is applied to names of their own, so that their gradients are computed once.

    Before:  dt = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))
    After:   in.0 = dt_bias + sum(r: dt_weight[r] * low[r])            dt = softplus(in.0)
    """
    body: list[Assign | Update] = []
    names: dict[Value, Read] = {}

    def take(value: Value, span: Span, bound: frozenset[str]) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Total(index, inner):
                return Total(index, take(inner, span, bound | {index}))
            case Apply(function, (argument,)) if function != "neg" and _is_sum(argument):
                if not bound & set(free_indices(argument)):
                    return Apply(function, (named(take(argument, span, bound), span),))
                return Apply(function, (take(argument, span, bound),))
            case Apply(function, arguments):
                return Apply(function, tuple(take(argument, span, bound) for argument in arguments))
            case _:
                assert_never(value)

    def named(value: Value, span: Span) -> Read:
        if value not in names:
            names[value] = Read(f"in.{len(names)}", free_indices(value))
            body.append(Assign(names[value].name, names[value].indices, value, span))
        return names[value]

    for equation in step.body:
        match equation:
            case Assign(name, indices, value, span):
                body.append(Assign(name, indices, take(value, span, frozenset()), span))
            case Update(name, indices, decay, drive, span):
                decay, drive = take(decay, span, frozenset()), take(drive, span, frozenset())
                body.append(Update(name, indices, decay, drive, span))
            case _:
                assert_never(equation)
    return Step(step.recurrence, step.sizes, step.operands, step.prologue, tuple(body), step.readout)


def _is_sum(value: Value) -> bool:
    return isinstance(value, Total) or (isinstance(value, Apply) and value.function in ("add", "sub"))


class _Hoister:
    def __init__(self, parameters: set[str]) -> None:
        self.parameters = parameters
        self.names: dict[Value, Read] = {}
        self.prologue: list[Assign] = []

    def is_fixed(self, value: Value) -> bool:
        return bool(reads(value)) and reads(value) <= self.parameters

    def take(self, value: Value, span: Span) -> Value:
        match value:
            case Constant() | IndexValue() | Read() | Previous():
                return value
            case Apply() | Total() if self.is_fixed(value):
                return self.named(value, span)
            case Apply(function, arguments):
                return Apply(function, tuple(self.take(argument, span) for argument in arguments))
            case Total(index, body):
                return Total(index, self.take(body, span))
            case _:
                assert_never(value)

    def named(self, value: Value, span: Span) -> Read:
        if value not in self.names:
            name, indices = f"fixed.{len(self.prologue)}", free_indices(value)
            self.names[value] = Read(name, indices)
            self.prologue.append(Assign(name, indices, value, span))
        return self.names[value]
