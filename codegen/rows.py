"""How the maps of a call lie in rows: cells in raster order, then tokens, then pads. Maps and tokens → an array, and back.

Plain torch, so that autograd and `torch.compile` see through it; a map without tokens and pads is not copied.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """`tokens` has the name and the number of the tokens of a call, in the order of their rows."""

    grid: tuple[int, ...]
    tokens: tuple[tuple[str, int], ...] = ()
    pads: int = 0

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    @property
    def covered(self) -> int:
        """Cells and tokens: what a map has without its pads."""
        return self.cells + sum(count for _, count in self.tokens)

    def pack(self, cells: Tensor, tokens: Mapping[str, Tensor]) -> Tensor:
        """`(B, <axes>, …)` and the `(B, T, …)` of every name → `(B, R, …)`; pads are 0."""
        flat = cells.flatten(1, len(self.grid))
        parts = [flat, *(tokens[name].to(flat.dtype) for name, _ in self.tokens)]
        if self.pads:
            parts.append(flat.new_zeros(flat.shape[0], self.pads, *flat.shape[2:]))
        return torch.cat(parts, 1) if len(parts) > 1 else flat

    def has(self, tokens: Sequence[tuple[str, int]]) -> bool:
        """The same, as many, in that order. Compared one by one: torch.compile of 2.11 cannot compare tuples of tuples."""
        pairs = zip(tokens, self.tokens, strict=False)
        return len(tokens) == len(self.tokens) and all(a == c and b == d for (a, b), (c, d) in pairs)

    def take(self, x: Tensor, tokens: Sequence[tuple[str, int]]) -> Tensor:
        """Rows `(B, R, …)` whose tokens are `tokens`, without pads → those of a call; a copy only where they differ."""
        parts = [x] if self.has(tokens) else _rearranged(x, self.cells, tokens, self.tokens)
        if self.pads:
            parts.append(x.new_zeros(x.shape[0], self.pads, *x.shape[2:]))
        return torch.cat(parts, 1) if len(parts) > 1 else x

    def give(self, x: Tensor, tokens: Sequence[tuple[str, int]]) -> Tensor:
        """What undoes `take`."""
        x = x[:, : self.covered] if self.pads else x
        return x if self.has(tokens) else torch.cat(_rearranged(x, self.cells, self.tokens, tokens), 1)

    def unpack(self, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """`(B, R, …)`, with its pads or without → `(B, <axes>, …)`, contiguous, and the tokens by name."""
        cells = rows[:, : self.cells].reshape(rows.shape[0], *self.grid, *rows.shape[2:]).contiguous()
        tokens, first = {}, self.cells
        for name, count in self.tokens:
            tokens[name] = rows[:, first : first + count].contiguous()
            first += count
        return cells, tokens


def _rearranged(x: Tensor, cells: int, were: Sequence[tuple[str, int]], wanted: Sequence[tuple[str, int]]) -> list[Tensor]:
    """The cells and the tokens of every name, in the order `wanted`."""
    first, parts = cells, {}
    for name, count in were:
        parts[name] = x[:, first : first + count]
        first += count
    return [x[:, :cells], *(parts[name] for name, _ in wanted)]
