"""The catalogue of what can be wrong with a program: one frozen class per code, the values it shows as fields.

S0xx text and syntax, S1xx names, arity, axes and linearity, S2xx orders, S3xx shapes of a program, S4xx schedules,
S5xx the arguments of a call. `explanation` is markdown, shown by `scanlang explain CODE` and in docs/errors.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.source import Span


def one_of(words: tuple[str, ...]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


# ---- S0xx: text and syntax


@dataclass(frozen=True)
class UnexpectedText(Diagnostic):
    """`found` is the text as it stands, `expected` are user words, `opened` the bracket that is still open."""

    code: ClassVar[str] = "S001"
    explanation: ClassVar[str] = """\
The text does not follow the grammar here. The message lists what could stand in this place.

```
ordr rows = walk h, w        # wrong: no item begins with `ordr`
```
```
order rows = walk h, w       # right
```"""
    found: str
    expected: tuple[str, ...]
    suggestion: str | None = None
    opened: Span | None = None

    @property
    def title(self) -> str:
        return f"unexpected {self.found}"

    @property
    def label(self) -> str:
        return f"expected {one_of(self.expected)}" if self.expected else "this cannot stand here"

    @property
    def help(self) -> str | None:
        return self.suggestion

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.opened, "still open"),) if self.opened else ()


@dataclass(frozen=True)
class UnexpectedEnd(Diagnostic):
    code: ClassVar[str] = "S002"
    explanation: ClassVar[str] = """\
The program ends in the middle of something, often because a bracket is not closed.

```
scan cross(dim) {
  directions rows            # wrong: the brace is still open at the end
```
```
scan cross(dim) {
  directions rows
  recur selective(state = 1)
}                            # right
```"""
    expected: tuple[str, ...]
    opened: Span | None = None

    @property
    def title(self) -> str:
        return "the program ends too early"

    @property
    def label(self) -> str:
        return f"expected {one_of(self.expected)}"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.opened, "still open"),) if self.opened else ()


@dataclass(frozen=True)
class ForeignCharacter(Diagnostic):
    """`character` is its description, such as "the control character U+0000"."""

    code: ClassVar[str] = "S003"
    explanation: ClassVar[str] = """\
Names are made of the letters a to z and A to Z, digits and `_`. Letters of other alphabets can stand in comments and in
file names; control characters and characters that reorder text on the screen can stand nowhere.

```
order größe = walk h, w      # wrong
```
```
order groesse = walk h, w    # right: größe
```"""
    character: str
    reason: str

    @property
    def title(self) -> str:
        return f"{self.character} cannot stand here"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class NotText(Diagnostic):
    """The span is where the text that could be read ends."""

    code: ClassVar[str] = "S004"
    explanation: ClassVar[str] = """\
A `.scan` file is text in UTF-8. This file has bytes that are not: it may be binary, or saved in another encoding.

```
# Gr\\xf6\\xdfe                  wrong: saved as Latin-1
```
```
# Größe                       right: saved as UTF-8
```"""
    byte: int
    offset: int

    @property
    def title(self) -> str:
        return "the file is not UTF-8 text"

    @property
    def label(self) -> str:
        return f"byte 0x{self.byte:02x} at offset {self.offset} cannot be decoded"

    @property
    def help(self) -> str | None:
        return "save the file as UTF-8"


@dataclass(frozen=True)
class ProgramTooLong(Diagnostic):
    code: ClassVar[str] = "S005"
    explanation: ClassVar[str] = """\
A program's length is bounded (1 MB of text, 20,000 words and signs in one file), so that reading it takes bounded
time.

```
order r0 = walk h, w  order r1 = walk h, w  …        # wrong: thousands of these
```
```
import "first_half.scan"                             # right: only what the scan uses, or several files
```"""
    limit: int
    unit: str

    @property
    def title(self) -> str:
        return f"the program has more than {self.limit:,} {self.unit}"

    @property
    def label(self) -> str:
        return f"beyond the first {self.limit:,}"


@dataclass(frozen=True)
class NestedTooDeeply(Diagnostic):
    """`limit` levels are allowed, of brackets or of operators inside each other."""

    code: ClassVar[str] = "S006"
    explanation: ClassVar[str] = """\
Brackets may be nested 64 levels deep, and operators and calls in one expression 128 levels; a sum of many terms
counts a level per term.

