"""A checked program: every name resolved, every recurrence split into decay and drive, nothing left to look up.

Expressions stay the syntax's (`scanlang.syntax.nodes.Expr`), every name in them known to be in a table here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from scanlang.source import Span
from scanlang.syntax.nodes import Expr, Formal

# Orders: axes are numbers (0 is the slowest of the raster), other orders are inlined.


@dataclass(frozen=True)
class AxisSize:
    """The length of an axis, where a walk takes a size (`by h`)."""

    axis: int


Size = int | AxisSize


@dataclass(frozen=True)
class Whole:
    """The loop over what is left of an axis: `h`."""

    axis: int
    direction: Literal["", "-", "~", "~~"]


@dataclass(frozen=True)
class Tiles:
    """The loop over tiles of an axis: `h by 7`, `h by 7 from 3` (`first` is the length of the first tile)."""

    axis: int
    direction: Literal["", "-", "~", "~~"]
    by: Size
    first: Size | None


@dataclass(frozen=True)
class Phases:
    """The loop over residues of an axis: `h mod 2`."""

    axis: int
    direction: Literal["", "-", "~", "~~"]
    mod: Size


Loop = Whole | Tiles | Phases


@dataclass(frozen=True)
class WalkOrder:
    """Nested loops, the outermost first; checked to visit every axis whole."""

    loops: tuple[Loop, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class FormulaOrder:
    """`parameter` is the step, `axes` the names of the lengths of the axes, `cell` one expression per axis."""

    parameter: str
    axes: tuple[str, ...]
    cell: tuple[Expr, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class ReverseOrder:
    """Reversal in time."""

    of: CheckedOrder
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class TransposeOrder:
    """The same walk on the transposed grid: step t visits (c, r) where the order on the w × h grid visits (r, c)."""

    of: CheckedOrder
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class FlipOrder:
    """Mirrored in space along one axis."""

    of: CheckedOrder
    axis: int
    span: Span = field(compare=False, repr=False)


CheckedOrder = WalkOrder | FormulaOrder | ReverseOrder | TransposeOrder | FlipOrder


@dataclass(frozen=True)
class CheckedOperand:
    """A declared name; its last dimensions run over `indices`. `initial` only for parameters."""

    name: str
    kind: Literal["input", "shared", "param"]
    indices: tuple[str, ...]
    initial: Expr | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Temporary:
    """`dt = …`: a name for a value of this step."""

    name: str
    indices: tuple[str, ...]
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class StateUpdate:
    """`h[n] = decay * h[n] + drive`: neither side of the split mentions the state."""

    name: str
    indices: tuple[str, ...]
    decay: Expr
    drive: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class CheckedRecurrence:
    """`indices` maps an index to the label of its size (`n` → `state`); the last equation is the readout.

    Inside a state's own update its name would mean the old value (gone after the split); elsewhere it is the new one.
    """

    name: str
    formals: tuple[Formal, ...]
    indices: dict[str, str]
    operands: tuple[CheckedOperand, ...]
    equations: tuple[Temporary | StateUpdate, ...]
    readout: str
    span: Span = field(compare=False, repr=False)

    def of_kind(self, kind: Literal["input", "shared", "param"]) -> tuple[CheckedOperand, ...]:
        return tuple(operand for operand in self.operands if operand.kind == kind)


@dataclass(frozen=True)
class Direction:
    """One direction: its order and how the program writes it (`reverse(rows)`)."""

    text: str
    order: CheckedOrder
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Projection:
    """`project low, B, C from x bias`: one learned linear map per direction (or one, if `project` is shared)."""

    names: tuple[str, ...]
    source: str
    bias: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class CheckedScan:
    """`sizes` gives the actual of each label of the recurrence's formals, in terms of this scan's formals.

    `shared` holds what the directions have in common: names of parameters, and `project`.
    A merge expression names `y[k]` (an integer literal index), `sum(k: … y[k] …)` and inputs of the scan.
    """

    name: str
    formals: tuple[Formal, ...]
    inputs: tuple[str, ...]
    directions: tuple[Direction, ...]
    recurrence: CheckedRecurrence
    sizes: dict[str, Expr]
    projections: tuple[Projection, ...]
    shared: frozenset[str]
    merge: Literal["sum", "mean"] | Expr
    span: Span = field(compare=False, repr=False)

    @property
    def projected(self) -> frozenset[str]:
        return frozenset(name for projection in self.projections for name in projection.names)


@dataclass(frozen=True)
class CheckedProgram:
    """`orders` in the order of the text, the named orders of the language not among them."""

    axes: tuple[str, ...]
    orders: dict[str, CheckedOrder]
    recurrences: dict[str, CheckedRecurrence]
    scans: dict[str, CheckedScan]
