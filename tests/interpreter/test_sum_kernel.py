"""The kernel that adds up parts, in Triton's interpreter, against a sum in float64."""

from __future__ import annotations

import pytest
import torch

from scanlang.codegen.gpu.sums import sum_of_parts


@pytest.mark.parametrize("parts", [1, 2, 9])
@pytest.mark.parametrize("shape", [(1,), (3, 341), (2, 1025)])
def test_sum_of_parts(parts: int, shape: tuple[int, ...]) -> None:
    """Sizes below and above a program's; rounded once."""
    given = torch.randn(parts, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(sum_of_parts(given, torch.float32).double(), given.double().sum(0), rtol=0, atol=1e-5)
    rounded = sum_of_parts(given, torch.float16)
    assert rounded.dtype == torch.float16
    assert torch.equal(rounded, sum_of_parts(given, torch.float32).half())


def test_sum_of_parts_of_nothing() -> None:
    assert sum_of_parts(torch.empty(3, 0, 4), torch.float32).shape == (0, 4)
