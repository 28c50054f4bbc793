"""How many units, and groups of units, a scan's channels are: what dimensions show, what the program says, and whether it fits.

A unit is a head of consecutive channels, or one channel where a recurrence has no heads; a group is so many consecutive units.
Every direction's channels are whole units and whole groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scanlang.check.program import HEAD
from scanlang.diagnostics import Diagnostic
from scanlang.errors import ChannelsDoNotDivide
from scanlang.source import Span

Dimension = str | tuple[str] | tuple[str, int | str]
"""A letter (`B`, `H`, `W`, `K`, `C`) or `heads`, the label of a size in a tuple of its own (a program may call a size `C`),
`("T", "cls")`: the number of tokens of that name, or `("groups", 4)`: the number of groups of so many units."""

CHANNELS, HEADS = ("C", "C/K"), ("heads", "heads/K")


def word(dimension: Dimension) -> str:
    return dimension if isinstance(dimension, str) else dimension[0]


def units_in(dimension: Dimension) -> int | str | None:
    """The number of units in a group, or the label of the size that says it; None of what counts no groups."""
    return dimension[1] if isinstance(dimension, tuple) and len(dimension) == 2 and dimension[0] == "groups" else None


def of_units(dimensions: Iterable[Dimension]) -> list[Dimension]:
    """Those that count units or groups, units first."""
    found = dict.fromkeys(d for d in dimensions if d in HEADS or units_in(d) is not None)
    return sorted(found, key=lambda dimension: dimension not in HEADS)


def channels_each(dimension: Dimension, sizes: Mapping[str, int]) -> int | None:
    """How many consecutive channels have one entry of a dimension in common; None if the size that says so is not known."""
    if dimension in CHANNELS:
        return 1
    units = units_in(dimension)
    if HEAD not in sizes or (isinstance(units, str) and units not in sizes):
        return None
    return sizes[HEAD] * (1 if units is None else sizes[units] if isinstance(units, str) else units)


def length(dimension: Dimension, channels: int, directions: int, sizes: Mapping[str, int]) -> int | None:
    """How many entries a dimension has, as far as that is known."""
    each = channels_each(dimension, sizes)
    return None if each is None else _all(dimension, channels, directions) // each


def _all(dimension: Dimension, channels: int, directions: int) -> int:
    return channels // directions if isinstance(dimension, str) and dimension.endswith("/K") else channels


def read_off(shown: Mapping[Dimension, int], channels: int, directions: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """`sizes`, and what the lengths of dimensions say of units, and of groups whose size has a label."""
    known = dict(sizes)
    for dimension in of_units(shown):
        label = units_in(dimension) or HEAD
        if isinstance(label, str) and label not in known and (label == HEAD or HEAD in known):
            each = _all(dimension, channels, directions) // max(1, shown[dimension])
            known[label] = max(1, each // (1 if label == HEAD else known[HEAD]))
    return known


def undivided(span: Span, parts: Sequence[int], dimensions: Iterable[Dimension], sizes: Mapping[str, int]) -> Diagnostic | None:
    """The first direction's channels (`parts`) that are not whole units, or whole groups."""
    for dimension in of_units(("heads", *dimensions)):
        each = channels_each(dimension, sizes)
        wrong = None if each is None else next((part for part in parts if part % each), None)
        if wrong is not None:
            return ChannelsDoNotDivide(span, wrong, len(parts) > 1, _entries(dimension, sizes))
    return None


def _entries(dimension: Dimension, sizes: Mapping[str, int]) -> str:
    """`heads of 64 channels`, `groups of 4 heads of 64 channels`."""
    head, units = sizes[HEAD], units_in(dimension)
    heads = f"heads of {head} channels"
    if units is None:
        return heads
    count = sizes[units] if isinstance(units, str) else units
    return f"groups of {count} {heads if head > 1 else 'channels'}"
