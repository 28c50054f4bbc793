"""Learned values as the caller has them → as kernels take them. In: tensors of a call; out: `(K, C, ·)`, or `(C, ·)`, by the
kernels' names. Plain torch: autograd takes the gradients back.

    conv_weight (K, C, w)   w parameters, one per tap
    merge_weight (K)        its softmax, for every channel
    T (K, ·)                without channels: the same for every channel
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from scanlang.codegen.arguments import CONV_WEIGHT
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step_rewrites import MERGE_WEIGHT


def kernel_parameter(graph: ScanGraph, name: str, given: Mapping[str, Tensor], channels: int) -> Tensor:
    """The array of a parameter of the kernels."""
    if name.startswith(f"{CONV_WEIGHT}."):
        return given[CONV_WEIGHT].select(-1, int(name.rpartition(".")[2]))
    if name == MERGE_WEIGHT and weighted(graph):
        return _for_channels(graph, torch.softmax(_widened(given[name]), 0), channels, shared=False)
    if name in graph.channelless:
        return _for_channels(graph, _widened(given[name]), channels, shared=name in graph.shared)
    return given[name]


def weighted(graph: ScanGraph) -> bool:
    """The outputs are weighted in the step: a parameter of the recurrence may be called `merge_weight` too."""
    return graph.step.readout.endswith(".weighted")


def _widened(value: Tensor) -> Tensor:
    """At least float32: what comes back is summed over the channels."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _for_channels(graph: ScanGraph, value: Tensor, channels: int, shared: bool) -> Tensor:
    """`(K, ·)`, or `(·)` for all directions, with the channels behind the directions."""
    if shared:
        return value.expand(channels, *value.shape)
    if graph.split is None:
        return value.unsqueeze(1).expand(graph.directions, channels, *value.shape[1:])
    unit = channels // sum(graph.split)
    return torch.cat([row.expand(part * unit, *row.shape) for row, part in zip(value.unbind(0), graph.split, strict=True)])
