"""Generated Triton kernels as an `Executable`: modules built per shape, buffers allocated, kernels launched.

Runs on CUDA tensors, and on CPU tensors where TRITON_INTERPRET=1 has Triton interpret its kernels.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from scanlang.codegen.executable import Saved
from scanlang.codegen.gpu.build_triton import build_triton
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.gpu.emit_triton import CELL_BLOCK, emit_triton
from scanlang.codegen.gpu.triton_compile import without_coalescing
from scanlang.codegen.gpu.triton_layout import Layout, Shape
from scanlang.codegen.kernel import Parameter, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.maps.order import Order

ChooseSchedule = Callable[[ScanKernels, Sequence[Order], Shape, int], Schedule]

MOST_PROGRAMS = 2**31 - 1
"""CUDA's limit for axis 0 of a grid; larger batches are launched in parts."""


@dataclass(frozen=True)
class _Built:
    """A module with what its launches need on one device."""

    layout: Layout
    module: ModuleType
    table: Tensor | None


class TritonScan:
    """`TritonScan(kernels, orders)`; `choose` picks the schedule for a shape and a batch."""

    def __init__(self, kernels: ScanKernels, orders: Sequence[Order], choose: ChooseSchedule = choose_gpu_schedule) -> None:
        self.kernels, self.orders, self.choose = kernels, tuple(orders), choose
        self._built: dict[tuple[Shape, Schedule, torch.device], _Built] = {}
        self._chosen: dict[tuple[Shape, int, torch.device], _Built] = {}
        self._chunks: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def chunk(self, grid: tuple[int, int]) -> int:
        size = (int(grid[0]), int(grid[1]))  # a kernel is made for one size, so a traced size is fixed here
        if size not in self._chunks:
            self._chunks[size] = self.choose(self.kernels, self.orders, Shape(*size, 1, ()), 1).backward_chunk
        return self._chunks[size]

    def forward(self, arrays: Mapping[str, Tensor], grid: tuple[int, int], save: bool) -> tuple[Tensor, Saved]:
        call = _Call(self, arrays, grid)
        return call.forward(save)

    def backward(
        self, gradient: Tensor, saved: Saved, arrays: Mapping[str, Tensor], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        call = _Call(self, arrays, grid)
        return call.backward(_aligned(gradient), saved)

    def built(self, shape: Shape, batch: int, device: torch.device) -> _Built:
        """The module for a shape, made on first use."""
        if (known := self._chosen.get((shape, batch, device))) is not None:
            return known
        schedule = self.choose(self.kernels, self.orders, shape, batch)
        key = (shape, schedule, device)
        with self._lock:
            if key not in self._built:
                layout = Layout(self.kernels, self.orders, schedule, shape)
                text = emit_triton(self.kernels, self.orders, schedule, shape)
                self._built[key] = _Built(layout, build_triton(text, self.kernels.name), _table(layout, device))
            return self._chosen.setdefault((shape, batch, device), self._built[key])


def _table(layout: Layout, device: torch.device) -> Tensor | None:
    """The cell visited at every step, `(K, L)`, where cells come from a table."""
    if layout.schedule.addressing != "table":
        return None
    rows = [torch.from_numpy(order.positions(layout.shape.height, layout.shape.width)) for order in layout.orders]
    return torch.stack(rows).to(torch.int32).to(device)


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, and beginning where a word of 16 bytes does, as the kernels are compiled for."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


class _Call:
    """One call: arrays, sizes, and the module for them."""

    def __init__(self, scan: TritonScan, arrays: Mapping[str, Tensor], grid: tuple[int, int]) -> None:
        self.kernels = scan.kernels
        self.arrays = {name: _aligned(array) for name, array in arrays.items()}
        first = next(stream for stream in self.kernels.streams if stream.lanes)
        x = self.arrays[first.name]
        self.device, self.output_type, self.batch, self.channels = x.device, x.dtype, x.shape[0], x.shape[-1]
        streams = {stream.name for stream in self.kernels.streams}
        double = any(a.dtype == torch.float64 for n, a in self.arrays.items() if n in streams)
        self.compute = torch.float64 if double else torch.float32
        dtypes = tuple((name, str(array.dtype).removeprefix("torch.")) for name, array in self.arrays.items())
        shape = Shape(*grid, self.channels, dtypes, str(self.compute).removeprefix("torch."))
        self.cells = shape.cells
        self.built = scan.built(shape, self.batch, self.device)
        self.layout = self.built.layout

    def empty(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, dtype=dtype or self.compute, device=self.device)

    def like(self, dtype: torch.dtype | None = None, rows: int | None = None) -> Tensor:
        """A map `(B, L, C)`, or `rows` of them."""
        sizes = (self.batch, self.cells, self.channels)
        return self.empty(*sizes, dtype=dtype) if rows is None else self.empty(rows, *sizes, dtype=dtype)

    def running(self, target: Tensor) -> Tensor:
        """Where directions in turn add up: the result itself if it has the computing type."""
        return target if target.dtype == self.compute else self.like()

    def forward(self, save: bool) -> tuple[Tensor, Saved]:
        layout = self.layout
        output = self.like(self.output_type)
        chunks = layout.chunks if save else 0
        states = self.empty(self.batch, layout.directions, chunks, layout.states, self.channels)
        given = {**self.common(), "states": states, "SAVE": save}
        if layout.mode == "partials":
            partials = self.like(rows=layout.directions)
            self.walk("forward", {**given, "output": partials})
            self.cells_kernel("merge", {"partials": partials, **self.merge_inputs(), "output": output})
        else:
            partials = self.empty(0)
            extra = {"running": self.running(output)} if layout.mode == "turns" else {}
            self.walk("forward", {**given, "output": output, **extra})
        kept = partials if save and self.kernels.merge is not None else self.empty(0)
        return output, Saved(states if save else self.empty(0), kept)

    def backward(self, gradient: Tensor, saved: Saved) -> dict[str, Tensor]:
        layout, found = self.layout, dict[str, Tensor]()
        cotangent = gradient.to(self.output_type)
        if self.kernels.merge_adjoint is not None:
            cotangent = self.merge_backward(cotangent, saved, found)
        given = {**self.common(), "cotangent": cotangent, "states": saved.states}
        targets = {stream.name: self.gradient_buffer(stream) for stream in layout.lane_streams}
        given |= {f"g_{name}": target for name, target in targets.items()}
        if layout.mode == "turns":
            given |= {f"running_{s.name}": self.running(targets[s.name]) for s in layout.summed_streams}
        sums = self.empty(layout.blocks, self.batch, self.cells, layout.directions, layout.sum_width)
        given |= {"sums": sums} if layout.uniform_streams else {}
        parts = {p.name: self.parameter_buffer(p) for p in self.kernels.parameters}
        self.walk("backward", {**given, **{f"g_{name}": part for name, part in parts.items()}})
        for stream in layout.lane_streams:
            whole = stream.per_direction or layout.mode != "partials"
            made = targets[stream.name] if whole else targets[stream.name].sum(0)
            found[stream.name] = found[stream.name] + made if stream.name in found else made
        whole_sums = sums[0] if layout.blocks == 1 else sums.sum(0)
        for stream in layout.uniform_streams:
            found[stream.name] = whole_sums.narrow(-1, layout.sum_offsets[stream.name], stream.width)
        for parameter in self.kernels.parameters:
            found[parameter.name] = parts[parameter.name].sum((0, 1) if parameter.shared else 0)
        return found

    def merge_backward(self, cotangent: Tensor, saved: Saved, found: dict[str, Tensor]) -> Tensor:
        """The gradients of the partial outputs; those of the merge's own inputs go to `found`."""
        added = {stream.name for stream in self.kernels.streams}  # the recurrence's share comes on top, before rounding
        made = {n: self.like(None if n in added else self.arrays[n].dtype) for n in self.layout.merge_inputs}
        partials = self.like(rows=self.layout.directions)
        given = {"partials": saved.partials, **self.merge_inputs(), "cotangent": cotangent, "d_partials": partials}
        self.cells_kernel("merge_adjoint", {**given, **{f"g_{name}": array for name, array in made.items()}})
        found.update(made)
        return partials

    def gradient_buffer(self, stream: Stream) -> Tensor:
        dtype = self.arrays[stream.name].dtype
        if stream.per_direction:
            return self.empty(self.batch, self.cells, self.layout.directions, self.channels, dtype=dtype)
        return self.like(rows=self.layout.directions) if self.layout.mode == "partials" else self.like(dtype)

    def parameter_buffer(self, parameter: Parameter) -> Tensor:
        return self.empty(self.batch, self.layout.directions, self.channels, parameter.width)

    def common(self) -> dict[str, object]:
        names = [*(s.name for s in self.kernels.streams), *(p.name for p in self.kernels.parameters)]
        given: dict[str, object] = {f"p_{name}": self.arrays[name] for name in names}
        return given | ({"table": self.built.table} if self.built.table is not None else {})

    def merge_inputs(self) -> dict[str, object]:
        return {f"p_{name}": self.arrays[name] for name in self.layout.merge_inputs}

    def walk(self, name: str, arguments: dict[str, object]) -> None:
        """Launch a kernel that walks, over the whole batch."""
        layout = self.layout
        per_image = layout.blocks * (1 if layout.mode == "turns" else layout.directions)
        most = max(1, MOST_PROGRAMS // per_image)
        for first in range(0, self.batch, most):
            images = min(most, self.batch - first)
            self.launch(name, images * per_image, {**arguments, "batch": self.batch, "first": first}, layout.schedule.warps)

    def cells_kernel(self, name: str, arguments: dict[str, object]) -> None:
        """Launch a pointwise kernel over a whole map."""
        size = self.batch * self.cells * self.channels
        self.launch(name, -(-size // CELL_BLOCK), {**arguments, "size": size}, warps=4)

    def launch(self, name: str, programs: int, arguments: dict[str, object], warps: int) -> None:
        if programs == 0:
            return
        on_device = torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()
        walks = name in ("forward", "backward")
        with on_device, without_coalescing() if walks else contextlib.nullcontext():
            getattr(self.built.module, name)[(programs,)](**arguments, num_warps=warps, enable_fp_fusion=True)
