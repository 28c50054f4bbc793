"""Sums of what programs leave in parts, a part behind the other: `(parts, …)` → `(…)`.

`torch.sum` reads large parts at half the speed of memory, and rounds to another type in a pass of its own.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from scanlang.codegen.gpu.triton_layout import CELL_BLOCK, CELL_WARPS


def sum_of_parts(parts: Tensor, dtype: torch.dtype) -> Tensor:
    """Added in the order of the parts and in their type, given in `dtype`. `parts` is contiguous."""
    if len(parts) == 1 and parts.dtype == dtype:
        return parts[0]
    from scanlang.codegen.gpu.sum_kernel import add_up  # triton may be missing where there is no GPU

    made = torch.empty(parts.shape[1:], dtype=dtype, device=parts.device)
    if made.numel():
        on_device = torch.cuda.device(made.device) if made.device.type == "cuda" else contextlib.nullcontext()
        with on_device:
            add_up[-(-made.numel() // CELL_BLOCK),](parts, made, made.numel(), len(parts), CELL_BLOCK, num_warps=CELL_WARPS)
    return made
