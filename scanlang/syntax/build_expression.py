"""lark's trees of expressions to nodes, and the helpers that look into lark's trees."""

from __future__ import annotations

import math
from typing import Any, cast

from lark import ParseTree, Token, Tree

from scanlang.diagnostics import InternalError, Reporter
from scanlang.errors import (
    ChainedComparison,
    MalformedSum,
    MisplacedComparison,
    MisplacedKeyword,
    NumberOutOfRange,
    PositionalAfterKeyword,
)
from scanlang.limits import LIMITS
from scanlang.source import Source, Span
from scanlang.syntax import nodes

COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})


def trees_in(tree: ParseTree) -> list[ParseTree]:
    return [child for child in tree.children if isinstance(child, Tree)]


def names_in(tree: ParseTree) -> list[Token]:
    """The NAME tokens that stand directly in a tree."""
    return [child for child in tree.children if isinstance(child, Token) and child.type == "NAME"]


def span_of(tree: ParseTree, source: Source) -> Span:
    return Span(source, tree.meta.start_pos, tree.meta.end_pos)


def token_span(token: Token, source: Source) -> Span:
    start = token.start_pos or 0
    return Span(source, start, start + len(token))


def build_integer(tree: ParseTree, source: Source, reporter: Reporter) -> nodes.Number:
    """Python refuses to read thousands of digits, so the length is looked at first."""
    span = span_of(tree, source)
    digits = span.text.lstrip("0") or "0"
    if len(digits) > len(str(LIMITS.integer)) or int(digits) > LIMITS.integer:
        reporter.report(NumberOutOfRange(span, f"an integer is at most {LIMITS.integer}"))
        return nodes.Number(0, True, span=span)
    return nodes.Number(int(digits), True, span=span)


class ExpressionBuilder:
    """`in_block`: calls may have keywords, and more is taken over all cells than a mean."""

    def __init__(self, source: Source, reporter: Reporter, in_block: bool = False) -> None:
        self.source = source
        self.reporter = reporter
        self.over_cells = ("mean", "max", "softmax") if in_block else ("mean",)
        self.in_block = in_block

    def build(self, tree: ParseTree, is_condition: bool = False) -> nodes.Expr:
        """`is_condition` where a comparison may stand."""
        span = span_of(tree, self.source)
        match tree.data:
            case "group":
                return self.build(trees_in(tree)[0], is_condition)
            case "integer" | "float":
                return self.number(tree)
            case "name":
                indices = tuple(self.build(index) for index in trees_in(tree))
                return nodes.Name(str(names_in(tree)[0]), indices, span=span)
            case "negative":
                return nodes.Negative(self.build(trees_in(tree)[0]), span=span)
            case "binary":
                return self.binary(tree, span, is_condition)
            case "call":
                return self.call(tree, span)
            case "sum":
                return self.sum(tree, span)
        raise InternalError(f"no expression: {tree.data}")

    def number(self, tree: ParseTree) -> nodes.Number:
        if tree.data == "integer":
            return build_integer(tree, self.source, self.reporter)
        span = span_of(tree, self.source)
        value = float(span.text)
        if not math.isfinite(value):
            self.reporter.report(NumberOutOfRange(span, "infinite in double precision"))
        return nodes.Number(value, False, span=span)

    def binary(self, tree: ParseTree, span: Span, is_condition: bool) -> nodes.Expr:
        operator = cast(Token, tree.children[1])
        left, right = trees_in(tree)
        is_comparison = operator in COMPARISONS
        if is_comparison and any(_is_comparison(side) for side in (left, right)):
            self.reporter.report(ChainedComparison(span))
        elif is_comparison and not is_condition:
            self.reporter.report(MisplacedComparison(token_span(operator, self.source), str(operator), self.in_block))
        sides = (self.build(side, is_comparison and _is_comparison(side)) for side in (left, right))
        return nodes.Binary(cast(Any, str(operator)), *sides, span=span)

    def call(self, tree: ParseTree, span: Span) -> nodes.Call:
        function = names_in(tree)[0]
        if function in ("sum", "mean"):
            self.reporter.report(MalformedSum(span, str(function), self.in_block))
        arguments = tuple(
            self.build(argument, is_condition=function == "where" and position == 0 and not self.in_block)
            for position, argument in enumerate(trees_in(tree))
            if argument.data != "actual"
        )
        keywords = tuple(self.actual(argument) for argument in trees_in(tree) if argument.data == "actual")
        if keywords and not self.in_block:
            self.reporter.report(MisplacedKeyword(keywords[0].span, str(function), keywords[0].label))
        elif keywords and trees_in(tree)[-1].data != "actual":
            last = trees_in(tree)[-1]
            self.reporter.report(PositionalAfterKeyword(span_of(last, self.source), str(function)))
        return nodes.Call(str(function), arguments, keywords, span=span)

    def actual(self, tree: ParseTree) -> nodes.Actual:
        value = self.build(trees_in(tree)[0])
        return nodes.Actual(str(names_in(tree)[0]), value, span=span_of(tree, self.source))

    def sum(self, tree: ParseTree, span: Span) -> nodes.Sum | nodes.CellMean:
        function, index = names_in(tree)
        body = self.build(trees_in(tree)[0])
        if function in self.over_cells and index == "cells":
            return nodes.CellMean(body, cast(Any, str(function)), span=span)
        if function != "sum" or self.in_block:
            self.reporter.report(MalformedSum(token_span(function, self.source), str(function), self.in_block))
        return nodes.Sum(str(index), body, span=span)


def _is_comparison(tree: ParseTree) -> bool:
    while tree.data == "group":
        tree = trees_in(tree)[0]
    return tree.data == "binary" and str(tree.children[1]) in COMPARISONS
