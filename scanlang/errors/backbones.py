"""S521 … S529: what is wrong with making a network from a program, and with calling it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from scanlang.diagnostics import Diagnostic
from scanlang.errors.words import closest, listed

_MOST_LISTED = 12


@dataclass(frozen=True)
class WrongImages(Diagnostic):
    """`was` is what the backbone was given, in words."""

    code: ClassVar[str] = "S521"
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
A backbone takes images as other models in torch do: `(B, C, H, W)` with `in_chans` channels, in floating point, where its
weights are. Any H and W will do that leave at least one cell.

```
model(torch.rand(2, 224, 224, 3))    # wrong: channels last
model(torch.rand(2, 3, 0, 224))      # wrong: no cells
```
```
model(torch.rand(2, 3, 224, 224))    # right
```"""

    @property
    def title(self) -> str:
        return f"the backbone is given {self.was}"

    @property
    def label(self) -> str:
        return f"it takes {self.wanted}"


@dataclass(frozen=True)
class WrongOption(Diagnostic):
    """`name` is an argument of a method, which cannot be `was`; `wanted` says what it can be."""

    code: ClassVar[str] = "S522"
    name: str
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
Arguments of a model's methods are those of timm's models. `out_indices` and `indices` count the feature maps, which `feature`
and `features` mark in the program; negative ones count from the last.

```
model.forward_intermediates(images, indices=[4])     # wrong: there are four, 0 to 3
```
```
model.forward_intermediates(images, indices=[-1])    # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` cannot be {self.was}"

    @property
    def label(self) -> str:
        return self.wanted


@dataclass(frozen=True)
class NotChosen(Diagnostic):
    """`name` is None where none was named, and there are other than one of this kind."""

    code: ClassVar[str] = "S523"
    kind: Literal["backbone", "block", "scan"]
    name: str | None
    known: tuple[str, ...]
    explanation: ClassVar[str] = """\
A program may hold several backbones, blocks and scans, or none; name the one that is meant.

```
model = scanlang.Backbone("backbones.vmamba")                        # wrong: which?
```
```
model = scanlang.Backbone("backbones.vmamba", "vmamba_tiny_s1l8")    # right
```"""

    @property
    def title(self) -> str:
        if not self.known:
            return f"the program has no {self.kind}"
        if self.name is None:
            return f"the program has {len(self.known)} {self.kind}s"
        return f"the program has no {self.kind} `{self.name}`"

    @property
    def label(self) -> str:
        near = closest(self.name, self.known) if self.name is not None else None
        return f"did you mean `{near}`?" if near else ""

    @property
    def help(self) -> str | None:
        return f"it has {listed(self.known)}" if self.known and len(self.known) <= _MOST_LISTED else None


@dataclass(frozen=True)
class NoClassifier(Diagnostic):
    code: ClassVar[str] = "S524"
    backbone: str
    problem: str
    explanation: ClassVar[str] = """\
`reset_classifier` makes the last layer of a backbone anew, which is called `head` and says `num_classes`, a formal of the
backbone. What comes before it and is called `pool` is what `global_pool` replaces.

```
backbone b(dim = 96) { stem = conv2d(3, dim, 4)  pool = mean_pool()  out = linear(dim, 10) }                             # wrong
```
```
backbone b(dim = 96, num_classes = 10) { stem = conv2d(3, dim, 4)  pool = mean_pool()  head = linear(dim, num_classes) } # right
```"""

    @property
    def title(self) -> str:
        return f"the backbone `{self.backbone}` has no classifier to make anew"

    @property
    def label(self) -> str:
        return self.problem


@dataclass(frozen=True)
class PoolReadsGrid(Diagnostic):
    code: ClassVar[str] = "S525"
    backbone: str
    layer: str
    explanation: ClassVar[str] = """\
The features of a backbone with tokens are `(B, N, C)`, tokens first, and do not say what grid the others lie on. So
`forward_head` can take them only where the pool is a mean, a maximum, a token or what is made of these. Calling the model
itself goes all the way.

```
model.forward_head(model.forward_features(images))    # wrong, where the pool has a convolution
```
```
model(images)    # right
```"""

    @property
    def title(self) -> str:
        return f"the pool of `{self.backbone}` needs the grid"

    @property
    def label(self) -> str:
        return f"`{self.layer}` works on cells where they lie"


@dataclass(frozen=True)
class WrongBlockInputs(Diagnostic):
    """`was` is what the block was given, in words."""

    code: ClassVar[str] = "S526"
    block: str
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
A block takes as many maps as its `forward` names, each `(B, H, W, C)`. Tokens are keywords, `(B, T, C)` under their own names,
`cls`; those of another input than the first, `z`, are `z_cls`. A position embedding has values only for the tokens that the
block itself adds before.

```
y = block(images)                             # wrong: (B, C, H, W)
```
```
y = block(images.permute(0, 2, 3, 1))         # right
```"""

    @property
    def title(self) -> str:
        return f"the block `{self.block}` is given {self.was}"

    @property
    def label(self) -> str:
        return f"it takes {self.wanted}"
