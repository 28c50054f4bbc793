"""The Triton kernel behind `sums.py`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def add_up(parts: tl.tensor, output: tl.tensor, size: tl.tensor, PARTS: tl.constexpr, BLOCK: tl.constexpr) -> None:
    """`output[i] = parts[0, i] + parts[1, i] + …`, in the type of the parts."""
    o_number = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    m_number = o_number < size
    a_part = parts + o_number
    b_sum = tl.load(a_part, mask=m_number, other=0.0)
    for _ in range(PARTS - 1):
        a_part += size
        b_sum += tl.load(a_part, mask=m_number, other=0.0)
    tl.store(output + o_number, b_sum.to(output.dtype.element_ty), mask=m_number)
