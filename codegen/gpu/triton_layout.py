"""Where things lie and what a module's kernels take: everything the printing of Triton text decides before it prints.

In: kernels, orders, a schedule and a shape; out: strides, word sizes, walks, and the arguments of every kernel (`entries`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from scanlang.codegen.kernel import CellKernel, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.maps.integers import Constant
from scanlang.maps.nest import Nest
from scanlang.maps.order import Order

TYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Shape:
    """What a module is specialised to. `dtypes` gives the type of every stream, parameter and input of the merge by name."""

    height: int
    width: int
    channels: int
    dtypes: tuple[tuple[str, str], ...]
    compute: str = "float32"

    @property
    def cells(self) -> int:
        return self.height * self.width

    def dtype(self, name: str) -> str:
        return dict(self.dtypes)[name]


@dataclass(frozen=True)
class Walk:
    """A nest at one size whose runs all have `length` steps; `strides` are the one or two that occur."""

    nest: Nest
    length: int
    strides: tuple[int, ...]


def legal_walk(order: Order, height: int, width: int, chunk: int) -> Walk | None:
    """The order as loops of whole chunks, if that is what it is at this size."""
    if order.nest is None:
        return None
    nest = order.nest.at(height, width)
    if not isinstance(nest.length, Constant) or nest.length.value % chunk:
        return None
    length = nest.length.value
    if isinstance(nest.stride, Constant):
        return Walk(nest, length, (nest.stride.value,))
    if length == 1:
        return Walk(nest, length, (0,))
    runs = order.positions(height, width).reshape(-1, length)
    strides = np.unique(runs[:, 1] - runs[:, 0])
    return Walk(nest, length, tuple(int(s) for s in strides)) if len(strides) <= 2 else None


@dataclass(frozen=True)
class Argument:
    """`type` as Triton's signatures write it: `*bf16`, `i32`, `constexpr`."""

    name: str
    type: str


@dataclass(frozen=True)
class Entry:
    """A kernel that is launched. Programs are counted on axis 0."""

    name: str
    arguments: tuple[Argument, ...]
    warps: int

    @property
    def walks(self) -> bool:
        """Goes through the cells in order; the others are pointwise."""
        return self.name in ("forward", "backward")


