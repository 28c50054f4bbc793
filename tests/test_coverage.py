"""docs/coverage.md and the library agree: every row of the catalogue is there, every program named exists, none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scanlang

ROOT = Path(__file__).parents[1]
STATES = {"here", "due with the recurrences", "due with the backbones", "refused"}
WITHOUT_SCANS = {"selective", "orders"}
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in re.sub(r"\|(?= *\|)", "| ", (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")).splitlines()
    if re.match(r"\| *(\d+)? *\| [^d-]", line) and "design" not in line
]


def scans_of(cell: str) -> list[tuple[str, str]]:
    """`std.vim` `vim_v1`, `vim_v2` → (vim, vim_v1), (vim, vim_v2)."""
    found, file = [], ""
    for name in re.findall(r"`([^`]+)`", cell):
        if name.startswith("std."):
            file = name.removeprefix("std.")
        else:
            found.append((file, name))
    return found


def test_every_row_of_the_catalogue_is_there() -> None:
    numbers = [int(row[0]) for row in ROWS if row[0]]
    assert sorted(numbers) == list(range(1, 61))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_row(row: list[str]) -> None:
    programs, state = scans_of(row[2]), row[3]
    assert state in STATES
    assert bool(programs) != (state == "refused") or row[1] in ("V2M", "Hydra")
    for file, scan in programs:
        assert scan in scanlang.load(f"std.{file}").scans


def test_every_scan_of_the_library_is_named() -> None:
    named = {pair for row in ROWS for pair in scans_of(row[2])}
    files = {path.stem for path in (ROOT / "scanlang" / "std").glob("*.scan")} - WITHOUT_SCANS
    assert named == {(file, scan) for file in files for scan in scanlang.load(f"std.{file}").scans if scan}
