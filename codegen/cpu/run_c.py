"""A scan on the CPU: builds the C text when first called, splits a call into tasks of channel blocks, and runs them on threads.

ctypes lets go of the interpreter lock, so plain Python threads do. What a task computes does not depend on how many threads
there are: results are the same bits for any number.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from scanlang.codegen.cpu.build_c import load_c
from scanlang.codegen.cpu.c_math import Computing
from scanlang.codegen.cpu.c_scan import input_names, kept_columns, shared_streams, sums_width
from scanlang.codegen.cpu.emit_c import emit_c, merge_name
from scanlang.codegen.executable import Saved
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.order import Order

GROUPS = 8
"""Channel blocks are summed over in at most this many groups, whatever the number of threads."""

TABLES = 64
ELEMENTS = 1 << 16
Array = Tensor | int | None


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Every array that a kernel writes comes from here; all of it is written."""
    return torch.empty(tuple(shape), dtype=dtype)


def cpu_schedule(kernels: ScanKernels) -> Schedule:
    """Chunks as long as what the backward keeps of them stays in the first-level cache, 8 to 64 steps."""
    kept = kept_columns(kernels) * 64
    chunk = 8
    while chunk < 64 and 2 * chunk * kept <= 48 << 10:
        chunk *= 2
    return Schedule("table", "turns" if kernels.merge is None else "partials", 0, chunk, chunk)


