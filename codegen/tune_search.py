"""Which of many schedules is fastest, by as few measurements as will do. Knows no GPU: times come from a `Trial`.

In: where to start and what is legal; out: an `Outcome`. The search goes along one axis of the schedule after another (chunks,
addressing, how directions come together …) and takes the best of each, until nothing more is better or the time is over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from scanlang.codegen.schedule import Schedule

GAIN = 0.97
"""Another schedule takes the place of the first one only if it takes no more than this share of its time."""

REPEATS, LAST_REPEATS = 10, 40
"""Of a measurement, and of the one that decides at the end."""

TOGETHER = (
    ("chunk", "backward_chunk"),
    ("addressing", "chunk"),
    ("lanes", "warps", "abreast", "fetch", "ahead"),
    ("warps", "abreast", "segments"),
)
"""Fields that change together; every other field changes by itself."""

ONCE = ("kind",)
"""Not searched along: schedules of another kind have little in common."""


class Refused(Exception):
    """A schedule that does not come into question, and why, in a word or two."""


@dataclass(frozen=True)
class Times:
    """Milliseconds of a schedule, and of the first one measured in turn with it."""

    own: float
    first: float

    @property
    def share(self) -> float:
        return self.own / self.first


class Trial(Protocol):
    def __call__(self, schedule: Schedule, repeats: int) -> Times:
        """Raises Refused."""


@dataclass(frozen=True)
class Progress:
    """`planned`: so many are measured if nothing better comes up. `best` is None for the first schedule."""

    measured: int
    planned: int
    best: Times | None


@dataclass(frozen=True)
class Outcome:
    """`times` is None where the last measurement was not made; `done`: neither time nor patience ran out."""

    schedule: Schedule
    times: Times | None
    measured: int
    refused: Mapping[str, int]
    done: bool = True
    interrupted: bool = False


def search(
    first: Schedule,
    legal: Sequence[Schedule],
    trial: Trial,
    *,
    others: Sequence[Schedule] = (),
    same: Callable[[Schedule], object] = lambda schedule: schedule,
    over: Callable[[], bool] = lambda: False,
    begin: Callable[[Sequence[Schedule]], None] = lambda _: None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """The best of the legal schedules, or `first` where none is better by 3 %.

    `others` are measured before all else: schedules that no axis leads to. `same` is what schedules of one code have in common;
    `begin` is told what is measured next. Ctrl-C ends the search with what was found.
    """
    walk = _Walk(first, legal, trial, same, over, begin, report)
    try:
        done = walk.go(others)
        times = trial(walk.best, LAST_REPEATS)
    except KeyboardInterrupt:
        chosen = walk.best if walk.times is not None and walk.times.share <= GAIN else first
        return Outcome(chosen, walk.times if chosen != first else None, walk.measured, walk.refused, False, True)
    except Refused as refused:
        walk.refused[str(refused)] += 1
        return Outcome(first, None, walk.measured, walk.refused, False)
    if walk.best == first or times.share > GAIN:
        return Outcome(first, Times(times.first, times.first), walk.measured, walk.refused, done)
    return Outcome(walk.best, times, walk.measured, walk.refused, done)


class _Walk:
    """From schedule to schedule, along one axis after another."""

    def __init__(
        self,
        first: Schedule,
        legal: Sequence[Schedule],
        trial: Trial,
        same: Callable[[Schedule], object],
        over: Callable[[], bool],
        begin: Callable[[Sequence[Schedule]], None],
        report: Callable[[Progress], None],
    ) -> None:
        self.legal, self.trial, self.same, self.over, self.begin, self.report = legal, trial, same, over, begin, report
        self.best, self.known, self.seen = first, {same(first)}, {first}
        self.times: Times | None = None
        self.measured, self.refused = 0, Counter[str]()

    def go(self, others: Sequence[Schedule]) -> bool:
        """Whether it came to an end by itself."""
        if not self.take_best(others, AXES):
            return False
        while True:
            before = self.best
            for number, axis in enumerate(AXES):
                if not self.take_best(list(moves(self.best, self.legal, axis)), AXES[number:]):
                    return False
            if self.best == before:
                return True

    def take_best(self, candidates: Sequence[Schedule], ahead: Sequence[tuple[str, ...]]) -> bool:
        """Go to the best of these where it is better than the best so far; False where time is over."""
        candidates = [one for one in candidates if one not in self.seen]
        best, times = self.best, self.times
        if candidates and not self.over():
            self.begin(candidates)
        for candidate in candidates:
            if self.over():
                return False
            self.seen.add(candidate)
            found = self.times_of(candidate)
            if found is not None and found.share < (1.0 if times is None else times.share):
                best, times = candidate, found
            self.report(Progress(self.measured, self.measured + self.left(ahead), times))
        self.best, self.times = best, times
        return True

    def times_of(self, candidate: Schedule) -> Times | None:
        key = self.same(candidate)
        if key in self.known:
            return None
        self.known.add(key)
        self.measured += 1
        try:
            return self.trial(candidate, REPEATS)
        except Refused as refused:
            self.refused[str(refused)] += 1
            return None

    def left(self, ahead: Sequence[tuple[str, ...]]) -> int:
        return len({one for axis in ahead for one in moves(self.best, self.legal, axis)} - self.seen)


def _axes() -> tuple[tuple[str, ...], ...]:
    """Single fields first: they are few, and a field that `Schedule` gets is an axis by itself."""
    known = {name for axis in TOGETHER for name in axis} | set(ONCE)
    return (*((one.name,) for one in fields(Schedule) if one.name not in known), *TOGETHER)


AXES = _axes()


def moves(schedule: Schedule, legal: Sequence[Schedule], axis: tuple[str, ...]) -> Iterator[Schedule]:
    """The legal schedules that differ from one in the fields of an axis alone."""
    others = [one.name for one in fields(Schedule) if one.name not in axis]
    for one in legal:
        if one != schedule and all(getattr(one, name) == getattr(schedule, name) for name in others):
            yield one
