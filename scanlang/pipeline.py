"""READ FIRST: the whole compiler, one pass a line, each from one type to the next. A pass raises `ScanError` with every
finding of its stage, or hands on a value in which those mistakes cannot be any more.

    text → tree → checked program → index maps → scan graph → schedule → kernels → operator → module

The passes up to the scan graph are the functions below and need neither torch nor triton. The rest, in `scanlang.codegen`:

    lower_to_kernels     (ScanGraph, sizes) → ScanKernels     steps and their derived adjoint as straight-line code
    choose_gpu_schedule  (ScanKernels, Shape) → Schedule      on the CPU `cpu_schedule`
    emit_c               (ScanKernels, Schedule) → text       built and run by `cpu/`
    emit_triton          (ScanKernels, Schedule) → text       built and run by `gpu/`
    CompiledScan         ScanGraph → a torch operator         which picks the backend for the device at each call
    Scan2d               Program → an `nn.Module`

`codegen/driver.py` runs them one after another for `scanlang compile`, `codegen/op.py` at the first call of an operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from scanlang.check import Importer, check
from scanlang.check.program import CheckedProgram
from scanlang.maps.lower import MappedProgram, lower_to_maps
from scanlang.maps.verify import VerifiedProgram, verify_maps
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Program as SyntaxProgram
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import read_source

if TYPE_CHECKING:
    from scanlang.graph.scan_graph import ScanGraph

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


def operator_graph(program: VerifiedProgram, scan: str) -> ScanGraph:
    """A scan as the fused operator computes it: projections hoisted to grid order and left to the caller."""
    from scanlang.graph.build import build_graph  # networkx, which checking does without
    from scanlang.graph.passes import cut_projections, rewrite

    written = build_graph(program.mapped.checked.scans[scan], program.scans[scan])
    return cut_projections(rewrite(written))
