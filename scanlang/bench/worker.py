"""The process that measures: names of rows in, a line each, and a line of JSON for every one out.

    python -m scanlang.bench.worker cuda usual 2            # device, sizes (or: tiny), threads of a CPU

`limits` is what the machine does at best. A row that fails is answered too, and whether this process is of use after it. What
rows print goes to stderr.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, replace
from typing import IO, Any

import torch

from scanlang.bench.catalogue import catalogue
from scanlang.bench.document import known
from scanlang.bench.machine import limits_of, versions
from scanlang.bench.row import Measurement, Row, Where

LIMITS = "limits"
LONGEST = 300


def main() -> None:
    device, size, threads = sys.argv[1:]
    where = Where("cuda" if device == "cuda" else "cpu", size == "tiny")
    if where.device == "cpu":
        torch.set_num_threads(int(threads))
    answers = own_output()
    rows = catalogue()
    for line in sys.stdin:
        name = line.strip()
        if name == LIMITS:
            found: dict[str, Any] = {"limits": asdict(limits_of(where)), "versions": versions()}
        else:
            found = {"row": known(asdict(measured(rows[name], where)))}
        answers.write(json.dumps({**found, "usable": usable(where)}) + "\n")
        answers.flush()


def own_output() -> IO[str]:
    """What was stdout; from here on that is stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def measured(measurement: Measurement, where: Where) -> Row:
    """A row, or what went wrong; memory is given back."""
    begun = time.perf_counter()
    try:
        row = measurement.measure(where)
    except torch.cuda.OutOfMemoryError:
        row = Row(failed="out of memory")
    except Exception as error:
        traceback.print_exc()
        row = Row(failed=short(error))
    gc.collect()
    if where.device == "cuda":
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            row = row if row.failed else Row(failed=short(error))
    taken = round(time.perf_counter() - begun, 1)
    return replace(row, seconds=taken, official=None if where.tiny else row.official)


def short(error: Exception) -> str:
    """Its first line."""
    text = " ".join(str(error).split("\n", 1)[0].split())
    return f"{type(error).__name__}: {text}"[:LONGEST]


def usable(where: Where) -> bool:
    """An illegal access, say, leaves a process without its GPU."""
    if where.device == "cpu":
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    main()
