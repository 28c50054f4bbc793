"""The programs that come with scanlang, imported and read by name: `std.vmamba` of the library, `backbones.vmamba`.

In: a name, or where a user says a program is; out: its text. Nothing else knows the library's folder.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from importlib.resources.abc import Traversable
from itertools import takewhile
from os import PathLike
from pathlib import Path

from scanlang.diagnostics import ScanError
from scanlang.errors import NoSuchLibraryProgram
from scanlang.source import Source, Span
from scanlang.syntax.text import decode_source, read_source

_SUFFIX = ".scan"
_NAME = re.compile(r"(std|backbones)\.(?!scan$)\w+")


def _folder(prefix: str) -> Traversable:
    return resources.files("scanlang.std") if prefix == "std" else resources.files("scanlang.backbones") / "programs"


def _programs(prefix: str) -> tuple[str, ...]:
    files = (file.name for file in _folder(prefix).iterdir())
    return tuple(sorted(f"{prefix}.{name.removesuffix(_SUFFIX)}" for name in files if name.endswith(_SUFFIX)))


def library() -> tuple[str, ...]:
    """The programs of the library, by name: `std.selective`."""
    return _programs("std")


def backbone_programs() -> tuple[str, ...]:
    """The programs of published networks, by name: `backbones.vmamba`."""
    return _programs("backbones")


def library_source(name: str) -> Source:
    """The text of a program of the library, or of a published network."""
    prefix, _, stem = name.partition(".")
    return decode_source(f"{prefix}/{stem}{_SUFFIX}", (_folder(prefix) / f"{stem}{_SUFFIX}").read_bytes())


def opening_comment(source: Source) -> tuple[str, ...]:
    """The lines of the comment that a program begins with."""
    comments = takewhile(lambda line: line.startswith("#"), source.text.lstrip().splitlines())
    return tuple(line.removeprefix("#").strip() for line in comments)


def names_library_program(path: str | PathLike[str]) -> bool:
    """Whether this is a name such as `std.vmamba`, and of no file."""
    return _NAME.fullmatch(os.fspath(path)) is not None and not Path(path).exists()


def program_source(path: str | PathLike[str]) -> tuple[Source, Path | None]:
    """The text of a file or of a program of the library, and the folder where its imports start.

    Raises OSError for a file that cannot be read, ScanError for a name that the library does not have.
    """
    if not names_library_program(path):
        return read_source(Path(path)), Path(path).resolve().parent
    name = os.fspath(path)
    known = (*library(), *backbone_programs())
    if name not in known:
        raise ScanError([NoSuchLibraryProgram(Span(Source(name, name), 0, len(name)), name, known)])
    return library_source(name), None
