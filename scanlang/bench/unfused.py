"""The cross-scan as written in torch without a kernel: permuted copies → einsum projections → a step loop → merge.

    y = unfused_cross_scan(x, **parameters)              # x, y: (B, H, W, C); parameters as `scanlang.Scan2d` names them

It follows VMamba's forward and mamba's `selective_scan_ref` line by line: what users have today where the CUDA kernels
are not there. `directional_scan` takes any other scan in the loop's place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

ScanFunction = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
"""u, delta (B, K, C, L); A (K, C, N); B, C (B, K, N, L); D and delta_bias (K, C) → (B, K, C, L)."""


def unfused_cross_scan(
    x: Tensor, project_weight: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor
) -> Tensor:
    """`project_weight` (4, rank + 2N, C), `dt_weight` (4, C, rank), `dt_bias` (4, C), `A_log` (4, C, N), `D` (4, C)."""
    return directional_scan(selective_scan_loop, x, project_weight, dt_weight, dt_bias, A_log, D)


def directional_scan(
    scan: ScanFunction, x: Tensor, project_weight: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor
) -> Tensor:
    """Rows and columns, each both ways, summed; or rows both ways, their mean, where there are parameters for two."""
    height, width = x.shape[1:3]
    rank, states, four = dt_weight.shape[-1], A_log.shape[-1], len(D) == 4
    sequences = four_copies(x) if four else two_copies(x)
    rows = torch.einsum("bkcl,krc->bkrl", sequences, project_weight)
    low, B, C = rows.split([rank, states, states], 2)
    dt = torch.einsum("bkrl,kcr->bkcl", low, dt_weight)
    outputs = scan(sequences, dt, -A_log.exp(), B, C, D, dt_bias)
    return merge_four(outputs, height, width) if four else merge_two(outputs, height, width)


def four_copies(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, 4, C, L): rows, columns, and both backwards, each a copy in its own order."""
    map_first = x.movedim(-1, 1)
    forward = torch.stack([map_first.flatten(2), map_first.transpose(2, 3).flatten(2)], 1)
    return torch.cat([forward, forward.flip(-1)], 1)


def merge_four(outputs: Tensor, height: int, width: int) -> Tensor:
    """(B, 4, C, L) → (B, H, W, C): every direction's output back in grid order, summed."""
    forward = outputs[:, :2] + outputs[:, 2:].flip(-1)
    rows = forward[:, 0].unflatten(-1, (height, width))
    columns = forward[:, 1].unflatten(-1, (width, height)).transpose(2, 3)
    merged: Tensor = rows + columns
    return merged.movedim(1, -1).contiguous()


def two_copies(x: Tensor) -> Tensor:
    """(B, H, W, C) → (B, 2, C, L): rows, and rows backwards."""
    rows = x.movedim(-1, 1).flatten(2)
    return torch.stack([rows, rows.flip(-1)], 1)


def merge_two(outputs: Tensor, height: int, width: int) -> Tensor:
    """(B, 2, C, L) → (B, H, W, C)."""
    mean: Tensor = ((outputs[:, 0] + outputs[:, 1].flip(-1)) / 2).unflatten(-1, (height, width))
    return mean.movedim(1, -1).contiguous()


def selective_scan_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """mamba's `selective_scan_ref` for K directions at once.

    The gradient of `decay[..., t, :]` is as large as all of `decay`, at every step: the backward's cost grows with L squared.
    """
    delta = functional.softplus(delta + delta_bias[..., None])
    decay = torch.exp(torch.einsum("bkcl,kcn->bkcln", delta, A))
    drive = torch.einsum("bkcl,bknl,bkcl->bkcln", delta, B, u)
    state, outputs = torch.zeros_like(decay[..., 0, :]), []
    for t in range(u.shape[-1]):
        state = decay[..., t, :] * state + drive[..., t, :]
        outputs.append(torch.einsum("bkcn,bkn->bkc", state, C[..., t]))
    return torch.stack(outputs, -1) + u * D[..., None]
