"""Effective receptive fields: how much each cell of the input moves the output of one cell, measured by gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import scanlang

DRAWS = 16


def receptive_fields(program: scanlang.Program, maps: Tensor) -> dict[str, Tensor]:
    """A field `(H, W)` for every scan of receptive_field.scan; the parameters that they have in common are the same."""
    channels = maps.shape[-1]
    torch.manual_seed(0)
    four = scanlang.Scan2d(program, "four_ways", channels)
    chosen = {"raster_only": [0], "there_and_back": [0, 2], "four_ways": [0, 1, 2, 3]}
    titles = ("raster", "bidirectional", "cross-scan")
    fields = {}
    for title, (scan, directions) in zip(titles, chosen.items(), strict=True):
        core = scanlang.Scan2d(program, scan, channels)
        core.load_state_dict({name: value[directions] for name, value in four.state_dict().items()})
        fields[title] = receptive_field(core, maps)
    return fields


def receptive_field(core: nn.Module, maps: Tensor) -> Tensor:
    """`(1, H, W, C)` → `(H, W)`: the root mean square, over channels and random directions of the middle cell's output, of
    that output's gradient with respect to every cell."""
    batch = maps.expand(DRAWS, *maps.shape[1:]).clone().requires_grad_()
    output = core(batch)
    middle = output[:, maps.shape[1] // 2, maps.shape[2] // 2]
    direction = torch.randn(middle.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(middle, batch, direction)
    return gradient.square().mean((0, 3)).sqrt()
