"""S4xx: no kernel is worth building. S5xx: what is wrong with a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic
from scanlang.errors.words import closest, listed


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


@dataclass(frozen=True)
class ScanNotChosen(Diagnostic):
    """`scan` is what was given for its name, `option` how that is given: `scan=` in Python, `--scan` on the command line;
    `kind` is what has that name instead, `block` or `backbone`."""

    code: ClassVar[str] = "S501"
    scan: object
    names: tuple[str, ...]
    option: str = "scan="
    kind: str | None = None
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
        if self.kind is not None:
            return f"`{self.scan}` is a {self.kind}, not a scan"
        if not self.names:
            return "the program has no scan"
        if self.scan is None:
            return f"the program has {len(self.names)} scans: {listed(self.names)}"
        return f"the program has no scan `{self.scan}`"

    @property
    def help(self) -> str | None:
        if self.kind is not None:
            module = f'a {self.kind} is a module, `scanlang.{self.kind.capitalize()}(program, "{self.scan}")`'
            scans = f"the scan{'s are' if len(self.names) > 1 else ' is'} {listed(self.names)}; " if self.names else ""
            return scans + module
        if not self.names:
            return "a scan is written `scan name(dim) { directions …  recur … }`"
        if isinstance(self.scan, int):
            of = f"the name of a scan, {listed(self.names, 'or')}"
            return f"what comes after the program is {of}; `Scan2d` takes the number of channels as `channels={self.scan}`"
        if len(self.names) == 1:
            return f"there is one: `{self.names[0]}`"
        return f"say which: `{self.option}` one of {listed(self.names)}"


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

    @property
    def help(self) -> str | None:
        if self.wanted == "a tensor":
            return None
        wanted = self.wanted.split(",")[0].split(" ")[-1]
        if not wanted.startswith(("float", "bfloat", "int")):
            return None
        advice = f"write `{self.argument}.to(torch.{wanted})`"
        if "module" in self.wanted and "float" in self.was:
            under = ", or call it under `torch.autocast`" if "64" not in self.was + wanted else ""
            return f"{advice}, or convert the module, `.to(torch.{self.was})`{under}"
        return advice


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
    """`also` are what every scan takes beside its own arguments; `unnamed`: so many were given without a name, where there may
    be `inputs` of them."""

    code: ClassVar[str] = "S505"
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    names: tuple[str, ...]
    also: tuple[str, ...] = ()
    unnamed: int = 0
    inputs: int = 0
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
        if self.unnamed:
            most = f"{self.inputs or 'no'} argument{'' if self.inputs == 1 else 's'}"
            return f"the scan takes {most} without a name, not {self.unnamed}"
        parts = [f"misses {listed(self.missing)}"] if self.missing else []
        parts += [f"does not know {listed(self.unknown)}"] if self.unknown else []
        return f"the scan {' and '.join(parts)}"

    @property
    def label(self) -> str:
        is_name = len(self.unknown) == 1 and self.unknown[0].isidentifier()
        near = closest(self.unknown[0], (*self.names, *self.also)) if is_name else None
        return f"did you mean `{near}`?" if near else ""

    @property
    def help(self) -> str | None:
        return f"its argument{'s are' if len(self.names) > 1 else ' is'} {listed(self.names)}"


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


@dataclass(frozen=True)
class WrongTokenCount(Diagnostic):
    code: ClassVar[str] = "S507"
    argument: str
    token: str
    was: int
    wanted: int
    sizes: tuple[tuple[str, int], ...]
    explanation: ClassVar[str] = """\
The tokens of one name are `(B, T, C)`, for a shared input `(B, T, K, ·)`. T is the number that the orders insert at the size of
the call: one for `at middle`, one after every s steps for `at every s`.

```
op(x=x, cls=torch.randn(1, 2, 96), …)    # wrong: `insert(raster, cls at middle)` inserts one
```
```
op(x=x, cls=torch.randn(1, 1, 96), …)    # right
```"""

    @property
    def title(self) -> str:
        return f"argument `{self.argument}` has {self.was} token{'' if self.was == 1 else 's'}"

    @property
    def label(self) -> str:
        sizes = ", ".join(f"{axis} = {length}" for axis, length in self.sizes)
        return f"the orders insert {self.wanted} `{self.token}` where {sizes}"


@dataclass(frozen=True)
class NotAPermutation(Diagnostic):
    code: ClassVar[str] = "S508"
    argument: str
    image: int
    step: int
    value: int
    cells: int
    before: int | None
    explanation: ClassVar[str] = """\
