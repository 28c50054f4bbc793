"""VMamba in plain PyTorch, written from its description: what networks are compared with that no golden is recorded of.

In: published weights by name, images, and what the weights do not tell (`forward_type`). Out: class scores. Loops over the
sequence, no fusion; images are `(B, C, H, W)` throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]
Activation = Callable[[Tensor], Tensor]


def plain_vmamba(weights: Weights, images: Tensor, forward_type: str = "v05", act: Activation = functional.silu) -> Tensor:
    x = stem(under(weights, "patch_embed"), images)
    if "pos_embed" in weights:
        x = x + functional.interpolate(weights["pos_embed"], size=x.shape[2:], mode="bicubic", align_corners=False)
    for stage in range(4):
        own = under(weights, f"layers.{stage}")
        for block in range(1 + max(int(name.split(".")[1]) for name in own if name.startswith("blocks."))):
            x = vss_block(under(own, f"blocks.{block}"), x, forward_type, act)
        x = downsample(under(own, "downsample"), x)
    features = layer_norm(x, under(weights, "classifier.norm")).mean((2, 3))
    return functional.linear(features, weights["classifier.head.weight"], weights["classifier.head.bias"])


def under(weights: Weights, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): value for name, value in weights.items() if name.startswith(f"{prefix}.")}


def layer_norm(x: Tensor, own: Weights) -> Tensor:
    """Over the channels of `(B, C, H, W)`."""
    channels = x.shape[1]
    return functional.layer_norm(x.movedim(1, -1), (channels,), own.get("weight"), own.get("bias"), 1e-5).movedim(-1, 1)


def pointwise(x: Tensor, own: Weights) -> Tensor:
    return functional.conv2d(x, own["weight"][:, :, None, None], own.get("bias"))


def stem(own: Weights, images: Tensor) -> Tensor:
    if "5.weight" not in own:
        return layer_norm(functional.conv2d(images, own["0.weight"], own["0.bias"], stride=4), under(own, "2"))
    x = functional.conv2d(images, own["0.weight"], own["0.bias"], stride=2, padding=1)
    x = functional.gelu(layer_norm(x, under(own, "2")))
    return layer_norm(functional.conv2d(x, own["5.weight"], own["5.bias"], stride=2, padding=1), under(own, "7"))


def downsample(own: Weights, x: Tensor) -> Tensor:
    if not own:
        return x
    if "reduction.weight" not in own:
        return layer_norm(functional.conv2d(x, own["1.weight"], own["1.bias"], stride=2, padding=1), under(own, "3"))
    x = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    corners = [x[:, :, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
    return pointwise(layer_norm(torch.cat(corners, 1), under(own, "norm")), under(own, "reduction"))


def vss_block(own: Weights, x: Tensor, forward_type: str, act: Activation) -> Tensor:
    x = x + ss2d(under(own, "op"), layer_norm(x, under(own, "norm")), forward_type, act)
    if "mlp.fc1.weight" not in own:
        return x
    hidden = functional.gelu(pointwise(layer_norm(x, under(own, "norm2")), under(own, "mlp.fc1")))
    return x + pointwise(hidden, under(own, "mlp.fc2"))


def ss2d(own: Weights, x: Tensor, forward_type: str, act: Activation) -> Tensor:
    x = pointwise(x, under(own, "in_proj"))
    gate = None
    if own["out_proj.weight"].shape[1] != x.shape[1]:
        x, gate = x.chunk(2, 1)
        gate = gate if "nozact" in forward_type else functional.silu(gate)
    if "conv2d.weight" in own:
        x = functional.conv2d(x, own["conv2d.weight"], own.get("conv2d.bias"), padding=1, groups=x.shape[1])
    y = out_norm(under(own, "out_norm"), core(own, act(x), forward_type), forward_type)
    y = functional.gelu(y) if "oact" in forward_type else y
    return pointwise(y if gate is None else y * gate, under(own, "out_proj"))


def out_norm(own: Weights, y: Tensor, forward_type: str) -> Tensor:
    def conv(weight: Tensor, x: Tensor) -> Tensor:
        return functional.conv2d(x, weight, padding=1, groups=x.shape[1])

    if "onsoftmax" in forward_type:
        return torch.softmax(y.flatten(2), -1).view_as(y)
    if "onsigmoid" in forward_type:
        return torch.sigmoid(y)
    if "onnone" in forward_type:
        return y
    if "ondwconv3" in forward_type:
        return conv(own["1.weight"], y)
    if "oncnorm" in forward_type:
        return conv(own["2.weight"], layer_norm(y, under(own, "0")))
    return layer_norm(y, own)


def core(own: Weights, x: Tensor, forward_type: str) -> Tensor:
    rows, columns = x.flatten(2), x.mT.flatten(2)
    height, width = x.shape[2:]
    if "dc" in forward_type:
        return cascade(own, x)
    if "1d" in forward_type:
        return sum(scan(own, k, rows) for k in range(4)).view_as(x)  # type: ignore[union-attr]
    if "2d" in forward_type:
        ahead, back = (sum(scan(own, k + j, part) for j in range(2)) for k, part in ((0, rows), (2, rows.flip(-1))))
        return (ahead + back.flip(-1)).view_as(x)  # type: ignore[union-attr]
    y = scan(own, 0, rows) + scan(own, 2, rows.flip(-1)).flip(-1)
    turned = scan(own, 1, columns) + scan(own, 3, columns.flip(-1)).flip(-1)
    return y.view_as(x) + turned.view(*x.shape[:2], width, height).mT


def cascade(own: Weights, x: Tensor) -> Tensor:
    """Every line a sequence of its own; outputs of backward scans are added as they come, mirrored."""

    def along_rows(x: Tensor, first: int) -> Tensor:
        batch, channels, height, width = x.shape
        lines = x.movedim(2, 1).reshape(batch * height, channels, width)
        made = scan(own, first, lines) + scan(own, first + 1, lines.flip(-1))
        return made.view(batch, height, channels, width).movedim(1, 2)

    return along_rows(layer_norm(along_rows(layer_norm(x, {}), 0), {}).mT, 2).mT


def scan(own: Weights, k: int, u: Tensor) -> Tensor:
    """`(B, C, L)` by the parameters of direction k."""
    batch, channels, length = u.shape
    projected = torch.einsum("rc,bcl->brl", own["x_proj_weight"][k], u)
    bias = own["dt_projs_bias"][k]
    if "dt_projs_weight" in own:
        A_log, D = own["A_logs"].view(4, channels, -1)[k], own["Ds"].view(4, channels)[k]
        rank, states = own["dt_projs_weight"].shape[2], A_log.shape[1]
        low, B, C = projected.split([rank, states, states], 1)
        dt = functional.softplus(torch.einsum("cr,brl->bcl", own["dt_projs_weight"][k], low) + bias[:, None])
    else:  # Mamba-2: a step length and a decay for every head
        heads = len(bias)
        states = (projected.shape[1] - heads) // 2
        dt, B, C = projected.split([heads, states, states], 1)
        dt = functional.softplus(dt + bias[:, None]).repeat_interleave(channels // heads, 1)
        A_log, D = own["A_logs"][k].repeat_interleave(channels // heads)[:, None], own["Ds"][k].flatten()
    h, outputs = u.new_zeros(batch, channels, states), []
    for t in range(length):
        h = torch.exp(-torch.exp(A_log) * dt[:, :, t, None]) * h + (dt[:, :, t] * u[:, :, t])[..., None] * B[:, None, :, t]
        outputs.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(outputs, -1) + D[:, None] * u
