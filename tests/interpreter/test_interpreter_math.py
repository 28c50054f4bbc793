"""The functions that generated Triton modules carry, each in a kernel of its own, in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scanlang.codegen.gpu.build_triton import build_triton
from scanlang.codegen.gpu.triton_helpers import helper_texts

KERNEL = """\
import triton
import triton.language as tl


{helpers}

@triton.jit
def kernel(source, target, count: tl.constexpr):
    lanes = tl.arange(0, count)
    tl.store(target + lanes, {name}(tl.load(source + lanes)))
"""

# name, from, to, units in the last place. Far out expm1 is exp, whose error is that of its argument
RANGES = [
    ("expm1", -1e-6, 1e-6, 2), ("expm1", -0.69, 0.69, 3), ("expm1", -2, 2, 4), ("expm1", -87, 4, 6),
    ("log1p", -1e-6, 1e-6, 2), ("log1p", -0.9999, 2, 4), ("log1p", 0, 1e30, 3), ("log1p_small", 0, 1, 2), ("tanh", -1, 1, 4),
]  # fmt: skip


def call(name: str, values: torch.Tensor) -> torch.Tensor:
    compute = str(values.dtype)[6:]
    helpers = "\n\n".join(helper_texts(f"{name}(", compute))
    result = torch.empty_like(values)
    build_triton(KERNEL.format(helpers=helpers, name=name), "function").kernel[(1,)](values, result, count=len(values))
    return result


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name, low, high, most", RANGES)
def test_accuracy(name: str, low: float, high: float, most: float, dtype: torch.dtype) -> None:
    """In float64 against torch's own, which is within one unit."""
    values = torch.linspace(low, high, 4096, dtype=torch.float64).to(dtype).clamp(low, high)
    exact = getattr(torch, name.removesuffix("_small"))(values.double())
    unit = np.spacing(exact.abs().to(dtype).numpy()).astype(np.float64)
    assert float(np.max(np.abs((call(name, values).double() - exact).numpy()) / unit)) <= most + (dtype == torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_edges(dtype: torch.dtype) -> None:
    infinity = float("inf")
    assert call("expm1", torch.tensor([infinity, -infinity, 0.0, -100.0], dtype=dtype)).tolist() == [infinity, -1.0, 0.0, -1.0]
    assert call("log1p", torch.tensor([infinity, -1.0, 0.0, 2.0**-60], dtype=dtype)).tolist() == [
        infinity,
        -infinity,
        0.0,
        2.0**-60,
    ]
    assert call("log1p", torch.tensor([-2.0, float("nan")], dtype=dtype)).isnan().all()
