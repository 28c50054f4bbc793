"""Position embeddings as published and as ours: one sequence of patches with tokens in it, or cells of a grid beside tokens.

In: `pos_embed` of Vim `(1, L, C)`, with the rows of tokens at their places in the sequence, or of VMamba `(1, C, H, W)`. Out:
the weights of `position_embedding`, resized where the grid is another one.

The published code of Vim takes the token's row for the first one wherever it is, and resizes the others: with a token in the
middle, cells are shifted by one before it and the token gets the row of a cell. `published` does that too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from scanlang.backbones.modules import resized
from scanlang.maps.order import Order

How = Literal["resized", "published"]
Grid = tuple[int, int]


@dataclass(frozen=True)
class Places:
    """Where tokens stand in a sequence of patches. `order` is that of the network's first scan, None without tokens."""

    order: Order | None
    tokens: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        return sum(count for _, count in self.tokens)

    def of_tokens(self, grid: Grid) -> list[int]:
        """The steps at which the tokens are visited, in the order of their rows."""
        if self.order is None:
            return []
        cells, positions = math.prod(grid), self.order.positions(*grid)
        steps = {int(positions[step]) - cells: int(step) for step in np.flatnonzero(positions >= cells)}
        return [steps[row] for row in range(self.count)]

    def apart(self, sequence: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """`(L, C)` → cells `(H, W, C)` and tokens `(T, C)`."""
        tokens = self.of_tokens(grid)
        cells = [step for step in range(len(sequence)) if step not in set(tokens)]
        return sequence[cells].unflatten(0, grid), sequence[tokens]

    def together(self, cells: Tensor, tokens: Tensor) -> Tensor:
        """What undoes `apart`."""
        grid = cells.shape[0], cells.shape[1]
        sequence = cells.new_empty(math.prod(grid) + self.count, cells.shape[-1])
        places = self.of_tokens(grid)
        sequence[[step for step in range(len(sequence)) if step not in set(places)]] = cells.flatten(0, 1)
        sequence[places] = tokens
        return sequence


def grid_of(length: int, tokens: int, own: Grid) -> Grid | None:
    """The grid of a published sequence: that of the network, or a square; None where it is neither."""
    cells = length - tokens
    if cells == math.prod(own):
        return own
    side = math.isqrt(max(cells, 0))
    return (side, side) if side > 0 and side * side == cells else None


def of_sequence(published: Tensor, places: Places, was: Grid, own: Grid, how: How) -> dict[str, Tensor]:
    """`cells`, and the tokens by name."""
    sequence = published.flatten(0, -2)
    if how == "published":
        extra, patches = sequence[: places.count], sequence[places.count :].unflatten(0, was)
        sequence = torch.cat((extra, on_grid(patches, own).flatten(0, 1)))
        cells, tokens = places.apart(sequence, own)
    else:
        cells, tokens = places.apart(sequence, was)
        cells = on_grid(cells, own)
    counts = [count for _, count in places.tokens]
    return {"cells": cells, **dict(zip((name for name, _ in places.tokens), tokens.split(counts), strict=True))}


def to_sequence(cells: Tensor, tokens: dict[str, Tensor], places: Places) -> Tensor:
    """`(1, L, C)`, as published."""
    rows = [tokens[name] for name, _ in places.tokens]
    return places.together(cells, torch.cat(rows) if rows else cells.new_empty(0, cells.shape[-1])).unsqueeze(0)


def of_map(published: Tensor, own: Grid) -> Tensor:
    """VMamba's `(1, C, H, W)` → `(rows, columns, C)`."""
    return on_grid(published.squeeze(0).movedim(0, -1), own)


def on_grid(cells: Tensor, grid: Grid) -> Tensor:
    """`(H, W, C)` interpolated (bicubic) where the grid is another one."""
    if tuple(cells.shape[:2]) == grid:
        return cells
    image = cells.movedim(-1, 0).unsqueeze(0)
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    return resized(wide, grid, "bicubic").squeeze(0).movedim(0, -1).to(cells.dtype)
