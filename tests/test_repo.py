"""The checkout itself: constraints that agree, generated documents that are current, commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_two_sets_of_constraints_differ_in_triton_and_numpy_only() -> None:
    usual, newest = pins("constraints.txt"), pins("constraints-newest.txt")
    assert usual.keys() == newest.keys()
    assert {name for name in usual if usual[name] != newest[name]} == {"triton", "numpy"}


def test_every_documented_make_command_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets, document


def test_generated_documents_are_current() -> None:
    script = ROOT / "docs" / "generate.py"
    result = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("marker", ["long", "gpu", "triton", "interpreter"])
def test_markers_are_run_by_the_makefile(marker: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert marker in makefile


def test_every_folder_of_code_is_in_the_distribution() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    folders = {"scanlang": ROOT / "scanlang", "scanlang.codegen": ROOT / "codegen", "scanlang.backbones": ROOT / "backbones"}
    found = {
        ".".join((name, *file.parent.relative_to(folder).parts))
        for name, folder in folders.items()
        for file in folder.rglob("*.py")
    }
    assert found == listed
