"""Atomic writing: whole content or the old one, nothing left behind, permissions and links kept."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scanlang.files import write_atomically


def test_text_and_bytes_into_new_folders(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "a" / "b" / "text", "×\n").read_bytes() == b"\xc3\x97\n"
    assert write_atomically(str(tmp_path / "data"), b"\x00\r\n").read_bytes() == b"\x00\r\n"


def test_a_name_that_is_no_text_is_written_with_a_backslash(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "f", "x\udcff").read_bytes() == b"x\\udcff"


def test_a_new_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    written = write_atomically(tmp_path / "new", "")
    assert written.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_existing_file_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    (tmp_path / "f").chmod(0o604)
    write_atomically(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text() == "new"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o604


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("f")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_text() == "new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_text("old")

    def broken(*_arguments: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "f", "new")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"f": "old"}


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(OSError, match="f"):
        write_atomically(tmp_path / "f", "new")
    assert [each.name for each in tmp_path.iterdir()] == ["f"]


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [str(number) * 20_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(tmp_path / "f", content), contents))
    assert (tmp_path / "f").read_text() in contents
    assert [each.name for each in tmp_path.iterdir()] == ["f"]
