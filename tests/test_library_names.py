"""Where the library is: names of its programs, for `import` and in the place of files."""

from __future__ import annotations

from pathlib import Path

import pytest

import scanlang
from scanlang.library import library, library_source, names_library_program, opening_comment
from scanlang.source import Source


def test_every_program_is_imported_and_loaded_by_the_same_name() -> None:
    assert {"std.selective", "std.orders", "std.vmamba"} <= set(library())
    program = scanlang.load("std.vmamba")
    assert program.source == library_source("std.vmamba")
    imported = scanlang.loads("import std.vmamba")
    assert imported.checked.scans == program.checked.scans


def test_a_path_is_as_good_as_text() -> None:
    assert scanlang.load(Path("std.vim")).source.name == "std/vim.scan"


def test_a_file_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("std.vim").write_text("grid h, w\norder mine = walk w, h\n", encoding="utf-8")
    assert list(scanlang.load("std.vim").orders) == ["mine"]


def test_a_misspelt_name_is_a_finding() -> None:
    with pytest.raises(scanlang.ScanError, match=r"did you mean `std\.plainmamba`"):
        scanlang.load("std.plain_mamba")
    with pytest.raises(scanlang.ScanError, match=r"has no program `std\.x`"):
        scanlang.load("std.x")


@pytest.mark.parametrize("name", ["std.scan", "std", "std.", "std.a.scan", "./std.vim", "std/vim.scan", "vim"])
def test_what_is_a_file_that_is_missing(name: str) -> None:
    assert not names_library_program(name)
    with pytest.raises(OSError):
        scanlang.load(name)


def test_the_comment_that_a_program_opens_with() -> None:
    assert opening_comment(Source("a", "\n# one\n#  two\n\n# three\ngrid h, w")) == ("one", "two")
    assert opening_comment(Source("a", "grid h, w  # none")) == ()


@pytest.mark.parametrize("grid", ["l", "h, w", "t, h, w", "s, t, h, w"])
def test_a_recurrence_comes_to_a_program_on_any_grid(grid: str) -> None:
    """The scans beside it come along on two axes only; the file's own scan needs no name."""
    scan = "scan mine(dim) { directions raster  recur ssd(state = 2, head = 2)  project dt, B, C from x }"
    program = scanlang.loads(f"import std.ssd\ngrid {grid}\n{scan}")
    assert program.scan_name() == "mine"
    assert ("ssd2d" in program.scans) == (grid == "h, w")


def test_orders_do_not() -> None:
    with pytest.raises(scanlang.ScanError, match="S151"):
        scanlang.loads("import std.v2m\ngrid t, h, w\norder o = walk t, h, w")
