"""What a layer of the vocabulary makes of a value, or why it does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from scanlang.errors import ChannelsUneven, GridTooSmall, TokenTwice
from scanlang.networks.extents import Change, Enlarged, Windows
from scanlang.networks.meeting import Meeting, Misfit
from scanlang.networks.network import Layer
from scanlang.networks.values import Map, Value

TWO_AXES = 2


def layer_value(layer: Layer, value: Value, at: Meeting) -> Value:
    """Raises Misfit."""
    return RULES[layer.word](layer, value, at)


def size(layer: Layer, formal: str) -> int:
    """A formal that is a size or count."""
    return int(layer.numbers[formal])


def _linear(layer: Layer, value: Value, at: Meeting) -> Value:
    found = at.features(value)
    at.check_channels(found, size(layer, "in"))
    return replace(found, channels=size(layer, "out"))


def _pointwise(layer: Layer, value: Value, at: Meeting) -> Value:
    """What keeps the channels it is made for."""
    found = at.features(value)
    at.check_channels(found, size(layer, "dim"))
    return found


def _batch_norm(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes((1, 2, 3))
    found = at.only_cells(value)
    at.check_channels(found, size(layer, "dim"))
    return found


def _group_norm(layer: Layer, value: Value, at: Meeting) -> Value:
    found, groups = at.only_cells(value), size(layer, "groups")
    at.check_channels(found, size(layer, "dim"))
    if found.channels % groups:
        raise Misfit(ChannelsUneven(at.call, at.place, at.name, found.channels, f"{groups} groups"))
    return found


def _any_or_all(layer: Layer, value: Value, at: Meeting) -> Value:
    """A `dim` of 1 does for any channels."""
    return at.features(value) if size(layer, "dim") == 1 else _pointwise(layer, value, at)


def _any(layer: Layer, value: Value, at: Meeting) -> Value:
    return at.features(value)


def _conv2d(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    found = at.only_cells(value)
    at.check_channels(found, size(layer, "in"))
    groups = size(layer, "groups")
    for channels in (size(layer, "in"), size(layer, "out")):
        if channels % groups:
            raise Misfit(ChannelsUneven(at.call, at.place, at.name, channels, f"{groups} groups"))
    made = _moved(found, Windows(size(layer, "kernel"), size(layer, "stride"), size(layer, "padding")), at)
    return replace(made, channels=size(layer, "out"))


def _depthwise_conv2d(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    found = at.only_cells(value)
    at.check_channels(found, size(layer, "dim"))
    kernel = size(layer, "kernel")
    return _moved(found, Windows(kernel, size(layer, "stride"), kernel // 2), at)


def _depthwise_conv1d(layer: Layer, value: Value, at: Meeting) -> Value:
    found = at.only_cells(value)
    at.check_channels(found, size(layer, "dim"))
    return found


def _position_embedding(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    found = at.a_map(value)
    at.check_channels(found, size(layer, "dim"))
    return found


def _token(layer: Layer, value: Value, at: Meeting) -> Value:
    found = at.a_map(value)
    at.check_channels(found, size(layer, "dim"))
    if at.name in found.token_names:
        raise Misfit(TokenTwice(at.call, at.place, at.name))
    return replace(found, tokens=(*found.tokens, (at.name, size(layer, "count"))))


def _pool(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    return _moved(at.only_cells(value), Windows(size(layer, "kernel"), size(layer, "stride"), ragged=True), at)


def _upsample(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    return _moved(at.only_cells(value), Enlarged(size(layer, "factor")), at)


def _space_to_depth(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    factor = size(layer, "factor")
    made = _moved(at.only_cells(value), Windows(factor, factor, ragged=True), at)
    return replace(made, channels=made.channels * factor**TWO_AXES)


def _depth_to_space(layer: Layer, value: Value, at: Meeting) -> Value:
    at.check_axes()
    factor = size(layer, "factor")
    found, cells = at.only_cells(value), factor**TWO_AXES
    if found.channels % cells:
        raise Misfit(ChannelsUneven(at.call, at.place, at.name, found.channels, f"{factor} × {factor} cells"))
    return replace(_moved(found, Enlarged(factor), at), channels=found.channels // cells)


def _haar(layer: Layer, value: Value, at: Meeting) -> Value:
    made = _moved(at.only_cells(value), Windows(2, 2, ragged=True), at)
    return replace(made, channels=made.channels * _bands(at))


def _inverse_haar(layer: Layer, value: Value, at: Meeting) -> Value:
    found, bands = at.only_cells(value), _bands(at)
    if found.channels % bands:
        raise Misfit(ChannelsUneven(at.call, at.place, at.name, found.channels, f"{bands} bands"))
    return replace(_moved(found, Enlarged(2), at), channels=found.channels // bands)


def _bands(at: Meeting) -> int:
    """Low and high along every axis."""
    return 1 << len(at.setting.axes)


def _moved(value: Map, change: Change, at: Meeting) -> Map:
    image = at.setting.image
    made = replace(value, extent=value.extent.then(change))
    if image is not None and min(made.grid(image)) < 1:
        raise Misfit(GridTooSmall(at.call, at.place, at.name, value.grid(image), image))
    return made


RULES: Mapping[str, Callable[[Layer, Value, Meeting], Value]] = {
    "linear": _linear,
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise_conv2d,
    "depthwise_conv1d": _depthwise_conv1d,
    **dict.fromkeys(("layer_norm", "rms_norm", "mlp"), _pointwise),
    **dict.fromkeys(("scale", "identity"), _any_or_all),
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("drop_path", "dropout"), _any),
    "position_embedding": _position_embedding,
    "token": _token,
    **dict.fromkeys(("avg_pool", "max_pool"), _pool),
    "upsample": _upsample,
    "space_to_depth": _space_to_depth,
    "depth_to_space": _depth_to_space,
    "haar": _haar,
    "inverse_haar": _inverse_haar,
}
