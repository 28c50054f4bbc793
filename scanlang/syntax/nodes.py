"""The tree of a program as it was written: frozen nodes, each with its span.

Spans never take part in `==` or `hash`, so two trees are equal when they say the same (`parse(format(p)) == p`).
Nothing here is resolved: names are text, and whether they mean something is decided by `scanlang.check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scanlang.source import Span


@dataclass(frozen=True)
class Node:
    span: Span = field(compare=False, repr=False, kw_only=True)


# Expressions: one grammar for recurrences, formulas, merges, sizes and initial values.


@dataclass(frozen=True)
class Number(Node):
    """`16`, `1e-3`. `is_integer` keeps `2` apart from `2.0`."""

    value: float
    is_integer: bool


@dataclass(frozen=True)
class Name(Node):
    """`dt`, or `A_log[n]`, `y[0]` with its indices."""

    name: str
    indices: tuple[Expr, ...] = ()


@dataclass(frozen=True)
class Negative(Node):
    operand: Expr


@dataclass(frozen=True)
class Binary(Node):
    operator: Literal["+", "-", "*", "/", "//", "%", "<", "<=", ">", ">=", "==", "!="]
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Call(Node):
    """`exp(x)`; only in blocks and backbones with keywords, `linear(dim, 4 * dim, bias = false)`."""

    function: str
    arguments: tuple[Expr, ...]
    keywords: tuple[Actual, ...] = ()


@dataclass(frozen=True)
class Sum(Node):
    """`sum(n: C[n] * h[n])`."""

    index: str
    body: Expr


@dataclass(frozen=True)
class CellMean(Node):
    """`mean(cells: y[k])`: over all cells of an image, per channel; in blocks `max` and `softmax` too."""

    body: Expr
    function: Literal["mean", "max", "softmax"] = "mean"


Expr = Number | Name | Negative | Binary | Call | Sum | CellMean


@dataclass(frozen=True)
class WalkItem(Node):
    """One loop of a walk: `h`, `-w`, `~w`, `~~w`, `h by 7`, `w by 4 from 2`, `h mod 2`."""

    axis: str
    direction: Literal["", "-", "~", "~~"] = ""
    by: Number | Name | None = None
    start: Number | Name | None = None
    mod: Number | Name | None = None


@dataclass(frozen=True)
class Walk(Node):
    """`walk h by 7, w by 7, h, w`, the outermost loop first."""

    items: tuple[WalkItem, ...]


@dataclass(frozen=True)
class OrderName(Node):
    """A named order: the program's own, or one of the language's (`raster`)."""

    name: str


@dataclass(frozen=True)
class Text(Node):
    """`"my.npy"`."""

    value: str


@dataclass(frozen=True)
class Phase(Node):
    """`(1, 0)`: one number per axis."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Keyword(Node):
    """`outer = snake`, `pad = skip`, `phase = (1, 0)` in a call of an order function."""

    name: str
    value: OrderExpr | Number | Phase


@dataclass(frozen=True)
class Every(Node):
    """`every h`, `every window`."""

    what: str


@dataclass(frozen=True)
class TokenAt(Node):
    """`cls at middle`, `dist at 7`, `reg at every 16`, `line_end at every w`, `reg at spread 12`.

    `place` is `index` for a number alone; `number` goes with `index`, `every` and `spread`; `every` takes an axis too.
    """

    name: str
    place: Literal["head", "middle", "tail", "index", "every", "spread"]
    number: Number | Name | None = None


@dataclass(frozen=True)
class OrderCall(Node):
    """`reverse(rows)`, `flip(rows, h)`, `window(rows, 7, 7, outer = snake)`, `insert(rows, cls at middle)`.

    Axes and sizes given by name stand as `OrderName`; whole numbers may be negative.
    """

    function: str
    arguments: tuple[OrderArgument, ...]


OrderExpr = Walk | OrderName | OrderCall
OrderArgument = OrderExpr | Number | Text | Keyword | Every | TokenAt


@dataclass(frozen=True)
class GivenOrder(Node):
    """`input` as the value of an order: a table given at run time."""


@dataclass(frozen=True)
class OrderDefinition(Node):
    """`order rows = walk h, w`, `order mine = input`."""

    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    value: OrderExpr | GivenOrder


@dataclass(frozen=True)
class FormulaDefinition(Node):
    """`order cols(t) = (t % h, t // h)`; `cell_span` is the right side, with its parentheses."""

    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    parameter_span: Span = field(compare=False, repr=False, kw_only=True)
    cell_span: Span = field(compare=False, repr=False, kw_only=True)
    parameter: str
    cell: tuple[Expr, ...]


@dataclass(frozen=True)
class Formal(Node):
    """A parameter of a recurrence or scan: `state n = 16` (label `state`, index `n`); without index `rank = 4`, `dim`."""

    label: str
    index: str | None = None
    default: Expr | None = None


@dataclass(frozen=True)
class Operand(Node):
    """One declared `input`, `shared`, `param` or `shared param`: `low[r]`, `A_log[n] = log(n + 1)`."""

    name: str
    indices: tuple[str, ...] = ()
    initial: Expr | None = None


@dataclass(frozen=True)
class Declaration(Node):
    """`shared low[r], B[n], C[n]`, `shared param dB[label, n]`; `per` is the 4 of `shared B[n], C[n] per 4 units`."""

    kind: Literal["input", "shared", "param", "shared param"]
    operands: tuple[Operand, ...]
    per: Number | Name | None = None


