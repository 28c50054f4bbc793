"""`scanlang.compile`: from a program to the operator of one of its scans."""

from __future__ import annotations

from os import PathLike

from scanlang.check.program import CheckedScan
from scanlang.check.sizes import evaluate_size
from scanlang.codegen.op import CompiledScan
from scanlang.program import Program


def compile_scan(program: Program | str | PathLike[str], scan: str | None = None) -> CompiledScan:
    """The operator of a scan.

    >>> op = scanlang.compile("cross.scan", scan="cross")       # `scan=` may be left out when there is one
    >>> y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    Shapes: see `CompiledScan`. Sizes that the program fixes (`state = 1`) are checked, others are read off the arguments.
    Raises ScanError if the program is wrong or has no such scan.
    """
    from scanlang import load

    program = program if isinstance(program, Program) else load(program)
    name = program.scan_name(scan)
    checked = program.checked.scans[name]
    return CompiledScan(program.operator_graph(name), fixed_sizes(checked), checked.span)


def fixed_sizes(scan: CheckedScan) -> dict[str, int]:
    """The sizes that a scan gives as plain numbers, by the recurrence's label."""
    fixed = {}
    for label, value in scan.sizes.items():
        try:
            fixed[label] = int(evaluate_size(value, {}))
        except KeyError:  # in terms of the scan's formals: open
            continue
    return fixed
