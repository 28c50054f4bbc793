"""S134 … S140: sizes, clauses, projections, merges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import listed
from scanlang.source import Span


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
