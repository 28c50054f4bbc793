"""Vim in plain PyTorch, written from its description: what networks are compared with that no golden is recorded of, and under
autocast.

In: published weights by name, images, and what the weights do not tell. Out: class scores. One loop over the sequence for each
direction; state and residual are float32 whatever autocast says, as in the published code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]
Read = Literal["head", "middle", "double", "mean", "max"]
Both = Literal["v2", "v1", "sum", "none", "pairs"]
PATCH, EPSILON = 16, 1e-5


def plain_vim(weights: Weights, images: Tensor, stride: int = PATCH, read: Read = "middle", both: Both = "v2") -> Tensor:
    """`read` says where the tokens are, or how cells are pooled, `both` how a layer scans both ways."""
    stem = functional.conv2d(images, weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=stride)
    cells = stem.flatten(2).transpose(1, 2).float() if stem.dtype == torch.bfloat16 else stem.flatten(2).transpose(1, 2)
    places = {"head": [0], "middle": [cells.shape[1] // 2], "double": [0, cells.shape[1] + 1]}.get(read, [])
    sequence = list(cells.unbind(1))
    for place, name in zip(places, ("cls_token",) if len(places) == 1 else ("cls_token_head", "cls_token_tail"), strict=False):
        sequence.insert(place, weights[name][:, 0].expand(len(cells), -1))
    residual = torch.stack(sequence, 1) + weights["pos_embed"]
    layers = sum(name.endswith(".norm.weight") for name in weights)
    for layer in range(layers) if both != "pairs" else range(0, layers, 2):
        if both == "pairs":
            ahead = residual + mixer(*of_layer(weights, layer, residual), both)
            back = residual + mixer(*of_layer(weights, layer + 1, residual.flip(1)), both).flip(1)
            residual = ahead + back
        else:
            residual = residual + mixer(*of_layer(weights, layer, residual), both)
    features = rms_norm(residual, weights["norm_f.weight"])
    if read == "max":
        return functional.linear(features, weights["head.weight"], weights["head.bias"]).amax(1)
    features = features[:, places].mean(1) if places else features.mean(1)
    return functional.linear(features, weights["head.weight"], weights["head.bias"])


def of_layer(weights: Weights, layer: int, residual: Tensor) -> tuple[Weights, Tensor]:
    """Its weights, and what it reads."""
    prefix = f"layers.{layer}."
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    return own, rms_norm(residual, own["norm.weight"])


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * weight


def mixer(own: Weights, x: Tensor, both: Both) -> Tensor:
    x, z = functional.linear(x, own["mixer.in_proj.weight"]).chunk(2, -1)
    ahead = [own[f"mixer.{name}"] for name in parameters("", "A_log")]
    y = one_way(x, *ahead)
    if both in ("v2", "sum"):
        y = y + one_way(x.flip(1), *(own[f"mixer.{name}"] for name in parameters("_b", "A_b_log"))).flip(1)
    if both == "v1":
        y = y + scanned_back(x, *ahead[:-1], own["mixer.A_b_log"])
    return functional.linear(y * functional.silu(z) / (2 if both == "v2" else 1), own["mixer.out_proj.weight"])


def parameters(end: str, a_log: str) -> tuple[str, ...]:
    layers = ("conv1d{}.weight", "conv1d{}.bias", "x_proj{}.weight", "dt_proj{}.weight", "dt_proj{}.bias", "D{}")
    return (*(name.format(end) for name in layers), a_log)


def one_way(x: Tensor, conv: Tensor, conv_bias: Tensor, project: Tensor, *others: Tensor) -> Tensor:
    """`(B, L, E)` along the sequence, without the gate."""
    u = convolved(x, conv, conv_bias)
    return scan(u, functional.linear(u, project), *others)


def scanned_back(x: Tensor, conv: Tensor, conv_bias: Tensor, project: Tensor, *others: Tensor) -> Tensor:
    """The other way of v1: what was convolved and projected ahead is scanned from the end."""
    u = convolved(x, conv, conv_bias)
    return scan(u.flip(1), functional.linear(u, project).flip(1), *others).flip(1)


def convolved(x: Tensor, conv: Tensor, conv_bias: Tensor) -> Tensor:
    padded = functional.pad(x.transpose(1, 2), (conv.shape[-1] - 1, 0))
    return functional.silu(functional.conv1d(padded, conv, conv_bias, groups=len(conv))).transpose(1, 2)


def scan(u: Tensor, projected: Tensor, dt_weight: Tensor, dt_bias: Tensor, D: Tensor, A_log: Tensor) -> Tensor:
    low, B, C = projected.split([dt_weight.shape[1], A_log.shape[1], A_log.shape[1]], -1)
    dt = functional.softplus(functional.linear(low, dt_weight).to(dt_bias.dtype) + dt_bias)
    u, B, C = (value.to(dt.dtype) for value in (u, B, C))
    decay, drive = torch.exp(-torch.exp(A_log) * dt.unsqueeze(-1)), (dt * u).unsqueeze(-1) * B.unsqueeze(2)
    h, outputs = torch.zeros_like(drive[:, 0]), []
    for step in range(u.shape[1]):
        h = decay[:, step] * h + drive[:, step]
        outputs.append((h * C[:, step].unsqueeze(1)).sum(-1))
    return torch.stack(outputs, 1) + D * u
