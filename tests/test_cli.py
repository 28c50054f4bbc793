"""The command line: exit codes, no traceback for a user's mistake, and what a command may import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from scanlang.cli import main
from scanlang.library import library

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
LAYERED = """\
import std.selective

grid t, h, w
order tokens = insert(raster, cls at head)
order given = input

scan pair(dim) {
  layers list (tokens, given), (reset(columns, every w), dilate(raster, 2))
  uncovered = 0
  recur selective(state = 1, rank = 2)
  project low, B, C from x
  use norm = layer_norm(dim)
  merge norm(y[0]) + y[1]
}
"""
HEAVY = ("torch", "triton", "matplotlib", "sympy", "networkx")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    texts = {"good": GOOD, "untidy": UNTIDY, "broken": BROKEN, "twice": NOT_A_BIJECTION, "layered": LAYERED}
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
        ["show", "good.scan", "--size", "4x8x8"],
        ["show", "layered.scan", "--size", "8x8"],
        ["show", "layered.scan", "--layer", "-1"],
        ["show", "layered.scan", "given"],
        ["check", "good.scan", "--size", "8x8x8x8x8"],
        ["compile", "good.scan", "-o", "out", "--size", "8"],
        ["list", "nothing", "like", "that"],
        ["show", "good.scan", "-o", "good.scan/o.svg"],
        ["compile", "good.scan"],
        ["compile", "good.scan", "-o", "out", "--target", "sm90"],
        ["compile", "good.scan", "-o", "out", "--dtype", "int8"],
        ["compile", "good.scan", "--emit", "report"],
        ["compile", "good.scan", "--emit", "adjoint", "--format", "html"],
        ["compile", "good.scan", "--emit", "kernels", "--format", "latex"],
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
    for title in ("rows", "columns", "reverse(columns)"):
        assert svg.count(f">{title}</text>") == 1


def test_show_suggests_a_name(folder: Path) -> None:
    assert "did you mean columns?" in run("show", "good.scan", "colums").output


def test_show_of_a_scan_draws_its_directions(folder: Path) -> None:
    result = run("show", "good.scan", "cross", "--size", "2x2")
    assert result.output == "rows\n0 1\n2 3\n\nreverse(columns)\n3 1\n2 0\n"


def test_show_of_another_layer_with_tokens_restarts_and_three_axes(folder: Path) -> None:
    first = run("show", "layered.scan", "pair", "--size", "2x2x2")
    assert first.stderr == "given is not drawn: it is given with the call\n"
    assert first.stdout == "tokens\n1 2   5 6\n3 4   7 8\ncls: 0\n"
    second = run("show", "layered.scan", "pair", "--size", "2x2x2", "--layer", "1")
    assert (
        second.stdout
        == "reset(columns, every w)\n0 4   1 5\n2 6   3 7\nrestarts: 4\n\ndilate(raster, 2)\n0 ·   · ·\n· ·   · ·\n"
    )
    assert second.stderr == ""
    beyond = run("show", "layered.scan", "--layer", "2")
    assert (beyond.exit_code, "error[S511]" in beyond.output) == (1, True)


def test_show_says_which_layer_it_draws() -> None:
    assert run("show", "std.adventurer", "--size", "2x2").stderr == "adventurer: layer 0 of 2; --layer 1 draws the next\n"
    assert run("show", "std.adventurer", "--size", "2x2", "--layer", "3").stderr == ""


def test_show_without_a_size_takes_one_that_the_program_has(folder: Path) -> None:
    np.save(folder / "mine.npy", np.arange(12)[::-1])
    (folder / "mine.scan").write_text('grid h, w\norder o = table("mine.npy")\n', encoding="utf-8")
    assert run("show", "mine.scan").output == "o\n11 10  9  8\n 7  6  5  4\n 3  2  1  0\n"
    assert run("show", "layered.scan", "tokens").output.count("\n") == 7


def test_a_size_of_other_axes_names_them(folder: Path) -> None:
    for command in (["check"], ["show"], ["compile", "-o", "out"]):
        result = run(*command, "good.scan", "--size", "4x8x8")
        assert result.exit_code == 2
        assert "--size 4x8x8: the grid of good.scan has 2 axes, h, w; 8x12 would do" in result.output
    assert not (folder / "out").exists()


def test_check_says_what_directions_do_not_show(folder: Path) -> None:
    assert run("check", "layered.scan").output == (
        "layered.scan: 4 orders proved for every size; scan pair: 2 layers, token cls, given with the call: given, "
        "1 of 4 orders leaves out cells, cells that none visits are 0, merge in two passes\n"
    )
    assert run("check", "good.scan").output == "good.scan: 3 orders proved for every size\n"


def test_check_names_scans_that_are_alike_together() -> None:
    assert "; scans vim_v2, vim_v1, vim_head_token: token cls; " in run("check", "std.vim").output


def test_library_programs_stand_for_files(folder: Path) -> None:
    assert run("check", "std.vmamba", "good.scan").output.startswith("std.vmamba: ")
    assert run("fmt", "--check", "std.vmamba").exit_code == 0
    assert run("show", "std.vortexmamba", "--size", "3x3").output == "outwards\n8 7 6\n1 0 5\n2 3 4\n"
    (folder / "std.vortexmamba").write_text("grid h, w\norder mine = walk w, h\n", encoding="utf-8")
    assert run("show", "std.vortexmamba", "--size", "1x2").output == "mine\n0 1\n"


def test_a_library_program_that_there_is_not_is_a_finding(folder: Path) -> None:
    for command in (["check"], ["fmt"], ["show"], ["compile", "-o", "out"]):
        result = run(*command, "std.vmanba")
        assert result.exit_code == 1
        assert "error[S520]: the library has no program `std.vmanba`" in result.output
        assert "did you mean `std.vmamba`?" in result.output
        assert "`scanlang list`" in result.output
    assert run("check", "std.scan").exit_code == 2


def test_library_programs_are_not_rewritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scanlang.syntax.format.format_text", lambda source: f"# tidied\n{source.text}")
    result = run("fmt", "std.vortexmamba")
    assert result.exit_code == 2
    assert "not rewritten" in result.output
    assert run("fmt", "--diff", "std.vortexmamba").exit_code == 1


def test_list_has_a_line_for_every_program() -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["program", *library()]
    (line,) = (line for line in lines if line.startswith("std.zigma "))
    assert "  ◆•→→→↓←←←↓→→→ " in line
    assert "  h, w " in line
    assert "  1×8 " in line
    assert line.endswith("  ZigMa: one of the eight snakes per layer, what conditions it as a token at the head")


def test_list_with_words_shows_scans() -> None:
    lines = run("list", "Fractal").stdout.splitlines()
    shown = ["program", "std.fractal", "fractalmamba:", "pointmamba:", "pointmamba_serialised:"]
    assert [line.split()[0] for line in lines] == shown
    assert lines[3] == "    pointmamba: concat(hilbert, transpose(hilbert))"
    assert run("list", "vim_alternating").stdout.splitlines()[-1] == "    vim_alternating, 2 layers: middle; reverse(middle)"
    assert "std.selective" not in run("list", "hilbert").stdout


def test_list_for_tools() -> None:
    document = json.loads(run("list", "--json").stdout)
    assert document["version"] == 1
    assert [program["name"] for program in document["programs"]] == list(library())
    (vim,) = (program for program in document["programs"] if program["name"] == "std.vim")
    assert vim["axes"] == ["h", "w"]
    assert vim["picture"] == "•→→→⇙→◆→→⇙→→→"
    assert vim["scans"][-1] == {"name": "vim_alternating", "layers": [["middle"], ["reverse(middle)"]]}
    assert all(program["about"] and program["comment"] for program in document["programs"])


def test_list_says_how_far_it_is_on_a_slow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("scanlang.cli.SLOW", -1.0)
    monkeypatch.setattr("scanlang.cli.show_progress", said.append)
    assert run("list", "localv").exit_code == 0
    assert said == ["reading the library: 0 of 2", "reading the library: 1 of 2", ""]


def test_list_in_ascii(tmp_path: Path) -> None:
    result = in_process("list", "vim_v2", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert "o>>>/>#>>/>>>" in result.stdout
    assert " 2 2 2 2 2 1x2 " in result.stdout
    assert result.stdout.isascii()


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
        ["check", "layered.scan"],
        ["show", "layered.scan", "--layer", "1"],
        ["list", "vim"],
    ],
    ids=" ".join,
)
def test_start_up_imports_nothing_heavy(folder: Path, arguments: list[str]) -> None:
    result = in_process(*arguments, cwd=folder)
    assert result.returncode in (0, 1)
    assert result.stderr.splitlines()[-1] == "[]", result.stderr


def test_text_is_printed_where_no_folder_is_given(folder: Path) -> None:
    text, latex = (run("compile", "good.scan", "--emit", "adjoint", "--format", form) for form in ("text", "latex"))
    assert text.exit_code == latex.exit_code == 0
    assert text.output.startswith("recurrence selective    # ")
    assert latex.output.startswith("\\section*{Recurrence selective}")
    assert run("compile", "good.scan", "--emit", "adjoint", "--format", "latex", "-o", "out").exit_code == 0
    assert [path.name for path in (folder / "out").iterdir()] == ["cross.adjoint.tex"]
    assert (folder / "out" / "cross.adjoint.tex").read_text() == latex.output
    assert "needs --emit adjoint" in run("compile", "good.scan", "-o", "out", "--format", "latex").output
    assert "-o out" in run("compile", "good.scan").output


def test_what_is_made_of_a_whole_program_needs_no_scan(folder: Path) -> None:
    (folder / "orders.scan").write_text("grid h, w\norder down = walk w, h\norder round = spiral\n")
    maps = run("compile", "orders.scan", "--emit", "maps")
    assert maps.exit_code == 0
    assert maps.output.startswith("order down    # proved for every size")
    assert "\norder round    # " in maps.output
    assert run("compile", "orders.scan", "--emit", "syntax", "--emit", "maps", "-o", "out").exit_code == 0
    assert {path.name for path in (folder / "out").iterdir()} == {"orders.syntax.txt", "orders.maps.txt"}
    assert "the program has no scan" in run("compile", "orders.scan", "--emit", "graph").output


def test_a_choice_of_scans_is_an_option_here(folder: Path) -> None:
    clauses = "directions raster recur selective_one(rank = 1) project low, B, C from x"
    scans = (f"scan {name}(dim) {{ {clauses} }}" for name in "ab")
    (folder / "two.scan").write_text("\n".join(("import std.selective_one", *scans)))
    result = run("compile", "two.scan", "--emit", "graph")
    assert result.exit_code == 1
    assert "say which: `--scan` one of `selective_one2d`, `a` and `b`" in result.output


def test_a_block_is_not_compiled_alone(folder: Path) -> None:
    block = "block mixer(dim) { core = selective_one2d(dim) forward x = core(x) }"
    (folder / "block.scan").write_text(f"import std.selective_one {block}")
    result = run("compile", "block.scan", "--scan", "mixer", "-o", "out")
    assert result.exit_code == 1
    assert "`mixer` is a block, not a scan" in result.output
    assert 'the scan is `selective_one2d`; a block is a module, `scanlang.Block(program, "mixer")`' in result.output
