"""A scan computed the slow way, one step after another, from a transcription: plain torch, gradients by autograd.

In: a design, the inputs of a call and a module's weights under their names. Out: the map, and the tokens of every name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
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
        """`given`: maps `(B, axes …, C)`, tokens `(B, T, C)`, maps of low, B and C if the caller makes them, and the order."""
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
        maps = {name: self.packed(name, given) for name in self.design.inputs}
        outputs = [self.direction(k, walks, maps["x"], given) for k in range(len(walks))]
        kept = len(self.rows) - 1
        inputs = {name: rows[:, :kept] for name, rows in maps.items()}
        merged = self.design.merge([y[:, :kept] for y in outputs], inputs, self.layers, self.count)
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

    def direction(self, k: int, walks: Walks, x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """Its output on rows; 0 where it does not go."""
        design, walk = self.design, walks[k]
        own = slice(None)
        if design.split:
            size = x.shape[-1] // len(walks)
            own = slice(k * size, (k + 1) * size)
        u = self.convolved(k, walk, x[..., own], own)
        low, into, out = self.projected(k, walks, x[..., own], u, given, own)
        y = self.recurrence(k, walk, u, low, into, out, own)
        written = design.outputs(*self.grid)[k] if design.outputs else walk
        result = torch.zeros_like(x[..., own])
        return result.index_add(1, self.at(written), y)

    def weight(self, name: str, k: int, own: slice, part: str | None = None) -> Tensor:
        """A parameter as direction k has it: shared, of its own, or that of its own channels."""
        value = self.weights[name]
        if (part or name) in self.design.shared:
            return value
        return value[own] if self.design.split else value[k]

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

    def projected(
        self, k: int, walks: Walks, x: Tensor, u: Tensor, given: Mapping[str, Tensor], own: slice
    ) -> tuple[Tensor, ...]:
        """low, B and C at every step."""
        walk = walks[k]
        if not self.design.projected:
            maps = [given[name].flatten(1, len(self.grid))[:, :, k] for name in ("low", "B", "C")]
            return tuple(one[:, self.at(walk)] for one in maps)
        weight = self.weights["project_weight"]
        if "project" not in self.design.shared:
            weight = weight[:, own] if self.design.split else weight[k]
        if self.design.operands is not None:
            u = x[:, self.at(self.design.operands(*self.grid)[k])]
        rank = self.weights["dt_weight"].shape[-1]
        state = self.weights["A_log"].shape[-1]
        return (u @ weight.T).split([rank, state, state], -1)

    def recurrence(self, k: int, walk: Walk, u: Tensor, low: Tensor, into: Tensor, out: Tensor, own: slice) -> Tensor:
        """S6: h = exp(Δ A) h + Δ B u, y = C h + D u, with Δ = softplus(W low + b) and A = -exp(A_log)."""
        dt_weight, dt_bias, a_log, skip = (self.weight(name, k, own) for name in ("dt_weight", "dt_bias", "A_log", "D"))
        labels = moves(walk, self.grid) if self.design.labelled else None
        state, found = torch.zeros(*u[:, 0].shape, a_log.shape[-1], dtype=u.dtype), []
        for t in range(len(walk)):
            b = into[:, t]
            if labels is not None:
                b = b + self.weight("dB", k, own)[labels[t]]
            dt = functional.softplus(low[:, t] @ dt_weight.T + dt_bias)
            kept = torch.zeros_like(state) if t in walk.starts else state
            state = torch.exp(dt[..., None] * -torch.exp(a_log)) * kept + (dt * u[:, t])[..., None] * b[:, None]
            found.append((state * out[:, t, None]).sum(-1) + skip * u[:, t])
        return torch.stack(found, 1)


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
