"""Convolve inside the recurrence: the last inputs become states of the step."""

from __future__ import annotations

from dataclasses import replace

from scanlang.graph.passes.drop_dead import drop_dead
from scanlang.graph.scan_graph import Conv, Recur, ScanGraph
from scanlang.graph.step_rewrites import conv_parameters, convolve


def fuse_conv(graph: ScanGraph) -> ScanGraph:
    """
    Before:  gather k x → conv k → recur k
    After:   gather k x → recur k, whose step has the states conv.1, conv.2 …

    A convolution along an order of its own is left alone.
    """
    conv, edges = graph.conv, []
    for source, target, operand in graph.edges():
        node = graph.nodes[source]
        inside = isinstance(node, Conv) and not node.along and isinstance(graph.nodes[target], Recur)
        edges.append((graph.source(source) if inside else source, target, operand))
    if conv is None or edges == graph.edges():
        return graph
    common = conv_parameters(conv.width) if "conv" in graph.shared else ()
    fused = replace(graph, step=convolve(graph.step, conv.source, conv.width), shared=graph.shared | {*common})
    return drop_dead(fused.rewritten(graph.nodes, edges))
