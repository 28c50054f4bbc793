"""Which schedule runs a scan on a GPU: chunk, lanes, addressing and merge by rules that were measured, not searched.

Measured on an H200 with VMamba-T's four stages and a Vim-Ti layer (batch 128, bfloat16). What a lane holds over the whole
walk, parameters, their gradients and states, decides how many steps the backward can hold beside it: more steps than
registers cost two to four times the time, fewer cost little.
"""

from __future__ import annotations

from scanlang.codegen.gpu.triton_layout import Shape, Walk, walk_of
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

LANES = 32
PROGRAMS = 132 * 32
"""With so many programs for one direction an H200 is busy without running the directions side by side."""

SHORTEST_RUN = 8
"""Loops around shorter runs take longer than a table: at VMamba-T's first stages windows of 7 × 7 do by a sixth."""

# (chunk, backward chunk), the best first. States are saved at every backward chunk, so it divides the other.
FEW_VALUES = ((8, 4), (4, 4), (6, 3), (7, 7), (5, 5), (3, 3))
SOME_VALUES = ((8, 2), (4, 2), (6, 2), (2, 2), (6, 3), (3, 3), (7, 1), (5, 1), (3, 1))
MANY_VALUES = ((8, 1), (7, 1), (4, 1), (6, 1), (5, 1), (3, 1), (2, 1))


def choose_gpu_schedule(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The schedule for one size. Its chunks depend on the traversal and on the grid alone, never on the batch."""
    chunk, backward_chunk, nest = choose_chunks(values_held(kernels), traversal, shape.grid)
    blocks = -(-shape.channels // LANES)
    summed = kernels.merge_scale is not None and kernels.split is None
    in_turns = summed and batch * blocks >= PROGRAMS and visits_once(traversal, shape.grid)
    return Schedule("nest" if nest else "table", "turns" if in_turns else "partials", LANES, chunk, backward_chunk)


def values_held(kernels: ScanKernels) -> int:
    """How many parameters and states a lane holds over the whole walk."""
    return sum(parameter.width for parameter in kernels.parameters) + len(kernels.forward.states)


def visits_once(traversal: Traversal, grid: tuple[int, ...]) -> bool:
    """Every direction visits every row once, on every route."""
    return traversal.plain or traversal.at(grid).simple


def choose_chunks(held: int, traversal: Traversal, grid: tuple[int, ...]) -> tuple[int, int, bool]:
    """(chunk, backward chunk, whether loops do): those of loops as fast as a table, else the best for a table."""
    loops = loop_chunks(held, traversal, grid)
    if loops is None or any(why_a_table(walk_of(order, grid)) for order in traversal.orders):
        return *candidates(held)[0], False
    return *loops, True


def loop_chunks(held: int, traversal: Traversal, grid: tuple[int, ...]) -> tuple[int, int] | None:
    """The best (chunk, backward chunk) that divides every run; None where not all directions are loops of whole chunks."""
    walks = [walk_of(order, grid) for order in traversal.orders] if traversal.plain else [""]
    for chunk, backward_chunk in candidates(held):
        if all(isinstance(walk, Walk) and walk.length % chunk == 0 for walk in walks):
            return chunk, backward_chunk
    return None


def why_a_table(walk: Walk | str) -> str | None:
    """Why an order has no loops that are as fast as a table, None if it has; `examples/bench_orders.py` measures both."""
    if isinstance(walk, str):
        return walk
    if len(walk.strides) > 1:
        return "loops that turn round take longer"
    return f"runs of {walk.length} steps are short" if walk.length < SHORTEST_RUN else None


def candidates(held: int) -> tuple[tuple[int, int], ...]:
    """(chunk, backward chunk) for a lane that holds so many values, the best first."""
    return FEW_VALUES if held <= 12 else SOME_VALUES if held <= 48 else MANY_VALUES
