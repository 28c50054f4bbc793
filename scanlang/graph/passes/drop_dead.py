"""Drop what the merge does not depend on."""

from __future__ import annotations

import networkx as nx

from scanlang.graph.scan_graph import MERGE, ScanGraph


def drop_dead(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → gather 0 x (nobody reads it)      input x → project → … → merge
    After:                                               input x → project → … → merge
    """
    alive = nx.ancestors(graph.graph, MERGE) | {MERGE}
    nodes = {key: node for key, node in graph.nodes.items() if key in alive}
    return graph.rewritten(nodes, [edge for edge in graph.edges() if edge[0] in alive and edge[1] in alive])
