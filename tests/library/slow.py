"""A scan computed the slow way, one step after another, from a transcription: plain torch, gradients by autograd.

In: a design, the inputs of a call and a module's weights under their names. Out: the map, and the tokens of every name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from library.formulas import CHANNELS
from library.transcriptions import Design
from library.walks import Step, Walk, Walks
from torch import Tensor, nn
from torch.nn import functional

RIGHT, LEFT, UP, DOWN = 1, 2, 3, 4
MOVES = {(0, 1): RIGHT, (0, -1): LEFT, (-1, 0): UP, (1, 0): DOWN}


class Slow:
    """One layer of a design at one size, for all images that share an order."""

    def __init__(
        self, design: Design, layer: int, grid: Sequence[int], weights: Mapping[str, Tensor], layers: Mapping[str, nn.Module]
    ) -> None:
        self.design, self.layer, self.grid, self.weights, self.layers = design, layer, tuple(grid), weights, layers
        self.count = math.prod(grid)

    def __call__(self, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """`given`: maps `(B, axes …, C)` and `(B, axes …, K, …)`, tokens `(B, T, …)`, and the order."""
        order = self.design.given
        if order is None:
            return self.images(given, None)
        parts = []
        for b, permutation in enumerate(given[order].tolist()):
            parts.append(self.images({name: t[b : b + 1] for name, t in given.items()}, permutation))
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def images(self, given: Mapping[str, Tensor], order: Sequence[int] | None) -> tuple[Tensor, ...]:
        walks = self.design.walks(self.layer, self.grid, order)
        self.rows = rows_of(walks, self.count)
        design = self.design
        maps = {name: self.packed(name, given) for name in (*design.inputs, *design.left_to_the_caller)}
        outputs = [self.direction(k, walks, maps) for k in range(len(walks))]
        kept = len(self.rows) - 1
        inputs = {name: maps[name][:, :kept] for name in design.inputs}
        merged = design.merge([y[:, :kept] for y in outputs], inputs, self.layers, self.count)
        found, first = [merged[:, : self.count].unflatten(1, self.grid)], self.count
        for name in dict.fromkeys(step[0] for step in self.rows if isinstance(step, tuple)):
            size = sum(isinstance(step, tuple) and step[0] == name for step in self.rows)
            found.append(merged[:, first : first + size])
            first += size
        return tuple(found)

    def packed(self, name: str, given: Mapping[str, Tensor]) -> Tensor:
        """A map's cells, its tokens, and a row of zeros for padding."""
        cells = given[name].flatten(1, len(self.grid))
        names = dict.fromkeys(step[0] for step in self.rows if isinstance(step, tuple))
        tokens = [given[token if name == self.design.inputs[0] else f"{name}_{token}"] for token in names]
        return torch.cat([cells, *tokens, torch.zeros_like(cells[:, :1])], 1)

    def at(self, walk: Walk) -> Tensor:
        return torch.tensor([self.rows[step] for step in walk.steps])

    # One direction.

    def direction(self, k: int, walks: Walks, maps: Mapping[str, Tensor]) -> Tensor:
        """Its output on rows; 0 where it does not go."""
        design, walk = self.design, walks[k]
        first = maps[design.inputs[0]]
        size = first.shape[-1] // len(walks) if design.split else first.shape[-1]
        own = slice(k * size, (k + 1) * size) if design.split else slice(None)
        convolved = self.convolved(k, walk, first[..., own], own)
        streams = {**self.given(k, walk, maps, own), **self.projected(k, walks, first[..., own], convolved, own)}
        if design.inputs[0] in design.cell.streams:
            streams[design.inputs[0]] = convolved
        if design.labelled:
            labels = moves(walk, self.grid)
            streams["B"] = streams["B"] + self.weight("dB", k, own)[labels]
        params = {name: self.weight(name, k, self.part(axes, own)) for name, axes in design.cell.params.items()}
        y = self.recurrence(walk, streams, params)
        written = design.outputs(*self.grid)[k] if design.outputs else walk
        return torch.zeros_like(first[..., own]).index_add(1, self.at(written), y)

    def part(self, axes: tuple[str, ...], own: slice) -> slice:
        """The channels of a direction as entries of a parameter."""
        each = 1 if axes[0] == CHANNELS else self.design.sizes["head"]
        return own if own.start is None else slice(own.start // each, own.stop // each)

    def weight(self, name: str, k: int, own: slice, part: str | None = None) -> Tensor:
        """A parameter as direction k has it: shared, of its own, or that of its own channels."""
        value = self.weights[name]
        if (part or name) in self.design.shared:
            return value
        return value[own] if self.design.split else value[k]

    def given(self, k: int, walk: Walk, maps: Mapping[str, Tensor], own: slice) -> dict[str, Tensor]:
        """Streams that come with the call, at every step: with the channels of the direction, or the direction among others."""
        found = {}
        for name, axes in self.design.cell.streams.items():
            if name in maps:
                values = maps[name][:, self.at(walk)]
                found[name] = values[..., own] if axes == (CHANNELS,) else values[:, :, k]
        return found

    def convolved(self, k: int, walk: Walk, x: Tensor, own: slice) -> Tensor:
        """x in the time of a direction, behind the convolution, which may have run in another sequence's time."""
        if not self.design.conv:
            return x[:, self.at(walk)]
        weight, bias = self.weight("conv_weight", k, own, "conv"), self.weight("conv_bias", k, own, "conv")
        if self.design.along is None:
            return causal(x[:, self.at(walk)], weight, bias, walk.starts)
        other = self.design.along(*self.grid)
        made = causal(x[:, self.at(other)], weight, bias, other.starts)
        return torch.zeros_like(x).index_copy(1, self.at(other), made)[:, self.at(walk)]

    def projected(self, k: int, walks: Walks, x: Tensor, u: Tensor, own: slice) -> dict[str, Tensor]:
        """The streams that linear maps of x make, at every step."""
        design, found = self.design, {}
        if design.operands is not None:
            u = x[:, self.at(design.operands(*self.grid)[k])]
        for number, names in enumerate(design.projected):
            stem = f"project_{number}" if number else "project"
            weight, bias = self.weights[f"{stem}_weight"], self.weights.get(f"{stem}_bias")
            if "project" not in design.shared:
                weight = weight[:, own] if design.split else weight[k]
                bias = None if bias is None else bias[k]
            shapes = [design.shape(design.cell.streams[name], x.shape[-1]) for name in names]
            parts = functional.linear(u, weight, bias).split([math.prod(shape) for shape in shapes], -1)
            found |= {
                name: part.unflatten(-1, (*shape, 1))[..., 0] for name, part, shape in zip(names, parts, shapes, strict=True)
            }
        return found

    def recurrence(self, walk: Walk, streams: Mapping[str, Tensor], params: Mapping[str, Tensor]) -> Tensor:
        """The formula, of every stretch in which the state does not start anew."""
        edges = (0, *sorted(walk.starts), len(walk))
        formula = self.design.cell.formula
        parts = [formula({name: x[:, first:end] for name, x in streams.items()}, params) for first, end in pairwise(edges)]
        return torch.cat(parts, 1)


def causal(x: Tensor, weight: Tensor, bias: Tensor, starts: frozenset[int]) -> Tensor:
    """SiLU of a causal depthwise convolution: nothing comes from before the start of a sequence."""
    width, found, first = weight.shape[-1], [], 0
    for t in range(x.shape[1]):
        first = t if t in starts else first
        taps = [weight[:, width - 1 - back] * x[:, t - back] for back in range(width) if t - back >= first]
        found.append(functional.silu(torch.stack(taps).sum(0) + bias))
    return torch.stack(found, 1)


def rows_of(walks: Walks, count: int) -> dict[Step, int]:
    """The row of every cell, then of every token, by name in the order of first use, then of padding."""
    tokens = {step for walk in walks for step in walk.steps if isinstance(step, tuple)}
    names = list(dict.fromkeys(step[0] for walk in walks for step in walk.steps if isinstance(step, tuple)))
    ordered: list[Step] = [*range(count), *sorted(tokens, key=lambda token: (names.index(token[0]), token[1])), None]
    return {step: row for row, step in enumerate(ordered)}


def moves(walk: Walk, grid: Sequence[int]) -> list[int]:
    """How every step came about; 0 for the first."""
    _, w = grid
    cells = [divmod(step, w) for step in walk.steps if isinstance(step, int)]
    return [0, *(MOVES[r - q, c - b] for (q, b), (r, c) in pairwise(cells))]