```
y = ((((((… x …))))))        # wrong: 65 brackets
```
```
a = (((… x …)))              # right: parts with names of their own
y = (((… a …)))
```"""
    limit: int
    of: str

    @property
    def title(self) -> str:
        return f"{self.of} nested more than {self.limit} levels deep"

    @property
    def label(self) -> str:
        return f"level {self.limit + 1} is here"


@dataclass(frozen=True)
class NumberOutOfRange(Diagnostic):
    code: ClassVar[str] = "S007"
    explanation: ClassVar[str] = """\
An integer is at most 2147483647, and a number with a point or an exponent must be finite in double precision.

```
param D = 1e999              # wrong: infinite in double precision
```
```
param D = 1e9                # right
```"""
    reason: str

    @property
    def title(self) -> str:
        return "the number is too large"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class NotSupportedYet(Diagnostic):
    """`what` is the construct with its backquotes, such as "`block`"."""

    code: ClassVar[str] = "S008"
    explanation: ClassVar[str] = """\
The language has, or will have, this construct, but this version of the compiler does not read it yet.

```
order tiles = window(raster, 7, 7)                 # wrong in this version
```
```
order tiles = walk h by 7, w by 7, h, w            # right: the same order as loops
```"""
    what: str
    hint: str | None = None

    @property
    def title(self) -> str:
        return f"not in this version of the language: {self.what}"

    @property
    def label(self) -> str:
        return "not supported yet"

    @property
    def help(self) -> str | None:
        return self.hint


@dataclass(frozen=True)
class MisplacedComparison(Diagnostic):
    code: ClassVar[str] = "S009"
    explanation: ClassVar[str] = """\
A comparison is a condition, not a number. It stands only as the first argument of `where`.

```
y = (x > 0) * x              # wrong
```
```
y = where(x > 0, x, 0)       # right
```"""
    operator: str

    @property
    def title(self) -> str:
        return f"the comparison `{self.operator}` stands outside `where`"

    @property
    def label(self) -> str:
        return "a comparison can only be the first argument of `where`"


@dataclass(frozen=True)
class ChainedComparison(Diagnostic):
    code: ClassVar[str] = "S010"
    explanation: ClassVar[str] = """\
Comparisons cannot be chained.

```
y = where(0 < x < 1, x, 0)                  # wrong
```
```
y = where(0 < x, where(x < 1, x, 0), 0)     # right
```"""

    @property
    def title(self) -> str:
        return "chained comparison"

    @property
    def label(self) -> str:
        return "compare two values at a time"

    @property
    def help(self) -> str | None:
        return "nest them: where(a < b, where(b < c, yes, no), no)"


@dataclass(frozen=True)
class InitialValueOfInput(Diagnostic):
    code: ClassVar[str] = "S011"
    explanation: ClassVar[str] = """\
Only parameters have initial values. Inputs and shared inputs get theirs with every call.

```
shared B[n] = 1              # wrong
```
```
param B[n] = 1               # right, if it is to be learned
```"""
    name: str
    kind: str

    @property
    def title(self) -> str:
        return f"`{self.name}` is `{self.kind}` and cannot have an initial value"

    @property
    def label(self) -> str:
        return "only a `param` has an initial value"


@dataclass(frozen=True)
class BareWalk(Diagnostic):
    """A walk between commas, where its own commas would swallow what follows."""

    code: ClassVar[str] = "S012"
    explanation: ClassVar[str] = """\
A walk has commas of its own. Among other orders it stands in parentheses; without them only right of `order x =` and as
the sole argument of a call.

```
directions walk h, w, rows        # wrong: where does the walk end?
```
```
directions (walk h, w), rows      # right
```"""

    @property
    def title(self) -> str:
        return "a walk in a list needs parentheses"

    @property
    def label(self) -> str:
        return "its commas would run into the list's"

    @property
    def help(self) -> str | None:
        return "write (walk ...)"


@dataclass(frozen=True)
class MalformedSum(Diagnostic):
    code: ClassVar[str] = "S013"
    explanation: ClassVar[str] = """\
`sum` runs over an index, named before a colon; no other function has a colon.

```
y = sum(C[n] * h[n])              # wrong: over which index?
```
```
y = sum(n: C[n] * h[n])           # right
```"""
    function: str

    @property
    def title(self) -> str:
        return "`sum` without its index" if self.function == "sum" else f"`{self.function}` does not run over an index"

    @property
    def label(self) -> str:
        return "write sum(index: expression)" if self.function == "sum" else "only `sum` takes `index:`"


# ---- S1xx: names, arity, axes and linearity


def closest(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that `name` is most likely a slip of, if there is one near enough."""
    by_lower = {other.lower(): other for other in reversed(known)}
    near = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def listed(names: Iterable[str], word: str = "and") -> str:
    """`a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


@dataclass(frozen=True)
class UnknownName(Diagnostic):
    """`kind` is what was looked for (`order`) in `owner`, `known` what there is, `library` a file that has the name."""

    code: ClassVar[str] = "S101"
    kind: str
    name: str
    known: tuple[str, ...] = ()
    owner: str | None = None
    library: str | None = None
    explanation: ClassVar[str] = """\
