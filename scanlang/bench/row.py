"""What is measured, where, and what is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class Where:
    """The device, and how large: `tiny` sizes only show that a row runs."""

    device: Device
    tiny: bool = False

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device, torch.bfloat16)


@dataclass(frozen=True)
class Times:
    """Milliseconds: the median, the best of the runs, and a call's time by the wall clock in a plain loop of calls. `spread` is
    what lies between the first and the third quartile, as a share of the median."""

    median: float
    best: float
    spread: float
    call: float | None = None


@dataclass(frozen=True)
class Step:
    """A row's place among others of which one size alone is changed. `work` is what time should grow with."""

    series: str
    at: int
    work: float


@dataclass(frozen=True)
class Official:
    """What the authors' own code took on one H200: milliseconds, and bytes of memory at its peak."""

    median: float
    memory: int | None = None


@dataclass(frozen=True)
class Row:
    """`bytes`, `special` (exp and log) and `issued` (instructions of a warp) are the least that the row moves, evaluates and
    issues; `images` are those of one call, `memory` the bytes at the peak of one. None: not known. Of a row that `failed` there
    is nothing else."""

    times: Times | None = None
    bytes: int | None = None
    special: int | None = None
    issued: int | None = None
    images: int | None = None
    memory: int | None = None
    official: Official | None = None
    step: Step | None = None
    note: str = ""
    failed: str = ""
    seconds: float | None = None

    @property
    def median(self) -> float | None:
        return None if self.times is None else self.times.median


@dataclass(frozen=True)
class Measurement:
    """A row by its name; `device` is the one that it is meant for. Rows of one `process` may share it."""

    name: str
    measure: Callable[[Where], Row]
    device: Device = "cuda"
    process: str = "scans"
