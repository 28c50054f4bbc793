"""A checked program: every name resolved, every recurrence split into decay and drive, nothing left to look up.

Expressions stay the syntax's (`scanlang.syntax.nodes.Expr`), every name in them known to be in a table here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from scanlang.source import Source, Span
from scanlang.syntax.nodes import Body, Expr, Formal

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
    """On the grid with its last two axes exchanged: where the order inside visits (r, c) of w × h cells, this visits (c, r)."""

    of: CheckedOrder
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class FlipOrder:
    """Mirrored in space along one axis."""

    of: CheckedOrder
    axis: int
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class CurveOrder:
    """A named order of two axes that is no walk and no formula: its table is made for each size (`maps/curves.py`)."""

    name: Literal["diagonal", "zigzag", "spiral", "hilbert", "morton"]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class RandomOrder:
    """`random(7)`: the same permutation on every machine."""

    seed: int
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class TableOrder:
    """`table("mine.npy")`: for grids of `shape`, or with as many cells as a `shape` of one axis.

    `cells` are the visited cells in time, int64 little-endian (a file of one axis holds them as they are, one with the
    grid's axes holds the step of every cell and was turned round).
    """

    file: str
    shape: tuple[int, ...]
    cells: bytes = field(repr=False)
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class GivenOrder:
    """`order o = input`: a permutation per image, `(B, L)`, an argument of the operator called `name`."""

    name: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class ShiftOrder:
    """Rolled: where the order inside visits (r, c) this visits ((r + dr) % h, (c + dc) % w)."""

    of: CheckedOrder
    offsets: tuple[int, ...]
    span: Span = field(compare=False, repr=False)


Pad = Literal["skip", "decay"]


@dataclass(frozen=True)
class WindowOrder:
    """`outer` over windows of `sizes` cells, `inner` in each.

    `skip`: windows at the end are ragged. `decay`: they are whole, and steps outside the grid are pads.
    """

    inner: CheckedOrder
    sizes: tuple[Size, ...]
    outer: CheckedOrder
    pad: Pad
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class DilateOrder:
    """`of` on the grid of the cells phase + every * i along each axis.

    With `decay` there are ceil(length / every) of them along each, those outside the grid being pads.
    """

    of: CheckedOrder
    every: int
    phase: tuple[int, ...]
    pad: Pad
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class ConcatOrder:
    """One after the other, in one sequence."""

    parts: tuple[CheckedOrder, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class InterleaveOrder:
    """A step of each in turn; longer ones go on alone."""

    parts: tuple[CheckedOrder, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class ResetOrder:
    """State and conv start anew where the coordinate along an axis, or the window, changes."""

    of: CheckedOrder
    every: int | Literal["window"]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Token:
    """`cls at middle`; `number` goes with `index` (before that step), `every` (after so many steps) and `spread` (so many)."""

    name: str
    place: Literal["head", "middle", "tail", "index", "every", "spread"]
    number: Size = 0


@dataclass(frozen=True)
class InsertOrder:
    """Extra steps, for tokens. Places count the steps of the order inside."""

    of: CheckedOrder
    tokens: tuple[Token, ...]
    span: Span = field(compare=False, repr=False)


CheckedOrder = (
    WalkOrder
    | FormulaOrder
    | CurveOrder
    | RandomOrder
    | TableOrder
    | GivenOrder
    | ReverseOrder
    | TransposeOrder
    | FlipOrder
    | ShiftOrder
    | WindowOrder
    | DilateOrder
    | ConcatOrder
    | InterleaveOrder
    | ResetOrder
    | InsertOrder
)


Per = Literal["channel", "unit", "group", "all"]
"""How far one value reaches: one channel; a unit (a head of consecutive channels, or one channel where a recurrence has no
head); a group of consecutive units; all channels."""


@dataclass(frozen=True)
class CheckedOperand:
    """A declared name; its last dimensions run over `indices`, the index of the head not among them.

    `initial` only for parameters.
    `units` is the number of units in a group, or the label of the size that says it (`per` is `group`).
    A `shared param` has no channels; the first of its indices may be `label`, the label of the step.
    """

    name: str
    kind: Literal["input", "shared", "param", "shared param"]
    indices: tuple[str, ...]
    initial: Expr | None
    span: Span = field(compare=False, repr=False)
    per: Per = "channel"
    units: int | str = 1

    @property
    def is_map(self) -> bool:
        """One number for every cell and channel, as the maps of a model are."""
        return self.kind == "input" and self.per == "channel" and not self.indices


@dataclass(frozen=True)
class Temporary:
    """`dt = …`: a name for a value of this step, one for every channel or one for every unit."""

    name: str
    indices: tuple[str, ...]
    value: Expr
    span: Span = field(compare=False, repr=False)
    per: Literal["channel", "unit"] = "channel"


@dataclass(frozen=True)
class StateUpdate:
    """`h[n] = decay * h[n] + drive`: neither side of the split mentions the state."""

    name: str
    indices: tuple[str, ...]
    decay: Expr
    drive: Expr
    span: Span = field(compare=False, repr=False)
    per: Literal["channel", "unit"] = "channel"


@dataclass(frozen=True)
class Scale:
    """`scale m = max(lf + m, i)`: a log-scale that cancels in the readout, so it has no gradient.

    `running`: it reads its own old value (its name in `value`), and is a state that starts at -∞.
    """

    name: str
    indices: tuple[str, ...]
    value: Expr
    running: bool
    span: Span = field(compare=False, repr=False)
    per: Literal["channel", "unit"] = "channel"


@dataclass(frozen=True)
class CheckedRecurrence:
    """`indices` maps an index to the label of its size (`n` → `state`); the last equation is the readout.

    Inside a state's own update its name would mean the old value (gone after the split); elsewhere it is the new one.
    `prev(…)` stays a call in expressions, but for `prev` of a state in its own update, which is the state itself.
    `head` is the index that runs over the channels of a unit, and stands nowhere in what is checked: a value of one channel
    has it without saying so. Its label is always `head`, its size the number of channels of a unit.
    """

    name: str
    formals: tuple[Formal, ...]
    indices: dict[str, str]
    operands: tuple[CheckedOperand, ...]
    equations: tuple[Temporary | StateUpdate | Scale, ...]
    readout: str
    span: Span = field(compare=False, repr=False)
    head: str | None = None

    def of_kind(self, kind: Literal["input", "shared", "param", "shared param"]) -> tuple[CheckedOperand, ...]:
        return tuple(operand for operand in self.operands if operand.kind == kind)

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of each operand."""
        return {operand.name: operand.kind for operand in self.operands}


@dataclass(frozen=True)
class Direction:
    """One direction: its order, how the program writes it (`reverse(rows)`), and where its outputs go, if elsewhere."""

    text: str
    order: CheckedOrder
    span: Span = field(compare=False, repr=False)
    writes: Direction | None = None


@dataclass(frozen=True)
class Projection:
    """`project low, B, C from x bias`: one learned linear map per direction (or one, if `project` is shared)."""

    names: tuple[str, ...]
    source: str
    bias: bool
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Conv:
    """A causal depthwise convolution and SiLU on the first input: in the direction's own time, or `along` another order."""

    width: int
    along: Direction | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Use:
    """`use down = linear(dim, dim // 4, bias = false)`: a layer that a merge calls."""

    name: str
    layer: str
    arguments: tuple[Expr, ...]
    keywords: dict[str, Expr]
    span: Span = field(compare=False, repr=False)


LABELS = ("start", "right", "left", "up", "down", "jump")
"""What `label moves` says of a step: the first of a run, the move from the cell before (right: the last axis grows; down: the
one before it grows), or anything else, moves from and to tokens and pads among them."""

LEARNED = ("param", "shared param")
"""The kinds of operands that are parameters."""

HEAD = "head"
"""The label of the size of a unit: `head p`. Not in `CheckedRecurrence.indices`."""

UNIT, UNITS = "unit", "units"
"""In initial values of a `param`: the number of a unit among those of its direction, from 0, and how many there are."""

DIRECTION = "direction"
"""In initial values: the number of the direction, from 0; 0 where the directions share the parameter."""

LABEL = "label"
"""The index that is the label of the step: the first of a `shared param`, never bound, not in `CheckedRecurrence.indices`."""


@dataclass(frozen=True)
class CheckedScan:
    """`sizes` gives the actual of each label of the recurrence's formals, in terms of this scan's formals.

    `layers` are the directions of each layer in turn: one entry for `directions`, more for `layers cycle` and `layers list`.
    `shared` holds what the directions have in common: names of parameters, `project`, `conv`.
    `split` gives every direction its own channels, in these proportions (equal parts are ones; before `at_layer`, those of the
    first layer). `along` gives the operands that run in another order.
    A merge expression names `y[k]` (an integer literal index), `sum(k: … y[k] …)`, inputs of the scan, what the scan uses,
    and `mean(cells: …)`.
    """

    name: str
    formals: tuple[Formal, ...]
    inputs: tuple[str, ...]
    layers: tuple[tuple[Direction, ...], ...]
    recurrence: CheckedRecurrence
    sizes: dict[str, Expr]
    projections: tuple[Projection, ...]
    shared: frozenset[str]
    merge: Literal["sum", "mean", "max", "concat", "weighted"] | Expr
    span: Span = field(compare=False, repr=False)
    layer_rule: Literal["directions", "cycle", "list"] = "directions"
    whole_backbone: bool = False
    split: tuple[int, ...] | None = None
    conv: Conv | None = None
    along: dict[str, Direction] = field(default_factory=dict)
    labelled: bool = False
    uses: tuple[Use, ...] = ()
    uncovered: bool = False

    @property
    def projected(self) -> frozenset[str]:
        return frozenset(name for projection in self.projections for name in projection.names)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those of the first layer: of every layer, unless the scan says `layers`."""
        return self.layers[0]

    def at_layer(self, layer: int) -> CheckedScan:
        """The scan of one layer: `cycle` starts again after the last, `list` has one entry per layer."""
        chosen = self.layers[layer % len(self.layers) if self.layer_rule != "list" else layer]
        split = (1,) * len(chosen) if self.split is not None and set(self.split) == {1} else self.split
        return replace(self, layers=(chosen,), layer_rule="directions", split=split)


# Blocks and backbones: what they call is resolved, so that a block of another file brings its own scans along.


@dataclass(frozen=True)
class Word:
    """A layer of the vocabulary (`scanlang.networks.vocabulary`): `linear`."""

    name: str


@dataclass(frozen=True)
class FormalCallee:
    """What the caller of the block gives for a formal `scan core` or `block norm`."""

    name: str


@dataclass(frozen=True)
class NetworkFormal:
    """`default` is a `Callee` of kind `scan` and `block`, an expression of kind `number`, None where there is none."""

    name: str
    kind: Literal["number", "scan", "block"]
    default: Argument | None
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class CheckedNumber:
    """`inner = dim * ratio`."""

    name: str
    value: Expr
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class CheckedLayer:
    """`norm = layer_norm(dim)`, `stage = vss(dim, core = core) * depth`."""

    name: str
    callee: Callee
    arguments: tuple[Argument, ...]
    keywords: dict[str, Argument]
    repeat: Expr | None
    span: Span = field(compare=False, repr=False)
    feature: Literal["", "feature", "features"] = ""


CheckedStatement = CheckedNumber | CheckedLayer


@dataclass(frozen=True)
class CheckedBlock:
    """Statements in the order of the text; a value uses formals and numbers above it. `body` calls layers and functions."""

    name: str
    formals: tuple[NetworkFormal, ...]
    statements: tuple[CheckedStatement, ...]
    inputs: tuple[str, ...]
    body: Body
    span: Span = field(compare=False, repr=False)


Callee = Word | FormalCallee | CheckedScan | CheckedBlock
Argument = Expr | Callee
"""A number, or a scan or block for a formal that wants one."""


@dataclass(frozen=True)
class CheckedBackbone:
    """A chain of layers, each applied to what the one above it makes; `base` only says whose variant it is: everything that it
    has from there is in `formals` and `statements`."""

    name: str
    formals: tuple[NetworkFormal, ...]
    statements: tuple[CheckedStatement, ...]
    span: Span = field(compare=False, repr=False)
    base: str | None = None


@dataclass(frozen=True)
class CheckedProgram:
    """`orders` in the order of the text, the named orders of the language not among them.

    `source` is the text of the file itself, without what it imports; None where a program was made without one.
    `files` are the texts of the user's files that it imports, `tables` the arrays that these and it take orders from, both by
    their place below the program's folder as imports name it: what must go along where the program goes.
    """

    axes: tuple[str, ...]
    orders: dict[str, CheckedOrder]
    recurrences: dict[str, CheckedRecurrence]
    scans: dict[str, CheckedScan]
    blocks: dict[str, CheckedBlock] = field(default_factory=dict)
    backbones: dict[str, CheckedBackbone] = field(default_factory=dict)
    source: Source | None = field(default=None, compare=False, repr=False)
    files: dict[str, str] = field(default_factory=dict, compare=False, repr=False)
    tables: dict[str, NDArray[np.integer]] = field(default_factory=dict, compare=False, repr=False)
