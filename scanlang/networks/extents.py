"""How long the axes of a map are, as a function of the image's: windows that slide along an axis, factors that enlarge it.

In: kernels, strides and paddings of the layers that a value went through. Out: the length for any length of the image, and the
reduction as an exact factor. Every axis goes through the same, so that one `Extent` does for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

SHOWN = 224
"""Where no size of the image is given, messages tell what becomes of this length."""

TRIED = range(1, 513)
"""Two maps whose lengths agree at none of these lengths of the image never fit together."""


@dataclass(frozen=True)
class Windows:
    """Windows of `kernel` cells, one every `stride` cells, on an axis with `padding` more cells at either end.

    `ragged`: the last window may reach over the end.
    """

    kernel: int
    stride: int
    padding: int = 0
    ragged: bool = False

    @property
    def factor(self) -> Fraction:
        return Fraction(self.stride)

    @property
    def keeps(self) -> bool:
        """There are as many as cells, on every axis."""
        return self.stride == 1 and self.kernel == 2 * self.padding + 1

    def at(self, length: int) -> int:
        """How many there are; 0 where not even one fits."""
        room = length + 2 * self.padding - self.kernel
        if not self.ragged:
            return max(room // self.stride + 1, 0)
        count = -(-max(room, 0) // self.stride) + 1
        return count if (count - 1) * self.stride < length else count - 1


@dataclass(frozen=True)
class Enlarged:
    """So many cells from every one."""

    by: int

    @property
    def factor(self) -> Fraction:
        return Fraction(1, self.by)

    @property
    def keeps(self) -> bool:
        return self.by == 1

    def at(self, length: int) -> int:
        return length * self.by


Change = Windows | Enlarged


@dataclass(frozen=True)
class Extent:
    """What was done to every axis, one change after the other."""

    changes: tuple[Change, ...] = ()

    def then(self, change: Change) -> Extent:
        return self if change.keeps else Extent((*self.changes, change))

    @property
    def reduction(self) -> Fraction:
        """The image's length by the map's, ends apart: 4 behind a patch embedding of 4 × 4 cells."""
        product = Fraction(1)
        for change in self.changes:
            product *= change.factor
        return product

    def at(self, length: int) -> int:
        """The length of an axis where that of the image is `length`; 0 where some window does not fit."""
        for change in self.changes:
            length = change.at(length)
        return length

    def grid(self, image: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(self.at(length) for length in image)


IMAGE = Extent()
"""The image's own."""


@lru_cache(maxsize=4096)
def may_agree(left: Extent, right: Extent) -> bool:
    """Whether there are images on which both are as long."""
    if left == right:
        return True
    return left.reduction == right.reduction and any(left.at(length) == right.at(length) > 0 for length in TRIED)


def agree(left: Extent, right: Extent, image: tuple[int, ...] | None) -> bool:
    """Whether both are as long on this image, or on any if none is given."""
    return may_agree(left, right) if image is None else left.grid(image) == right.grid(image)
