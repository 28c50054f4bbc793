"""`scanlang compile`: what lands in the folder, for the CPU and for a GPU that is not there."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import scanlang
from scanlang.cli import main
from scanlang.codegen.account import direction_accounts
from scanlang.codegen.driver import Job, compile_to_folder

EXAMPLES = Path(__file__).parent.parent / "examples"
CROSS = EXAMPLES / "cross_scan.scan"
STAGES = ["syntax", "checked", "maps", "graph", "schedule", "kernels", "adjoint", "c", "report"]


def test_cpu_folder_has_the_text_its_shared_object_and_the_report(tmp_path: Path) -> None:
    written = compile_to_folder(CROSS, tmp_path / "out")
    assert {path.name for path in written} == {"cross_cpu.c", "cross_cpu.so", "report.txt", "report.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in written}
    library = ctypes.CDLL(str(tmp_path / "out" / "cross_cpu.so"))
    assert library.forward
    assert library.backward
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [one["order"] for one in report["directions"]] == ["rows", "columns", "reverse(rows)", "reverse(columns)"]
    assert all("proved for every size" in one["proof"] for one in report["directions"])
    assert report["sizes"] == {"state": 1, "rank": 6}
    assert report["forward"]["ideal"] == 56 * 56 * 4 * (96 + 96 + 4 * (6 + 1 + 1))
    assert report["forward"]["moved"] >= report["forward"]["ideal"]
    assert report["forward_operations"]["transcendental"] == 3
    assert [kernel["name"] for kernel in report["kernels"]] == ["forward", "backward"]
    assert "// cross_scan.scan:13\n" in (tmp_path / "out" / "cross_cpu.c").read_text()


@pytest.mark.parametrize("what", STAGES)
def test_emit_writes_only_what_it_names(what: str, tmp_path: Path) -> None:
    written = compile_to_folder(CROSS, tmp_path, size=(8, 6), channels=32, emits=[what])
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written}
    assert all(path.stat().st_size for path in written)
    assert len(written) == (2 if what == "report" else 1)


def test_the_same_text_every_time(tmp_path: Path) -> None:
    first = compile_to_folder(CROSS, tmp_path / "a", emits=["c", "kernels"])
    second = compile_to_folder(CROSS, tmp_path / "b", emits=["c", "kernels"])
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_wrong_program_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "wrong.scan").write_text("grid h, w\norder f(t) = (t % h, t // w)\n")
    with pytest.raises(scanlang.ScanError):
        compile_to_folder(tmp_path / "wrong.scan", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.triton
def test_sm_90_without_a_gpu(tmp_path: Path) -> None:
    arguments = ["compile", str(CROSS), "-o", str(tmp_path), "--target", "sm_90", "--size", "14x14", "--channels", "64"]
    result = CliRunner().invoke(main, [*arguments, "--dtype", "bf16"])
    assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()}
    assert {"cross_sm_90.py", "report.txt", "report.json"} <= names
    report = json.loads((tmp_path / "report.json").read_text())
    for kernel in report["kernels"]:
        assert f"cross_sm_90.{kernel['name']}.ptx" in names
        assert (tmp_path / f"cross_sm_90.{kernel['name']}.cubin").read_bytes()[:4] == b"\x7fELF"
        assert 16 <= kernel["registers"] <= 255
        assert kernel["spills"] == 0
        assert kernel["shared"] is not None
    steps = {kernel["name"]: kernel["instructions_per_step"] for kernel in report["kernels"]}
    assert steps["forward"] > 10
    assert steps["backward"] > steps["forward"]
    assert steps["merge"] is None


PROGRAM = """import std.selective
grid h, w
order vim    = insert(raster, cls at middle)
order padded = window(raster, 8, 8, pad = decay)
scan tested(dim, state = 2, rank = 2) {{ recur selective(state = state, rank = rank)  {clauses} }}
"""


def report_of(clauses: str, folder: Path, text: str = PROGRAM, **options: Any) -> tuple[dict[str, Any], str]:
    """The report as JSON and as text."""
    (folder / "tested.scan").write_text(text.format(clauses=clauses))
    options = {"size": (5, 6), "channels": 32, **options}
    compile_to_folder(folder / "tested.scan", folder / "out", emits=["report"], **options)
    return json.loads((folder / "out" / "report.json").read_text()), (folder / "out" / "report.txt").read_text()


def test_the_report_says_steps_tokens_and_pads(tmp_path: Path) -> None:
    report, text = report_of("directions vim, padded, dilate(raster, 2)", tmp_path)
    assert report["grid"] == {"h": 5, "w": 6}
    assert [one["steps"] for one in report["directions"]] == [31, 64, 9]
    assert report["tokens"] == {"cls": 1}
    assert report["pads"] == 34
    assert "31 steps, addresses from a table: on the CPU always" in text
    assert "tokens    1 cls\npads      34\n" in text


@pytest.mark.parametrize(
    ("clauses", "rule", "passes", "why"),
    [
        ("directions raster", "sum", 1, "one direction"),
        ("directions raster, columns merge mean", "mean", 1, "added up"),
        ("directions raster, columns merge max", "max", 1, "outputs of a cell"),
        ("directions raster, columns merge weighted", "weighted", 1, "added up"),
        ("directions raster, columns merge concat", "concat", 1, "beside the others'"),
        ("directions raster, columns channels split merge concat", "concat", 1, "channels of its own"),
        ("directions raster, columns merge y[0] * y[1]", "y[0] * y[1]", 1, "outputs of a cell"),
        ("directions raster, columns merge y[0] * mean(cells: y[1])", "y[0] * mean(cells: y[1])", 2, "means over all cells"),
        ("directions raster use g = linear(dim, dim) merge g(y[0])", "g(y[0])", 2, "calls g"),
    ],
)
def test_the_report_says_how_directions_come_together(clauses: str, rule: str, passes: int, why: str, tmp_path: Path) -> None:
    report, text = report_of(clauses, tmp_path)
    assert (report["merge"]["rule"], report["merge"]["passes"]) == (rule, passes)
    assert why in report["merge"]["why"]
    assert f"merge     {rule}\n          {'one pass' if passes == 1 else 'two passes'}: " in text


@pytest.mark.parametrize(
    ("clauses", "inside", "before", "why"),
    [
        ("conv 3", True, False, "every direction's own time"),
        ("conv 3 project low, B from x", True, True, "low, B are projected from what it makes"),
        ("conv 3 along vim", False, True, "it runs along vim"),
        ("conv 3 along columns share conv", False, True, "it runs along columns"),
    ],
)
def test_the_report_says_where_the_convolution_is(clauses: str, inside: bool, before: bool, why: str, tmp_path: Path) -> None:
    report, text = report_of(f"directions vim, raster {clauses}", tmp_path)
    conv = report["conv"]
    assert (conv["source"], conv["width"], conv["inside"], conv["before"]) == ("x", 3, inside, before)
    assert why in conv["why"]
    assert "conv      3 steps of x, " in text
    assert ("conv forward" in [kernel["name"] for kernel in report["kernels"]]) == before


def test_the_pass_before_has_modules_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "p.scan").write_text(PROGRAM.format(clauses="directions raster, columns conv 3 project low, B, C from x"))
    written = compile_to_folder(tmp_path / "p.scan", tmp_path / "out", size=(5, 6), channels=32)
    modules = {f"{stem}_cpu.{kind}" for stem in ("tested", "tested_conv") for kind in ("c", "so")}
    assert {path.name for path in written} == {*modules, "report.txt", "report.json"}


@pytest.mark.parametrize(
    ("clauses", "addresses", "why"),
    [
        ("directions raster, reverse(raster)", "arithmetic", ("runs of 176 steps", "runs of 176 steps")),
        ("directions raster, diagonal", "table", ("for all directions or for none", "no loops")),
        ("directions vim, raster", "table", ("tokens", "for all directions or for none")),
        ("directions (walk w by 11, h, w), raster", "table", ("runs of 11 steps", "for all directions or for none")),
        ("directions raster, raster operands B along columns", "table", ("another order", "another order")),
        ("directions raster, reset(raster, every h)", "table", ("", "restarts")),
        ("directions raster, concat(raster, columns)", "table", ("", "not every cell once")),
    ],
)
@pytest.mark.triton
def test_the_report_says_how_rows_are_found_on_a_gpu(
    clauses: str, addresses: str, why: tuple[str, str], tmp_path: Path
) -> None:
    report, text = report_of(clauses, tmp_path, target="sm_90", size=(8, 22))
    for one, expected in zip(report["directions"], why, strict=True):
        assert one["addresses"] == addresses
        assert expected in one["why"]
        assert f"{one['steps']} steps, " in text


def test_layers_axes_and_splits_have_sizes_of_their_own(tmp_path: Path) -> None:
    report, words = report_of("layers cycle (raster, columns), snake", tmp_path, layer=1)
    assert [one["order"] for one in report["directions"]] == ["snake"]
    assert ", layer 1\n" in words
    volume = PROGRAM.replace("grid h, w", "grid t, h, w").replace("8, 8, pad", "1, 8, 8, pad")
    report, _ = report_of("directions vim, padded", tmp_path, volume, size=None, channels=None)
    assert list(report["grid"]) == ["t", "h", "w"]
    report, _ = report_of("directions raster, columns channels split 3, 4", tmp_path, channels=None)
    assert report["channels"] == 98
    with pytest.raises(scanlang.ScanError, match="96 channels do not split 3 : 4"):
        report_of("directions raster, columns channels split 3, 4", tmp_path, channels=96)


HEADS = """grid h, w recurrence gated(state n, head p) {{ input x[p], a shared B[n], C[n] per 2 units
h[n, p] = sigmoid(a) * h[n, p] + B[n] * x[p]  y[p] = sum(n: C[n] * h[n, p]) }}
scan heads(dim, head = 20) {{ {clauses}  recur gated(state = 4, head = head)  project a, B, C from x }}"""


def test_channels_are_whole_heads_and_groups(tmp_path: Path) -> None:
    report, _ = report_of("directions raster, columns", tmp_path, HEADS, channels=None)
    assert (report["channels"], report["sizes"]) == (120, {"state": 4, "head": 20})
    # x and y, and for each direction `a` for 6 heads, and B and C of 4 entries for 3 groups
    assert report["forward"]["ideal"] == 5 * 6 * 4 * (120 + 120 + 2 * (6 + 2 * 3 * 4))
    compile_to_folder(tmp_path / "tested.scan", tmp_path / "out", emits=["kernels"])
    assert "B (one for 40 channels)" in (tmp_path / "out" / "heads_cpu.kernels.txt").read_text()
    with pytest.raises(scanlang.ScanError, match="the 100 channels do not divide into groups of 2 heads of 20 channels"):
        report_of("directions raster, columns", tmp_path, HEADS, channels=100)


def test_traffic_is_never_less_than_what_must_be_moved(tmp_path: Path) -> None:
    for clauses in ("directions dilate(raster, 2), padded, vim channels split 1, 2, 1", "directions vim, padded merge concat"):
        report, _ = report_of(f"{clauses} conv 3 uncovered = 0", tmp_path)
        for part in ("forward", "backward"):
            assert report[part]["moved"] >= report[part]["ideal"] > 0


SSD = "grid h, w import std.ssd scan s(dim) { directions raster recur ssd(state = 16, head = 64) project dt, B, C from x }"


@pytest.mark.triton
@pytest.mark.parametrize("dtype, addresses, why", [
    ("float64", "arithmetic", "runs of 1024 steps"),
    ("float32", "table", "matrix products take the rows of a chunk together"),
])  # fmt: skip
def test_rows_are_found_as_the_schedule_takes_the_steps(dtype: str, addresses: str, why: str, tmp_path: Path) -> None:
    """float64 has no matrix products."""
    path = tmp_path / "heads.scan"
    path.write_text(SSD)
    job = Job(scanlang.load(path), "s", "sm_90", (32, 32), 128, dtype)
    (found,) = direction_accounts(job.kernels, job.graph.traversal, job.size, job.target, job.schedule, {"raster": ""})
    assert (found.addresses, found.why) == (addresses, why)
    assert job.schedule.addressing == ("nest" if addresses == "arithmetic" else "table")


@pytest.mark.triton
def test_the_steps_of_matrix_products_are_not_counted_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "heads.scan"
    path.write_text(SSD)
    compile_to_folder(path, tmp_path, target="sm_90", size=(32, 32), channels=128, dtype="bfloat16", emits=["report"])
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["schedule"]["kind"] == "chunked"
    assert report["forward_operations"] is report["backward_operations"] is report["keep"]["run_again"] is None
    assert "the matrix products of a chunk are made again\n" in (tmp_path / "report.txt").read_text()
    assert "per step and channel" not in (tmp_path / "report.txt").read_text()


def test_the_report_says_what_is_kept(tmp_path: Path) -> None:
    compile_to_folder(CROSS, tmp_path, size=(8, 6), channels=32, emits=["report"])
    text, keep = (tmp_path / "report.txt").read_text(), json.loads((tmp_path / "report.json").read_text())["keep"]
    assert "saved     the states every 64 steps, 0.5 kB per image; from them the forward is run again,\n" in text
    assert "kept      of each such step h_0, exp_1, dt, exp_2: 16 bytes a channel\n" in text
    assert keep["saved_bytes"] == 4 * 32 * 4
    assert keep["all_bytes"] == 4 * 48 * 32 * 16
    assert keep["run_again"]["transcendental"] == 3
    assert keep["again"]["transcendental"] == 0
