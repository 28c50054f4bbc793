"""S112 … S119, S143 … S151: how an order is written. S2xx: what it visits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
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


@dataclass(frozen=True)
class OrderNeedsAxes(Diagnostic):
    """`needed` is `two axes` or `two axes or more`."""

    code: ClassVar[str] = "S143"
    order: str
    needed: str
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
Curves and diagonals are orders of a grid of two axes, and turning needs two axes at least. `raster`, `columns`, `snake`,
`random` and walks are there for any number of axes.

```
grid t, h, w
order o = hilbert    # wrong
```
```
grid t, h, w
order o = snake    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.order}` needs {self.needed}"

    @property
    def label(self) -> str:
        return f"this grid has {len(self.axes)}: {listed(self.axes)}"


@dataclass(frozen=True)
class GivenOrderInside(Diagnostic):
    """`function` cannot be applied to the order called `name`."""

    code: ClassVar[str] = "S144"
    function: str
    name: str
    explanation: ClassVar[str] = """\
An order given at run time (`order o = input`) is a table of cells, one for each image. It can be run backwards and joined
with others in time: `reverse`, `insert`, `concat` and `interleave`. Where its cells lie is not known before.

```
order mine = input
order other = flip(mine, w)    # wrong
```
```
order mine = input
order other = reverse(mine)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.function}` cannot be applied to `{self.name}`, which is given at run time"

    @property
    def label(self) -> str:
        return "its cells are not known before"

    @property
    def help(self) -> str | None:
        return "`reverse`, `insert`, `concat` and `interleave` can; do the rest in torch, to the table that is given"


@dataclass(frozen=True)
class NoWindows(Diagnostic):
    code: ClassVar[str] = "S145"
    explanation: ClassVar[str] = """\
`reset(order, every window)` starts anew in every window of a `window(…)` order, or in every tile of a walk that has `by` loops.

```
order o = reset(raster, every window)    # wrong
```
```
order o = reset(window(raster, 7, 7), every window)    # right
```"""

    @property
    def title(self) -> str:
        return "`every window` of an order without windows"

    @property
    def label(self) -> str:
        return "this order is neither `window(…)` nor a walk with `by` loops"


@dataclass(frozen=True)
class InterleavedResets(Diagnostic):
    code: ClassVar[str] = "S146"
    explanation: ClassVar[str] = """\
`interleave` takes a step of each order in turn, with one state for all of them, so it cannot start anew where one of them does.

```
order o = interleave(reset(raster, every h), columns)    # wrong
```
```
order o = reset(interleave(raster, columns), every h)    # right: it starts anew where the row changes
```"""

    @property
    def title(self) -> str:
        return "`interleave` of an order with resets"

    @property
    def label(self) -> str:
        return "one state runs through all orders, so it cannot start anew for this one"


@dataclass(frozen=True)
class NoOrder(Diagnostic):
    """`name` is a word for something that is `reason`; `instead` says what can be done."""

    code: ClassVar[str] = "S147"
    name: str
    reason: str
    instead: str
    explanation: ClassVar[str] = """\
An order visits the cells of one grid, in a sequence that is known when the program is compiled, or given as a table at run
time. What depends on the data is computed in torch, before the scan.

```
order o = sort(x)    # wrong
```
```
order o = input    # right: o = torch.argsort(key) is given to the operator
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` is no order"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return self.instead


@dataclass(frozen=True)
class TableNotRead(Diagnostic):
    code: ClassVar[str] = "S148"
    file: str
    reason: str
    explanation: ClassVar[str] = """\
A table is a file of one array of integers, written by `numpy.save`. It lies in the folder of the program that names it, or
in a folder below, so a program given as text has none. Nothing else is read, and nothing is unpickled.

```
order o = table("../orders/mine.npy")    # wrong
```
```
order o = table("orders/mine.npy")    # right: with the folder orders beside the program
```"""

    @property
    def title(self) -> str:
        return f'cannot read the table "{self.file}"'

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class TableNotAPermutation(Diagnostic):
    """The entry at `place` is `value`: outside 0 … `cells` - 1, or the same as at `first` (so that `missing` is not there)."""

    code: ClassVar[str] = "S149"
    file: str
    place: tuple[int, ...]
    value: int
    cells: int
    first: tuple[int, ...] | None = None
    missing: int | None = None
    explanation: ClassVar[str] = """\
A table holds every whole number from 0 once. With one axis, it is the raster index of the cell visited at every step; with the
axes of the grid, the step at which every cell is visited.

