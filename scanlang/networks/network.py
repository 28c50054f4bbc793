"""A block or backbone with its sizes in numbers: a tree of layers.

In: nothing is looked up here any more. `instantiate.py` makes it from a checked program, `widths.py` follows the channels
through it, `scanlang.backbones` makes an `nn.Module` of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, assert_never

from scanlang.check.program import CheckedScan
from scanlang.source import Span
from scanlang.syntax.nodes import Body


@dataclass(frozen=True)
class Initial:
    """`weight = truncated_normal(0.02)`: the first weights of a layer, its bias then being 0. `number` is the standard
    deviation of a normal distribution (a truncated one is cut at ±2), the bound of a uniform one, the value of a constant."""

    kind: Literal["truncated_normal", "normal", "uniform", "constant"]
    number: float


Number = int | float | bool


@dataclass(frozen=True)
class Layer:
    """A layer of the vocabulary, with a value for each of its formals."""

    word: str
    numbers: dict[str, Number]
    span: Span = field(compare=False, repr=False)
    weight: Initial | None = None


@dataclass(frozen=True)
class ScanLayer:
    """A scan of `channels` channels. `layer` picks the directions where the scan says `layers`."""

    scan: CheckedScan
    channels: int
    sizes: dict[str, int]
    layer: int
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Block:
    """`parts` by name, in the order of the text; `numbers` are what `body` may name beside inputs: formals and numbers."""

    name: str
    parts: dict[str, Part]
    inputs: tuple[str, ...]
    body: Body
    numbers: dict[str, Number]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Repeat:
    """One after the other."""

    parts: tuple[Part, ...]
    span: Span = field(compare=False, repr=False)


Part = Layer | ScanLayer | Block | Repeat


@dataclass(frozen=True)
class Section:
    """A link of a backbone's chain; `span` is the statement."""

    name: str
    part: Part
    feature: Literal["", "feature", "features"]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Network:
    """A backbone: `numbers` are the values of its formals of kind number (`num_classes`, `in_chans`, `drop_path_rate`)."""

    name: str
    sections: tuple[Section, ...]
    numbers: dict[str, Number]
    axes: tuple[str, ...]
    span: Span = field(compare=False, repr=False)


def size_of(part: Part) -> int:
    """How many layers and blocks it is made of, itself among them."""
    match part:
        case Layer() | ScanLayer():
            return 1
        case Block(parts=parts):
            return 1 + sum(map(size_of, parts.values()))
        case Repeat(parts=repeats):
            return sum(map(size_of, repeats))
    assert_never(part)