A name was used that nothing here defines. Names are case-sensitive; orders, recurrences and scans of
another file are known only after its `import`.

```
scan s(dim) { directions row  recur selective(state = 1, rank = 4) }    # wrong: after order rows = walk h, w
```
```
scan s(dim) { directions rows  recur selective(state = 1, rank = 4) }    # right
```"""

    @property
    def title(self) -> str:
        of = f" of `{self.owner}`" if self.owner else ""
        return f"unknown {self.kind} `{self.name}`{of}"

    @property
    def label(self) -> str:
        near = None if self.library else closest(self.name, self.known)
        return f"did you mean `{near}`?" if near else "not defined here"

    @property
    def help(self) -> str | None:
        if self.library:
            return f"`import {self.library}` brings in `{self.name}`"
        return f"known here: {listed(self.known)}" if self.known else None


@dataclass(frozen=True)
class DuplicateName(Diagnostic):
    """`kind` says what is named twice (`order`), `first` where it was named before."""

    code: ClassVar[str] = "S102"
    kind: str
    name: str
    first: Span
    explanation: ClassVar[str] = """\
The same name was given twice where it must say which thing is meant. A file's own names may shadow the
standard library's and the language's named orders, but not each other, and not those of an imported file.

```
order rows = walk h, w
order rows = walk w, h    # wrong
```
```
order rows = walk h, w
order cols = walk w, h    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.kind} `{self.name}` is given twice"

    @property
    def label(self) -> str:
        return "again here"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class ImportNotFound(Diagnostic):
    """`reason` is why the file could not be read; `known` the library's files where a library file was asked for."""

    code: ClassVar[str] = "S103"
    path: str
    reason: str
    known: tuple[str, ...] = ()
    explanation: ClassVar[str] = """\
An imported file could not be read. `import std.name` names a file of the standard library, `import "name.scan"`
a file beside the one that imports it, or in a folder below.

```
import std.selektive    # wrong
```
```
import std.selective    # right
```"""

    @property
    def title(self) -> str:
        return f"cannot import `{self.path}`"

    @property
    def label(self) -> str:
        near = closest(self.path, self.known)
        return f"{self.reason}; did you mean `{near}`?" if near else self.reason

    @property
    def help(self) -> str | None:
        return f"the library has {listed(self.known)}" if self.known else None


@dataclass(frozen=True)
class ImportOutside(Diagnostic):
    code: ClassVar[str] = "S104"
    path: str
    reason: str
    explanation: ClassVar[str] = """\
A program may import only files of its own folder and the folders below it, so that reading a stranger's program
never reads files elsewhere. Absolute paths, `..` and symbolic links that lead out are refused.

```
import "../shared/orders.scan"    # wrong
```
```
import "shared/orders.scan"    # right: with the folder shared beside the program
```"""

    @property
    def title(self) -> str:
        return f'import "{self.path}" leaves the folder of the importing file'

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return "import a file of the same folder, or of a folder below it"


@dataclass(frozen=True)
class ImportCycle(Diagnostic):
    """`chain` is the files' names, each importing the next, the last the same as the first."""

    code: ClassVar[str] = "S105"
    chain: tuple[str, ...]
    explanation: ClassVar[str] = """\
Files import each other in a circle, so none of them can be read first. Move what both need into a third file.

```
a.scan    # wrong: says import "b.scan" and b.scan says import "a.scan"
```
```
# right: both say import "common.scan"
```"""

    @property
    def title(self) -> str:
        return "files import each other in a circle"

    @property
    def label(self) -> str:
        return " imports ".join(f"`{name}`" for name in self.chain)


@dataclass(frozen=True)
class TooMany(Diagnostic):
    """`what` there are too many of (`directions`), counted where the count is known."""

    code: ClassVar[str] = "S106"
    what: str
    limit: int
    explanation: ClassVar[str] = """\
Compiling a program takes bounded work, so some counts are bounded: directions of a scan, loops of a walk, orders
built on orders, files that import files.

```
# wrong: a chain of 40 files, each importing the next
```
```
# right: one file that imports them side by side
```"""

    @property
    def title(self) -> str:
        return f"too many {self.what}"

    @property
    def label(self) -> str:
        return f"more than {self.limit}"


@dataclass(frozen=True)
class ImportNeedsFile(Diagnostic):
    code: ClassVar[str] = "S107"
    path: str
    explanation: ClassVar[str] = """\
A program given as text lies in no folder, so there is no file beside it to import; the standard library can always
be imported.

```
scanlang.loads('import "mine.scan"')    # wrong
```
```
scanlang.load("program.scan")    # right: with mine.scan beside it, or import std.selective in the text
```"""

    @property
    def title(self) -> str:
        return f'cannot import "{self.path}" into a program given as text'

    @property
    def label(self) -> str:
        return "the text has no folder to look in"

    @property
    def help(self) -> str | None:
        return "save the program as a file, or import from the library: `import std.selective`"


@dataclass(frozen=True)
class ReservedName(Diagnostic):
    """`kind` of thing that has the name, `reason` why it may not."""

    code: ClassVar[str] = "S108"
    kind: str
    name: str
    reason: str
    explanation: ClassVar[str] = """\
Some names mean something else where they would be used: `y` in a merge is the outputs of the directions,
`project` in a `share` clause the projections, an axis in a formula its length; and names that Python reserves cannot be
passed by keyword to the compiled operator.

```
order cols(h) = (h % 4, h // 4)    # wrong: on grid h, w
```
```
order cols(t) = (t % h, t // h)    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.kind} may not be named `{self.name}`"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class GridMissing(Diagnostic):
    code: ClassVar[str] = "S109"
    name: str
    explanation: ClassVar[str] = """\
A file with walks, formulas or flips says what the axes of its grid are called, the slowest of the raster first. Only
scans in named orders (`raster`, `columns`, `snake`) do without.

```
# wrong: a file with order rows = walk h, w alone
```
```
grid h, w    # right: above it
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` needs a grid, and this file has none"

    @property
    def label(self) -> str:
        return "names axes of a grid"

    @property
    def help(self) -> str | None:
        return "write `grid h, w` at the top of the file"


@dataclass(frozen=True)
class GridAxes(Diagnostic):
    code: ClassVar[str] = "S110"
    count: int
    explanation: ClassVar[str] = """\
In this version a grid has two axes.

```
grid t, h, w    # wrong
```
```
grid h, w    # right
```"""

    @property
    def title(self) -> str:
        return f"a grid has two axes, this one has {self.count}"

    @property
    def label(self) -> str:
        return f"{self.count} named here"


@dataclass(frozen=True)
class RepeatedClause(Diagnostic):
    code: ClassVar[str] = "S111"
    clause: str
    first: Span
    explanation: ClassVar[str] = """\
A clause that says one thing was written twice: `grid` in a file, or `input`, `directions`, `recur`, `share` or
`merge` in a scan. Only `project` may be repeated.

```
merge sum  merge mean    # wrong
```
```
merge mean    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.clause}` is given twice"

    @property
    def label(self) -> str:
        return "again here"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


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
class NotAllowedHere(Diagnostic):
    """`what` was written (`/`, `sum`, `2.5`) in which `place`, and what to write `instead`."""

    code: ClassVar[str] = "S120"
    what: str
    place: str
    instead: str | None = None
    explanation: ClassVar[str] = """\
Each kind of expression has its own operators: formula orders compute in integers (`//` and `%`, no `/`), recurrences
and merges in real numbers (`/`, no `//` or `%`).

```
order f(t) = (t / w, t % w)    # wrong
```
```
order f(t) = (t // w, t % w)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.what}` cannot be used in {self.place}"

    @property
    def label(self) -> str:
        return "not allowed here"

    @property
    def help(self) -> str | None:
        return self.instead


@dataclass(frozen=True)
class WrongIndices(Diagnostic):
    """`declared` is how it was declared (`h[n]`), `count` how many indices are written."""

    code: ClassVar[str] = "S121"
    name: str
    declared: str
    count: int
    first: Span
    explanation: ClassVar[str] = """\
A name is used with as many indices as it was declared with.

```
y = sum(n: C * h[n])    # wrong: where shared C[n]
```
```
y = sum(n: C[n] * h[n])    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` is used with {self.count or 'no'} ind{'ex' if self.count == 1 else 'ices'}"

    @property
    def label(self) -> str:
        return f"it was declared as `{self.declared}`"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, "declared here"),)


