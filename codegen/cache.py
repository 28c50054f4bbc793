"""Where generated text and built code are kept, and how files get there: whole or not at all."""

from __future__ import annotations

import functools
import os
import tempfile
from pathlib import Path

from scanlang.files import write_atomically


def cache_folder() -> Path:
    """`SCANLANG_CACHE`, else `scanlang` in `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("SCANLANG_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "scanlang"


@functools.cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="scanlang-"))


def writable_cache() -> Path:
    """The cache folder, or one of this process's own where that cannot be written."""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):
        return _temporary_folder()


def keep_text(name: str, text: str) -> Path:
    """The file `name` of the cache with just this text in it."""
    path = writable_cache() / name
    try:
        if path.read_text(encoding="utf-8") == text:
            return path
    except (OSError, UnicodeDecodeError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write_atomically(path, text)
