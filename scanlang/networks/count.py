"""Parameters of a network, and what it computes at one size of the image, link by link. In: a `Network`; out: a `Count`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from operator import add
from typing import assert_never

from scanlang.networks.layer_shapes import Shape, layer_shapes
from scanlang.networks.network import Block, Layer, Network, Part, Repeat, ScanLayer
from scanlang.networks.rules import Rule
from scanlang.networks.scan_shape import scan_shape
from scanlang.networks.trace import Trace
from scanlang.networks.values import Map, Value
from scanlang.networks.widths import trace
from scanlang.networks.work import work
from scanlang.networks.work_counts import Work

TokensMet = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class SectionCount:
    """A link of the chain: what it makes, how many numbers it has learned, and what it computes."""

    name: str
    output: Value
    parameters: int
    work: Work


@dataclass(frozen=True)
class Count:
    image: tuple[int, ...]
    sections: tuple[SectionCount, ...]

    @property
    def parameters(self) -> int:
        return sum(section.parameters for section in self.sections)

    @property
    def work(self) -> Work:
        return reduce(add, (section.work for section in self.sections), Work())

    def operations(self, rule: Rule) -> int:
        return rule.total(self.work)


def count(network: Network, image: tuple[int, ...], in_chans: int | None = None) -> Count:
    """Of one image of that size. Raises ScanError for a network whose channels or grids do not fit."""
    traced = trace(network, in_chans, image)
    tokens = tokens_met(traced)
    sections = []
    for section, found in zip(network.sections, traced.sections, strict=True):
        learned = sum(prod(shape) for _, shape in part_shapes(section.part, section.name, tokens))
        done = reduce(add, (work(call, network.axes, image) for call in found.calls), Work())
        sections.append(SectionCount(section.name, found.output, learned, done))
    return Count(image, tuple(sections))


def parameter_shapes(network: Network) -> dict[str, Shape]:
    """The shape of every parameter, by the name that the module has for it (`stage1.0.op.in_proj.weight`)."""
    tokens = tokens_met(trace(network))
    return {name: shape for section in network.sections for name, shape in part_shapes(section.part, section.name, tokens)}


def tokens_met(traced: Trace) -> TokensMet:
    """The tokens that the inputs of layers have, by the paths of these."""
    found: dict[str, dict[str, int]] = {}
    for call in traced.calls:
        for value in call.inputs:
            if isinstance(value, Map) and value.tokens:
                found.setdefault(call.path, {}).update(value.tokens)
    return found


def part_shapes(part: Part, path: str, tokens: TokensMet) -> Iterator[tuple[str, Shape]]:
    """The parameters of a part of the network and their shapes."""
    match part:
        case Layer():
            shapes = layer_shapes(part, tokens.get(path, {}))
            yield from ((f"{path}.{name}", shape) for name, shape in shapes.items())
        case ScanLayer():
            yield from ((f"{path}.{name}", shape) for name, shape in scan_shape(part).parameters().items())
        case Block():
            for name, inner in part.parts.items():
                yield from part_shapes(inner, f"{path}.{name}", tokens)
        case Repeat():
            for number, inner in enumerate(part.parts):
                yield from part_shapes(inner, f"{path}.{number}", tokens)
        case _:
            assert_never(part)
