"""Which schedule runs a scan on a GPU: every choice by rules that were measured, not searched.

Measured on an H200 with VMamba-T's four stages and a Vim-Ti layer (batch 128, bfloat16). What a lane holds over the whole
walk, parameters, their gradients and states, decides how many steps the backward can hold beside it: more steps than
registers cost two to four times the time, fewer cost little where there are few states. Many states are what a scan writes and
reads most of, once for every chunk of the backward: there the registers of a further step are weighed against that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from scanlang.codegen.gpu.choose_chunked import channels_together, chunked_schedule, why_sequential
from scanlang.codegen.gpu.triton_layout import Shape, Walk, walk_of
from scanlang.codegen.kernel import BackwardKernel, ForwardKernel, ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.segments import can_be_cut
from scanlang.maps.traversal import Traversal

LANES = 32
PROGRAMS = 132 * 32
"""With so many programs for one direction an H200 is busy without running the directions side by side."""

BUSY = 132 * 18
"""Programs, of a warp each, that keep an H200 busy."""

SEGMENTS, FEWEST_CHUNKS = (4, 12, 24, 48, 96), 8
"""Counts of segments, which walk twice, so that fewer would not pay; and chunks that a segment has at least."""

LONELY, FEW, ENOUGH = 132, 132 * 8, 132 * 64
"""Warps: so few that only segments reach most of the card; that eight chunks abreast pay; and that four do. At VMamba-T's first
stage and batch 128 (1536 warps) four took 0.67 and 2.0 ms forward and with the backward, one 0.81 and 2.36; at its third (6144)
0.180 and 0.537 against 0.194 and 0.566; at its fourth (12288) they lost. At batch 16 (192) eight beat four and segments."""

FEW_STATES, MOST_KEPT = 4, 64
"""States that chunks abreast have at most where there are more warps than `LONELY`, as each is run twice; and states times
steps of a chunk, for each of which two values are kept. A Vim layer of one image took 0.037 and 0.15 ms with four chunks
abreast, 0.078 and 0.25 without."""

WIDE_PRODUCT = 16
"""Terms of a product that matrix products make faster than a step does, reading what they make included: with 24 (VMamba-T's
third stage) 0.19 and 0.57 ms against 0.25 and 1.02, with 48 0.10 and 0.32 against 0.31 and 1.13; with 12 a step is faster."""

SHORT_CHUNK = 4
"""Loops whose runs only shorter chunks divide take longer than a table."""

SHORTEST_RUN = 8
"""Loops around shorter runs take longer than a table: at VMamba-T's first stages windows of 7 × 7 do by a sixth."""

# (chunk, backward chunk), the best first. States are saved at every backward chunk, so it divides the other.
FEW_VALUES = ((8, 4), (4, 4), (6, 3), (7, 7), (5, 5), (3, 3))
SOME_VALUES = ((8, 2), (4, 2), (6, 2), (2, 2), (6, 3), (3, 3), (7, 1), (5, 1), (3, 1))
MANY_VALUES = ((8, 1), (7, 1), (4, 1), (6, 1), (5, 1), (3, 1), (2, 1), (1, 1))

MANY_STATES, MOST_STATES = 8, 24
REGISTERS, STEP = 230, 24
"""Of 255 that a lane has, and of those that a further step takes where four are worth it; `registers` counts neither addresses
nor what is computed on the way. Measured at 56 × 56 cells: four steps cost three quarters of two with S4D (18 registers a
step), a fifth more with SSD (38); two cost a fifth more than one with mLSTM (33 states), a sixth less with S6 in Vim (59)."""


