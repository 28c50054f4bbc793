"""The Triton kernel behind `products.py`."""

from __future__ import annotations

import triton
import triton.language as tl

LARGEST = tl.constexpr(65504.0)
"""Of float16."""


@triton.jit  # type: ignore[untyped-decorator]
def multiply_rows(
    stream: tl.tensor, parameter: tl.tensor, output: tl.tensor, rows: tl.tensor, K: tl.constexpr, C: tl.constexpr,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, SHARED: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
) -> None:  # fmt: skip
    """`output[row, k, c] = sum(n: stream[row, k, n] * parameter[k, c, n])`, of a 16-bit stream and a float32 parameter."""
    i_k = tl.program_id(1)
    o_row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    o_c = tl.program_id(2) * LANES + tl.arange(0, LANES)
    o_n = tl.arange(0, PADDED)
    m_row, m_c, m_n = o_row < rows, o_c < C, o_n < WIDTH
    o_first = 0 if SHARED else i_k * C
    a_stream = stream + (o_row[:, None] * K + i_k) * WIDTH + o_n[None, :]
    b_stream = tl.load(a_stream, mask=m_row[:, None] & m_n[None, :], other=0.0)
    a_parameter = parameter + (o_first + o_c[None, :]) * WIDTH + o_n[:, None]
    b_parameter = tl.load(a_parameter, mask=m_n[:, None] & m_c[None, :], other=0.0).to(tl.float32)
    b_upper = b_parameter.to(b_stream.dtype)
    b_lower = (b_parameter - b_upper.to(tl.float32)).to(b_stream.dtype)
    b_sum = tl.dot(b_stream, b_lower)
    b_sum = tl.dot(b_stream, b_upper, b_sum)
    b_sum = tl.maximum(tl.minimum(b_sum, LARGEST, tl.PropagateNan.ALL), -LARGEST, tl.PropagateNan.ALL)
    a_output = output + (o_row[:, None] * K + i_k) * C + o_c[None, :]
    tl.store(a_output, b_sum.to(tl.float16), mask=m_row[:, None] & m_c[None, :])