@dataclass(frozen=True)
class IndexNotBound(Diagnostic):
    code: ClassVar[str] = "S122"
    index: str
    explanation: ClassVar[str] = """\
An index stands for one value at a time: it is bound by the left-hand side of an equation or by `sum`.

```
y = C[n] * h[n]    # wrong
```
```
y = sum(n: C[n] * h[n])    # right
```"""

    @property
    def title(self) -> str:
        return f"index `{self.index}` has no value here"

    @property
    def label(self) -> str:
        return "neither the left-hand side nor a `sum` binds it"

    @property
    def help(self) -> str | None:
        return f"sum over it: `sum({self.index}: ...)`, or index the left-hand side by `[{self.index}]`"


@dataclass(frozen=True)
class IndexMisused(Diagnostic):
    """`title_text` and `reason` say what is wrong with this index."""

    code: ClassVar[str] = "S123"
    text: str
    problem: str
    reason: str
    explanation: ClassVar[str] = """\
Indices of a recurrence are the names declared in its first line, written bare: `h[n]`, never `h[0]` or `h[n + 1]`, and
an index is no value in an equation. In a merge, `y[0]` is the output of the first direction, and `sum(k: y[k])` goes
over all of them.

```
y = sum(n: C[n] * h[0])    # wrong
```
```
y = sum(n: C[n] * h[n])    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.text}` {self.problem}"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class IndexShadowed(Diagnostic):
    code: ClassVar[str] = "S124"
    index: str
    explanation: ClassVar[str] = """\
