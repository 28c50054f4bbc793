"""Where generated and built files live, and how they get there: once, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """`$SCANLANG_CACHE`, else `$XDG_CACHE_HOME/scanlang`, else `~/.cache/scanlang`."""
    given = os.environ.get("SCANLANG_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scanlang"


def write_once(path: Path, text: str) -> None:
    """Write a file whose name says its content, unless it is there. Others see it whole or not at all."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)
