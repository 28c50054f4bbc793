"""Medians of timings on the CPU and on a CUDA device, what the machine could do at best, and tables and JSON of rows."""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

L2_FLUSH_BYTES = 256 * 2**20
SPIN_CYCLES = 4_000_000


@dataclass(frozen=True)
class Row:
    """One measurement, in milliseconds: the median, the best of the runs, and a call's time in a plain loop of calls, launches
    included. `bytes` and `special` are the least that any implementation moves and evaluates (exp and log). None: not known."""

    name: str
    median: float
    best: float | None = None
    call: float | None = None
    bytes: int | None = None
    special: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Limits:
    """What the machine does at best, per second."""

    device: str
    bytes: float
    special: float


def median_cpu(run: Callable[[], object], seconds: float = 2.0, least: int = 5, most: int = 100) -> tuple[float, float]:
    """Milliseconds, (median, best) of at least `least` runs, for about `seconds`, after a warm-up; what takes longer than
    `seconds` runs once."""
    first = _seconds(run)
    if first > seconds:
        return first * 1e3, first * 1e3
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < most):
        times.append(_seconds(run))
    return statistics.median(times) * 1e3, min(times) * 1e3


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def median_cuda(run: Callable[[], object], repeats: int = 30, warm_up: int = 5) -> tuple[float, float, float]:
    """Milliseconds, (median, best, call). The first two between events, the L2 flushed and the queue kept full before each
    run, so that no launch is waited for; the last of a plain loop of calls, by the wall clock."""
    for _ in range(warm_up):
        run()
    flush = torch.empty(L2_FLUSH_BYTES // 4, dtype=torch.int32, device="cuda")
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for before, after in pairs:
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
    return statistics.median(times), min(times), (time.perf_counter() - start) / repeats * 1e3


def cpu_limits(threads: int) -> Limits:
    """A large copy, and torch's own exp on data in the cache: neither is the processor's very best, both are hard to beat."""
    source = torch.rand(32 * 2**20)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * 4 / (median_cpu(lambda: target.copy_(source), 1.0)[1] / 1e3)
    small = torch.rand(threads * 65536)
    result = torch.empty_like(small)
    special = small.numel() / (median_cpu(lambda: torch.exp(small, out=result), 0.5, most=500)[1] / 1e3)
    return Limits(f"{cpu_name()}, {threads} threads", copied, special)


def cuda_limits() -> Limits:
    """A large copy as measured; 16 special functions a clock on each multiprocessor at the highest clock."""
    source = torch.empty(2**28, dtype=torch.float32, device="cuda").normal_()
    target = torch.empty_like(source)
    milliseconds = median_cuda(lambda: target.copy_(source), 10)[0]
    properties = torch.cuda.get_device_properties(0)
    special = 16.0 * properties.multi_processor_count * highest_clock()
    return Limits(properties.name, 2 * source.numel() * 4 / (milliseconds / 1e3), special)


def highest_clock() -> float:
    """Of the multiprocessors, in Hz; 1.98 GHz (an H100 or H200) if nvidia-smi does not say."""
    if shutil.which("nvidia-smi") is None:
        return 1.98e9
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return float(answer[0]) * 1e6 if answer and answer[0].isdigit() else 1.98e9


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def chosen(names: Sequence[str], patterns: str | None) -> list[str]:
    """The rows that match one of the comma-separated patterns (`stage1*`); all without patterns; SystemExit if none does."""
    if patterns is None:
        return list(names)
    wanted = [name for name in names if any(fnmatch(name, pattern) for pattern in patterns.split(","))]
    if not wanted:
        raise SystemExit(f"no row matches {patterns}; there are:\n  " + "\n  ".join(names))
    return wanted


def measure_on_gpu(available: Mapping[str, Callable[[], Row]], patterns: str | None, path: str | None) -> None:
    """Measure the rows that were asked for, print them, and write them to `path`; SystemExit without a GPU."""
    names = chosen(list(available), patterns)
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device; examples/bench_cpu.py measures on the CPU")
    found = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        found.append(available[name]())
        torch.cuda.empty_cache()
    limits = cuda_limits()
    print("batch 128, bfloat16 maps, float32 parameters and states; medians")
    print(table(found, limits))
    if path is not None:
        write_json(path, found, limits)


def table(rows: Sequence[Row], limits: Limits) -> str:
    """The rows beside the time that the machine would need for their bytes, and for their exp and log, at its best."""
    columns = {
        "row": [row.name for row in rows],
        "median ms": [f"{row.median:.3f}" for row in rows],
        "best ms": [_number(row.best) for row in rows],
        "call ms": [_number(row.call) for row in rows],
        "limit: bytes": [_number(row.bytes, 1e3 / limits.bytes) for row in rows],
        "limit: exp, log": [_number(row.special, 1e3 / limits.special) for row in rows],
        "GB/s": ["" if row.bytes is None else f"{row.bytes / row.median / 1e6:.3g}" for row in rows],
        "note": [row.note for row in rows],
    }
    columns = {head: texts for head, texts in columns.items() if any(texts)}
    widths = [max(len(text) for text in (head, *texts)) for head, texts in columns.items()]
    lines = [list(columns), ["-" * width for width in widths], *(list(line) for line in zip(*columns.values(), strict=True))]
    printed = ["  ".join(map(_aligned, columns, line, widths)).rstrip() for line in lines]
    best = f"{limits.bytes / 1e9:.0f} GB/s (a large copy), {limits.special / 1e9:.3g} G exp or log a second"
    return "\n".join([f"{limits.device}; limits: {best}", "", *printed])


def _number(value: float | None, scale: float = 1.0) -> str:
    return "" if value is None else f"{value * scale:.3f}"


def _aligned(head: str, text: str, width: int) -> str:
    return text.ljust(width) if head in ("row", "note") else text.rjust(width)


def write_json(path: str | Path, rows: Sequence[Row], limits: Limits) -> None:
    versions = {"python": platform.python_version()}
    for package in ("scanlang", "torch", "triton"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    content = {"limits": asdict(limits), "versions": versions, "rows": [asdict(row) for row in rows]}
    Path(path).write_text(json.dumps(content, indent=2) + "\n")
    print(f"wrote {path}", file=sys.stderr)
