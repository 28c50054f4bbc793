"""Pieces of Triton text: an indenting writer, lets as expressions, integers as index arithmetic, the helper functions.

In: atoms and lets of the kernel IR; out: lines. Knows no kernel, no loop and no address.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import assert_never

from scanlang.codegen.kernel import Let
from scanlang.maps.integers import (
    Absolute,
    Add,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
)
from scanlang.source import Span

WIDTH = 110
"""Longest line of a wrapped list."""


@dataclass(frozen=True)
class Statement:
    """`target = text` (or `text` alone, for stores), with the names it reads and the place it comes from.

    `guard` is a compile-time condition it stands under.
    """

    target: str | None
    text: str
    reads: frozenset[str]
    origin: str = ""
    guard: str = ""


@dataclass
class Writer:
    """Lines at the current depth: `with writer.block("for i in range(3):"): writer.line("…")`."""

    lines: list[str] = field(default_factory=list)
    depth: int = 0

    def line(self, text: str = "") -> None:
        self.lines.append("    " * self.depth + text if text else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.depth += 1
        yield
        self.depth -= 1

    def wrapped(self, head: str, items: Sequence[str], tail: str) -> None:
        """`head item, item, … tail`, over several lines if it is long."""
        whole = f"{head}{', '.join(items)}{tail}"
        if len(whole) + 4 * self.depth <= WIDTH or not items:
            self.line(whole)
            return
        self.line(head)
        for row in _rows(items, WIDTH - 4 * self.depth - 4):
            self.line(f"    {row},")
        self.line(tail)

    def assigned(self, targets: Sequence[str], call: str, arguments: Sequence[str]) -> None:
        """`target, target = call(argument, …)`, wrapped on either side."""
        made = ", ".join(targets)
        if len(made) <= 70:
            self.wrapped(f"{made} = {call}", arguments, ")")
            return
        self.wrapped("(", targets, ") = (")
        self.depth += 1
        self.wrapped(call, arguments, ")")
        self.depth -= 1
        self.line(")")

    def statements(self, statements: Sequence[Statement]) -> None:
        """One line each; what stands under the same guard, or comes from the same place, under one head."""
        origin = guard = ""
        for statement in statements:
            if statement.origin and statement.origin != origin:
                self.line(f"# {statement.origin}")
            origin = statement.origin
            if statement.guard and statement.guard != guard:
                self.line(f"if {statement.guard}:")
            guard = statement.guard
            self.depth += bool(guard)
            self.line(f"{statement.target} = {statement.text}" if statement.target else statement.text)
            self.depth -= bool(guard)

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip() + "\n"


def _rows(items: Iterable[str], width: int) -> Iterator[str]:
    row = ""
    for item in items:
        if row and len(row) + len(item) + 3 > width:
            yield row
            row = item
        else:
            row = f"{row}, {item}" if row else item
    if row:
        yield row


def needed(statements: Sequence[Statement], results: Iterable[str]) -> list[Statement]:
    """The stores, and what they and `results` depend on. A name assigned again keeps its first assignment."""
    first: dict[str, Statement] = {}
    for statement in statements:
        if statement.target:
            first.setdefault(statement.target, statement)
    wanted, kept = set(results), []
    for statement in reversed(statements):
        if statement.target and (statement.target not in wanted or first[statement.target] is not statement):
            continue
        kept.append(statement)
        wanted |= statement.reads
    return kept[::-1]


def free_names(statements: Sequence[Statement]) -> list[str]:
    """What is read and never assigned, in order of first use."""
    assigned = {statement.target for statement in statements}
    found: dict[str, None] = {}
    for statement in statements:
        found.update(dict.fromkeys(sorted(statement.reads - assigned)))
    return list(found)


def origin_text(span: Span | None) -> str:
    """`selective.scan:9`; empty without a span."""
    return span.origin if span else ""


_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip


def number(value: float) -> str:
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def expression(let: Let, arguments: Sequence[str], compute: str) -> str:
    """What a let computes, its arguments already text. `compute` is `float32` or `float64`."""
    match let.function, tuple(arguments):
        case "neg", (a,):
            return f"-{a}"
        case "exp", (a,) if compute == "float32":
            return f"exp({a})"
        case ("exp" | "log" | "sqrt" | "abs" | "erf") as function, (a,):
            return f"tl.{function}({a})"
        case "fma", (a, b, c):
            return f"tl.fma({a}, {b}, {c})"
        case "div_near_one", (a, b):
            return f"{a} * reciprocal({b})" if compute == "float32" else f"{a} / {b}"
        case ("expm1" | "log1p" | "log1p_small" | "tanh") as function, (a,):
            return f"{function}({a})"
        case ("min" | "max") as function, (a, b):
            return f"tl.{function}imum({a}, {b}, propagate_nan=tl.PropagateNan.ALL)"
        case "where", (c, a, b):
            return f"tl.where({c}, {a}, {b})"
        case function, (a, b):
            return f"{a} {_INFIX[function]} {b}"
    raise ValueError(f"{let.function} of {len(arguments)} arguments")


def argument_texts(let: Let, names: Sequence[str | None], compute: str) -> list[str]:
    """Arguments as text: names given, numbers written out, of the computing type where nothing else fixes the type."""
    typed = all(name is None for name in names) or let.function == "where"
    texts = []
    for atom, name in zip(let.arguments, names, strict=True):
        if name is not None:
            texts.append(name)
        else:
            assert isinstance(atom, float)
            texts.append(f"tl.full((), {number(atom)}, tl.{compute})" if typed else number(atom))
    return texts


def index_text(value: Integer, level: int = 0) -> str:
    """An index expression with sizes filled in. Divisions are by positive numbers; `floor_div` and `floor_mod` are helpers."""
    match value:
        case Constant(constant):
            return str(constant) if constant >= 0 or level == 0 else f"({constant})"
        case Variable(name):
            return name
        case Add(left, Multiply(Constant(-1), right)):
            return _bracketed(f"{index_text(left, 1)} - {index_text(right, 2)}", 1, level)
        case Add(left, Constant(constant)) if constant < 0:
            return _bracketed(f"{index_text(left, 1)} - {-constant}", 1, level)
        case Add(left, right):
            return _bracketed(f"{index_text(left, 1)} + {index_text(right, 1)}", 1, level)
        case Multiply(left, right):
            return _bracketed(f"{index_text(left, 2)} * {index_text(right, 2)}", 2, level)
        case FloorDiv(left, right):
            return f"floor_div({index_text(left)}, {index_text(right)})"
        case FloorMod(left, right):
            return f"floor_mod({index_text(left)}, {index_text(right)})"
        case Minimum(left, right):
            return f"tl.minimum({index_text(left)}, {index_text(right)})"
        case Maximum(left, right):
            return f"tl.maximum({index_text(left)}, {index_text(right)})"
        case Absolute(operand):
            return f"tl.abs({index_text(operand)})"
        case Select(condition, then, otherwise):
            test = f"{index_text(condition.left, 1)} {condition.operator} {index_text(condition.right, 1)}"
            return f"tl.where({test}, {index_text(then)}, {index_text(otherwise)})"
        case _:
            assert_never(value)


def _bracketed(text: str, strength: int, level: int) -> str:
    return f"({text})" if strength < level else text
