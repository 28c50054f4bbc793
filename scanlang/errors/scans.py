"""S134 … S140, S164 … S178: sizes, clauses, projections, channels, streams, layers, merges."""

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
        return f"needs a `{self.clause}` clause" + (", or `layers`" if self.clause == "directions" else "")


@dataclass(frozen=True)
class MissingSize(Diagnostic):
    """`called` is how a caller in Python gives it, if one should have: `channels`."""

    code: ClassVar[str] = "S136"
    recurrence: str
    size: str
    declared: Span
    called: str | None = None
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
        return f"`{self.called}=...` is missing" if self.called else f"`{self.size} = ...` is missing"

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
    """`layer` is the first layer that has so few directions, where layers differ."""

    code: ClassVar[str] = "S139"
    index: str
    count: int
    layer: int | None = None
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
        there = "there" if self.layer is None else f"in layer {self.layer} there"
        if last == 0:
            return f"{there} is one direction: `y[0]`"
        return f"{there} are {self.count} directions: `y[0]` {'and' if last == 1 else 'to'} `y[{last}]`"


@dataclass(frozen=True)
class DirectionsUnused(Diagnostic):
    code: ClassVar[str] = "S140"
    unused: tuple[int, ...]
    count: int
    layer: int | None = None
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
        where = "" if self.layer is None else f" in layer {self.layer}"
        return f"{self.count} direction{'' if self.count == 1 else 's'}{where}, {len(self.unused)} of them unused"


@dataclass(frozen=True)
class DirectionsTwice(Diagnostic):
    code: ClassVar[str] = "S164"
    first: Span
    explanation: ClassVar[str] = """\
The directions of a scan are the same in every layer (`directions`) or go by the layer (`layers`), not both.

```
directions raster  layers cycle (raster, columns), (snake)    # wrong
```
```
layers cycle (raster, columns), (snake)    # right
```"""

    @property
    def title(self) -> str:
        return "the scan has both `directions` and `layers`"

    @property
    def label(self) -> str:
        return "leave one of them out"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.first, "first here"),)


@dataclass(frozen=True)
class BadConv(Diagnostic):
    code: ClassVar[str] = "S165"
    reason: str
    explanation: ClassVar[str] = """\
`conv 4` is a causal convolution over 4 steps, one filter per channel, with SiLU, of the scan's first input; it takes that
input's place in the recurrence and in projections. Its width is 1 to 16.

```
conv 0    # wrong
```
```
conv 4    # right
```"""

    @property
    def title(self) -> str:
        return "the scan has no such `conv`"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class PartsMisfit(Diagnostic):
    """`layer` is the first that does not fit, where there are several layers."""

    code: ClassVar[str] = "S166"
    parts: int
    directions: int
    layer: int | None
    explanation: ClassVar[str] = """\
`channels split 2, 1, 1` gives the directions their shares of the channels, one number each, in every layer. Without numbers all
shares are equal.

```
directions raster, columns  channels split 2, 1, 1    # wrong
```
```
directions raster, columns, snake  channels split 2, 1, 1    # right
directions raster, columns         channels split
```"""

    @property
    def title(self) -> str:
        return f"the channels are split into {self.parts} part{'' if self.parts == 1 else 's'}, for as many directions"

    @property
    def label(self) -> str:
        where = "the scan" if self.layer is None else f"layer {self.layer}"
        return f"{where} has {self.directions} direction{'' if self.directions == 1 else 's'}"

    @property
    def help(self) -> str | None:
        return "write one number per direction, or `channels split` alone for equal parts"


@dataclass(frozen=True)
class BadPart(Diagnostic):
    code: ClassVar[str] = "S167"
    part: str
    explanation: ClassVar[str] = """\
The numbers of `channels split` are proportions: positive integers.

```
channels split 1, 0    # wrong
```
```
channels split 3, 1    # right: three quarters and a quarter of the channels
```"""

    @property
    def title(self) -> str:
        return f"`{self.part}` is no share of the channels"

    @property
    def label(self) -> str:
        return "a direction has at least one part"


