"""Where the arrays of a generated C file are: their names, the places of a step's values in them, how these are loaded, and the
rows in which gradients are summed over channels. In: streams and parameters of the kernels. Out: C expressions."""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.codegen.kernel import OWN, TIME, Parameter, ScanKernels, Stream

RESERVED = frozenset({"y", "states", "partials", "table", "lengths", "sums", "entry", "final"})
WHOLE = 16
"""A unit of a multiple of so many channels has whole vectors, whatever the machine's."""


def is_columns(stream: Stream) -> bool:
    """Several numbers for every channel."""
    return stream.every == 1 and stream.width > 1


def columns_name(stream: Stream) -> str:
    """The variable with the vectors of such a stream at the step."""
    return f"columns_{stream.name}"


def written_streams(kernels: ScanKernels) -> tuple[Stream, ...]:
    """Streams with numbers of every channel's own: a block of channels writes their gradient."""
    return tuple(stream for stream in kernels.streams if stream.every == 1 and not stream.constant)


@dataclass(frozen=True)
class Sums:
    """Streams with one value for `every` so many channels (0: for all), whose gradients are sums over these.

    What is summed of a step lies in a row, the widest stream first.
    """

    every: int
    streams: tuple[Stream, ...]

    @property
    def values(self) -> int:
        return sum(stream.width for stream in self.streams)

    @property
    def row(self) -> int:
        """The length of a row, whole vectors."""
        return -(-self.values // 16) * 16

    @property
    def pointer(self) -> str:
        return f"p_sums_{self.every}_" if self.every else "p_sums"

    @property
    def label(self) -> str:
        """The name of the constant with `values`; that with `row` begins so, too."""
        return f"SUMS_{self.every}" if self.every else "SUMS"

    @property
    def row_label(self) -> str:
        return f"{self.label}_ROW"

    @property
    def whole(self) -> bool:
        """A vector's channels have the same value."""
        return self.every % WHOLE == 0


def summed(kernels: ScanKernels) -> tuple[Sums, ...]:
    """What is summed over channels, those that are the same for all first."""
    streams = sorted((s for s in kernels.streams if s.every != 1 and not s.constant), key=lambda s: -s.width)
    return tuple(Sums(every, tuple(s for s in streams if s.every == every)) for every in sorted({s.every for s in streams}))


def input_names(kernels: ScanKernels) -> list[str]:
    """The arrays that both functions read, in the order of their arguments."""
    return [stream.name for stream in kernels.streams] + [of.name for of in kernels.parameters]


def pointer(name: str) -> str:
    """What a given array is called in the C file: never what the file calls its own arrays, or a gradient.

    A name with a dot is the compiler's (`restart.`), no program has one.
    """
    if "." in name:
        return f"s_{name.replace('.', '_')}"
    own = name in RESERVED or name.startswith("d_") or name.endswith("_")
    return f"p_{name}_" if own else f"p_{name}"


def gradient_pointer(name: str) -> str:
    """What the gradient of a given array is called."""
    if "." in name:
        return f"s_d_{name.replace('.', '_')}"
    return f"p_d_{name}_" if name in RESERVED or name.endswith("_") else f"p_d_{name}"


def row_name(route: int) -> str:
    """The variable that holds the row of a route at the step, counted over all images."""
    return "o_row" if route == OWN else f"o_row_{route}"


def table_row(route: int) -> str:
    """The row of the table that a direction takes along a route."""
    return "direction" if route == OWN else f"({route} * DIRECTIONS + direction)"


def stream_place(stream: Stream, split: bool, unit: str = "") -> str:
    """The offset of a stream's values at the step; of a stream of units those of `unit`, else of the unit of `channel`."""
    if stream.route == TIME:
        return f"(direction * steps + t) * {stream.width}"
    row = row_name(stream.route)
    if stream.uniform:
        return f"({row} * DIRECTIONS + direction) * {stream.width}"
    if stream.lanes:
        return f"{f'({row} * DIRECTIONS + direction)' if stream.per_direction else row} * channels + channel"
    row = row if split else f"({row} * DIRECTIONS + direction)"
    return f"({row} * {per_unit('channels', stream.every)} + {unit or per_unit('channel', stream.every)}) * {stream.width}"


def per_unit(channel: str, every: int) -> str:
    """The unit of a channel, or how many units so many channels are."""
    return channel if every == 1 else f"({channel} / {every})"


def stream_load(stream: Stream, split: bool, i: int) -> str:
    """A vector of the stream's `i`-th values at the step."""
    start = f"{pointer(stream.name)} + {stream_place(stream, split)}"
    if stream.lanes:
        return f"load({start}, width)"
    if is_columns(stream):
        return f"{columns_name(stream)}[{i}]"
    if stream.every % WHOLE == 0:
        return f"all({pointer(stream.name)}[{stream_place(stream, split)} + {i}])"
    return f"load_units({start} + {i}, {stream.every}, {stream.width}, channel % {stream.every}, width)"


def parameter_load(of: Parameter, split: bool, i: int) -> str:
    """A vector of the parameter's `i`-th values."""
    if of.shared:
        unit = per_unit("lane" if split else "channel", of.every)
    else:
        unit = per_unit("channel", of.every)
        unit = unit if split else f"(direction * {per_unit('channels', of.every)} + {unit})"
    start = f"{pointer(of.name)} + {unit} * {of.width} + {i}"
    if of.every == 1:
        return f"load_column({start}, {of.width}, width)"
    return f"load_units({start}, {of.every}, {of.width}, channel % {of.every}, width)"
