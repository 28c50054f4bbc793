"""S301 … S329: what is wrong with blocks and backbones: their names and calls, and the numbers that they come to.

`calls` are the places of the layers around a finding, the innermost first: `stage = vss(dim = 7)` for what is wrong in `vss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label
from scanlang.errors.words import closest, listed
from scanlang.source import Span

_MOST_CALLS = 4
"""How many of the calls around a finding are shown."""


def calls_shown(calls: tuple[Span, ...]) -> tuple[Label, ...]:
    """The nearest calls around a finding, and the outermost."""
    shown = calls if len(calls) <= _MOST_CALLS else (*calls[: _MOST_CALLS - 1], calls[-1])
    return tuple(Label(call, "in this layer") for call in shown)


@dataclass(frozen=True)
class MisplacedLayer(Diagnostic):
    """`kind` is what `name` is (`layer`, `block`, `scan`, `backbone`), `problem` why not here, `advice` what to write."""

    code: ClassVar[str] = "S301"
    name: str
    kind: str
    problem: str
    advice: str
    explanation: ClassVar[str] = """\
A layer is made on a line of its own, which gives it its name: `name = layer(...)`, or `name = layer(...) * 2` for several
of the kind, one after the other. It is no number, so it stands in no expression; and `forward` calls it by its own name.

```
block b(dim) { forward x = linear(dim, dim) }                   # wrong
```
```
block b(dim) { fc = linear(dim, dim)  forward x = fc(x) }       # right
```"""

    @property
    def title(self) -> str:
        return f"the {self.kind} `{self.name}` cannot be used here"

    @property
    def label(self) -> str:
        return self.problem

    @property
    def help(self) -> str | None:
        return self.advice


@dataclass(frozen=True)
class NotANumber(Diagnostic):
    """`kind` is what `name` is (`layer`, `block`, `scan`), or a number where `wanted` is a layer."""

    code: ClassVar[str] = "S302"
    name: str
    kind: str
    wanted: str = "number"
    explanation: ClassVar[str] = """\
Where a number is wanted, names are those of numbers: formals without `scan` or `block` before them, and lines above such as
`inner = dim * 2`.

```
block b(dim) { fc = linear(dim, dim)  norm = layer_norm(fc)  forward x = norm(fc(x)) }      # wrong
```
```
block b(dim) { fc = linear(dim, dim)  norm = layer_norm(dim)  forward x = norm(fc(x)) }     # right
```"""

    @property
    def title(self) -> str:
        return f"the {self.kind} `{self.name}` is not a {self.wanted}"

    @property
    def label(self) -> str:
        return f"a {self.wanted} is wanted here"


@dataclass(frozen=True)
class WrongThing(Diagnostic):
    """`wanted` is the kind of `formal` (`scan`, `block`), `found` says what was given, `declared` where the formal is."""

    code: ClassVar[str] = "S303"
    formal: str
    wanted: str
    found: str
    declared: Span | None = None
    explanation: ClassVar[str] = """\
A formal `scan core` takes the name of a scan, a formal `block norm` that of a block or of a layer of the vocabulary. The name
stands alone: what it is called with is written where the block calls it.

```
block b(dim, block norm = layer_norm(96)) { n = norm(dim)  forward x = n(x) }      # wrong
```
```
block b(dim, block norm = layer_norm) { n = norm(dim)  forward x = n(x) }          # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.formal}` wants the name of a {self.wanted}"

    @property
    def label(self) -> str:
        return f"this is {self.found}"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"`{self.formal}` is declared here"),) if self.declared else ()


