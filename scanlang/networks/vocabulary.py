"""The words of blocks and backbones: layers, each with its formals, and functions.

Nothing here needs torch; `scanlang.backbones.layers` has the module of every word, `scanlang.backbones.functions` the
functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["size", "count", "number", "amount", "rate", "flag"]
"""A size is an integer from 1, a count one from 0, a number anything, an amount a number from 0, a rate one from 0 to 1, a flag
`true` or `false`."""


@dataclass(frozen=True)
class WordFormal:
    """A formal of a layer; `default` as it would be written, None where there is none."""

    name: str
    kind: Kind = "size"
    default: str | None = None


@dataclass(frozen=True)
class Entry:
    """`learned`: it has weights, so it takes `weight = …`, their first values."""

    formals: tuple[WordFormal, ...]
    learned: bool = False
    says: str = ""

    def usage(self, word: str) -> str:
        """`linear(in, out, bias = true)`."""
        return f"{word}({', '.join(f.name if f.default is None else f'{f.name} = {f.default}' for f in self.formals)})"


def _size(name: str, default: str | None = None) -> WordFormal:
    return WordFormal(name, "size", default)


_BIAS = WordFormal("bias", "flag", "true")
_EPSILON = WordFormal("eps", "amount", "1e-5")

LAYERS: Mapping[str, Entry] = {
    "linear": Entry((_size("in"), _size("out"), _BIAS), True, "a linear map of the channels, of cells and tokens"),
    "conv2d": Entry(
        (
            *(_size("in"), _size("out"), _size("kernel"), _size("stride", "1")),
            *(WordFormal("padding", "count", "kernel // 2"), _size("groups", "1"), _BIAS),
        ),
        True,
        "a convolution over the grid, zeros around it",
    ),
    "depthwise_conv2d": Entry(
        (_size("dim"), _size("kernel"), _size("stride", "1"), _BIAS), True, "a convolution over the grid, channel by channel"
    ),
    "depthwise_conv1d": Entry(
        (_size("dim"), _size("kernel"), _BIAS), True, "a convolution along the raster, both sides of a cell, channel by channel"
    ),
    "layer_norm": Entry((_size("dim"), _EPSILON, WordFormal("affine", "flag", "true")), False, "over the channels"),
    "rms_norm": Entry((_size("dim"), _EPSILON), False, "over the channels, without mean and bias"),
    "batch_norm": Entry((_size("dim"), _EPSILON), False, "per channel over batch and cells"),
    "group_norm": Entry((_size("dim"), _size("groups"), _EPSILON), False, "over the cells and the channels of a group"),
    "mlp": Entry((_size("dim"), WordFormal("ratio", "amount", "4")), True, "`fc1`, gelu, `fc2`"),
    "drop_path": Entry((WordFormal("rate", "rate"),), False, "in training, whole images' values become 0"),
    "dropout": Entry((WordFormal("rate", "rate"),), False, "in training, single values become 0"),
    "scale": Entry(
        (_size("dim"), WordFormal("initial", "number", "1"), WordFormal("bias", "flag", "false")),
        False,
        "a learned factor for each channel; `scale(1)`: one for all",
    ),
    "position_embedding": Entry(
        (_size("dim"), _size("rows"), _size("columns")), True, "learned, added to cells and tokens; resized to other grids"
    ),
    "token": Entry((_size("dim"), _size("count", "1")), True, "adds learned tokens under the statement's name"),
    "avg_pool": Entry((_size("kernel"), _size("stride", "kernel")), False, "means over windows, ragged at the end"),
    "max_pool": Entry((_size("kernel"), _size("stride", "kernel")), False, "maxima over windows, ragged at the end"),
    "upsample": Entry((_size("factor"),), False, "the grid enlarged, bilinear"),
    "space_to_depth": Entry(
        (_size("factor"),), False, "cells of a window as channels: (0, 0), (1, 0), (0, 1), (1, 1); zeros at the end"
    ),
    "depth_to_space": Entry((_size("factor"),), False, "what undoes `space_to_depth`"),
    "haar": Entry((), False, "bands of half the size as channels: on two axes the low one, that across w, that across h, both"),
    "inverse_haar": Entry((), False, "what undoes `haar`"),
    "identity": Entry((_size("dim", "1"),), False, "nothing; `identity(1)`, of any channels"),
}
"""`layer_norm` and its like take any number of leading formals by position, the rest by keyword or position."""

POINTWISE = (*("exp", "log", "sqrt", "sigmoid", "silu", "softplus", "tanh", "relu", "gelu", "abs"),)
"""Functions of one value, cell by cell and token by token."""

FUNCTIONS: Mapping[str, str] = {
    **dict.fromkeys(POINTWISE, "(x)"),
    "min": "(x, y)",
    "max": "(x, y)",
    "split": "(x, 2), or (x, 64, 32) with the channels of every part",
    "concat": "(x, y, …)",
    "token": "(x, name)",
    "cells": "(x)",
    "resize": "(x, y)",
    "nearest": "(x, y)",
}
"""What `forward` may call beside the block's layers; and `mean`, `max` and `softmax` of `(cells: x)`."""

RAMP = "ramp"
"""`drop = ramp(rate)` in a repeat: 0 for the first repeat of the backbone, `rate` for the last, linear between."""

INITIALS = ("truncated_normal", "normal", "uniform", "constant")
"""`weight = uniform(1 / sqrt(dim))`: first weights."""

NUMBER_FUNCTIONS = ("ceil", "floor", "min", "max", "sqrt")
