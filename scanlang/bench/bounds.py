"""How long a row would take at the machine's best: its bytes, its exp and log, its instructions, each alone.

bytes         bytes / (bytes copied in a second)
exponentials  exp and log / (16 · multiprocessors · clock)
issue slots   instructions of a warp / (4 · multiprocessors · clock)
"""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.bench.machine import Limits
from scanlang.bench.row import Row


@dataclass(frozen=True)
class Bounds:
    """Milliseconds; None where it is not known."""

    bytes: float | None
    special: float | None
    issued: float | None

    @property
    def largest(self) -> float | None:
        """What no schedule of the same instructions is faster than."""
        return max((bound for bound in (self.bytes, self.special, self.issued) if bound), default=None)


def bounds_of(row: Row, limits: Limits) -> Bounds:
    """
    >>> bounds_of(Row(bytes=2_000_000, special=500_000), Limits("a machine", 1e9, 1e9))
    Bounds(bytes=2.0, special=0.5, issued=None)
    """
    return Bounds(
        _milliseconds(row.bytes, limits.bytes),
        _milliseconds(row.special, limits.special),
        _milliseconds(row.issued, limits.issued),
    )


def _milliseconds(count: int | None, per_second: float | None) -> float | None:
    return None if count is None or per_second is None else count / per_second * 1e3


def share(row: Row, limits: Limits) -> float | None:
    """Of the largest bound in the time that was measured: 1 is the machine's best."""
    bound = bounds_of(row, limits).largest
    return None if bound is None or row.times is None else bound / row.times.median
