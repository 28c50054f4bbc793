"""The checkout itself: constraints that agree, generated documents that are current, commands that exist."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Collection
from itertools import chain, combinations
from pathlib import Path

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


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def markers() -> list[str]:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    return [marker.split(":")[0] for marker in options["markers"]]


def selections() -> dict[str, str]:
    """What each target of the Makefile runs of the tests, as pytest's expression of markers."""
    variables = dict(re.findall(r"^(\w+) :?= (.*)$", makefile(), re.MULTILINE))
    targets = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", makefile(), re.MULTILINE)
    found = {}
    for target, recipe in targets:
        if called := re.search(r"\$\(call run_tests,[^,]+,\$\((\w+)\)\)", recipe):
            found[target] = variables[called[1]]
        elif plain := re.search(r"-m pytest .*-m (\w+)", recipe):
            found[target] = plain[1]
    return found


def targets_of_ci() -> list[str]:
    commands = re.search(r"^commands=\((.*)\)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert commands is not None
    return re.findall(r"make ([a-z-]+)", commands[1])


def selects(expression: str, marked: Collection[str]) -> bool:
    """pytest's expressions of markers are Python's."""
    return bool(eval(expression, {}, {marker: marker in marked for marker in markers()}))


def test_the_targets_that_run_tests_are_known() -> None:
    assert selections().keys() == {"test", "test-long", "test-newest", "gpu-test"}
    assert selections().keys() - set(targets_of_ci()) == {"gpu-test"}


def test_every_marker_matters_to_a_target() -> None:
    for marker in set(markers()) - {"interpreter"}:
        assert any(selects(expression, [marker]) != selects(expression, []) for expression in selections().values()), marker
    (run_tests,) = re.findall(r"^define run_tests\n(.*?)^endef$", makefile(), re.MULTILINE | re.DOTALL)
    assert re.search(r'TRITON_INTERPRET=1 .* -m "\$\(2\)" tests/interpreter ', run_tests)


def test_every_test_is_run_by_ci_unless_it_needs_a_gpu() -> None:
    ci = [expression for target, expression in selections().items() if target in targets_of_ci()]
    for marked in chain.from_iterable(combinations(markers(), count) for count in range(len(markers()) + 1)):
        assert any(selects(expression, marked) for expression in ci) == ("gpu" not in marked), marked
        assert selects(selections()["gpu-test"], marked) == ("gpu" in marked), marked


def test_the_examples_that_hypothesis_draws_in_ci_are_the_same_every_time() -> None:
    assert 'export CI="${CI:-1}"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_folder_of_code_is_in_the_distribution() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"])
    folders = {"scanlang": ROOT / "scanlang", "scanlang.codegen": ROOT / "codegen", "scanlang.backbones": ROOT / "backbones"}
    found = {
        ".".join((name, *file.parent.relative_to(folder).parts))
        for name, folder in folders.items()
        for file in folder.rglob("*.py")
    }
    assert found == listed
