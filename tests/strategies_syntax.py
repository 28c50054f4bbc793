"""Random syntax trees: programs that follow the grammar, whatever their names mean."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from scanlang.source import Source, Span
from scanlang.syntax import nodes

NOWHERE = Span(Source("", ""), 0, 0)
KEYWORDS = (
    *("input", "walk", "order", "scan", "merge", "share", "by", "from", "mod", "sum", "bias", "nothing", "grid"),
    *("every", "at", "middle", "layers", "global", "conv", "along", "writes", "use", "uncovered", "mean", "cells"),
    *("per", "unit", "units", "scale", "head", "prev"),
    *("block", "backbone", "feature", "features", "forward", "let", "in"),
)

plain_names = st.sampled_from(("a", "b", "c1", "x_y", "dt", "A_log", "h", "w", "t", "_"))
names = plain_names | st.sampled_from(KEYWORDS)
"""Names that may also be keywords, for the places where only a name can stand."""


def node(cls: type, *fields: Any, **more: Any) -> st.SearchStrategy[Any]:
    """A strategy for a node from strategies for its fields."""
    return st.builds(cls, *fields, **more, span=st.just(NOWHERE))


def several(strategy: st.SearchStrategy[Any], least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


integers = node(nodes.Number, st.integers(0, 2**31 - 1) | st.integers(0, 9), st.just(True))
numbers = integers | node(nodes.Number, st.floats(0, allow_infinity=False, allow_nan=False).map(abs), st.just(False))
bare_names = node(nodes.Name, names)
indices = several(plain_names, most=2)


def _larger(smaller: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    operators = st.sampled_from(("+", "-", "*", "/", "//", "%"))
    comparisons = node(nodes.Binary, st.sampled_from(("<", "<=", ">", ">=", "==", "!=")), smaller, smaller)
    functions = names.filter(lambda name: name not in ("sum", "where", "mean"))
    return (
        node(nodes.Binary, operators, smaller, smaller)
        | node(nodes.Negative, smaller)
        | node(nodes.Name, names, several(smaller, 1, 2))
        | node(nodes.Call, functions, several(smaller))
        | node(nodes.Call, st.just("where"), st.tuples(comparisons, smaller, smaller))
        | node(nodes.Sum, names, smaller)
        | node(nodes.CellMean, smaller)
    )


expressions = st.recursive(numbers | bare_names, _larger, max_leaves=10)

sizes = integers | bare_names
directions = st.sampled_from(("", "-", "~", "~~"))
walk_items = (
    node(nodes.WalkItem, names, directions)
    | node(nodes.WalkItem, names, directions, by=sizes, start=optional(sizes))
    | node(nodes.WalkItem, names, directions, mod=sizes)
)
walks = node(nodes.Walk, several(walk_items, 1))
order_names = node(nodes.OrderName, plain_names | st.sampled_from(("input", "every", "at", "global", "conv")))
calls = ("reverse", "flip", "transpose", "window", "insert", "reset", "table", "mine")
signed = integers | node(nodes.Number, st.integers(1 - 2**31, -1), st.just(True))
phases = node(nodes.Phase, several(signed, 1))
token_names = names.filter(lambda name: name != "walk")
tokens = (
    node(nodes.TokenAt, token_names, st.sampled_from(("head", "middle", "tail")))
    | node(nodes.TokenAt, token_names, st.sampled_from(("index", "spread")), integers)
    | node(nodes.TokenAt, token_names, st.just("every"), sizes)
)
leaves = (
    signed
    | node(nodes.Text, st.sampled_from(("mine.npy", "folder/ö.npy", "#.npy", "")))
    | node(nodes.Every, names.filter(lambda name: name != "at"))
    | tokens
)


def _calls(smaller: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keywords = node(nodes.Keyword, token_names.filter(lambda name: name != "every"), smaller | signed | phases)
    return node(nodes.OrderCall, st.sampled_from(calls), several(smaller | leaves | keywords, 1))


orders = st.recursive(walks | order_names, _calls, max_leaves=4)

formals = several(node(nodes.Formal, names, optional(plain_names), optional(expressions)))
inputs = node(nodes.Operand, names, indices)
parameters = node(nodes.Operand, names, indices, optional(expressions))
declarations = node(
    nodes.Declaration, st.sampled_from(("input", "shared")), several(inputs, 1), optional(integers | bare_names)
) | node(nodes.Declaration, st.sampled_from(("param", "shared param")), several(parameters, 1), optional(integers | bare_names))
targets = names | st.sampled_from(("shared", "param", "recur", "project", "directions", "operands", "label", "channels"))
equations = node(nodes.Equation, targets, indices, expressions, st.booleans())

actuals = node(nodes.Actual, names, expressions)
choices = several(several(orders, 1), 1)
clauses = (
    node(nodes.Input, several(bare_names, 1))
    | node(nodes.Directions, several(orders, 1))
    | node(nodes.Layers, st.just("cycle"), st.booleans(), choices)
    | node(nodes.Layers, st.just("list"), st.just(False), choices)
    | node(nodes.Channels, st.just(False))
    | node(nodes.Channels, st.just(True), several(integers))
    | node(nodes.Recur, names, several(actuals))
    | node(nodes.Project, several(bare_names, 1), bare_names, st.booleans())
    | node(nodes.Conv, integers, optional(orders))
    | node(nodes.Along, several(bare_names, 1), orders)
    | node(nodes.Writes, node(nodes.Name, plain_names), orders)
    | node(nodes.Label, st.just("moves"))
    | node(nodes.Share, st.booleans(), several(node(nodes.Name, plain_names)))
    | node(nodes.Use, bare_names, names, several(expressions | actuals))
    | node(nodes.Uncovered, numbers)
    | node(nodes.Merge, st.sampled_from(("sum", "mean", "max", "concat", "weighted")) | expressions)
)


def _larger_in_block(smaller: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Calls have keywords, and more is taken over all cells than a mean; nothing is compared."""
    operators = st.sampled_from(("+", "-", "*", "/", "//", "%"))
    functions = plain_names | st.sampled_from(("linear", "scan", "layers", "where", "cells", "max", "in"))
    return (
        node(nodes.Binary, operators, smaller, smaller)
        | node(nodes.Negative, smaller)
        | node(nodes.Call, functions, several(smaller), several(node(nodes.Actual, names, smaller), most=2))
        | node(nodes.CellMean, smaller, st.sampled_from(("mean", "max", "softmax")))
    )


