"""Names, arity, axes, the linearity of recurrences, the numbers of backbones: a syntax tree becomes a checked program.

`check` collects every finding of the program and its imports and raises them together.
"""

from __future__ import annotations

from typing import TypeVar

from scanlang.check.files import FileChecker
from scanlang.check.imports import Importer
from scanlang.check.program import CheckedProgram
from scanlang.diagnostics import Reporter
from scanlang.source import Source
from scanlang.syntax.nodes import Program

__all__ = ["Importer", "check"]

Thing = TypeVar("Thing")


def check(program: Program, source: Source, importer: Importer | None = None, numbers: bool = True) -> CheckedProgram:
    """`check(build_syntax(parse_text(source), source), source, Importer(Path("cross.scan")))`.

    Without an importer the program is text that lies nowhere: it can import the library only. `numbers`: those of backbones are
    computed.
    """
    reporter = Reporter()
    checker, place = FileChecker(reporter), (importer or Importer()).place(source)
    scope, imported = checker.check(program, place)
    reporter.check()
    return CheckedProgram(
        axes=scope.axes,
        orders=complete({**imported.orders, **scope.orders}),
        recurrences=complete({**imported.recurrences, **scope.recurrences}),
        scans=complete({**imported.scans, **scope.scans}),
        blocks=complete({**imported.blocks, **scope.blocks}),
        backbones=complete({**imported.backbones, **scope.backbones}),
        source=source,
        files=checker.files(place.folder),
        tables=checker.arrays(place.folder),
    )


def complete(table: dict[str, Thing | None]) -> dict[str, Thing]:
    """A table of a program without findings: nothing in it is None."""
    return {name: thing for name, thing in table.items() if thing is not None}
