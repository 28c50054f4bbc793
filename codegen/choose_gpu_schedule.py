"""Which schedule runs a scan on a GPU: chunk, lanes, addressing and merge by rules that were measured, not searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.triton_layout import Shape, Walk, legal_walk
from scanlang.maps.order import Order

MANY_STATES = 4
"""From here on registers hold few steps: the chunk shrinks."""

PROGRAMS = 132 * 16
"""About as many programs as keep an H200 busy."""


def choose_gpu_schedule(kernels: ScanKernels, orders: Sequence[Order], shape: Shape, batch: int) -> Schedule:
    """The schedule for one size. Its chunks depend on the orders and on H × W alone, never on the batch."""
    states = len(kernels.forward.states)
    chunk, backward_chunk, nest = choose_chunks(states, orders, shape.height, shape.width)
    lanes = 64 if shape.channels % 64 == 0 and states < MANY_STATES and shape.compute == "float32" else 32
    blocks = -(-shape.channels // lanes)
    in_turn = kernels.merge_scale is not None and batch * blocks >= PROGRAMS
    merge: Literal["turns", "partials"] = "turns" if in_turn else "partials"
    return Schedule("nest" if nest else "table", merge, lanes, chunk, backward_chunk)


def choose_chunks(states: int, orders: Sequence[Order], height: int, width: int) -> tuple[int, int, bool]:
    """(chunk, backward chunk, whether loops do): the first chunk that divides every run, else one for a table."""
    candidates = _candidates(states)
    for chunk, backward_chunk in candidates:
        walks: list[Walk | None] = [legal_walk(order, height, width, chunk) for order in orders]
        if all(walk is not None for walk in walks):
            return chunk, backward_chunk, True
    return *candidates[0], False


def _candidates(states: int) -> list[tuple[int, int]]:
    """(chunk, backward chunk), the best first. States are saved at every backward chunk, so it divides the other."""
    if states < MANY_STATES:
        return [(8, 8), (7, 7), (6, 6), (5, 5), (4, 4)]
    if states <= 8:
        return [(4, 4), (6, 3), (5, 5), (7, 7), (3, 3)]
    return [(4, 2), (6, 2), (2, 2), (5, 1), (7, 1), (3, 1)]
