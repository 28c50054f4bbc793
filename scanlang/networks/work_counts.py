"""What is counted, before a rule says how much it weighs."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Work:
    """dense          multiply-adds of linear maps and convolutions, of a scan's projections, and of sums in its recurrence that
                      no state is in (a step length made from `rank` numbers)
    recurrent      multiply-adds of a recurrence: one for every update of an entry of a state, and those of sums over states
    entries        entries of states, times steps: L·D·N
    outputs        outputs of recurrences, times steps: L·D
    normalised     values that a norm with a learned scale goes over
    standardised   values that a norm without one goes over
    pooled         values that a mean or maximum is taken of
    resized        values made by interpolation
    """

    dense: int = 0
    recurrent: int = 0
    entries: int = 0
    outputs: int = 0
    normalised: int = 0
    standardised: int = 0
    pooled: int = 0
    resized: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __mul__(self, count: int) -> Work:
        return Work(*(getattr(self, each.name) * count for each in fields(self)))
