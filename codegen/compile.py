"""`scanlang.compile`: from a program to the operator of one of its scans."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from numbers import Integral
from os import PathLike

from scanlang.check.expressions import names_in
from scanlang.check.program import HEAD, CheckedScan
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.codegen.in_steps import read_in_steps, visits_twice, written_in_steps
from scanlang.codegen.op import CompiledScan
from scanlang.diagnostics import ScanError
from scanlang.errors import BadSize, MissingSize, NoSuchLayer
from scanlang.graph.scan_graph import OWN, ScanGraph
from scanlang.limits import LIMITS
from scanlang.pipeline import conv_graph, operator_graph
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
    checked = scan_of_layer(program, name, layer)
    graph, conv = operator_graph(program.verified, name, int(layer)), None
    if graph.conv is not None and graph.conv.along is not None:
        conv = _compile_conv(checked, conv_graph(program.verified, name, int(layer)))
    return CompiledScan(graph, fixed_sizes(checked), checked.span, conv, checked.uncovered)


@dataclass(frozen=True)
class ForModule:
    """The operator of a module, with the convolution in a pass of its own where something is projected from what it makes.

    `summed`: the operands `elsewhere` run along another order than the convolution, which visits cells several times; they are
    projected from the sum over the visits.
    """

    op: CompiledScan
    summed: CompiledScan | None
    elsewhere: frozenset[str]


def compile_for_module(program: Program, name: str, layer: int) -> ForModule:
    """The operator whose projections are made before, on rows."""
    checked = scan_of_layer(program, name, layer)
    op = compile_scan(program, name, layer)
    conv, graph = op.graph.conv, op.graph
    projected = frozenset(n for one in checked.projections if conv and one.source == conv.source for n in one.names)
    if conv is None or conv.along is not None or not projected:
        return ForModule(op, None, frozenset())
    before, summed, elsewhere = conv_graph(program.verified, name, int(layer)), None, frozenset[str]()
    if visits_twice(graph.traversal):
        elsewhere = projected & graph.stream_routes.keys()
        graph, before = read_in_steps(graph, projected), written_in_steps(before)
        summed = _compile_conv(checked, replace(before, output_route=OWN)) if elsewhere else None
    before_op = _compile_conv(checked, before)
    op = CompiledScan(graph, fixed_sizes(checked), checked.span, before_op, checked.uncovered)
    return ForModule(op, summed, elsewhere)


def _compile_conv(scan: CheckedScan, graph: ScanGraph) -> CompiledScan:
    return CompiledScan(graph, {}, scan.span, uncovered=True)


def scan_of_layer(program: Program, name: str, layer: object) -> CheckedScan:
    """The scan with the directions of one layer, or a ScanError."""
    scan = program.checked.scans[name]
    number = -1 if isinstance(layer, bool) or not isinstance(layer, Integral) else int(layer)
    if number < 0:
        raise ScanError([NoSuchLayer(scan.span, name, layer, 0)])
    if scan.layer_rule == "list" and number >= len(scan.layers):
        raise ScanError([NoSuchLayer(scan.span, name, number, len(scan.layers))])
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
