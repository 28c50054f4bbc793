"""`scanlang.compile`: from a program to the operator of one of its scans."""

from __future__ import annotations

from fractions import Fraction
from numbers import Integral
from os import PathLike

from scanlang.check.expressions import names_in
from scanlang.check.program import HEAD, CheckedScan
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.codegen.op import CompiledScan
from scanlang.diagnostics import ScanError
from scanlang.errors import BadSize, MissingSize, NoSuchLayer
from scanlang.graph.scan_graph import ScanGraph
from scanlang.limits import LIMITS
from scanlang.maps.traversal import Traversal
from scanlang.pipeline import conv_graph_of, operator_graph_of
from scanlang.program import Program
from scanlang.syntax.nodes import Expr


def compile_scan(program: Program | str | PathLike[str], scan: str | None = None, layer: int = 0) -> CompiledScan:
    """The operator of a scan; `layer` picks the directions where it says `layers`.

    >>> op = scanlang.compile("cross.scan", scan="cross")       # `scan=` may be left out when there is one
    >>> y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    Shapes: see `CompiledScan`. Sizes that the program fixes (`state = 1`) are checked, others are read off the arguments.
    Raises ScanError if the program is wrong or has no such scan.
    """
    from scanlang import load

    program = program if isinstance(program, Program) else load(program)
    name = program.scan_name(scan)
    return compile_checked(scan_of_layer(program, name, layer), program.traversal(name, int(layer)))


def compile_checked(scan: CheckedScan, traversal: Traversal) -> CompiledScan:
    """The operator of one layer of a scan, and what it visits."""
    graph, conv = operator_graph_of(scan, traversal), None
    if graph.conv is not None and graph.conv.along is not None:
        conv = compile_conv(scan, conv_graph_of(scan, traversal))
    return CompiledScan(graph, fixed_sizes(scan), scan.span, conv, scan.uncovered, usual_sizes(scan))


def compile_conv(scan: CheckedScan, graph: ScanGraph) -> CompiledScan:
    """The convolution of a scan in a pass of its own; others see to it that cells are visited."""
    return CompiledScan(graph, {}, scan.span, uncovered=True)


def scan_of_layer(program: Program, name: str, layer: object) -> CheckedScan:
    """The scan with the directions of one layer, or a ScanError."""
    return layer_of(program.checked.scans[name], layer)


def layer_of(scan: CheckedScan, layer: object) -> CheckedScan:
    """The scan with the directions of one layer, or a ScanError."""
    number = -1 if isinstance(layer, bool) or not isinstance(layer, Integral) else int(layer)
    if number < 0:
        raise ScanError([NoSuchLayer(scan.span, scan.name, layer, 0)])
    if scan.layer_rule == "list" and number >= len(scan.layers):
        raise ScanError([NoSuchLayer(scan.span, scan.name, number, len(scan.layers))])
    return scan.at_layer(number)


def fixed_sizes(scan: CheckedScan) -> dict[str, int]:
    """The sizes that a scan gives as plain numbers, by the recurrence's label.

    A size that no argument shows, such as that of a state nothing else is indexed like, is fixed by the scan's defaults.
    """
    indices, operands = scan.recurrence.indices, scan.recurrence.operands
    shown = {indices[index] for operand in operands for index in operand.indices if index in indices}
    shown |= {HEAD for operand in operands if operand.per == "unit"}
    shown |= {operand.units for operand in operands if isinstance(operand.units, str)}
    fixed, defaults = {}, _defaults(scan)
    for label, value in scan.sizes.items():
        known = {} if label in shown else defaults
        if left_open := [formal for formal in scan.formals if formal.label in _names(value) - known.keys()]:
            if label not in shown:
                raise ScanError([MissingSize(scan.span, scan.name, left_open[0].label, left_open[0].span)])
            continue
        fixed[label] = _integer(scan, label, evaluate_size(value, known))
    return fixed


def usual_sizes(scan: CheckedScan) -> dict[str, int]:
    """The sizes that a scan's defaults come to without the number of channels, by the recurrence's label."""
    known = _defaults(scan)
    sizes = {label: value for label, value in scan.sizes.items() if _names(value) <= known.keys()}
    return {label: _integer(scan, label, evaluate_size(value, known)) for label, value in sizes.items()}


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
