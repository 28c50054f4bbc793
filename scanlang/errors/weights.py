"""S530 … S534: published weights that are not those of a network.

Names are those of the file, or where it lacks one, as the published code writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic
from scanlang.errors.words import listed


def _count(names: tuple[object, ...]) -> str:
    return f"{len(names)} weight{'' if len(names) == 1 else 's'}"


def _are(names: tuple[object, ...]) -> str:
    return "is" if len(names) == 1 else "are"


@dataclass(frozen=True)
class MissingWeights(Diagnostic):
    """`names` are published ones; `own` names of the network that no published one stands for."""

    code: ClassVar[str] = "S530"
    network: str
    names: tuple[str, ...]
    own: tuple[str, ...]
    explanation: ClassVar[str] = """\
Published weights are taken whole: every weight of the network is in the file. Another network of the same family has others,
and so has a backbone of your own with layers that the published one does not have.

```
model = create_model("vmamba_small_s2l15")
convert_weights(torch.load("vssm1_tiny_0230s.pth"), model)    # wrong: a smaller one, with fewer blocks
```
```
model = create_model("vmamba_tiny_s1l8")
convert_weights(torch.load("vssm1_tiny_0230s.pth"), model)    # right
```"""

    @property
    def title(self) -> str:
        missing = (*self.names, *self.own)
        return f"{_count(missing)} of `{self.network}` {_are(missing)} missing"

    @property
    def label(self) -> str:
        parts = [f"the file has no {listed(self.names, 'or')}"] if self.names else []
        parts += [f"nothing published stands for {listed(self.own)}"] if self.own else []
        return "; ".join(parts)


@dataclass(frozen=True)
class LeftOverWeights(Diagnostic):
    code: ClassVar[str] = "S531"
    network: str
    names: tuple[str, ...]
    explanation: ClassVar[str] = """\
Every weight of the file goes into the network, but for what is known to be of no use there: buffers of rotary embeddings, the
heads and necks of a detector, and the classifier where the network has none.

```
convert_weights(torch.load("vim_s.pth"), create_model("vim_tiny_mean"))    # wrong: there is no class token
```
```
convert_weights(torch.load("vim_s.pth"), create_model("vim_small"))        # right
```"""

    @property
    def title(self) -> str:
        return f"`{self.network}` has no place for {_count(self.names)} of the file"

    @property
    def label(self) -> str:
        return f"left over {_are(self.names)} {listed(self.names)}"


@dataclass(frozen=True)
class MisshapenWeights(Diagnostic):
    """`shapes` has the name, the shape in the file, and the shape that the network wants, of each."""

    code: ClassVar[str] = "S532"
    network: str
    shapes: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    explanation: ClassVar[str] = """\
A weight of the file has another shape than that of the network. A wider or narrower network has, and so has a head for another
number of classes, or a stem for other images than of three channels.

```
convert_weights(published, create_model("vmamba_tiny_s1l8", num_classes=10))    # wrong: published are 1000 classes
```
```
model = create_model("vmamba_tiny_s1l8")
model.load_state_dict(convert_weights(published, model))
model.reset_classifier(10)                                                      # right
```"""

    @property
    def title(self) -> str:
        return f"{_count(self.shapes)} of the file {_are(self.shapes)} of another shape than in `{self.network}`"

    @property
    def label(self) -> str:
        return "; ".join(f"`{name}` is {_shape(was)} and not {_shape(wanted)}" for name, was, wanted in self.shapes)

    @property
    def help(self) -> str | None:
        return "see `scanlang explain S532`: `reset_classifier` gives a network another number of classes"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


@dataclass(frozen=True)
class UnknownWeights(Diagnostic):
    """`found` are some names of the file, `family` whose they are if that is known."""

    code: ClassVar[str] = "S533"
    network: str
    found: tuple[str, ...]
    family: str | None
    explanation: ClassVar[str] = """\
Weights are known by their names: those of VMamba have `layers.0.blocks.0.op.…` (or `self_attention`), those of Vim
`layers.0.mixer.…`. They go into the networks of `backbones.vmamba` and `backbones.vim`, and into those made from them.

```
convert_weights(torch.load("swin_tiny.pth"), create_model("vmamba_tiny_s1l8"))          # wrong
```
```
convert_weights(torch.load("vssm1_tiny_0230s.pth"), create_model("vmamba_tiny_s1l8"))   # right
```"""

    @property
    def title(self) -> str:
        if self.family is not None:
            return f"these are weights of {self.family}, and `{self.network}` is no such network"
        return "these weights are neither VMamba's nor Vim's"

    @property
    def label(self) -> str:
        return f"the file has {listed(self.found)}" if self.found else "the file has no tensors"


@dataclass(frozen=True)
class WrongPositions(Diagnostic):
    code: ClassVar[str] = "S534"
    network: str
    name: str
    shape: tuple[int, ...]
    problem: str
    instead: str | None
    explanation: ClassVar[str] = """\
A position embedding has a row for every patch and every token. It is resized where the grid of patches is another one, as for
larger images; but weights for patches every 8 pixels are no good for patches every 16.

```
convert_weights(torch.load("vim_t_midclstok_ft_78p3acc.pth"), create_model("vim_tiny"))            # wrong
```
```
convert_weights(torch.load("vim_t_midclstok_ft_78p3acc.pth"), create_model("vim_tiny_stride8"))    # right
```"""

    @property
    def title(self) -> str:
        return f"the position embedding `{self.name}` does not go with `{self.network}`"

    @property
    def label(self) -> str:
        return f"it is {_shape(self.shape)}: {self.problem}"

    @property
    def help(self) -> str | None:
        return self.instead