```
numpy.save("mine.npy", [[0, 1, 2], [3, 4, 6]])    # wrong: 2 · 3 cells are 0 … 5
```
```
numpy.save("mine.npy", [[0, 1, 2], [5, 4, 3]])    # right
```"""

    @property
    def title(self) -> str:
        return f'the table "{self.file}" does not visit every cell exactly once'

    @property
    def label(self) -> str:
        if self.first is None:
            return f"entry {shown(self.place)} is {self.value}, not one of 0 … {self.cells - 1}"
        return f"entries {shown(self.first)} and {shown(self.place)} are both {self.value}, none is {self.missing}"

    @property
    def help(self) -> str | None:
        if len(self.place) == 1:
            return "a table of one axis holds the raster index of the cell visited at every step"
        return "a table with the axes of the grid holds the step at which every cell is visited"


@dataclass(frozen=True)
class TableAxes(Diagnostic):
    code: ClassVar[str] = "S150"
    file: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
A table has one axis (the cells in the sequence of the visits, for every grid of so many cells) or those of the grid (the
step of every cell, for grids of that shape only).

```
numpy.save("mine.npy", steps[None, :, :])    # wrong: three axes, on grid h, w
```
```
numpy.save("mine.npy", steps)    # right
```"""

    @property
    def title(self) -> str:
        return f'the table "{self.file}" does not have the axes of the grid'

    @property
    def label(self) -> str:
        shape = " × ".join(str(length) for length in self.shape) or "no axis"
        wanted = "1 axis" if len(self.axes) == 1 else f"1 axis or {len(self.axes)}, {listed(self.axes)}"
        return f"it has {shape}, not {wanted}"


@dataclass(frozen=True)
class ImportedAxes(Diagnostic):
    """The orders and scans of `path` are on `count` axes."""

    code: ClassVar[str] = "S151"
    path: str
    count: int
    axes: tuple[str, ...]
    explanation: ClassVar[str] = """\
The axes of orders and scans that a file brings in are matched by their position, not by their name, so both grids have the same
number of axes. Recurrences have no grid: a file that holds only these fits everywhere.

```
grid t, h, w
import "two.scan"    # wrong: two.scan has grid h, w
```
```
grid y, x
import "two.scan"    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.path}` has a grid of {counted_axes(self.count)}, this file one of {counted_axes(len(self.axes))}"

    @property
    def label(self) -> str:
        return f"its orders and scans cannot be used on {listed(self.axes)}"


def counted_axes(count: int) -> str:
    """`1 axis`, `3 axes`."""
    return f"{count} ax{'is' if count == 1 else 'es'}"


Sizes = tuple[tuple[str, int], ...]


def at_sizes(sizes: Sizes, part: tuple[int, ...] | None = None) -> str:
    """`when h = 2, w = 3`; `part` is the size of the window or subgrid it is about, if not of the whole."""
    where = "" if part is None else f"on the part of {by_lengths(part)} cells "
    return f"{where}when " + ", ".join(f"{name} = {value}" for name, value in sizes)


def by_lengths(lengths: Iterable[int]) -> str:
    """`2 × 3`."""
    return " × ".join(f"{length}" for length in lengths)


def shown(cell: tuple[int, ...]) -> str:
    """`(1, 2)`; on a grid of one axis `5`."""
    return f"{cell[0]}" if len(cell) == 1 else f"{cell}"


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
    cell: tuple[int, ...]
    unvisited: tuple[int, ...]
    sizes: Sizes
    hint: str | None = None

    @property
    def title(self) -> str:
        return f"order `{self.order}` does not visit every cell exactly once"

    @property
    def label(self) -> str:
        first, second = self.steps
        meeting = f"steps {first} and {second} both visit cell {shown(self.cell)} {at_sizes(self.sizes)}"
        return f"{meeting}; none visits {shown(self.unvisited)}"

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
    cell: tuple[int, ...]
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"order `{self.order}` leaves the grid"

    @property
    def label(self) -> str:
        grid = by_lengths(length for _, length in self.sizes)
        return f"step {self.step} is sent to {shown(self.cell)}, outside the {grid} grid"


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
A grid has at least one cell along each axis of the program's grid and at most 2³¹ cells. A formula that is not proved for every
size is checked step by step, and orders that are no walks are made so, on grids of at most 2²⁶ cells.

```
scanlang.load("shifted.scan", sizes=[(0, 14)])              # wrong: no cells
scanlang.load("shifted.scan", sizes=[(40_000, 40_000)])     # wrong for a formula without a proof
```
```
scanlang.load("shifted.scan", sizes=[(14, 14)])             # right
```"""
    order: str
    size: tuple[int, ...]
    most: int
    axes: tuple[str, ...]
    unproved: bool = False

    @property
    def title(self) -> str:
        return f"order `{self.order}` cannot have a grid of {by_lengths(self.size)}"

    @property
    def label(self) -> str:
        if len(self.size) != len(self.axes):
            count = "1 axis" if len(self.axes) == 1 else f"{len(self.axes)} axes"
            return f"the program's grid has {count}, {listed(self.axes)}"
        if min(self.size) < 1:
            return "a grid has at least one cell along each axis"
        if self.unproved:
            return f"not proved, and {prod(self.size):,} steps are more than the {self.most:,} that can be checked"
        return f"a grid has at most {self.most:,} cells, this one has {prod(self.size):,}"

    @property
    def help(self) -> str | None:
        return "an order written as a `walk` needs no check" if self.unproved else None


