"""How the golden numbers beside this file were made: parameters from names, inputs and cotangents from formulas.

The published VMamba and Vim code was run on CPU with these parameters and inputs; only the resulting numbers are kept here.
A network built by this project loads `state_dict(...)` (published key names and shapes) and must give the recorded logits.
The rules are fan-in scaled on purpose: with 0.02-scale weights a network whose scan is deleted still gives nearly the same
logits. Torch only; no model code.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent


def draw(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) & 0x7FFFFFFF)
    return torch.randn(tuple(shape), generator=generator)


def inverse_softplus(step: torch.Tensor) -> torch.Tensor:
    return (step + torch.log(-torch.expm1(-step))).to(torch.float32)


def vmamba_parameter(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The rule `strong` of vmamba.json."""
    leaf = key.rsplit(".", 1)[-1]
    r = draw(key, shape)
    if leaf == "A_logs":
        return torch.log(torch.arange(1, shape[1] + 1, dtype=torch.float32)).view(1, -1) + 0.1 * r
    if leaf == "Ds":
        return 1.0 + 0.1 * r
    if leaf == "dt_projs_bias":
        row = inverse_softplus(torch.linspace(0.001, 0.1, shape[1], dtype=torch.float64))
        return row.view(1, -1).repeat(shape[0], 1)
    if leaf == "weight" and len(shape) == 1:
        return 1.0 + 0.1 * r
    if leaf == "bias":
        return 0.1 * r
    if leaf == "x_proj_weight":
        return r * (2.0 / math.sqrt(shape[2]))
    if leaf == "dt_projs_weight":
        return r / math.sqrt(shape[2])
    return r / math.sqrt(math.prod(shape[1:]))


def vim_parameter(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The rule `rule_B` of vim.json."""
    leaf = key.rsplit(".", 1)[-1]
    r = draw(key, shape)
    if key.endswith("norm.weight") or key == "norm_f.weight":
        return 1 + 0.02 * r
    if leaf in ("A_log", "A_b_log"):
        return torch.log(torch.arange(1, shape[1] + 1, dtype=torch.float32)).expand(shape) + 0.1 * r
    if leaf in ("D", "D_b"):
        return 1 + 0.1 * r
    if key.endswith(("dt_proj.bias", "dt_proj_b.bias")):
        return inverse_softplus(torch.linspace(0.001, 0.1, shape[0], dtype=torch.float64))
    if ".conv1d" in key:
        return (0.5 if leaf == "weight" else 0.1) * r
    if leaf == "bias":
        return 0.02 * r
    if leaf in ("cls_token", "pos_embed"):
        return 0.2 * r
    if ".x_proj" in key:
        return (2.0 / math.sqrt(shape[1])) * r
    return r * (1.0 / math.sqrt(math.prod(shape[1:])))  # as recorded: to divide would round otherwise


def state_dict(shapes: dict[str, list[int]], rule: Callable[[str, tuple[int, ...]], torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: rule(key, tuple(shape)) for key, shape in sorted(shapes.items())}


def image(shape: tuple[int, ...]) -> torch.Tensor:
    count = math.prod(shape)
    return torch.sin(0.05 * torch.arange(count, dtype=torch.float64)).to(torch.float32).view(*shape)


def vmamba_cotangent(logits: torch.Tensor) -> torch.Tensor:
    """Gradient goldens of vmamba.json are of (logits * cotangent).sum()."""
    return _cosines(logits.numel()).to(torch.float32).view_as(logits)


def vim_cotangent(logits: torch.Tensor) -> torch.Tensor:
    """Gradient goldens of vim.json are of (logits * cotangent).sum(); divided before it is rounded, as recorded."""
    return (_cosines(logits.numel()) / logits.shape[-1]).to(torch.float32).view_as(logits)


def _cosines(count: int) -> torch.Tensor:
    return torch.cos(0.37 * torch.arange(count, dtype=torch.float64))


def load(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())
