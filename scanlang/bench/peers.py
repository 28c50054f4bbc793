"""mamba_ssm's kernel in the place of the loop, where that package is installed: VMamba's and Vim's way to run on a GPU."""

from __future__ import annotations

import importlib.util
from importlib import import_module

from torch import Tensor

PACKAGE = "mamba_ssm"


def has_mamba_ssm() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


def mamba_ssm_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """A direction is a group of its channels, as VMamba calls that kernel."""
    scan = import_module(f"{PACKAGE}.ops.selective_scan_interface").selective_scan_fn
    channels = (u.flatten(1, 2), delta.to(u.dtype).flatten(1, 2), A.flatten(0, 1))
    rows = (part.to(u.dtype).contiguous() for part in (B, C))
    made: Tensor = scan(*channels, *rows, D.flatten(), delta_bias=delta_bias.flatten(), delta_softplus=True)
    return made.view(u.shape)
