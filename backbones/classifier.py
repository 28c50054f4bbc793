"""What comes behind the features: pools by name, and what a pool needs to know of the grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from scanlang.backbones.feature import Feature, Value
from scanlang.backbones.functions import max_of_cells, mean_of_cells, token
from scanlang.backbones.layers import TAKES
from scanlang.networks.network import Layer, ScanLayer
from scanlang.networks.trace import Call

POOL, HEAD = "pool", "head"
AFTER = (POOL, HEAD)


class MeanPool(nn.Module):
    def forward(self, x: Feature) -> Value:
        return mean_of_cells(x)


class MaxPool(nn.Module):
    def forward(self, x: Feature) -> Value:
        return max_of_cells(x)


class TokenPool(nn.Module):
    """The first token, as timm's transformers have it."""

    def forward(self, x: Feature) -> Value:
        return token(x, x.tokens[0][0])


POOLS: Mapping[str, type[nn.Module]] = {"": nn.Identity, "avg": MeanPool, "max": MaxPool, "token": TokenPool}
"""By the names that timm has for them; without one, cells and tokens are classified one by one."""


def grid_reader(calls: Iterable[Call]) -> str | None:
    """What among the calls of a pool works on cells where they lie."""
    for call in calls:
        match call.callee:
            case Layer(word=word):
                if TAKES.get(word, "channels") != "channels" and word != "token":
                    return word
            case ScanLayer():
                return call.path
            case "resize":
                return "resize"
    return None
