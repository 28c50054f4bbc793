"""GPU times of arithmetic addresses beside tables: the same orders as loops, as loops forced to a table, and as formulas, which
are tables.

    python examples/bench_orders.py --rows 'stage1-snake*' --json out/orders.json

At VMamba-T's four stages (batch 128, 224², bfloat16 maps), the kernels alone: four directions, an order and its reverse, twice.
`arithmetic` is the walk as loops, whether these pay or not, `table` the same chunks from a table, `formula` an order that says
the same by a formula, compiled with the chunks that a table likes best. An order that starts anew in every window has a table
only. `forward` saves nothing; `backward` is that pass alone. Times are medians of CUDA events with the L2 flushed and the queue
kept full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Literal

import click
import numpy as np
import torch
from bench_gpu import DEVICE, SHAPES, Shape
from common.measure import Row, measure_on_gpu, median_cuda
from torch import Tensor

import scanlang
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule, loop_chunks
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape as GpuShape
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
STAGES = tuple(shape for shape in SHAPES if shape.directions == 4)


def program_of(order: str, shape: Shape) -> scanlang.Program:
    return scanlang.loads(PROGRAM.format(order=order), sizes=[(shape.height, shape.width)])


@cache
def scan_of(shape: Shape, name: str, kind: str) -> TritonScan:
    walk, formula = ORDERS[name]
    program = program_of(walk, shape)
    if kind == "formula":
        assert formula is not None
        same = program_of(formula, shape)
        grid = shape.height, shape.width
        assert np.array_equal(program.orders["timed"].positions(*grid), same.orders["timed"].positions(*grid))
        program = same
    graph = program.operator_graph("timed_scan")
    kernels = lower_to_kernels(graph, {"state": shape.states, "rank": shape.rank})
    return TritonScan(kernels, graph.traversal, partial(schedule_of, kind))


def schedule_of(kind: str, kernels: ScanKernels, traversal: Traversal, shape: GpuShape, batch: int) -> Schedule:
    """The usual one, with loops whether they pay or not, or with their chunks from a table."""
    usual, chunks = (
        choose_gpu_schedule(kernels, traversal, shape, batch),
        loop_chunks(kernels, traversal, shape.grid),
    )
    if kind == "formula" or chunks is None:
        return usual
    addressing: Literal["nest", "table"] = "nest" if kind == "arithmetic" else "table"
    return replace(usual, addressing=addressing, chunk=chunks[0], backward_chunk=chunks[1])


def arrays_of(shape: Shape, scan: TritonScan) -> dict[str, Tensor]:
    """Streams drawn from N(0, 1), parameters small."""
    torch.manual_seed(0)
    visits, directions = scan.traversal.at((shape.height, shape.width)), scan.kernels.directions
    arrays = {}
    for stream in scan.kernels.streams:
        if stream.constant:  # where the state starts anew
            starts = torch.from_numpy(np.stack(visits.restarts)).to(DEVICE)
            arrays[stream.name] = starts[..., None].float()
            continue
        row = (shape.channels,) if stream.lanes else (directions, stream.width)
        arrays[stream.name] = torch.randn(shape.batch, visits.rows, *row, device=DEVICE, dtype=torch.bfloat16)
    for parameter in scan.kernels.parameters:
        arrays[parameter.name] = torch.randn(directions, shape.channels, parameter.width, device=DEVICE) * 0.1
    return arrays


def measure(shape: Shape, name: str, kind: str, backward: bool) -> Row:
    scan, grid = scan_of(shape, name, kind), (shape.height, shape.width)
    arrays = arrays_of(shape, scan)
    if backward:
        result, saved = scan.forward(arrays, grid, True)
        seed = torch.randn_like(result)
        times = median_cuda(lambda: scan.backward(seed, saved, arrays, grid))
    else:
        times = median_cuda(lambda: scan.forward(arrays, grid, False))
    schedule = next(iter(scan._built.values())).layout.schedule
    note = f"{schedule.addressing}, chunks of {schedule.chunk} and {schedule.backward_chunk}"
    return Row(f"{shape.name} {name} {kind}, {'backward' if backward else 'forward'}", *times, note=note)


def measurements() -> dict[str, Callable[[], Row]]:
    """Every row by the name that `--rows` takes: `stage1-snake-arithmetic-forward`, `stage3-window7-formula-backward` …"""
    return {
        f"{shape.name}-{name}-{kind}-{'backward' if backward else 'forward'}": partial(measure, shape, name, kind, backward)
        for shape in STAGES
        for name, (_, formula) in ORDERS.items()
        for backward in (False, True)
        for kind in (("table",) if formula is None else ("arithmetic", "table", "formula"))
    }


@click.command(help=__doc__)
@click.option("--rows", help="Patterns of rows, separated by commas: 'stage1-raster*,*-window7-*'. All without it.")
@click.option("--json", "path", type=click.Path(dir_okay=False), help="Write the rows there as well.")
def main(rows: str | None, path: str | None) -> None:
    measure_on_gpu(measurements(), rows, path)


if __name__ == "__main__":
    main()