@dataclass(frozen=True)
class Layout:
    kernels: ScanKernels
    orders: tuple[Order, ...]
    schedule: Schedule
    shape: Shape

    @property
    def directions(self) -> int:
        return self.kernels.directions

    @property
    def blocks(self) -> int:
        return -(-self.shape.channels // self.schedule.lanes)

    @property
    def tail(self) -> bool:
        """The last block has lanes without a channel."""
        return self.shape.channels % self.schedule.lanes != 0

    @property
    def chunks(self) -> int:
        return -(-self.shape.cells // self.schedule.backward_chunk)

    @property
    def states(self) -> int:
        return len(self.kernels.forward.states)

    @property
    def mode(self) -> Literal["direct", "turns", "partials"]:
        """How the directions come together; the gradients of inputs likewise."""
        if self.kernels.merge_scale is None:
            return "partials"
        return "direct" if self.directions == 1 else self.schedule.merge

    @cached_property
    def lane_streams(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.kernels.streams if stream.lanes)

    @cached_property
    def uniform_streams(self) -> tuple[Stream, ...]:
        return tuple(stream for stream in self.kernels.streams if not stream.lanes)

    @cached_property
    def summed_streams(self) -> tuple[Stream, ...]:
        """Streams whose gradient is a sum over the directions."""
        return tuple(stream for stream in self.lane_streams if not stream.per_direction)

    @cached_property
    def sum_offsets(self) -> dict[str, int]:
        """Where the gradient of each stream without lanes begins in a row of `sums`."""
        offsets, total = {}, 0
        for stream in self.uniform_streams:
            offsets[stream.name] = total
            total += stream.width
        return offsets

    @property
    def sum_width(self) -> int:
        return sum(stream.width for stream in self.uniform_streams)

    @property
    def merge_inputs(self) -> tuple[str, ...]:
        """Inputs that a merge expression reads beside the directions' outputs."""
        if self.kernels.merge is None:
            return ()
        return tuple(a.of.name for a in self.kernels.merge.reads if not a.of.name.startswith("y["))

    def word(self, stream: Stream) -> int:
        """Bits of the words in which a stream without lanes is loaded, 0 if number by number."""
        dtype = self.shape.dtype(stream.name)
        size = BYTES[dtype] * stream.width
        for bits in (64, 32):
            if size % (bits // 8) == 0 and bits // 8 > BYTES[dtype]:
                return bits
        return 0

    def per_word(self, stream: Stream) -> int:
        """Numbers in one element that is loaded."""
        bits = self.word(stream)
        return bits // 8 // BYTES[self.shape.dtype(stream.name)] if bits else 1

    def row(self, stream: Stream) -> int:
        """Loaded elements from one cell to the next."""
        if stream.lanes:
            return self.shape.channels * (self.directions if stream.per_direction else 1)
        return self.directions * stream.width // self.per_word(stream)

    def step_aside(self, stream: Stream) -> int:
        """Loaded elements from one direction to the next, 0 if they read the same."""
        if stream.lanes:
            return self.shape.channels if stream.per_direction else 0
        return stream.width // self.per_word(stream)

    @property
    def wide(self) -> bool:
        """Offsets inside one image need 64 bits."""
        rows = [self.row(stream) for stream in self.kernels.streams] + [self.directions * self.sum_width]
        return max(self.shape.cells * max(rows), self.chunks * self.states * self.shape.channels) >= 2**31

    @cached_property
    def walks(self) -> tuple[Walk, ...] | None:
        """One per direction, or None where cells come from a table."""
        if self.schedule.addressing == "table":
            return None
        chunk = self.schedule.chunk
        walks = [legal_walk(order, self.shape.height, self.shape.width, chunk) for order in self.orders]
        if any(walk is None for walk in walks):
            raise ValueError(f"not every order is made of runs of a multiple of {chunk} steps")
        return tuple(walk for walk in walks if walk is not None)

    def pointer(self, name: str) -> Argument:
        return Argument(f"p_{name}", "*" + TYPES[self.shape.dtype(name)])

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        compute = "*" + TYPES[self.shape.compute]
        output = "*" + TYPES[self.shape.dtype(self.lane_streams[0].name)] if self.lane_streams else compute
        names = [*(s.name for s in self.kernels.streams), *(p.name for p in self.kernels.parameters)]
        common = [self.pointer(name) for name in names]
        if self.schedule.addressing == "table":
            common.append(Argument("table", "*i32"))
        sizes = [Argument("batch", "i32"), Argument("first", "i32")]
        made = [Argument("output", output if self.mode != "partials" else compute)]
        made += [Argument("running", compute)] if self.mode == "turns" else []
        made += [Argument("states", compute), *sizes, Argument("SAVE", "constexpr")]
        entries = [
            Entry("forward", (*common, *made), self.schedule.warps),
            Entry("backward", (*common, *self._backward_arguments(compute, output), *sizes), self.schedule.warps),
        ]
        if self.mode == "partials":
            entries.append(self._cell_entry("merge", self.kernels.merge, compute, output))
        if self.kernels.merge_adjoint is not None:
            entries.append(self._cell_entry("merge_adjoint", self.kernels.merge_adjoint, compute, output))
        return tuple(entries)

    def _backward_arguments(self, compute: str, output: str) -> list[Argument]:
        found = [Argument("cotangent", compute if self.kernels.merge is not None else output)]
        found.append(Argument("states", compute))
        for stream in self.lane_streams:
            whole = stream.per_direction or self.mode != "partials"
            found.append(Argument(f"g_{stream.name}", self.pointer(stream.name).type if whole else compute))
            if self.mode == "turns" and not stream.per_direction:
                found.append(Argument(f"running_{stream.name}", compute))
        found += [Argument("sums", compute)] if self.uniform_streams else []
        return found + [Argument(f"g_{p.name}", compute) for p in self.kernels.parameters]

    def _cell_entry(self, name: str, kernel: CellKernel | None, compute: str, output: str) -> Entry:
        inputs = [self.pointer(input_name) for input_name in self.merge_inputs]
        arguments = [Argument("partials", compute), *inputs]
        if name == "merge":
            arguments.append(Argument("output", output))
        else:
            assert kernel is not None
            arguments += [Argument("cotangent", output), Argument("d_partials", compute)]
            arguments += [Argument(f"g_{i}", self.pointer(i).type) for i in self.merge_inputs]
        return Entry(name, (*arguments, Argument("size", "i64")), 4)
