"""How time grows with one size: time for each element of work, and neighbours between which it jumps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from scanlang.bench.row import Row

STEEPEST = 1.5
LEAST_MS = 0.020
"""Of the larger one of two neighbours that are compared: what is shorter is all launching."""


@dataclass(frozen=True)
class Growth:
    """One row of a series. `against` is its time for an element as a multiple of its lower neighbour's, None for the first."""

    series: str
    at: int
    milliseconds: float
    per_element: float
    against: float | None

    @property
    def jumps(self) -> bool:
        steep = self.against is not None and not 1 / STEEPEST <= self.against <= STEEPEST
        return steep and self.milliseconds > LEAST_MS


def growth(rows: Mapping[str, Row]) -> Iterator[Growth]:
    """By series, from the smallest size on; `per_element` in picoseconds."""
    series: dict[str, list[Row]] = {}
    for row in rows.values():
        if row.step is not None and row.times is not None:
            series.setdefault(row.step.series, []).append(row)
    for name, members in series.items():
        placed = sorted(_placed(row) for row in members)
        first_at, first_ms, first = placed[0]
        yield Growth(name, first_at, first_ms, first * 1e9, None)
        for (_, _, before), (at, milliseconds, each) in pairwise(placed):
            yield Growth(name, at, milliseconds, each * 1e9, each / before)


def _placed(row: Row) -> tuple[int, float, float]:
    """The size, milliseconds, and those for an element."""
    assert row.step is not None
    assert row.times is not None
    return row.step.at, row.times.median, row.times.median / row.step.work


def growth_table(rows: Mapping[str, Row]) -> str:
    """Empty where no row has a series."""
    found = list(growth(rows))
    if not found:
        return ""
    wide = max(len(one.series) for one in found)
    lines = [f"{'series':<{wide}}  {'at':>4}  {'ms':>8}  {'ps/element':>10}  against the one before"]
    for one in found:
        against = "" if one.against is None else f"{one.against:.2f}x{'  JUMP' if one.jumps else ''}"
        numbers = f"{one.at:>4}  {one.milliseconds:>8.3f}  {one.per_element:>10.2f}"
        lines.append(f"{one.series:<{wide}}  {numbers}  {against}".rstrip())
    jumps = sum(one.jumps for one in found)
    lines.append(f"{jumps} of {sum(one.against is not None for one in found)} neighbours differ by more than {STEEPEST}x")
    return "\n".join(lines)
