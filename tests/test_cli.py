"""The command line: exit codes, no traceback for a user's mistake, and what a command may import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scanlang.cli import main

GOOD = """\
import std.selective

grid h, w
order rows = walk h, w  # row-major
order columns = walk w, h

scan cross(dim) {
  directions rows, reverse(columns)
  recur selective(state = 1, rank = 2)
  project low, B, C from x
  merge sum
}
"""
UNTIDY = "grid   h,w\norder rows=walk h,w   # kept\n"
BROKEN = "grid h, w\norder rows = wlak h, w\n"
NOT_A_BIJECTION = "grid h, w\norder cols(t) = (t % h, t // w)\n"
HEAVY = ("torch", "triton", "matplotlib", "sympy", "networkx")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    texts = {"good": GOOD, "untidy": UNTIDY, "broken": BROKEN, "twice": NOT_A_BIJECTION}
    for name, text in texts.items():
        (tmp_path / f"{name}.scan").write_text(text, encoding="utf-8")
    return tmp_path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    result = CliRunner().invoke(main, arguments, input=stdin)
    assert "Traceback" not in result.output
    return result


def in_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a Python of its own; its last line on stderr lists the heavy modules it imported."""
    code = (
        "import sys\nfrom scanlang.cli import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_check_is_clean(folder: Path) -> None:
    result = run("check", "good.scan", "--size", "7x5")
    assert result.exit_code == 0
    assert result.output.startswith("good.scan: ")


def test_check_of_several_files_shows_the_findings_of_all(folder: Path) -> None:
    result = run("check", "broken.scan", "good.scan", "twice.scan")
    assert result.exit_code == 1
    assert "broken.scan:2:" in result.output
    assert "good.scan: " in result.output
    assert "error[S201]" in result.output
    assert "twice.scan:2:" in result.output


def test_check_of_too_many_steps_is_a_finding(folder: Path) -> None:
    (folder / "unproved.scan").write_text("grid h, w\norder f(t) = ((t + 1) // w % h, (t + 1) % w)\n", encoding="utf-8")
    result = run("check", "unproved.scan", "good.scan", "--size", "40000x40000")
    assert result.exit_code == 1
    assert "error[S205]" in result.output
    assert "good.scan: " in result.output


def test_check_json(folder: Path) -> None:
    result = run("check", "--format", "json", "twice.scan", "broken.scan")
    assert result.exit_code == 1
    document = json.loads(result.output)
    assert document["version"] == 1
    finding = document["findings"][0]
    assert finding["code"] == "S201"
    assert finding["file"] == "twice.scan"
    assert finding["start"]["line"] == 2
    assert {each["file"] for each in document["findings"]} == {"twice.scan", "broken.scan"}


def test_check_json_of_a_clean_file_is_an_empty_list(folder: Path) -> None:
    result = run("check", "--format", "json", "good.scan")
    assert result.exit_code == 0
    assert json.loads(result.output)["findings"] == []


def test_check_reads_standard_input(folder: Path) -> None:
    assert run("check", "-", stdin=GOOD).exit_code == 0
    result = run("check", "-", stdin=BROKEN)
    assert result.exit_code == 1
    assert "<stdin>:2:" in result.output


@pytest.mark.parametrize("data", [b"grid h, w\n\x00", b"grid h\xff", b"\xfe\xff" * 9, b"x" * 1_000_001, b"(" * 9000])
def test_bytes_that_are_no_program_are_findings(folder: Path, data: bytes) -> None:
    (folder / "bad.scan").write_bytes(data)
    for command in ("check", "fmt", "show"):
        result = run(command, "bad.scan")
        assert result.exit_code == 1, result.output
        assert "bad.scan:" in result.output
    assert (folder / "bad.scan").read_bytes() == data


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["check", "missing.scan"],
        ["check", "."],
        ["check", "good.scan", "--size", "8"],
        ["check", "good.scan", "--size", "0x4"],
        ["check", "good.scan", "--format", "yaml"],
        ["fmt", "missing.scan"],
        ["show", "good.scan", "nowhere"],
        ["show", "good.scan", "--size", "9000x9000", "-o", "o.svg"],
        ["show", "good.scan", "--size", "40x40"],
        ["show", "good.scan", "-o", "good.scan/o.svg"],
        ["compile", "good.scan"],
        ["compile", "good.scan", "-o", "out", "--target", "sm90"],
        ["compile", "good.scan", "-o", "out", "--dtype", "int8"],
        ["compile", "good.scan", "-o", "out", "--emit", "everything"],
        ["compile", "good.scan", "-o", "out", "--channels", "0"],
        ["compile", "good.scan", "-o", "out", "--target", "sm_10"],
        ["compile", "good.scan", "-o", "out", "--emit", "ptx"],
        ["compile", "good.scan", "-o", "out", "--emit", "triton"],
        ["compile", "good.scan", "-o", "out", "--emit", "c", "--target", "sm_90"],
        ["compile", "good.scan", "-o", "out", "--size", "99999x99999"],
        ["check", "good.scan", "--size", "99999x99999"],
        ["explain", "S999"],
        ["explane", "S201"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.output.strip()


def test_an_unreadable_folder_is_exit_code_2(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    result = run("show", "good.scan", "-o", "file/o.svg")
    assert result.exit_code == 2
    assert "file" in result.output


def test_a_file_without_orders_is_not_drawn(folder: Path) -> None:
    (folder / "empty.scan").write_text("", encoding="utf-8")
    result = run("show", "empty.scan", "-o", "o.svg")
    assert result.exit_code == 2
    assert "no order" in result.output
    assert not (folder / "o.svg").exists()


@pytest.mark.parametrize(("closed", "arguments", "status"), [(0, "check -", 2), (1, "check broken.scan", 1)])
def test_a_closed_stream_is_no_traceback(folder: Path, closed: int, arguments: str, status: int) -> None:
    code = (
        f"import os, sys; os.close({closed}); os.execv(sys.executable, [sys.executable, '-m', 'scanlang.cli', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", code, *arguments.split()]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == status
    assert "Traceback" not in result.stderr


@pytest.mark.triton
def test_an_architecture_that_triton_does_not_know(folder: Path) -> None:
    result = run("compile", "good.scan", "-o", "out", "--target", "sm_999", "--size", "8x8", "--channels", "32")
    assert result.exit_code == 2
    assert "sm_999" in result.output
    assert not (folder / "out").exists()


def test_a_mistake_of_our_own_is_exit_code_2(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr("scanlang.pipeline.check_text", broken)
    result = CliRunner().invoke(main, ["check", "good.scan"])
    assert result.exit_code == 2
    assert "KeyError" in result.output
    assert "report it" in result.output


def test_fmt_rewrites_and_then_leaves_alone(folder: Path) -> None:
    assert run("fmt", "untidy.scan").exit_code == 0
    text = (folder / "untidy.scan").read_text(encoding="utf-8")
    assert text != UNTIDY
    assert "# kept" in text
    again = run("fmt", "untidy.scan")
    assert (again.exit_code, again.output) == (0, "")
    assert run("fmt", "--check", "untidy.scan").exit_code == 0


def test_fmt_check_and_diff_write_nothing(folder: Path) -> None:
    checked = run("fmt", "--check", "untidy.scan")
    assert (checked.exit_code, checked.output) == (1, "would reformat untidy.scan\n")
    shown = run("fmt", "--diff", "untidy.scan")
    assert shown.exit_code == 1
    assert shown.output.startswith("--- untidy.scan\n+++ untidy.scan (formatted)\n@@ ")
    assert "-grid   h,w\n" in shown.output
    assert "+grid h, w\n" in shown.output
    assert (folder / "untidy.scan").read_text(encoding="utf-8") == UNTIDY


def test_fmt_of_standard_input(folder: Path) -> None:
    result = run("fmt", "-", stdin=UNTIDY)
    assert result.exit_code == 0
    assert run("fmt", "--check", "-", stdin=result.output).exit_code == 0


def test_fmt_goes_on_after_a_file_with_findings(folder: Path) -> None:
    result = run("fmt", "broken.scan", "untidy.scan")
    assert result.exit_code == 1
    assert (folder / "broken.scan").read_text(encoding="utf-8") == BROKEN
    assert (folder / "untidy.scan").read_text(encoding="utf-8") != UNTIDY


def test_fmt_makes_line_ends_line_feeds(folder: Path) -> None:
    tidy = run("fmt", "-", stdin=UNTIDY).output
    (folder / "windows.scan").write_bytes(tidy.replace("\n", "\r\n").encode())
    assert run("fmt", "--check", "windows.scan").exit_code == 1
    assert run("fmt", "windows.scan").exit_code == 0
    assert (folder / "windows.scan").read_bytes() == tidy.encode()


def test_fmt_keeps_permissions_and_links(folder: Path) -> None:
    (folder / "untidy.scan").chmod(0o640)
    (folder / "link.scan").symlink_to("untidy.scan")
    assert run("fmt", "link.scan").exit_code == 0
    assert (folder / "link.scan").is_symlink()
    assert (folder / "untidy.scan").stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in folder.iterdir() if each.name.startswith(".")) == []


def test_show_in_the_terminal(folder: Path) -> None:
    result = run("show", "good.scan", "columns", "--size", "2x3")
    assert result.exit_code == 0
    assert result.output == "columns\n0 2 4\n1 3 5\n"


def test_show_draws_every_order(folder: Path) -> None:
    result = run("show", "good.scan", "--size", "8x12", "-o", "pictures/o.svg")
    assert result.exit_code == 0, result.output
    svg = (folder / "pictures" / "o.svg").read_text(encoding="utf-8")
    assert ">rows</text>" in svg
    assert ">columns</text>" in svg


def test_show_suggests_a_name(folder: Path) -> None:
    assert "did you mean columns?" in run("show", "good.scan", "colums").output


def test_explain(folder: Path) -> None:
    result = run("explain", "s201")
    assert result.exit_code == 0
    assert "S201" in result.output


def test_version_names_the_packages() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("scanlang 0.1.0 (torch ")


def test_doctor_says_what_runs_here() -> None:
    result = run("doctor")
    assert result.exit_code == 0
    assert {"python", "torch", "triton", "compiler", "gpu"} <= {line.split()[0] for line in result.output.splitlines()}


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
    ids=["pipe", "forced", "refused"],
)
def test_colour(folder: Path, environment: dict[str, str], coloured: bool) -> None:
    for arguments in (("check", "broken.scan"), ("show", "good.scan")):
        assert ("\x1b[" in in_process(*arguments, cwd=folder, **environment).stdout) == coloured


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["check", "good.scan"],
        ["check", "good.scan", "--size", "14x14"],
        ["check", "broken.scan"],
        ["fmt", "--check", "good.scan"],
        ["show", "good.scan", "--size", "8x12", "-o", "o.svg"],
        ["explain", "S201"],
    ],
    ids=" ".join,
)
def test_start_up_imports_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    result = in_process(*arguments, cwd=folder)
    assert result.returncode in (0, 1)
    assert result.stderr.splitlines()[-1] == "[]", result.stderr
