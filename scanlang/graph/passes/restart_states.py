"""Restart states inside the step, by an operand that says when."""

from __future__ import annotations

from dataclasses import replace

from scanlang.graph.scan_graph import TIME, Recur, Restarts, ScanGraph
from scanlang.graph.step_rewrites import RESTART, restart


def restart_states(graph: ScanGraph) -> ScanGraph:
    """
    Before:  recur k, which starts anew where its order says so
    After:   restarts k → recur k, whose step reads `restart.`
    """
    if not graph.restarts or any(operand.name == RESTART for operand in graph.step.operands):
        return graph
    nodes, edges = dict(graph.nodes), graph.edges()
    for key, node in graph.nodes.items():
        if isinstance(node, Recur):
            nodes[f"restarts {node.direction}"] = Restarts(node.direction)
            edges.append((f"restarts {node.direction}", key, RESTART))
    routes = {**graph.stream_routes, RESTART: TIME}
    return replace(graph, step=restart(graph.step), stream_routes=routes).rewritten(nodes, edges)
