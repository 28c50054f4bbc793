"""Leave a convolution along an order of its own to a pass before: what it makes becomes an input of the scan."""

from __future__ import annotations

from dataclasses import replace

from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.scan_graph import Conv, Input, Node, Recur, ScanGraph
from scanlang.graph.step_rewrites import convolved, read_convolved


def cut_conv(graph: ScanGraph) -> ScanGraph:
    """
    Before:  input x → conv k → gather k x → recur k
    After:   input x.conv → gather k x → recur k

    Each direction has its own of it where it has its own weights. Wants projections cut away (`cut_projections`).
    """
    conv = graph.conv
    cut = {key for key, node in graph.nodes.items() if isinstance(node, Conv) and node.along}
    if conv is None or conv.along is None or not cut:
        return graph
    name = convolved(conv.source)
    own = len(conv.along.orders) > 1 and graph.split is None
    nodes: dict[str, Node] = {key: node for key, node in graph.nodes.items() if key not in cut}
    nodes[f"input {name}"] = Input(name, "input", (), own)
    edges = []
    for source, target, operand in graph.edges():
        if target in cut:
            continue
        read = operand == conv.source and (source in cut or isinstance(nodes[target], Recur))
        edges.append((f"input {name}" if source in cut else source, target, name if read else operand))
    routes = {name if operand == conv.source else operand: route for operand, route in graph.stream_routes.items()}
    rest = replace(graph, step=read_convolved(graph.step, conv.source), stream_routes=routes)
    return drop_dead(rest.rewritten(nodes, edges))
