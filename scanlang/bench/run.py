"""Rows measured in a process of their own: one that fails, hangs, or takes the GPU with it is a row that says so."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from scanlang.bench.document import Document, now, row_of
from scanlang.bench.machine import Limits
from scanlang.bench.row import Measurement, Row, Where
from scanlang.bench.worker import LIMITS
from scanlang.codegen.tuned import VARIABLE

STARTING, PATIENCE = 120.0, 0.5
"""Seconds: those that a new process has more, and between looks at whether it still runs."""


class Worker:
    """A process that `scanlang.bench.worker` runs in; it is started where one is needed."""

    def __init__(self, where: Where, threads: int) -> None:
        size = "tiny" if where.tiny else "usual"
        self.command = [sys.executable, "-m", "scanlang.bench.worker", where.device, size, str(threads)]
        self.process: subprocess.Popen[str] | None = None
        self.answers: queue.Queue[str] = queue.Queue()

    def ask(self, name: str, seconds: float) -> dict[str, Any]:
        """Its answer; TimeoutError after so many seconds, RuntimeError if it ended instead."""
        new = self.process is None or self.process.poll() is not None
        process = self._started() if new else self.process
        assert process is not None
        assert process.stdin is not None
        answer: str | None = ""
        with suppress(BrokenPipeError):
            process.stdin.write(f"{name}\n")
            process.stdin.flush()
            answer = self._answer(process, time.monotonic() + seconds + (STARTING if new else 0))
        if answer is None:
            self.end()
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if not answer:
            code = process.wait()
            self.end()
            raise RuntimeError(f"the process ended with {code}, and what it said is above")
        content: dict[str, Any] = json.loads(answer)
        if not content["usable"]:
            self.end()
        return content

    def _answer(self, process: subprocess.Popen[str], until: float) -> str | None:
        """A line; an empty one from a process that ended, though others that it started may hold its output; None after that
        time."""
        while True:
            ended, late = process.poll() is not None, time.monotonic() > until
            try:
                return self.answers.get(timeout=PATIENCE)
            except queue.Empty:
                if ended or late:
                    return "" if ended else None

    def _started(self) -> subprocess.Popen[str]:
        self.end()
        made = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
            env={VARIABLE: "", **os.environ},  # the rule's schedules, unless files are named
        )
        self.process, self.answers = made, queue.Queue()
        threading.Thread(target=_pass_on, args=(made, self.answers), daemon=True).start()
        return made

    def end(self) -> None:
        """The process, and those that it started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


def _pass_on(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    """Line by line, and an empty one at the end."""
    assert process.stdout is not None
    for line in process.stdout:
        answers.put(line)
    answers.put("")


@contextmanager
def worker(where: Where, threads: int) -> Iterator[Worker]:
    """`threads`: those of torch on a CPU."""
    made = Worker(where, threads)
    try:
        yield made
    finally:
        made.end()


def begun(asked: Worker, seconds: float = 60.0) -> Document:
    """A document without rows. Raises RuntimeError or TimeoutError where not even the limits can be measured."""
    found = asked.ask(LIMITS, seconds)
    return Document(Limits(**found["limits"]), found["versions"], now())


def measure(
    asked: Worker,
    rows: Sequence[Measurement],
    document: Document,
    seconds: float,
    until: float | None,
    say: Callable[[str], None],
    keep: Callable[[Document], None],
) -> tuple[Document, list[str]]:
    """The document with the rows, and the names of those that were not begun by `until` (of `time.monotonic`).

    A row may take so many `seconds`. `say` is told what is measured and found, `keep` is given the document after every row.
    """
    process = None
    for number, one in enumerate(rows):
        if until is not None and time.monotonic() > until:
            return document, [left.name for left in rows[number:]]
        if process not in (None, one.process):
            asked.end()
        process = one.process
        say(f"[{number + 1}/{len(rows)}] {one.name}")
        row = answered(asked, one.name, seconds)
        say(f"    {outcome(row)}")
        document = document.with_row(one.name, row)
        keep(document)
    return document, []


def outcome(row: Row) -> str:
    """Of a row that was just measured."""
    return f"failed: {row.failed}" if row.times is None else f"{row.times.median:.3f} ms, spread {row.times.spread:.0%}"


def answered(asked: Worker, name: str, seconds: float) -> Row:
    try:
        return row_of(asked.ask(name, seconds)["row"])
    except (TimeoutError, RuntimeError) as error:
        return Row(failed=str(error))
