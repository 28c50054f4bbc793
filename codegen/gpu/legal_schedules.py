"""Every schedule that may run a scan on a GPU: what `scanlang tune` measures, and what a stored choice must be among.

In: kernels, a traversal and a shape; out: schedules, the same list on every run. It does not say which are fast; only what
would take far too long to compile or to run is left out. A further field of `Schedule` is a further axis of `_sequential`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Literal

from scanlang.codegen.gpu.choose_chunked import CHUNK, FEWEST_CHANNELS, chunked_schedule, why_sequential
from scanlang.codegen.gpu.choose_gpu_schedule import LANES, REGISTERS, SEGMENTS, registers, why_whole
from scanlang.codegen.gpu.triton_layout import Layout, Shape, Walk, walk_of
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

Merge = Literal["turns", "partials"]

MOST_STEPS, MOST_SAVED_STEPS = 16, 8
"""Of a chunk, and of a chunk of the backward, where every step has registers of its own."""

PROGRAMS = ((LANES, 1), (2 * LANES, 1), (2 * LANES, 2))
"""(lanes, warps) of a program that goes step by step."""

ABREAST = (2, 4, 8)

SPILLED = 2
"""So many times the registers that there are may be held at once: what spills a little can still be fastest."""

CHUNKED_STEPS, CHUNKED_WARPS = (CHUNK // 2, CHUNK), (4, 8)


def legal_schedules(kernels: ScanKernels, traversal: Traversal, shape: Shape) -> tuple[Schedule, ...]:
    """All schedules by which these kernels may run on maps of that shape, whatever the batch."""
    merges = _merges(kernels, traversal, shape)
    found = list(_sequential(kernels, traversal, shape, merges))
    if why_sequential(kernels, traversal, shape.grid, shape.compute) is None:
        found += _chunked(kernels, shape, merges)
    return tuple(found)


def _merges(kernels: ScanKernels, traversal: Traversal, shape: Shape) -> tuple[Merge, ...]:
    """Both where a program may take the directions in turn; where these never meet it makes no difference."""
    layout = Layout(kernels, traversal, Schedule("table", "turns", LANES, 1, 1), shape)
    try:
        return ("turns", "partials") if layout.mode != "partials" else ("partials",)
    except ValueError:
        return ("partials",)


def _sequential(kernels: ScanKernels, traversal: Traversal, shape: Shape, merges: tuple[Merge, ...]) -> Iterator[Schedule]:
    widest = max(count for _, count in kernels.channels(shape.channels))
    programs = [(lanes, warps) for lanes, warps in PROGRAMS if lanes < 2 * widest or lanes == LANES]
    run, flat = _common_run(kernels, traversal, shape)
    steps = {"nest": tuple(_chunks(run)), "table": tuple(_chunks(None))}
    whole = {addressing: why_whole(kernels, traversal, shape.grid, addressing) for addressing in steps}
    cuts = {addressing: (1,) if why is not None else (1, *SEGMENTS) for addressing, why in whole.items()}
    backwards = {"inside": kernels.backward}
    if kernels.factored is not None:
        backwards["before"] = kernels.factored.kernels.backward
    for products, addressing, merge, (lanes, warps), ahead in product(backwards, steps, merges, programs, (False, True)):
        for chunk, backward_chunk in steps[addressing] if flat or addressing == "table" or not ahead else ():
            held = registers(backwards[products], backward_chunk) * lanes // (LANES * warps)
            if held > SPILLED * REGISTERS and (backward_chunk > 1 or lanes > LANES * warps):
                continue
            plain = Schedule(addressing, merge, lanes, chunk, backward_chunk, warps, products=products)  # type: ignore[arg-type]
            one = (lanes, warps) == PROGRAMS[0]
            fetches = (False, True) if one and kernels.split is None and (flat or addressing == "table") else (False,)
            for fetch in fetches:
                for segments in cuts[addressing] if merge == "partials" else (1,):
                    yield replace(plain, ahead=ahead, segments=segments, fetch=fetch)
                for count in ABREAST if one and whole[addressing] is None and not ahead else ():
                    yield replace(plain, abreast=count, warps=count, fetch=fetch)


def _common_run(kernels: ScanKernels, traversal: Traversal, shape: Shape) -> tuple[int, bool]:
    """What the lengths of all runs are multiples of, 0 where not all directions are loops; and whether all loops are plain
    enough to load ahead in."""
    found = [walk_of(order, shape.grid) for order in traversal.orders] if traversal.plain else []
    walks = [walk for walk in found if isinstance(walk, Walk)]
    whole = len(walks) == kernels.directions
    return math.gcd(*(walk.length for walk in walks)) if whole else 0, all(walk.flat for walk in walks)


def _chunks(run: int | None) -> Iterator[tuple[int, int]]:
    """(chunk, backward chunk): whole runs are whole chunks; what is read from a table has a rest, and powers of two do."""
    for chunk in range(1, MOST_STEPS + 1):
        fits = chunk & (chunk - 1) == 0 and chunk > 1 if run is None else run > 0 and run % chunk == 0
        if fits:
            yield from ((chunk, every) for every in range(1, min(chunk, MOST_SAVED_STEPS) + 1) if chunk % every == 0)


def _chunked(kernels: ScanKernels, shape: Shape, merges: tuple[Merge, ...]) -> Iterator[Schedule]:
    """By matrix products: channels of one unit, as many together as shared memory is for, or half as many."""
    usual = chunked_schedule(kernels, dict(shape.dtypes).get(kernels.leading.name, "bfloat16"))
    halves = usual.lanes % 2 == 0 and usual.lanes // 2 >= FEWEST_CHANNELS
    lanes = (usual.lanes, usual.lanes // 2) if halves else (usual.lanes,)
    for merge, count, steps, warps in product(merges, lanes, CHUNKED_STEPS, CHUNKED_WARPS):
        yield replace(usual, merge=merge, lanes=count, chunk=steps, backward_chunk=steps, warps=warps)
