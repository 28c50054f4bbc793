"""How fast code runs a scan: every choice that may change time or rounding, never the meaning. Frozen, and printed in the
header of what it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """`chunk` steps are loaded ahead together (GPU), and states are saved at the start of every chunk.

    kind        `sequential`: step by step, a lane per channel; `chunked`: matrix products over the steps of a chunk (GPU), for
                recurrences that have such a form
    addressing  `nest`: loops with constant strides; `table`: one int32 load per step; the same cells either way
    merge       `turns`: a program takes the directions in turn and adds in place (fp32); `partials`: the directions run
                side by side into K partial outputs, summed by a second kernel. Both give the same bits on every run
    lanes       channels per program (GPU) or per vector (CPU; 0: as many as the machine's vectors hold)
    ahead       inputs of the next chunk are loaded while this one is computed, step for step (GPU, `sequential`): for few
                programs, which would wait for them
    products    `inside`: a step makes the products of parameters and inputs that it needs; `before`: matrix products make them
                of all rows at once (GPU), for many terms
    segments    parts of every direction that run side by side, twice: once for what each makes of the state, then from the
                states that they begin with (GPU, `sequential`): for few programs and long directions
    abreast     chunks that a program takes at once, a warp each: all sum up what they make of the state, and when they know
                with which one they begin, they give outputs (GPU, `sequential`): more warps for few programs
    fetch       while chunks are computed, lines of the next ones are brought to the cache beside the processor (GPU,
                `sequential`)
    """

    addressing: Literal["nest", "table"]
    merge: Literal["turns", "partials"]
    lanes: int
    chunk: int
    backward_chunk: int
    warps: int = 1
    kind: Literal["sequential", "chunked"] = "sequential"
    ahead: bool = False
    products: Literal["inside", "before"] = "inside"
    segments: int = 1
    abreast: int = 1
    fetch: bool = False
