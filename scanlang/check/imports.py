"""Where an import leads, and the program that stands there.

In: an import as written and the folder of the file that says so. Out: the file's place and its tree, or findings at the
import. Files are looked for below the importing file's folder only, library files inside this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath

from scanlang.diagnostics import Reporter, ScanError
from scanlang.errors import ImportNeedsFile, ImportNotFound, ImportOutside
from scanlang.library import backbone_programs, library, library_source
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Import, Program
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import read_source


@dataclass(frozen=True)
class Importer:
    """What the main program may import: `Importer(path)` beside its file, `Importer()` only the library."""

    path: Path | None = None

    def place(self, source: Source) -> Place:
        """Where the main program stands."""
        if self.path is None:
            return Place(source.name, source.name, None, is_library=False)
        return Place(real_name(self.path), source.name, self.path.parent, is_library=False)


@dataclass(frozen=True)
class Place:
    """A program's place: `key` tells files apart, `shown` is its name in messages, `folder` where its imports start.

    A program without a folder can import only the library.
    """

    key: str
    shown: str
    folder: Path | None
    is_library: bool


def find(node: Import, importer: Place, reporter: Reporter) -> Place | None:
    """The place that an import leads to, not yet read; None after a finding."""
    if node.is_library:
        return find_in_library(node, reporter)
    if importer.folder is None:
        reporter.report(ImportNeedsFile(node.span, node.path))
        return None
    problem = outside(node.path, importer.folder)
    if problem:
        reporter.report(ImportOutside(node.span, node.path, problem))
        return None
    path = importer.folder / node.path
    shown = (PurePath(importer.shown).parent / node.path).as_posix()
    return Place(real_name(path), shown, path.parent, is_library=False)


def find_in_library(node: Import, reporter: Reporter) -> Place | None:
    known = (*library(), *backbone_programs())
    if node.path in known:
        return Place(node.path, node.path, None, is_library=True)
    reporter.report(ImportNotFound(node.span, node.path, "the library has no such file", known))
    return None


def outside(path: str, folder: Path) -> str | None:
    """Why `path` leads out of the folder, or None."""
    if Path(path).is_absolute() or PureWindowsPath(path).anchor or PureWindowsPath(path).drive:
        return "an absolute path"
    if "\\" in path:
        return "folders are separated by `/`"
    try:
        inside = (folder / path).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return "the path cannot be followed"
    if inside:
        return None
    return "`..` leads out of it" if ".." in Path(path).parts else "a symbolic link leads out of it"


def real_name(path: Path) -> str:
    try:
        return str(path.resolve())
    except (OSError, ValueError, RuntimeError):
        return str(path)


def read(node: Import, place: Place, reporter: Reporter) -> tuple[Program, Source] | None:
    """The program at a place; what is wrong with its text is shown in that file."""
    try:
        source = library_source(place.key) if place.is_library else file_source(node, place)
        return build_syntax(parse_text(source), source), source
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        reporter.report(ImportNotFound(node.span, node.path, reason))
    except ScanError as error:
        for diagnostic in error.diagnostics:
            reporter.report(diagnostic)
    return None


def file_source(node: Import, place: Place) -> Source:
    assert place.folder is not None
    path = place.folder / Path(node.path).name
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    return read_source(path, place.shown)


def library_programs() -> Iterator[tuple[str, Program]]:
    """Every library file with its tree, to say which one has a name."""
    for key in library():
        source = library_source(key)
        yield key, build_syntax(parse_text(source), source)
