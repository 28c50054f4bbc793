"""S120 … S133, S141, S142: equations, indices, linearity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.source import Span


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
    """`declared` is how it was declared (`h[n]`), `count` how many indices are written, `instead` what to write."""

    code: ClassVar[str] = "S121"
    name: str
    declared: str
    count: int
    first: Span
    instead: str | None = None
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
    def help(self) -> str | None:
        return f"write `{self.instead}`" if self.instead else None

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
an index is no value in an equation. Steps have no number: right of its own update `h` is the old value. `label`, the
label of the step, is the first index of a `shared param`. In a merge, `y[0]` is the output of the first direction, and
`sum(k: y[k])` goes over all of them.

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
A recurrence carries something from step to step: a state, which is a name whose equation mentions the name itself, then its
value at the step before, or what `prev` looks back at.

```
h = x  y = h    # wrong
```
```
h = 0.9 * h + x  y = h    # right
```"""

    @property
    def title(self) -> str:
        return f"recurrence `{self.name}` carries nothing from step to step"

    @property
    def label(self) -> str:
        return "no equation uses the old value of the name that it defines, or `prev`"


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

    @property
    def help(self) -> str | None:
        if "inside `max`" in self.reason:
            return "a running maximum that cancels in the output is a scale: `scale m = max(…)`"
        return (
            "gates may read inputs, parameters and states declared above; a function of the state itself goes into an equation "
            "below, where it reads the new state"
        )


@dataclass(frozen=True)
class NotDiagonal(Diagnostic):
    """`state` as written on the left (`h[n]`), `term` what its update reads: another entry (`h[m]`), or all, `summed`."""

    code: ClassVar[str] = "S130"
    state: str
    term: str
    summed: bool = False
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
        other = "all entries of the state" if self.summed else "another entry of the state"
        return f"`{self.term}` in the update of `{self.state}`: {other}"

    @property
    def help(self) -> str | None:
        if self.summed:
            return "a delta rule multiplies the state by a matrix, which no recurrence here does; every entry may have its gate"
        return "give every entry a factor of its own, and mix the entries in the equations below, where the new state is read"


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
The initial value of a parameter is a finite number, computed from numbers, the parameter's own indices (0, 1, 2 ...), the
numbers `direction`, `unit` and `units`, and the draws `uniform(low, high)`, `loguniform(low, high)` and
`normal(mean, deviation)`, whose arguments are constants.

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
class ReadoutIndexed(Diagnostic):
    """`like_head` is the size whose index is the only one, where it is called nearly as the head is: `("heads", "p")`."""

    code: ClassVar[str] = "S141"
    text: str
    like_head: tuple[str, str] | None = None
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

    @property
    def help(self) -> str | None:
        if self.like_head is not None:
            size, index = self.like_head
            return f"`head {index}` makes `{index}` the index of the channels of a head; `{size}` is a size like any other"
        return "sum over the index; the index of the channels of a head is declared by `head p`"


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
