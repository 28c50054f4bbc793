"""S180 … S189: heads and units, values of the step before, scales."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.source import Span


@dataclass(frozen=True)
class HeadMisused(Diagnostic):
    """`index` is the head's; `problem` and `reason` say what is wrong with it."""

    code: ClassVar[str] = "S180"
    index: str
    problem: str
    reason: str
    instead: str | None = None
    explanation: ClassVar[str] = """\
`head p` makes a unit of consecutive channels, and `p` stands for the channel that is computed: `x[p]` is a value of that
channel, a name without `p` one of its unit. `p` stands in inputs, parameters and equations, as a bare index. It is no
number, and nothing is summed over it, since a step of a channel does not know the values of others.

```
recurrence r(head p) { input x[p]  s = sum(p: x[p])  h[p] = 0.9 * h[p] + s  y[p] = h[p] }    # wrong
```
```
recurrence r(head p) { input x[p], s  h[p] = 0.9 * h[p] + s * x[p]  y[p] = h[p] }    # right: with s computed in torch
```"""

    @property
    def title(self) -> str:
        return f"`{self.index}` {self.problem}"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return self.instead


@dataclass(frozen=True)
class UnitReadsChannel(Diagnostic):
    """`term` as written (`x[p]`) in the equation of `unit`, which would be written `left` with the index of the head."""

    code: ClassVar[str] = "S181"
    term: str
    unit: str
    left: str
    equation: Span
    explanation: ClassVar[str] = """\
A name without the index of the head has one value for the whole unit. It cannot be made of values that each channel of the
unit has for itself.

```
recurrence r(head p) { input x[p], a  g = sigmoid(a) * x[p]  h[p] = g * h[p] + x[p]  y[p] = h[p] }    # wrong
```
```
recurrence r(head p) { input x[p], a  g[p] = sigmoid(a) * x[p]  h[p] = g[p] * h[p] + x[p]  y[p] = h[p] }    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.unit}` is one value for a unit and reads `{self.term}`, one for each of its channels"

    @property
    def label(self) -> str:
        return f"which of them, `{self.unit}` does not say"

    @property
    def help(self) -> str | None:
        return f"write `{self.left} = ...`; a sum over the channels of a unit is made in torch, and given as an input"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.equation, "one value for a unit"),)


@dataclass(frozen=True)
class ReadoutOfHead(Diagnostic):
    """`text` as written, `wanted` what the left-hand side should be."""

    code: ClassVar[str] = "S182"
    text: str
    wanted: str
    explanation: ClassVar[str] = """\
With a head, the last equation is the output of each channel of the unit: it has the index of the head, and no other.

```
recurrence r(head p) { input x[p], a  h[p] = a * h[p] + x[p]  y = a }    # wrong
```
```
recurrence r(head p) { input x[p], a  h[p] = a * h[p] + x[p]  y[p] = h[p] }    # right
```"""

    @property
    def title(self) -> str:
        return f"the output `{self.text}` is not one value per channel"

    @property
    def label(self) -> str:
        return f"the last equation is the output: `{self.wanted} = ...`"


@dataclass(frozen=True)
class NoInputOfHead(Diagnostic):
    code: ClassVar[str] = "S183"
    name: str
    index: str
    explanation: ClassVar[str] = """\
A recurrence with a head scans at least one map with a value for every channel, an `input` with the index of the head.

```
recurrence r(head p) { input a  param b[p]  h[p] = a * h[p] + b[p]  y[p] = h[p] }    # wrong
```
```
recurrence r(head p) { input x[p], a  h[p] = a * h[p] + x[p]  y[p] = h[p] }    # right
```"""

    @property
    def title(self) -> str:
        return f"recurrence `{self.name}` has no input with the index `{self.index}`"

    @property
    def label(self) -> str:
        return f"declare at least one: `input x[{self.index}]`, a value for every channel and step"


@dataclass(frozen=True)
class HeadWithoutIndex(Diagnostic):
    code: ClassVar[str] = "S184"
    explanation: ClassVar[str] = """\
`head` is the number of channels of a unit, and always comes with the index that stands for the channel.

```
recurrence r(head) { input x  h = 0.9 * h + x  y = h }    # wrong
```
```
recurrence r(head p) { input x[p]  h[p] = 0.9 * h[p] + x[p]  y[p] = h[p] }    # right
```"""

    @property
    def title(self) -> str:
        return "`head` has no index"

    @property
    def label(self) -> str:
        return "`head` is the number of channels of a unit; a size of another kind has another name"

    @property
    def help(self) -> str | None:
        return "write `head p`, and `x[p]` for what each channel of the unit has for itself"


@dataclass(frozen=True)
class PerMisused(Diagnostic):
    code: ClassVar[str] = "S185"
    text: str
    reason: str
    explanation: ClassVar[str] = """\
`per 4 units` at the end of a `shared` declaration gives every four consecutive units a value of their own; without it one
value is for all channels. The number is at least 1, or the name of a size of the recurrence.

