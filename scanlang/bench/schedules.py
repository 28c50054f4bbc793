"""Rows of the same scan by other schedules than the rule's: the kernels alone, at the sizes of VMamba-T's stages and of a
Vim-Ti layer. What `scanlang tune` searches, a few of it side by side.

A row is called `schedule-<shape>-<schedule>-<forward|both>`. `rule` is the rule's own, `plain` has nothing of what follows;
`ahead` loads the inputs of the next chunk while this one is computed, `fetch` brings their lines nearer; `before` has the
products behind dt made by matrix products; `two` gives every lane two channels; `abreast` takes four chunks at once.
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
from scanlang.codegen.gpu.choose_gpu_schedule import LANES, choose_chunks, merge, sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import Parameter, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

Choice = Callable[[ScanKernels, Traversal, Shape, int], Schedule]


def plain(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """A warp for every direction and block of channels, which makes everything itself."""
    chunk, backward_chunk, nest = choose_chunks(kernels, traversal, shape.grid)
    mode = merge(kernels, traversal, shape.grid, batch * -(-shape.channels // LANES))
    return Schedule("nest" if nest else "table", mode, LANES, chunk, backward_chunk)


def products_before(kernels: ScanKernels, traversal: Traversal, shape: Shape, batch: int) -> Schedule:
    """The same for the kernels that take products as inputs."""
    assert kernels.factored is not None
    return replace(plain(kernels.factored.kernels, traversal, shape, batch), products="before")


def changed(choice: Choice, **changes: object) -> Choice:
    return lambda *given: replace(choice(*given), **changes)  # type: ignore[arg-type]


ABREAST = {"abreast": 4, "warps": 4}
SCHEDULES: dict[str, Choice] = {
    "rule": sequential_schedule,
    "plain": plain,
    "ahead": changed(plain, ahead=True),
    "fetch": changed(plain, fetch=True),
    "two": changed(plain, lanes=64),
    "two_ahead": changed(plain, lanes=64, ahead=True),
    "abreast": changed(plain, **ABREAST),
    "abreast_fetch": changed(plain, fetch=True, **ABREAST),
    "before": products_before,
    "before_ahead": changed(products_before, ahead=True),
    "before_two": changed(products_before, lanes=64),
    "before_abreast": changed(products_before, **ABREAST),
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
