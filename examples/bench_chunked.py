"""GPU times of recurrences with matrix states, by matrix products over chunks of steps and step by step: the kernels alone,
bfloat16 maps in four directions, heads of 64 channels.

    python examples/bench_chunked.py --rows 'ssd-*-stage1-*' --json out/chunked.json

A row is called `<recurrence>-<rows of the state>-<shape>-<schedule>-<forward|both>`. `32` and `64` are matrix products over so
many steps, `32turns` with the directions in turn in one program, `steps` one step after the other (of few rows only: its text
grows with them). The bytes are those that any implementation moves: every map once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import click
import torch
from common.measure import Row, measure_on_gpu, median_cuda
from torch import Tensor

import scanlang
from scanlang.codegen.gpu.choose_chunked import chunked_schedule
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import Parameter, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

DEVICE, DTYPE = "cuda", torch.bfloat16
STD = Path(scanlang.__file__).parent / "std"
SCANS = {
    "ssd": ("ssd.scan", "ssd2d"),
    "gla": ("gla.scan", "gla2d"),
    "retention": ("retention.scan", "retention2d"),
    "linear": ("linear_attention.scan", "linear_attention2d"),
}
STATES, HEAD, MOST_STEPPED = (16, 64, 128), 64, 16


@dataclass(frozen=True)
class Map:
    batch: int
    height: int
    width: int
    channels: int

    @property
    def cells(self) -> int:
        return self.height * self.width


MAPS = {"stage1": Map(128, 56, 56, 128), "stage3": Map(128, 14, 14, 512), "large": Map(8, 156, 156, 192)}


def in_chunks(steps: int, turns: bool, kernels: ScanKernels, _: Traversal, __: Shape, ___: int) -> Schedule:
    made = chunked_schedule(kernels, "bfloat16", "turns" if turns else "partials")
    return replace(made, chunk=steps, backward_chunk=steps)


SCHEDULES: dict[str, Callable[[ScanKernels, Traversal, Shape, int], Schedule]] = {
    "32": partial(in_chunks, 32, False),
    "64": partial(in_chunks, 64, False),
    "32turns": partial(in_chunks, 32, True),
    "steps": sequential_schedule,
}


@cache
def kernels_of(name: str, state: int) -> tuple[ScanKernels, Traversal]:
    file, scan = SCANS[name]
    graph = scanlang.load(STD / file).operator_graph(scan)
    return lower_to_kernels(graph, {"state": state, "head": HEAD}), graph.traversal


def array(of: Stream | Parameter, kernels: ScanKernels, of_map: Map) -> Tensor:
    """Drawn from N(0, 1), as `Executable` wants it."""
    directions = kernels.directions
    if isinstance(of, Parameter):
        units = (of_map.channels // of.every, of.width)
        return torch.rand(*(() if of.shared else (directions,)), *units, device=DEVICE)
    whole = (of_map.batch, of_map.cells, *((directions,) if of.per_direction else ()))
    last = (of_map.channels,) if of.lanes else (of.width,) if of.uniform else (of_map.channels // of.every, of.width)
    return torch.randn(*whole, *last, device=DEVICE, dtype=DTYPE)


def measure(name: str, state: int, map_name: str, schedule: str, backward: bool) -> Row:
    (kernels, traversal), of_map = kernels_of(name, state), MAPS[map_name]
    torch.manual_seed(0)
    arrays = {of.name: array(of, kernels, of_map) for of in (*kernels.streams, *kernels.parameters)}
    grid, scan = (of_map.height, of_map.width), TritonScan(kernels, traversal, SCHEDULES[schedule])
    gradient = torch.randn(of_map.batch, of_map.cells, of_map.channels, device=DEVICE, dtype=DTYPE)

    def forward() -> object:
        return scan.forward(arrays, grid, False)

    def both() -> object:
        _, saved = scan.forward(arrays, grid, True)
        return scan.backward(gradient, saved, arrays, grid)

    times = median_cuda(both if backward else forward, repeats=20)
    maps = sum(arrays[stream.name].numel() for stream in kernels.streams)
    least = 2 * (maps + gradient.numel())
    if backward:
        least += 2 * (2 * maps + gradient.numel())
    label = f"{name} {state} {map_name} {schedule}, {'forward + backward' if backward else 'forward'}"
    return Row(label, *times, bytes=least)


def measurements() -> dict[str, Callable[[], Row]]:
    """Every row by the name that `--rows` takes."""
    return {
        f"{name}-{state}-{map_name}-{schedule}-{'both' if backward else 'forward'}": partial(
            measure, name, state, map_name, schedule, backward
        )
        for name in SCANS
        for state in STATES
        for map_name in MAPS
        for schedule in SCHEDULES
        for backward in (False, True)
        if schedule != "steps" or state <= MOST_STEPPED
    }


@click.command(help=__doc__)
@click.option("--rows", help="Patterns of rows, separated by commas: 'ssd-16-*,gla-*'. All without it.")
@click.option("--json", "path", type=click.Path(dir_okay=False), help="Write the rows there as well.")
def main(rows: str | None, path: str | None) -> None:
    measure_on_gpu(measurements(), rows, path)


if __name__ == "__main__":
    main()
