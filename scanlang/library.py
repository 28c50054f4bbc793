"""The standard library: programs that come with scanlang, imported and read by the name `std.vmamba`.

In: a name, or where a user says a program is; out: its text. Nothing else knows the library's folder.
"""

from __future__ import annotations

import os
import re
from importlib import resources
from itertools import takewhile
from os import PathLike
from pathlib import Path

from scanlang.diagnostics import ScanError
from scanlang.errors import NoSuchLibraryProgram
from scanlang.source import Source, Span
from scanlang.syntax.text import decode_source, read_source

_PREFIX, _SUFFIX = "std.", ".scan"
_NAME = re.compile(r"std\.(?!scan$)\w+")


def library() -> tuple[str, ...]:
    """The programs of the library, by name: `std.selective`."""
    files = resources.files("scanlang.std").iterdir()
    return tuple(sorted(f"{_PREFIX}{file.name.removesuffix(_SUFFIX)}" for file in files if file.name.endswith(_SUFFIX)))


def library_source(name: str) -> Source:
    """The text of a program of the library."""
    file = f"{name.removeprefix(_PREFIX)}{_SUFFIX}"
    return decode_source(f"std/{file}", (resources.files("scanlang.std") / file).read_bytes())


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
    known = library()
    if name not in known:
        raise ScanError([NoSuchLibraryProgram(Span(Source(name, name), 0, len(name)), name, known)])
    return library_source(name), None
