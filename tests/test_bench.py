"""Benchmarks without a GPU: what is counted, compared, kept and shown is right, and every kind of row runs at tiny sizes."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
import time
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

import scanlang
from scanlang.bench import (
    bounds,
    clock,
    document,
    growth,
    machine,
    models,
    on_cpu,
    operands,
    peers,
    recurrences,
    run,
    stages,
    sweep,
    unfused,
    vit,
    worker,
)
from scanlang.bench import table as tables
from scanlang.bench.catalogue import SOURCES, catalogue, chosen
from scanlang.bench.row import Measurement, Official, Row, Step, Times, Where
from scanlang.cli import main

TINY = Where("cpu", tiny=True)
LIMITS = machine.Limits("a machine", bytes=1e9, special=1e9, issued=2e9)
FIRST = Row(Times(2.0, 1.5, 0.05, 2.5), bytes=1_000_000, special=1_500_000, issued=1_000_000, note="a note")
MODEL = Row(Times(50.0, 49.0, 0.01), images=128, memory=3 * 2**30, official=Official(100.0, 6 * 2**30))
ALL = document.Document(
    LIMITS,
    {"torch": "2.11.0", "triton": "3.6.0"},
    "2026-01-01T00:00:00+00:00",
    {"stage1-core-forward": FIRST, "models-vim_tiny-training-eager": MODEL, "rec-s6-stage1-both": Row(failed="out of memory")},
)


@pytest.fixture(scope="module")
def rows() -> dict[str, Measurement]:
    return catalogue()


# Rows and their names.


def test_names_are_unique_and_of_the_device() -> None:
    counts = Counter(one.name for source in SOURCES for one in source.measurements())
    assert max(counts.values()) == 1
    for one in catalogue().values():
        assert one.name.startswith("cpu-") == (one.device == "cpu"), one.name


def test_rows_are_chosen_by_pattern(rows: dict[str, Measurement]) -> None:
    assert chosen(rows, None) == list(rows)
    wanted = ["stage1-core-forward", "stage1-core-both", "vim-layer-both"]
    assert chosen(rows, "stage1-core*, vim-layer-both") == wanted
    assert chosen(rows, "nothing") == []


def test_every_row_that_is_to_be_reached_is_there(rows: dict[str, Measurement]) -> None:
    for stage in ("stage1", "stage2", "stage3", "stage4", "vim"):
        assert {f"{stage}-{what}-{which}" for what in ("core", "layer") for which in ("forward", "both")} <= rows.keys()
    for network in ("vmamba_tiny_s1l8", "vim_tiny", "vim_small"):
        modes = {"inference": ("eager", "graph", "compiled", "compiled-graph"), "training": ("eager", "compiled")}
        assert {f"models-{network}-{what}-{mode}" for what in modes for mode in modes[what]} <= rows.keys()
        assert {f"cpu-models-{network}-b{batch}-{what}" for batch in (1, 8) for what in modes} <= rows.keys()
    assert {f"models-{name}-1248-b{batch}-graph" for name in ("vim_tiny", "deit_tiny") for batch in (1, 8)} <= rows.keys()
    assert {f"compile-stage1-both-{start}" for start in ("cold", "warm", "again")} <= rows.keys()
    ends = {"side": (14, 312), "batch": (1, 256), "states": (1, 64), "directions": (1, 8), "patches": (14, 78)}
    for series in ends:
        assert {f"sweep-{series}-{end}-both" for end in ends[series]} <= rows.keys()


def test_official_figures_are_of_rows(rows: dict[str, Measurement]) -> None:
    from scanlang.bench.official import MODELS, SCANS

    assert SCANS.keys() <= rows.keys()
    assert {f"models-{name}-eager" for name in MODELS} <= rows.keys()
    assert SCANS["vim-core-both"].median == pytest.approx(3.22)
    assert 128 / MODELS["vmamba_tiny_s1l8-inference"].median * 1e3 == pytest.approx(3057)
    assert models.official_of("models-vim_tiny-1248-b8-compiled-graph", "compiled-graph") == MODELS["vim_tiny-1248-b8"]


# What is counted.


def test_least_bytes_of_the_first_stage() -> None:
    stage = stages.STAGES[0]
    x = 128 * 56 * 56 * 96 * 2
    projected = 128 * 56 * 56 * 4 * (6 + 1 + 1) * 2
    assert stage.bytes(backward=False) == 2 * x + projected
    assert stage.bytes(backward=True) == (2 * x + projected) + (x + projected) + x + (x + projected)
    assert stage.special(backward=False) == 128 * 56 * 56 * 96 * 4 * 3


def test_bounds_and_share() -> None:
    found = bounds.bounds_of(FIRST, LIMITS)
    assert (found.bytes, found.special, found.issued) == (1.0, 1.5, 0.5)
    assert found.largest == 1.5
    assert bounds.share(FIRST, LIMITS) == 0.75
    assert bounds.share(MODEL, LIMITS) is None
    assert bounds.bounds_of(Row(bytes=1, issued=5), replace(LIMITS, issued=None)).issued is None


def test_the_spread_lies_between_quartiles() -> None:
    found = clock.times_of([1.0, 2.0, 3.0, 4.0, 50.0], 6.0)
    assert found == Times(3.0, 1.0, 2.0 / 3.0, 6.0)
    assert clock.times_of([5.0]) == Times(5.0, 5.0, 0.0)


def test_a_slow_call_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([3.0])
    monkeypatch.setattr(clock, "_seconds", lambda run: next(seconds))
    assert clock.median_cpu(lambda: None) == Times(3000.0, 3000.0, 0.0)


def test_limits_of_this_machine() -> None:
    found = machine.cpu_limits(1, 2**16, 0.01)
    assert found.device.endswith("1 threads")
    assert found.bytes > 0
    assert found.special > 0
    assert found.issued is None
    assert machine.highest_clock() > 1e8
    assert {"python", "torch", "scanlang"} <= machine.versions().keys()


def test_growth_flags_jumps_of_what_is_not_all_launching() -> None:
    def row(at: int, milliseconds: float, series: str = "side forward") -> Row:
        return Row(Times(milliseconds, milliseconds, 0.0), step=Step(series, at, at * 1000.0))

    rows = {"c": row(4, 0.4), "a": row(1, 0.010), "b": row(2, 0.019), "d": row(8, 1.3), "e": row(16, 1.3), "f": FIRST}
    others = {"g": row(1, 1.0, "batch forward"), "h": Row(failed="no", step=Step("side forward", 3, 1))}
    found = list(growth.growth({**rows, **others}))
    assert [(one.series, one.at) for one in found[:5]] == [("side forward", at) for at in (1, 2, 4, 8, 16)]
    assert [one.jumps for one in found] == [False, False, True, True, True, False]
    assert found[2].against == pytest.approx(0.4 / 4 / (0.019 / 2))
    assert found[2].per_element == pytest.approx(0.4e9 / 4000)  # picoseconds
    text = growth.growth_table(rows)
    assert "3 of 4 neighbours" in text
    assert growth.growth_table({"f": FIRST}) == ""


def test_small_times_are_never_a_jump() -> None:
    made = [Row(Times(ms, ms, 0.0), step=Step("s", at, at)) for at, ms in ((1, 0.002), (2, 0.02))]
    assert [one.jumps for one in growth.growth(dict(zip("ab", made, strict=True)))] == [False, False]


def test_sweeps_change_one_size_of_programs_that_are_clean() -> None:
    usual = sweep.Point("", 0)
    for point in sweep.POINTS:
        changed = [name for name in ("side", "batch", "states", "directions") if getattr(point, name) != getattr(usual, name)]
        assert point.series in ("states", "directions", "patches", "patches1") or changed in ([], [point.series])
    eight = next(point for point in sweep.POINTS if point.directions == 8)
    program = scanlang.loads(eight.text)
    assert len({tuple(order.positions(3, 4)) for order in program.verified.scans["swept"]}) == 8
    assert sweep.Point("states", 64, states=64).work == sweep.Point("states", 1).work * 22


# What is compared.


@pytest.mark.parametrize("stage", [stages.STAGES[0], stages.STAGES[4]], ids=lambda stage: stage.name)
def test_unfused_pipeline_is_the_same_scan(stage: stages.Stage) -> None:
    torch.manual_seed(0)
    core = scanlang.Scan2d(scanlang.loads(stage.text), channels=12)
    x = torch.randn(2, 5, 7, 12)
    theirs = unfused.directional_scan(unfused.selective_scan_loop, x, **dict(core.named_parameters()))
    torch.testing.assert_close(theirs, core(x), rtol=1e-4, atol=1e-5)


def test_copies_and_back() -> None:
    x = torch.randn(2, 3, 4, 5)
    copies = unfused.four_copies(x)
    assert torch.equal(copies[:, 1, :, 1], x[:, 1, 0])
    assert torch.equal(copies[:, 3, :, 0], x[:, 2, 3])
    torch.testing.assert_close(unfused.merge_four(copies, 3, 4), 4 * x)
    torch.testing.assert_close(unfused.merge_two(unfused.two_copies(x), 3, 4), x)


def ungrouped(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor, delta_softplus: bool
) -> Tensor:
    """`selective_scan_fn` by its shapes: u, delta (B, D, L), A (D, N), B and C (B, G, N, L), D and delta_bias (D)."""
    assert delta_softplus
    groups = B.shape[1]
    parts = [part.unflatten(1, (groups, -1)) for part in (u, delta)]
    rest = [part.unflatten(0, (groups, -1)) for part in (A, D, delta_bias)]
    return unfused.selective_scan_loop(parts[0], parts[1], rest[0], B, C, rest[1], rest[2]).flatten(1, 2)


@pytest.mark.parametrize("stage", [stages.STAGES[0], stages.STAGES[4]], ids=lambda stage: stage.name)
def test_mamba_ssm_is_called_as_it_wants(monkeypatch: pytest.MonkeyPatch, stage: stages.Stage) -> None:
    interface = types.ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = ungrouped  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.setattr(peers, "import_module", lambda name: sys.modules[name])
    core = scanlang.Scan2d(scanlang.loads(stage.text), channels=12)
    x = torch.randn(2, 5, 7, 12)
    theirs = unfused.directional_scan(peers.mamba_ssm_scan, x, **dict(core.named_parameters()))
    torch.testing.assert_close(theirs, core(x), rtol=1e-4, atol=1e-5)
    row = stages.mamba_ssm("", stage, True, TINY)
    assert row.times is not None


def test_mamba_ssm_has_rows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "has_mamba_ssm", lambda: True)
    assert {"stage1-mamba_ssm-both", "vim-mamba_ssm-forward"} <= {one.name for one in stages.measurements()}
    monkeypatch.setattr(stages, "has_mamba_ssm", lambda: False)
    assert not [one for one in stages.measurements() if "mamba_ssm" in one.name]


def test_what_the_cpu_benchmark_compares_is_the_same() -> None:
    arrays = on_cpu.inputs(5)
    ours = scanlang.compile(scanlang.loads(on_cpu.ONE))(**arrays)[0].flatten(0, 1)
    arguments = on_cpu.sequence(arrays)
    loop = unfused.selective_scan_loop(*arguments)[0, 0].T
    torch.testing.assert_close(ours, loop, rtol=1e-4, atol=1e-4)
    if importlib.util.find_spec("mambapy") is not None:
        parallel = on_cpu.mambapy_scan(*on_cpu.mambapy_arguments(arrays))[0]
        torch.testing.assert_close(parallel, loop, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim, heads, parameters", [(192, 3, 5_717_416), (384, 6, 22_050_664)])
def test_vit_is_deit(dim: int, heads: int, parameters: int) -> None:
    with torch.device("meta"):
        model = vit.ViT(dim, heads, 224)
    assert sum(weight.numel() for weight in model.parameters()) == parameters


def test_attention_is_softmax_of_products() -> None:
    attention, x = vit.Attention(8, 2), torch.randn(3, 5, 8)
    q, k, v = attention.qkv(x).split(8, -1)
    heads = [(part[..., :4], part[..., 4:]) for part in (q, k, v)]
    mixed = [torch.softmax(a @ b.transpose(1, 2) / 2, -1) @ c for a, b, c in zip(*heads, strict=True)]
    torch.testing.assert_close(attention(x), attention.out(torch.cat(mixed, -1)))


# Rows at tiny sizes.


@pytest.mark.parametrize("kind, wanted", [("core", 8), ("layer", 6), ("unfused", 6)])
def test_gpu_rows_run_with_all_gradients(monkeypatch: pytest.MonkeyPatch, kind: str, wanted: int) -> None:
    seen = []
    times = Times(2.0, 1.0, 0.1, 3.0)
    for module in (stages, operands):
        monkeypatch.setattr(module, "timed", lambda _, call, *__, **___: (seen.append(call()), times)[1])
    measure, stage = getattr(stages, kind), stages.STAGES[0]
    forward, both = (measure(f"stage1-{kind}-{which}", stage, which == "both", TINY) for which in ("forward", "both"))
    assert forward.times == both.times == times
    assert seen[0].shape == (2, 3, 5, 8)
    assert not seen[0].requires_grad
    assert len(seen[1]) == wanted
    assert all(bool(gradient.isfinite().all()) for gradient in seen[1])


@pytest.mark.parametrize("name", ["rec-s6-stage1", "rec-mlstm-stage1", "rec-gated-stage1"])
def test_rows_of_recurrences_run(rows: dict[str, Measurement], name: str) -> None:
    forward, both = rows[f"{name}-forward"].measure(TINY), rows[f"{name}-both"].measure(TINY)
    assert forward.bytes is not None
    assert both.bytes is not None
    assert forward.bytes < both.bytes
    assert both.special == 2 * forward.special if forward.special else True
    if name == "rec-s6-stage1":
        maps = 2 * 96 + 4 * (6 + 16 + 16)
        assert (forward.bytes, forward.special) == (2 * 6 * maps, 6 * 96 * 4 * 18)
    if name == "rec-mlstm-stage1":  # three heads: softplus of the gate, two weights, and the floor of the denominator
        assert forward.special == 6 * 3 * 4 * 5


@pytest.mark.parametrize("name", ["vim-core-both", "sweep-patches-78-both", "sweep-directions-8-forward", "cpu-cross-backward"])
def test_rows_run(rows: dict[str, Measurement], name: str) -> None:
    found = rows[name].measure(TINY)
    assert found.median is not None
    assert found.bytes
    assert found.special
    assert found.issued is None


MANY = ("stage*", "vim-*", "sweep-states-*", "cpu-one*", "cpu-loop*", "cpu-models-*", "cpu-compile-vim-*")


@pytest.mark.long
@pytest.mark.parametrize("pattern", MANY)
def test_many_rows_run(rows: dict[str, Measurement], pattern: str) -> None:
    for name in chosen(rows, pattern):
        assert rows[name].measure(TINY).median is not None, name


def rows_of_networks() -> list[object]:
    """Every kind of network, mode and size; quick ones are those that compile nothing."""
    kinds = {"inference": models.MODES, "training": models.TRAINING_MODES, "1248-b8": models.MODES}
    left_out = {("deit_tiny", "training"), ("vmamba_tiny_s1l8", "1248-b8")}
    networks = ("vmamba_tiny_s1l8", "vim_tiny", "deit_tiny")
    names = [(network, what) for network in networks for what in kinds if (network, what) not in left_out]
    quick = [("vim_tiny", "inference", "eager"), ("vim_tiny", "training", "eager"), ("vim_tiny", "1248-b8", "graph")]
    return [
        pytest.param(f"models-{network}-{what}-{mode}", marks=[] if (network, what, mode) in quick else [pytest.mark.long])
        for network, what in names
        for mode in kinds[what]
    ]


@pytest.mark.parametrize("name", rows_of_networks())
def test_rows_of_networks_run(rows: dict[str, Measurement], name: str) -> None:
    found = rows[name].measure(TINY)
    assert found.median is not None
    assert found.images == 2
    assert found.memory is None
    assert rows[name].process == "models"


def test_a_step_of_training_learns() -> None:
    model = models.model_of(models.DEIT, 224, TINY)
    before = [weight.detach().clone() for weight in model.parameters()]
    models.training("models-deit_tiny-training-eager", models.DEIT, 224, 128, "eager", True, TINY)
    changed = [not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True)]
    assert all(changed)
    assert all(weight.grad is None for weight in model.parameters())


def test_one_network_is_held_at_a_time() -> None:
    first = models.model_of(models.DEIT, 224, TINY)
    assert models.model_of(models.DEIT, 224, TINY) is first
    models.model_of(models.DEIT_SMALL, 224, TINY)
    assert len(models._held) == 1
    assert models.model_of(models.DEIT, 224, TINY) is not first


def test_scores_that_are_not_finite_are_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        models, "model_of", lambda *_: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Threshold(9.0, math.nan))
    )
    with pytest.raises(ArithmeticError, match="not finite"):
        models.inference("models-deit_tiny-inference-eager", models.DEIT, 224, 128, "eager", True, TINY)


# What is kept and shown.


def test_json_comes_back(tmp_path: Path) -> None:
    ALL.write(tmp_path / "rows.json")
    assert document.read(tmp_path / "rows.json") == ALL
    content = json.loads((tmp_path / "rows.json").read_text())
    assert (content["card"], content["date"], content["versions"]["torch"]) == ("a machine", ALL.date, "2.11.0")
    assert content["rows"][2] == {"name": "rec-s6-stage1-both", "failed": "out of memory"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 7}', '{"format": 1, "rows": [{"name": "a", "unknown": 1}]}'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(document.NotMeasurements, match=r"rows\.json"):
        document.read(tmp_path / "rows.json")


def test_merging_keeps_the_newest_that_did_not_fail() -> None:
    later = document.Document(LIMITS, {"torch": "2.12.0", "triton": "3.6.0"}, "2026-02-01T00:00:00+00:00")
    newer = replace(
        later,
        rows={
            "stage1-core-forward": Row(failed="no"),
            "models-vim_tiny-training-eager": replace(MODEL, note="new"),
            "rec-s6-stage1-both": FIRST,
        },
    )
    for order in ([ALL, newer], [newer, ALL]):
        found = document.merged(order)
        assert found.rows["stage1-core-forward"] == FIRST
        assert found.rows["models-vim_tiny-training-eager"].note == "new"
        assert found.rows["rec-s6-stage1-both"] == FIRST
        assert found.versions == {"torch": "2.11.0, 2.12.0", "triton": "3.6.0"}
        assert found.date == later.date
    other = replace(ALL, limits=replace(LIMITS, device="another"))
    with pytest.raises(document.NotMeasurements, match="a machine; another"):
        document.merged([ALL, other])


def test_table() -> None:
    text = tables.table(ALL)
    assert "a machine; torch 2.11.0, triton 3.6.0; 2026-01-01" in text
    assert "official: the authors' code, as measured on an H200" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert lines["stage1-core-forward"] == ["2", "5%", "2.5", "1", "1.5", "0.500", "75%", "a", "note"]
    assert lines["models-vim_tiny-training-eager"] == ["50", "1%", "2560", "3.00", "1280", "2.00x", "6.00"]
    assert lines["rec-s6-stage1-both"] == ["FAILED:", "out", "of", "memory"]
    assert "official" not in tables.table(replace(ALL, rows={"stage1-core-forward": FIRST}))


def test_roofline_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from scanlang.bench import roofline

    swept = replace(ALL, rows={**ALL.rows, "sweep-side-14-forward": replace(FIRST, step=Step("side forward", 14, 1.0))})
    roofline.draw(swept, tmp_path / "roof.png")
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    assert roofline.drawn(swept) == ["stage1-core-forward"]
    assert roofline.limit_name(ALL, "stage1-core-forward") == "exp"
    with pytest.raises(roofline.NothingToDraw):
        roofline.draw(replace(ALL, rows={"models": MODEL}), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


# The process that measures.


def answering(code: str) -> run.Worker:
    """A worker that is something else."""
    made = run.Worker(TINY, 1)
    made.command = [
        sys.executable,
        "-c",
        f"import sys, json, os, time\nfor line in sys.stdin:\n  name = line.strip()\n  {code}",
    ]
    return made


ANSWER = "print(json.dumps({'row': {'note': str(os.getpid())}, 'usable': name != 'breaks'}), flush=True)"


def test_rows_that_hang_or_end_the_process_leave_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STARTING", 30.0)
    asked = answering(f"sys.exit(7) if name == 'ends' else {ANSWER}")
    names = ("first", "second", "ends", "third", "breaks", "fourth", "other")
    rows = [Measurement(name, lambda _: FIRST, process="models" if name == "other" else "scans") for name in names]
    kept: list[document.Document] = []
    empty = replace(ALL, rows={})
    found, left = run.measure(asked, rows, empty, 20.0, None, lambda _: None, kept.append)
    asked.end()
    assert left == []
    assert list(found.rows) == list(names)
    assert found.rows["ends"].failed == "the process ended with 7, and what it said is above"
    process = {name: row.note for name, row in found.rows.items() if not row.failed}
    assert process["first"] == process["second"] != process["third"]
    assert process["third"] == process["breaks"] != process["fourth"]
    assert process["fourth"] != process["other"]
    assert [len(each.rows) for each in kept] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("named", [None, "mine.json"])
def test_schedules_are_the_rules_unless_files_are_named(named: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if named is None:
        monkeypatch.delenv("SCANLANG_TUNED")
    else:
        monkeypatch.setenv("SCANLANG_TUNED", named)
    asked = answering("print(json.dumps({'said': os.environ.get('SCANLANG_TUNED'), 'usable': True}), flush=True)")
    said = asked.ask("row", 20.0)["said"]
    asked.end()
    assert said == (named or "")


def test_a_row_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STARTING", 20.0)
    asked = answering(f"time.sleep(60) if name == 'hangs' else {ANSWER}")
    assert run.answered(asked, "first", 20.0).failed == ""
    assert run.answered(asked, "hangs", 0.2).failed == "no answer within 0 s"
    assert run.answered(asked, "next", 20.0).failed == ""
    asked.end()


def test_an_end_is_seen_although_a_child_holds_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STARTING", 30.0)
    child = "__import__('subprocess').Popen([sys.executable, '-c', 'import time; time.sleep(60)'])"
    asked = answering(f"{child}; os._exit(5)")
    begun = time.monotonic()
    assert run.answered(asked, "ends", 30.0).failed == "the process ended with 5, and what it said is above"
    assert time.monotonic() - begun < 25
    asked.end()


def test_no_row_is_begun_after_the_time() -> None:
    rows = [Measurement("first", lambda _: FIRST), Measurement("second", lambda _: FIRST)]
    found, left = run.measure(run.Worker(TINY, 1), rows, ALL, 1.0, 0.0, lambda _: None, lambda _: None)
    assert (found, left) == (ALL, ["first", "second"])


def test_a_row_that_fails_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    def failing(error: Exception) -> Measurement:
        def measure(_: Where) -> Row:
            raise error

        return Measurement("fails", measure)

    assert worker.measured(failing(ValueError("wrong\nand more")), TINY).failed == "ValueError: wrong"
    assert "Traceback" in capfd.readouterr().err
    assert worker.measured(failing(torch.cuda.OutOfMemoryError("CUDA out of memory")), TINY).failed == "out of memory"
    fine = worker.measured(Measurement("fine", lambda _: MODEL), TINY)
    assert fine.seconds is not None
    assert fine.official is None  # of a tiny row it would say nothing


# The command.


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_help_and_list() -> None:
    assert "--resume" in invoke("--help").output
    lines = invoke("--list", "--rows", "stage1-core-*,cpu-one-forward").output.splitlines()
    wanted = {"stage1-core-forward": "GPU", "stage1-core-both": "GPU", "cpu-one-forward": "CPU"}
    assert dict(line.split() for line in lines) == wanted


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_rows_that_need_a_gpu_are_refused_without_one() -> None:
    result = invoke("--rows", "stage1-core-*")
    assert result.exit_code == 2
    assert "torch sees no CUDA device, and stage1-core-forward needs one; `--rows 'cpu-*'` runs here" in result.output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--rows", "stge1-core-forward"), "near it: stage1-core-forward"),
        (("--merge",), "--merge wants files"),
        (("missing.json",), "does not exist"),
        (("--tiny", "--resume", "--rows", "cpu-one-forward"), "name that file too"),
    ],
)
def test_what_is_asked_for_wrongly(arguments: tuple[str, ...], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_files_are_merged_and_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = dict(ALL.rows)
    (first, second), merged, picture = (tmp_path / "a.json", tmp_path / "b.json"), tmp_path / "c.json", tmp_path / "roof.png"
    replace(ALL, rows={"stage1-core-forward": rows.pop("stage1-core-forward")}).write(first)
    replace(ALL, rows=rows).write(second)
    options = ("--json", str(merged), "--png", str(picture))
    result = invoke("--merge", str(first), str(second), *options)
    assert result.exit_code == 1  # a row failed when it was measured
    assert document.read(merged) == ALL
    assert picture.exists()
    assert invoke("--merge", str(first), "--rows", "stage1*").exit_code == 0
    (tmp_path / "other.json").write_text("{}")
    result = invoke("--merge", str(first), str(tmp_path / "other.json"))
    assert result.exit_code == 2
    assert "other.json" in result.output


def test_tiny_rows_are_measured_and_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = machine.Limits(f"{machine.cpu_name()}, 1 threads", 1e9, 1e9)
    before = replace(ALL, limits=here, rows={"cpu-loop-forward": FIRST, "stage1-unfused-both": Row(failed="out of memory")})
    before.write("rows.json")
    rows = "cpu-loop-*,stage1-unfused-both"
    result = invoke("--rows", rows, "--resume", "--tiny", "--json", "rows.json", "--threads", "1")
    assert result.exit_code == 0, result.output
    numbered = [line for line in result.stderr.splitlines() if line.startswith("[")]
    assert numbered == ["[1/2] stage1-unfused-both", "[2/2] cpu-loop-backward"]
    assert result.stderr.count(" ms, spread ") == 2
    found = document.read("rows.json").rows
    assert found.keys() == {"cpu-loop-forward", "cpu-loop-backward", "stage1-unfused-both"}
    assert found["cpu-loop-forward"] == FIRST
    assert found["stage1-unfused-both"].median is not None
    assert all(name in result.stdout for name in found)


@pytest.mark.long
@pytest.mark.triton
def test_instructions_are_those_of_the_walking_loops() -> None:
    from types import SimpleNamespace

    from scanlang.bench import instructions
    from scanlang.codegen.driver import Job
    from scanlang.codegen.gpu.machine_code import compile_module

    text = "import std.selective\ngrid h, w\nscan s(dim) {\n  directions raster\n  recur selective(state = 1, rank = 1)\n}\n"
    job = Job(scanlang.loads(text), "s", "sm_90", (56, 56), 32, "bfloat16")
    codes = {code.report.name: code for code in compile_module(job.layout, 90)}

    def kernel(name: str) -> SimpleNamespace:
        variant = SimpleNamespace(asm={"cubin": codes[name].cubin})
        return SimpleNamespace(device_caches={0: ({"key": variant}, {})})

    built = SimpleNamespace(layout=job.layout, module=SimpleNamespace(forward=kernel("forward"), backward=kernel("backward")))
    reports = {name: code.report.instructions_per_step / code.report.channels_per_step for name, code in codes.items()}
    forward, both = (instructions.per_channel_step(built, backward, 90) for backward in (False, True))
    assert forward == pytest.approx(reports["forward"], rel=0.05)
    assert both == pytest.approx(reports["forward"] + reports["backward"], rel=0.05)
    built.module.forward.device_caches = {}
    assert instructions.per_channel_step(built, False, 90) is None


def test_tiny_sizes_are_tiny() -> None:
    assert all(stage.at(TINY).size.elements < 1000 for stage in stages.STAGES)
    assert stages.STAGES[0].at(Where("cuda")) == stages.STAGES[0]
    assert recurrences.size_of(recurrences.RECURRENCES[0], Where("cuda")).elements == 128 * 56 * 56 * 96
