"""`scanlang tune` without a GPU: the search by made-up times, what is measured of a module and of a network, what is stored,
and the command."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from operator_programs import EXAMPLES, FILES
from test_tuned import HERE, cross, rule_for, shape_for
from torch import Tensor

import scanlang
from scanlang import cli_tune
from scanlang.cli import main
from scanlang.cli_tune import changes, lines_of, progress_of
from scanlang.codegen import tuned
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.gpu.compile_ahead import CompileAhead
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape, layout_of
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.tune import Tuned, forget, plan, tune
from scanlang.codegen.tune_jobs import Job, jobs_of_network, jobs_of_scan
from scanlang.codegen.tune_search import AXES, GAIN, Outcome, Progress, Refused, Times, moves, search
from scanlang.codegen.tune_trial import DeviceLost, Measured, code_of, difference
from scanlang.codegen.tuned_file import Entry, read_entries
from scanlang.maps.traversal import Traversal

FIRST = Schedule("table", "partials", 32, 8, 4)
LEGAL = tuple(
    Schedule(addressing, merge, lanes, chunk, every)  # type: ignore[arg-type]
    for addressing, merge, lanes, (chunk, every) in product(
        ("nest", "table"), ("turns", "partials"), (32, 64), ((4, 2), (4, 4), (8, 2), (8, 4), (8, 8))
    )
)

TimeOf = Callable[[Schedule], float]


@dataclass
class Fake:
    """A trial with times of its own; `asked` are the schedules in order, with how often each is measured."""

    time_of: TimeOf
    first: Schedule = FIRST
    asked: list[tuple[Schedule, int]] = field(default_factory=list)

    def __call__(self, schedule: Schedule, repeats: int) -> Times:
        self.asked.append((schedule, repeats))
        return Times(self.time_of(schedule), self.time_of(self.first))


def steep(schedule: Schedule) -> float:
    """Every field has a best value, far from where the search begins."""
    parts = (schedule.addressing == "nest", schedule.merge == "turns", schedule.lanes == 64, schedule.chunk == 4)
    return 2.0 - 0.1 * sum(parts) - 0.2 * (schedule.backward_chunk == 2)


# The search.


def test_the_fastest_is_found_along_every_axis() -> None:
    trial = Fake(steep)
    found = search(FIRST, LEGAL, trial)
    assert found.schedule == Schedule("nest", "turns", 64, 4, 2)
    assert found.done
    assert found.times is not None
    assert found.times.share == pytest.approx(1.4 / 2.0)
    assert found.measured == len({schedule for schedule, _ in trial.asked}) < len(LEGAL)
    assert [repeats for schedule, repeats in trial.asked if schedule == found.schedule][-1] == max(r for _, r in trial.asked)


def test_every_field_of_a_schedule_is_an_axis() -> None:
    """But for the kind: those have little in common."""
    assert {name for axis in AXES for name in axis} == {one.name for one in fields(Schedule)} - {"kind"}
    for axis in AXES:
        for one in moves(FIRST, LEGAL, axis):
            assert {each.name for each in fields(Schedule) if getattr(one, each.name) != getattr(FIRST, each.name)} <= {*axis}


@pytest.mark.parametrize("share, stays", [(0.98, True), (GAIN + 1e-9, True), (GAIN - 1e-9, False), (1.2, True)])
def test_a_little_faster_is_not_enough(share: float, stays: bool) -> None:
    other = replace(FIRST, lanes=64)
    found = search(FIRST, [FIRST, other], Fake(lambda one: share if one == other else 1.0))
    assert (found.schedule == FIRST) == stays
    assert found.times == (Times(1.0, 1.0) if stays else Times(share, 1.0))


def test_the_last_measurement_decides() -> None:
    """What looked fast once, and is not when it is measured longer."""
    other = replace(FIRST, lanes=64)
    times = iter([0.5, 0.99])
    found = search(FIRST, [FIRST, other], lambda one, _: Times(next(times), 1.0))
    assert found.schedule == FIRST


def test_schedules_that_are_refused_are_counted() -> None:
    def trial(schedule: Schedule, _: int) -> Times:
        if schedule.addressing == "nest":
            raise Refused("not compiled")
        if schedule.lanes == 64:
            raise Refused("other results")
        return Times(steep(schedule), steep(FIRST))

    found = search(FIRST, LEGAL, trial)
    assert found.schedule == Schedule("table", "turns", 32, 4, 2)
    assert set(found.refused) == {"not compiled", "other results"}
    assert min(found.refused.values()) > 0
    assert found.measured > sum(found.refused.values())


def test_all_may_be_refused() -> None:
    def trial(schedule: Schedule, _: int) -> Times:
        if schedule != FIRST:
            raise Refused("too much memory")
        return Times(1.0, 1.0)

    found = search(FIRST, LEGAL, trial)
    assert (found.schedule, found.times, found.done) == (FIRST, Times(1.0, 1.0), True)
    assert found.refused == {"too much memory": found.measured}


def test_nothing_is_chosen_where_the_last_measurement_fails() -> None:
    def trial(schedule: Schedule, repeats: int) -> Times:
        if repeats > 10:
            raise Refused("too much memory")
        return Times(steep(schedule), steep(FIRST))

    found = search(FIRST, LEGAL, trial)
    assert (found.schedule, found.times, found.done) == (FIRST, None, False)


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_the_time_may_be_over(allowed: int) -> None:
    trial = Fake(steep)
    found = search(FIRST, LEGAL, trial, over=lambda: len(trial.asked) >= allowed)
    assert found.measured == allowed
    assert not found.done
    assert found.times is not None


@pytest.mark.parametrize("after", [0, 1, 5, 10])
def test_ctrl_c_ends_with_what_was_found(after: int) -> None:
    trial = Fake(steep)

    def interrupted(schedule: Schedule, repeats: int) -> Times:
        if len(trial.asked) == after:
            raise KeyboardInterrupt
        return trial(schedule, repeats)

    found = search(FIRST, LEGAL, interrupted)
    assert found.interrupted
    assert not found.done
    assert (found.times is None) == (found.schedule == FIRST)
    if after == 10:
        assert steep(found.schedule) <= GAIN * steep(FIRST)


def test_schedules_of_the_same_code_are_measured_once() -> None:
    trial = Fake(steep)
    found = search(FIRST, LEGAL, trial, same=lambda one: replace(one, merge="partials"))
    measured = [schedule for schedule, repeats in trial.asked if repeats == 10]
    assert len({replace(one, merge="partials") for one in measured}) == len(measured) == found.measured


def test_schedules_of_another_kind_are_tried_first() -> None:
    other = Schedule("table", "partials", 16, 32, 32, 4, "chunked")
    trial = Fake(lambda one: 1.0 if one.kind == "chunked" else 2.0)
    assert search(FIRST, LEGAL, trial, others=(other,)).schedule == other
    assert trial.asked[0][0] == other


def test_what_is_measured_next_is_announced() -> None:
    """To compile it: together with all others that are measured before it is known which of them is best."""
    announced: list[Schedule] = []
    trial = Fake(steep)

    def begin(schedules: Sequence[Schedule]) -> None:
        announced.extend(schedules)

    search(FIRST, LEGAL, trial, begin=begin)
    assert [one for one, repeats in trial.asked if repeats == 10] == announced


def test_progress_comes_to_an_end() -> None:
    shown: list[Progress] = []
    found = search(FIRST, LEGAL, Fake(steep), report=shown.append)
    assert [one.measured for one in shown] == list(range(1, found.measured + 1))
    assert all(one.measured <= one.planned for one in shown)
    assert shown[-1].measured == shown[-1].planned


# What is legal.


def test_the_rule_chooses_a_legal_schedule() -> None:
    kernels, traversal = cross()
    for grid, channels, batch in product(((8, 16), (7, 7), (1, 1), (5, 3)), (1, 48, 96), (1, 10**6)):
        shape = shape_for(kernels, grid=grid, channels=channels)
        assert choose_gpu_schedule(kernels, traversal, shape, batch) in legal_schedules(kernels, traversal, shape)


@pytest.mark.long
@pytest.mark.parametrize("name", ["ssd", "gated", "restarts", "tokens", "given", "split", "concat", "max", "once", "snake"])
def test_every_legal_schedule_has_a_text(name: str) -> None:
    kernels, traversal, shape = MADE[name]()
    schedules = legal_schedules(kernels, traversal, shape)
    assert len(set(schedules)) == len(schedules) > 8
    for schedule in schedules:
        layout = layout_of(kernels, traversal, schedule, shape)
        assert layout.mode in ("direct", schedule.merge) or kernels.merge is not None
        assert (layout.walks is None) == (schedule.addressing == "table")
    for schedule in schedules[::11]:
        assert code_of_job(kernels, traversal, shape)(schedule) is not schedule


def code_of_job(kernels: ScanKernels, traversal: Traversal, shape: Shape) -> Callable[[Schedule], object]:
    class OfShape(Job):
        shape = property(lambda _: made)  # type: ignore[assignment]

    made = shape
    return code_of(OfShape("s", kernels, traversal, shape.grid, {}))


def _made(text: str, sizes: Mapping[str, int]) -> Callable[[], tuple[ScanKernels, Traversal, Shape]]:
    def make() -> tuple[ScanKernels, Traversal, Shape]:
        from scanlang.codegen.lower_to_kernels import lower_to_kernels

        graph = scanlang.loads(text).operator_graph("s")
        kernels = lower_to_kernels(graph, sizes)
        types = [(stream.name, "bfloat16") for stream in kernels.streams] + [(p.name, "float32") for p in kernels.parameters]
        return kernels, graph.traversal, Shape((8, 8), 64, tuple(types))

    return make


def _selective(clauses: str, orders: str = "") -> Callable[[], tuple[ScanKernels, Traversal, Shape]]:
    text = f"import std.selective grid h, w {orders} scan s(dim) {{ recur selective(state = 2, rank = 2) {clauses} }}"
    return _made(text, {"state": 2, "rank": 2})


MADE = {
    "ssd": _made(
        """recurrence keys(state n, head p) {
  input v[p], q[n], k[n]
  param gamma
  S[n, p] = gamma * S[n, p] + k[n] * v[p]
  y[p]    = sum(n: q[n] * S[n, p])
}
grid h, w scan s(dim) { input v, q, k  directions raster, columns  recur keys(state = 16, head = 32) }""",
        {"state": 16, "head": 32},
    ),
    "gated": _selective("directions raster, columns merge (y[0] + y[1]) * silu(x)"),
    "restarts": _selective("directions o, reverse(o)", "order o = reset(raster, every h)"),
    "tokens": _selective("directions o, reverse(o)", "order o = insert(raster, cls at middle)"),
    "given": _selective("directions o, reverse(o)", "order o = input"),
    "split": _selective("directions raster, columns channels split"),
    "concat": _selective("directions raster, columns merge concat"),
    "max": _selective("directions raster, columns merge max"),
    "once": _selective("directions raster"),
    "snake": _selective("directions snake, reverse(snake)"),
}


def test_matrix_products_have_schedules_of_both_kinds() -> None:
    kernels, traversal, shape = MADE["ssd"]()
    schedules = legal_schedules(kernels, traversal, shape)
    assert {one.kind for one in schedules} == {"chunked", "sequential"}
    assert {one.backward_chunk == one.chunk for one in schedules if one.kind == "chunked"} == {True}
    wide = replace(shape, compute="float64")
    assert {one.kind for one in legal_schedules(kernels, traversal, wide)} == {"sequential"}


# What is measured.


def file_of(name: str) -> scanlang.Program:
    return scanlang.load(EXAMPLES / FILES[name])


def jobs(name: str = "cross", dtype: torch.dtype = torch.bfloat16, **given: Any) -> list[Job]:
    sizes: dict[str, Any] = {"grid": (4, 8), "channels": 8, "batch": 2, **given}
    program = file_of(name)
    return jobs_of_scan(program, program.scan_name(None), *sizes.values(), dtype, "cpu")


def test_a_scan_is_measured_as_its_module_calls_it() -> None:
    (job,) = jobs()
    assert (job.scan, job.grid, job.batch, job.shape.channels, job.shape.compute) == ("cross", (4, 8), 2, 8, "float32")
    types = dict(job.shape.dtypes)
    assert {types[name] for name in ("x", "low", "B", "C")} == {"bfloat16"}
    assert {types[name] for name in ("A_log", "D", "dt_weight", "dt_bias")} == {"float32"}
    assert str(job) == "cross, 4x8, 8 channels, batch 2, bfloat16"
    assert jobs(dtype=torch.float64)[0].shape.compute == "float64"


def test_a_convolution_of_its_own_is_measured_too() -> None:
    text = """import std.selective grid h, w  scan s(dim) {
      directions raster, columns  conv 3 along raster  recur selective(state = 1, rank = 2)  project low, B, C from x }"""
    program = scanlang.loads(text)
    made = jobs_of_scan(program, "s", (4, 4), 8, 2, torch.float32, "cpu")
    assert len(made) == 2
    assert len({plan(job, [], HERE).key.program for job in made}) == 2


@pytest.mark.parametrize("name", ["cross", "bidirectional", "gated"])
def test_shapes_are_those_that_kernels_are_made_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the key of a call that the module makes is the one that is tuned."""
    monkeypatch.setattr(tuned, "machine", lambda: HERE)
    for job in jobs(name):
        asked: list[tuple[Shape, int]] = []

        def choose(*given: Any, asked: list[tuple[Shape, int]] = asked) -> Schedule:
            asked.append(given[2:])
            raise Refused

        with pytest.raises(Refused):
            TritonScan(job.kernels, job.traversal, choose).forward(job.arrays, job.grid, True, job.tables)
        assert asked == [(job.shape, job.batch)]


