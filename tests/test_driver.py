"""`scanlang compile`: what lands in the folder, for the CPU and for a GPU that is not there."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import scanlang
from scanlang.cli import main
from scanlang.codegen.driver import compile_to_folder

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
