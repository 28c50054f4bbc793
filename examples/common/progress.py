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


class TrainingLine:
    """Loss, accuracy, speed and what is left: a line that moves on a terminal, and a line per epoch, there and elsewhere."""

    def __init__(self, epochs: int, steps: int, batch: int, done: int = 0, stream: TextIO = sys.stderr) -> None:
        self.epochs, self.steps, self.batch, self.stream = epochs, steps, batch, stream
        self.done, self.taken, self.first = done, 0, done
        self.start, self.drawn = time.perf_counter(), 0.0
        self.accuracy: float | None = None

    def step(self, loss: float) -> None:
        self.taken += 1
        if self.stream.isatty() and time.perf_counter() - self.drawn > 0.1:
            self.drawn = time.perf_counter()
            self.stream.write(f"\r\x1b[2K{self._line(loss)}")
            self.stream.flush()

    def epoch(self, loss: float, accuracy: float) -> None:
        self.done, self.accuracy = self.done + 1, accuracy
        clear = "\r\x1b[2K" if self.stream.isatty() else ""
        self.stream.write(f"{clear}{self._line(loss)}\n")
        self.stream.flush()

    def _line(self, loss: float) -> str:
        seconds = time.perf_counter() - self.start
        left = seconds / max(self.taken, 1) * ((self.epochs - self.first) * self.steps - self.taken)
        width = len(str(self.epochs))
        accuracy = "" if self.accuracy is None else f"  accuracy {self.accuracy:.1%}"
        speed = f"{self.taken * self.batch / max(seconds, 1e-9):.0f} images/s"
        return f"epoch {self.done:>{width}}/{self.epochs}  loss {loss:.4f}{accuracy}  {speed}  {duration(left)} left"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
