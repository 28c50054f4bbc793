"""What an operator knows of time at one size: restarts, tables by label, rows of orders given at run time, unvisited pads.

In: the visits at that size, and tensors of a call. Out: arrays along TIME `(K, J, ·)`, tables `(B, routes, K, J)`, gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from scanlang.diagnostics import ScanError
from scanlang.errors import NotAPermutation
from scanlang.maps.traversal import Visits
from scanlang.source import Span

MOST_SIZES = 64


class AlongTime:
    """The constants of one size on one device."""

    def __init__(self, visits: Visits, device: torch.device) -> None:
        self.visits = visits
        steps = (len(visits.lengths), visits.steps)
        restarts, labels, there = np.zeros(steps, np.float32), np.zeros(steps, np.int64), np.zeros(steps, np.bool_)
        for k, length in enumerate(visits.lengths):
            restarts[k, :length], labels[k, :length], there[k, :length] = visits.restarts[k], visits.labels[k], True
        self.restarts = torch.from_numpy(restarts)[..., None].to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.there = torch.from_numpy(there).to(device)
        self.table = torch.from_numpy(visits.table).to(device)
        self.unvisited = [_unvisited_pads(visits, route).to(device) for route in range(len(visits.tables))]

    def clear_unvisited_pads(self, parts: list[Tensor], route: int) -> None:
        """Zero the pads of maps, one per direction, that no direction with that map visits: an executable leaves anything."""
        unvisited = self.unvisited[route]
        if all(part is parts[0] for part in parts):
            parts, unvisited = parts[:1], unvisited.all(0, keepdim=True)
        for part, own in zip(parts, unvisited, strict=True):
            pads = part[:, self.visits.rows - self.visits.pads :]
            pads.masked_fill_(own.view(-1, *(1 for _ in pads.shape[2:])), 0)

    def labelled(self, table: Tensor, dtype: torch.dtype) -> Tensor:
        """A table `(K, labels, width)`, or `(labels, width)` for all directions → its row at every step, `(K, J, width)`."""
        if table.ndim == 2:
            return table.to(dtype)[self.labels]
        directions = torch.arange(table.shape[0], device=table.device)[:, None]
        return table.to(dtype)[directions, self.labels]

    def labelled_gradient(self, gradient: Tensor, shape: Sequence[int]) -> Tensor:
        """From the gradient of every step to that of the table; sums in a fixed order."""
        rows = [torch.where((self.there & (self.labels == label))[..., None], gradient, 0).sum(1) for label in range(shape[-2])]
        made = torch.stack(rows, 1)
        return made if len(shape) == 3 else made.sum(0)

    def tables(self, given: Mapping[tuple[int, int], Tensor]) -> Tensor:
        """The row of every step, `(B, routes, K, J)` int32, where some orders `(B, L)` are given, by route and direction.

        Entries of a given order are its steps; cells outside the grid are replaced, so that nothing outside a map is read.
        """
        batch = next(iter(given.values())).shape[0]
        tables = self.table.expand(batch, *self.table.shape).clone()
        for (route, direction), order in given.items():
            entries = self.table[route, direction].long()
            rows = order.clamp(0, self.visits.cells - 1)[:, entries.clamp(max=self.visits.cells - 1)]
            tables[:, route, direction] = torch.where(entries < self.visits.cells, rows, entries).to(torch.int32)
        return tables


def _unvisited_pads(visits: Visits, route: int) -> Tensor:
    """`(K, pads)`: whether a direction never gets there."""
    covered = visits.rows - visits.pads
    unvisited = np.ones((len(visits.lengths), visits.pads), np.bool_)
    for k, rows in enumerate(visits.tables[route]):
        unvisited[k, rows[rows >= covered] - covered] = False
    return torch.from_numpy(unvisited)


def check_permutations(name: str, span: Span, order: Tensor, cells: int) -> None:
    """Raise a ScanError for the first step of the first image that leaves the grid or visits a cell a second time."""
    outside = (order < 0) | (order >= cells)
    steps = order.clamp(0, cells - 1).long()
    first = torch.full_like(steps, cells)
    times = torch.arange(order.shape[1], device=order.device).expand_as(steps)
    first = first.scatter_reduce(1, torch.where(outside, 0, steps), torch.where(outside, cells, times), "amin")
    before = first.gather(1, steps)
    wrong = outside | (before < times)
    if not bool(wrong.any()):
        return
    image, step = (int(place) for place in wrong.nonzero()[0])
    seen = None if bool(outside[image, step]) else int(before[image, step])
    value = int(order[image, step])
    raise ScanError([NotAPermutation(span, name, image, step, value, cells, seen)])
