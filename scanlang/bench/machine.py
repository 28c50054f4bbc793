"""What the machine does at best, and what runs on it."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from scanlang.bench.clock import median_cpu, median_cuda
from scanlang.bench.row import Where

SPECIAL_PER_CLOCK, ISSUED_PER_CLOCK = 16, 4
"""Of one multiprocessor of an NVIDIA GPU since 2017: exps or logs, and instructions of a warp."""

USUAL_CLOCK = 1.98e9
"""An H100's or H200's highest, in Hz."""


@dataclass(frozen=True)
class Limits:
    """What the machine does at best, per second: bytes copied, read and written; exp or log; instructions of a warp (None: of a
    CPU)."""

    device: str
    bytes: float
    special: float
    issued: float | None = None


def limits_of(where: Where) -> Limits:
    if where.device == "cuda":
        return cuda_limits()
    return cpu_limits(torch.get_num_threads(), *((2**16, 0.01) if where.tiny else ()))


def cpu_limits(threads: int, count: int = 2**25, seconds: float = 1.0) -> Limits:
    """A large copy, and torch's own exp on data in the cache: neither is the processor's very best, both are hard to beat. The
    exp of one thread counts for each, as threads that wait for each other measure the waiting."""
    source = torch.rand(count)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * 4 / (median_cpu(lambda: target.copy_(source), seconds).best / 1e3)
    small = torch.rand(65536)
    result = torch.empty_like(small)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = median_cpu(lambda: torch.exp(small, out=result), seconds / 2, most=500).best
    finally:
        torch.set_num_threads(before)
    return Limits(f"{cpu_name()}, {threads} threads", copied, threads * small.numel() / (taken / 1e3))


def cuda_limits() -> Limits:
    """A large copy as measured; special functions and instructions of every multiprocessor at the highest clock."""
    source = torch.empty(2**28, dtype=torch.float32, device="cuda").normal_()
    target = torch.empty_like(source)
    milliseconds = median_cuda(lambda: target.copy_(source), 10).median
    properties = torch.cuda.get_device_properties(0)
    clocks = properties.multi_processor_count * highest_clock()
    copied = 2 * source.numel() * 4 / (milliseconds / 1e3)
    return Limits(properties.name, copied, SPECIAL_PER_CLOCK * clocks, ISSUED_PER_CLOCK * clocks)


def highest_clock() -> float:
    """Of the multiprocessors, in Hz; the usual one if nvidia-smi does not say."""
    if shutil.which("nvidia-smi") is None:
        return USUAL_CLOCK
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.split()
    return float(answer[0]) * 1e6 if answer and answer[0].isdigit() else USUAL_CLOCK


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("scanlang", "torch", "triton"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