`sum(n: ...)` where `n` has a value already would hide that value. Use a second index of the same size.

```
f[n] = sum(n: K[n] * Q[n])    # wrong
```
```
s = sum(n: K[n] * Q[n])    # right: used as s
```"""

    @property
    def title(self) -> str:
        return f"`sum` binds `{self.index}`, which has a value already"

    @property
    def label(self) -> str:
        return f"`{self.index}` is bound around this sum"


@dataclass(frozen=True)
class AssignsOperand(Diagnostic):
    code: ClassVar[str] = "S125"
    kind: str
    name: str
    first: Span
    explanation: ClassVar[str] = """\
Inputs, shared inputs and parameters come from outside; an equation cannot give them another value. Give the new
value its own name.

```
input x
x = silu(x)    # wrong
```
```
input x
gated = silu(x)    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.kind} `{self.name}` cannot be given a value"

    @property
    def label(self) -> str:
        return "give the value a name of its own"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, "declared here"),)


@dataclass(frozen=True)
class UnusedName(Diagnostic):
    code: ClassVar[str] = "S126"
    kind: str
    name: str
    explanation: ClassVar[str] = """\
Something was declared or computed and then never used, which is most often a slip in another line.

```
shared B[n], C[n]    # wrong: where no equation mentions C
```
```
shared B[n]    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.kind} `{self.name}` is never used"

    @property
    def label(self) -> str:
        return "use it, or leave it out"


@dataclass(frozen=True)
class NoState(Diagnostic):
    code: ClassVar[str] = "S127"
    name: str
    explanation: ClassVar[str] = """\
A recurrence carries at least one state from step to step: a name whose equation mentions the name itself, which is
then its value at the step before.

```
h = x  y = h    # wrong
```
```
h = 0.9 * h + x  y = h    # right
```"""

    @property
    def title(self) -> str:
        return f"recurrence `{self.name}` has no state"

    @property
    def label(self) -> str:
        return "no equation uses the old value of the name it defines"


@dataclass(frozen=True)
class NoEquations(Diagnostic):
    code: ClassVar[str] = "S128"
    name: str
    explanation: ClassVar[str] = """\
The last equation of a recurrence is its output, so there must be one.

```
recurrence r() { input x }    # wrong
```
```
recurrence r() { input x  h = 0.9 * h + x }    # right
```"""

    @property
    def title(self) -> str:
        return f"recurrence `{self.name}` has no equations"

    @property
    def label(self) -> str:
        return "its last equation would be the output"


