"""How many bytes and operations a scan takes: what the schedule asks of memory beside what any schedule must move.

In: kernels, a schedule and sizes; out: `Traffic` of one image, forward and backward, and `Operations` per step and channel.
Caches are not counted: a value read by two programs is moved twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scanlang.codegen.kernel import TIME, CellKernel, Let, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Visits

TRANSCENDENTAL = frozenset(["exp", "expm1", "log", "log1p", "sqrt", "tanh", "erf"])
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
    """Of one image: what is visited, `item` bytes a value of a map, `computing` bytes a value of a state; sums over the
    channels are kept in at most `sum_groups` parts."""

    visits: Visits
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
    """`map` is a map of all rows, `wide` one in the computing type, `passes` what all directions make of it in that type."""

    def __init__(self, kernels: ScanKernels, schedule: Schedule, sizes: Sizes) -> None:
        self.kernels, self.schedule, self.sizes, self.lengths = kernels, schedule, sizes, sizes.visits.lengths
        self.directions = kernels.directions
        self.channels = [count for _, count in kernels.channels(sizes.channels)]
        self.vector = schedule.lanes or CPU_VECTOR // sizes.computing
        self.blocks = [math.ceil(count / self.vector) for count in self.channels]
        self.map = sizes.visits.rows * sizes.channels * sizes.item
        self.wide = sizes.visits.rows * sizes.channels * sizes.computing
        self.passes = self.per_step(self.channels) * sizes.computing
        self.output = self.map * (self.directions if kernels.stacked else 1)
        self.once = sum(map(self.needed, kernels.streams))
        self.read = sum(map(self.reads, kernels.streams))
        own = {stream.name for stream in kernels.streams}
        self.merge_inputs = len(_inputs(kernels.merge))
        self.merge_only = len(_inputs(kernels.merge) - own)

    def per_step(self, values: Iterable[int]) -> int:
        """So many values at every step of each direction."""
        return sum(length * count for length, count in zip(self.lengths, values, strict=True))

    def stream(self, stream: Stream) -> int:
        """Bytes of an array."""
        width = numbers(stream, self.sizes.channels)
        rows = self.sizes.visits.steps if stream.route == TIME else self.sizes.visits.rows
        own = stream.per_direction or stream.uniform
        return rows * width * (self.directions if own else 1) * self.sizes.item

    def needed(self, stream: Stream) -> int:
        """Bytes of what is read of it, each once."""
        if stream.route == TIME:
            return self.per_step([stream.width] * self.directions) * self.sizes.item
        tables = self.sizes.visits.tables[stream.route]
        rows = [len(np.unique(table)) for table in tables]
        if stream.lanes and not stream.per_direction and self.kernels.split is None:
            return len(np.unique(np.concatenate(tables))) * self.sizes.channels * self.sizes.item
        widths = [numbers(stream, own) for own in self.channels]
        return sum(count * width for count, width in zip(rows, widths, strict=True)) * self.sizes.item

    def reads(self, stream: Stream) -> int:
        """Bytes that all programs read of it: a value for many channels is read by every block of them."""
        if stream.every % self.vector:
            return self.per_step(numbers(stream, own) for own in self.channels) * self.sizes.item
        return self.per_step(stream.width * blocks for blocks in self.blocks) * self.sizes.item

    def combined(self) -> int:
        """What bringing the directions together in one map of plain sums moves, that map included."""
        if self.directions == 1 or self.kernels.split is not None:
            return self.map
        if self.schedule.merge == "turns":
            return 2 * (self.directions - 1) * self.wide + self.map
        return 2 * self.passes + self.map

    def forward(self) -> Traffic:
        ideal = self.once + self.merge_only * self.map + self.output
        if self.kernels.stacked:
            return Traffic(ideal, self.read + self.output)
        if self.kernels.merge is None:
            return Traffic(ideal, self.read + self.combined())
        return Traffic(ideal, self.read + 2 * self.passes + (self.merge_inputs + 1) * self.map)

    def backward(self) -> Traffic:
        gradients = [gradient.of for gradient in self.kernels.backward.gradients]
        made = sum(map(self.stream, gradients))
        ideal = self.once + made + 2 * self.merge_only * self.map + self.output
        moved = self.read + self.cotangents() + self.states()
        for stream in gradients:
            if (parts := self.parts(stream)) is not None:
                moved += 2 * parts * self.stream(stream) // self.sizes.item * self.sizes.computing + self.stream(stream)
            elif stream.per_direction or stream.units:
                moved += self.stream(stream)
            else:
                moved += self.combined()
        return Traffic(ideal, moved)

    def parts(self, stream: Stream) -> int | None:
        """In how many parts, each an array like it in the computing type, the gradient of what several channels read is written
        first: by block of channels, or by channel where units are no whole blocks. None where it is one channel's alone."""
        if stream.uniform:
            return min(max(self.blocks), self.sizes.sum_groups)
        if stream.every == 1:
            return None
        return min(stream.every // self.vector if stream.every % self.vector == 0 else stream.every, self.sizes.sum_groups)

    def cotangents(self) -> int:
        """The gradient of the output read by every direction; with an expression, through the adjoint of the merge."""
        if self.kernels.merge is None:
            return self.per_step(self.channels) * self.sizes.item
        adjoint = 2 * self.passes + (2 * self.merge_inputs + 1) * self.map
        return adjoint + self.passes

    def states(self) -> int:
        chunks = [math.ceil(length / self.schedule.backward_chunk) for length in self.lengths]
        values = sum(count * own for count, own in zip(chunks, self.channels, strict=True)) * len(self.kernels.forward.states)
        return 2 * values * self.sizes.computing


def numbers(stream: Stream, channels: int) -> int:
    """How many numbers a row has of a stream for so many channels."""
    return stream.width if stream.uniform else channels // stream.every * stream.width


def _inputs(kernel: CellKernel | None) -> set[str]:
    """The maps that a merge reads beside the directions' outputs."""
    return {access.of.name for access in kernel.reads if not access.of.name.startswith("y[")} if kernel else set()
