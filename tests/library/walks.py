"""Traversals as the published code makes them: the same slicing, transposing, flipping and arithmetic, on arrays of indices.

In: the lengths of the axes. Out: walks, lists of what is visited, step by step. Nothing of the compiler is in here. A map of
indices (`cells(h, w)`, -1 for padding) goes through what a design does to its feature map before it is flattened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.int64]
Step = int | tuple[str, int] | None
"""A cell's index in the raster; the name of a token and its number; None for padding."""


@dataclass(frozen=True)
class Walk:
    """What a direction visits, and the steps (not the first) at which its state starts anew."""

    steps: tuple[Step, ...]
    starts: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.steps)


Walks = tuple[Walk, ...]
"""Of the directions of a scan."""


def cells(*grid: int) -> Map:
    return np.arange(np.prod(grid), dtype=np.int64).reshape(grid)


def walk(indices: Map | Iterable[int]) -> Walk:
    """A map of indices, flattened."""
    flat = indices.ravel() if isinstance(indices, np.ndarray) else indices
    return Walk(tuple(None if index < 0 else int(index) for index in flat))


def backwards(of: Walk) -> Walk:
    """The sequence flipped: a start before step t is one before what was step t - 1."""
    return Walk(of.steps[::-1], frozenset(len(of) - step for step in of.starts))


def apart(sequences: Iterable[Map]) -> Walk:
    """Sequences of their own, as a design has them that folds some axis into the batch."""
    parts = [part.ravel() for part in sequences]
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return Walk(walk(np.concatenate(parts)).steps, frozenset(int(end) for end in ends))


def with_tokens(of: Walk, **places: int | list[int]) -> Walk:
    """Tokens put into a sequence: where each of them ends up in it."""
    lists = {name: at if isinstance(at, list) else [at] for name, at in places.items()}
    steps = list(of.steps)
    for place, name, number in sorted((place, name, number) for name, at in lists.items() for number, place in enumerate(at)):
        steps.insert(place, (name, number))
    assert not of.starts
    return Walk(tuple(steps))


# Orders.


def raster(*grid: int) -> Walk:
    return walk(cells(*grid))


def columns(h: int, w: int) -> Walk:
    return walk(cells(h, w).T)


def turned(indices: Map) -> Map:
    """Half a turn."""
    return indices[::-1, ::-1]


def mirrored(indices: Map, axis: int) -> Map:
    return np.flip(indices, axis)


def snake(indices: Map) -> Walk:
    """Every second row of the map the other way."""
    return walk(np.concatenate([row if number % 2 == 0 else row[::-1] for number, row in enumerate(indices)]))


def diagonal(indices: Map) -> Walk:
    h, w = indices.shape
    return walk(indices[i, s - i] for s in range(h + w - 1) for i in range(max(0, s - w + 1), min(s + 1, h)))


def zigzag(indices: Map) -> Walk:
    """JPEG's: the diagonals, every even one from its lower end."""
    h, w = indices.shape
    found: list[int] = []
    for s in range(h + w - 1):
        line = [int(indices[i, s - i]) for i in range(h) if 0 <= s - i < w]
        found += line if s % 2 else line[::-1]
    return walk(found)


def spiral(indices: Map) -> Walk:
    """Peel off the first row, turn what is left."""
    found: list[int] = []
    while indices.size:
        found += indices[0].tolist()
        indices = np.rot90(indices[1:])
    return walk(found)


def zorder(indices: Map) -> Walk:
    """Sorted by the bits of the row and the column, shuffled: the column's lowest bit is the lowest."""
    h, w = indices.shape

    def code(r: int, c: int) -> str:
        return "".join(a + b for a, b in zip(f"{r:016b}", f"{c:016b}", strict=True))

    return walk(indices[r, c] for r, c in sorted(np.ndindex(h, w), key=lambda cell: code(*cell)))


def hilbert(indices: Map) -> Walk:
    """The generalised curve, from the first cell along the longer side."""
    h, w = indices.shape
    path = curve(w, h) if w >= h else [(r, c) for c, r in curve(h, w)]
    return walk(indices[r, c] for c, r in path)


def curve(a: int, b: int) -> list[tuple[int, int]]:
    """From (0, 0) to (a - 1, 0), over a × b cells: in two halves of a flat block, else up, across and down again."""
    if b == 1:
        return [(i, 0) for i in range(a)]
    if a == 1:
        return [(0, j) for j in range(b)]
    a2, b2 = a // 2, b // 2
    if 2 * a > 3 * b:
        a2 += a2 % 2 if a > 2 else 0
        return curve(a2, b) + [(a2 + i, j) for i, j in curve(a - a2, b)]
    b2 += b2 % 2 if b > 2 else 0
    up = [(i, j) for j, i in curve(b2, a2)]
    across = [(i, b2 + j) for i, j in curve(a, b - b2)]
    down = [(a - 1 - i, b2 - 1 - j) for j, i in curve(b2, a - a2)]
    return up + across + down


def wrapped(h: int, w: int, sign: int) -> Walk:
    """RS-Mamba's diagonals, which come in again on the other side: down to the right (1), down to the left (-1)."""
    return walk((t % h) * w + (t // h + sign * (t % h)) % w for t in range(h * w))


def stripes(indices: Map, width: int, first: int) -> Walk:
    """MaIR's: stripes of columns (`first` is the width of the first), each a snake, every second one from below."""
    h, w = indices.shape
    edges = [0, *range(first, w, width), w]
    found: list[int] = []
    for number, (left, right) in enumerate(pairwise(edges)):
        stripe = indices[:, left:right]
        stripe = stripe[::-1] if number % 2 else stripe
        for row in range(h):
            found += stripe[row].tolist() if row % 2 == 0 else stripe[row, ::-1].tolist()
    return walk(found)


def padded(h: int, w: int, size: int) -> Map:
    """Zeros at the bottom and on the right up to whole windows."""
    return np.pad(cells(h, w), ((0, -h % size), (0, -w % size)), constant_values=-1)


def windows(indices: Map, size: int) -> Walk:
    """LocalMamba's: the place of cell (i, j) in the sequence, of a map of whole windows."""
    h, w = indices.shape
    i, j = np.indices((h, w))
    place = ((w // size) * (i // size) + j // size) * size * size + (i % size) * size + j % size
    found = np.empty(h * w, dtype=np.int64)
    found[place] = indices
    return walk(found)


def ragged_windows(h: int, w: int, size: int) -> list[Map]:
    """Windows that are cut off where the map ends."""
    return [cells(h, w)[i : i + size, j : j + size] for i in range(0, h, size) for j in range(0, w, size)]
