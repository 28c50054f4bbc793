"""Leave the projections to the caller: what they make becomes an input of the scan, in grid order."""

from __future__ import annotations

from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.scan_graph import OWN, Gather, Input, Node, Pick, Recur, ScanGraph, gather_key


def cut_projections(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → project → pick B → gather k → recur k
    After:   input B (one per direction) → gather k → recur k

    What is projected in a direction's time, after a convolution, is gathered from such an input too.
    """
    operands = {operand.name: operand for operand in graph.step.operands}
    nodes: dict[str, Node] = dict(graph.nodes)
    edges = graph.edges()
    for key, node in graph.nodes.items():
        if not isinstance(node, Pick):
            continue
        operand = operands[node.name]
        assert operand.kind != "param"
        given = f"input {node.name}"
        nodes[given] = Input(node.name, operand.kind, operand.indices, per_direction=True, per=operand.per)
        rerouted: list[tuple[str, str, str]] = []
        for source, target, name in edges:
            if source != key:
                rerouted += [(source, target, name)] if target != key else []
            elif isinstance(reader := nodes[target], Recur):
                route = graph.stream_routes.get(name, OWN)
                gather = gather_key(reader.direction, name, route)
                nodes[gather] = Gather(reader.direction, route)
                rerouted += [(given, gather, name), (gather, target, name)]
            else:
                rerouted.append((given, target, name))
        edges = rerouted
        del nodes[key]
    return drop_dead(graph.rewritten(nodes, edges))
