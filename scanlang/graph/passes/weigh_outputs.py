"""Multiply every direction's output by its weight in the step, so that the merge is a sum."""

from __future__ import annotations

from dataclasses import replace

from scanlang.graph.scan_graph import Recur, ScanGraph
from scanlang.graph.step_rewrites import MERGE_WEIGHT, weigh


def weigh_outputs(graph: ScanGraph) -> ScanGraph:
    """
    Before:  recur k → scatter k → merge weighted
    After:   recur k (its readout times `merge_weight`) → scatter k → merge sum
    """
    if graph.merge != "weighted":
        return graph
    weighed = replace(graph, step=weigh(graph.step), merge="sum", channelless=graph.channelless | {MERGE_WEIGHT})
    edges = [
        (source, target, weighed.step.readout if isinstance(graph.nodes[source], Recur) else operand)
        for source, target, operand in graph.edges()
    ]
    return weighed.rewritten(graph.nodes, edges)
