"""Position embeddings have values for the tokens that they meet: which those are, only the network as a whole says.

In: a module, and the calls that `widths.py` followed through it. Out: the position embeddings, each with its parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from scanlang.backbones.feature import Tokens
from scanlang.backbones.modules import PositionEmbedding
from scanlang.networks.network import Layer
from scanlang.networks.trace import Call
from scanlang.networks.values import Map


def learn_positions(module: nn.Module, calls: Iterable[Call]) -> None:
    for embedding, tokens in positions_met(module, calls):
        embedding.learn(tokens)


def positions_met(module: nn.Module, calls: Iterable[Call]) -> Iterator[tuple[PositionEmbedding, Tokens]]:
    """The position embeddings that are called, with the tokens of what they are given."""
    for call in calls:
        if isinstance(call.callee, Layer) and call.callee.word == "position_embedding":
            found, (value,) = module.get_submodule(call.path), call.inputs
            assert isinstance(found, PositionEmbedding)
            assert isinstance(value, Map)
            yield found, value.tokens
