"""Learned linear maps of a scan: their weights, and what they make of a map on rows.

weights           (K, rows, C), one for all directions (rows, C); biases (K, rows), (rows)
channels split    (rows, C): the columns of a direction are its own channels; for all directions (rows, C / K)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class ProjectionShape:
    """`parts` are the first channel and the number of channels of every direction; `split`: each has its own."""

    rows: int
    channels: int
    parts: tuple[tuple[int, int], ...]
    split: bool
    shared: bool

    def initial(self, bias: bool) -> tuple[Tensor, Tensor | None]:
        """Weight and bias drawn as `nn.Linear` does, for the channels that one direction sees."""
        front = () if self.shared else (len(self.parts),)
        if not self.split:
            bound = 1.0 / math.sqrt(self.channels)
            weight = torch.empty(*front, self.rows, self.channels).uniform_(-bound, bound)
            return weight, torch.empty(*front, self.rows).uniform_(-bound, bound) if bias else None
        bounds = [1.0 / math.sqrt(count) for _, count in self.parts[: 1 if self.shared else None]]
        counts = [count for _, count in self.parts]
        weights = [torch.empty(self.rows, n).uniform_(-bound, bound) for n, bound in zip(counts, bounds, strict=False)]
        biases = [torch.empty(self.rows).uniform_(-bound, bound) for bound in bounds] if bias else []
        if not bias:
            return torch.cat(weights, 1), None
        return torch.cat(weights, 1), biases[0] if self.shared else torch.stack(biases)

    def project(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`(B, R, C)`, or `(B, R, K, C)` where each direction has its own, → `(B, R, K, rows)`."""
        if self.split:
            return self._project_split(x, weight, bias)
        directions = len(self.parts)
        if x.ndim == 3:
            rows = functional.linear(x, weight.flatten(0, -2), None if bias is None else bias.flatten())
            by_direction: Tensor = rows.unflatten(-1, (1 if self.shared else directions, self.rows))
            return by_direction.expand(-1, -1, directions, -1) if self.shared else by_direction
        if self.shared:
            return functional.linear(x, weight, bias)
        by_direction = torch.bmm(x.flatten(0, 1).transpose(0, 1), weight.transpose(1, 2))
        rows = by_direction if bias is None else by_direction + bias.unsqueeze(1)
        made: Tensor = rows.transpose(0, 1).unflatten(0, x.shape[:2])
        return made

    def _project_split(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.shared:
            return functional.linear(x.unflatten(-1, (len(self.parts), -1)), weight, bias)
        counts = [count for _, count in self.parts]
        return self._each(x.split(counts, -1), weight.split(counts, -1), None if bias is None else bias.unbind(0))

    def _each(self, maps: Sequence[Tensor], weights: Sequence[Tensor], biases: Sequence[Tensor] | None) -> Tensor:
        """Every direction's own map by its own weight."""
        own = biases or (None,) * len(self.parts)
        return torch.stack([functional.linear(*one) for one in zip(maps, weights, own, strict=True)], 2)