@dataclass(frozen=True)
class WrongLayerCall(Diagnostic):
    """`usage` is how `name` is called, `declared` where it is defined, None for a layer of the vocabulary."""

    code: ClassVar[str] = "S304"
    name: str
    problem: str
    usage: str
    declared: Span | None = None
    calls: tuple[Span, ...] = ()
    explanation: ClassVar[str] = """\
A layer, a block or a scan was called with too few or too many arguments. Those of a block stand in the order of its formals,
or have their names before them (`drop = 0.1`); of a scan the first stands alone, all others have their names.

```
block b() { fc = linear(96, bias = false)  forward x = fc(x) }         # wrong: linear(in, out, bias = true)
```
```
block b() { fc = linear(96, 192, bias = false)  forward x = fc(x) }    # right
```"""

    @property
    def title(self) -> str:
        return f"wrong arguments for `{self.name}`"

    @property
    def label(self) -> str:
        return self.problem

    @property
    def help(self) -> str | None:
        return f"it is called as `{self.usage}`"

    @property
    def related(self) -> tuple[Label, ...]:
        own = (Label(self.declared, f"`{self.name}` is defined here"),) if self.declared else ()
        return (*own, *calls_shown(self.calls))


@dataclass(frozen=True)
class NoSuchSize(Diagnostic):
    """`scan` has the sizes `known`, and not `name`; with it, it would be written as `wanted`."""

    code: ClassVar[str] = "S305"
    scan: str
    name: str
    known: tuple[str, ...]
    wanted: str
    declared: Span
    calls: tuple[Span, ...] = ()
    explanation: ClassVar[str] = """\
A block tells a scan its sizes by name, as those of `backbones.vmamba` do: `core(inner, state = 1, rank = ceil(dim / 16))`. A
scan that is given to such a block has sizes of these names.

```
scan mine(dim) { ... recur selective(state = 1, rank = 4) ... }                                            # wrong
```
```
scan mine(dim, state = 1, rank = ceil(dim / 16)) { ... recur selective(state = state, rank = rank) ... }   # right
```"""

    @property
    def title(self) -> str:
        return f"the scan `{self.scan}` has no size `{self.name}`"

    @property
    def label(self) -> str:
        near = closest(self.name, self.known)
        sizes = f"it has {listed(self.known)}" if self.known else "it has none"
        return f"{sizes}; did you mean `{near}`?" if near else sizes

    @property
    def help(self) -> str | None:
        return f"write it as `scan {self.wanted} {{ ... }}`; it need not use all of them"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, "the scan is defined here"), *calls_shown(self.calls))


@dataclass(frozen=True)
class ContainsItself(Diagnostic):
    """`chain` are names, each containing the next (of a backbone: made from the next), the last the same as the first."""

    code: ClassVar[str] = "S306"
    kind: str
    chain: tuple[str, ...]
    explanation: ClassVar[str] = """\
A block that contained itself would have no end, and neither would a backbone that is made from itself.

```
block a(dim) { inner = b(dim)  forward x = inner(x) }
block b(dim) { inner = a(dim)  forward x = inner(x) }      # wrong
```
```
block a(dim) { inner = b(dim)  forward x = inner(x) }
block b(dim) { fc = linear(dim, dim)  forward x = fc(x) }  # right
```"""

    @property
    def title(self) -> str:
        if len(self.chain) == 2:
            return f"the {self.kind} `{self.chain[0]}` {'contains' if self.kind == 'block' else 'is made from'} itself"
        return f"{self.kind}s {'contain each other' if self.kind == 'block' else 'are made from each other'} in a circle"

    @property
    def label(self) -> str:
        verb = "contains" if self.kind == "block" else "is made from"
        first, *others = (f"`{name}`" for name in self.chain)
        return f"{first} {f', which {verb} '.join((f'{verb} {others[0]}', *others[1:]))}"


@dataclass(frozen=True)
class ReplacedByAnother(Diagnostic):
    """A statement `name` of the backbone `base` is `was`, and is replaced by `found`."""

    code: ClassVar[str] = "S307"
    name: str
    base: str
    was: str
    found: str
    declared: Span
    explanation: ClassVar[str] = """\
A backbone made from another replaces what is there: a number by a number, a layer by a layer. A layer that is to go is
replaced by `identity()`.

```
backbone net(dim = 96) { stem = conv2d(3, dim, 4)  norm = layer_norm(dim) }
backbone bare from net { norm = 0 }               # wrong
```
```
backbone net(dim = 96) { stem = conv2d(3, dim, 4)  norm = layer_norm(dim) }
backbone bare from net { norm = identity() }      # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` of `{self.base}` is {self.was}, and is replaced by {self.found}"

    @property
    def label(self) -> str:
        return f"{self.was} is wanted here"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, "replaces this"),)


@dataclass(frozen=True)
class MisplacedFeature(Diagnostic):
    code: ClassVar[str] = "S308"
    word: str
    name: str
    reason: str
    explanation: ClassVar[str] = """\
