"""Where things lie and what a module's kernels take: everything the printing of Triton text decides before it prints.

In: kernels, a traversal, a schedule and a shape; out: strides, word sizes, walks, what needs zeros or adding, and the arguments
of every kernel (`entries`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import combinations
from typing import Literal

import numpy as np

from scanlang.check.program import FormulaOrder
from scanlang.codegen.kernel import TIME, BackwardKernel, CellKernel, ForwardKernel, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.segments import backward_summary, can_be_cut, forward_summary
from scanlang.graph.products import stream_of
from scanlang.maps.integers import Constant
from scanlang.maps.nest import Nest
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal, Visits

WARP = 32
TYPES = {"float64": "fp64", "float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}

CELL_BLOCK, CELL_WARPS = 1024, 8
"""Elements and warps of a pointwise program. A lane has four: one word of 16 bytes of the float32 in which partial outputs are,
and as many of a narrower type, so that all maps are laid out alike. Where a lane had eight of bfloat16 they were exchanged
through shared memory, and took up to three times the registers."""


@dataclass(frozen=True)
class Shape:
    """What a module is specialised to: `grid` is the length of every axis, `dtypes` gives the type of every stream, parameter
    and input of the merge by name.

    With `entry` the states before the first step are given, and the backward gives their gradient; with `final` those after the
    last step are asked for, and the backward is given their gradient.
    """

    grid: tuple[int, ...]
    channels: int
    dtypes: tuple[tuple[str, str], ...]
    compute: str = "float32"
    entry: bool = False
    final: bool = False

    @property
    def cells(self) -> int:
        return math.prod(self.grid)

    def dtype(self, name: str) -> str:
        return dict(self.dtypes)[name]


@dataclass(frozen=True)
class Walk:
    """A nest at one size whose runs all have `length` steps; `strides` are the one or two that occur."""

    nest: Nest
    length: int
    strides: tuple[int, ...]

    @property
    def flat(self) -> bool:
        """The number of a run says where it begins: loops of constant length, and one stride."""
        return len(self.strides) == 1 and all(isinstance(loop.count, Constant) for loop in self.nest.loops)


def walk_of(order: Order, grid: tuple[int, ...]) -> Walk | str:
    """The order as loops around runs of one length, or why it is none at this size."""
    if order.nest is None:
        return "a formula has no loops" if isinstance(order.leaf, FormulaOrder) else "the order has no loops"
    nest = order.nest.at(*grid)
    if not isinstance(nest.length, Constant):
        return "runs differ in length"
    length = nest.length.value
    if isinstance(nest.stride, Constant):
        return Walk(nest, length, (nest.stride.value,))
    if length == 1:
        return Walk(nest, length, (0,))
    runs = order.positions(*grid).reshape(-1, length)
    strides = np.unique(runs[:, 1] - runs[:, 0])
    return Walk(nest, length, tuple(int(s) for s in strides)) if len(strides) <= 2 else "runs differ in their strides"


def argument_name(prefix: str, name: str) -> str:
    """`p_x`; what the compiler adds has a name that no program can give (`restart.`), which becomes `p_0restart`."""
    return f"{prefix}_{name}" if name.isidentifier() else f"{prefix}_0{name.replace('.', '')}"


@dataclass(frozen=True)
class Argument:
    """`type` as Triton's signatures write it: `*bf16`, `i32`, `constexpr`."""

    name: str
    type: str


@dataclass(frozen=True)
class Entry:
    """A kernel that is launched. Programs are counted on axis 0. `ends` are the arrays of states before the first step and
    after the last (in the backward of their gradients), where they are given or asked for: of every segment, if there are some.
    """

    name: str
    arguments: tuple[Argument, ...]
    warps: int

    ends: tuple[str, ...] = ()

    @property
    def walks(self) -> bool:
        """Goes through the cells in order; the others are pointwise."""
        return self.name.startswith(("forward", "backward"))

    @property
    def sums_up(self) -> bool:
        """Gives no more than what a segment does to what goes from step to step."""
        return self.name.endswith("_segments")