An order given at run time is `(B, L)`: for every image the raster index of the cell visited at every step, each cell once. On
the CPU it is checked at every call; on a GPU, where that would wait for the device, with `SCANLANG_DEBUG=1`.

```
op(x=x, mine=torch.zeros(B, L, dtype=torch.int64), …)    # wrong: cell 0 over and over
```
```
op(x=x, mine=scores.argsort(1), …)                       # right
```"""

    @property
    def title(self) -> str:
        return f"argument `{self.argument}` does not visit every cell of image {self.image} exactly once"

    @property
    def label(self) -> str:
        if self.before is None:
            return f"step {self.step} visits cell {self.value}; there are cells 0 to {self.cells - 1}"
        return f"steps {self.before} and {self.step} both visit cell {self.value}"


@dataclass(frozen=True)
class ChannelsDoNotSplit(Diagnostic):
    code: ClassVar[str] = "S509"
    channels: int
    split: tuple[int, ...]
    explanation: ClassVar[str] = """\
With `channels split` every direction has its own channels, in the proportions given: the sum of the proportions divides the
number of channels.

```
channels split 2, 1, 1    # wrong for 98 channels
```
```
channels split 2, 1, 1    # right for 96: 48, 24 and 24
```"""

    @property
    def title(self) -> str:
        return f"{self.channels} channels do not split {' : '.join(map(str, self.split))}"

    @property
    def help(self) -> str | None:
        return f"the number of channels must be a multiple of {sum(self.split)}"


@dataclass(frozen=True)
class WrongLayerResult(Diagnostic):
    code: ClassVar[str] = "S510"
    why: str
    explanation: ClassVar[str] = """\
A layer that a merge calls is given `(B, rows, C)`, or `(B, 1, C)` for a mean over cells, and gives as many rows; what it makes
must fit what it is combined with.

```
use g = linear(dim, 2 * dim)    merge sum(k: y[k] * g(mean(cells: y[k])))    # wrong: C by 2 C channels
```
```
use g = linear(dim, dim)        merge sum(k: y[k] * g(mean(cells: y[k])))    # right
```"""

    @property
    def title(self) -> str:
        return "the merge does not fit together"

    @property
    def label(self) -> str:
        return self.why


@dataclass(frozen=True)
class NoSuchLayer(Diagnostic):
    code: ClassVar[str] = "S511"
    scan: str
    layer: object
    count: int
    explanation: ClassVar[str] = """\
`layer=` picks the directions of one layer of a scan with `layers`. After the last entry of `layers cycle` comes the first
again; `layers list` has one entry per layer.

```
scanlang.Scan2d("eight.scan", "zigma", 96, layer=8)    # wrong, where `layers list` has eight entries: 0 … 7
```
```
scanlang.Scan2d("eight.scan", "zigma", 96, layer=7)    # right
```"""

    @property
    def title(self) -> str:
        return f"the scan `{self.scan}` has no layer {self.layer!r}"

    @property
    def label(self) -> str:
        return f"`layers list` has {self.count} entries, from 0" if self.count else "a layer is a whole number, 0 or more"


@dataclass(frozen=True)
class ChannelsDoNotDivide(Diagnostic):
    """`own`: these are the channels of one direction of several; `into` says of what they must be made."""

    code: ClassVar[str] = "S512"
    channels: int
    own: bool
    into: str
    explanation: ClassVar[str] = """\
Where a recurrence has a `head`, the channels are heads of so many consecutive channels, and with `per 4 units` the heads are
groups of four. With `channels split` this is so for the channels of every direction.

```
scanlang.Scan2d(program, "ssd", 96, head=64)     # wrong: one head and a half
```
```
scanlang.Scan2d(program, "ssd", 128, head=64)    # right: two heads
```"""

    @property
    def title(self) -> str:
        return f"the {self.channels} channels{' of a direction' if self.own else ''} do not divide into {self.into}"


@dataclass(frozen=True)
class NotOneState(Diagnostic):
    code: ClassVar[str] = "S513"
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
Where a scan has one state, `h0=` may be that state itself. Where it has several, those of a convolution or of `prev` among
them, it is a mapping by their names: what `return_state=True` gave.

```
op(h0=h, …)                            # wrong, where the states are `h` and `conv.1`
```
```
op(h0={"h": h, "conv.1": before}, …)   # right; states that are left out start as usual
```"""

    @property
    def title(self) -> str:
        return f"`h0` is a tensor, and the scan has {len(self.names)} states"

    @property
    def help(self) -> str | None:
        return f"give a mapping with any of {listed(self.names)}"


