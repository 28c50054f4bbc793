"""The kernel that makes products beforehand, in Triton's interpreter, against a product in float64."""

from __future__ import annotations

import pytest
import torch

from scanlang.codegen.gpu.product_kernel import multiply_rows


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(("rows", "channels", "width"), [(5, 3, 1), (70, 65, 17)])
def test_product_of_rows(rows: int, channels: int, width: int, shared: bool) -> None:
    """Sizes that fill no block; what lies beyond them is not written."""
    directions = 3
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(rows, directions, width, generator=generator).half()
    parameter = torch.randn(*(() if shared else (directions,)), channels, width, generator=generator)
    output = torch.full((rows + 1, directions, channels), torch.nan, dtype=torch.float16)
    padded = max(16, 1 << (width - 1).bit_length())
    grid = (-(-rows // 64), directions, -(-channels // 64))
    multiply_rows[grid](stream, parameter, output, rows, directions, channels, width, padded, shared, 64, 64)
    wanted = torch.einsum("rkn,cn->rkc" if shared else "rkn,kcn->rkc", stream.double(), parameter.double())
    assert torch.allclose(output[:rows].double(), wanted, rtol=2**-10, atol=2**-12 * width**0.5)
    assert output[rows:].isnan().all()


def test_products_too_large_for_float16_are_its_largest_numbers() -> None:
    stream = torch.tensor([[[300.0]], [[-300.0]]]).half()
    output = torch.empty(2, 1, 1, dtype=torch.float16)
    multiply_rows[1, 1, 1](stream, torch.full((1, 1, 1), 300.0), output, 2, 1, 1, 1, 16, False, 64, 64)
    assert output.flatten().tolist() == [65504, -65504]