in_blocks = st.recursive(numbers | node(nodes.Name, names.filter(lambda name: name != "let")), _larger_in_block, max_leaves=8)
network_formals = several(
    node(nodes.NetworkFormal, names.filter(lambda name: name not in ("scan", "block")), st.just("number"), optional(in_blocks))
    | node(nodes.NetworkFormal, names, st.sampled_from(("scan", "block")), optional(in_blocks))
)
features = st.sampled_from(("", "feature", "features"))

span = {"name_span": st.just(NOWHERE)}
assignments = node(nodes.Assignment, names, in_blocks, **span)
links = node(nodes.Assignment, names, in_blocks, features, **span)
bodies = st.recursive(in_blocks, lambda smaller: node(nodes.Let, several(bare_names, 1), in_blocks, smaller), max_leaves=3)
forwards = node(nodes.Forward, several(bare_names, 1), bodies)
formula_spans = {**span, "parameter_span": st.just(NOWHERE), "cell_span": st.just(NOWHERE)}
library_paths = st.lists(plain_names, min_size=1, max_size=3).map(".".join)
items = (
    node(nodes.Grid, several(bare_names, 1))
    | node(nodes.Import, library_paths, st.just(True))
    | node(nodes.Import, st.sampled_from(("mine.scan", "folder/ö.scan", "#.scan")), st.just(False))
    | node(nodes.OrderDefinition, names, orders | node(nodes.GivenOrder), **span)
    | node(nodes.FormulaDefinition, names, names, several(expressions, 1), **formula_spans)
    | node(nodes.RecurrenceDefinition, names, formals, several(declarations | equations), **span)
    | node(nodes.ScanDefinition, names, formals, several(clauses), **span)
    | node(nodes.BlockDefinition, names, network_formals, several(assignments), forwards, **span)
    | node(nodes.BackboneDefinition, names, network_formals, several(links), st.none(), **span)
    | node(nodes.BackboneDefinition, names, st.just(()), several(links), bare_names, **span)
)
programs = node(nodes.Program, several(items, most=4))
