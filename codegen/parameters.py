"""Learned values as the caller has them → as kernels take them. In: tensors of a call; out: `(K, C, ·)`, or `(C, ·)`, by the
kernels' names. Plain torch: autograd takes the gradients back.

    conv_weight (K, C, w)   w parameters, one per tap
    merge_weight (K)        its softmax, for every channel
    T (K, ·)                without channels: the same for every channel
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scanlang.codegen.arguments import CONV_WEIGHT
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step_rewrites import MERGE_WEIGHT

TAPS = f"{CONV_WEIGHT}."
"""What `taps` made already, among what is given."""


def taps(weight: Tensor) -> tuple[Tensor, ...]:
    """Of a convolution's weight one array for every tap, each contiguous."""
    return weight.movedim(-1, 0).contiguous().unbind(0)


class KernelParameters:
    """The parameters `names` of a graph's kernels."""

    def __init__(self, graph: ScanGraph, names: Sequence[str]) -> None:
        own = [name for name in names if name.startswith(TAPS)]
        self._graph = graph
        self._made = [name for name in names if name in graph.channelless or (name == MERGE_WEIGHT and weighted(graph))]
        self._given = [name for name in names if name not in own and name not in self._made]
        self._taps = [(name, int(name.rpartition(".")[2])) for name in own]

    def of(self, given: Mapping[str, Any], channels: int) -> dict[str, Tensor]:
        """Their arrays by name."""
        found = {name: given[name] for name in self._given}
        for name in self._made:
            found[name] = self._for_channels(name, given[name], channels)
        if self._taps:
            by_tap = given.get(TAPS) or taps(given[CONV_WEIGHT])
            for name, number in self._taps:
                found[name] = by_tap[number]
        return found

    def _for_channels(self, name: str, value: Tensor, channels: int) -> Tensor:
        if name == MERGE_WEIGHT and weighted(self._graph):
            return _for_channels(self._graph, torch.softmax(_widened(value), 0), channels, shared=False)
        return _for_channels(self._graph, _widened(value), channels, shared=name in self._graph.shared)


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