```
recurrence r(state n) { input x  param B[n] per 4 units  h[n] = 0.9 * h[n] + B[n] * x  y = sum(n: h[n]) }    # wrong
```
```
recurrence r(state n) { input x  shared B[n] per 4 units  h[n] = 0.9 * h[n] + B[n] * x  y = sum(n: h[n]) }    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.text}` cannot stand here"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class PrevMisused(Diagnostic):
    """`text` is `prev(...)` as written."""

    code: ClassVar[str] = "S186"
    text: str
    reason: str
    instead: str
    explanation: ClassVar[str] = """\
`prev(e)` is the value of `e` at the step before, 0 at the start. `e` reads names above; in its own equation a state or a
running scale is its old value, so that `h` and `prev(h)` are the same there, and nothing else is read from further back. A
scale of one step alone has no old value.

```
h = a * h + prev(b * h) + x    # wrong
```
```
h = a * h + x
y = h + prev(b * h)    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.text}` has no value here"

    @property
    def label(self) -> str:
        return self.reason

    @property
    def help(self) -> str | None:
        return self.instead


@dataclass(frozen=True)
class ScaleReadsState(Diagnostic):
    """`name` is a state, or is made of one."""

    code: ClassVar[str] = "S187"
    scale: str
    name: str
    explanation: ClassVar[str] = """\
A scale says how large the states of a step may become, before they are computed: it reads inputs, parameters, values made
of these, and scales. No gradient flows through it, which is right as it cancels.

```
recurrence r { input x, i  h = 0.9 * h + x  scale m = max(m, h)  y = exp(i - m) * h / exp(-m) }    # wrong
```
```
recurrence r { input x, i  scale m = max(m, i)  h = 0.9 * h + x  y = exp(i - m) * h / exp(-m) }    # right
```"""

    @property
    def title(self) -> str:
        return f"the scale `{self.scale}` reads the state `{self.name}`"

    @property
    def label(self) -> str:
        return "a scale is made of inputs, parameters and scales"


@dataclass(frozen=True)
class ScaleRemains(Diagnostic):
    """`left` is what the output keeps of the scales (`exp(-m)`), `cure` what takes it away."""

    code: ClassVar[str] = "S188"
    output: str
    left: str
    cure: str
    explanation: ClassVar[str] = """\
A scale keeps numbers small and must not change the result: whatever its value, the output is the same. Each value is
followed through `exp`, `log` and the arithmetic, and what is left in the output is said.

```
recurrence r {    # wrong: y is exp(-m) times what it should be
  input i, v
  scale m = max(m, i)
  a = exp(prev(m) - m) * a + exp(i - m) * v
  y = a
}
```
```
recurrence r {    # right: both have the factor exp(-m)
  input i, v
  scale m = max(m, i)
  a = exp(prev(m) - m) * a + exp(i - m) * v
  b = exp(prev(m) - m) * b + exp(i - m)
  y = a / b
}
```"""

    @property
    def title(self) -> str:
        return f"the output `{self.output}` depends on a scale"

    @property
    def label(self) -> str:
        return f"`{self.left}` is left"

    @property
    def help(self) -> str | None:
        return self.cure


@dataclass(frozen=True)
class ScalesDiffer(Diagnostic):
    """`what` are two values that must have the same scale; `here` and `there` say what each has."""

    code: ClassVar[str] = "S189"
    what: str
    here: str
    other: Span
    there: str
    instead: str | None
    explanation: ClassVar[str] = """\
Values that are added, compared or chosen from have the same factor of scales, such as `exp(-m)`, or the factor would not
come out of the result. In the update of a state, the old value has the factor of the step before, `exp(-prev(m))`, and is
multiplied by `exp(prev(m) - m)`.

```
scale m = max(m, i)
a = a + exp(i - m) * v    # wrong
```
```
scale m = max(m, i)
a = exp(prev(m) - m) * a + exp(i - m) * v    # right
```"""

    @property
    def title(self) -> str:
        return f"{self.what} have different scales"

    @property
    def label(self) -> str:
        return self.here

    @property
    def help(self) -> str | None:
        return self.instead

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.other, self.there),)


@dataclass(frozen=True)
class ScaleInside(Diagnostic):
    """`what` is the operation (`tanh`) that a factor or term does not come out of."""

    code: ClassVar[str] = "S190"
    what: str
    reason: str
    explanation: ClassVar[str] = """\
A scale stands in an exponent, and its factor comes out of products, quotients, sums of equal factors, `min`, `max`, `abs`,
`relu`, `sqrt` and `log`. Out of other functions it does not: divide it away before.

```
y = tanh(a)    # wrong: where a has the factor exp(-m)
```
```
y = tanh(a / b)    # right: where b has it too
```"""

    @property
    def title(self) -> str:
        return f"a scale does not come out of {self.what}"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class NotASource(Diagnostic):
    code: ClassVar[str] = "S191"
    recurrence: str
    name: str
    operand: Span
    explanation: ClassVar[str] = """\
A projection is a linear map of the channels of a cell: its source is an input of the scan with one value for every channel.
An input of the scan that feeds a `shared` operand, an operand with an index or one of units has another shape.

```
scan s(dim) { input x, B  directions raster  recur ssm(state = 4)  project C from B }    # wrong: where shared B[n]
```
```
scan s(dim) { input x  directions raster  recur ssm(state = 4)  project B, C from x }    # right
```"""

    @property
    def title(self) -> str:
        return f"nothing can be projected from `{self.name}`"

    @property
    def label(self) -> str:
        return f"`{self.recurrence}` reads it with another shape than one value for every channel"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.operand, "declared here"),)
