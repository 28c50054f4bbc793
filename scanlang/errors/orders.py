"""S112 … S119: how an order is written. S2xx: what it visits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import listed
from scanlang.source import Span


@dataclass(frozen=True)
class RecursiveOrder(Diagnostic):
    """`chain` is the orders, each defined by the next, the last the same as the first."""

    code: ClassVar[str] = "S112"
    chain: tuple[str, ...]
    explanation: ClassVar[str] = """\
An order was defined by itself, directly or through others, so it says nothing.

```
order a = reverse(a)    # wrong
```
```
order a = reverse(raster)    # right
```"""

    @property
    def title(self) -> str:
        return f"order `{self.chain[0]}` is defined by itself"

    @property
    def label(self) -> str:
        return " is defined by ".join(f"`{name}`" for name in self.chain)


@dataclass(frozen=True)
class WrongCall(Diagnostic):
    """`expected` is how the function is called (`flip(order, axis)`), `given` what is wrong here."""

    code: ClassVar[str] = "S113"
    function: str
    expected: str
    given: str
    explanation: ClassVar[str] = """\
A function was called with the wrong number or kind of arguments.

```
order mirrored = flip(rows)    # wrong
```
```
order mirrored = flip(rows, w)    # right
```"""

    @property
    def title(self) -> str:
        return f"wrong arguments for `{self.function}`"

    @property
    def label(self) -> str:
        return self.given

    @property
    def help(self) -> str | None:
        return f"it is called as `{self.expected}`"


@dataclass(frozen=True)
class WalkMissesAxis(Diagnostic):
    code: ClassVar[str] = "S114"
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
A walk needs a loop for every axis of the grid, else it does not visit every cell.

```
order rows = walk w    # wrong: on grid h, w
```
```
order rows = walk h, w    # right
```"""

    @property
    def title(self) -> str:
        return f"the walk misses axis {listed(self.axes)}"

    @property
    def label(self) -> str:
        return f"no loop over {listed(self.axes, 'or')}"


@dataclass(frozen=True)
class WalkRepeatsAxis(Diagnostic):
    code: ClassVar[str] = "S115"
    axis: str
    first: Span
    explanation: ClassVar[str] = """\
A loop over the whole of an axis leaves nothing of it for a later loop, so it comes last of the loops over that axis
and only once. Loops outside it split the axis with `by` or `mod`.

```
walk h, w, h    # wrong
```
```
walk h by 4, w, h    # right
```"""

    @property
    def title(self) -> str:
        return f"the walk loops over axis `{self.axis}` again after all of it was visited"

    @property
    def label(self) -> str:
        return f"nothing of `{self.axis}` is left here"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, f"this loop visits what is left of `{self.axis}`"),)


@dataclass(frozen=True)
class WalkMissesInnerLoop(Diagnostic):
    """`loop` is as written (`h by 7`)."""

    code: ClassVar[str] = "S116"
    axis: str
    loop: str
    explanation: ClassVar[str] = """\
`h by 7` goes from tile to tile and `h mod 2` from residue to residue; the cells inside are visited by a plain loop
over the same axis further in.

```
walk h by 7, w    # wrong
```
```
walk h by 7, w, h    # right
```"""

    @property
    def title(self) -> str:
        return f"the walk has no loop inside `{self.loop}`"

    @property
    def label(self) -> str:
        return f"only the first `{self.axis}` of each would be visited"

    @property
    def help(self) -> str | None:
        return f"add a loop over `{self.axis}` further in: `{self.loop}, ..., {self.axis}`"


@dataclass(frozen=True)
class WalkSize(Diagnostic):
    code: ClassVar[str] = "S117"
    value: str
    reason: str
    explanation: ClassVar[str] = """\
The sizes of a walk's loops are positive integers or axes, and the first tile (`from`) is at most as long as the
others (`by`).

```
walk h, w by 4 from 6, w    # wrong
```
```
walk h, w by 4 from 2, w    # right
```"""

    @property
    def title(self) -> str:
        return f"a loop of a walk cannot have the size {self.value}"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class SnakeOutermost(Diagnostic):
    code: ClassVar[str] = "S118"
    axis: str
    direction: str
    explanation: ClassVar[str] = """\
`~w` runs backwards in every second iteration of the loop directly around it (`~~w`: at every second run), so the
outermost loop of a walk cannot have it.

```
walk ~h, w    # wrong
```
```
walk h, ~w    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.direction}{self.axis}` has no loop around it"

    @property
    def label(self) -> str:
        return "the outermost loop runs once, so there is nothing to turn around for"

    @property
    def help(self) -> str | None:
        return f"`-{self.axis}` runs backwards, `{self.axis}` forwards"


@dataclass(frozen=True)
class FormulaCell(Diagnostic):
    code: ClassVar[str] = "S119"
    name: str
    count: int
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
A formula order gives one coordinate for each axis of the grid.

```
order f(t) = (t)    # wrong: on grid h, w
```
```
order f(t) = (t // w, t % w)    # right
```"""

    @property
    def title(self) -> str:
        coordinates = "1 coordinate" if self.count == 1 else f"{self.count} coordinates"
        return f"order `{self.name}` gives {coordinates} for {len(self.axes)} axes"

    @property
    def label(self) -> str:
        return f"it needs one for each of {listed(self.axes)}"