@dataclass(frozen=True)
class Equation(Node):
    """`h[n] = exp(-dt) * h[n] + x`; with `scale` a log-scale: `scale m = max(lf + m, i)`."""

    name: str
    indices: tuple[str, ...]
    value: Expr
    scale: bool = False


@dataclass(frozen=True)
class RecurrenceDefinition(Node):
    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    formals: tuple[Formal, ...]
    body: tuple[Declaration | Equation, ...]


@dataclass(frozen=True)
class Actual(Node):
    """`state = 16` in a call."""

    label: str
    value: Expr


@dataclass(frozen=True)
class Input(Node):
    """`input x, z`."""

    names: tuple[Name, ...]


@dataclass(frozen=True)
class Directions(Node):
    orders: tuple[OrderExpr, ...]


@dataclass(frozen=True)
class Recur(Node):
    """`recur selective(state = 1, rank = rank)`."""

    name: str
    actuals: tuple[Actual, ...]


@dataclass(frozen=True)
class Project(Node):
    """`project low, B, C from x` with or without `bias`."""

    names: tuple[Name, ...]
    source: Name
    bias: bool = False


@dataclass(frozen=True)
class Share(Node):
    """`share nothing`, `share all`, `share A_log, D`, `share all except A_log`."""

    all: bool
    names: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Layers(Node):
    """`layers cycle (a, b), (c, d)`, `layers list …`, `layers cycle global …`; one direction alone needs no parentheses."""

    rule: Literal["cycle", "list"]
    whole_backbone: bool
    choices: tuple[tuple[OrderExpr, ...], ...]


@dataclass(frozen=True)
class Channels(Node):
    """`channels all`, `channels split`, `channels split 2, 1, 1`."""

    split: bool
    parts: tuple[Number, ...] = ()


@dataclass(frozen=True)
class Conv(Node):
    """`conv 4`, `conv 4 along seq`."""

    width: Number
    along: OrderExpr | None = None


@dataclass(frozen=True)
class Along(Node):
    """`operands low, B along raster`."""

    names: tuple[Name, ...]
    order: OrderExpr


@dataclass(frozen=True)
class Writes(Node):
    """`back writes rows`: the outputs of the direction `back` go where `rows` goes."""

    direction: Name
    order: OrderExpr


@dataclass(frozen=True)
class Label(Node):
    """`label moves`."""

    rule: str


@dataclass(frozen=True)
class Use(Node):
    """`use down = linear(dim, dim // 4, bias = false)`."""

    name: Name
    layer: str
    arguments: tuple[Expr | Actual, ...]


@dataclass(frozen=True)
class Uncovered(Node):
    """`uncovered = 0`."""

    value: Number


MergeRule = Literal["sum", "mean", "max", "concat", "weighted"]


@dataclass(frozen=True)
class Merge(Node):
    """`merge sum`, `mean`, `max`, `concat`, `weighted`, or an expression in `y[k]`, the scan's inputs and what it uses."""

    rule: MergeRule | Expr


Clause = (
    Input | Directions | Layers | Channels | Recur | Project | Conv | Along | Writes | Label | Share | Use | Uncovered | Merge
)


@dataclass(frozen=True)
class ScanDefinition(Node):
    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    formals: tuple[Formal, ...]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True)
class Grid(Node):
    """`grid h, w`, the slowest axis of the raster first."""

    axes: tuple[Name, ...]


@dataclass(frozen=True)
class Import(Node):
    """`import std.selective` (library) or `import "mine.scan"` (a file beside this one)."""

    path: str
    is_library: bool


# Blocks and backbones.


@dataclass(frozen=True)
class NetworkFormal(Node):
    """A parameter of a block or backbone: `dim`, `state = 1`, `scan core = cross2d`, `block norm = layer_norm`."""

    name: str
    kind: Literal["number", "scan", "block"] = "number"
    default: Expr | None = None


@dataclass(frozen=True)
class Assignment(Node):
    """`inner = dim * ratio`, `norm = layer_norm(dim)`, `feature stage = vss(dim) * 2`, `features layers = layer(dim) * 24`.

    `feature`: the result is a feature map of the backbone; `features`: that of every repeat.
    """

    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    value: Expr
    feature: Literal["", "feature", "features"] = ""


@dataclass(frozen=True)
class Let(Node):
    """`let x, z = split(y, 2) in x * silu(z)`."""

    names: tuple[Name, ...]
    value: Expr
    body: Body


Body = Let | Expr


@dataclass(frozen=True)
class Forward(Node):
    """`forward x, z = …`."""

    inputs: tuple[Name, ...]
    body: Body


@dataclass(frozen=True)
class BlockDefinition(Node):
    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    formals: tuple[NetworkFormal, ...]
    statements: tuple[Assignment, ...]
    forward: Forward


@dataclass(frozen=True)
class BackboneDefinition(Node):
    """A chain of layers; with `base` the backbone of that name, with other values for some of its formals and statements."""

    name: str
    name_span: Span = field(compare=False, repr=False, kw_only=True)
    formals: tuple[NetworkFormal, ...]
    statements: tuple[Assignment, ...]
    base: Name | None = None


Item = (
    Grid
    | Import
    | OrderDefinition
    | FormulaDefinition
    | RecurrenceDefinition
    | ScanDefinition
    | BlockDefinition
    | BackboneDefinition
)


@dataclass(frozen=True)
class Program(Node):
    items: tuple[Item, ...]
