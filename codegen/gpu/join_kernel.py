"""The Triton kernel behind `join_segments.py`."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def join(
    made: tl.tensor,
    first: tl.tensor,
    coming: tl.tensor,
    last: tl.tensor,
    NUMBERS: tl.constexpr,
    SEGMENTS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A program takes a direction of an image and some of its numbers, a state and a channel each."""
    i_direction = tl.program_id(0).to(tl.int64)
    o_number = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    m_number = o_number < NUMBERS
    a_made = made + i_direction * (SEGMENTS * 2 * NUMBERS) + o_number
    a_coming = coming + i_direction * (SEGMENTS * NUMBERS) + o_number
    b_coming = tl.load(first + i_direction * NUMBERS + o_number, mask=m_number, other=0.0)
    for i in range(SEGMENTS):
        b_made = tl.load(a_made + i * 2 * NUMBERS, mask=m_number, other=0.0)
        b_decay = tl.load(a_made + (i * 2 + 1) * NUMBERS, mask=m_number, other=0.0)
        tl.store(a_coming + i * NUMBERS, b_coming, mask=m_number)
        b_coming = b_decay * b_coming + b_made
    tl.store(last + i_direction * NUMBERS + o_number, b_coming, mask=m_number)
