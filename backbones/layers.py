"""The module of every word of the vocabulary, and how a module is called: most are torch's own, and take tensors.

In: a `Layer` with its numbers. Out: an `nn.Module`; and by `call_layer` a `Feature` where a module wants rows or an image. Both
are views of the same memory, and stay so where the module keeps channels last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from torch import nn
from torch.nn import functional

from scanlang.backbones.feature import Feature, Value, feature_of_image, on_channels
from scanlang.backbones.first_weights import draw
from scanlang.backbones.functions import part_sizes, split
from scanlang.backbones.modules import (
    AvgPool,
    DepthToSpace,
    DropPath,
    Haar,
    InverseHaar,
    LayerNorm,
    MaxPool,
    Mlp,
    PositionEmbedding,
    RasterConv,
    RMSNorm,
    Scale,
    SpaceToDepth,
    Token,
    Upsample,
)
from scanlang.codegen.module import Scan2d
from scanlang.diagnostics import InternalError
from scanlang.networks.network import Layer, Number

How = Literal["channels", "cells", "image", "feature", "scan"]
"""A module takes what has channels last; the cells in a row; an image; features and vectors; the rows of a scan."""

TAKES: Mapping[str, How] = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "batch_norm", "avg_pool", "max_pool", "upsample"), "image"),
    **dict.fromkeys(("space_to_depth", "depth_to_space", "haar", "inverse_haar", "group_norm"), "image"),
    "depthwise_conv1d": "cells",
    **dict.fromkeys(("token", "position_embedding"), "feature"),
}
"""The words that take other than channels."""


def module_of(layer: Layer, name: str, axes: int) -> nn.Module:
    """The module of a layer, whose statement has this name, on a grid of so many axes."""
    n = Numbers(layer.numbers)
    made = _BATCH_NORMS[axes](n.size("dim"), n.real("eps")) if layer.word == "batch_norm" else MODULES[layer.word](n, name)
    if layer.weight is not None:
        draw(made, layer.weight)
    return made


class Numbers:
    """The numbers of a layer, as what they are."""

    def __init__(self, numbers: Mapping[str, Number]) -> None:
        self._numbers = numbers

    def size(self, name: str) -> int:
        return int(self._numbers[name])

    def real(self, name: str) -> float:
        return float(self._numbers[name])

    def flag(self, name: str) -> bool:
        return bool(self._numbers[name])


def _conv2d(n: Numbers, name: str) -> nn.Module:
    taken, made, kernel, stride, padding = (n.size(one) for one in ("in", "out", "kernel", "stride", "padding"))
    return nn.Conv2d(taken, made, kernel, stride, padding, groups=n.size("groups"), bias=n.flag("bias"))


def _depthwise(n: Numbers, name: str) -> nn.Module:
    dim, kernel = n.size("dim"), n.size("kernel")
    return nn.Conv2d(dim, dim, kernel, n.size("stride"), kernel // 2, groups=dim, bias=n.flag("bias"))


def _layer_norm(n: Numbers, name: str) -> nn.Module:
    return LayerNorm(n.size("dim"), n.real("eps"), elementwise_affine=n.flag("affine"))


MODULES: Mapping[str, Callable[[Numbers, str], nn.Module]] = {
    "linear": lambda n, name: nn.Linear(n.size("in"), n.size("out"), n.flag("bias")),
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "depthwise_conv1d": lambda n, name: RasterConv(n.size("dim"), n.size("kernel"), n.flag("bias")),
    "layer_norm": _layer_norm,
    "rms_norm": lambda n, name: RMSNorm(n.size("dim"), n.real("eps")),
    "group_norm": lambda n, name: nn.GroupNorm(n.size("groups"), n.size("dim"), n.real("eps")),
    "mlp": lambda n, name: Mlp(n.size("dim"), int(n.size("dim") * n.real("ratio"))),
    "drop_path": lambda n, name: DropPath(n.real("rate")),
    "dropout": lambda n, name: nn.Dropout(n.real("rate")),
    "scale": lambda n, name: Scale(n.size("dim"), n.real("initial"), n.flag("bias")),
    "position_embedding": lambda n, name: PositionEmbedding(n.size("dim"), n.size("rows"), n.size("columns")),
    "token": lambda n, name: Token(name, n.size("dim"), n.size("count")),
    "avg_pool": lambda n, name: AvgPool(n.size("kernel"), n.size("stride")),
    "max_pool": lambda n, name: MaxPool(n.size("kernel"), n.size("stride")),
    "upsample": lambda n, name: Upsample(n.size("factor")),
    "space_to_depth": lambda n, name: SpaceToDepth(n.size("factor")),
    "depth_to_space": lambda n, name: DepthToSpace(n.size("factor")),
    "haar": lambda n, name: Haar(),
    "inverse_haar": lambda n, name: InverseHaar(),
    "identity": lambda n, name: nn.Identity(),
}

_BATCH_NORMS: Mapping[int, Callable[[int, float], nn.Module]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


def call_layer(how: How, module: nn.Module, *values: Value) -> Value:
    """What a module makes of values; a `Scan2d` of the rows that lie there already."""
    if how == "channels":
        return on_channels(module, values[0])
    if how == "feature":
        made: Value = module(*values)
        return made
    features = [value for value in values if isinstance(value, Feature)]
    first = features[0]
    if how == "scan":
        assert isinstance(module, Scan2d)
        return first.with_rows(module.on_rows([value.rows for value in features], first.grid, first.tokens))
    if first.tokens:
        raise InternalError("tokens where only cells may be")
    if how == "cells":
        return first.with_rows(module(first.rows))
    return feature_of_image(module(first.image))


def call_split(module: nn.Module, value: Value, parts: tuple[int, ...]) -> tuple[Value, ...]:
    """`split(fc(x), 2)`: every part by its own rows of the weights, which spares copies of what lies side by side. A module
    that does more than a linear map is called as it is."""
    if type(module) is not nn.Linear or module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return split(on_channels(module, value), parts)
    counts = part_sizes(module.out_features, parts)
    weights = module.weight.split(counts)
    biases = (None,) * len(weights) if module.bias is None else module.bias.split(counts)
    return tuple(on_channels(partial(functional.linear, weight=w, bias=b), value) for w, b in zip(weights, biases, strict=True))
