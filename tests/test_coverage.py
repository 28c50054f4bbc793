"""docs/coverage.md and the library agree: every row of the catalogue is there, every program named exists, none is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scanlang

ROOT = Path(__file__).parents[1]
STATES = {"here", "refused"}
RECURRENCES = {
    "selective", "selective_one", "ssd", "retention", "gla", "linear_attention", "rg_lru", "mingru", "hgrn", "s4d", "ema",
    "mlstm", "wkv",
}  # fmt: skip
"""Files of recurrences, which are in docs/recurrences.md; Hydra is a design too."""
ELSEWHERE = {"orders", *RECURRENCES}
NO_DESIGN = {("std.hydra", "hydra2d")}
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in re.sub(r"\|(?= *\|)", "| ", (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")).splitlines()
    if re.match(r"\| *(\d+)? *\| [^d-]", line) and "design" not in line
]


def programs_of(cell: str) -> list[tuple[str, str]]:
    """`std.vim` `vim_v1`, `backbones.vim` `layer_pair` → (std.vim, vim_v1), (backbones.vim, layer_pair)."""
    found, file = [], ""
    for name in re.findall(r"`([^`]+)`", cell):
        if "." in name:
            file = name
        else:
            found.append((file, name))
    return found


def test_every_row_of_the_catalogue_is_there() -> None:
    numbers = [int(row[0]) for row in ROWS if row[0]]
    assert sorted(numbers) == list(range(1, 61))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_row(row: list[str]) -> None:
    programs, state = programs_of(row[2]), row[3]
    assert state in STATES
    assert bool(programs) != (state == "refused")
    for file, name in programs:
        program = scanlang.load(file)
        assert name in program.scans or name in program.blocks


def test_every_scan_and_block_of_the_library_is_named() -> None:
    named = {pair for row in ROWS for pair in programs_of(row[2]) if pair[0].startswith("std.")}
    files = {f"std.{path.stem}" for path in (ROOT / "scanlang" / "std").glob("*.scan")} - {f"std.{file}" for file in ELSEWHERE}
    own = {(file, name) for file in files for name in defined_in(file)}
    assert named == own - NO_DESIGN


def defined_in(file: str) -> list[str]:
    program = scanlang.load(file)
    return [name for name, made in {**program.scans, **program.blocks}.items() if made.span.source == program.source]


# docs/recurrences.md

LISTED = [
    [cell.strip() for cell in line.strip("|").replace("\\|", "/").split(" | ")]
    for line in (ROOT / "docs" / "recurrences.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| `")
]


def names(cell: str) -> str:
    (name,) = re.findall(r"`([\w.]+)`", cell)
    return str(name).removeprefix("std.")


def test_every_recurrence_of_the_library_is_listed() -> None:
    defined = set()
    for path in (ROOT / "scanlang" / "std").glob("*.scan"):
        text = path.read_text(encoding="utf-8")
        defined |= {(name, path.stem) for name in re.findall(r"^recurrence (\w+)", text, re.MULTILINE)}
    assert {(names(row[0]), names(row[1])) for row in LISTED} == defined


@pytest.mark.parametrize("row", LISTED, ids=lambda row: names(row[0]))
def test_states_are_as_many_as_listed(row: list[str]) -> None:
    """`2N + 1`: two states with an entry for every `state`, and one number."""
    file = names(row[1])
    program = scanlang.load(f"std.{'vmamba' if file == 'selective' else file}")
    scan = next(name for name, scan in program.scans.items() if scan.recurrence.name == names(row[0]))
    states = [update.indices for update in program.operator_graph(scan).step.states if not update.name.startswith("conv.")]
    indexed, single = sum(map(bool, states)), sum(not indices for indices in states)
    many = f"{indexed if indexed > 1 else ''}N" if indexed else ""
    assert row[3] == " + ".join(filter(None, (many, str(single) if single or not indexed else "")))
