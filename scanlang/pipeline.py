"""READ FIRST: the whole compiler, one pass a line, each from one type to the next. A pass raises `ScanError` with every
finding of its stage, or hands on a value in which those mistakes cannot be any more.

    text → tree → checked program → index maps → scan graph → schedule → kernels → operator → module

This file holds the front end, which needs neither torch nor triton; `scanlang.codegen.driver` goes on from the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from scanlang.check import Importer, check
from scanlang.check.program import CheckedProgram
from scanlang.maps.lower import MappedProgram, lower_to_maps
from scanlang.maps.verify import VerifiedProgram, verify_maps
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Program as SyntaxProgram
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import read_source

Sizes = Iterable[tuple[int, int]] | None


def check_text(source: Source, root: str | PathLike[str] | None = None, sizes: Sizes = None) -> VerifiedProgram:
    """The front end: text to verified orders. `root` is the folder of imports; without it only the library is there.

    Orders without a proof are checked at `sizes` (height, width), or at the usual ones.
    """
    importer = Importer() if root is None else Importer(Path(root) / Path(source.name).name)
    tree = parse_text(source)  #                                          S0xx  syntax
    program: SyntaxProgram = build_syntax(tree, source)  #                S0xx
    checked: CheckedProgram = check(program, source, importer)  #         S1xx  names, arity, axes, linearity
    mapped: MappedProgram = lower_to_maps(checked)
    return verify_maps(mapped, tuple(sizes) if sizes else None)  #        S2xx  not a bijection, out of the grid


def read_program(path: str | PathLike[str], sizes: Sizes = None) -> tuple[Source, VerifiedProgram]:
    """The front end from a file; raises OSError if it cannot be read."""
    source = read_source(Path(path))
    return source, check_text(source, Path(path).resolve().parent, sizes)
