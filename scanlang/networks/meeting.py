"""Where a value meets a layer, a function or another value: what messages say of the place, and what unwinds with a finding."""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.diagnostics import Diagnostic
from scanlang.errors import (
    ChannelsMeet,
    GridsMeet,
    LayerChannels,
    NetworkPlace,
    TokensInTheWay,
    TokensMeet,
    WrongAxes,
    WrongKind,
)
from scanlang.networks.extents import SHOWN, agree
from scanlang.networks.values import Map, Value, Vector
from scanlang.source import Span

LONGEST = 40


class Misfit(Exception):
    """Unwinds a call with its findings."""

    def __init__(self, *findings: Diagnostic) -> None:
        super().__init__(findings)
        self.findings = findings


@dataclass(frozen=True)
class Setting:
    """The names of the grid's axes, and the size of the image where one is given."""

    axes: tuple[str, ...]
    image: tuple[int, ...] | None

    @property
    def shown(self) -> tuple[int, ...]:
        """The size that messages speak of."""
        return self.image or (SHOWN,) * len(self.axes)


@dataclass(frozen=True)
class Meeting:
    """A call: what is called, where, where it is made (of a function the call itself), and the texts of its arguments.

    In a chain or repeat there is no text: `source` then says what made the value.
    """

    setting: Setting
    name: str
    call: Span
    made: Span
    place: NetworkPlace
    arguments: tuple[str, ...] = ()
    source: str = ""

    def what(self, number: int = 0) -> str:
        """The value of an argument in words."""
        return f"`{self.arguments[number]}`" if self.arguments else self.source

    def a_map(self, value: Value, number: int = 0) -> Map:
        if not isinstance(value, Map):
            raise Misfit(WrongKind(self.call, self.place, self.name, "a map", str(value), self.what(number)))
        return value

    def features(self, value: Value, number: int = 0) -> Map | Vector:
        """A map or a vector."""
        if not isinstance(value, Map | Vector):
            raise Misfit(WrongKind(self.call, self.place, self.name, "a map or a vector", str(value), self.what(number)))
        return value

    def only_cells(self, value: Value, number: int = 0) -> Map:
        """A map without tokens."""
        found = self.a_map(value, number)
        if found.tokens:
            raise Misfit(TokensInTheWay(self.call, self.place, self.name, found.token_names, self.what(number)))
        return found

    def check_channels(self, value: Map | Vector, wanted: int, number: int = 0) -> None:
        if value.channels != wanted:
            given = (self.name, wanted, value.channels, self.what(number))
            raise Misfit(LayerChannels(self.call, self.place, *given, self.made))

    def check_axes(self, counts: tuple[int, ...] = (2,)) -> None:
        """The grid has as many axes as the layer can do with."""
        if len(self.setting.axes) not in counts:
            raise Misfit(WrongAxes(self.call, self.place, self.name, counts, self.setting.axes))

    def check_alike(self, left: tuple[str, Map], right: tuple[str, Map]) -> None:
        """Two maps have the same grid and the same tokens."""
        (_, first), (_, second) = left, right
        text = written(self.call)
        if not agree(first.extent, second.extent, self.setting.image):
            image = self.setting.shown
            grids = (left[0], first.grid(image)), (right[0], second.grid(image))
            raise Misfit(GridsMeet(self.call, self.place, text, grids[0], grids[1], image))
        if first.tokens != second.tokens:
            tokens = (left[0], first.token_names), (right[0], second.token_names)
            raise Misfit(TokensMeet(self.call, self.place, text, tokens[0], tokens[1]))

    def check_same_channels(self, left: tuple[str, Map | Vector], right: tuple[str, Map | Vector]) -> None:
        """Those of both, or one."""
        (first, one), (second, other) = left, right
        if one.channels != other.channels and 1 not in (one.channels, other.channels):
            channels = (first, one.channels), (second, other.channels)
            raise Misfit(ChannelsMeet(self.call, self.place, written(self.call), channels[0], channels[1]))


def written(span: Span) -> str:
    """The text of an expression on one line, cut where it is long."""
    text = " ".join(span.text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
