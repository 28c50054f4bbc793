"""What goes through a network: a map and its tokens in one array of rows, so that layers of channels take both alike.

In: images `(B, C, H, W)`, or maps `(B, H, W, C)` and tokens. Out: the same again, as views: cells lie in raster order, channels
last, the tokens behind them. An image of them, `(B, C, H, W)`, is in torch's `channels_last` memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Tokens = tuple[tuple[str, int], ...]
"""Names, and how many there are of each, in the order of their rows."""


@dataclass(frozen=True)
class Feature:
    """`rows` is `(B, R, C)`: the cells of `grid`, then `tokens`."""

    rows: Tensor
    grid: tuple[int, ...]
    tokens: Tokens = ()

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    @property
    def cell_rows(self) -> Tensor:
        """`(B, cells, C)`."""
        return self.rows[:, : self.cells] if self.tokens else self.rows

    @property
    def map(self) -> Tensor:
        """`(B, H, W, C)`."""
        cells: Tensor = self.cell_rows.unflatten(1, self.grid)
        return cells

    @property
    def image(self) -> Tensor:
        """`(B, C, H, W)`."""
        return self.map.movedim(-1, 1)

    @property
    def token_rows(self) -> Tensor:
        """`(B, T, C)`, those of every name."""
        return self.rows[:, self.cells :]

    @property
    def by_token(self) -> dict[str, Tensor]:
        """The tokens of every name, `(B, T, C)`."""
        counts = [count for _, count in self.tokens]
        return dict(zip((name for name, _ in self.tokens), self.token_rows.split(counts, 1), strict=True)) if counts else {}

    def with_rows(self, rows: Tensor) -> Feature:
        return Feature(rows, self.grid, self.tokens)

    def without_tokens(self) -> Feature:
        return Feature(self.cell_rows, self.grid) if self.tokens else self

    def with_token(self, name: str, values: Tensor) -> Feature:
        """`values` `(B, T, C)` behind what there is."""
        rows = torch.cat((self.rows, values.to(self.rows.dtype)), 1)
        return Feature(rows, self.grid, (*self.tokens, (name, values.shape[1])))


Value = Feature | Tensor | float
"""A vector is a tensor `(B, C)`."""


def feature_of_image(image: Tensor) -> Feature:
    """`(B, C, H, W)` → a feature; channels come last in memory, which is a copy where they do not yet."""
    cells = image.movedim(1, -1).contiguous()
    grid = tuple(cells.shape[1:-1])
    line = cells.view(-1)  # from which one channel too gets the strides of channels that come last, as convolutions want them
    return Feature(line.view(cells.shape[0], math.prod(grid), cells.shape[-1]), grid)


def feature_of_map(cells: Tensor, tokens: Mapping[str, Tensor] | None = None) -> Feature:
    """`(B, H, W, C)`, and `(B, T, C)` for every name."""
    feature = Feature(cells.flatten(1, -2), tuple(cells.shape[1:-1]))
    for name, values in (tokens or {}).items():
        feature = feature.with_token(name, values)
    return feature


def on_channels(function: Callable[[Tensor], Tensor], value: Value) -> Value:
    """What works on the last dimension: on every row of a feature, on a vector."""
    if isinstance(value, Feature):
        return value.with_rows(function(value.rows))
    assert isinstance(value, Tensor)
    return function(value)


def spread(value: Value) -> Tensor | float:
    """As it meets rows: a vector goes to all of them."""
    if isinstance(value, Feature):
        return value.rows
    return value.unsqueeze(1) if isinstance(value, Tensor) else value
