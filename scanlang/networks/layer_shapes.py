"""The shapes of what a layer of the vocabulary has learned, by the names that `scanlang.backbones.layers` has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scanlang.networks.network import Layer

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Numbers = Mapping[str, int | float | bool]


def layer_shapes(layer: Layer, tokens: Mapping[str, int]) -> Shapes:
    """`tokens` are those that the layer meets, by name: a position embedding has a parameter for each."""
    rule, dim = RULES.get(layer.word), int(layer.numbers.get("dim", 0))
    own = {name: (count, dim) for name, count in tokens.items()} if layer.word == "position_embedding" else {}
    return {**(rule(layer.numbers) if rule is not None else {}), **own}


def mlp_width(numbers: Numbers) -> int:
    """The channels between `fc1` and `fc2`."""
    return int(numbers["dim"] * numbers["ratio"])


def _dense(inner: Shape, outer: int, bias: object) -> Shapes:
    return {"weight": (outer, *inner), **({"bias": (outer,)} if bias else {})}


def _linear(numbers: Numbers) -> Shapes:
    return _dense((int(numbers["in"]),), int(numbers["out"]), numbers["bias"])


def _conv2d(numbers: Numbers) -> Shapes:
    kernel = int(numbers["kernel"])
    return _dense((int(numbers["in"]) // int(numbers["groups"]), kernel, kernel), int(numbers["out"]), numbers["bias"])


def _depthwise_conv2d(numbers: Numbers) -> Shapes:
    kernel = int(numbers["kernel"])
    return _dense((1, kernel, kernel), int(numbers["dim"]), numbers["bias"])


def _depthwise_conv1d(numbers: Numbers) -> Shapes:
    return _dense((1, int(numbers["kernel"])), int(numbers["dim"]), numbers["bias"])


def _norm(numbers: Numbers) -> Shapes:
    dim = (int(numbers["dim"]),)
    return {"weight": dim, "bias": dim} if numbers.get("affine", True) else {}


def _weight(numbers: Numbers) -> Shapes:
    return {"weight": (int(numbers["dim"]),)}


def _scale(numbers: Numbers) -> Shapes:
    return {**_weight(numbers), **({"bias": (int(numbers["dim"]),)} if numbers["bias"] else {})}


def _token(numbers: Numbers) -> Shapes:
    return {"weight": (int(numbers["count"]), int(numbers["dim"]))}


def _mlp(numbers: Numbers) -> Shapes:
    dim, width = int(numbers["dim"]), mlp_width(numbers)
    layers = {"fc1": _dense((dim,), width, True), "fc2": _dense((width,), dim, True)}
    return {f"{layer}.{name}": shape for layer, shapes in layers.items() for name, shape in shapes.items()}


def _position(numbers: Numbers) -> Shapes:
    return {"cells": (int(numbers["rows"]), int(numbers["columns"]), int(numbers["dim"]))}


RULES: Mapping[str, Callable[[Numbers], Shapes]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "depthwise_conv1d": _depthwise_conv1d,
    "layer_norm": _norm,
    "batch_norm": _norm,
    "rms_norm": _weight,
    "group_norm": _norm,
    "scale": _scale,
    "token": _token,
    "position_embedding": _position,
    "mlp": _mlp,
}