`feature` before a layer of a backbone says that its result is one of the backbone's feature maps, `features` before a repeated
layer that the result of every repeat is.

```
backbone b(dim = 96) { features stem = conv2d(3, dim, 4) }           # wrong: a single layer
```
```
backbone b(dim = 96) { feature stem = conv2d(3, dim, 4) }            # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.word}` cannot stand before `{self.name}`"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class NotLast(Diagnostic):
    """`name` is `pool` or `head`, `after` the statement that comes after it."""

    code: ClassVar[str] = "S309"
    name: str
    after: str
    place: Span
    explanation: ClassVar[str] = """\
The statements `pool` and `head` of a backbone are its last ones, in this order: features are what is there before them, and a
new head replaces `head`.

```
block means() { forward x = mean(cells: x) }
backbone b(dim = 96) { stem = conv2d(3, dim, 4)  head = linear(dim, 10)  pool = means() }      # wrong
```
```
block means() { forward x = mean(cells: x) }
backbone b(dim = 96) { stem = conv2d(3, dim, 4)  pool = means()  head = linear(dim, 10) }      # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` comes before `{self.after}`"

    @property
    def label(self) -> str:
        return "`pool` and `head` are the last layers of a backbone, in this order"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.place, "this comes after it"),)


@dataclass(frozen=True)
class MisplacedRamp(Diagnostic):
    code: ClassVar[str] = "S310"
    reason: str
    explanation: ClassVar[str] = """\
`ramp(rate)` grows from 0 in the first of all repeated layers of a backbone to `rate` in the last. So it stands in the arguments
of a layer of a backbone with `* n` behind it.

```
backbone b(rate = 0.1) { skip = drop_path(ramp(rate)) }          # wrong
```
```
backbone b(rate = 0.1) { skips = drop_path(ramp(rate)) * 8 }     # right
```"""

    @property
    def title(self) -> str:
        return "`ramp` cannot stand here"

    @property
    def label(self) -> str:
        return self.reason


@dataclass(frozen=True)
class FirstWeights(Diagnostic):
    code: ClassVar[str] = "S311"
    problem: str
    explanation: ClassVar[str] = """\
`weight = ...` gives the first weights of a layer that learns some: `truncated_normal(deviation)`, `normal(deviation)`,
`uniform(bound)` or `constant(value)`. Its bias then starts at 0.

```
block b() { fc = linear(96, 192, weight = 0.02)  forward x = fc(x) }                        # wrong
```
```
block b() { fc = linear(96, 192, weight = truncated_normal(0.02))  forward x = fc(x) }      # right
```"""

    @property
    def title(self) -> str:
        return "these are no first weights"

    @property
    def label(self) -> str:
        return self.problem

    @property
    def help(self) -> str | None:
        return "write `truncated_normal(0.02)`, `normal(0.02)`, `uniform(0.1)` or `constant(0)`"


@dataclass(frozen=True)
class BadNumber(Diagnostic):
    """`what` is wanted (`` `out` of `linear` ``), `problem` is why the value is none."""

    code: ClassVar[str] = "S312"
    what: str
    problem: str
    calls: tuple[Span, ...] = ()
    explanation: ClassVar[str] = """\
Numbers of blocks and backbones are computed exactly, once the numbers of the formals are known. Sizes of layers are integers
from 1, some counts integers from 0, rates numbers from 0 to 1, and flags `true` or `false`. Of what a wrong number from Python
makes wrong, the first is said.