@dataclass(frozen=True)
class SplitMerge(Diagnostic):
    code: ClassVar[str] = "S168"
    split: Span
    explanation: ClassVar[str] = """\
With `channels split` every channel is seen by one direction only: there is nothing to average, compare or multiply, and the
outputs stand side by side. `merge sum` and `merge concat` both say that.

```
channels split  merge mean    # wrong
```
```
channels split  merge sum    # right
```"""

    @property
    def title(self) -> str:
        return "split channels are merged side by side only"

    @property
    def label(self) -> str:
        return "with `channels split` this is `merge sum` or `merge concat`"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.split, "split here"),)


@dataclass(frozen=True)
class UnequalParts(Diagnostic):
    code: ClassVar[str] = "S169"
    name: str
    split: Span
    explanation: ClassVar[str] = """\
What directions share has the same shape for each of them. Parameters with a value per channel, projections and convolutions
can be shared by directions with split channels only where all parts are equal.

```
channels split 2, 1  share D    # wrong
```
```
channels split  share D    # right
```"""

    @property
    def title(self) -> str:
        return f"directions with unequal parts of the channels cannot share `{self.name}`"

    @property
    def label(self) -> str:
        return "it has a value for every channel of a direction"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.split, "split here"),)


@dataclass(frozen=True)
class LabelMisfit(Diagnostic):
    """`parameter` reads the label of the step, and the scan says none; None where the scan does and nothing reads it."""

    code: ClassVar[str] = "S170"
    recurrence: str
    parameter: str | None
    explanation: ClassVar[str] = """\
`label moves` gives every step a label: the move that made it (start, right, left, up, down, jump). It goes with a recurrence
that has a table by label, `shared param dB[label, n]`, and such a recurrence goes with it.

```
label moves  recur selective(state = 1, rank = 4)    # wrong: selective has no table by label
```
```
recurrence r(state n) { … shared param dB[label, n] … }    # right: and label moves in its scan
```"""

    @property
    def title(self) -> str:
        if self.parameter is None:
            return f"nothing in `{self.recurrence}` reads the labels"
        return f"`{self.parameter}` of `{self.recurrence}` reads the label of a step, and there are no labels"

    @property
    def label(self) -> str:
        return "no `shared param` has the index `label`" if self.parameter is None else "the scan needs `label moves`"


@dataclass(frozen=True)
class LabelsOfGiven(Diagnostic):
    code: ClassVar[str] = "S179"
    direction: str
    explanation: ClassVar[str] = """\
`label moves` gives every step the move that made it, which is worked out when the size is known. An order that is given with
each call moves differently every time.

```
order o = input    scan s(dim) { directions o  label moves … }    # wrong
```
```
order o = input    scan s(dim) { directions o  … }    # right: give what depends on the step as a `shared` input
```"""

    @property
    def title(self) -> str:
        return f"`{self.direction}` is given at run time, and has no labels"

    @property
    def label(self) -> str:
        return "its moves are known only with the call"

    @property
    def help(self) -> str | None:
        return "give what depends on the step as a `shared` input of the recurrence, made in torch"


@dataclass(frozen=True)
class NotAlong(Diagnostic):
    code: ClassVar[str] = "S171"
    name: str
    reason: str
    explanation: ClassVar[str] = """\
`operands ... along` lets streams of the recurrence run in another order than the direction's: its inputs and shared inputs.
Parameters are the same at every step.

```
operands A_log along raster    # wrong
```
```
operands B, C along raster    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` cannot run along an order"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class WritesOfNoDirection(Diagnostic):
    """`named` are the directions that a name alone gives."""

    code: ClassVar[str] = "S172"
    name: str
    named: tuple[str, ...]
    explanation: ClassVar[str] = """\
`back writes rows` has the outputs of the direction `back` go where `rows` goes. On its left stands the name of an order that is
one of the scan's directions as it stands.

```
directions rows, reverse(rows)  back writes rows    # wrong
```
```
order back = reverse(rows)    # right: a name for the direction
scan s(dim) { directions rows, back  back writes rows  recur r }
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` is no direction of this scan"

    @property
    def label(self) -> str:
        return f"the directions with a name are {listed(self.named)}" if self.named else "no direction here is a name alone"

    @property
    def help(self) -> str | None:
        return f"give the direction a name: `order {self.name} = ...`, and `{self.name}` in `directions`"


