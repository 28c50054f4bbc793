"""A scan on packed rows: what the registered operator does with real tensors, and what it promises of fake ones.

In: the arrays of a `Signature` and the orders given at run time, on one device. Out: the output on rows and what is saved, or
the gradient of every array. Which backend runs is decided by the device at each call.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
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
ChooseBackend = Callable[[ScanKernels, Traversal, str, Span], Executable]


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

    def executable(self, arrays: Sequence[Tensor]) -> Executable:
        """The scan for the sizes and the device of `arrays`, made on first use."""
        sizes, device = self.signature.sizes(list(arrays)), arrays[0].device.type
        key = (device, *sizes.items())
        with self._lock:
            if key not in self._executables:
                kernels = lower_to_kernels(self.graph, sizes)
                self._executables[key] = self.choose(kernels, self.graph.traversal, device, self.signature.span)
            return self._executables[key]

    def split(self, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """(arrays, orders given at run time) of what the registered operator takes."""
        count = len(self.signature.arrays)
        return list(tensors[:count]), list(tensors[count:])

    def computing(self, arrays: Sequence[Tensor]) -> torch.dtype:
        """float64 if any map is, else float32."""
        maps = (tensor for array, tensor in zip(self.signature.arrays, arrays, strict=True) if array.is_map)
        return torch.float64 if any(tensor.dtype == torch.float64 for tensor in maps) else torch.float32

    def output_like(self, arrays: Sequence[Tensor]) -> Tensor:
        """The array that gives the output its batch, channels and type."""
        return next(t for array, t in zip(self.signature.arrays, arrays, strict=True) if array.kind == "input")

    def kernel_arrays(self, arrays: Sequence[Tensor], grid: Sequence[int]) -> dict[str, Tensor]:
        """What an executable takes: streams, parameters and inputs of the merge, by name."""
        made = {array.name: array.flattened(t) for array, t in zip(self.signature.arrays, arrays, strict=True)}
        if not self.graph.labelled and not self.graph.restarts:
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

    def forward(self, tensors: Sequence[Tensor], grid: Sequence[int], save: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The output, the saved states and the partial outputs."""
        (arrays, orders), size = self.split(tensors), self.verified(grid)
        self.check_orders(orders, size)
        executable = self.executable(arrays)
        result, saved = executable.forward(self.kernel_arrays(arrays, size), size, save, self.tables(orders, size))
        if self.pads(size):
            parts = self.by_direction(result, self.graph.stacked, True)
            self.along_time(size, result.device).clear_unvisited_pads(parts, self.graph.output_route)
        return result, saved.states, saved.partials

    def backward(
        self, gradient: Tensor, states: Tensor, partials: Tensor, tensors: Sequence[Tensor], grid: Sequence[int]
    ) -> list[Tensor]:
        """The gradient of every array."""
        (arrays, orders), size = self.split(tensors), self.verified(grid)
        executable, made, tables = self.executable(arrays), self.kernel_arrays(arrays, size), self.tables(orders, size)
        saved = Saved(states, partials)
        if states.numel() == 0:
            saved = executable.forward(made, size, True, tables)[1]
        found = executable.backward(gradient.contiguous(), saved, made, size, tables)
        return [self.gradient(array.name, found[array.name], tensor, size)
                for array, tensor in zip(self.signature.arrays, arrays, strict=True)]  # fmt: skip

    def gradient(self, name: str, found: Tensor, array: Tensor, grid: Grid) -> Tensor:
        """What an executable found, in the shape and type of the array."""
        if name in self.graph.labelled:
            shape = (*array.shape[: array.ndim - self.labels(name)], found.shape[-1])
            found = self.along_time(grid, array.device).labelled_gradient(found, shape)
        found = found.to(array.dtype).reshape(array.shape).contiguous()
        node = self._inputs.get(name)
        if node is not None and self.pads(grid):
            parts = self.by_direction(found, node.per_direction, node.kind == "input")
            self.along_time(grid, array.device).clear_unvisited_pads(parts, self.graph.stream_routes.get(name, OWN))
        return found

    def by_direction(self, rows: Tensor, per_direction: bool, lanes: bool) -> list[Tensor]:
        """What each direction has of a map on rows; the same for all of them where they have it in common."""
        if per_direction:
            return list(rows.unbind(2))
        if self.graph.split is None or not lanes:
            return [rows] * self.graph.directions
        return [rows[..., self.graph.channels(k, rows.shape[-1])] for k in range(self.graph.directions)]

    def labels(self, name: str) -> int:
        """How many indices an array has."""
        return len(next(array.labels for array in self.signature.arrays if array.name == name))

    def fake_forward(self, tensors: Sequence[Tensor], grid: Sequence[Any], save: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Tensors of the shapes and types of `forward`, without their values."""
        arrays, _ = self.split(tensors)
        like, computing = self.output_like(arrays), self.computing(arrays)
        directions = (self.graph.directions,) if self.graph.stacked else ()
        states, partials = self.saved_shapes(arrays, grid) if save else ((0,), (0,))
        return (
            like.new_empty((like.shape[0], like.shape[1], *directions, like.shape[-1])),
            like.new_empty(states, dtype=computing),
            like.new_empty(partials, dtype=computing),
        )

    def saved_shapes(self, arrays: Sequence[Tensor], grid: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The shapes of the saved states and partial outputs."""
        executable, like = self.executable(arrays), self.output_like(arrays)
        kernels, directions = executable.kernels, self.graph.directions
        chunk = executable.chunk(tuple(grid))
        channels = max(count for _, count in kernels.channels(like.shape[-1])) if kernels.split else like.shape[-1]
        states = (like.shape[0], directions, (self.steps(grid) + chunk - 1) // chunk, len(kernels.forward.states), channels)
        partials = (directions, like.shape[0], like.shape[1], like.shape[-1]) if kernels.merge is not None else (0,)
        return states, partials
