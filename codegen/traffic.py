"""How many bytes and operations a scan takes: what the schedule asks of memory beside what any schedule must move.

In: kernels, a schedule and sizes; out: `Traffic` of one image, forward and backward, and `Operations` per step and channel.
Caches are not counted: a value read by two programs is moved twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from scanlang.codegen.kernel import CellKernel, Let, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule

TRANSCENDENTAL = frozenset(["exp", "log", "log1p", "sqrt", "tanh", "erf"])
CPU_VECTOR = 64
"""Bytes of the widest vectors of a CPU: a block of channels where the schedule leaves the lanes to the machine."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of one pass over one image: `ideal` reads every input and writes every output once, `moved` is what the schedule
    asks of memory."""

    ideal: int
    moved: int


@dataclass(frozen=True)
class Operations:
    """Of one step, channel and direction."""

    arithmetic: int
    divisions: int
    transcendental: int


@dataclass(frozen=True)
class Sizes:
    """Of one image: `item` bytes a value of a map, `computing` bytes a value of a state; sums over the channels are kept
    in at most `sum_groups` parts."""

    cells: int
    channels: int
    item: int
    computing: int
    sum_groups: int


def count_operations(lets: Iterable[Let]) -> Operations:
    """How many operations straight-line code takes, by kind."""
    counts = Counter(
        "transcendental" if let.function in TRANSCENDENTAL else "divisions" if let.function == "div" else "arithmetic"
        for let in lets
    )
    return Operations(counts["arithmetic"], counts["divisions"], counts["transcendental"])


def count_traffic(kernels: ScanKernels, schedule: Schedule, sizes: Sizes) -> tuple[Traffic, Traffic]:
    """Forward and backward traffic of one image; the states that the forward saves are counted with the backward."""
    counter = _Counter(kernels, schedule, sizes)
    return counter.forward(), counter.backward()


class _Counter:
    def __init__(self, kernels: ScanKernels, schedule: Schedule, sizes: Sizes) -> None:
        self.kernels, self.schedule, self.sizes = kernels, schedule, sizes
        self.directions = kernels.directions
        self.blocks = math.ceil(sizes.channels / (schedule.lanes or CPU_VECTOR // sizes.computing))
        self.map = sizes.cells * sizes.channels * sizes.item
        self.wide = sizes.cells * sizes.channels * sizes.computing
        self.once = sum(map(self.stream, kernels.streams))
        self.read = sum(self.stream(stream) * self.readers(stream) for stream in kernels.streams)
        own = {stream.name for stream in kernels.streams}
        self.merge_inputs = len(_inputs(kernels.merge))
        self.merge_only = len(_inputs(kernels.merge) - own)

    def stream(self, stream: Stream) -> int:
        """Bytes of a map."""
        width = self.sizes.channels if stream.lanes else stream.width
        return self.sizes.cells * width * (self.directions if stream.per_direction else 1) * self.sizes.item

    def readers(self, stream: Stream) -> int:
        """How many programs read a value: every direction, unless it has its own; every block of channels, if shared."""
        return (1 if stream.per_direction else self.directions) * (1 if stream.lanes else self.blocks)

    def combined(self) -> int:
        """What bringing the directions together in one map of plain sums moves, that map included."""
        if self.directions == 1:
            return self.map
        if self.schedule.merge == "turns":
            return 2 * (self.directions - 1) * self.wide + self.map
        return 2 * self.directions * self.wide + self.map

    def forward(self) -> Traffic:
        ideal = self.once + (self.merge_only + 1) * self.map
        if self.kernels.merge is None:
            return Traffic(ideal, self.read + self.combined())
        return Traffic(ideal, self.read + 2 * self.directions * self.wide + (self.merge_inputs + 1) * self.map)

    def backward(self) -> Traffic:
        gradients = [gradient.of for gradient in self.kernels.backward.gradients]
        made = sum(map(self.stream, gradients))
        ideal = self.once + made + (2 * self.merge_only + 1) * self.map
        moved = self.read + self.cotangents() + self.states()
        for stream in gradients:
            if not stream.lanes:
                parts = min(self.blocks, self.sizes.sum_groups)
                moved += 2 * parts * self.stream(stream) // self.sizes.item * self.sizes.computing + self.stream(stream)
            elif stream.per_direction:
                moved += self.stream(stream)
            else:
                moved += self.combined()
        return Traffic(ideal, moved)

    def cotangents(self) -> int:
        """The gradient of the output read by every direction; with an expression, through the adjoint of the merge."""
        if self.kernels.merge is None:
            return self.directions * self.map
        adjoint = self.directions * 2 * self.wide + (2 * self.merge_inputs + 1) * self.map
        return adjoint + self.directions * self.wide

    def states(self) -> int:
        chunks = math.ceil(self.sizes.cells / self.schedule.backward_chunk)
        values = chunks * len(self.kernels.forward.states) * self.directions * self.sizes.channels
        return 2 * values * self.sizes.computing


def _inputs(kernel: CellKernel | None) -> set[str]:
    """The maps that a merge reads beside the directions' outputs."""
    return {access.of.name for access in kernel.reads if not access.of.name.startswith("y[")} if kernel else set()
