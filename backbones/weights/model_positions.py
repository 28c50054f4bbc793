"""A network's position embedding, and the places of tokens in its scans: what `positions.py` needs to know of a network.

In: a backbone. Out: `Places`; why a published embedding is of no use to it; and its own as it would be published.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from scanlang.backbones.backbone import Backbone
from scanlang.backbones.modules import PositionEmbedding
from scanlang.backbones.weights.positions import Grid, Places, to_sequence
from scanlang.backbones.weights.published_file import Family
from scanlang.codegen.module import Scan2d
from scanlang.errors import WrongPositions

POSITIONS: Mapping[Family, str] = {"VMamba": "stem.position", "Vim": "position"}
"""Where networks of a family have theirs."""

_FINER, _PATCH = 8, 16
"""Pixels from patch to patch where they overlap, and the pixels of one."""


def places_of(model: Backbone, path: str) -> Places:
    """The tokens of a position embedding, where the network's first scan visits them."""
    module = model.get_submodule(path)
    assert isinstance(module, PositionEmbedding)
    counts = {name: len(value) for name, value in module.named_parameters() if name != "cells"}
    scan = next((one for one in model.modules() if isinstance(one, Scan2d)), None)
    if scan is None or not counts:
        return Places(None, tuple(counts.items()))
    return Places(scan.op.graph.traversal.orders[0], tuple((name, counts[name]) for name in scan.op.tokens))


def unusable(
    model: Backbone, name: str, published: Tensor, places: Places, was: Grid | None, own: Grid
) -> WrongPositions | None:
    """Why a sequence of positions on the grid `was` is none for the model."""

    def finding(problem: str, instead: str | None = None) -> WrongPositions:
        return WrongPositions(model.network.span, model.network.name, name, tuple(published.shape), problem, instead)

    if was is None:
        patches = f"{published.shape[1] - places.count} patches and {places.count} tokens"
        return finding(f"{patches}, and the patches are neither {own[0]} × {own[1]}, as the model's, nor a square")
    numbers = model.network.numbers
    if not all(one in numbers for one in ("img_height", "img_width", "stride")):
        return None
    height, width, stride = (int(numbers[one]) for one in ("img_height", "img_width", "stride"))
    finer = (height - _PATCH) // _FINER + 1, (width - _PATCH) // _FINER + 1
    if stride > _FINER and was == finer != own:
        patches = f"{was[0]} × {was[1]} patches, {_FINER} pixels apart on {height} × {width}"
        return finding(
            f"{patches}; the model's are {stride} pixels apart", "make the model with `stride=8`: `vim_tiny_stride8`"
        )
    return None


def published_position(model: Backbone, family: Family, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`pos_embed` of the model's own values, if it has a position embedding."""
    own = POSITIONS[family]
    cells = values.get(f"{own}.cells")
    if cells is None:
        return {}
    if family == "VMamba":
        return {"pos_embed": cells.movedim(-1, 0).unsqueeze(0)}
    places = places_of(model, own)
    return {"pos_embed": to_sequence(cells, {token: values[f"{own}.{token}"] for token, _ in places.tokens}, places)}
