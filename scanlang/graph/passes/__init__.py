"""The rewrites of a scan graph, one a file, in the order in which `rewrite` runs them. None changes the meaning."""

from __future__ import annotations

from scanlang.graph.passes.cut_projections import cut_projections
from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.passes.hoist_projections import hoist_projections
from scanlang.graph.passes.share_gathers import share_gathers
from scanlang.graph.scan_graph import ScanGraph

REWRITES = (hoist_projections, share_gathers, drop_dead)


def rewrite(graph: ScanGraph) -> ScanGraph:
    """All rewrites that keep a graph's inputs: projections in grid order, shared gathers, nothing dead."""
    for one in REWRITES:
        graph = one(graph)
    return graph


__all__ = ["REWRITES", "cut_projections", "drop_dead", "hoist_projections", "rewrite", "share_gathers"]