@dataclass(frozen=True)
class UnknownStates(Diagnostic):
    code: ClassVar[str] = "S514"
    unknown: tuple[str, ...]
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
`h0=` gives states by the names that the recurrence has for them; `conv.1`, `conv.2` … are the last inputs of a convolution,
`prev.0` … values that `prev` looks back at.

```
op(h0={"H": h}, …)    # wrong, where the state is called `h`
```
```
op(h0={"h": h}, …)    # right
```"""

    @property
    def title(self) -> str:
        return f"the scan has no state {listed(self.unknown)}"

    @property
    def help(self) -> str | None:
        return f"its states are {listed(self.names)}"


@dataclass(frozen=True)
class MissingScales(Diagnostic):
    code: ClassVar[str] = "S515"
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
A state that is kept relative to a running scale says nothing without it: with any state that is given, the scales are given
too.

```
op(h0={"a": a, "b": b}, …)            # wrong, with `scale m = …`
```
```
op(h0={"a": a, "b": b, "m": m}, …)    # right: all that `return_state=True` gave
```"""

    @property
    def title(self) -> str:
        return f"`h0` lacks the scale{'s' if len(self.names) > 1 else ''} {listed(self.names)}"

    @property
    def help(self) -> str | None:
        return "give all states that `return_state=True` gave"


@dataclass(frozen=True)
class DifferentiatedTwice(Diagnostic):
    code: ClassVar[str] = "S516"
    scan: str
    explanation: ClassVar[str] = """\
The backward of a scan is derived and fused; a backward of the backward is not made. So a gradient that is taken with
`create_graph=True` is differentiated once, not again: no Hessians and no gradient penalties through a scan.

```
g, = torch.autograd.grad(op(x=x, …).sum(), x, create_graph=True)
g.square().sum().backward()    # wrong
```
```
from scanlang.testing import reference
y = reference(program, x=x, …)    # right: slow, in plain torch, differentiable as often as torch is
```"""

    @property
    def title(self) -> str:
        return f"the gradient of the scan `{self.scan}` is differentiated"

    @property
    def help(self) -> str | None:
        return "`scanlang.testing.reference` is plain torch, and differentiable again"


@dataclass(frozen=True)
class NotByTransforms(Diagnostic):
    """`forwards`: a tangent was given; otherwise a transform of `torch.func` differentiates."""

    code: ClassVar[str] = "S517"
    scan: str
    forwards: bool
    explanation: ClassVar[str] = """\
A scan has a backward, for `backward()` and `torch.autograd.grad`. The transforms of `torch.func` that differentiate (`grad`,
`vjp`, `jacrev`) do not see it, and there is no derivative in forward mode (`jvp`, `jacfwd`, dual tensors).

```
torch.func.grad(lambda x: op(x=x, …).sum())(x)    # wrong
```
```
torch.autograd.grad(op(x=x, …).sum(), x)          # right, where x.requires_grad
```"""

    @property
    def title(self) -> str:
        how = "in forward mode" if self.forwards else "inside a transform of `torch.func`"
        return f"the scan `{self.scan}` is differentiated {how}"

    @property
    def help(self) -> str | None:
        if self.forwards:
            return "`scanlang.testing.reference` is plain torch, and differentiable in forward mode"
        return "use `backward()` or `torch.autograd.grad`"


@dataclass(frozen=True)
class NoSuchLibraryProgram(Diagnostic):
    """`known` are the programs of the library."""

    code: ClassVar[str] = "S520"
    name: str
    known: tuple[str, ...]
    explanation: ClassVar[str] = """\
Where a program is asked for, `std.vmamba` names one of the library, unless there is a file of that name.

```
scanlang.load("std.vmanba")    # wrong
```
```
scanlang.load("std.vmamba")    # right
```"""

    @property
    def title(self) -> str:
        return f"the library has no program `{self.name}`"

    @property
    def label(self) -> str:
        near = closest(self.name, self.known)
        return f"did you mean `{near}`?" if near else ""

    @property
    def help(self) -> str | None:
        return "`scanlang list` shows the library"
