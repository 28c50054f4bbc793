"""The functions and operators of `forward`, on features, vectors and numbers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scanlang.backbones.feature import Feature, Value, feature_of_image, on_channels, spread
from scanlang.backbones.modules import resized
from scanlang.codegen.second_pass import FUNCTIONS as OF_TENSORS


def together(function: Callable[..., Any], *values: Value) -> Value:
    """Entry by entry; a vector meets every row of a feature, a number everything."""
    features = [value for value in values if isinstance(value, Feature)]
    if not features:
        made: Value = function(*values)
        return made
    return features[0].with_rows(function(*map(spread, values)))


def _operator(function: Callable[..., Any]) -> Callable[..., Value]:
    return partial(together, function)


OPERATORS: Mapping[str, Callable[..., Value]] = {
    "+": _operator(operator.add), "-": _operator(operator.sub), "*": _operator(operator.mul), "/": _operator(operator.truediv),
    "//": _operator(operator.floordiv), "%": _operator(operator.mod),
    "<": _operator(operator.lt), "<=": _operator(operator.le), ">": _operator(operator.gt), ">=": _operator(operator.ge),
    "==": _operator(operator.eq), "!=": _operator(operator.ne),
}  # fmt: skip
NEGATIVE = _operator(operator.neg)


def pointwise(name: str, value: Value) -> Value:
    if isinstance(value, float | int):
        return float(OF_TENSORS[name](torch.tensor(value, dtype=torch.float64)))
    return on_channels(OF_TENSORS[name], value)


def _least(left: Tensor | float, right: Tensor | float) -> Tensor | float:
    if isinstance(left, Tensor):
        return torch.minimum(left, _like(left, right))
    return min(left, right) if isinstance(right, float | int) else torch.minimum(_like(right, left), right)


def _greatest(left: Tensor | float, right: Tensor | float) -> Tensor | float:
    if isinstance(left, Tensor):
        return torch.maximum(left, _like(left, right))
    return max(left, right) if isinstance(right, float | int) else torch.maximum(_like(right, left), right)


def _like(tensor: Tensor, value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else tensor.new_full((), value)


OF_TWO: Mapping[str, Callable[..., Value]] = {"min": partial(together, _least), "max": partial(together, _greatest)}


def split(value: Value, parts: tuple[int, ...]) -> tuple[Value, ...]:
    """Into so many equal parts of the channels; or, with several numbers, into these."""
    if isinstance(value, Feature):
        return tuple(value.with_rows(rows) for rows in value.rows.split(part_sizes(value.rows.shape[-1], parts), -1))
    assert isinstance(value, Tensor)
    return tuple(torch.split(value, part_sizes(value.shape[-1], parts), -1))


def part_sizes(channels: int, parts: tuple[int, ...]) -> list[int]:
    return [channels // parts[0]] * parts[0] if len(parts) == 1 else list(parts)


def concat(*values: Value) -> Value:
    """Channels side by side."""
    return together(_side_by_side, *values)


def _side_by_side(*values: Tensor) -> Tensor:
    return torch.cat(values, -1)


def mean_of_cells(value: Feature) -> Tensor:
    return value.cell_rows.mean(1)


def max_of_cells(value: Feature) -> Tensor:
    return value.cell_rows.amax(1)


def softmax_over_cells(value: Feature) -> Feature:
    """Of the cells alone."""
    return Feature(value.cell_rows.softmax(1), value.grid)


OVER_CELLS: Mapping[str, Callable[[Feature], Value]] = {
    "mean": mean_of_cells, "max": max_of_cells, "softmax": softmax_over_cells,
}  # fmt: skip


def token(value: Feature, name: str) -> Tensor:
    """As a vector; the mean of several."""
    rows = value.by_token[name]
    return rows[:, 0] if rows.shape[1] == 1 else rows.mean(1)


def cells(value: Feature) -> Feature:
    return value.without_tokens()


def resize(value: Feature, like: Feature) -> Feature:
    """To the grid of `like`."""
    return feature_of_image(resized(value.image, like.grid))


def nearest(value: Feature, like: Feature) -> Feature:
    """To the grid of `like`, every cell that of `value` over it."""
    return feature_of_image(resized(value.image, like.grid, "nearest"))
