"""What `widths.py` finds out of a network: every call with what it takes and gives, and what every link of the chain makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from scanlang.networks.network import Layer, ScanLayer
from scanlang.networks.values import Map, Value


@dataclass(frozen=True)
class Call:
    """A layer that is called, or a function with a name of its own in counts (`mean`, `max`, `softmax`, `resize`).

    `path` is the layer's place in the network, as in the names of its parameters (`stage1.0.op.in_proj`); of a function that of
    the block.
    """

    path: str
    callee: Layer | ScanLayer | str
    inputs: tuple[Value, ...]
    output: Value


@dataclass(frozen=True)
class SectionTrace:
    """A link of the chain: what it makes; of `features` what every repeat makes; the calls inside."""

    name: str
    output: Value
    repeats: tuple[Value, ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Trace:
    """`image` is the size that was given, None where grids are only known as factors; `work` how much was followed."""

    image: tuple[int, ...] | None
    sections: tuple[SectionTrace, ...]
    work: int = 0

    @property
    def calls(self) -> Iterator[Call]:
        for section in self.sections:
            yield from section.calls

    def calls_of(self, path: str) -> tuple[Call, ...]:
        """The calls of one layer."""
        return tuple(call for call in self.calls if call.path == path)


@dataclass(frozen=True)
class FeatureInfo:
    """A feature map of a backbone: the path of the module that makes it, its channels, and the image's length by its own."""

    name: str
    channels: int
    reduction: Fraction


def feature_info(name: str, value: Map) -> FeatureInfo:
    return FeatureInfo(name, value.channels, value.extent.reduction)