def choose_gpu_schedule(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The schedule for one size. Its chunks depend on the traversal, the grid and the computing type, never on the batch."""
    if why_sequential(kernels, traversal, shape.grid, shape.compute) is not None:
        return sequential_schedule(kernels, traversal, shape, batch)
    dtype = dict(shape.dtypes).get(kernels.leading.name, "bfloat16")
    programs = batch * -(-shape.channels // channels_together(kernels, dtype))
    return chunked_schedule(kernels, dtype, merge(kernels, traversal, shape.grid, programs))


def sequential_schedule(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The schedule step by step, which any recurrence has."""
    products: Literal["inside", "before"] = "before" if makes_products(kernels, shape.compute) else "inside"
    if products == "before" and kernels.factored is not None:
        kernels = kernels.factored.kernels
    chunk, backward_chunk, nest = choose_chunks(kernels, traversal, shape.grid)
    programs = batch * -(-shape.channels // LANES)
    mode = merge(kernels, traversal, shape.grid, programs)
    made = Schedule("nest" if nest else "table", mode, LANES, chunk, backward_chunk, products=products)
    made = replace(made, fetch=kernels.split is None and all_flat(traversal, shape.grid, made.addressing))
    if mode == "turns" or why_whole(kernels, traversal, shape.grid, made.addressing) is not None:
        return made
    count = segments(kernels, traversal, shape, made, programs)
    if count > 1:
        return replace(made, segments=count)
    return abreast(kernels, made, steps_of(traversal, shape), programs * kernels.directions)


def makes_products(kernels: ScanKernels, compute: str) -> bool:
    """Matrix products make the products of parameters and inputs, of all rows at once."""
    if kernels.factored is None or compute != "float32":
        return False
    widths = {parameter.name: parameter.width for parameter in kernels.parameters}
    return all(widths[product.parameter] >= WIDE_PRODUCT for product in kernels.factored.products)


def steps_of(traversal: Traversal, shape: Shape) -> int:
    return math.prod(shape.grid) if traversal.plain else traversal.at(shape.grid).steps


def abreast(kernels: ScanKernels, schedule: Schedule, steps: int, warps: int) -> Schedule:
    """The schedule with as many chunks abreast as there are too few warps, and no more than a direction has."""
    chunk, states = schedule.chunk, len(kernels.forward.states)
    if states <= FEW_STATES:
        count = 8 if warps <= FEW else 4 if warps <= ENOUGH else 1
    else:
        while states * chunk > MOST_KEPT and chunk % 2 == 0 and chunk // 2 % schedule.backward_chunk == 0:
            chunk //= 2
        count = 4 if warps <= LONELY and states * chunk <= MOST_KEPT else 1
    while count > max(1, steps // chunk):
        count //= 2
    return schedule if count == 1 else replace(schedule, chunk=chunk, abreast=count, warps=count)


def segments(kernels: ScanKernels, traversal: Traversal, shape: Shape, schedule: Schedule, programs: int) -> int:
    """Into how many parts a direction is cut: as many as keep the card busy, where there are so few programs that it would be
    idle for most of the time, and the parts are long. Of few states chunks abreast are faster, unless there are very few."""
    warps = programs * kernels.directions
    if warps > LONELY and len(kernels.forward.states) <= FEW_STATES:
        return 1
    wanted = BUSY // max(1, warps)
    found = min(wanted, steps_of(traversal, shape) // (schedule.chunk * FEWEST_CHUNKS))
    return max((count for count in SEGMENTS if count <= found), default=1)


def why_whole(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...], addressing: str) -> str | None:
    """Why directions cannot be cut into segments; None if they can."""
    if not can_be_cut(kernels.forward):
        return "states decide each other, or their decays"
    if kernels.split is not None:
        return "directions have channels of their own"
    if traversal.given_names or not visits_once(traversal, grid):
        return "a direction visits a row twice"
    return None if all_flat(traversal, grid, addressing) else "loops that turn round, or differ in length"


def all_flat(traversal: Traversal, grid: tuple[int, ...], addressing: str) -> bool:
    """The number of a chunk says where it is. Then lines of the next one are fetched: at VMamba-T's first stage the forward
    takes 0.59 ms and not 0.67, a Vim layer forward and backward 1.04 and not 1.14, and nothing measured takes longer."""
    walks = [walk_of(order, grid) for order in traversal.orders] if addressing == "nest" else []
    return all(isinstance(walk, Walk) and walk.flat for walk in walks)


def merge(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...], programs: int) -> Literal["turns", "partials"]:
    """How the directions come together where there are so many programs for each of them."""
    summed = kernels.merge_scale is not None and kernels.split is None
    return "turns" if summed and programs >= PROGRAMS and visits_once(traversal, grid) else "partials"


def values_held(kernels: ScanKernels) -> int:
    """How many parameters and states a lane holds over the whole walk."""
    return sum(parameter.width for parameter in kernels.parameters) + len(kernels.forward.states)


def registers(kernel: BackwardKernel, steps: int) -> int:
    """How many values a lane of the backward holds at once where a chunk has so many steps: what goes from chunk to chunk, the
    states, and of every step what is kept and what was read, two 16-bit numbers in a register."""
    fixed = {name for access in kernel.parameters for name in access.names} | {let.name for let in kernel.prologue}
    read = {a for let in (*kernel.forward, *kernel.backward) for a in let.arguments}
    again = {a for let in kernel.backward for a in let.arguments} | {a for g in kernel.gradients for a in g.atoms}
    carried = len(fixed & read) + len(kernel.carries) + len(kernel.accumulates) + len(kernel.states)
    words = sum(-(-len(access.names) // 2) for access in kernel.reads if again.intersection(access.names))
    next_step = {advance.value for advance in kernel.advances if advance.state in kernel.keep}
    return carried + steps * (len(set(kernel.keep) - next_step) + words + 1)


def visits_once(traversal: Traversal, grid: tuple[int, ...]) -> bool:
    """Every direction visits every row once, on every route."""
    return traversal.plain or traversal.at(grid).simple


def choose_chunks(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...]) -> tuple[int, int, bool]:
    """(chunk, backward chunk, whether loops do): those of loops as fast as a table, else the best for a table."""
    loops = loop_chunks(kernels, traversal, grid)
    best = candidates(kernels)[0]
    if loops is None or any(why_a_table(walk_of(order, grid)) for order in traversal.orders):
        return *best, False
    return (*loops, True) if loops[0] >= SHORT_CHUNK and loops[1] >= best[1] else (*best, False)


def loop_chunks(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...]) -> tuple[int, int] | None:
    """The best (chunk, backward chunk) that divides every run; None where not all directions are loops of whole chunks."""
    walks = [walk_of(order, grid) for order in traversal.orders] if traversal.plain else [""]
    for chunk, backward_chunk in candidates(kernels):
        if all(isinstance(walk, Walk) and walk.length % chunk == 0 for walk in walks):
            return chunk, backward_chunk
    return None


def why_a_table(walk: Walk | str) -> str | None:
    """Why an order has no loops that are as fast as a table, None if it has; `scanlang bench --rows 'orders-*'` has both."""
    if isinstance(walk, str):
        return walk
    if len(walk.strides) > 1:
        return "loops that turn round take longer"
    return f"runs of {walk.length} steps are short" if walk.length < SHORTEST_RUN else None


def candidates(kernels: ScanKernels) -> tuple[tuple[int, int], ...]:
    """(chunk, backward chunk), the best first."""
    found = _of_backward(kernels)
    fixed = sum(parameter.width for parameter in kernels.parameters)
    if min(fixed, len(kernels.forward.states)) < MOST_STATES:
        return found
    return tuple(pair for pair in found if registers_of_loads(kernels.forward, pair[0]) <= REGISTERS) or (min(found),)


def registers_of_loads(kernel: ForwardKernel, steps: int) -> int:
    """How many values a lane of the forward holds when all loads of a chunk of so many steps are under way. With a decay of
    its own for each of many states a forward that holds more spills (S6 with 24 states in chunks of 7, 32 in chunks of 7)."""
    fixed = sum(len(access.names) for access in kernel.parameters) + len(kernel.states)
    return fixed + steps * sum(-(-len(access.names) // 2) for access in kernel.reads)


def _of_backward(kernels: ScanKernels) -> tuple[tuple[int, int], ...]:
    """Those that the backward asks for."""
    if len(kernels.forward.states) < MANY_STATES:
        held = values_held(kernels)
        return FEW_VALUES if held <= 12 else SOME_VALUES if held <= 48 else MANY_VALUES
    one, two, four = (registers(kernels.backward, steps) for steps in (1, 2, 4))
    if four <= REGISTERS and two - one <= STEP:
        return FEW_VALUES + SOME_VALUES
    return SOME_VALUES if two <= REGISTERS and len(kernels.forward.states) <= MOST_STATES else MANY_VALUES
