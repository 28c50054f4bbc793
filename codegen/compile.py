"""`scanlang.compile`: from a program to the operator of one of its scans."""

from __future__ import annotations

from fractions import Fraction
from os import PathLike

from scanlang.check.expressions import names_in
from scanlang.check.program import CheckedScan
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.codegen.op import CompiledScan
from scanlang.diagnostics import ScanError
from scanlang.errors import BadSize, MissingSize
from scanlang.limits import LIMITS
from scanlang.program import Program
from scanlang.syntax.nodes import Expr


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
    """The sizes that a scan gives as plain numbers, by the recurrence's label.

    A size that no argument shows, such as that of a state nothing else is indexed like, is fixed by the scan's defaults.
    """
    shown = {scan.recurrence.indices[index] for operand in scan.recurrence.operands for index in operand.indices}
    fixed, defaults = {}, _defaults(scan)
    for label, value in scan.sizes.items():
        known = {} if label in shown else defaults
        if left_open := [formal for formal in scan.formals if formal.label in _names(value) - known.keys()]:
            if label not in shown:
                raise ScanError([MissingSize(scan.span, scan.name, left_open[0].label, left_open[0].span)])
            continue
        fixed[label] = _integer(scan, label, evaluate_size(value, known))
    return fixed


def _defaults(scan: CheckedScan) -> dict[str, int]:
    """The formals whose defaults come to a number."""
    known: dict[str, int] = {}
    for formal in scan.formals:
        if formal.default is not None and _names(formal.default) <= known.keys():
            known[formal.label] = _integer(scan, formal.label, evaluate_size(formal.default, known))
    return known


def _names(expression: Expr) -> set[str]:
    return {name.name for name in names_in(expression)}


def _integer(scan: CheckedScan, label: str, value: Fraction) -> int:
    if (problem := size_problem(value, LIMITS.integer)) is not None:
        raise ScanError([BadSize(scan.span, label, problem)])
    return int(value)
