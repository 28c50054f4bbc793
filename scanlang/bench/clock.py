"""Medians of timings, on the CPU by the wall clock, on a GPU by CUDA events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from scanlang.bench.row import Times, Where

L2_FLUSH_BYTES = 256 * 2**20
SPIN_CYCLES = 4_000_000


def timed(where: Where, run: Callable[[], object], repeats: int = 30, warm_up: int = 5, cold: bool = True) -> Times:
    """On that device; once, for tiny sizes."""
    if where.tiny:
        return median_cpu(run, 0.0, 1)
    return median_cpu(run) if where.device == "cpu" else median_cuda(run, repeats, warm_up, cold)


def median_cpu(run: Callable[[], object], seconds: float = 2.0, least: int = 5, most: int = 100) -> Times:
    """Of at least `least` runs, for about `seconds`, after a warm-up; what takes longer than `seconds` runs once."""
    first = _seconds(run)
    if first > seconds:
        return Times(first * 1e3, first * 1e3, 0.0)
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < most):
        times.append(_seconds(run))
    return times_of([each * 1e3 for each in times])


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_cuda(run: Callable[[], object], repeats: int = 30, warm_up: int = 5, cold: bool = True) -> Times:
    """Between events. `cold`: the L2 is flushed and the queue kept full before each run, so that no launch is waited for;
    otherwise calls follow each other as a loop of a user's does. `call` is the wall clock of such a loop."""
    for _ in range(warm_up):
        run()
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    flush = torch.empty(L2_FLUSH_BYTES // 4 if cold else 0, dtype=torch.int32, device="cuda")
    torch.cuda.synchronize()
    for before, after in pairs:
        if cold:
            torch.cuda._sleep(SPIN_CYCLES)
            flush.zero_()
        before.record()
        run()
        after.record()
    torch.cuda.synchronize()
    times = [before.elapsed_time(after) for before, after in pairs]
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return times_of(times, (time.perf_counter() - start) / repeats * 1e3)


def times_of(milliseconds: Sequence[float], call: float | None = None) -> Times:
    """
    >>> times_of([4.0, 2.0, 2.0, 2.0, 2.0])
    Times(median=2.0, best=2.0, spread=0.0, call=None)
    """
    median = statistics.median(milliseconds)
    low, _, high = statistics.quantiles(milliseconds, n=4, method="inclusive") if len(milliseconds) > 1 else (median,) * 3
    return Times(median, min(milliseconds), (high - low) / median if median else 0.0, call)
