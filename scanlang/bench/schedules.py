"""Rows of the same scan by other schedules than the rule's: the kernels alone, at the sizes of VMamba-T's stages and of a
Vim-Ti layer. What `scanlang tune` searches, a few of it side by side.

A row is called `schedule-<shape>-<schedule>-<forward|both>`. `rule` is the rule's own; `ahead` loads the inputs of the next
chunk while this one is computed; `before` has the products behind dt made by matrix products; `two` gives every lane two
channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial

import torch

import scanlang
from scanlang.bench.chunked import array
from scanlang.bench.clock import timed
from scanlang.bench.instructions import issued_by
from scanlang.bench.operands import PASSES
from scanlang.bench.row import Measurement, Row, Where
from scanlang.bench.stages import STAGES, Stage
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import Parameter, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

Choice = Callable[[ScanKernels, Traversal, Shape, int], Schedule]


def products_before(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The rule's for the kernels that take products as inputs."""
    assert kernels.factored is not None
    return replace(sequential_schedule(kernels.factored.kernels, traversal, shape, batch), products="before")


def changed(choice: Choice, **changes: object) -> Choice:
    return lambda *given: replace(choice(*given), **changes)  # type: ignore[arg-type]


SCHEDULES: dict[str, Choice] = {
    "rule": sequential_schedule,
    "ahead": changed(sequential_schedule, ahead=True),
    "two": changed(sequential_schedule, lanes=64),
    "two_ahead": changed(sequential_schedule, lanes=64, ahead=True),
    "before": products_before,
    "before_ahead": changed(products_before, ahead=True),
    "before_two": changed(products_before, lanes=64),
    "before_two_ahead": changed(products_before, lanes=64, ahead=True),
}


@lru_cache(maxsize=2)
def kernels_of(stage: Stage) -> tuple[ScanKernels, Traversal]:
    loaded = scanlang.loads(stage.text)
    graph = loaded.operator_graph(loaded.scan_name(None))
    return lower_to_kernels(graph, {"state": stage.states, "rank": stage.rank}), graph.traversal


def measure(stage: Stage, schedule: str, backward: bool, where: Where) -> Row:
    stage = stage.at(where)
    (kernels, traversal), size = kernels_of(stage), stage.size
    torch.manual_seed(0)
    wanted: tuple[Stream | Parameter, ...] = (*kernels.streams, *kernels.parameters)
    arrays = {of.name: array(of, kernels, size, where) for of in wanted}
    grid, scan = (size.height, size.width), TritonScan(kernels, traversal, SCHEDULES[schedule])
    dtype = arrays[kernels.leading.name].dtype
    gradient = torch.randn(size.batch, size.cells, size.channels, device=where.device, dtype=dtype)

    def forward() -> object:
        return scan.forward(arrays, grid, False)

    def both() -> object:
        _, saved = scan.forward(arrays, grid, True)
        return scan.backward(gradient, saved, arrays, grid)

    times = timed(where, both if backward else forward)
    issued = issued_by(lambda: next(iter(scan._built.values())), stage.channel_steps, backward, where)
    return Row(times, bytes=stage.bytes(backward), special=stage.special(backward), issued=issued)


def measurements() -> Iterator[Measurement]:
    """`schedule-stage1-ahead-forward` …"""
    for stage in STAGES:
        for schedule in SCHEDULES:
            for which, backward in PASSES.items():
                row = f"schedule-{stage.name}-{schedule}-{which}"
                yield Measurement(row, partial(measure, stage, schedule, backward))
