"""What goes through a network, without its numbers: maps with their channels, tokens and grid, vectors, numbers.

`widths.py` follows them from layer to layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

from scanlang.networks.extents import IMAGE, Extent

Tokens = tuple[tuple[str, int], ...]
"""Names, and how many there are of each, in the order of their rows."""


@dataclass(frozen=True)
class Map:
    """A feature: a row for every cell of a grid and for every token."""

    channels: int
    extent: Extent = IMAGE
    tokens: Tokens = ()

    def __str__(self) -> str:
        return f"a map of {counted(self.channels, 'channel')}"

    def grid(self, image: tuple[int, ...]) -> tuple[int, ...]:
        """The length of every axis where the image has these lengths."""
        return self.extent.grid(image)

    def cells(self, image: tuple[int, ...]) -> int:
        return prod(self.grid(image))

    def rows(self, image: tuple[int, ...]) -> int:
        """Cells and tokens."""
        return self.cells(image) + self.token_rows

    @property
    def token_rows(self) -> int:
        return sum(count for _, count in self.tokens)

    @property
    def token_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.tokens)


@dataclass(frozen=True)
class Vector:
    """`(B, channels)`: what is left of a map where its cells are gone."""

    channels: int

    def __str__(self) -> str:
        return f"a vector of {counted(self.channels, 'channel')}"

    def rows(self, image: tuple[int, ...]) -> int:
        return 1


@dataclass(frozen=True)
class Quantity:
    """A number; None where it is not exact."""

    value: Fraction | None

    def __str__(self) -> str:
        return "a number"


@dataclass(frozen=True)
class Several:
    """What `split` makes."""

    parts: tuple[Map | Vector, ...]

    def __str__(self) -> str:
        return f"{len(self.parts)} values"


@dataclass(frozen=True)
class Unknown:
    """What comes after a finding: nothing more is said of it."""

    def __str__(self) -> str:
        return "an unknown value"


Value = Map | Vector | Quantity | Several | Unknown


def counted(number: int, word: str) -> str:
    """`1 channel`, `96 channels`."""
    return f"{number} {word}{'' if number == 1 else 's'}"
