"""One scan tuned: from a job to the fastest legal schedule, stored in a file of measured schedules.

In: a `Job`, the file, and what measures; out: an `Outcome`, and the entry that was stored. What saves states at other steps is
tried only where no other entry of the file has fixed them for this program and grid.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

from scanlang.codegen.gpu.choose_gpu_schedule import REGISTERS, choose_gpu_schedule, registers, sequential_schedule
from scanlang.codegen.gpu.compile_ahead import CompileAhead
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.triton_layout import Layout, layout_of
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tune_jobs import Job
from scanlang.codegen.tune_search import Outcome, Progress, Times, Trial, search
from scanlang.codegen.tune_trial import Clock, Measured, code_of, cuda_clock
from scanlang.codegen.tuned import TunedChoice, key_of, nearest_schedule
from scanlang.codegen.tuned_file import Entry, Key, Machine, Unreadable, read_entries, remove, store

MakeTrial = Callable[[Job, Schedule], Trial]


@dataclass(frozen=True)
class Plan:
    """Where the search begins, and where it may go. `agreed`: other entries have fixed the steps between saved states."""

    key: Key
    first: Schedule
    legal: tuple[Schedule, ...]
    others: tuple[Schedule, ...]
    agreed: bool


def plan(job: Job, known: Sequence[Entry], here: Machine) -> Plan:
    """`known` are the entries of the file that the choice goes to."""
    kernels, traversal, shape = job.kernels, job.traversal, job.shape
    choice, rule = TunedChoice(kernels, traversal), choose_gpu_schedule(kernels, traversal, shape, job.batch)
    key = key_of(choice.program, shape, job.batch, here)
    legal = tuple(dict.fromkeys((rule, *legal_schedules(kernels, traversal, shape))))
    others = [entry for entry in known if entry.key.machine == here and entry.key != key]
    fixed = list(choice.usable(key.grid, key.computing, others))
    if fixed:
        steps = fixed[0].schedule.backward_chunk
        legal = tuple(one for one in legal if one.backward_chunk == steps)
        first = rule if rule.backward_chunk == steps else choice.adapted(nearest_schedule(fixed, key), rule, shape)
        return Plan(key, first, legal, (), True)
    few = rule.kind == "chunked" and registers(kernels.backward, 1) <= REGISTERS
    other_kind = (sequential_schedule(kernels, traversal, shape, job.batch),) if few else ()
    return Plan(key, rule, legal, other_kind, False)


def known_entries(path: Path) -> list[Entry]:
    """Those of the file, if it is there and readable."""
    try:
        return read_entries(path)[0]
    except (FileNotFoundError, Unreadable):
        return []


def forget(jobs: Sequence[Job], path: Path, here: Machine) -> int:
    """Take out of the file what it has for the programs and grids of these jobs; gives how many entries those were."""
    return remove(path, [plan(job, [], here).key.group for job in jobs])


@dataclass(frozen=True)
class Tuned:
    """`stored` is None where nothing was measured to the end; `dropped` entries contradicted it; `aside` is where a file that
    could not be read was moved to."""

    plan: Plan
    outcome: Outcome
    stored: Entry | None
    dropped: int = 0
    aside: Path | None = None


def tune(
    job: Job,
    path: Path,
    here: Machine,
    *,
    backward: bool = True,
    seconds: float = 120.0,
    clock: Clock = cuda_clock,
    ahead: CompileAhead | None = None,
    make_trial: MakeTrial | None = None,
    now: Callable[[], float] = time.monotonic,
    report: Callable[[Progress], None] = lambda _: None,
) -> Tuned:
    """Measure the legal schedules of a job for so many seconds, and store the best.

    Raises OSError where the file cannot be written, `DeviceLost` where the GPU fails.
    """
    made = plan(job, known_entries(path), here)
    end, shape = now() + seconds, job.shape
    compiler = CompileAhead(0, processes=0) if ahead is None else ahead

    def layout(schedule: Schedule) -> Layout:
        return layout_of(job.kernels, job.traversal, schedule, shape)

    def begin(schedules: Sequence[Schedule]) -> None:
        compiler.begin(map(layout, schedules), backward)

    def ready(schedule: Schedule) -> bool:
        return compiler.wait(layout(schedule), end - now())

    begin([made.first])
    trial = (make_trial or partial(_measured, backward=backward, clock=clock, ready=ready))(job, made.first)
    outcome = search(
        made.first,
        made.legal,
        trial,
        others=made.others,
        same=code_of(job),
        over=lambda: now() >= end,
        begin=begin,
        report=report,
    )
    if outcome.times is None:
        return Tuned(made, outcome, None)
    entry = Entry(made.key, outcome.schedule, job.scan, _account(outcome, outcome.times, backward))
    return Tuned(made, outcome, entry, *store(path, [entry]))


def _measured(job: Job, first: Schedule, *, backward: bool, clock: Clock, ready: Callable[[Schedule], bool]) -> Measured:
    return Measured(job, first, backward, clock, ready)


def _account(outcome: Outcome, times: Times, backward: bool) -> dict[str, object]:
    """How a choice was made, for who reads the file."""
    return {
        "passes": "forward, backward" if backward else "forward",
        "milliseconds": round(times.own, 4),
        "before": round(times.first, 4),
        "schedules": outcome.measured,
        "on": date.today().isoformat(),
    }