@dataclass(frozen=True)
class TokenBeyondEnd(Diagnostic):
    """`steps` are those of the order around the token; `part` is the size of the window or subgrid it is in."""

    code: ClassVar[str] = "S206"
    explanation: ClassVar[str] = """\
`insert(o, cls at 98)` puts a token before step 98 of `o`, so `o` has at least 98 steps. Whether it has depends on the
size of the grid; `head`, `middle` and `tail` are there at every size.

```
order seq = insert(raster, cls at 98)        # wrong on a 7 × 7 grid
```
```
order seq = insert(raster, cls at middle)    # right on every grid: step 98 where there are 196 or 197
```"""
    order: str
    token: str
    place: int
    steps: int
    sizes: Sizes
    part: tuple[int, ...] | None = None

    @property
    def title(self) -> str:
        return f"order `{self.order}` has no step {self.place} to put `{self.token}` before"

    @property
    def label(self) -> str:
        return f"{steps_counted(self.steps)} {at_sizes(self.sizes, self.part)}"


@dataclass(frozen=True)
class SpreadTooWide(Diagnostic):
    """`count` tokens among `steps` steps."""

    code: ClassVar[str] = "S207"
    explanation: ClassVar[str] = """\
`insert(o, reg at spread 12)` puts one of 12 tokens after every J // 13 steps of an order of J steps, which has at least 12
of them. `reg at every 16` puts in as many tokens as there is room for.

```
order seq = insert(raster, reg at spread 12)    # wrong on a 3 × 3 grid
```
```
order seq = insert(raster, reg at every 16)     # right on every grid
```"""
    order: str
    token: str
    count: int
    steps: int
    sizes: Sizes
    part: tuple[int, ...] | None = None

    @property
    def title(self) -> str:
        return f"order `{self.order}` has fewer steps than tokens `{self.token}` to spread among them"

    @property
    def label(self) -> str:
        return f"{self.count} tokens, {steps_counted(self.steps)} {at_sizes(self.sizes, self.part)}"


def steps_counted(steps: int) -> str:
    """`1 step`, `7 steps`."""
    return "1 step" if steps == 1 else f"{steps} steps"


@dataclass(frozen=True)
class TableSize(Diagnostic):
    """`shape` is that of the table in `file`."""

    code: ClassVar[str] = "S208"
    explanation: ClassVar[str] = """\
A table is an order of one grid: of the grid that its shape tells, or, with one axis, of all grids of as many cells. Inside
`window` and `dilate` it must fit the window or the subgrid, so windows at the end of the grid are whole.

```
order mine = table("steps_14x14.npy")                           # wrong on a 7 × 7 grid
order tiled = window(table("steps_2x2.npy"), 2, 2)              # wrong on a 7 × 7 grid: the last windows have 1 × 2 cells
```
```
order mine = table("steps_14x14.npy")                           # right on a 14 × 14 grid
order tiled = window(table("steps_2x2.npy"), 2, 2, pad=decay)   # right on every grid
```"""
    order: str
    file: str
    shape: tuple[int, ...]
    sizes: Sizes
    part: tuple[int, ...] | None = None

    @property
    def title(self) -> str:
        if len(self.shape) == 1:
            return f'order `{self.order}`: the table "{self.file}" is for grids of {self.shape[0]} cells'
        return f'order `{self.order}`: the table "{self.file}" is for {by_lengths(self.shape)} grids'

    @property
    def label(self) -> str:
        if self.part is None:
            return f"this grid is {by_lengths(length for _, length in self.sizes)}"
        return f"here it is to visit {by_lengths(self.part)} cells, {at_sizes(self.sizes)}"


