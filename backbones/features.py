"""A backbone that gives its feature maps, for detectors and the like. In: a backbone; it keeps what the maps need, no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from scanlang.backbones.backbone import Backbone


class FeatureInfo(list[dict[str, Any]]):
    """What the maps are, as timm says it: a dictionary for each, and lists of what is in them."""

    def channels(self) -> list[int]:
        return [one["num_chs"] for one in self]

    def reduction(self) -> list[int | float]:
        """How many pixels a cell stands for, along an axis."""
        return [one["reduction"] for one in self]

    def module_name(self) -> list[str]:
        return [one["module"] for one in self]


class FeatureMaps(nn.Module):
    """`out_indices` are numbers of the backbone's feature maps: the last n for n, negative ones from the last, all for None.

    >>> maps = FeatureMaps(model, (1, 2, 3))
    >>> [one.shape for one in maps(images)]      # each (B, C, H, W)
    """

    def __init__(self, model: Backbone, out_indices: int | Sequence[int] | None = None) -> None:
        super().__init__()
        self.out_indices = model.prune_intermediate_layers(out_indices, prune_norm=True)
        self.feature_info = FeatureInfo(_chosen(model.feature_info, self.out_indices))
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = self.model.forward_intermediates(x, self.out_indices, stop_early=True, intermediates_only=True)
        assert isinstance(maps, list)
        return maps

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.model.set_grad_checkpointing(enable)


def _chosen(info: Sequence[dict[str, Any]], indices: Iterable[int]) -> list[dict[str, Any]]:
    return [{**info[index], "index": index} for index in indices]
