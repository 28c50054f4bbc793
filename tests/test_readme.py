"""README's programs, messages and Python are run as they stand there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from scanlang.cli import main

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks in a language (`""` for none), in the order of the text."""
    found: list[str] = []
    opened: str | None = None
    lines: list[str] = []
    for line in README.read_text(encoding="utf-8").splitlines():
        if not line.startswith("```"):
            lines.append(line)
        elif opened is None:
            opened, lines = line[3:], []
        else:
            if opened == language:
                found.append("\n".join(lines) + "\n")
            opened = None
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with README's program as mine.scan, to work in."""
    monkeypatch.chdir(tmp_path)
    (mine,) = (block for block in blocks("") if "scan mine(" in block)
    (tmp_path / "mine.scan").write_text(mine, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("program", [block for block in blocks("") if "\nscan " in block or "\nbackbone " in block])
def test_programs_are_clean_and_formatted(folder: Path, program: str) -> None:
    (folder / "program.scan").write_text(program, encoding="utf-8")
    for command in (["check"], ["fmt", "--diff"]):
        result = CliRunner().invoke(main, [*command, "program.scan"])
        assert result.exit_code == 0, result.output


def test_the_recurrence_is_clean(folder: Path) -> None:
    (recurrence,) = (block for block in blocks("") if block.startswith("recurrence "))
    scan = "scan s(dim) {\n  input x, g\n  directions raster\n  recur gated(state = 2)\n  project K, Q from x\n}\n"
    (folder / "program.scan").write_text(f"grid h, w\n{recurrence}{scan}", encoding="utf-8")
    result = CliRunner().invoke(main, ["check", "program.scan"])
    assert result.exit_code == 0, result.output


def test_the_message_is_what_check_prints(folder: Path) -> None:
    (message,) = (block for block in blocks("") if block.startswith("error"))
    (folder / "cross.scan").write_text("grid h, w\n\norder cols(t) = (t % h, t // w)\n", encoding="utf-8")
    assert CliRunner().invoke(main, ["check", "cross.scan"]).output == message


def test_the_property_tests_pass(folder: Path) -> None:
    (text,) = (block for block in blocks("python") if "hypothesis" in block)
    (folder / "test_mine.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "2 passed" in result.stdout, result.stdout + result.stderr


def test_the_python_runs(folder: Path) -> None:
    import torch

    (text,) = (block for block in blocks("python") if "Scan2d" in block)
    size, channels, directions, states, rank = (2, 56, 56), 96, 2, 4, 2
    names = {
        "x": torch.randn(*size, channels),
        "low": torch.randn(*size, directions, rank),
        "B": torch.randn(*size, directions, states),
        "C": torch.randn(*size, directions, states),
        "dt_weight": torch.randn(directions, channels, rank),
        "dt_bias": torch.randn(directions, channels),
        "A_log": torch.zeros(channels, states),
        "D": torch.ones(channels),
    }
    exec(compile(text, "README.md", "exec"), names)
    assert names["y"].shape == (*size, channels)
    assert names["y"].isfinite().all()
