"""Gather a value once for all directions that visit the cells in the same order."""

from __future__ import annotations

from scanlang.graph.scan_graph import Gather, Input, Node, ScanGraph


def share_gathers(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → gather 0 x → recur 0      input x → gather 1 x → recur 1      (the same order twice)
    After:   input x → gather 0 x → recur 0, recur 1

    A value that each direction has its own of is left alone, as is one of which each direction has its own channels.
    """
    if graph.split is not None:
        return graph
    first: dict[tuple[str, int, int], str] = {}
    instead: dict[str, str] = {}
    for key in graph.in_order():
        if not isinstance(node := graph.nodes[key], Gather):
            continue
        source = graph.source(key)
        of = graph.nodes[source]
        if not isinstance(of, Input) or of.per_direction:
            continue
        orders = graph.traversal.routes[node.route]
        same = next(k for k, order in enumerate(orders) if order == orders[node.direction])
        instead[key] = first.setdefault((source, node.route, same), key)
    nodes: dict[str, Node] = {k: n for k, n in graph.nodes.items() if instead.get(k, k) == k}
    edges = [(instead.get(source, source), target, name) for source, target, name in graph.edges() if target in nodes]
    return graph.rewritten(nodes, edges)