@dataclass(frozen=True)
class NotLinear(Diagnostic):
    """`state` as written (`h[n]`), `reason` what is done with it."""

    code: ClassVar[str] = "S129"
    state: str
    reason: str
    explanation: ClassVar[str] = """\
A state's update is linear in its old value: `h = a * h + b`, where neither `a` nor `b` mentions `h`. Only then can
the scan be run in parallel and its gradient be derived. Inputs, parameters and temporaries may be used in any way, and
so may the new state in later equations.

```
h = tanh(a * h + x)    # wrong
```
```
h = a * h + x
y = tanh(h)    # right
```"""

    @property
    def title(self) -> str:
        return f"the update of `{self.state}` is not linear in `{self.state}`"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class NotDiagonal(Diagnostic):
    """`state` as written on the left (`h[n]`), `term` what its update reads (`h[m]`)."""

    code: ClassVar[str] = "S130"
    state: str
    term: str
    explanation: ClassVar[str] = """\
Each entry of a state may use only its own old value, not that of another entry: a diagonal transition.

```
h[n] = sum(m: A[n, m] * h[m]) + x    # wrong
```
```
h[n] = A[n] * h[n] + x    # right
```"""

    @property
    def title(self) -> str:
        return f"the update of `{self.state}` is not diagonal"

    @property
    def label(self) -> str:
        return f"`{self.term}` in the update of `{self.state}`: another entry of the state"


@dataclass(frozen=True)
class StateUsesState(Diagnostic):
    """`other` is the earlier state, `through` the name that reads it where that is another one."""

    code: ClassVar[str] = "S131"
    state: str
    other: str
    through: str
    explanation: ClassVar[str] = """\
The language lets the coefficients of a state use states declared above it. This version does not carry that out yet:
each state's update uses inputs, parameters, temporaries made of these, and its own old value.

```
h = a * h + x
s = a * s + h    # wrong
```
```
h = a * h + x
s = a * s + x    # right
```"""

    @property
    def title(self) -> str:
        return f"not in this version of the language: the update of `{self.state}` uses another state, `{self.other}`"

    @property
    def label(self) -> str:
        if self.through == self.other:
            return "not supported yet"
        return f"`{self.through}` is made of the state `{self.other}`"


@dataclass(frozen=True)
class UsedBeforeDefined(Diagnostic):
    code: ClassVar[str] = "S132"
    name: str
    definition: Span
    explanation: ClassVar[str] = """\
Equations are read from top to bottom: each uses only names defined above it, and its own name for the old value of
a state.

```
h = a * h + x  a = sigmoid(g)    # wrong
```
```
a = sigmoid(g)  h = a * h + x    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` is used before its equation"

    @property
    def label(self) -> str:
        return "it has no value yet"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.definition, "defined here"),)


@dataclass(frozen=True)
class BadInitial(Diagnostic):
    code: ClassVar[str] = "S133"
    name: str
    reason: str
    explanation: ClassVar[str] = """\
The initial value of a parameter is a finite number, computed from numbers, the parameter's own indices (0, 1, 2 ...)
and the draws `uniform(low, high)`, `loguniform(low, high)` and `normal(mean, deviation)`, whose arguments are
constants.

```
param A_log[n] = log(n)    # wrong: which is not finite at n = 0
```
```
param A_log[n] = log(n + 1)    # right
```"""

    @property
    def title(self) -> str:
        return f"the initial value of `{self.name}` is wrong"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class BadSize(Diagnostic):
    code: ClassVar[str] = "S134"
    label_name: str
    reason: str
    explanation: ClassVar[str] = """\
Sizes are positive integers, at most 4096.

```
recur selective(state = 0, rank = 4)    # wrong
```
```
recur selective(state = 1, rank = 4)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.label_name}` is not a size"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class MissingClause(Diagnostic):
    code: ClassVar[str] = "S135"
    scan: str
    clause: str
    explanation: ClassVar[str] = """\
A scan says at least in which directions it goes and what it carries along.

```
scan s(dim) { directions raster }    # wrong
```
```
scan s(dim) { directions raster  recur selective(state = 1, rank = 4) }    # right
```"""

    @property
    def title(self) -> str:
        return f"scan `{self.scan}` has no `{self.clause}`"

    @property
    def label(self) -> str:
        return f"needs a `{self.clause}` clause"


@dataclass(frozen=True)
class MissingSize(Diagnostic):
    code: ClassVar[str] = "S136"
    recurrence: str
    size: str
    declared: Span
    explanation: ClassVar[str] = """\
A recurrence's sizes without a default are given where it is used.

```
recur selective(state = 1)    # wrong: where recurrence selective(state n, rank r)
```
```
recur selective(state = 1, rank = 4)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.recurrence}` is not told its size `{self.size}`"

    @property
    def label(self) -> str:
        return f"`{self.size} = ...` is missing"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, "declared without a default"),)


@dataclass(frozen=True)
class InputNotFed(Diagnostic):
    code: ClassVar[str] = "S137"
    recurrence: str
    name: str
    declared: Span
    explanation: ClassVar[str] = """\
Every `input` of the recurrence is an input of the scan, or is projected from one.