@dataclass(frozen=True)
class Layout:
    """One module. R are the rows of a map, J the steps of the longest direction."""

    kernels: ScanKernels
    traversal: Traversal
    schedule: Schedule
    shape: Shape

    @property
    def orders(self) -> tuple[Order, ...]:
        return self.traversal.orders

    @property
    def directions(self) -> int:
        return self.kernels.directions

    # What is visited. Where every direction visits the cells once and nothing else, no table is made to know it.

    @cached_property
    def visits(self) -> Visits | None:
        return None if self.traversal.plain else self.traversal.at(self.shape.grid)

    @property
    def rows(self) -> int:
        return self.shape.cells if self.visits is None else self.visits.rows

    @property
    def lengths(self) -> tuple[int, ...]:
        return (self.shape.cells,) * self.directions if self.visits is None else self.visits.lengths

    @property
    def steps(self) -> int:
        return max(self.lengths)

    @property
    def simple(self) -> bool:
        """What is written needs no zeros and no adding."""
        return self.visits is None or self.visits.simple

    @property
    def per_image(self) -> bool:
        """Every image has tables of its own."""
        return bool(self.traversal.given_names)

    def adds(self, route: int) -> bool:
        """A direction visits a row twice: what is written along this route is added to what is there."""
        visits = self.visits
        return visits is not None and any(visits.repeats(route, k) for k in range(self.directions))

    def meetings(self, route: int, steps: int) -> frozenset[tuple[int, int]]:
        """Which two of the `steps` steps of a chunk may be at the same row, in some chunk of some direction."""
        if self.per_image:
            return frozenset(combinations(range(steps), 2))
        return frozenset() if self.visits is None else _meetings(self.visits, route, steps)

    @cached_property
    def apart(self) -> bool:
        """No two directions write to the same row: each may write to the result itself."""
        routes = {stream.route for stream in self.summed_streams}
        routes |= set() if self.kernels.merge_scale is None else {self.kernels.output_route}
        if self.directions == 1 or self.visits is None or self.per_image:
            return self.directions == 1
        return not any(_overlap(self.visits, route) for route in routes)

    # Channels.

    @cached_property
    def groups(self) -> tuple[tuple[int, int], ...]:
        """(first channel, number of channels) of every direction."""
        return self.kernels.channels(self.shape.channels)

    @property
    def widest(self) -> int:
        """Channels of the direction that has most."""
        return max(count for _, count in self.groups)

    def blocks_of(self, direction: int) -> int:
        return -(-self.groups[direction][1] // self.schedule.lanes)

    @property
    def blocks(self) -> int:
        return -(-self.widest // self.schedule.lanes)

    @property
    def even(self) -> bool:
        """All directions have as many blocks."""
        return len({self.blocks_of(k) for k in range(self.directions)}) == 1

    @property
    def tail(self) -> bool:
        """The last block of some direction has lanes without a channel."""
        return any(count % self.schedule.lanes for _, count in self.groups)

    # States and results.

    @property
    def chunks(self) -> int:
        return self.chunks_of(self.steps)

    def chunks_of(self, length: int) -> int:
        return -(-length // self.schedule.backward_chunk)

    @property
    def states(self) -> int:
        return len(self.kernels.forward.states)

    @cached_property
    def mode(self) -> Literal["direct", "turns", "partials"]:
        """How the directions come together; the gradients of inputs likewise."""
        if self.kernels.merge is not None:
            return "partials"
        if self.kernels.split is not None or self.apart:
            return "direct"
        if self.schedule.merge == "turns" and (self.kernels.stacked or not self.simple):
            raise ValueError("directions in turn add up one output, and every direction visits every row of it once")
        return self.schedule.merge

    @property
    def partial_outputs(self) -> bool:
        """The outputs of the directions are buffers of their own, merged by another kernel."""
        return self.mode == "partials" and not self.kernels.stacked

    @property
    def output_row(self) -> int:
        """Elements of the output from one row to the next."""
        return self.shape.channels * (self.directions if self.kernels.stacked else 1)

    @property
    def output_type(self) -> str:
        """Of what the forward writes."""
        if self.partial_outputs or self.adds(self.kernels.output_route):
            return self.shape.compute
        return self.shape.dtype(self.kernels.leading.name)

    def gradient_type(self, stream: Stream) -> str:
        """Of what the backward writes for a stream with lanes, or in every lane for one of units."""
        whole = stream.every == 1 and (stream.units or stream.per_direction or self.mode != "partials")
        source = stream_of(stream.name) or stream.name  # of a product: it has the range of its stream
        return self.shape.dtype(source) if whole and not self.adds(stream.route) else self.shape.compute

    # Streams.

    @cached_property
    def lane_streams(self) -> tuple[Stream, ...]:
        """Streams with lanes that have a gradient."""
        return tuple(stream for stream in self.kernels.streams if stream.lanes and not stream.constant)

    @cached_property
    def summed_streams(self) -> tuple[Stream, ...]:
        """Streams whose gradient is a sum over the directions."""
        return tuple(stream for stream in self.lane_streams if not stream.per_direction)

    def scalar(self, stream: Stream) -> bool:
        """A program reads one value of it a step: it is uniform, or a unit is made of whole blocks of lanes."""
        return not stream.lanes and stream.every % self.schedule.lanes == 0

    @cached_property
    def scalar_streams(self) -> tuple[Stream, ...]:
        """Those that have a gradient for every row, by route: a program gives the sum over its lanes."""
        found = [s for s in self.kernels.streams if self.scalar(s) and not (s.constant or s.route == TIME)]
        return tuple(sorted(found, key=lambda stream: stream.route))

    @cached_property
    def spread_streams(self) -> tuple[Stream, ...]:
        """Streams of units that are no whole blocks of lanes and have a gradient: every lane gives its own."""
        return tuple(s for s in self.kernels.streams if s.units and not (self.scalar(s) or s.constant))

    @cached_property
    def timed_streams(self) -> tuple[Stream, ...]:
        """Streams along TIME that have a gradient."""
        return tuple(stream for stream in self.kernels.streams if stream.route == TIME and not stream.constant)

    @property
    def sum_width(self) -> int:
        return sum(stream.width for stream in self.scalar_streams)

    @property
    def timed_width(self) -> int:
        return sum(stream.width for stream in self.timed_streams)

    @property
    def merge_inputs(self) -> tuple[str, ...]:
        """Inputs that a merge expression reads beside the directions' outputs."""
        if self.kernels.merge is None:
            return ()
        return tuple(a.of.name for a in self.kernels.merge.reads if not a.of.name.startswith("y["))

    def word(self, stream: Stream) -> int:
        """Bits of the words in which the numbers of a stream lie side by side are loaded, 0 if number by number."""
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
        """Loaded elements from one row to the next; along TIME from one step to the next."""
        if stream.lanes:
            return self.shape.channels * (self.directions if stream.per_direction else 1)
        if stream.units:
            return self.units_row(stream, self.words(stream), stream.every)
        return self.words(stream) if stream.route == TIME else self.directions * self.words(stream)

    def words(self, stream: Stream) -> int:
        """Loaded elements of one value."""
        return stream.width // self.per_word(stream)

    def units_row(self, stream: Stream, width: int, every: int) -> int:
        """Elements from one row to the next where there are `width` for `every` so many channels of each direction."""
        whole = self.shape.channels // every * width
        return whole if self.kernels.split is not None else self.directions * whole

    def step_aside(self, stream: Stream) -> int:
        """Loaded elements from one direction to the next, 0 if they read the same or have channels of their own."""
        if stream.lanes:
            return self.shape.channels if stream.per_direction else 0
        if stream.units:
            return 0 if self.kernels.split is not None else self.shape.channels // stream.every * self.words(stream)
        return self.steps * self.words(stream) if stream.route == TIME else self.words(stream)

    def gradient_row(self, stream: Stream) -> int:
        """Elements from one row to the next of what the lanes give for a stream of units."""
        return self.units_row(stream, stream.width, 1)

    @property
    def wide(self) -> bool:
        """Offsets inside one image need 64 bits."""
        rows = [self.row(stream) for stream in self.kernels.streams] + [self.directions * self.sum_width, self.output_row]
        rows += [self.gradient_row(stream) for stream in self.spread_streams]
        per_step = [self.row(s) for s in self.kernels.streams if s.route == TIME] + [self.timed_width]
        most = max(self.rows * max(rows), self.steps * max(per_step), self.chunks * self.states * self.widest)
        return most >= 2**31

    @cached_property
    def walks(self) -> tuple[Walk, ...] | None:
        """One per direction, or None where rows come from a table."""
        if self.schedule.addressing == "table":
            return None
        chunk = self.schedule.chunk
        walks = [walk_of(order, self.shape.grid) for order in self.orders]
        if not self.traversal.plain or any(isinstance(walk, str) or walk.length % chunk for walk in walks):
            raise ValueError(f"not every order is made of runs of a multiple of {chunk} steps")
        found = tuple(walk for walk in walks if isinstance(walk, Walk))
        if self.flat_loops and not all(walk.flat for walk in found):
            raise ValueError("loading ahead, fetching, segments, chunks abreast need loops of constant length, and one stride")
        return found

    @property
    def flat_loops(self) -> bool:
        """The loops around the runs are one loop over all chunks."""
        schedule = self.schedule
        return schedule.ahead or schedule.fetch or schedule.segments > 1 or schedule.abreast > 1

    # Texts of what differs where several chunks are taken at once: there every value has a row for each of them.

    @property
    def lanes(self) -> str:
        """The channels of a program."""
        numbers = "i_block * LANES + tl.arange(0, LANES)"
        return f"({numbers})[None, :]" if self.schedule.abreast > 1 else numbers

    @property
    def vector(self) -> str:
        """The shape of what a program has one of: parameters, and what goes from chunk to chunk."""
        return "[1, LANES]" if self.schedule.abreast > 1 else "[LANES]"

    @property
    def block(self) -> str:
        """The shape of a step's values."""
        return "[ABREAST, LANES]" if self.schedule.abreast > 1 else "[LANES]"

    def ragged(self, steps: int) -> bool:
        """Somewhere fewer chunks of so many steps are left than are taken abreast."""
        abreast = self.schedule.abreast
        return abreast > 1 and any(length % (steps * abreast) for length in self.lengths)

    def check_abreast(self) -> None:
        """ValueError where chunks cannot be taken abreast."""
        schedule, twice = self.schedule, any(map(self.adds, range(self.kernels.routes)))
        if schedule.lanes != WARP or schedule.warps != schedule.abreast or schedule.abreast & (schedule.abreast - 1):
            raise ValueError(f"chunks abreast are a power of two, and a warp of {WARP} lanes each")
        if schedule.ahead or schedule.segments > 1 or twice or not can_be_cut(self.kernels.forward):
            raise ValueError("chunks abreast need diagonal states, no row visited twice, and are neither loaded ahead nor cut")

    @cached_property
    def walking(self) -> dict[str, ForwardKernel | BackwardKernel]:
        """The kernels behind the entries that walk."""
        forward, backward = self.kernels.forward, self.kernels.backward
        if self.schedule.abreast > 1:
            self.check_abreast()
        if self.schedule.fetch and (self.schedule.lanes != WARP or self.kernels.split is not None):
            raise ValueError(f"lines are fetched for {WARP} lanes, of maps that all directions read alike")
        found: dict[str, ForwardKernel | BackwardKernel] = {"forward": forward, "backward": backward}
        if self.schedule.segments > 1:
            adds = any(map(self.adds, range(self.kernels.routes)))
            if not can_be_cut(forward) or self.mode == "turns" or self.kernels.split is not None or adds:
                raise ValueError(
                    "segments need diagonal states, directions side by side and of all channels, and no row visited twice"
                )
            found["forward_segments"] = forward_summary(forward)
            found["backward_segments"] = backward_summary(forward, backward)
        return found

    # The kernels' arguments.

    def pointer(self, name: str) -> Argument:
        return Argument(argument_name("p", name), "*" + TYPES[self.shape.dtype(name)])

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        compute = "*" + TYPES[self.shape.compute]
        names = [*(s.name for s in self.kernels.streams), *(p.name for p in self.kernels.parameters)]
        common = [self.pointer(name) for name in names]
        if self.schedule.addressing == "table":
            common.append(Argument("table", "*i32"))
        sizes = [Argument("batch", "i32"), Argument("first", "i32")]
        made = [Argument("output", "*" + TYPES[self.output_type])]
        made += [Argument("running", compute)] if self.mode == "turns" else []
        asked = ("entry",) * self.shape.entry + ("final",) * self.shape.final
        segments, warps = self.schedule.segments > 1, self.schedule.warps

        def ended(name: str, given: Sequence[Argument], ends: tuple[str, ...], last: Sequence[Argument]) -> Entry:
            return Entry(name, (*common, *given, *(Argument(end, compute) for end in ends), *last), warps, ends)

        forward_ends, backward_ends = (("entry",), ("final",)) if segments else (asked, asked)
        saving = Argument("SAVE", "constexpr")
        entries = [
            ended("forward", [*made, Argument("states", compute)], forward_ends, [*sizes, saving]),
            ended("backward", self._backward_arguments(compute), backward_ends, sizes),
        ]
        if segments:
            entries.append(ended("forward_segments", [], ("final",), sizes))
            entries.append(ended("backward_segments", self._backward_arguments(compute)[:2], ("entry",), sizes))
        if self.partial_outputs:
            entries.append(self._cell_entry("merge", self.kernels.merge, compute))
        if self.kernels.merge_adjoint is not None:
            entries.append(self._cell_entry("merge_adjoint", self.kernels.merge_adjoint, compute))
        return tuple(entries)

    @property
    def _result(self) -> str:
        """Triton's type of the output and of its gradient."""
        return "*" + TYPES[self.shape.dtype(self.kernels.leading.name)]

    def _backward_arguments(self, compute: str) -> list[Argument]:
        found = [Argument("cotangent", compute if self.kernels.merge is not None else self._result)]
        found.append(Argument("states", compute))
        for stream in self.lane_streams:
            found.append(Argument(argument_name("g", stream.name), "*" + TYPES[self.gradient_type(stream)]))
            if self.mode == "turns" and not stream.per_direction:
                found.append(Argument(argument_name("running", stream.name), compute))
        spread = [(argument_name("g", s.name), "*" + TYPES[self.gradient_type(s)]) for s in self.spread_streams]
        found += [Argument(*one) for one in spread]
        found += [Argument("sums", compute)] if self.scalar_streams else []
        found += [Argument("timed", compute)] if self.timed_streams else []
        return found + [Argument(argument_name("g", p.name), compute) for p in self.kernels.parameters]

    def _cell_entry(self, name: str, kernel: CellKernel | None, compute: str) -> Entry:
        inputs = [self.pointer(input_name) for input_name in self.merge_inputs]
        arguments = [Argument("partials", compute), *inputs]
        if name == "merge":
            arguments.append(Argument("output", self._result))
        else:
            assert kernel is not None
            arguments += [Argument("cotangent", self._result), Argument("d_partials", compute)]
            arguments += [Argument(argument_name("g", i), self.pointer(i).type) for i in self.merge_inputs]
        return Entry(name, (*arguments, Argument("batch", "i32")), CELL_WARPS)


def layout_of(kernels: ScanKernels, traversal: Traversal, schedule: Schedule, shape: Shape) -> Layout:
    """The layout of a scan for the schedule chosen for it: of the kernels that take products as inputs, where it says so."""
    if schedule.products == "inside":
        return Layout(kernels, traversal, schedule, shape)
    if kernels.factored is None:
        raise ValueError("there are no products to make beforehand")
    made = tuple((p.name, product_type(shape.dtype(p.stream), shape.compute)) for p in kernels.factored.products)
    return Layout(kernels.factored.kernels, traversal, schedule, replace(shape, dtypes=shape.dtypes + made))


def product_type(stream_type: str, compute: str) -> str:
    """The type in which products with a stream of a type are kept, see `products.py`."""
    return "float16" if BYTES[stream_type] == 2 and compute == "float32" else compute


def offsets(streams: Iterable[Stream]) -> dict[str, int]:
    """Where each stream begins in a row that has them side by side."""
    found, total = {}, 0
    for stream in streams:
        found[stream.name] = total
        total += stream.width
    return found


@lru_cache
def _meetings(visits: Visits, route: int, steps: int) -> frozenset[tuple[int, int]]:
    found: set[tuple[int, int]] = set()
    for table in visits.tables[route]:
        for first, second in combinations(range(steps), 2):
            later = table[second::steps]
            if np.any(table[first::steps][: len(later)] == later):
                found.add((first, second))
    return frozenset(found)


def _overlap(visits: Visits, route: int) -> bool:
    """Whether two directions visit the same row."""
    together = np.concatenate([np.unique(table) for table in visits.tables[route]])
    return len(np.unique(together)) < len(together)
