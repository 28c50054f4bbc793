"""`weight = truncated_normal(0.02)`: the first weights of a layer, drawn in place. Biases are then 0."""

from __future__ import annotations

from typing import assert_never

from torch import Tensor, nn

from scanlang.networks.network import Initial

CUT = 2.0
"""Where a truncated normal distribution ends."""


def draw(module: nn.Module, initial: Initial) -> None:
    for name, parameter in module.named_parameters():
        if name.rpartition(".")[2] == "bias":
            nn.init.zeros_(parameter)
        else:
            _draw_weight(parameter, initial)


def _draw_weight(weight: Tensor, initial: Initial) -> None:
    match initial.kind:
        case "truncated_normal":
            nn.init.trunc_normal_(weight, std=initial.number, a=-CUT, b=CUT)
        case "normal":
            nn.init.normal_(weight, std=initial.number)
        case "uniform":
            nn.init.uniform_(weight, -initial.number, initial.number)
        case "constant":
            nn.init.constant_(weight, initial.number)
        case _:
            assert_never(initial.kind)
