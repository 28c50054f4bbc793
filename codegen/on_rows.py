"""A scan on packed rows: what the registered operator does with real tensors, and what it promises of fake ones.

In: the arrays of a `Signature` and the orders given at run time, on one device. Out: the output on rows and what is saved, or
the gradient of every array. Which backend runs is decided by the device at each call.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scanlang.codegen.along_time import MOST_SIZES, AlongTime, check_permutations
from scanlang.codegen.backend import choose_backend
from scanlang.codegen.executable import Executable, Saved
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.signature import Signature
from scanlang.diagnostics import ScanError
from scanlang.errors import UncoveredCell
from scanlang.graph.scan_graph import OWN, ScanGraph
from scanlang.graph.step_rewrites import RESTART
from scanlang.maps.traversal import Traversal, Visits
from scanlang.maps.verify import verify_size
from scanlang.source import Span

Grid = tuple[int, ...]
MOST_CALLS = 256
"""Kinds of calls that are remembered."""

ChooseBackend = Callable[[ScanKernels, Traversal, str, Span], Executable]


@dataclass(frozen=True)
class Kind:
    """What sizes, types and device decide of a call: found out, and checked, once. `shapes` are those of the arrays, and None
    where an executable takes them as they are."""

    grid: Grid
    executable: Executable
    shapes: tuple[tuple[str, tuple[int, ...] | None], ...]
    pads: int


class ScanOnRows:
    """`ScanOnRows(graph, signature)`: everything the operator of a scan needs, made once for each device and size.

    `uncovered`: there may be cells that no direction visits.
    """

    def __init__(
        self, graph: ScanGraph, signature: Signature, uncovered: bool = False, choose: ChooseBackend = choose_backend
    ) -> None:
        self.graph, self.signature, self.uncovered, self.choose = graph, signature, uncovered, choose
        self.given = {
            (route, k): name
            for route, orders in enumerate(graph.traversal.routes)
            for k, order in enumerate(orders)
            if (name := order.given) is not None
        }
        self._inputs = graph.inputs()
        self._executables: dict[tuple[object, ...], Executable] = {}
        self._constants: dict[tuple[Grid, torch.device], AlongTime] = {}
        self._verified: set[Grid] = set()
        self._kinds: dict[tuple[object, ...], Kind] = {}
        self._count, self._bare = len(signature.arrays), not graph.labelled and not graph.restarts
        self._lock = threading.Lock()

    def verified(self, grid: Sequence[Any]) -> Grid:
        """A size, whose orders are verified exhaustively the first time it is seen."""
        size = tuple(int(length) for length in grid)
        if size not in self._verified:
            for order in self.graph.orders:
                verify_size(order, *size)
            if not self.uncovered:
                self._check_cover(size)
            self._verified.add(size)
        return size

    def visits(self, grid: Sequence[Any]) -> Visits:
        """The tables of a size; plain orders do without."""
        return self.graph.traversal.at(self.verified(grid))

    def pads(self, grid: Grid) -> int:
        return 0 if self.graph.traversal.plain else self.graph.traversal.at(grid).pads

    def _check_cover(self, grid: Grid) -> None:
        """Every cell is written by some direction."""
        orders = self.graph.traversal.routes[self.graph.output_route]
        if any(order.covers for order in orders):
            return
        written = np.concatenate(self.graph.traversal.at(grid).tables[self.graph.output_route])
        unvisited = np.setdiff1d(np.arange(math.prod(grid)), written)
        if unvisited.size:
            cell = tuple(map(int, np.unravel_index(unvisited[0], grid)))
            sizes = tuple(zip(orders[0].axes, grid, strict=True))
            texts = tuple(order.name for order in orders)
            raise ScanError([UncoveredCell(self.signature.span, self.graph.name, texts, None, cell, sizes)])

    def steps(self, grid: Sequence[Any]) -> Any:
        """The number of steps of the longest direction; a traced size stays one where it says that by itself."""
        return math.prod(grid) if self.graph.traversal.plain else self.graph.traversal.at(tuple(map(int, grid))).steps

    def along_time(self, grid: Sequence[int], device: torch.device) -> AlongTime:
        key = tuple(grid), device
        with self._lock:
            while key not in self._constants and len(self._constants) >= MOST_SIZES:
                self._constants.pop(next(iter(self._constants)))
            if key not in self._constants:
                self._constants[key] = AlongTime(self.visits(grid), device)
            return self._constants[key]

    def executable(self, arrays: Sequence[Tensor], sizes: Mapping[str, int] | None = None) -> Executable:
        """The scan for the sizes and the device of `arrays`, made on first use."""
        sizes = self.signature.sizes(list(arrays)) if sizes is None else sizes
        device = arrays[0].device.type
        key = (device, *sizes.items())
        with self._lock:
            if key not in self._executables:
                kernels = lower_to_kernels(self.graph, sizes)
                self._executables[key] = self.choose(kernels, self.graph.traversal, device, self.signature.span)
            return self._executables[key]

    def kind(self, arrays: Sequence[Tensor], grid: Sequence[int]) -> Kind:
        """Of a call with real tensors."""
        key = (*grid, arrays[0].device, *[part for array in arrays for part in (array.shape, array.dtype)])
        found = self._kinds.get(key)
        if found is None:
            while len(self._kinds) >= MOST_CALLS:
                self._kinds.clear()
            found = self._kinds[key] = self._kind(arrays, self.verified(grid))
        return found

    def _kind(self, arrays: Sequence[Tensor], grid: Grid) -> Kind:
        sizes = self.signature.sizes(list(arrays))
        named = zip(self.signature.arrays, arrays, strict=True)
        wanted = [(array.name, array.flat(tensor.shape, sizes), tuple(tensor.shape)) for array, tensor in named]
        shapes = tuple((name, None if flat == shape else flat) for name, flat, shape in wanted)
        return Kind(grid, self.executable(arrays, sizes), shapes, self.pads(grid))

    def split(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(arrays, orders given at run time) of what the registered operator takes, initial states apart."""
        return list(tensors[: self._count]), list(tensors[self._count :])

    def computing(self, arrays: Sequence[Tensor]) -> torch.dtype:
        """float64 if any map is, else float32."""
        maps = (tensor for array, tensor in zip(self.signature.arrays, arrays, strict=True) if array.is_map)
        return torch.float64 if any(tensor.dtype == torch.float64 for tensor in maps) else torch.float32

    def output_like(self, arrays: Sequence[Tensor]) -> tuple[Tensor, Any]:
        """The array that gives the output its batch, rows and type, and the number of channels."""
        by_name = {array.name: tensor for array, tensor in zip(self.signature.arrays, arrays, strict=True)}
        like, leading = self.signature.like(self.signature.sizes(list(arrays))), self.signature.leading
        return by_name[like.name], leading.shown(by_name[leading.name])

    def kernel_arrays(self, arrays: Sequence[Tensor], grid: Sequence[int], kind: Kind | None = None) -> dict[str, Tensor]:
        """What an executable takes: streams, parameters and inputs of the merge, by name."""
        shapes = (self.kind(arrays, grid) if kind is None else kind).shapes
        made = {
            name: (tensor if shape is None else tensor.reshape(shape)).contiguous()
            for (name, shape), tensor in zip(shapes, arrays, strict=True)
        }
        if self._bare:
            return made
        constants = self.along_time(grid, arrays[0].device)
        for name in self.graph.labelled:
            made[name] = constants.labelled(made[name], self.computing(arrays))
        return {**made, RESTART: constants.restarts} if self.graph.restarts else made

    def tables(self, orders: Sequence[Tensor], grid: Sequence[int]) -> Tensor | None:
        """The rows of every step of every image, where an order is given at run time."""
        if not orders:
            return None
        constants = self.along_time(grid, orders[0].device)
        by_name = dict(zip(self.graph.traversal.given_names, orders, strict=True))
        return constants.tables({place: by_name[name] for place, name in self.given.items()})

    def check_orders(self, orders: Sequence[Tensor], grid: Sequence[int]) -> None:
        """On a GPU only where asked for: it waits for the device."""
        for name, order in zip(self.graph.traversal.given_names, orders, strict=True):
            if order.device.type == "cpu" or os.environ.get("SCANLANG_DEBUG") == "1":
                check_permutations(name, self.signature.span, order, math.prod(grid))

    def forward(
        self, tensors: Sequence[Tensor], grid: Sequence[int], save: bool, entry: Tensor | None = None, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The output, the saved states, the partial outputs, and (`last`) the states after the last step."""
        arrays, orders = self.split(tensors)
        kind = self.kind(arrays, grid)
        executable, size = kind.executable, kind.grid
        if orders:
            self.check_orders(orders, size)
        entry = None if entry is None else entry.contiguous()
        made, tables = self.kernel_arrays(arrays, size, kind), self.tables(orders, size)
        final = self.zero_states(arrays) if last else None
        result, saved = executable.forward(made, size, save, tables, entry, final)
        if kind.pads:
            parts = self.by_direction(result, self.graph.stacked)
            self.along_time(size, result.device).clear_unvisited_pads(parts, self.graph.output_route)
        return result, saved.states, saved.partials, result.new_empty(0) if final is None else final

    def backward(
        self,
        gradient: Tensor | None,
        states: Tensor,
        partials: Tensor,
        tensors: Sequence[Tensor],
        grid: Sequence[int],
        entry: Tensor | None = None,
        final: Tensor | None = None,
        first: bool = False,
    ) -> list[Tensor]:
        """The gradient of every array, and (`first`) of the states before the first step.

        `gradient` is that of the output, `final` of the states after the last step; without them they are zero.
        """
        arrays, orders = self.split(tensors)
        kind = self.kind(arrays, grid)
        executable, size = kind.executable, kind.grid
        made, tables = self.kernel_arrays(arrays, size, kind), self.tables(orders, size)
        entry, final = (None if ends is None else ends.contiguous() for ends in (entry, final))
        saved = Saved(states, partials)
        if states.numel() == 0:
            saved = executable.forward(made, size, True, tables, entry)[1]
        if gradient is None:
            gradient = self.empty_output(arrays).zero_()
        of_entry = self.zero_states(arrays) if first else None
        found = executable.backward(gradient.contiguous(), saved, made, size, tables, final, of_entry)
        gradients = [
            self.gradient(name, found[name], tensor, kind) for (name, _), tensor in zip(kind.shapes, arrays, strict=True)
        ]
        return gradients if of_entry is None else [*gradients, of_entry]

    def gradient(self, name: str, found: Tensor, array: Tensor, kind: Kind) -> Tensor:
        """What an executable found, in the shape and type of the array."""
        if name in self.graph.labelled:
            shape = (*array.shape[: array.ndim - self.labels(name)], found.shape[-1])
            found = self.along_time(kind.grid, array.device).labelled_gradient(found, shape)
        found = found.to(array.dtype).reshape(array.shape).contiguous()
        node = self._inputs.get(name)
        if node is not None and kind.pads:
            parts = self.by_direction(found, node.per_direction, node.per != "all")
            self.along_time(kind.grid, array.device).clear_unvisited_pads(parts, self.graph.stream_routes.get(name, OWN))
        return found

    def by_direction(self, rows: Tensor, per_direction: bool, own: bool = True) -> list[Tensor]:
        """What each direction has of a map on rows; the same for all of them where they have it in common.

        `own`: there are values for channels, or for units of them.
        """
        if per_direction:
            return list(rows.unbind(2))
        if self.graph.split is None or not own:
            return [rows] * self.graph.directions
        return [rows[:, :, self.graph.channels(k, rows.shape[2])] for k in range(self.graph.directions)]

    def labels(self, name: str) -> int:
        """How many indices an array has."""
        return len(next(array.labels for array in self.signature.arrays if array.name == name))

    def empty_output(self, arrays: Sequence[Tensor]) -> Tensor:
        like, channels = self.output_like(arrays)
        directions = (self.graph.directions,) if self.graph.stacked else ()
        return like.new_empty((like.shape[0], like.shape[1], *directions, channels))

    def zero_states(self, arrays: Sequence[Tensor]) -> Tensor:
        """The states of one step of every direction, `(B, K, S, C)`."""
        kernels, (like, channels) = self.executable(arrays).kernels, self.output_like(arrays)
        shape = (like.shape[0], self.graph.directions, len(kernels.forward.states), _most(kernels, channels))
        return like.new_zeros(shape, dtype=self.computing(arrays))

    def fake_forward(
        self, tensors: Sequence[Tensor], grid: Sequence[Any], save: bool, last: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tensors of the shapes and types of `forward`, without their values."""
        arrays, _ = self.split(tensors)
        result, computing = self.empty_output(arrays), self.computing(arrays)
        states, partials = self.saved_shapes(arrays, grid) if save else ((0,), (0,))
        return (
            result,
            result.new_empty(states, dtype=computing),
            result.new_empty(partials, dtype=computing),
            self.zero_states(arrays) if last else result.new_empty(0),
        )

    def saved_shapes(self, arrays: Sequence[Tensor], grid: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The shapes of the saved states and partial outputs."""
        executable, (like, channels) = self.executable(arrays), self.output_like(arrays)
        kernels, directions = executable.kernels, self.graph.directions
        chunk = executable.chunk(tuple(grid), self.computing(arrays))
        chunks, most = (self.steps(grid) + chunk - 1) // chunk, _most(kernels, channels)
        states = (like.shape[0], directions, chunks, len(kernels.forward.states), most)
        partials = (directions, like.shape[0], like.shape[1], channels) if kernels.merge is not None else (0,)
        return states, partials


def _most(kernels: ScanKernels, channels: Any) -> Any:
    """The channels of the direction that has most of them."""
    return max(count for _, count in kernels.channels(channels)) if kernels.split else channels
