"""The cross-scan as written in torch without a kernel: permuted copies → einsum projections → a step loop → merge.

    y = unfused_cross_scan(x, **parameters)              # x, y: (B, H, W, C); parameters as `scanlang.Scan2d` names them

It follows VMamba's forward and mamba's `selective_scan_ref` line by line: what users have today where the CUDA kernels
are not there. Run as a script it compares itself with the compiled scan.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

HERE = Path(__file__).parent


def unfused_cross_scan(
    x: Tensor, project_weight: Tensor, dt_weight: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor
) -> Tensor:
    """`project_weight` (4, rank + 2N, C), `dt_weight` (4, C, rank), `dt_bias` (4, C), `A_log` (4, C, N), `D` (4, C)."""
    height, width = x.shape[1:3]
    rank, states = dt_weight.shape[-1], A_log.shape[-1]
    sequences = four_copies(x)
    rows = torch.einsum("bkcl,krc->bkrl", sequences, project_weight)
    low, B, C = rows.split([rank, states, states], 2)
    dt = torch.einsum("bkrl,kcr->bkcl", low, dt_weight)
    outputs = selective_scan_loop(sequences, dt, -A_log.exp(), B, C, D, dt_bias)
    return merge_four(outputs, height, width)


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


def selective_scan_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """mamba's `selective_scan_ref` for K directions at once: u, delta (B, K, C, L); A (K, C, N); B, C (B, K, N, L); D and
    delta_bias (K, C).

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


def main() -> None:
    import scanlang

    torch.manual_seed(0)
    core = scanlang.Scan2d(scanlang.load(HERE / "cross_scan.scan"), "cross", 96)
    x = torch.randn(1, 12, 20, 96)
    with torch.no_grad():
        ours, theirs = core(x), unfused_cross_scan(x, **dict(core.named_parameters()))
    print(f"largest |y|: {theirs.abs().max():.3f}; largest difference: {(ours - theirs).abs().max():.1e}")


if __name__ == "__main__":
    main()
