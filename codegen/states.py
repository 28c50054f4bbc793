"""The states that a caller gives and gets: by name and in the program's shapes outside, packed in one tensor inside.

    h0, final       {"h": (B, K, C, ·), "m": (B, K, heads)}; with channels split (B, C, ·), (B, heads)
    packed          (B, K, S, C): S scalar states in the order of the kernels, C the most channels of a direction

Plain torch, so that autograd takes the gradients through; what is constant (a running scale) has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from scanlang.check.program import HEAD
from scanlang.codegen.units import Dimension, word
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import MissingScales, NotOneState, UnknownStates, WrongDevice, WrongShape, WrongType
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import Update
from scanlang.source import Span

H0 = "h0"


@dataclass(frozen=True)
class Extent:
    """What states of a call have in common: the images, the channels, the sizes by label, the type and the place."""

    batch: Any
    channels: int
    sizes: Mapping[str, int]
    dtype: torch.dtype
    device: torch.device


class States:
    """The states of a scan graph, in the order of the kernels."""

    def __init__(self, graph: ScanGraph, span: Span) -> None:
        self.graph, self.span, self.updates = graph, span, graph.step.states

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(update.name for update in self.updates)

    def own(self, h0: Any) -> dict[str, Any]:
        """Those of a scan's states that this graph, its convolution, has too."""
        return {name: h0[name] for name in self.names if name in h0} if isinstance(h0, Mapping) else {}

    def checked(self, h0: Any, extent: Extent) -> dict[str, Tensor]:
        """`h0` by name; a tensor where there is one state. A ScanError names what does not fit."""
        if isinstance(h0, Tensor):
            if len(self.updates) != 1:
                raise ScanError([NotOneState(self.span, self.names)])
            h0 = {self.names[0]: h0}
        if not isinstance(h0, Mapping):
            raise ScanError([WrongType(self.span, H0, f"a {type(h0).__name__}", "a mapping of states, or a tensor")])
        unknown = tuple(str(name) for name in h0 if name not in self.names)
        if unknown:
            raise ScanError([UnknownStates(self.span, unknown, self.names)])
        missing = tuple(update.name for update in self.updates if update.constant and update.name not in h0)
        if h0 and missing:
            raise ScanError([MissingScales(self.span, missing)])
        found = [finding for update in self.updates if update.name in h0 for finding in self._findings(update, h0, extent)]
        if found:
            raise ScanError(found)
        return {update.name: h0[update.name] for update in self.updates if update.name in h0}

    def _findings(self, update: Update, h0: Mapping[str, Any], extent: Extent) -> Iterator[Diagnostic]:
        value, name = h0[update.name], f"{H0}[{update.name!r}]"
        if not isinstance(value, Tensor):
            yield WrongType(update.span, name, f"a {type(value).__name__}", "a tensor")
        elif value.dtype != extent.dtype:
            was, wanted = (str(dtype).removeprefix("torch.") for dtype in (value.dtype, extent.dtype))
            yield WrongType(update.span, name, was, f"{wanted}, as the state is")
        elif value.device != extent.device:
            yield WrongDevice(update.span, name, str(value.device), str(extent.device))
        elif tuple(value.shape) != (wanted_shape := self.shape(update, extent)):
            dimensions = ", ".join(map(word, self.dimensions(update)))
            numbers = ", ".join(map(str, wanted_shape))
            yield WrongShape(update.span, name, tuple(value.shape), f"({dimensions}) = ({numbers})")

    def dimensions(self, update: Update) -> tuple[Dimension, ...]:
        """The shape of a state in letters: `(B, K, heads, n)`."""
        labels = tuple((self.graph.step.sizes[index],) for index in update.indices)
        own = ("K",) if self.graph.split is None else ()
        return ("B", *own, "C" if update.per == "channel" else "heads", *labels)

    def shape(self, update: Update, extent: Extent) -> tuple[int, ...]:
        own = (self.graph.directions,) if self.graph.split is None else ()
        return (extent.batch, *own, extent.channels // _every(update, extent), *self._extents(update, extent))

    def _extents(self, update: Update, extent: Extent) -> tuple[int, ...]:
        return tuple(extent.sizes[self.graph.step.sizes[index]] for index in update.indices)

    def _parts(self, extent: Extent) -> list[int]:
        """The channels of every direction."""
        own = (self.graph.channels(k, extent.channels) for k in range(self.graph.directions))
        return [part.stop - part.start for part in own]

    def packed(self, given: Mapping[str, Tensor], extent: Extent) -> Tensor:
        """The states before the first step; those that are not given are where they start."""
        return torch.cat([self._packed(update, given.get(update.name), extent) for update in self.updates], 2)

    def _packed(self, update: Update, value: Tensor | None, extent: Extent) -> Tensor:
        """One state, `(B, K, its entries, C)`."""
        parts, count = self._parts(extent), math.prod(self._extents(update, extent))
        shape = (extent.batch, len(parts), count, max(parts))
        if value is None:
            return torch.full(shape, update.start, dtype=extent.dtype, device=extent.device)
        value = value.detach() if update.constant else value
        split = self.graph.split is not None
        lanes = value.reshape(*value.shape[: 2 if split else 3], count).transpose(-1, -2)
        lanes = lanes.unsqueeze(-1).expand(*lanes.shape, _every(update, extent)).flatten(-2)
        if not split:
            return lanes
        own = zip(lanes.split(parts, -1), parts, strict=True)
        return torch.stack([functional.pad(one, (0, max(parts) - part)) for one, part in own], 1)

    def unpacked(self, packed: Tensor, extent: Extent) -> dict[str, Tensor]:
        """Every state by its name, in the shape of the program's."""
        counts = [math.prod(self._extents(update, extent)) for update in self.updates]
        return {
            update.name: self._unpacked(update, part, extent)
            for update, part in zip(self.updates, packed.split(counts, 2), strict=True)
        }

    def _unpacked(self, update: Update, packed: Tensor, extent: Extent) -> Tensor:
        part = packed.detach() if update.constant else packed
        if self.graph.split is not None:
            part = torch.cat([one[..., :own] for one, own in zip(part.unbind(1), self._parts(extent), strict=True)], -1)
        units = part[..., :: _every(update, extent)].transpose(-1, -2)
        return units.reshape(*units.shape[:-1], *self._extents(update, extent)).contiguous()


def _every(update: Update, extent: Extent) -> int:
    return extent.sizes.get(HEAD, 1) if update.per == "unit" else 1
