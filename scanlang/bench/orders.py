"""Rows of arithmetic addresses beside tables: the same orders as loops, as loops forced to a table, and as formulas, which are
tables.

At VMamba-T's four stages (batch 128, 224², bfloat16 maps), the kernels alone: four directions, an order and its reverse, twice.
`arithmetic` is the walk as loops, whether these pay or not, `table` the same chunks from a table, `formula` an order that says
the same by a formula, compiled with the chunks that a table likes best. An order that starts anew in every window has a table
only. `forward` saves nothing; `backward` is that pass alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import scanlang
from scanlang.bench.clock import timed
from scanlang.bench.row import Measurement, Row, Where
from scanlang.bench.stages import STAGES, Stage
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule, loop_chunks
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

PROGRAM = """
import std.selective
grid h, w
order tiles = walk h by 7, w by 7, h, w
order timed{order}
scan timed_scan(dim, rank = ceil(dim / 16)) {{
  directions timed, reverse(timed), timed, reverse(timed)
  recur selective(state = 1, rank = rank)
}}
"""

# As loops, and the same as a formula where every axis is a multiple of 7.
ORDERS = {
    "raster": (" = walk h, w", "(t) = (t // w, t % w)"),
    "columns": (" = walk w, h", "(t) = (t % h, t // h)"),
    "snake": (" = walk h, ~w", "(t) = (t // w, where(t // w % 2 == 0, t % w, w - 1 - t % w))"),
    "window7": (" = tiles", "(t) = (t // (7 * w) * 7 + t % 49 // 7, t % (7 * w) // 49 * 7 + t % 7)"),
    "reset7": (" = reset(tiles, every window)", None),
}


def program_of(order: str, stage: Stage) -> scanlang.Program:
    return scanlang.loads(PROGRAM.format(order=order), sizes=[(stage.height, stage.width)])


@lru_cache(maxsize=8)
def scan_of(stage: Stage, name: str, kind: str) -> TritonScan:
    walk, formula = ORDERS[name]
    program = program_of(walk, stage)
    if kind == "formula":
        assert formula is not None
        same = program_of(formula, stage)
        grid = stage.height, stage.width
        assert np.array_equal(program.orders["timed"].positions(*grid), same.orders["timed"].positions(*grid))
        program = same
    graph = program.operator_graph("timed_scan")
    kernels = lower_to_kernels(graph, {"state": stage.states, "rank": stage.rank})
    return TritonScan(kernels, graph.traversal, partial(schedule_of, kind))


def schedule_of(kind: str, kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The usual one, with loops whether they pay or not, or with their chunks from a table."""
    usual, chunks = choose_gpu_schedule(kernels, traversal, shape, batch), loop_chunks(kernels, traversal, shape.grid)
    if kind == "formula" or chunks is None:
        return usual
    addressing: Literal["nest", "table"] = "nest" if kind == "arithmetic" else "table"
    return replace(usual, addressing=addressing, chunk=chunks[0], backward_chunk=chunks[1])


def arrays_of(stage: Stage, scan: TritonScan, where: Where) -> dict[str, Tensor]:
    """Streams drawn from N(0, 1), parameters small."""
    torch.manual_seed(0)
    visits, directions = scan.traversal.at((stage.height, stage.width)), scan.kernels.directions
    dtype = torch.float32 if where.device == "cpu" else torch.bfloat16
    arrays = {}
    for stream in scan.kernels.streams:
        if stream.constant:  # where the state starts anew
            starts = torch.from_numpy(np.stack(visits.restarts)).to(where.device)
            arrays[stream.name] = starts[..., None].float()
            continue
        row = (stage.channels,) if stream.lanes else (directions, stream.width)
        arrays[stream.name] = torch.randn(stage.batch, visits.rows, *row, device=where.device, dtype=dtype)
    for parameter in scan.kernels.parameters:
        arrays[parameter.name] = torch.randn(directions, stage.channels, parameter.width, device=where.device) * 0.1
    return arrays


def measure(stage: Stage, name: str, kind: str, backward: bool, where: Where) -> Row:
    if where.tiny:
        stage = replace(stage, batch=1, height=7, width=7, channels=8, rank=2)
    scan, grid = scan_of(stage, name, kind), (stage.height, stage.width)
    arrays = arrays_of(stage, scan, where)
    if backward:
        result, saved = scan.forward(arrays, grid, True)
        seed = torch.randn_like(result)
        times = timed(where, lambda: scan.backward(seed, saved, arrays, grid))
    else:
        times = timed(where, lambda: scan.forward(arrays, grid, False))
    schedule = next(iter(scan._built.values())).layout.schedule
    return Row(times, note=f"{schedule.addressing}, chunks of {schedule.chunk} and {schedule.backward_chunk}")


def measurements() -> Iterator[Measurement]:
    """`orders-stage1-snake-arithmetic-forward`, `orders-stage3-window7-formula-backward` …"""
    for stage in STAGES:
        if stage.directions != 4:
            continue
        for name, (_, formula) in ORDERS.items():
            for which, backward in {"forward": False, "backward": True}.items():
                for kind in ("table",) if formula is None else ("arithmetic", "table", "formula"):
                    row = f"orders-{stage.name}-{name}-{kind}-{which}"
                    yield Measurement(row, partial(measure, stage, name, kind, backward))