```
scan s(dim) { directions raster  recur gated(state = 1) }    # wrong: where gated has input x, g
```
```
# right: the same with input x, g in the scan, or with project g from x
```"""

    @property
    def title(self) -> str:
        return f"input `{self.name}` of `{self.recurrence}` comes from nowhere"

    @property
    def label(self) -> str:
        return f"the scan has no input `{self.name}` and projects none"

    @property
    def help(self) -> str | None:
        return f"add `{self.name}` to the scan's `input` clause, or `project {self.name} from` one of its inputs"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, "declared here"),)


@dataclass(frozen=True)
class NotProjectable(Diagnostic):
    code: ClassVar[str] = "S138"
    recurrence: str
    name: str
    reason: str
    explanation: ClassVar[str] = """\
`project` makes inputs of the recurrence from an input of the scan. Parameters are learned themselves, and an input of
the scan is there already.

```
project A_log from x    # wrong
```
```
project B, C from x    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` of `{self.recurrence}` cannot be projected"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class DirectionOutOfRange(Diagnostic):
    code: ClassVar[str] = "S139"
    index: str
    count: int
    explanation: ClassVar[str] = """\
The outputs of K directions are `y[0]` to `y[K - 1]`.

```
directions rows, reverse(rows)  merge y[1] + y[2]    # wrong
```
```
directions rows, reverse(rows)  merge y[0] + y[1]    # right
```"""

    @property
    def title(self) -> str:
        return f"`y[{self.index}]` is the output of no direction"

    @property
    def label(self) -> str:
        last = self.count - 1
        if last == 0:
            return "there is one direction: `y[0]`"
        return f"there are {self.count} directions: `y[0]` {'and' if last == 1 else 'to'} `y[{last}]`"


@dataclass(frozen=True)
class DirectionsUnused(Diagnostic):
    code: ClassVar[str] = "S140"
    unused: tuple[int, ...]
    count: int
    explanation: ClassVar[str] = """\
A merge that leaves out a direction's output would compute it for nothing.

```
directions rows, reverse(rows)  merge y[0]    # wrong
```
```
directions rows  merge y[0]
merge y[0] + y[1]    # right
```"""

    @property
    def title(self) -> str:
        return f"the merge never uses {listed(f'y[{k}]' for k in self.unused)}"

    @property
    def label(self) -> str:
        return f"{self.count} direction{'' if self.count == 1 else 's'}, {len(self.unused)} of them unused"


@dataclass(frozen=True)
class ReadoutIndexed(Diagnostic):
    code: ClassVar[str] = "S141"
    text: str
    explanation: ClassVar[str] = """\
The last equation of a recurrence is its output: one value per channel and step, without an index.

```
h[n] = a[n] * h[n] + x    # wrong: as the last equation
```
```
h[n] = a[n] * h[n] + x  y = sum(n: h[n])    # right
```"""

    @property
    def title(self) -> str:
        return f"the output `{self.text}` has an index"

    @property
    def label(self) -> str:
        return "the last equation is the output: one value per channel"


@dataclass(frozen=True)
class NoChannelInput(Diagnostic):
    code: ClassVar[str] = "S142"
    name: str
    explanation: ClassVar[str] = """\
A recurrence scans at least one map with a value for every channel, its `input`; it says how many channels there are.

```
recurrence f(state n) { shared B[n]  h[n] = 0.9 * h[n] + B[n]  y = sum(n: h[n]) }    # wrong
```
```
recurrence f(state n) { input x  shared B[n]  h[n] = 0.9 * h[n] + B[n] * x  y = sum(n: h[n]) }    # right
```"""

    @property
    def title(self) -> str:
        return f"recurrence `{self.name}` has no input"

    @property
    def label(self) -> str:
        return "declare at least one `input`: a value for every channel and step"


# ---- S2xx: orders


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


# ---- S4xx: schedules


@dataclass(frozen=True)
class TooMuchToUnroll(Diagnostic):
    code: ClassVar[str] = "S401"
    name: str
    count: int
    limit: int
    sizes: tuple[tuple[str, int], ...]
    explanation: ClassVar[str] = """\
Indices of a recurrence are unrolled: every value of every index becomes a register and its own instructions. A step of more
than a few thousand operations has no kernel that is worth building.

```
recur selective(state = 4096, rank = 4096)    # wrong
```
```
recur selective(state = 16, rank = 12)    # right
```"""

    @property
    def title(self) -> str:
        sizes = ", ".join(f"{label} = {size}" for label, size in self.sizes)
        return f"a step of `{self.name}` with {sizes} is too large to unroll"

    @property
    def label(self) -> str:
        return f"about {self.count} operations a step; the limit is {self.limit}"