```
backbone b(dim = 97) { stem = conv2d(3, dim / 2, 4) }        # wrong: 48.5 channels
```
```
backbone b(dim = 96) { stem = conv2d(3, dim / 2, 4) }        # right
```"""

    @property
    def title(self) -> str:
        return f"{self.what} cannot have this value"

    @property
    def label(self) -> str:
        return self.problem

    @property
    def related(self) -> tuple[Label, ...]:
        return calls_shown(self.calls)


@dataclass(frozen=True)
class NotInAChain(Diagnostic):
    """`name` is called with `inputs`, which are not one."""

    code: ClassVar[str] = "S313"
    name: str
    inputs: tuple[str, ...]
    place: str
    calls: tuple[Span, ...] = ()
    explanation: ClassVar[str] = """\
Layers of a backbone, and repeats of a layer, are each applied to what the one before makes. So they take one value. A block
can hand several to what it calls.

```
backbone b(dim = 96) { stem = conv2d(3, dim, 4)  mixer = gated(dim) }           # wrong: gated has input x, z
```
```
block mix(dim) { core = gated(dim)  gate = linear(dim, dim)  forward x = core(x, gate(x)) }
backbone b(dim = 96) { stem = conv2d(3, dim, 4)  mixer = mix(dim) }             # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` takes {len(self.inputs)} values: {listed(self.inputs)}"

    @property
    def label(self) -> str:
        return f"{self.place} takes one"

    @property
    def related(self) -> tuple[Label, ...]:
        return calls_shown(self.calls)


@dataclass(frozen=True)
class NoLayers(Diagnostic):
    code: ClassVar[str] = "S314"
    name: str
    explanation: ClassVar[str] = """\
A backbone is a chain of layers, so it has one at least.

```
backbone b(dim = 96) { inner = dim * 2 }                 # wrong
```
```
backbone b(dim = 96) { stem = conv2d(3, dim * 2, 4) }    # right
```"""

    @property
    def title(self) -> str:
        return f"the backbone `{self.name}` has no layers"

    @property
    def label(self) -> str:
        return "a layer is written `name = layer(...)`"


@dataclass(frozen=True)
class OpenScan(Diagnostic):
    """`names` are what the caller of the scan's operator would give."""

    code: ClassVar[str] = "S315"
    scan: str
    names: tuple[str, ...]
    declared: Span
    calls: tuple[Span, ...] = ()
    explanation: ClassVar[str] = """\
A block calls a scan with the scan's inputs. What else its recurrence reads is projected in the scan; an order that is given at
run time, or a shared input that nothing projects, has no place in a block.

```
scan s(dim) { directions raster  recur selective(state = 1, rank = 4)  project low, B from x }       # wrong: and C?
```
```
scan s(dim) { directions raster  recur selective(state = 1, rank = 4)  project low, B, C from x }    # right
```"""

    @property
    def title(self) -> str:
        return f"the scan `{self.scan}` wants {listed(self.names)} from its caller"

    @property
    def label(self) -> str:
        return "a block gives a scan its inputs, and nothing else"

    @property
    def help(self) -> str | None:
        return "`project` it in the scan, or name it in the scan's `input`"

    @property
    def related(self) -> tuple[Label, ...]:
        return (Label(self.declared, "the scan is defined here"), *calls_shown(self.calls))


@dataclass(frozen=True)
class WrongFormals(Diagnostic):
    """In a call from Python: what `name` is not told, and what it does not know."""

    code: ClassVar[str] = "S316"
    name: str
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    known: tuple[str, ...]
    explanation: ClassVar[str] = """\
A backbone or block takes its formals by name. Those without a default are given.

```
scanlang.Backbone("vim.scan", "vim_tiny", classes=10)          # wrong
```
```
scanlang.Backbone("vim.scan", "vim_tiny", num_classes=10)      # right
```"""

    @property
    def title(self) -> str:
        parts = [f"is not told {listed(self.missing)}"] if self.missing else []
        parts += [f"has no formal {listed(self.unknown)}"] if self.unknown else []
        return f"`{self.name}` {' and '.join(parts)}"

    @property
    def label(self) -> str:
        near = closest(self.unknown[0], self.known) if self.unknown else None
        return f"did you mean `{near}`?" if near else ""

    @property
    def help(self) -> str | None:
        return f"its formals are {listed(self.known)}" if self.known else "it has no formals"