def test_the_scans_of_a_network_are_found_with_their_sizes() -> None:
    from scanlang.backbones import create_model

    model = create_model("vmamba_tiny_s1l8", depth1=1, depth2=2, depth3=1, depth4=1, dim=8)
    found = jobs_of_network(model, (64, 96), 2, torch.float32, "cpu")
    assert [(job.grid, job.shape.channels, job.batch) for job in found] == [
        ((16, 24), 8, 2),
        ((8, 12), 16, 2),
        ((4, 6), 32, 2),
        ((2, 3), 64, 2),
    ]


def test_differences_are_held_to_the_tolerances() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(64, 64, generator=generator)
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        want = exact.to(kind)
        assert difference(want, want) == 0
        assert difference(torch.nextafter(want, torch.full_like(want, math.inf)), want) < 1e-6
        assert difference(want * 1.05, want) > 1e-2
    one_wrong = exact.clone()
    one_wrong[3, 5] += 1.0
    assert difference(one_wrong, exact) > 1e-2
    lost = exact.clone()
    lost[3, 5] = math.nan
    assert difference(lost, exact) == math.inf
    assert difference(lost, lost) == 0
    assert difference(exact[:0], exact[:0]) == 0


class Pretend:
    """An executable with results of its own."""

    def __init__(self, schedule: Schedule, wrong: Callable[[Schedule], str | None]) -> None:
        self.schedule, self.wrong = schedule, wrong

    def forward(self, arrays: Mapping[str, Tensor], grid: Any, save: bool, tables: Any = None) -> tuple[Tensor, Any]:
        if self.wrong(self.schedule) == "fails":
            raise type("OutOfResources", (Exception,), {})
        return arrays["x"] * (2.0 if self.wrong(self.schedule) == "output" else 1.0), None

    def backward(self, gradient: Tensor, saved: Any, arrays: Mapping[str, Tensor], grid: Any, tables: Any = None) -> Any:
        return {name: one + (self.wrong(self.schedule) == name) for name, one in arrays.items()}


