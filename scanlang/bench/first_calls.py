"""Rows of waiting: a program's first calls in a new process, from text to result, with empty caches (`cold`) and with what that
left there (`warm`), and a call after these (`again`). `both` has a forward pass before, and then forward and backward.

What any program of Python waits for, imports and the device's own start, is not in it. Run as a module this is that process:
`python -m scanlang.bench.first_calls stage1 cuda` prints the seconds as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

import scanlang
from scanlang.bench.operands import PASSES, Size, arguments
from scanlang.bench.recurrences import BATCH, GRID, RECURRENCES
from scanlang.bench.row import Device, Measurement, Row, Times, Where
from scanlang.bench.stages import STAGES

CACHES = {"SCANLANG_CACHE": "scanlang", "TRITON_CACHE_DIR": "triton"}
STARTS = ("cold", "warm", "again")
CPU_BATCH, TINY = 1, (3, 5)


@dataclass(frozen=True)
class Program:
    name: str
    text: str
    size: Size
    rank: int | None = None

    def at(self, where: Where) -> Program:
        size = self.size if where.device == "cuda" else replace(self.size, batch=CPU_BATCH)
        height, width = TINY
        return replace(self, size=replace(size, batch=1, height=height, width=width) if where.tiny else size)


PROGRAMS = {
    program.name: program
    for program in (
        *(Program(stage.name, stage.text, stage.size, stage.rank) for stage in STAGES),
        *(
            Program(one.name, one.text, Size(BATCH, *GRID, one.channels))
            for one in RECURRENCES
            if one.name in ("s6", "ssd-p64", "gla", "mlstm")
        ),
    )
}
CPU_PROGRAMS = ("stage1", "vim")


@lru_cache(maxsize=1)
def waited(name: str, where: Where) -> dict[str, dict[str, float]]:
    """Seconds by start and pass."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {variable: os.path.join(folder, below) for variable, below in CACHES.items()}
        command = [sys.executable, "-m", "scanlang.bench.first_calls", name, where.device, *(["tiny"] if where.tiny else [])]
        found = {}
        for start in ("cold", "warm"):
            answer = subprocess.run(command, env={**os.environ, **caches}, stdout=subprocess.PIPE, text=True, check=False)
            if answer.returncode != 0:
                raise RuntimeError(f"the {start} process ended with {answer.returncode}; what it said is above")
            found[start] = json.loads(answer.stdout.splitlines()[-1])
    found["again"] = {which: found["warm"][f"{which} again"] for which in PASSES}
    return found


def measure(name: str, which: str, start: str, where: Where) -> Row:
    milliseconds = waited(name, where)[start][which] * 1e3
    loading = waited(name, where)["cold"]["load"]
    return Row(Times(milliseconds, milliseconds, 0.0), note=f"reading and checking {loading:.2f} s" if start == "cold" else "")


def measurements() -> Iterator[Measurement]:
    """`compile-stage1-both-cold`, `compile-gla-forward-warm`, `cpu-compile-stage1-both-again` …"""
    devices: tuple[tuple[str, Device, tuple[str, ...]], ...] = (
        ("", "cuda", tuple(PROGRAMS)),
        ("cpu-", "cpu", CPU_PROGRAMS),
    )
    for prefix, device, names in devices:
        for name in names:
            for which in PASSES:
                for start in STARTS:
                    row = f"{prefix}compile-{name}-{which}-{start}"
                    yield Measurement(row, partial(measure, name, which, start), device)


def first_calls(program: Program, where: Where) -> dict[str, float]:
    """In this process, which has not called it before: seconds from the text on, and of calls after that."""
    warm_device(where)
    begun = time.perf_counter()
    sizes: dict[str, Any] = {} if program.rank is None else {"rank": program.rank}
    module = scanlang.Scan2d(scanlang.loads(program.text), channels=program.size.channels, **sizes).to(where.device)
    seconds = {"load": time.perf_counter() - begun}
    maps, parameters = arguments(module, program.size, where)
    given = maps | parameters

    def forward() -> Tensor:
        with torch.no_grad():
            result: Tensor = module.op(**given)
        return result

    forward_first = seconds_of(forward, where)
    seconds["forward"], seconds["forward again"] = seconds["load"] + forward_first, seconds_of(forward, where)
    wanted = {name: value.requires_grad_() for name, value in given.items()}
    seed = torch.randn_like(forward())

    def both() -> object:
        return torch.autograd.grad(module.op(**wanted), list(wanted.values()), seed)

    seconds["both"], seconds["both again"] = seconds["forward"] + seconds_of(both, where), seconds_of(both, where)
    return seconds


def warm_device(where: Where) -> None:
    """Its start, torch's own first products and random numbers, and Triton's helpers, which it builds once on a machine."""
    square = torch.randn(64, 64, device=where.device).bfloat16().requires_grad_()
    (square @ square).sum().backward()
    if where.device == "cuda":
        import_module("scanlang.codegen.gpu.run_triton")
        import_module("triton.runtime.driver").driver.active.get_current_device()
        torch.cuda.synchronize()


def seconds_of(run: Callable[[], object], where: Where) -> float:
    begun = time.perf_counter()
    run()
    if where.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def main() -> None:
    name, device, *tiny = sys.argv[1:]
    where = Where("cuda" if device == "cuda" else "cpu", bool(tiny))
    print(json.dumps(first_calls(PROGRAMS[name].at(where), where)))


if __name__ == "__main__":
    main()
