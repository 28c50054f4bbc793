"""S0xx: what is wrong with the text of a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import one_of
from scanlang.source import Span


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
    """`character` is its description, such as "the control character U+0000"; `instead` says what to write."""

    code: ClassVar[str] = "S003"
    explanation: ClassVar[str] = """\
Names are made of the letters a to z and A to Z, digits and `_`. Letters of other alphabets can stand in comments and in
file names; control characters and characters that reorder text on the screen can stand nowhere. Dashes, quotation marks, and
signs such as a multiplication cross, are those of a keyboard.

```
order größe = walk h, w      # wrong
```
```
order groesse = walk h, w    # right: größe
```"""
    character: str
    reason: str
    instead: str | None = None

    @property
    def title(self) -> str:
        return f"{self.character} cannot stand here"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return self.instead


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
    """`what` is the construct with its backquotes, such as "`schedule`"."""

    code: ClassVar[str] = "S008"
    explanation: ClassVar[str] = """\
The language has, or will have, this construct, but this version of the compiler does not read it yet.

```
scan cross(dim) { directions raster  schedule { chunk = 64 } ... }      # wrong in this version
```
```
scan cross(dim) { directions raster ... }                               # right: the compiler chooses the schedule
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
A comparison is a condition, not a number. It stands only as the first argument of `where`, and in no block or backbone.

```
y = (x > 0) * x              # wrong
```
```
y = where(x > 0, x, 0)       # right
```"""
    operator: str
    in_block: bool = False

    @property
    def title(self) -> str:
        return f"the comparison `{self.operator}` stands {'in a block' if self.in_block else 'outside `where`'}"

    @property
    def label(self) -> str:
        if self.in_block:
            return "blocks and backbones compare nothing"
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
    """`begins_line`: the name is the first of its line, so that a comma may be one too many."""

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
    begins_line: bool = False

    @property
    def title(self) -> str:
        return f"`{self.name}` is `{self.kind}` and cannot have an initial value"

    @property
    def label(self) -> str:
        return "only a `param` has an initial value"

    @property
    def help(self) -> str | None:
        return f"no comma before `{self.name}`, if that is an equation" if self.begins_line else None


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
`sum` runs over an index, named before a colon, and in a merge `mean(cells: ...)` over the cells of the image; in blocks
`max(cells: ...)` and `softmax(cells: ...)` too. No other function has a colon.

```
y = sum(C[n] * h[n])              # wrong: over which index?
```
```
y = sum(n: C[n] * h[n])           # right
```"""
    function: str
    in_block: bool = False

    @property
    def title(self) -> str:
        if self.in_block and self.function != "mean":
            if self.function == "sum":
                return "there is no `sum` in a block"
            over = "runs over `cells:` alone" if self.function in ("max", "softmax") else "does not run over an index"
            return f"`{self.function}` {over}"
        titles = {"sum": "`sum` without its index", "mean": "`mean` without `cells:`"}
        return titles.get(self.function, f"`{self.function}` does not run over an index")

    @property
    def label(self) -> str:
        if self.in_block and self.function not in ("mean", "max", "softmax"):
            return "only `mean`, `max` and `softmax` run over the cells of an image: mean(cells: x)"
        labels = {"sum": "write sum(index: expression)"} | {
            name: f"write {name}(cells: expression)" for name in ("mean", "max", "softmax") if name == "mean" or self.in_block
        }
        return labels.get(self.function, "only `sum` takes `index:`")

    @property
    def help(self) -> str | None:
        is_mean = self.function == "mean" and not self.in_block
        return "the mean over the directions is `merge mean`" if is_mean else None


@dataclass(frozen=True)
class MisplacedKeyword(Diagnostic):
    code: ClassVar[str] = "S014"
    explanation: ClassVar[str] = """\
Functions take their arguments by position. Keywords are for the sizes of a recurrence (`recur selective(state = 16)`), for
the layers of a merge (`use`), and for the layers of blocks and backbones.

```
y = exp(x = -dt)                  # wrong
```
```
y = exp(-dt)                      # right
```"""
    function: str
    keyword: str

    @property
    def title(self) -> str:
        return f"`{self.function}` takes no keywords"

    @property
    def label(self) -> str:
        return f"`{self.keyword} =` is not expected here"


@dataclass(frozen=True)
class PositionalAfterKeyword(Diagnostic):
    code: ClassVar[str] = "S015"
    explanation: ClassVar[str] = """\
In a call, arguments without a name come first.

```
fc = linear(bias = false, dim, 2 * dim)       # wrong
```
```
fc = linear(dim, 2 * dim, bias = false)       # right
```"""
    function: str

    @property
    def title(self) -> str:
        return f"an argument without a name after a named one, in the call of `{self.function}`"

    @property
    def label(self) -> str:
        return "this has no name"

    @property
    def help(self) -> str | None:
        return "write it before the arguments with `=`"