@dataclass(frozen=True)
class NothingToShare(Diagnostic):
    code: ClassVar[str] = "S173"
    name: str
    explanation: ClassVar[str] = """\
`share project` and `share conv` say that the directions have their projections or their convolution in common, in scans that
have such a clause.

```
share project    # wrong: in a scan that projects nothing
```
```
project B, C from x  share project    # right
```"""

    @property
    def title(self) -> str:
        return f"`share` names `{self.name}`, and the scan has none"

    @property
    def label(self) -> str:
        return f"there is no `{self.name}` clause"


@dataclass(frozen=True)
class SplitProjection(Diagnostic):
    code: ClassVar[str] = "S174"
    name: str
    split: Span
    explanation: ClassVar[str] = """\
A projection of an `input` makes a value for every channel, or every unit of channels; one of what is shared `per 4 units` for
every group. With `channels split` each direction has channels of its own, so there is no such map for all of them; project
before the scan, and give the result to it as an input.

```
channels split  project g from x    # wrong: where input g
```
```
input x, g  channels split    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` has a value per channel, unit or group and cannot be projected when the channels are split"

    @property
    def label(self) -> str:
        return "only what is the same for all channels can be"

    @property
    def help(self) -> str | None:
        return f"make it an input of the scan: `input ..., {self.name}`"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.split, "split here"),)


@dataclass(frozen=True)
class WidthsDiffer(Diagnostic):
    """`what` is the layer or operation, `reason` how many channels meet there."""

    code: ClassVar[str] = "S175"
    what: str
    reason: str
    explanation: ClassVar[str] = """\
The outputs of directions and the inputs of a scan have the scan's channels; a `linear(in, out)` takes `in` channels and gives
`out`. What is added or multiplied has equally many, or one; the result has the scan's again.

```
use down = linear(dim, dim // 4)  merge y[0] * sigmoid(down(y[0]))    # wrong
```
```
use down = linear(dim, dim // 4)  use up = linear(dim // 4, dim)    # right: with merge y[0] * sigmoid(up(down(y[0])))
```"""

    @property
    def title(self) -> str:
        return f"the channels do not fit at `{self.what}`"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class UncoveredValue(Diagnostic):
    code: ClassVar[str] = "S176"
    explanation: ClassVar[str] = """\
`uncovered = 0` says that cells which no direction visits are meant to be 0. No other value can be given.

```
uncovered = 1    # wrong
```
```
uncovered = 0    # right
```"""

    @property
    def title(self) -> str:
        return "cells that no direction visits are 0"

    @property
    def label(self) -> str:
        return "only `uncovered = 0` can be said"


@dataclass(frozen=True)
class LayerOption(Diagnostic):
    """A keyword of a used layer with another value than its words."""

    code: ClassVar[str] = "S177"
    option: str
    explanation: ClassVar[str] = """\
A `linear` layer has a bias or none: `bias = true` (the default) or `bias = false`.

```
use down = linear(dim, 4, bias = 0)    # wrong
```
```
use down = linear(dim, 4, bias = false)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.option}` is `true` or `false`"

    @property
    def label(self) -> str:
        return "neither of them"


@dataclass(frozen=True)
class TokenOfNoDirection(Diagnostic):
    code: ClassVar[str] = "S178"
    token: str
    layer: int | None
    explanation: ClassVar[str] = """\
`operands ... along` and `writes` say where streams of a direction are read and written. A token there is a token of the
directions: one that none of them visits does not exist.

```
directions raster  operands B along insert(raster, cls at head)    # wrong
```
```
directions insert(raster, cls at tail)  operands B along insert(raster, cls at head)    # right
```"""

    @property
    def title(self) -> str:
        return f"no direction visits the token `{self.token}`"

    @property
    def label(self) -> str:
        return "streams run over the cells and tokens of the directions" + (
            "" if self.layer is None else f", in layer {self.layer} too"
        )