class CpuScan:
    """`CpuScan(kernels, orders)` implements `Executable`; a schedule may be given."""

    def __init__(self, kernels: ScanKernels, orders: Sequence[Order], schedule: Schedule | None = None) -> None:
        self.kernels, self.orders = kernels, tuple(orders)
        self.schedule = schedule or cpu_schedule(kernels)
        self._libraries: dict[Computing, ctypes.CDLL] = {}
        self._tables: dict[tuple[int, int], Tensor] = {}

    def chunk(self, grid: tuple[int, int]) -> int:
        return self.schedule.chunk

    def text(self, computing: Computing = "float32") -> str:
        """The C text."""
        return emit_c(self.kernels, self.schedule, computing)

    def library(self, computing: Computing) -> ctypes.CDLL:
        if computing not in self._libraries:
            library = load_c(self.text(computing), self.kernels.name)
            library.lanes.restype = ctypes.c_int64
            self._libraries[computing] = library
        return self._libraries[computing]

    def table(self, grid: tuple[int, int]) -> Tensor:
        """The cell of every step of every direction, (K, L)."""
        if grid not in self._tables:
            rows = [np.asarray(order.positions(*grid)).astype(np.int32) for order in self.orders]
            while len(self._tables) >= TABLES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[grid] = torch.from_numpy(np.stack(rows))
        return self._tables[grid]

    def forward(self, arrays: Mapping[str, Tensor], grid: tuple[int, int], save: bool) -> tuple[Tensor, Saved]:
        return _Call(self, arrays, grid).forward(save)

    def backward(
        self, gradient: Tensor, saved: Saved, arrays: Mapping[str, Tensor], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        return _Call(self, arrays, grid).backward(gradient, saved)


class _Call:
    """One call: its sizes, its arrays in the computing type, and its tasks."""

    def __init__(self, scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, int]) -> None:
        self.scan, self.kernels, self.grid = scan, scan.kernels, grid
        streams = self.kernels.streams
        wide = any(arrays[stream.name].dtype == torch.float64 for stream in streams)
        self.dtype = torch.float64 if wide else torch.float32
        self.library = scan.library("float64" if wide else "float32")
        self.arrays = {name: self.prepared(array) for name, array in arrays.items()}
        first = next(arrays[stream.name] for stream in streams if stream.lanes)
        self.output_type = first.dtype
        self.images, self.steps, self.channels = first.shape[0], grid[0] * grid[1], first.shape[-1]
        self.lanes = int(self.library.lanes())
        self.blocks = -(-self.channels // self.lanes)
        self.map_shape = (self.images, self.steps, self.channels)
        self.partials_shape = (self.kernels.directions, *self.map_shape)
        self.inputs = [self.arrays[name] for name in input_names(self.kernels)]

    def prepared(self, array: Tensor) -> Tensor:
        return array.detach().to(self.dtype).contiguous()

    def forward(self, save: bool) -> tuple[Tensor, Saved]:
        merge = self.kernels.merge
        states = empty(self.states_shape() if save else (0,), self.dtype)
        written = empty(self.map_shape if merge is None else self.partials_shape, self.dtype)
        size = max(1, min(self.blocks, -(-self.blocks * self.images // (4 * torch.get_num_threads()))))
        self.scan_blocks("forward", size, lambda _: [written, states if save else None])
        if merge is None:
            return written.to(self.output_type), Saved(states, empty((0,), self.dtype))
        output = empty(self.map_shape, self.dtype)
        others = [self.arrays[name] for name in self.merge_inputs()]
        self.cells("merge", [written, *others, output])
        return output.to(self.output_type), Saved(states, written if save else empty((0,), self.dtype))

    def backward(self, gradient: Tensor, saved: Saved) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        cotangent = self.prepared(gradient)
        if self.kernels.merge_adjoint is not None:
            cotangent, found = self.merge_backward(cotangent, saved.partials)
        lanes = {s.name: empty(self.arrays[s.name].shape, self.dtype) for s in self.kernels.streams if s.lanes}
        parameters = {
            of.name: empty((self.images, self.kernels.directions, self.channels, of.width), self.dtype)
            for of in self.kernels.parameters
        }
        size = max(1, -(-self.blocks // GROUPS))
        groups = -(-self.blocks // size)
        rows = self.images * self.steps * self.kernels.directions
        sums = empty((groups, rows, sums_width(self.kernels)), self.dtype)

        def outputs(group: int) -> list[Array]:
            own: list[Array] = [sums[group]] if shared_streams(self.kernels) else []
            return [cotangent, saved.states, *lanes.values(), *parameters.values(), *own]

        self.scan_blocks("backward", size, outputs)
        made = lanes | self.collect(sums) | self.reduce(parameters)
        return {name: made[name] + found[name] if name in made and name in found else (made | found)[name]
                for name in (*made, *(name for name in found if name not in made))}  # fmt: skip

    def merge_backward(self, cotangent: Tensor, partials: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradients of the partial outputs and of the inputs that the merge reads."""
        names = self.merge_inputs()
        found = {name: empty(self.map_shape, self.dtype) for name in names}
        gradients = empty(self.partials_shape, self.dtype)
        others = [self.arrays[name] for name in names]
        self.cells("merge_adjoint", [partials, *others, cotangent, gradients, *found.values()])
        return gradients, found

    def collect(self, sums: Tensor) -> dict[str, Tensor]:
        """The gradients of the shared streams, from what each group of blocks summed."""
        found = {s.name: empty(self.arrays[s.name].shape, self.dtype) for s in shared_streams(self.kernels)}
        if not found:
            return {}
        groups, rows, _ = sums.shape
        tasks = [(first, min(first + ELEMENTS // 16, rows)) for first in range(0, rows, ELEMENTS // 16)]
        self.run("collect", [[first, last, rows, groups, sums, *found.values()] for first, last in tasks])
        return found

    def reduce(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of parameters, added over the images in their order, and over directions that share them."""
        found = {}
        for of in self.kernels.parameters:
            parts = parameters[of.name].unbind(0)
            total = sum(parts[1:], start=parts[0]) if parts else torch.zeros(parameters[of.name].shape[1:], dtype=self.dtype)
            if of.shared:
                total = sum(total.unbind(0)[1:], start=total[0])
            found[of.name] = total.reshape(self.arrays[of.name].shape)
        return found

    def states_shape(self) -> tuple[int, ...]:
        chunks = -(-self.steps // self.scan.schedule.chunk)
        return self.images, self.kernels.directions, chunks, len(self.kernels.forward.states), self.channels

    def merge_inputs(self) -> list[str]:
        merge = self.kernels.merge
        return [access.of.name for access in merge.reads if merge_name(access.of)[1] is None] if merge else []

    def scan_blocks(self, function: str, size: int, outputs: Callable[[int], list[Array]]) -> None:
        """`forward` or `backward` on every image and `size` blocks of channels at a time."""
        cells = self.scan.table(self.grid)
        tasks: list[list[Array]] = []
        for image, first in itertools.product(range(self.images), range(0, self.blocks, size)):
            last = min(first + size, self.blocks)
            sizes: list[Array] = [image, first, last, self.images, self.steps, self.channels]
            tasks.append([*sizes, cells, *self.inputs, *outputs(first // size)])
        self.run(function, tasks)

    def cells(self, function: str, arrays: Sequence[Tensor]) -> None:
        size = self.images * self.steps * self.channels
        self.run(function, [[i, min(i + ELEMENTS, size), size, *arrays] for i in range(0, size, ELEMENTS)])

    def run(self, function: str, tasks: Sequence[Sequence[Array]]) -> None:
        code = getattr(self.library, function)
        code.restype = None
        run_tasks([_bound(code, task) for task in tasks])


def _bound(code: Callable[..., None], task: Sequence[Array]) -> Callable[[], None]:
    arguments = [
        ctypes.c_int64(a) if isinstance(a, int) else ctypes.c_void_p(None if a is None else a.data_ptr()) for a in task
    ]
    return lambda: code(*arguments)


_lock = threading.Lock()
_pool: tuple[int, ThreadPoolExecutor] | None = None


def _forget_pool() -> None:
    """A forked child has none of its parent's threads, and may have got the lock taken."""
    global _lock, _pool
    _lock, _pool = threading.Lock(), None


os.register_at_fork(after_in_child=_forget_pool)


def _threads(count: int) -> ThreadPoolExecutor:
    """The process's pool, at least `count` threads."""
    global _pool
    with _lock:
        if _pool is None or _pool[0] < count:
            _pool = count, ThreadPoolExecutor(count, thread_name_prefix="scanlang")
        return _pool[1]


def run_tasks(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all, on as many threads as torch uses, the caller's among them; each takes the next one left."""
    helpers = min(torch.get_num_threads(), len(tasks)) - 1
    left = iter(tasks)

    def work() -> None:
        while (task := next(left, None)) is not None:
            task()

    waiting = [_threads(helpers).submit(work) for _ in range(helpers)] if helpers > 0 else []
    work()
    for future in waiting:
        future.result()
