"""Rows of recurrences with matrix states, by matrix products over chunks of steps and step by step: the kernels alone,
bfloat16 maps in four directions, heads of 64 channels.

A row is called `chunked-<recurrence>-<rows of the state>-<shape>-<schedule>-<forward|both>`. `32` and `64` are matrix products
over so many steps, `32turns` with the directions in turn in one program, `steps` one step after the other (of few rows only:
its text grows with them). The bytes are those that any implementation moves: every map once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Literal

import torch
from torch import Tensor

import scanlang
from scanlang.bench.clock import timed
from scanlang.bench.operands import PASSES, Size
from scanlang.bench.row import Measurement, Row, Where
from scanlang.codegen.gpu.choose_chunked import chunked_schedule
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import Parameter, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

SCANS = {
    "ssd": ("std.ssd", "ssd2d"),
    "gla": ("std.gla", "gla2d"),
    "retention": ("std.retention", "retention2d"),
    "linear": ("std.linear_attention", "linear_attention2d"),
}
STATES, HEAD, MOST_STEPPED = (16, 64, 128), 64, 16


MAPS = {"stage1": Size(128, 56, 56, 128), "stage3": Size(128, 14, 14, 512), "large": Size(8, 156, 156, 192)}
TINY = Size(1, 3, 5, 64)


def in_chunks(steps: int, turns: bool, kernels: ScanKernels, _: Traversal, __: Shape, ___: int) -> Schedule:
    merge: Literal["turns", "partials"] = "turns" if turns else "partials"
    made = chunked_schedule(kernels, "bfloat16", merge)
    return replace(made, chunk=steps, backward_chunk=steps)


SCHEDULES: dict[str, Callable[[ScanKernels, Traversal, Shape, int], Schedule]] = {
    "32": partial(in_chunks, 32, False),
    "64": partial(in_chunks, 64, False),
    "32turns": partial(in_chunks, 32, True),
    "steps": sequential_schedule,
}


@lru_cache(maxsize=4)
def kernels_of(name: str, state: int) -> tuple[ScanKernels, Traversal]:
    file, scan = SCANS[name]
    graph = scanlang.load(file).operator_graph(scan)
    return lower_to_kernels(graph, {"state": state, "head": HEAD}), graph.traversal


def array(of: Stream | Parameter, kernels: ScanKernels, of_map: Size, where: Where) -> Tensor:
    """Drawn from N(0, 1), as `Executable` wants it; Triton's interpreter takes no products of bfloat16."""
    directions, dtype = kernels.directions, torch.float32 if where.device == "cpu" else torch.bfloat16
    if isinstance(of, Parameter):
        units = (of_map.channels // of.every, of.width)
        return torch.rand(*(() if of.shared else (directions,)), *units, device=where.device)
    whole = (of_map.batch, of_map.cells, *((directions,) if of.per_direction else ()))
    last = (of_map.channels,) if of.lanes else (of.width,) if of.uniform else (of_map.channels // of.every, of.width)
    return torch.randn(*whole, *last, device=where.device, dtype=dtype)


def measure(name: str, state: int, map_name: str, schedule: str, backward: bool, where: Where) -> Row:
    (kernels, traversal), of_map = kernels_of(name, state), TINY if where.tiny else MAPS[map_name]
    torch.manual_seed(0)
    wanted: tuple[Stream | Parameter, ...] = (*kernels.streams, *kernels.parameters)
    arrays = {of.name: array(of, kernels, of_map, where) for of in wanted}
    grid, scan = (of_map.height, of_map.width), TritonScan(kernels, traversal, SCHEDULES[schedule])
    x = arrays[kernels.leading.name]
    gradient = torch.randn(of_map.batch, of_map.cells, of_map.channels, device=where.device, dtype=x.dtype)

    def forward() -> object:
        return scan.forward(arrays, grid, False)

    def both() -> object:
        _, saved = scan.forward(arrays, grid, True)
        return scan.backward(gradient, saved, arrays, grid)

    times = timed(where, both if backward else forward, repeats=20)
    maps = sum(arrays[stream.name].numel() for stream in kernels.streams)
    least = 2 * (maps + gradient.numel())
    return Row(times, bytes=least + 2 * (2 * maps + gradient.numel()) if backward else least)


def measurements() -> Iterator[Measurement]:
    """`chunked-ssd-16-stage1-32-forward` …"""
    for name in SCANS:
        for state in STATES:
            for map_name in MAPS:
                for schedule in SCHEDULES:
                    for which, backward in PASSES.items():
                        if schedule != "steps" or state <= MOST_STEPPED:
                            row = f"chunked-{name}-{state}-{map_name}-{schedule}-{which}"
                            yield Measurement(row, partial(measure, name, state, map_name, schedule, backward))
