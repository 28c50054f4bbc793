"""Leave the projections to the module: what they make becomes an input of the scan, in grid order."""

from __future__ import annotations

from typing import Literal

from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.scan_graph import Input, Node, Pick, ScanGraph


def cut_projections(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → project → pick B → gather k → recur k
    After:   input B (one per direction) → gather k → recur k

    Wants projections in grid order (`hoist_projections`). This is the graph that becomes one fused operator.
    """
    kinds = {operand.name: operand for operand in graph.step.operands}
    nodes: dict[str, Node] = dict(graph.nodes)
    edges = graph.edges()
    for key, node in graph.nodes.items():
        if not isinstance(node, Pick):
            continue
        operand = kinds[node.name]
        kind: Literal["input", "shared"] = "shared" if operand.kind == "shared" else "input"
        given = f"input {node.name}"
        nodes[given] = Input(node.name, kind, operand.indices, per_direction=True)
        edges = [(given if source == key else source, target, name) for source, target, name in edges if target != key]
        del nodes[key]
    return drop_dead(graph.rewritten(nodes, [edge for edge in edges if edge[0] in nodes and edge[1] in nodes]))