# ---- S5xx: at the call


@dataclass(frozen=True)
class ScanNotChosen(Diagnostic):
    code: ClassVar[str] = "S501"
    scan: str | None
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
A program may hold several scans, or none; name the one that is meant.

```
op = scanlang.compile("two_scans.scan")    # wrong
```
```
op = scanlang.compile("two_scans.scan", scan="cross")    # right
```"""

    @property
    def title(self) -> str:
        if not self.names:
            return "the program has no scan"
        if self.scan is None:
            return f"the program has {len(self.names)} scans: {listed(self.names)}"
        return f"the program has no scan `{self.scan}`"

    @property
    def help(self) -> str | None:
        if not self.names:
            return "a scan is written `scan name(dim) { directions …  recur … }`"
        return f"say which: `scan=` one of {listed(self.names)}"


@dataclass(frozen=True)
class WrongShape(Diagnostic):
    code: ClassVar[str] = "S502"
    argument: str
    was: tuple[object, ...]
    wanted: str
    explanation: ClassVar[str] = """\
Inputs are channels-last. An `input` is `(B, H, W, C)`, a `shared` input `(B, H, W, K)` or `(B, H, W, K, ·)` with one slice for
each of the K directions, a `param` `(K, C)` or `(K, C, ·)`, without K where the directions share it.

```
op(x=torch.randn(1, 96, 56, 56), …)    # wrong: channels first
```
```
op(x=torch.randn(1, 56, 56, 96), …)    # right
```"""

    @property
    def title(self) -> str:
        return f"argument `{self.argument}` has shape ({', '.join(map(str, self.was))})"

    @property
    def label(self) -> str:
        return f"must be {self.wanted}"


@dataclass(frozen=True)
class WrongType(Diagnostic):
    code: ClassVar[str] = "S503"
    argument: str
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
The operator takes tensors of float32, bfloat16, float16 or float64; the state is float32, and float64 if any map is.

```
op(x=torch.ones(1, 8, 8, 4, dtype=torch.int64), …)    # wrong
```
```
op(x=torch.ones(1, 8, 8, 4), …)    # right
```"""

    @property
    def title(self) -> str:
        return f"argument `{self.argument}` is {self.was}"

    @property
    def label(self) -> str:
        return f"must be {self.wanted}"


@dataclass(frozen=True)
class WrongDevice(Diagnostic):
    code: ClassVar[str] = "S504"
    argument: str
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
All arguments of one call live on one device.

```
op(x=x.cuda(), A_log=A_log, …)    # wrong, if A_log is on the CPU
```
```
op(x=x.cuda(), A_log=A_log.cuda(), …)    # right
```"""

    @property
    def title(self) -> str:
        return f"argument `{self.argument}` is on {self.was}"

    @property
    def label(self) -> str:
        return f"must be on {self.wanted}, where the other arguments are"


@dataclass(frozen=True)
class WrongArguments(Diagnostic):
    code: ClassVar[str] = "S505"
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
The operator takes the recurrence's own names as keywords, each once, and the inputs that its merge reads.

```
op(x, low, B)    # wrong
```
```
op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)    # right
```"""

    @property
    def title(self) -> str:
        parts = [f"misses {listed(self.missing)}"] if self.missing else []
        parts += [f"does not know {listed(self.unknown)}"] if self.unknown else []
        return f"the scan {' and '.join(parts)}"

    @property
    def help(self) -> str | None:
        return f"its arguments are {listed(self.names)}"


@dataclass(frozen=True)
class NoBackend(Diagnostic):
    code: ClassVar[str] = "S506"
    device: str
    why: str
    explanation: ClassVar[str] = """\
On a CUDA device the operator needs Triton (`pip install scanlang[triton]`); on the CPU it builds C with `cc`, or falls back to
torch. Other devices run in torch as well.

```
pip install scanlang            # wrong, for a GPU without Triton
```
```
pip install scanlang[triton]    # right
```"""

    @property
    def title(self) -> str:
        return f"nothing runs this scan on {self.device}"

    @property
    def label(self) -> str:
        return self.why


# ---- the catalogue


def _all_codes() -> dict[str, type[Diagnostic]]:
    classes = [value for value in globals().values() if isinstance(value, type) and issubclass(value, Diagnostic)]
    return {cls.code: cls for cls in sorted((cls for cls in classes if cls is not Diagnostic), key=lambda c: c.code)}


CATALOGUE: dict[str, type[Diagnostic]] = _all_codes()
