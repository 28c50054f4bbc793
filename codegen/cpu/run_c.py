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
from functools import partial

import torch
from torch import Tensor

from scanlang.codegen.cpu.build_c import load_c
from scanlang.codegen.cpu.c_math import Computing
from scanlang.codegen.cpu.c_scan import kept_columns
from scanlang.codegen.cpu.c_streams import Sums, input_names, summed, written_streams
from scanlang.codegen.cpu.emit_c import emit_c, merge_name
from scanlang.codegen.executable import Saved
from scanlang.codegen.kernel import TIME, ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

GROUPS = 8
"""A direction's channel blocks are summed over in at most this many groups, whatever the number of threads."""

ELEMENTS = 1 << 16
Array = Tensor | int | None


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Every array that a kernel writes comes from here; all of it is written."""
    return torch.empty(tuple(shape), dtype=dtype)


def cpu_schedule(kernels: ScanKernels) -> Schedule:
    """Chunks as long as what the backward keeps of them is found again in the second-level cache, 8 to 64 steps."""
    kept = kept_columns(kernels) * 64
    chunk = 8
    while chunk < 64 and 2 * chunk * kept <= 256 << 10:
        chunk *= 2
    return Schedule("table", "turns" if kernels.merge is None else "partials", 0, chunk, chunk)


class CpuScan:
    """`CpuScan(kernels, traversal)` implements `Executable`; a schedule may be given."""

    def __init__(self, kernels: ScanKernels, traversal: Traversal, schedule: Schedule | None = None) -> None:
        self.kernels, self.traversal = kernels, traversal
        self.schedule = schedule or cpu_schedule(kernels)
        self._libraries: dict[Computing, ctypes.CDLL] = {}

    def chunk(self, grid: tuple[int, ...], computing: torch.dtype = torch.float32) -> int:
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

    def forward(
        self,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        save: bool,
        tables: Tensor | None = None,
        entry: Tensor | None = None,
        final: Tensor | None = None,
    ) -> tuple[Tensor, Saved]:
        return _Call(self, arrays, grid, tables).forward(save, entry, final)

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
        return _Call(self, arrays, grid, tables).backward(gradient, saved, final, entry)


class _Call:
    """One call: its sizes, its arrays in the computing type, and its tasks. `own` are the channels of every direction."""

    def __init__(self, scan: CpuScan, arrays: Mapping[str, Tensor], grid: tuple[int, ...], tables: Tensor | None) -> None:
        self.scan, self.kernels, self.visits = scan, scan.kernels, scan.traversal.at(grid)
        streams = self.kernels.streams
        wide = any(arrays[stream.name].dtype == torch.float64 for stream in streams)
        self.dtype = torch.float64 if wide else torch.float32
        self.library = scan.library("float64" if wide else "float32")
        self.arrays = {name: self.prepared(array) for name, array in arrays.items()}
        first = arrays[self.kernels.leading.name]
        self.output_type = first.dtype
        self.images, self.rows, self.channels = first.shape[0], self.visits.rows, self.kernels.channel_count(arrays)
        self.steps, self.directions = self.visits.steps, self.kernels.directions
        lanes, self.split = int(self.library.lanes()), self.kernels.split is not None
        self.own = [count for _, count in self.kernels.channels(self.channels)]
        self.blocks = [-(-count // lanes) for count in self.own]
        self.map_shape = (self.images, self.rows, self.channels)
        self.partials_shape = (self.directions, *self.map_shape)
        self.inputs = [self.arrays[name] for name in input_names(self.kernels)]
        table = torch.from_numpy(self.visits.table)
        self.tables = [table] * self.images if tables is None else list(tables.contiguous())
        self.lengths = torch.tensor(self.visits.lengths)

    def prepared(self, array: Tensor) -> Tensor:
        return array.detach().to(self.dtype).contiguous()

    def forward(self, save: bool, entry: Tensor | None, final: Tensor | None) -> tuple[Tensor, Saved]:
        states = self.fresh_states() if save else empty((0,), self.dtype)
        written = self.fresh(self.written_shape())
        blocks = self.images * (sum(self.blocks) if self.split else self.blocks[0])
        size = max(1, -(-blocks // (4 * torch.get_num_threads())))
        given = None if entry is None else self.prepared(entry)
        self.scan_blocks("forward", size, lambda _: [written, states if save else None, given, final])
        if self.kernels.merge is None:
            return written.to(self.output_type), Saved(states, empty((0,), self.dtype))
        output = empty(self.map_shape, self.dtype)
        others = [self.arrays[name] for name in self.merge_inputs()]
        self.cells("merge", [written, *others, output])
        return output.to(self.output_type), Saved(states, written if save else empty((0,), self.dtype))

    def backward(self, gradient: Tensor, saved: Saved, final: Tensor | None, entry: Tensor | None) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        cotangent = self.prepared(gradient)
        if self.kernels.merge_adjoint is not None:
            cotangent, found = self.merge_backward(cotangent, saved.partials)
        written = {s.name: self.fresh(self.arrays[s.name].shape) for s in written_streams(self.kernels)}
        apart = (self.images, self.channels) if self.split else (self.images, self.directions, self.channels)
        parameters = {of.name: empty((*apart, of.width), self.dtype) for of in self.kernels.parameters}
        size = max(1, -(-max(self.blocks) // GROUPS))
        sums = [self.fresh_sums(one, -(-max(self.blocks) // size)) for one in summed(self.kernels)]
        given = None if final is None else self.prepared(final)

        def outputs(group: int) -> list[Array]:
            ends: list[Array] = [given, entry]
            return [cotangent, saved.states, *ends, *written.values(), *parameters.values(), *(one[group] for one in sums)]

        self.scan_blocks("backward", size, outputs)
        made = written | self.collect(sums, size) | self.reduce(parameters)
        return {name: made[name] + found[name] if name in made and name in found else (made | found)[name]
                for name in (*made, *(name for name in found if name not in made))}  # fmt: skip

    def merge_backward(self, cotangent: Tensor, partials: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The gradients of the partial outputs and of the inputs that the merge reads."""
        names = self.merge_inputs()
        found = {name: empty(self.map_shape, self.dtype) for name in names}
        gradients = empty(self.partials_shape, self.dtype)
        others = [self.arrays[name] for name in names]
        self.cells("merge_adjoint", [partials, *others, cotangent, gradients, *found.values()])
        for made in (gradients, *found.values()):  # what a merge makes of pads is no output
            made[..., self.rows - self.visits.pads :, :] = 0
        return gradients, found

    def collect(self, sums: Sequence[Tensor], size: int) -> dict[str, Tensor]:
        """The gradients of streams with one value for several channels, from what each group of `size` blocks summed."""
        found, streams = {}, [stream for one in summed(self.kernels) for stream in one.streams]
        for stream in streams:
            shape = self.arrays[stream.name].shape
            found[stream.name] = empty((self.images, *shape) if stream.route == TIME else shape, self.dtype).zero_()
        if not found:
            return {}
        tasks: list[list[Array]] = []
        at_once = ELEMENTS // 16 if self.visits.simple else max(1, self.steps)
        for image, direction in itertools.product(range(self.images), range(self.directions)):
            groups, length = -(-self.blocks[direction] // size), self.visits.lengths[direction]
            for first in range(0, length, at_once):
                part: list[Array] = [image, direction, first, min(first + at_once, length)]
                sizes: list[Array] = [groups, size, self.images, self.rows, self.steps, self.channels]
                tasks.append([*part, *sizes, self.tables[image], *sums, *found.values()])
        self.run("collect", tasks)
        along_time = (stream.name for stream in streams if stream.route == TIME)
        return found | {name: _added(found[name]) for name in along_time}

    def reduce(self, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        """The gradients of parameters, added over the images, the directions that share them, and the channels of a unit."""
        found = {}
        for of in self.kernels.parameters:
            total = _added(parameters[of.name])
            if of.shared:
                total = _added(total.reshape(self.directions, -1, of.width))
            if of.every > 1:
                total = _added(total.reshape(-1, of.every, of.width).transpose(0, 1))
            found[of.name] = total.reshape(self.arrays[of.name].shape)
        return found

    def fresh_sums(self, sums: Sums, groups: int) -> Tensor:
        """Rows for every group of blocks, and for every unit (one more for a unit that goes on in the next group)."""
        units = max(self.own) // sums.every if sums.every else 0
        made = empty((groups + units, self.images, self.directions, self.steps, sums.row), self.dtype)
        return made if sums.whole else made.zero_()

    def fresh(self, shape: Sequence[int]) -> Tensor:
        """An array by rows for the scan to write: each row once, or added up from zero."""
        made = empty(shape, self.dtype)
        return made if self.visits.simple else made.zero_()

    def fresh_states(self) -> Tensor:
        """Zero where directions are shorter or have fewer channels than others."""
        chunks = -(-self.steps // self.scan.schedule.chunk)
        states = len(self.kernels.forward.states)
        made = empty((self.images, self.directions, chunks, states, max(self.own)), self.dtype)
        even = min(self.visits.lengths) == self.steps and min(self.own) == max(self.own)
        return made if even else made.zero_()

    def written_shape(self) -> tuple[int, ...]:
        if self.kernels.merge is not None:
            return self.partials_shape
        return (self.images, self.rows, self.directions, self.channels) if self.kernels.stacked else self.map_shape

    def merge_inputs(self) -> list[str]:
        merge = self.kernels.merge
        return [access.of.name for access in merge.reads if merge_name(access.of)[1] is None] if merge else []

    def scan_blocks(self, function: str, size: int, outputs: Callable[[int], list[Array]]) -> None:
        """`forward` or `backward` on every image and `size` blocks of channels at a time."""
        sizes: list[Array] = [self.images, self.rows, self.steps, self.channels, int(not self.visits.simple)]
        tasks: list[list[Array]] = []
        for image, direction in itertools.product(range(self.images), range(self.directions if self.split else 1)):
            blocks = self.blocks[direction]
            for first in range(0, blocks, size):
                part: list[Array] = [direction, image] if self.split else [image]
                part += [first, min(first + size, blocks)]
                tasks.append([*part, *sizes, self.tables[image], self.lengths, *self.inputs, *outputs(first // size)])
        self.run(function, tasks)

    def cells(self, function: str, arrays: Sequence[Tensor]) -> None:
        size = self.images * self.rows * self.channels
        self.run(function, [[i, min(i + ELEMENTS, size), size, *arrays] for i in range(0, size, ELEMENTS)])

    def run(self, function: str, tasks: Sequence[Sequence[Array]]) -> None:
        code = getattr(self.library, function)
        code.restype = None
        if tasks:
            code.argtypes = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in tasks[0]]
        run_tasks([partial(code, *map(_address, task)) for task in tasks])


def _added(parts: Tensor) -> Tensor:
    """The sum over the first axis, in its order."""
    return sum(parts.unbind(0), start=torch.zeros(parts.shape[1:], dtype=parts.dtype))


def _address(array: Array) -> int | None:
    """What C takes. Plain numbers: thousands of ctypes' objects a call would keep the garbage collector busy."""
    return array.data_ptr() if isinstance(array, Tensor) else array


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