Sizes = tuple[tuple[str, int], ...]


def at_sizes(sizes: Sizes) -> str:
    """`when h = 2, w = 3`."""
    return "when " + ", ".join(f"{name} = {value}" for name, value in sizes)


@dataclass(frozen=True)
class NotABijection(Diagnostic):
    """Both `steps` visit `cell`, so some cell, such as `unvisited`, is never visited."""

    code: ClassVar[str] = "S201"
    explanation: ClassVar[str] = """\
An order visits every cell of the grid exactly once. A formula is proved to do so, or checked on many sizes; the message
shows the smallest grid on which two steps meet, and a cell that is missed.

```
order cols(t) = (t % h, t // w)        # wrong: right only where h = w
```
```
order cols(t) = (t % h, t // h)        # right: the same as `columns`
```"""
    order: str
    steps: tuple[int, int]
    cell: tuple[int, int]
    unvisited: tuple[int, int]
    sizes: Sizes
    hint: str | None = None

    @property
    def title(self) -> str:
        return f"order `{self.order}` does not visit every cell exactly once"

    @property
    def label(self) -> str:
        first, second = self.steps
        meeting = f"steps {first} and {second} both visit cell {self.cell} {at_sizes(self.sizes)}"
        return f"{meeting}; none visits {self.unvisited}"

    @property
    def help(self) -> str | None:
        return self.hint


@dataclass(frozen=True)
class OutOfTheGrid(Diagnostic):
    code: ClassVar[str] = "S202"
    explanation: ClassVar[str] = """\
A formula sends every step 0 … h·w - 1 to a cell whose first coordinate is 0 … h - 1 and whose second is 0 … w - 1.

```
order shifted(t) = (t // w, t % w + 1)          # wrong: beyond the last column
```
```
order shifted(t) = (t // w, (t % w + 1) % w)    # right: it comes in again at the first
```"""
    order: str
    step: int
    cell: tuple[int, int]
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"order `{self.order}` leaves the grid"

    @property
    def label(self) -> str:
        grid = " × ".join(str(value) for _, value in self.sizes)
        return f"step {self.step} is sent to {self.cell}, outside the {grid} grid"


@dataclass(frozen=True)
class FormulaDividesByZero(Diagnostic):
    """`divisor` is its text; the span is its place."""

    code: ClassVar[str] = "S203"
    explanation: ClassVar[str] = """\
`//` and `%` need a divisor other than 0, at every size of 1 or more and at every step. Only the branch of `where` that is
taken counts.

```
order f(t) = (t // w, t % (w - 1))                      # wrong: w may be 1
```
```
order f(t) = (t // w, where(w > 1, w - 1 - t % w, 0))   # right: no division by w - 1
```"""
    order: str
    divisor: str
    step: int
    parameter: str
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"order `{self.order}` divides by zero"

    @property
    def label(self) -> str:
        return f"`{self.divisor}` is 0 at {self.parameter} = {self.step} {at_sizes(self.sizes)}"


@dataclass(frozen=True)
class FormulaTooLarge(Diagnostic):
    """`part` is the text of the smallest part that may be too large, `most` how far from 0 it may get."""

    code: ClassVar[str] = "S204"
    explanation: ClassVar[str] = """\
Formulas are computed in 64-bit integers. A part of one is refused at a size where its value might not fit into 62 bits.

```
order f(t) = (t * t * t * t * t * t * t % h, t // h)      # wrong on large grids
```
```
order f(t) = (t % h, t // h)                              # right
```"""
    order: str
    part: str
    most: int
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"order `{self.order}` computes numbers that are too large"

    @property
    def label(self) -> str:
        digits = self.most.bit_length()
        return f"`{self.part}` may need {digits} bits {at_sizes(self.sizes)}, at most 62 are allowed"


@dataclass(frozen=True)
class GridSize(Diagnostic):
    """`most` is how many cells there may be; `unproved` where that is because every step would have to be checked."""

    code: ClassVar[str] = "S205"
    explanation: ClassVar[str] = """\
A grid has at least one cell along each axis and at most 2³¹ cells. A formula that is not proved for every size is checked
step by step, on grids of at most 2²⁶ cells.

```
scanlang.load("shifted.scan", sizes=[(0, 14)])              # wrong: no cells
scanlang.load("shifted.scan", sizes=[(40_000, 40_000)])     # wrong for a formula without a proof
```
```
scanlang.load("shifted.scan", sizes=[(14, 14)])             # right
```"""
    order: str
    size: tuple[int, int]
    most: int
    unproved: bool = False

    @property
    def title(self) -> str:
        height, width = self.size
        return f"order `{self.order}` cannot have a grid of {height} × {width}"

    @property
    def label(self) -> str:
        height, width = self.size
        if min(self.size) < 1:
            return "a grid has at least one cell along each axis"
        if self.unproved:
            return f"not proved, and {height * width:,} steps are more than the {self.most:,} that can be checked"
        return f"a grid has at most {self.most:,} cells, this one has {height * width:,}"

    @property
    def help(self) -> str | None:
        return "an order written as a `walk` needs no check" if self.unproved else None
