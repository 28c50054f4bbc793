"""From what every segment makes of nothing to what comes to it: a few multiplications and additions for every state."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

BLOCK = 256


def join_segments(made: Tensor, first: Tensor, last: Tensor | None) -> Tensor:
    """`(B, K, segments, states, C)`: what comes to the first segment is `first`, to the next what the one before makes of it.

    `made` `(B, K, segments, 2 states, C)` has what a segment makes of zero, and behind it the products of its decays. `first`
    and `last`, which gets what comes behind the last segment, are `(B, K, states, C)`.
    """
    from scanlang.codegen.gpu.join_kernel import join  # triton may be missing where there is no GPU

    batch, directions, segments, twice, channels = made.shape
    coming = made.new_empty(batch, directions, segments, twice // 2, channels)
    behind = torch.empty_like(first) if last is None else last
    numbers = twice // 2 * channels
    if coming.numel():
        on_device = torch.cuda.device(made.device) if made.device.type == "cuda" else contextlib.nullcontext()
        with on_device:
            join[batch * directions, -(-numbers // BLOCK)](made, first, coming, behind, numbers, segments, BLOCK)
    return coming
