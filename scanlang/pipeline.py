"""READ FIRST: the whole compiler, one pass a line, each from one type to the next. A pass raises `ScanError` with every
finding of its stage, or hands on a value in which those mistakes cannot be any more.

    text → tree → checked program → maps → scan graph → schedule → kernels → operator → module

The passes up to the scan graph are the functions below and need neither torch nor triton. The graph of a scan is built for one
layer, as written, and rewritten (`graph/passes/`) into those that become operators. The rest, in `scanlang.codegen`:

    lower_to_kernels     (ScanGraph, sizes) → ScanKernels     steps and their derived adjoint as straight-line code
    choose_gpu_schedule  (ScanKernels, Shape) → Schedule      on the CPU `cpu_schedule`
    emit_c               (ScanKernels, Schedule) → text       built and run by `cpu/`
    emit_triton          (ScanKernels, Schedule) → text       built and run by `gpu/`
    CompiledScan         ScanGraph → a torch operator         maps and tokens in rows; the device picks the backend at each call
    Scan2d               Program → an `nn.Module`

`codegen/driver.py` runs them one after another for `scanlang compile`, `codegen/on_rows.py` at the first call of an operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from scanlang.check import Importer, check
from scanlang.check.network_parts import scans_in
from scanlang.check.program import CheckedProgram, CheckedScan
from scanlang.library import names_library_program, program_source
from scanlang.maps.lower import MappedProgram, lower_to_maps
from scanlang.maps.verify import VerifiedProgram, verify_maps
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Program as SyntaxProgram
from scanlang.syntax.parse import parse_text

if TYPE_CHECKING:
    from scanlang.graph.scan_graph import ScanGraph
    from scanlang.maps.traversal import Traversal

Sizes = Iterable[tuple[int, ...]] | None


def check_text(
    source: Source, root: str | PathLike[str] | None = None, sizes: Sizes = None, numbers: bool = True
) -> VerifiedProgram:
    """The front end: text to verified orders. `root` is the folder of imports; without it only the library is there.

    Orders without a proof are checked at `sizes` (the length of every axis), or at the usual ones. `numbers`: backbones are
    followed with the numbers of their defaults, which takes longer than all else.
    """
    importer = Importer() if root is None else Importer(Path(root) / Path(source.name).name)
    tree = parse_text(source)  #                                          S0xx  syntax
    program: SyntaxProgram = build_syntax(tree, source)  #                S0xx
    checked: CheckedProgram = check(program, source, importer, numbers)  #  S1xx, S3xx  names, arity, axes, linearity, blocks
    mapped: MappedProgram = lower_to_maps(checked)
    grids = tuple(sizes) if sizes else None
    verified = verify_maps(mapped, grids)  #                              S2xx  not a bijection, out of the grid
    for scan in scans_in((*checked.blocks.values(), *checked.backbones.values())):
        if checked.scans.get(scan.name) is not scan:
            verify_scan(scan, checked.axes, grids)
    return verified


def verify_scan(scan: CheckedScan, axes: tuple[str, ...], sizes: tuple[tuple[int, ...], ...] | None = None) -> VerifiedProgram:
    """A program of one scan, such as a block of an imported file brings along."""
    return verify_maps(lower_to_maps(CheckedProgram(axes, {}, {}, {scan.name: scan})), sizes)


def read_program(path: str | PathLike[str], sizes: Sizes = None) -> tuple[Source, VerifiedProgram]:
    """The front end from a file or a program of the library (`std.vmamba`); raises OSError if it cannot be read."""
    source, folder = program_source(path)
    return source, check_text(source, folder, sizes, numbers=not names_library_program(path))


def written_graph(program: VerifiedProgram, scan: str, layer: int = 0) -> ScanGraph:
    """One layer of a scan as the program says it: every direction gathers, convolves and projects in its own time."""
    from scanlang.graph.build import build_graph  # networkx, which checking does without

    return build_graph(*_layer(program, scan, layer))


def operator_graph(program: VerifiedProgram, scan: str, layer: int = 0) -> ScanGraph:
    """A scan as the fused operator computes it: projections, and a convolution along an order of its own, are left to passes
    before; convolution in a direction's time, restarts and the weights of the merge are equations of its step."""
    return operator_graph_of(*_layer(program, scan, layer))


def operator_graph_of(scan: CheckedScan, traversal: Traversal) -> ScanGraph:
    """The same of one layer of a scan, and what it visits."""
    from scanlang.graph.build import build_graph
    from scanlang.graph.passes import cut, fuse, rewrite

    return fuse(cut(rewrite(build_graph(scan, traversal))))


def conv_graph(program: VerifiedProgram, scan: str, layer: int = 0) -> ScanGraph:
    """The convolution of a scan alone, as a fused operator: the pass before, for what wants the first input convolved."""
    return conv_graph_of(*_layer(program, scan, layer))


def conv_graph_of(scan: CheckedScan, traversal: Traversal) -> ScanGraph:
    """The same of one layer of a scan, and what it visits."""
    from scanlang.graph.build import build_conv_graph
    from scanlang.graph.passes import fuse, rewrite

    return fuse(rewrite(build_conv_graph(scan, traversal)))


def _layer(program: VerifiedProgram, scan: str, layer: int) -> tuple[CheckedScan, Traversal]:
    """`cycle` starts again after the last one."""
    traversals = program.traversals[scan]
    return program.mapped.checked.scans[scan].at_layer(layer), traversals[layer % len(traversals)]
