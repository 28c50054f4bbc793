"""Generated Triton kernels as an `Executable`: modules built per shape, buffers allocated, kernels launched.

Runs on CUDA tensors, and on CPU tensors where TRITON_INTERPRET=1 has Triton interpret its kernels. A GPU's own schedules are
`choose_gpu_schedule`'s; the interpreter, which takes bfloat16 products for products of integers, goes step by step.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType

import torch
from torch import Tensor

from scanlang.codegen.executable import Saved
from scanlang.codegen.gpu.build_triton import build_triton
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.join_segments import join_segments
from scanlang.codegen.gpu.products import multiply, multiply_backward
from scanlang.codegen.gpu.sums import sum_of_parts
from scanlang.codegen.gpu.triton_compile import without_coalescing
from scanlang.codegen.gpu.triton_layout import CELL_BLOCK, CELL_WARPS, Layout, Shape, argument_name, layout_of, offsets
from scanlang.codegen.kernel import Factored, Parameter, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.graph.products import Product
from scanlang.maps.traversal import Traversal

ChooseSchedule = Callable[[ScanKernels, Traversal, Shape, int], Schedule]

MOST_PROGRAMS = 2**31 - 1
"""CUDA's limit for axis 0 of a grid; larger batches are launched in parts."""


@dataclass(frozen=True)
class _Built:
    """A module with what its launches need on one device: `table` is None where rows are computed, or given at run time."""

    layout: Layout
    module: ModuleType
    table: Tensor | None


class TritonScan:
    """`TritonScan(kernels, traversal)`; `choose` picks the schedule for a shape and a batch, by default step by step."""

    def __init__(self, kernels: ScanKernels, traversal: Traversal, choose: ChooseSchedule = sequential_schedule) -> None:
        self.kernels, self.traversal, self.choose = kernels, traversal, choose
        self._built: dict[tuple[Shape, Schedule, torch.device], _Built] = {}
        self._chosen: dict[tuple[Shape, int, torch.device], _Built] = {}
        self._chunks: dict[tuple[tuple[int, ...], torch.dtype], int] = {}
        self._lock = threading.Lock()

    def chunk(self, grid: tuple[int, ...], computing: torch.dtype = torch.float32) -> int:
        sizes = tuple(map(int, grid))  # a kernel is made for one size, so a traced size is fixed here
        if (sizes, computing) not in self._chunks:
            shape = Shape(sizes, 1, (), str(computing).removeprefix("torch."))
            self._chunks[sizes, computing] = self.choose(self.kernels, self.traversal, shape, 1).backward_chunk
        return self._chunks[sizes, computing]

    def forward(
        self,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        save: bool,
        tables: Tensor | None = None,
        entry: Tensor | None = None,
        final: Tensor | None = None,
    ) -> tuple[Tensor, Saved]:
        call = _Call(self, arrays, grid, tables, entry, final)
        return call.forward(save)

    def backward(
        self,
        gradient: Tensor,
        saved: Saved,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        tables: Tensor | None = None,
        final: Tensor | None = None,
        entry: Tensor | None = None,
    ) -> dict[str, Tensor]:
        call = _Call(self, arrays, grid, tables, entry, final)
        return call.backward(_aligned(gradient), saved)

    def built(self, shape: Shape, batch: int, device: torch.device) -> _Built:
        """The module for a shape, made on first use."""
        if (known := self._chosen.get((shape, batch, device))) is not None:
            return known
        schedule = self.choose(self.kernels, self.traversal, shape, batch)
        if device.type != "cuda":  # the interpreter has no caches, and knows no machine instruction
            schedule = replace(schedule, fetch=False)
        key = (shape, schedule, device)
        with self._lock:
            if key not in self._built:
                layout = layout_of(self.kernels, self.traversal, schedule, shape)
                text = emit_triton(layout.kernels, self.traversal, schedule, layout.shape)
                self._built[key] = _Built(layout, build_triton(text, self.kernels.name), _table(layout, device))
            return self._chosen.setdefault((shape, batch, device), self._built[key])


def _table(layout: Layout, device: torch.device) -> Tensor | None:
    """The row of every step, `(routes, K, J)`, where rows come from a table that is the same for every image."""
    if layout.schedule.addressing != "table" or layout.per_image:
        return None
    return torch.from_numpy(layout.traversal.at(layout.shape.grid).table).to(device)


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and beginning where a word of 16 bytes does, as the kernels are compiled for."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def _side_by_side(total: Tensor, streams: Sequence[Stream]) -> dict[str, Tensor]:
    """What lies side by side in every row, a stream's `width` numbers each."""
    firsts = offsets(streams)
    return {stream.name: total.narrow(-1, firsts[stream.name], stream.width) for stream in streams}


