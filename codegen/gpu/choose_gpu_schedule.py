"""Which schedule runs a scan on a GPU: chunk, lanes, addressing and merge by rules that were measured, not searched.

Measured on an H200 with VMamba-T's four stages and a Vim-Ti layer (batch 128, bfloat16). What a lane holds over the whole
walk, parameters, their gradients and states, decides how many steps the backward can hold beside it: more steps than
registers cost two to four times the time, fewer cost little.
"""

from __future__ import annotations

from collections.abc import Sequence

from scanlang.codegen.gpu.triton_layout import Shape, legal_walk
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.order import Order

LANES = 32
PROGRAMS = 132 * 32
"""With so many programs for one direction an H200 is busy without running the directions side by side."""

# (chunk, backward chunk), the best first. States are saved at every backward chunk, so it divides the other.
FEW_VALUES = ((8, 4), (4, 4), (6, 3), (7, 7), (5, 5), (3, 3))
SOME_VALUES = ((8, 2), (4, 2), (6, 2), (2, 2), (6, 3), (3, 3), (7, 1), (5, 1), (3, 1))
MANY_VALUES = ((8, 1), (7, 1), (4, 1), (6, 1), (5, 1), (3, 1), (2, 1))


def choose_gpu_schedule(kernels: ScanKernels, orders: Sequence[Order], shape: Shape, batch: int) -> Schedule:
    """The schedule for one size. Its chunks depend on the orders and on H × W alone, never on the batch."""
    chunk, backward_chunk, nest = choose_chunks(values_held(kernels), orders, shape.height, shape.width)
    blocks = -(-shape.channels // LANES)
    in_turns = kernels.merge_scale is not None and batch * blocks >= PROGRAMS
    return Schedule("nest" if nest else "table", "turns" if in_turns else "partials", LANES, chunk, backward_chunk)


def values_held(kernels: ScanKernels) -> int:
    """How many parameters and states a lane holds over the whole walk."""
    return sum(parameter.width for parameter in kernels.parameters) + len(kernels.forward.states)


def choose_chunks(held: int, orders: Sequence[Order], height: int, width: int) -> tuple[int, int, bool]:
    """(chunk, backward chunk, whether loops do): the first chunk that divides every run, else one for a table."""
    candidates = FEW_VALUES if held <= 12 else SOME_VALUES if held <= 48 else MANY_VALUES
    for chunk, backward_chunk in candidates:
        if all(legal_walk(order, height, width, chunk) is not None for order in orders):
            return chunk, backward_chunk, True
    return *candidates[0], False
