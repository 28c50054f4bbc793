"""Every schedule that may be measured and stored, in Triton's interpreter: all give what the rule's choice gives, and that is
what the reference gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from itertools import combinations

import pytest
import torch
from operator_checks import through

import scanlang
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tune_jobs import Job, jobs_of_scan
from scanlang.codegen.tune_trial import Measured
from scanlang.testing import assert_matches_reference, draw_inputs

TEXTS = {
    "cross": """import std.selective grid h, w
scan s(dim) { directions raster, columns  recur selective(state = 1, rank = 2)  project low, B, C from x }""",
    "states": """import std.selective grid h, w  order o = window(raster, 3, 2, pad = decay)
scan s(dim) {
  directions o, reverse(o)  recur selective(state = 3, rank = 1)  project low, B, C from x
  merge y[0] * x + y[1]
}""",
    "products": """recurrence keys(state n, head p) {
  input v[p], q[n], k[n]
  param gamma = uniform(0.2, 0.9)
  S[n, p] = gamma * S[n, p] + k[n] * v[p]
  y[p]    = sum(n: q[n] * S[n, p])
}
grid h, w scan s(dim) { input v, q, k  directions raster, columns  recur keys(state = 8, head = 16) }""",
}
GRID = {"cross": (2, 4), "states": (2, 3), "products": (4, 4)}
CHANNELS = {"cross": 40, "states": 40, "products": 32}


@cache
def made(name: str) -> tuple[Job, Schedule, tuple[Schedule, ...]]:
    """The arrays of a module, what the rule chooses for them, and what is legal. Longer chunks, more segments and more chunks
    abreast are no other code, and the interpreter fetches nothing."""
    (job,) = jobs_of_scan(scanlang.loads(TEXTS[name]), "s", GRID[name], CHANNELS[name], 1, torch.float32, "cpu")
    rule = choose_gpu_schedule(job.kernels, job.traversal, job.shape, job.batch)
    legal = legal_schedules(job.kernels, job.traversal, job.shape)
    return (
        job,
        rule,
        (rule, *(one for one in legal if not one.fetch and max(one.segments, one.abreast * 2, one.chunk // 2) <= 4)),
    )


def some(schedules: Sequence[Schedule], together: int) -> list[Schedule]:
    """With every value of every field at least once, or, of several fields together, every combination of values."""
    chosen: list[Schedule] = []
    seen: set[tuple[tuple[str, object], ...]] = set()
    for schedule in schedules:
        values = set(combinations([(one.name, getattr(schedule, one.name)) for one in fields(Schedule)], together))
        if not values <= seen:
            seen |= values
            chosen.append(schedule)
    return chosen


def check(name: str, schedules: Sequence[Schedule]) -> None:
    job, rule, _ = made(name)
    trial = Measured(job, rule, True, lambda *_: (1.0, 1.0))
    for schedule in schedules:
        trial(schedule, 1)


@pytest.mark.parametrize("name", TEXTS)
def test_the_rules_choice_is_legal_and_right(name: str) -> None:
    job, rule, _ = made(name)
    program = scanlang.loads(TEXTS[name])
    op = scanlang.compile(program)
    assert rule in legal_schedules(job.kernels, job.traversal, job.shape)
    given = draw_inputs(op, GRID[name], batch=1, channels=CHANNELS[name])
    assert_matches_reference(through(lambda k, t: TritonScan(k, t, lambda *_: rule), op), program, given)


@pytest.mark.parametrize("name", ["cross", *(pytest.param(name, marks=pytest.mark.long) for name in TEXTS if name != "cross")])
def test_short_chunks_give_the_same(name: str) -> None:
    check(name, some([one for one in made(name)[2] if one.chunk <= 2 or one.kind == "chunked"], 1))


@pytest.mark.long
@pytest.mark.parametrize("name", TEXTS)
def test_legal_schedules_give_the_same(name: str) -> None:
    check(name, some(made(name)[2], 2))
