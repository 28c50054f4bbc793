"""A checked scan → the operator of its module, made once for all modules of the scan.

With the convolution in a pass of its own where something is projected from what it makes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

from scanlang.check.program import CheckedScan
from scanlang.codegen.compile import compile_checked, compile_conv, fixed_sizes, layer_of
from scanlang.codegen.in_steps import read_in_steps, visits_twice, written_in_steps
from scanlang.codegen.op import CompiledScan
from scanlang.graph.scan_graph import OWN
from scanlang.maps.routes import traversal_of
from scanlang.maps.traversal import Traversal
from scanlang.pipeline import conv_graph_of

MOST_KEPT = 64


@dataclass(frozen=True)
class ForModule:
    """One layer of a scan, and its operator.

    `summed`: the operands `elsewhere` run along another order than the convolution, which visits cells several times; they are
    projected from the sum over the visits.
    """

    scan: CheckedScan
    op: CompiledScan
    summed: CompiledScan | None
    elsewhere: frozenset[str]


_MADE: OrderedDict[tuple[int, int, tuple[str, ...]], tuple[CheckedScan, ForModule]] = OrderedDict()
"""By the scan's identity, which stays its own as long as the scan is kept beside it."""
_LOCK = threading.Lock()


def compile_for_module(scan: CheckedScan, axes: tuple[str, ...], layer: int = 0) -> ForModule:
    """The operator whose projections are made before, on rows; a network's many scans of one definition share it."""
    checked = layer_of(scan, layer)
    key = id(scan), int(layer) % len(scan.layers), axes
    with _LOCK:
        if key in _MADE:
            _MADE.move_to_end(key)
            return _MADE[key][1]
    made = _compile(checked, traversal_of(checked, axes))
    with _LOCK:
        _MADE[key] = scan, made
        while len(_MADE) > MOST_KEPT:
            _MADE.popitem(last=False)
    return made


def _compile(scan: CheckedScan, traversal: Traversal) -> ForModule:
    op = compile_checked(scan, traversal)
    conv, graph = op.graph.conv, op.graph
    projected = frozenset(n for one in scan.projections if conv and one.source == conv.source for n in one.names)
    if conv is None or conv.along is not None or not projected:
        return ForModule(scan, op, None, frozenset())
    before, summed, elsewhere = conv_graph_of(scan, traversal), None, frozenset[str]()
    if visits_twice(graph.traversal):
        elsewhere = projected & graph.stream_routes.keys()
        graph, before = read_in_steps(graph, projected), written_in_steps(before)
        summed = compile_conv(scan, replace(before, output_route=OWN)) if elsewhere else None
    op = CompiledScan(graph, fixed_sizes(scan), scan.span, compile_conv(scan, before), scan.uncovered)
    return ForModule(scan, op, summed, elsewhere)
