"""Project in grid order, before the gather: a linear map of the channels does not care in which order cells come."""

from __future__ import annotations

from scanlang.graph.scan_graph import Gather, Node, Pick, Project, ScanGraph, gather_key


def hoist_projections(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → gather k → project → pick B → recur k
    After:   input x → project → pick B → gather k → recur k

    A convolution in a direction's own time cares, so what is projected after one stays where it is.
    """
    nodes: dict[str, Node] = dict(graph.nodes)
    edges = graph.edges()
    for key, node in graph.nodes.items():
        if not isinstance(node, Project):
            continue
        gather = graph.source(key)
        if not isinstance(along := graph.nodes[gather], Gather):
            continue
        edges = [(graph.source(gather) if (source, target) == (gather, key) else source, target, name)
                 for source, target, name in edges]  # fmt: skip
        for pick in list(graph.graph.successors(key)):
            picked = graph.nodes[pick]
            assert isinstance(picked, Pick)
            moved = gather_key(node.direction, picked.name, along.route)
            nodes[moved] = Gather(node.direction, along.route)
            edges = [(moved if source == pick else source, target, name) for source, target, name in edges]
            edges.append((pick, moved, picked.name))
    return graph.rewritten(nodes, edges)
