"""A program as data that travels, in a file of weights for example: its text, and those of the files that it imports.

In: a `Program`. Out: what `json` writes, and the same program again from it, wherever that is. Programs of the library are
imported by name, so they are those of the scanlang that reads. What comes in may be anybody's: it is checked as any program
is, in a folder of its own, and nothing in it is run.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from scanlang.check.imports import outside
from scanlang.pipeline import check_text
from scanlang.program import Program
from scanlang.syntax.text import make_source

Bundle = dict[str, object]
"""`{"name": "mine.scan", "text": "…", "files": {"parts.scan": "…"}, "tables": {"spiral.npy": "base64 …"}}`."""

MOST_FILES = 1000


class NoBundle(Exception):
    """Why data is no program."""


def pack(program: Program) -> Bundle:
    """The program with the files that it needs, by their place below its folder."""
    checked = program.checked
    tables = {name: b64encode(array_bytes(array)).decode("ascii") for name, array in checked.tables.items()}
    return {
        "name": PurePath(program.source.name).name,
        "text": program.source.text,
        "files": dict(checked.files),
        "tables": tables,
    }


def unpack(bundle: object) -> Program:
    """What `pack` made. Raises NoBundle for what is none, ScanError for a program with mistakes.

    Backbones are not followed with the numbers of their defaults: who makes one follows it with its own.
    """
    if not isinstance(bundle, Mapping):
        raise NoBundle("a program is missing")
    name, text = (words(bundle, key) for key in ("name", "text"))
    files = {place: content.encode("utf-8", "surrogatepass") for place, content in named(bundle, "files").items()}
    files |= {place: decoded(place, content) for place, content in named(bundle, "tables").items()}
    if len(files) > MOST_FILES:
        raise NoBundle(f"a program imports {len(files)} files, more than {MOST_FILES}")
    source = make_source(name, text)
    if not files:
        return Program(source, check_text(source, numbers=False))
    with TemporaryDirectory(prefix="scanlang-") as folder:
        for place, content in files.items():
            write(Path(folder), place, content)
        return Program(source, check_text(source, folder, numbers=False))


def array_bytes(array: NDArray[np.integer]) -> bytes:
    """As `numpy.save` writes it, in as few bytes as hold the numbers."""
    file = BytesIO()
    np.save(file, array.astype(np.min_scalar_type(array.max())), allow_pickle=False)
    return file.getvalue()


def words(bundle: Mapping[object, object], key: str) -> str:
    value = bundle.get(key)
    if not isinstance(value, str):
        raise NoBundle(f"the {key} of a program is missing")
    return value


def named(bundle: Mapping[object, object], key: str) -> dict[str, str]:
    """Texts by name."""
    table = bundle.get(key, {})
    if not isinstance(table, Mapping):
        raise NoBundle(f"the {key} of a program are missing")
    entries = {name: content for name, content in table.items() if isinstance(name, str) and isinstance(content, str)}
    if len(entries) < len(table):
        raise NoBundle(f"the {key} of a program are damaged")
    return entries


def decoded(place: str, content: str) -> bytes:
    try:
        return b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise NoBundle(f"the table `{place}` is damaged") from None


def write(folder: Path, place: str, content: bytes) -> None:
    """A file below `folder`, and nowhere else."""
    problem = outside(place, folder)
    if problem:
        raise NoBundle(f"the file `{place}` leaves the folder of the program: {problem}")
    path = folder / place
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except (OSError, ValueError) as error:
        raise NoBundle(f"the file `{place}` cannot be written: {getattr(error, 'strerror', None) or error}") from None
