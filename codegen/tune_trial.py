"""The time of a schedule on the GPU, beside that of the first one, and whether its results are the same.

In: a `Job` and a clock; out: a `Trial` for `search`.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import layout_of
from scanlang.codegen.kernel import TIME, ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tune_jobs import Job
from scanlang.codegen.tune_search import Refused, Times
from scanlang.testing.compare import SMALLEST_RMS, TOLERANCES

Run = Callable[[], Mapping[str, Tensor]]
Clock = Callable[[Run, Run, int], tuple[float, float]]
"""(milliseconds of the first, of the second), taken in turns, so many times each."""

FLUSH_BYTES = 256 * 2**20
SPIN_CYCLES = 4_000_000


class DeviceLost(RuntimeError):
    """The GPU runs nothing any more in this process."""


class Measured:
    """A `Trial` of a job: schedules run on its arrays, and the first one's results are what others must give too.

    `ready` may wait until a schedule is compiled, and says whether it is.
    """

    def __init__(
        self,
        job: Job,
        first: Schedule,
        backward: bool,
        clock: Clock,
        ready: Callable[[Schedule], bool] = lambda _: True,
    ) -> None:
        self.job, self.backward, self.clock, self.ready = job, backward, clock, ready
        visits = None if job.traversal.plain else job.traversal.at(job.grid)
        self.covered = None if visits is None or not visits.pads else visits.rows - visits.pads
        self.cotangent = self.like_results(self.scan(first)) if backward else torch.empty(0)
        self.first = self.prepared(first)
        self.wanted = self.first()

    def __call__(self, schedule: Schedule, repeats: int) -> Times:
        if not self.ready(schedule):
            raise Refused("compiling took too long")
        try:
            run = self.prepared(schedule)
            self.compare(run())
            return Times(*self.clock(run, self.first, repeats))
        except Refused:
            raise
        except Exception as error:
            self.check_device(error)
            raise Refused(_reason(error)) from None
        finally:
            gc.collect()

    def scan(self, schedule: Schedule) -> TritonScan:
        return TritonScan(self.job.kernels, self.job.traversal, lambda *_: schedule)

    def prepared(self, schedule: Schedule) -> Run:
        """The forward, with the backward if that is wanted, by one schedule."""
        job, scan = self.job, self.scan(schedule)

        def run() -> dict[str, Tensor]:
            made, saved = scan.forward(job.arrays, job.grid, self.backward, job.tables)
            found = scan.backward(self.cotangent, saved, job.arrays, job.grid, job.tables) if self.backward else {}
            return {"": made, **found}

        return run

    def like_results(self, scan: TritonScan) -> Tensor:
        """A gradient of the output: nothing comes from pads."""
        like = scan.forward(self.job.arrays, self.job.grid, False, self.job.tables)[0]
        made = torch.randn(like.shape, generator=torch.Generator(like.device).manual_seed(0), device=like.device).to(like.dtype)
        if self.covered is not None:
            made[:, self.covered :] = 0
        return made

    def compare(self, found: Mapping[str, Tensor]) -> None:
        """Raises Refused for results that are further off than rounding explains. What is made of pads is anything."""
        kind = torch.float64 if self.job.shape.compute == "float64" else torch.float32
        maps = {"", *(s.name for s in self.job.kernels.streams if s.route != TIME), *merge_inputs(self.job.kernels)}
        for name, want in self.wanted.items():
            rows = self.covered if name in maps else None
            most = TOLERANCES[kind].gradient if name else TOLERANCES[kind].output
            pair = (found[name], want) if rows is None else (found[name][:, :rows], want[:, :rows])
            if difference(*pair) > 2 * most:
                raise Refused("other results")

    def check_device(self, error: Exception) -> None:
        """After some errors nothing runs any more."""
        if self.wanted[""].device.type != "cuda":
            return
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            raise DeviceLost(str(error)) from error


def merge_inputs(kernels: ScanKernels) -> tuple[str, ...]:
    return () if kernels.merge is None else tuple(access.of.name for access in kernels.merge.reads)


def difference(found: Tensor, want: Tensor) -> float:
    """How far two results are apart beyond one rounding of each to their type, relative to the norm of the second."""
    if want.numel() == 0:
        return 0.0
    computing = torch.promote_types(want.dtype, torch.float32)
    one, other = found.to(computing), want.to(computing)
    apart = (one - other).abs().sub_(2 * TOLERANCES[want.dtype].rounding * other.abs()).clamp_(min=0)
    apart.masked_fill_((one == other) | (one.isnan() & other.isnan()), 0.0)
    norms = [float(torch.linalg.vector_norm(value, dtype=torch.float64)) for value in (apart, other.nan_to_num())]
    share = norms[0] / max(norms[1], SMALLEST_RMS * want.numel() ** 0.5)
    return share if share == share else float("inf")


def _reason(error: Exception) -> str:
    """What went wrong with a schedule, in a word or two."""
    kind = type(error).__name__
    known = {
        "OutOfResources": "too much shared memory or registers",
        "OutOfMemoryError": "too much memory",
        "CompilationError": "not compiled",
        "PTXASError": "not compiled",
    }
    return known.get(kind, kind)


def code_of(job: Job) -> Callable[[Schedule], object]:
    """What schedules of one code have in common: the text that is made of them."""
    shape = job.shape

    def text(schedule: Schedule) -> object:
        try:
            layout = layout_of(job.kernels, job.traversal, schedule, shape)
            return emit_triton(layout.kernels, layout.traversal, schedule, layout.shape), schedule.warps
        except ValueError:
            return schedule

    return text


def cuda_clock(one: Run, other: Run, repeats: int) -> tuple[float, float]:
    """Medians between events, the two in turns; the L2 is flushed and the queue kept full before each, so that no launch is
    waited for."""
    flush = torch.empty(FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    found: tuple[list[tuple[torch.cuda.Event, torch.cuda.Event]], ...] = ([], [])
    for run in (one, other):
        run()
    for _ in range(repeats):
        for run, pairs in zip((one, other), found, strict=True):
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda._sleep(SPIN_CYCLES)
            flush.zero_()
            before.record()
            run()
            after.record()
            pairs.append((before, after))
    torch.cuda.synchronize()
    first, second = (statistics.median(before.elapsed_time(after) for before, after in pairs) for pairs in found)
    return first, second
