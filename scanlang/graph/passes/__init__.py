"""The rewrites of a scan graph, one a file, in the order in which they are run. None changes the meaning."""

from __future__ import annotations

from collections.abc import Callable

from scanlang.graph.passes.cut_conv import cut_conv
from scanlang.graph.passes.cut_projections import cut_projections
from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.passes.fuse_conv import fuse_conv
from scanlang.graph.passes.hoist_projections import hoist_projections
from scanlang.graph.passes.restart_states import restart_states
from scanlang.graph.passes.share_gathers import share_gathers
from scanlang.graph.passes.weigh_outputs import weigh_outputs
from scanlang.graph.scan_graph import ScanGraph

REWRITES = (hoist_projections, share_gathers, drop_dead)
CUTS = (cut_projections, cut_conv)
FUSIONS = (fuse_conv, restart_states, weigh_outputs)


def rewrite(graph: ScanGraph) -> ScanGraph:
    """All rewrites that keep a graph's inputs and its step: projections in grid order, shared gathers, nothing dead."""
    return _through(REWRITES, graph)


def cut(graph: ScanGraph) -> ScanGraph:
    """What is made in passes before becomes an input: the graph of one pass."""
    return _through(CUTS, graph)


def fuse(graph: ScanGraph) -> ScanGraph:
    """Convolution, restarts and weights as equations of the step: the graph that becomes one fused operator."""
    return _through(FUSIONS, graph)


def _through(passes: tuple[Callable[[ScanGraph], ScanGraph], ...], graph: ScanGraph) -> ScanGraph:
    for one in passes:
        graph = one(graph)
    return graph


__all__ = [
    "CUTS",
    "FUSIONS",
    "REWRITES",
    "cut",
    "cut_conv",
    "cut_projections",
    "drop_dead",
    "fuse",
    "fuse_conv",
    "hoist_projections",
    "restart_states",
    "rewrite",
    "share_gathers",
    "weigh_outputs",
]