@dataclass(frozen=True)
class LengthsDiffer(Diagnostic):
    """`route` is the order that a stream of `direction` runs along, or that its outputs go to."""

    code: ClassVar[str] = "S209"
    explanation: ClassVar[str] = """\
A stream that runs `along` another order is read at that order's step t while the direction is at its own step t, so the two
have as many steps as each other; likewise where a direction `writes` another order.

```
operands B along raster         # wrong for directions such as insert(raster, cls at head): one step more
```
```
operands B along columns        # right for directions such as raster
```"""
    route: str
    direction: str
    route_steps: int
    steps: int
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"`{self.route}` has not as many steps as the direction `{self.direction}`"

    @property
    def label(self) -> str:
        return f"{steps_counted(self.route_steps)}, the direction has {self.steps}, {at_sizes(self.sizes)}"


@dataclass(frozen=True)
class UncoveredCell(Diagnostic):
    """No direction of `scan` visits `cell`; `layer` is the layer's number where there are several."""

    code: ClassVar[str] = "S210"
    explanation: ClassVar[str] = """\
The directions of a scan together visit every cell of the grid, else the scan's output would be 0 where none of them has been.
A scan that is meant to leave cells out says `uncovered = 0`.

```
scan half(dim) {
  directions dilate(raster, 2), dilate(raster, 2, phase = (1, 1))       # wrong: two of four phases
  …
```
```
scan half(dim) {
  directions dilate(raster, 2), dilate(raster, 2, phase = (1, 1))
  uncovered = 0                                                         # right: what they do not visit is 0
  …
```"""
    scan: str
    directions: tuple[str, ...]
    layer: int | None
    cell: tuple[int, ...]
    sizes: Sizes

    @property
    def title(self) -> str:
        layer = "" if self.layer is None else f" in layer {self.layer}"
        return f"no direction of `{self.scan}` visits every cell{layer}, nor do all of them together"

    @property
    def label(self) -> str:
        return f"none visits {shown(self.cell)} {at_sizes(self.sizes)}"

    @property
    def help(self) -> str | None:
        return f"add a direction that goes there (now: {listed(self.directions)}), or say `uncovered = 0`"


@dataclass(frozen=True)
class TooManySteps(Diagnostic):
    """`steps` where at most `most` are made one by one."""

    code: ClassVar[str] = "S211"
    explanation: ClassVar[str] = """\
Orders made of others by `window`, `dilate`, `concat`, `interleave` or `insert` are made step by step, at most 2²⁶ of them.
Windows with `pad = decay` are whole even where the grid is smaller, and `concat` doubles quickly.

```
order far = window(raster, 10000, 10000, pad = decay)       # wrong: 10⁸ steps on the smallest grid
```
```
order near = window(raster, 10000, 10000, pad = skip)       # right: only what is in the grid
```"""
    order: str
    steps: int
    most: int
    sizes: Sizes

    @property
    def title(self) -> str:
        return f"order `{self.order}` has too many steps"

    @property
    def label(self) -> str:
        return f"{self.steps:,} steps {at_sizes(self.sizes)}, at most {self.most:,} can be made"


@dataclass(frozen=True)
class MixedWithGiven(Diagnostic):
    """`given` is the name of the order that comes at run time."""

    code: ClassVar[str] = "S212"
    explanation: ClassVar[str] = """\
An order given at run time is a table for every image, and the steps of a direction are looked up in that table. So one
direction goes by one such table, and all of its cells come from it; other orders are other directions.

```
order mine = input
scan both(dim) {
  directions concat(raster, mine)       # wrong: some steps are cells, others places in a table
  …
```
```
order mine = input
scan both(dim) {
  directions raster, concat(mine, reverse(mine))    # right
  …
```"""
    order: str
    given: str

    @property
    def title(self) -> str:
        return f"order `{self.order}` joins `{self.given}`, which is given at run time, with another order"

    @property
    def label(self) -> str:
        return f"all steps of a direction are looked up in `{self.given}`, or none"

    @property
    def help(self) -> str | None:
        return "make them directions of their own, or join the tables in torch and give the whole"
