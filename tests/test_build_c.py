"""Building C: the cache, its repair, several processes at once, and what is said when there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scanlang.codegen.cache import cache_folder
from scanlang.codegen.cpu import build_c
from scanlang.codegen.cpu.build_c import BuildError, find_compiler, load_c

TEXT = "int answer(void) { return 42; }\n"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SCANLANG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_text_and_code_are_kept_and_found_again(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_c(TEXT, "deep thought").answer() == 42
    (folder,) = own_cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["deep_thought.c", "deep_thought.sha256", "deep_thought.so"]
    assert (folder / "deep_thought.c").read_text() == TEXT
    monkeypatch.setattr(build_c, "_build", lambda *_: pytest.fail("built again"))
    assert load_c(TEXT, "deep thought").answer() == 42


@pytest.mark.parametrize("damage", [b"", b"\x7fELF garbage"], ids=["empty", "garbage"])
def test_a_corrupt_shared_object_is_built_again(damage: bytes) -> None:
    path = build_c.build_c(TEXT, "broken")
    path.unlink()
    path.write_bytes(damage)
    assert load_c(TEXT, "broken").answer() == 42


def test_another_text_or_processor_is_another_folder(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_c.build_c(TEXT, "a")
    build_c.build_c(TEXT.replace("42", "43"), "a")
    monkeypatch.setattr(build_c, "processor", lambda: "another")
    build_c.build_c(TEXT, "a")
    assert len(list(own_cache.iterdir())) == 3


def test_processes_build_at_once(own_cache: Path) -> None:
    code = f"from scanlang.codegen.cpu.build_c import load_c; assert load_c({TEXT!r}, 'same').answer() == 42"
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"SCANLANG_CACHE": str(own_cache)}) for _ in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(list(own_cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SCANLANG_CACHE", str(tmp_path / "file"))
    assert load_c(TEXT, "elsewhere").answer() == 42


def test_what_the_compiler_says_is_shown() -> None:
    with pytest.raises(BuildError, match=r"refused wrong\.c: .*\n(.*\n)*.*error"):
        load_c("int answer(void) { return }\n", "wrong")


def test_a_named_compiler_that_is_missing_means_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANLANG_CC", "no-such-compiler --fast")
    assert find_compiler() is None
    with pytest.raises(BuildError, match="SCANLANG_CC"):
        load_c(TEXT, "never")


def test_compilers_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("gcc", "mine"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SCANLANG_CC", raising=False)
    monkeypatch.delenv("CC", raising=False)
    assert find_compiler() == "gcc"
    monkeypatch.setenv("CC", "mine -m64")
    assert find_compiler() == "mine -m64"
    monkeypatch.setenv("CC", "absent")
    assert find_compiler() == "gcc"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SCANLANG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "scanlang"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "scanlang"
