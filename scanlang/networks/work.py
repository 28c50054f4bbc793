"""What a call computes at one size, in counts that the rules of `rules.py` weigh. In: a `Call`; out: a `Work`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from scanlang.networks.layer_shapes import layer_shapes
from scanlang.networks.network import Layer, ScanLayer
from scanlang.networks.scan_work import scan_work
from scanlang.networks.trace import Call
from scanlang.networks.values import Map, Value, Vector
from scanlang.networks.work_counts import Work

Grid = tuple[int, ...]


def work(call: Call, axes: tuple[str, ...], image: Grid) -> Work:
    """Of one image of that size."""
    match call.callee:
        case Layer():
            rule = LAYERS.get(call.callee.word)
            return Work() if rule is None else rule(call.callee, call.inputs[0], call.output, image)
        case ScanLayer():
            value = call.inputs[0]
            assert isinstance(value, Map)
            return scan_work(call.callee, value, axes, image)
        case "mean" | "max":
            return Work(pooled=elements(call.inputs[0], image))
        case "resize":
            return Work(resized=elements(call.output, image))
        case _:
            return Work()


def elements(value: Value, image: Grid) -> int:
    """The numbers of a map or vector."""
    return value.rows(image) * value.channels if isinstance(value, Map | Vector) else 0


def _matrix(layer: Layer, value: Value, output: Value, image: Grid) -> Work:
    """Every weight of a linear map or convolution is used once for every row of the result; biases cost nothing."""
    weights = [shape for name, shape in layer_shapes(layer, {}).items() if name.endswith("weight")]
    rows = output.rows(image) if isinstance(output, Map | Vector) else 0
    return Work(dense=rows * sum(map(prod, weights)))


def _norm(layer: Layer, value: Value, output: Value, image: Grid) -> Work:
    count = elements(value, image)
    return Work(normalised=count) if layer_shapes(layer, {}) else Work(standardised=count)


def _pool(layer: Layer, value: Value, output: Value, image: Grid) -> Work:
    return Work(pooled=elements(value, image))


def _upsample(layer: Layer, value: Value, output: Value, image: Grid) -> Work:
    return Work(resized=elements(output, image))


LAYERS: Mapping[str, Callable[[Layer, Value, Value, Grid], Work]] = {
    **dict.fromkeys(("linear", "mlp", "conv2d", "depthwise_conv2d", "depthwise_conv1d"), _matrix),
    **dict.fromkeys(("layer_norm", "rms_norm", "batch_norm", "group_norm"), _norm),
    **dict.fromkeys(("avg_pool", "max_pool"), _pool),
    "upsample": _upsample,
}
"""Layers that are not here cost nothing: they add, multiply or move single values."""
