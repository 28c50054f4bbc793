"""Kernels of several schedules compiled side by side, in processes of their own, into Triton's cache on disk.

In: layouts; out: nothing, but a launch of their kernels finds them compiled. Compiling takes seconds, and most of it holds
Python's lock: threads would not do.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from scanlang.codegen.gpu.build_triton import build_triton
from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.machine_code import compile_kernel
from scanlang.codegen.gpu.triton_layout import Layout

MOST_PROCESSES = 12
"""A process takes about half a GiB of memory and some seconds to start."""


class CompileAhead:
    """`with CompileAhead(90) as ahead: ahead.begin(layouts)`, then `ahead.wait(layout)` before each is launched."""

    def __init__(self, capability: int, processes: int | None = None) -> None:
        self.capability = capability
        self.processes = min((os.cpu_count() or 1) - 1, MOST_PROCESSES) if processes is None else processes
        self._pool: ProcessPoolExecutor | None = None
        self._begun: dict[str, Future[None]] = {}

    def __enter__(self) -> CompileAhead:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is None:
            return
        running = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in running:  # what is compiled now nobody waits for
            process.terminate()

    def begin(self, layouts: Iterable[Layout], save: bool = True) -> None:
        """`save`: the forward leaves states for a backward, which is compiled too."""
        if self.processes < 2:
            return
        with contextlib.suppress(BrokenProcessPool, OSError, RuntimeError):
            if self._pool is None:
                spawned = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self.processes, spawned, _leave_interrupts_to_the_parent)
            for layout in layouts:
                text = _text(layout)
                if text not in self._begun:
                    self._begun[text] = self._pool.submit(_compile, layout, text, self.capability, save)

    def wait(self, layout: Layout, seconds: float) -> bool:
        """Whether it is compiled by then, or was never begun. What goes wrong here goes wrong again, and is told, when it is
        launched."""
        future = self._begun.get(_text(layout))
        if future is None:
            return True
        with contextlib.suppress(Exception):
            future.exception(timeout=max(seconds, 0.0))
        return future.done()


def _text(layout: Layout) -> str:
    return emit_triton(layout.kernels, layout.traversal, layout.schedule, layout.shape)


def _compile(layout: Layout, text: str, capability: int, save: bool) -> None:
    module = build_triton(text, layout.kernels.name)
    for entry in layout.entries:
        if save or entry.name in ("forward", "merge"):
            compile_kernel(module, layout, entry, capability, save)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