@pytest.mark.parametrize("wrong, reason", [("output", "other results"), ("A_log", "other results"), ("low", "other results")])
def test_wrong_results_are_never_measured(wrong: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = jobs(dtype=torch.float32)
    bad = replace(FIRST, lanes=64)
    monkeypatch.setattr(Measured, "scan", lambda _, schedule: Pretend(schedule, lambda s: wrong if s == bad else None))
    clocked: list[int] = []

    def clock(one: Any, other: Any, repeats: int) -> tuple[float, float]:
        clocked.append(repeats)
        return 0.1, 1.0

    trial = Measured(job, FIRST, True, clock)
    with pytest.raises(Refused, match=reason):
        trial(bad, 10)
    assert clocked == []
    assert trial(replace(FIRST, chunk=4), 10) == Times(0.1, 1.0)


def test_what_fails_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = jobs(dtype=torch.float32)
    bad = replace(FIRST, lanes=64)
    monkeypatch.setattr(Measured, "scan", lambda _, schedule: Pretend(schedule, lambda s: "fails" if s == bad else None))
    trial = Measured(job, FIRST, False, lambda *_: (1.0, 1.0))
    with pytest.raises(Refused, match="too much shared memory or registers"):
        trial(bad, 10)
    with pytest.raises(Refused, match="compiling took too long"):
        Measured(job, FIRST, False, lambda *_: (1.0, 1.0), ready=lambda _: False)(FIRST, 10)


# What is stored.


@pytest.fixture
def job() -> Job:
    return jobs(grid=(8, 16), channels=96, batch=2)[0]


def tuned_by(job: Job, path: Path, time_of: TimeOf, **given: Any) -> Tuned:
    return tune(job, path, HERE, make_trial=lambda _, first: Fake(time_of, first), **given)


def prefers(**wanted: Any) -> TimeOf:
    return lambda one: 2.0 - 0.3 * sum(getattr(one, name) == value for name, value in wanted.items())


def test_the_choice_is_stored_and_chosen(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some" / "tuned.json"
    made = tuned_by(job, path, prefers(backward_chunk=2, lanes=64))
    assert made.stored is not None
    assert (made.stored.schedule.backward_chunk, made.stored.schedule.lanes) == (2, 64)
    assert read_entries(path) == ([made.stored], [])
    assert made.stored.measured["milliseconds"] == 1.4
    assert made.stored.measured["before"] == 2.0
    monkeypatch.setenv(tuned.VARIABLE, str(path))
    monkeypatch.setattr(tuned, "machine", lambda: HERE)
    tuned.stored.cache_clear()
    choice = tuned.TunedChoice(job.kernels, job.traversal)
    assert choice(job.kernels, job.traversal, job.shape, job.batch) == made.stored.schedule
    tuned.stored.cache_clear()


def test_the_rules_choice_is_stored_too(job: Job, tmp_path: Path) -> None:
    made = tuned_by(job, tmp_path / "tuned.json", lambda _: 1.0)
    assert made.stored is not None
    assert made.stored.schedule == made.plan.first == choose_gpu_schedule(job.kernels, job.traversal, job.shape, job.batch)


def test_steps_between_saved_states_are_fixed_by_the_first_entry(job: Job, tmp_path: Path) -> None:
    """Whatever would be faster for another batch."""
    path = tmp_path / "tuned.json"
    tuned_by(job, path, prefers(backward_chunk=2))
    (other,) = jobs(grid=(8, 16), channels=96, batch=1)
    made = tuned_by(other, path, prefers(backward_chunk=8, lanes=64))
    assert made.plan.agreed
    assert made.stored is not None
    assert (made.stored.schedule.backward_chunk, made.stored.schedule.lanes) == (2, 64)
    assert len(read_entries(path)[0]) == 2
    assert forget([other], path, HERE) == 2
    again = tuned_by(other, path, prefers(backward_chunk=8, lanes=64))
    assert again.stored is not None
    assert again.stored.schedule.backward_chunk == 8
    assert read_entries(path)[0] == [again.stored]


def test_an_entry_alone_may_be_measured_again_with_other_steps(job: Job, tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    tuned_by(job, path, prefers(backward_chunk=2))
    made = tuned_by(job, path, prefers(backward_chunk=8))
    assert made.stored is not None
    assert made.stored.schedule.backward_chunk == 8
    assert read_entries(path)[0] == [made.stored]


def test_nothing_is_stored_of_an_interrupted_search_without_a_find(job: Job, tmp_path: Path) -> None:
    def interrupt(_: Schedule) -> float:
        raise KeyboardInterrupt

    made = tuned_by(job, tmp_path / "tuned.json", interrupt)
    assert made.stored is None
    assert made.outcome.interrupted
    assert not (tmp_path / "tuned.json").exists()


def test_the_budget_is_seconds(job: Job, tmp_path: Path) -> None:
    clock = iter(range(10**6))
    made = tuned_by(job, tmp_path / "tuned.json", steep, seconds=4.0, now=lambda: float(next(clock)))
    assert not made.outcome.done
    assert made.outcome.measured < 4


def test_compiling_ahead_is_left_out_without_processes() -> None:
    kernels, traversal = cross()
    layout = layout_of(kernels, traversal, rule_for(), shape_for(kernels))
    with CompileAhead(90, processes=1) as ahead:
        ahead.begin([layout])
        assert ahead.wait(layout, 0.0)


@pytest.mark.long
@pytest.mark.triton
def test_kernels_that_are_compiled_ahead_are_found_by_a_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled by another process, a launch on such a GPU compiles nothing more."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels, traversal = cross()
    layout = layout_of(kernels, traversal, rule_for(), shape_for(kernels))
    with CompileAhead(90, processes=2) as ahead:
        ahead.begin([layout])
        assert ahead.wait(layout, 300.0)
    before = set(os.listdir(tmp_path))
    assert len(before) >= len(layout.entries)
    launch_without_a_gpu(layout)
    assert set(os.listdir(tmp_path)) == before


def launch_without_a_gpu(layout: Any) -> None:
    """As far as compiling, on a driver that says it has a GPU."""
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import MockTensor

    from scanlang.codegen.gpu.build_triton import build_triton
    from scanlang.codegen.gpu.emit_triton import emit_triton
    from scanlang.codegen.gpu.triton_compile import without_coalescing

    class Driver:
        def get_current_target(self) -> Any:
            return GPUTarget("cuda", 90, 32)

        def get_current_device(self) -> int:
            return 0

        def get_current_stream(self, _: int) -> int:
            return 0

    types = {"bf16": torch.bfloat16, "fp32": torch.float32, "i32": torch.int32, "fp16": torch.float16}
    module = build_triton(emit_triton(layout.kernels, layout.traversal, layout.schedule, layout.shape), layout.kernels.name)
    before = driver._active
    driver.set_active(Driver())
    try:
        for entry in layout.entries:
            given = {a.name: MockTensor(types[a.type[1:]]) for a in entry.arguments if a.type.startswith("*")}
            given |= {a.name: a.type == "constexpr" or 5 for a in entry.arguments if a.name not in given}
            with without_coalescing():
                getattr(module, entry.name).warmup(**given, grid=(1,), num_warps=entry.warps, enable_fp_fusion=True)
    finally:
        driver._active = before


# The command.


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["tune", *arguments])


CROSS_FILE = str(EXAMPLES / FILES["cross"])


def test_without_a_gpu_it_says_so() -> None:
    made = command(CROSS_FILE, "--size", "8x8", "--channels", "96")
    assert made.exit_code == 2
    assert "sees no CUDA device; scanlang tune measures on an NVIDIA GPU" in made.output
    assert "Traceback" not in made.output


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((), "give a program, or a network with --backbone"),
        (("--backbone", "vim_tiny", "--scan", "vim"), "--scan is for a scan"),
        (("--backbone", "vim_tiny", "--channels", "96"), "--channels is for a scan"),
        (("--backbone", "vim_tiny", "--layer", "1"), "--layer is for a scan"),
        ((CROSS_FILE, "--budget", "0"), "--budget: seconds for each scan"),
        ((CROSS_FILE, "--budget", "nan"), "--budget: seconds for each scan"),
        ((CROSS_FILE, "--size", "8by8"), "is no grid size"),
        ((CROSS_FILE, "--dtype", "int8"), "'int8' is not one of"),
        (("nowhere.scan",), "does not exist"),
    ],
)
def test_options_that_make_no_sense(arguments: tuple[str, ...], said: str) -> None:
    made = command(*arguments)
    assert made.exit_code == 2
    assert said in " ".join(made.output.split())


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The command with a GPU that is none: jobs on the CPU, trials with times of their own."""
    how: dict[str, Any] = {"time_of": prefers(lanes=64)}
    found = cli_tune.jobs_of
    monkeypatch.setattr(cli_tune, "why_not_here", lambda: None)
    monkeypatch.setattr(cli_tune, "jobs_of", lambda asked, _: how.get("jobs", found)(asked, "cpu"))
    monkeypatch.setattr(tuned, "machine", lambda: HERE)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr("scanlang.codegen.tune._measured", lambda _, first, **__: Fake(how["time_of"], first))
    monkeypatch.setattr(CompileAhead, "begin", lambda *_: None)
    yield how
    tuned.stored.cache_clear()


SMALL = (CROSS_FILE, "--size", "4x8", "--channels", "64", "--batch", "2")


def test_a_scan_is_tuned(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    path = tmp_path / "tuned.json"
    made = command(*SMALL, "--dtype", "bfloat16", "--out", str(path))
    assert made.exit_code == 0, made.output
    first, *others = made.output.splitlines()
    assert first == "cross, 4x8, 64 channels, batch 2, bfloat16"
    assert "  1.700 ms, 15% less than before (2.000 ms)" in others
    assert "  lanes 32 → 64, warps 4 → 1, abreast 4 → 1, fetch True → False" in others
    assert others[-1] == f"stored in {path}, which SCANLANG_TUNED={path} has scans use"
    (entry,) = read_entries(path)[0]
    assert entry.schedule.lanes == 64
    assert entry.key.machine == HERE


def test_the_rules_choice_may_stay(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    pretended_gpu["time_of"] = lambda _: 1.0
    made = command(*SMALL, "--forward", "--out", str(tmp_path / "tuned.json"))
    assert "  the rule's choice stays: 1.000 ms" in made.output.splitlines()
    assert read_entries(tmp_path / "tuned.json")[0][0].measured["passes"] == "forward"


def test_without_out_the_file_is_the_one_that_is_used(
    tmp_path: Path, pretended_gpu: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, named = tmp_path / "cache" / "tuned.json", tmp_path / "named.json"
    monkeypatch.delenv(tuned.VARIABLE, raising=False)
    monkeypatch.setenv("SCANLANG_CACHE", str(cached.parent))
    assert command(*SMALL).output.splitlines()[-1] == f"stored in {cached}"
    monkeypatch.setenv(tuned.VARIABLE, str(named))
    assert command(*SMALL).output.splitlines()[-1] == f"stored in {named}"
    assert [len(read_entries(path)[0]) for path in (cached, named)] == [1, 1]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    path, count = tmp_path / "tuned.json", iter(range(10**6))

    def time_of(one: Schedule) -> float:
        if next(count) > 60:
            raise KeyboardInterrupt
        return prefers(lanes=64)(one)

    pretended_gpu["time_of"] = time_of
    pretended_gpu["jobs"] = lambda *_: [jobs(grid=grid, channels=64)[0] for grid in ((4, 8), (8, 8), (8, 4))]
    made = command(*SMALL, "--out", str(path))
    assert made.exit_code == 130
    assert made.output.splitlines()[-1] == f"interrupted; what was chosen until then is in {path}"
    assert 1 <= len(read_entries(path)[0]) < 3


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), DeviceLost("an illegal access\nmore")])
def test_a_gpu_that_gives_out(tmp_path: Path, pretended_gpu: dict[str, Any], error: Exception) -> None:
    def time_of(_: Schedule) -> float:
        raise error

    pretended_gpu["time_of"] = time_of
    made = command(*SMALL, "--out", str(tmp_path / "tuned.json"))
    assert made.exit_code == 2
    assert "Traceback" not in made.output
    assert "--batch takes fewer" in made.output or "the GPU has failed (an illegal access)" in made.output


def test_a_file_that_cannot_be_written_is_said_before_measuring(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    def never(*_: Any) -> list[Job]:
        raise AssertionError("measured")

    pretended_gpu["jobs"] = never
    made = command(*SMALL, "--out", str(tmp_path))
    assert made.exit_code == 2
    assert "is a folder; --out names a file" in made.output
    (tmp_path / "file").touch()
    assert command(*SMALL, "--out", str(tmp_path / "file" / "tuned.json")).exit_code == 2


def test_findings_of_a_program_are_shown(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    made = command(CROSS_FILE, "--scan", "nowhere", "--size", "4x8", "--out", str(tmp_path / "tuned.json"))
    assert made.exit_code == 1
    assert "error[S501]" in made.output


def test_anew_forgets_once_what_the_file_has(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    """Scans of one call that share program and grid do not forget each other."""
    path = tmp_path / "tuned.json"
    pretended_gpu["time_of"] = prefers(backward_chunk=2)
    pretended_gpu["jobs"] = lambda *_: [jobs(channels=64, batch=batch)[0] for batch in (1, 4)]
    assert command(*SMALL, "--out", str(path)).exit_code == 0
    pretended_gpu["time_of"] = prefers(backward_chunk=8)
    command(*SMALL, "--out", str(path))
    assert [entry.schedule.backward_chunk for entry in read_entries(path)[0]] == [2, 2]
    command(*SMALL, "--out", str(path), "--anew")
    assert [entry.schedule.backward_chunk for entry in read_entries(path)[0]] == [8, 8]


def test_a_file_that_was_no_such_file_is_kept(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    path = tmp_path / "tuned.json"
    path.write_text("notes")
    made = command(*SMALL, "--out", str(path))
    assert f"  the file could not be read; it is now {path}.unreadable" in made.output.splitlines()
    assert path.with_name("tuned.json.unreadable").read_text() == "notes"
    assert len(read_entries(path)[0]) == 1


def test_a_network_is_tuned_scan_by_scan(tmp_path: Path, pretended_gpu: dict[str, Any]) -> None:
    program = tmp_path / "small.scan"
    program.write_text("import backbones.vmamba\nbackbone small from vmamba_tiny_s1l8 { depth2 = 1  depth3 = 1  dim = 8 }\n")
    path = tmp_path / "tuned.json"
    made = command(
        str(program), "--backbone", "small", "--size", "64x64", "--batch", "1", "--dtype", "fp32", "--out", str(path)
    )
    assert made.exit_code == 0, made.output
    assert [entry.key.channels for entry in read_entries(path)[0]] == [8, 16, 32, 64]


def test_progress_is_a_bar() -> None:
    shown: list[str] = []
    report = progress_of("cross", shown.append)
    report(Progress(0, 8, None))
    report(Progress(4, 8, Times(1.5, 2.0)))
    assert shown == ["[················] 0/8 cross", "[████████········] 4/8 cross, best 1.500 ms, before 2.000 ms"]


def test_lines_say_what_came_of_it(job: Job) -> None:
    made = plan(job, [], HERE)
    outcome = Outcome(made.first, None, 3, {"other results": 1, "not compiled": 2}, False)
    lines = list(lines_of(job, Tuned(made, outcome, None, 2, Path("x.unreadable"))))
    assert lines[1:] == [
        "  nothing was chosen",
        "  3 other schedules measured, 3 of them refused (2 not compiled, 1 other results); not all: the time was over",
        "  2 entries that save states at other steps are gone: tune them again",
        "  the file could not be read; it is now x.unreadable",
    ]
    assert changes(FIRST, replace(FIRST, backward_chunk=2, merge="turns")) == "merge partials → turns, backward chunk 4 → 2"


def test_plans_take_the_nearest_entry_where_steps_are_fixed(job: Job) -> None:
    own = plan(job, [], HERE)
    assert not own.agreed
    schedule = next(one for one in own.legal if one.backward_chunk == 2 and one.lanes == 64)
    few = Entry(replace(own.key, batch=1), schedule)
    fixed = plan(job, [few], HERE)
    assert fixed.agreed
    assert fixed.first == replace(schedule, merge=own.first.merge)
    assert {one.backward_chunk for one in fixed.legal} == {2}
    elsewhere = replace(few, key=replace(few.key, machine=replace(HERE, card="another")))
    assert plan(job, [elsewhere], HERE) == own
