"""Window orders at one size. In: a `WindowOrder`, the sequence of its windows, that of what is inside; out: a `Sequence`.

Outer steps are of few kinds: windows of one shape each, tokens, pads. What happens in a step of a kind is made once, then
laid down at all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from scanlang.check.program import WindowOrder
from scanlang.maps.bounds import Grid
from scanlang.maps.evaluate import IntArray
from scanlang.maps.steps import (
    Flags,
    Sequence,
    Tokens,
    combined,
    filled,
    first_token,
    numbered_changes,
    pads_in_time,
    placed,
    raster_indices,
    raster_of,
    renumbered,
    together,
    token_ranges,
)

NOTHING = Sequence(0, np.zeros(0, dtype=np.int64))


def outside(window: Sequence) -> Sequence:
    """A window that is outside the grid: as many steps, all of them pads, in one run."""
    segments = None if window.segments is None else np.zeros_like(window.segments)
    return replace(NOTHING, rows=np.full(window.steps, -1, dtype=np.int64), segments=segments)


@dataclass(frozen=True)
class Windows:
    """`inside` gives the sequence inside a window of a size; `check_steps` raises ScanError for too many steps."""

    order: WindowOrder
    grid: Grid
    sizes: Grid
    counts: Grid
    outer: Sequence
    inside: Callable[[Grid], Sequence]
    check_steps: Callable[[int], None]

    def sequence(self) -> Sequence:
        steps = int(self.lengths.sum())
        self.check_steps(steps)
        rows, segments, windows = (np.zeros(steps, dtype=np.int64) for _ in range(3))
        for kind, each in self.of_kinds.items():
            at = self.starts[self.kinds == kind][:, None] + np.arange(each.steps)
            rows[at] = self.rows(kind, each)
            segments[at] = 0 if each.segments is None else each.segments
            windows[at] = 0 if each.windows is None else each.windows
        rows[self.starts[self.own_tokens]] = self.rows_of_own_tokens()
        outer_segments, outer_windows = self.outer_numbers()
        known = np.ones(steps, dtype=np.bool_)
        known[self.starts[self.own_tokens]] = False
        return Sequence(
            prod(self.grid),
            *pads_in_time(rows),
            self.tokens,
            None if outer_segments is None else numbered_changes(filled(outer_segments, known), filled(segments, known)),
            combined(filled(outer_windows, known), filled(windows, known)),
        )

    # Kinds of outer steps.

    @cached_property
    def corners(self) -> tuple[IntArray, ...]:
        """The first cell, by its coordinates, of the window of every outer step."""
        places = np.unravel_index(np.where(self.outer.at_cells, self.outer.rows, 0), self.counts)
        return tuple(place.astype(np.int64) * size for place, size in zip(places, self.sizes, strict=True))

    @cached_property
    def kinds(self) -> IntArray:
        """Of every outer step: the axes along which its window is cut off, as bits; `token` and `pad` for such steps."""
        kinds = np.zeros(self.outer.steps, dtype=np.int64)
        for axis, (corner, size, length) in enumerate(zip(self.corners, self.sizes, self.grid, strict=True)):
            kinds |= (corner + size > length).astype(np.int64) << axis
        kinds[self.own_tokens] = self.token
        kinds[self.outer.rows < 0] = self.pad
        return kinds

    @property
    def token(self) -> int:
        return 1 << len(self.grid)

    @property
    def pad(self) -> int:
        return self.token + 1

    @cached_property
    def own_tokens(self) -> Flags:
        """The outer steps that are tokens."""
        return self.outer.rows >= self.outer.cells

    @cached_property
    def of_kinds(self) -> dict[int, Sequence]:
        return {int(kind): self.of_kind(int(kind)) for kind in np.unique(self.kinds)}

    def of_kind(self, kind: int) -> Sequence:
        """What happens in such an outer step; cells count from the window's corner, in the raster of the whole grid."""
        decay = self.order.pad == "decay"
        if kind == self.token:
            return replace(NOTHING, rows=np.zeros(1, dtype=np.int64))
        if kind == self.pad:
            return outside(self.whole) if decay else NOTHING
        cut = (kind >> axis & 1 for axis in range(len(self.grid)))
        shape = tuple(n % size if is_cut else size for is_cut, n, size in zip(cut, self.grid, self.sizes, strict=True))
        sequence = self.whole if decay else self.inside(shape)
        to = raster_indices([np.arange(size) for size in (self.sizes if decay else shape)], shape, self.grid)
        return placed(sequence, to, prod(self.grid))

    @cached_property
    def whole(self) -> Sequence:
        """Inside a window that is not cut off."""
        self.check_steps(prod(self.sizes))
        return self.inside(self.sizes)

    def of_steps(self, counts: Mapping[int, int]) -> IntArray:
        """A number for every outer step, from one for every kind."""
        table = np.zeros(self.pad + 1, dtype=np.int64)
        table[list(counts)] = list(counts.values())
        return table[self.kinds]

    @cached_property
    def lengths(self) -> IntArray:
        """How many steps every outer step is."""
        return self.of_steps({kind: each.steps for kind, each in self.of_kinds.items()})

    @cached_property
    def starts(self) -> IntArray:
        return np.cumsum(self.lengths) - self.lengths

    # Tokens: every window has its own, counted in time; those among the windows come after them.

    @cached_property
    def tokens_before(self) -> dict[str, IntArray]:
        """Of each name inside: how many there are before every outer step, and in all as the last."""
        before = {}
        for name in dict(together([each.tokens for each in self.of_kinds.values()], max)):
            counts = self.of_steps({kind: dict(each.tokens).get(name, 0) for kind, each in self.of_kinds.items()})
            before[name] = np.concatenate([[0], np.cumsum(counts)])
        return before

    @cached_property
    def tokens(self) -> Tokens:
        inside = tuple((name, int(counts[-1])) for name, counts in self.tokens_before.items())
        return together([inside, self.outer.tokens], int.__add__)

    def rows_of_own_tokens(self) -> IntArray:
        shifts = {name: int(counts[-1]) for name, counts in self.tokens_before.items()}
        rows: IntArray = renumbered(self.outer, self.tokens, shifts)[self.own_tokens]
        return rows - self.outer.cells + prod(self.grid)

    def rows(self, kind: int, inner: Sequence) -> IntArray:
        """Of all outer steps of a kind, one below the other."""
        where = np.flatnonzero(self.kinds == kind)
        rows: IntArray = inner.rows + raster_of(self.corners, self.grid)[where][:, None]
        rows[:, inner.rows < 0] = -1
        for name, first, count in token_ranges(inner.tokens):
            named = np.flatnonzero((inner.rows >= inner.cells + first) & (inner.rows < inner.cells + first + count))
            counted_on = first_token(self.tokens, name) + self.tokens_before[name][where]
            rows[:, named] = inner.rows[named] - first + counted_on[:, None]
        return rows

    # What changes from one outer step to the next.

    def outer_numbers(self) -> tuple[IntArray | None, IntArray]:
        """For every step, the segment and the window of its outer step; those of tokens do not count."""
        if any(each.segments is not None for each in self.of_kinds.values()):
            segments: IntArray | None = np.arange(self.outer.steps, dtype=np.int64)
        else:
            segments = self.outer.segments
        windows = np.where(self.outer.rows < 0, self.outer.cells - 1 - self.outer.rows, self.outer.rows)
        return None if segments is None else np.repeat(segments, self.lengths), np.repeat(windows, self.lengths)
