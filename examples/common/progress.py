"""`Progress`: which of several stages runs and for how long, on standard error; standard output stays clean."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
BAR = 16


class Progress:
    """A line that moves on a terminal; elsewhere (a log, CI) a line per finished stage.

    >>> progress = Progress(stages=2)
    >>> with progress.stage("forward"):
    ...     y = core(x)
    """

    def __init__(self, stages: int, stream: TextIO = sys.stderr) -> None:
        self.stages, self.stream, self.done = stages, stream, 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start, stop = time.perf_counter(), threading.Event()
        ticker = threading.Thread(target=self._tick, args=(name, start, stop), daemon=True)
        if self.stream.isatty():
            ticker.start()
        try:
            yield
        finally:
            stop.set()
            if ticker.is_alive():
                ticker.join()
        self.done += 1
        clear = "\r\x1b[2K" if self.stream.isatty() else ""
        self._write(f"{clear}{self._bar()} {name}: {time.perf_counter() - start:.1f} s\n")

    def _tick(self, name: str, start: float, stop: threading.Event) -> None:
        turn = 0
        while not stop.wait(0.1):
            turn += 1
            spinner = SPINNER[turn % len(SPINNER)]
            self._write(f"\r\x1b[2K{self._bar()} {spinner} {name} … {time.perf_counter() - start:.1f} s")

    def _bar(self) -> str:
        full = BAR * self.done // max(self.stages, 1)
        return f"[{'█' * full}{'·' * (BAR - full)}] {self.done}/{self.stages}"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