def _over_units(lanes: Tensor, every: int) -> Tensor:
    """`(…, channels, width)` summed over the channels of every unit, `(…, channels / every, width)`."""
    return lanes if every <= 1 else lanes.unflatten(-2, (-1, every)).sum(-2)


class _Call:
    """One call: arrays, sizes, and the module for them."""

    def __init__(
        self,
        scan: TritonScan,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        tables: Tensor | None,
        entry: Tensor | None,
        final: Tensor | None,
    ) -> None:
        self.kernels = scan.kernels
        self.arrays = {name: _aligned(array) for name, array in arrays.items()}
        x = self.arrays[self.kernels.leading.name]
        self.device, self.output_type, self.batch = x.device, x.dtype, x.shape[0]
        self.channels = self.kernels.channel_count(self.arrays)
        streams = {stream.name for stream in self.kernels.streams}
        double = any(a.dtype == torch.float64 for n, a in self.arrays.items() if n in streams)
        self.compute = torch.float64 if double else torch.float32
        dtypes = tuple((name, str(array.dtype).removeprefix("torch.")) for name, array in self.arrays.items())
        self.ends = {name: array for name, array in (("entry", entry), ("final", final)) if array is not None}
        compute = str(self.compute).removeprefix("torch.")
        shape = Shape(tuple(grid), self.channels, dtypes, compute, entry is not None, final is not None)
        self.built = scan.built(shape, self.batch, self.device)
        self.layout = self.built.layout
        self.products = self.make_products(scan.kernels.factored)
        self.kernels = self.layout.kernels
        self.table = self.built.table if tables is None else _aligned(tables)

    def make_products(self, factored: Factored | None) -> tuple[Product, ...]:
        """The products that the schedule wants made beforehand; their values become arrays."""
        if factored is None or self.layout.schedule.products == "inside":
            return ()
        for product in factored.products:
            dtype = getattr(torch, self.layout.shape.dtype(product.name))
            given = self.arrays[product.stream], self.arrays[product.parameter]
            self.arrays[product.name] = multiply(*given, dtype)
        return factored.products

    def empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.compute, device=self.device)

    def written(self, *shape: int, dtype: torch.dtype | None = None, zero: bool = False) -> Tensor:
        """What kernels write: zero first where they do not write every row, or add to what is there."""
        made = torch.zeros if zero or not self.layout.simple else torch.empty
        return made(shape, dtype=dtype or self.compute, device=self.device)

    def like(self, dtype: torch.dtype | None = None, copies: int | None = None, pointwise: bool = False) -> Tensor:
        """A map `(B, R, C)` that kernels write, or several; a pointwise kernel writes every row."""
        sizes = (*(() if copies is None else (copies,)), self.batch, self.layout.rows, self.channels)
        return self.empty(*sizes, dtype=dtype) if pointwise else self.written(*sizes, dtype=dtype)

    def running(self, target: Tensor) -> Tensor:
        """Where directions in turn add up: the result itself if it has the computing type."""
        return target if target.dtype == self.compute else self.like()

    def forward(self, save: bool) -> tuple[Tensor, Saved]:
        layout = self.layout
        states = self.states(layout.chunks if save else 0)
        ends = self.ends
        if layout.schedule.segments > 1:
            starts = layout.kernels.forward.starts or (0.0,) * layout.states
            ends = {"entry": self.segment_ends("forward", {}, ends.get("entry"), starts, ends.get("final"))}
        given = {**self.common(), "states": states, **ends, "SAVE": save}
        partials = self.empty(0)
        if layout.partial_outputs:
            partials, output = self.like(copies=layout.directions), self.like(self.output_type, pointwise=True)
            self.walk("forward", {**given, "output": partials})
            self.cells_kernel("merge", {"partials": partials, **self.merge_inputs(), "output": output})
        else:
            output = self.output_buffer()
            extra = {"running": self.running(output)} if layout.mode == "turns" else {}
            self.walk("forward", {**given, "output": output, **extra})
        kept = partials if save and self.kernels.merge is not None else self.empty(0)
        return output.to(self.output_type), Saved(states if save else self.empty(0), kept)

    def states(self, chunks: int) -> Tensor:
        """Room for the states; what no direction has is zero."""
        layout = self.layout
        states = self.empty(self.batch, layout.directions, chunks, layout.states, layout.widest)
        for k, (length, (_, channels)) in enumerate(zip(layout.lengths, layout.groups, strict=True)):
            if layout.chunks_of(length) < chunks:
                states[:, k, layout.chunks_of(length) :].zero_()
            if channels < layout.widest:
                states[:, k, ..., channels:].zero_()
        return states

    def segment_ends(
        self, name: str, read: Mapping[str, object], first: Tensor | None, starts: Sequence[float], last: Tensor | None
    ) -> Tensor:
        """What comes to every segment, `(B, K, segments, states, C)`, in the order in which the kernel takes them; `first` is
        what comes to the first of them, `last` gets what comes behind the last."""
        layout = self.layout
        shape = (self.batch, layout.directions, layout.schedule.segments, layout.states, layout.widest)
        made = self.empty(*shape[:3], 2 * layout.states, layout.widest)
        self.walk(f"{name}_segments", {**self.common(), **read, ("final" if name == "forward" else "entry"): made})
        if first is None:
            first = self.empty(self.batch, layout.directions, layout.states, layout.widest)
            for number, start in enumerate(starts):  # not copied from the host: a CUDA graph may be recording
                first[:, :, number] = start
        return join_segments(made, first, last)

    def output_buffer(self) -> Tensor:
        dtype = getattr(torch, self.layout.output_type)
        if not self.kernels.stacked:
            return self.like(dtype)
        return self.written(self.batch, self.layout.rows, self.layout.directions, self.channels, dtype=dtype)

    def backward(self, gradient: Tensor, saved: Saved) -> dict[str, Tensor]:
        layout, found = self.layout, dict[str, Tensor]()
        cotangent = gradient.to(self.output_type)
        if self.kernels.merge_adjoint is not None:
            cotangent = self.merge_backward(cotangent, saved, found)
        ends, read = self.ends, {"cotangent": cotangent, "states": saved.states}
        if layout.schedule.segments > 1:
            zeros = (0.0,) * layout.states
            ends = {"final": self.segment_ends("backward", read, ends.get("final"), zeros, ends.get("entry"))}
        given = {**self.common(), **read, **ends}
        targets = {s.name: self.gradient_buffer(s) for s in (*layout.lane_streams, *layout.spread_streams)}
        given |= {argument_name("g", name): target for name, target in targets.items()}
        if layout.mode == "turns":
            given |= {argument_name("running", s.name): self.running(targets[s.name]) for s in layout.summed_streams}
        sums = self.sum_buffers()
        given |= sums
        parts = {p.name: self.parameter_buffer(p) for p in self.kernels.parameters}
        self.walk("backward", {**given, **{argument_name("g", name): part for name, part in parts.items()}})
        for stream in layout.lane_streams:
            made, more = targets[stream.name], found.get(stream.name)
            if layout.mode == "partials" and not stream.per_direction:
                dtype = self.arrays[stream.name].dtype if more is None else self.compute  # rounded once, when all is added
                made = sum_of_parts(made, dtype)
            found[stream.name] = made if more is None else more + made
        found |= {s.name: _over_units(targets[s.name], s.every) for s in layout.spread_streams}
        found |= self.added_up(sums["sums"]) if "sums" in sums else {}
        if "timed" in sums:
            found |= _side_by_side(sums["timed"].sum((0, 1)), layout.timed_streams)
        for parameter in self.kernels.parameters:
            made = parts[parameter.name].sum((0, 1) if parameter.shared else 0)
            found[parameter.name] = _over_units(made, parameter.every)
        for product in self.products:
            names = product.stream, product.parameter
            pair = multiply_backward(found.pop(product.name), *(self.arrays[name] for name in names))
            for name, part in zip(names, pair, strict=True):
                found[name] = found[name] + part if name in found else part
        return found

    def added_up(self, sums: Tensor) -> dict[str, Tensor]:
        """Gradients from their parts by block of channels: over all blocks, or over those of a unit."""
        layout = self.layout
        if all(stream.uniform for stream in layout.scalar_streams):
            return _side_by_side(sum_of_parts(sums, self.compute), layout.scalar_streams)
        found = {}
        for stream in layout.scalar_streams:
            parts = _side_by_side(sums, layout.scalar_streams)[stream.name]
            found[stream.name] = parts.sum(0) if stream.uniform else self.units_added_up(parts, stream.every)
        return found

    def units_added_up(self, parts: Tensor, every: int) -> Tensor:
        """`(blocks, B, R, K, width)` → `(B, R, K, units, width)`, or with the units of all directions in a row."""
        layout = self.layout
        by_row = parts.permute(1, 2, 3, 0, 4)
        if self.kernels.split is None:
            return _over_units(by_row, every // layout.schedule.lanes)
        own = [by_row[:, :, k, : layout.blocks_of(k)] for k in range(layout.directions)]
        return _over_units(torch.cat(own, 2), every // layout.schedule.lanes)

    def sum_buffers(self) -> dict[str, Tensor]:
        """Gradients of what a program reads one value of, in parts by block of channels; along TIME by image, too."""
        layout, made = self.layout, dict[str, Tensor]()
        if layout.scalar_streams:
            made["sums"] = self.sum_buffer(layout.rows, layout.directions, layout.sum_width)
        if layout.timed_streams:
            made["timed"] = self.sum_buffer(layout.directions, layout.steps, layout.timed_width)
        return made

    def sum_buffer(self, *per_image: int) -> Tensor:
        return self.written(self.layout.blocks, self.batch, *per_image, zero=not self.layout.even)

    def merge_backward(self, cotangent: Tensor, saved: Saved, found: dict[str, Tensor]) -> Tensor:
        """The gradients of the partial outputs; those of the merge's own inputs go to `found`."""
        added = {stream.name for stream in self.kernels.streams}  # the recurrence's share comes on top, before rounding
        types = {name: None if name in added else self.arrays[name].dtype for name in self.layout.merge_inputs}
        made = {name: self.like(dtype, pointwise=True) for name, dtype in types.items()}
        partials = self.like(copies=self.layout.directions, pointwise=True)
        given = {"partials": saved.partials, **self.merge_inputs(), "cotangent": cotangent, "d_partials": partials}
        self.cells_kernel("merge_adjoint", {**given, **{argument_name("g", name): array for name, array in made.items()}})
        found.update(made)
        if self.layout.visits is not None and self.layout.visits.pads:  # what a merge makes of pads is no output
            partials[:, :, self.layout.rows - self.layout.visits.pads :] = 0
        return partials

    def gradient_buffer(self, stream: Stream) -> Tensor:
        layout, dtype = self.layout, getattr(torch, self.layout.gradient_type(stream))
        if stream.units:
            own = () if self.kernels.split is not None else (layout.directions,)
            return self.written(self.batch, layout.rows, *own, self.channels, stream.width, dtype=dtype)
        if stream.per_direction:
            return self.written(self.batch, layout.rows, layout.directions, self.channels, dtype=dtype)
        return self.like(dtype, copies=layout.directions if layout.mode == "partials" else None)

    def parameter_buffer(self, parameter: Parameter) -> Tensor:
        """The gradient's part of every image, and of every direction where it has a row for each."""
        layout, width = self.layout, parameter.width
        if self.kernels.split is not None and not parameter.shared:
            return self.empty(self.batch, self.channels, width)
        return self.empty(self.batch * layout.schedule.segments, layout.directions, layout.widest, width)

    def common(self) -> dict[str, object]:
        names = [*(s.name for s in self.kernels.streams), *(p.name for p in self.kernels.parameters)]
        given: dict[str, object] = {argument_name("p", name): self.arrays[name] for name in names}
        return given | ({"table": self.table} if self.layout.schedule.addressing == "table" else {})

    def merge_inputs(self) -> dict[str, object]:
        return {argument_name("p", name): self.arrays[name] for name in self.layout.merge_inputs}

    def walk(self, name: str, arguments: dict[str, object]) -> None:
        """Launch a kernel that walks, over the whole batch."""
        layout = self.layout
        per_image = layout.blocks * (1 if layout.mode == "turns" else layout.directions * layout.schedule.segments)
        most = max(1, MOST_PROGRAMS // per_image)
        for first in range(0, self.batch, most):
            images = min(most, self.batch - first)
            self.launch(name, images * per_image, {**arguments, "batch": self.batch, "first": first}, layout.schedule.warps)

    def cells_kernel(self, name: str, arguments: dict[str, object]) -> None:
        """Launch a pointwise kernel over a whole map."""
        size = self.batch * self.layout.rows * self.channels
        self.launch(name, -(-size // CELL_BLOCK), {**arguments, "batch": self.batch}, CELL_WARPS)

    def launch(self, name: str, programs: int, arguments: dict[str, object], warps: int) -> None:
        if programs == 0:
            return
        on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()
        step_by_step = name.startswith(("forward", "backward")) and self.layout.schedule.kind == "sequential"
        with on_device, without_coalescing() if step_by_step else contextlib.nullcontext():
            getattr(self.built.module, name)[(programs,)](**arguments, num_warps=warps, enable_fp_fusion=True)
