"""S101 … S111: names, imports, and what may stand where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import closest, listed
from scanlang.source import Span


@dataclass(frozen=True)
class UnknownName(Diagnostic):
    """`kind` is what was looked for (`order`) in `owner`, `known` what there is, `library` a file that has the name, `hint`
    what it takes for it."""

    code: ClassVar[str] = "S101"
    kind: str
    name: str
    known: tuple[str, ...] = ()
    owner: str | None = None
    library: str | None = None
    hint: str | None = None
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
        near = None if self.library or self.hint else closest(self.name, self.known)
        return f"did you mean `{near}`?" if near else "not defined here"

    @property
    def help(self) -> str | None:
        if self.library:
            return f"`import {self.library}` brings in `{self.name}`"
        if self.hint:
            return self.hint
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
        return "`scanlang list` shows the library" if self.known else None


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
built on orders and steps for each cell, cells of tables, files that import files.

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
`project` in a `share` clause the projections, an axis in a formula its length. Names that Python reserves cannot be
passed by keyword to the compiled operator, and no two of its arguments have one name: inputs, parameters, weights of a `conv`,
tokens, orders given at run time, layers.

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
A file with orders of its own, or with scans that name an axis, says what the axes of its grid are called, the slowest
of the raster first. Scans in named orders (`raster`, `hilbert`) and imported ones do without.

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
        return "a grid says what its axes are called"

    @property
    def help(self) -> str | None:
        return "write `grid h, w` at the top of the file"


@dataclass(frozen=True)
class GridAxes(Diagnostic):
    code: ClassVar[str] = "S110"
    count: int
    most: int
    explanation: ClassVar[str] = """\
A grid has one to four axes, the slowest of the raster first.

```
grid b, t, d, h, w    # wrong
```
```
grid t, d, h, w    # right: every image of a batch has its own grid
```"""

    @property
    def title(self) -> str:
        return f"a grid has 1 to {self.most} axes, this one has {self.count}"

    @property
    def label(self) -> str:
        return f"{self.count} named here"


@dataclass(frozen=True)
class RepeatedClause(Diagnostic):
    code: ClassVar[str] = "S111"
    clause: str
    first: Span
    explanation: ClassVar[str] = """\
A clause that says one thing was written twice: `grid` in a file, or a clause of a scan. Only `project`, `operands`,
`use` and `... writes ...` may be repeated.

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
