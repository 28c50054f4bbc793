"""Products of parameters and inputs that a schedule makes beforehand, of all rows at once on tensor cores, and their gradients.

In: a stream that all channels share, `(B, R, K, width)`, and a parameter, `(K, C, width)`, or `(C, width)` where the directions
share it. Out: one value for every channel, `(B, R, K, C)`.

Of 16-bit inputs the sums are in float32, and a float32 parameter counts as the sum of two 16-bit numbers; the result is kept in
float16, whose 11 bits are three more than bfloat16 has, and its gradient in the type of the stream. Other inputs are
multiplied in the computing type.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROWS, LANES = 64, 64
NARROWEST = 16
"""Tensor cores multiply no fewer numbers at once."""


def multiply(stream: Tensor, parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The products, in `dtype`."""
    if dtype == torch.float16 and stream.device.type == "cuda":
        return _on_tensor_cores(stream, parameter)
    wide = dtype if dtype.itemsize > 2 else torch.float32
    pattern = "brkn,cn->brkc" if parameter.ndim == 2 else "brkn,kcn->brkc"
    return torch.einsum(pattern, stream.to(wide), parameter.to(wide)).to(dtype).contiguous()


def multiply_backward(gradient: Tensor, stream: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of the stream, `(B, R, K, width)`, and of the parameter, from that of the products."""
    batch, rows, directions, channels = gradient.shape
    width = stream.shape[-1]
    by_direction = gradient.view(batch * rows, directions, channels).transpose(0, 1)
    inputs = stream.reshape(batch * rows, directions, width).transpose(0, 1).to(gradient.dtype)
    weights = parameter.to(gradient.dtype).expand(directions, channels, width)
    of_stream = torch.bmm(by_direction, weights).transpose(0, 1).reshape(batch, rows, directions, width)
    of_parameter = _summed(by_direction.transpose(1, 2), inputs)
    return of_stream, of_parameter.sum(0) if parameter.ndim == 2 else of_parameter


def _summed(left: Tensor, right: Tensor) -> Tensor:
    """A batch of matrix products over many rows, the sums of 16-bit numbers in float32."""
    if left.dtype.itemsize > 2:
        return torch.bmm(left, right)
    if left.device.type == "cuda":
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left.float(), right.float())


def _on_tensor_cores(stream: Tensor, parameter: Tensor) -> Tensor:
    from scanlang.codegen.gpu.product_kernel import multiply_rows  # triton may be missing where there is no GPU

    batch, rows, directions, width = stream.shape
    channels, shared = parameter.shape[-2], parameter.ndim == 2
    output = torch.empty(batch, rows, directions, channels, dtype=torch.float16, device=stream.device)
    if output.numel():
        grid = (-(-batch * rows // ROWS), directions, -(-channels // LANES))
        padded = max(NARROWEST, 1 << (width - 1).bit_length())
        with torch.cuda.device(stream.device):
            multiply_rows[grid](
                stream, parameter, output, batch * rows, directions, channels, width, padded, shared, ROWS, LANES
            )
    return output
