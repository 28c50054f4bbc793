"""Where things lie for a program that walks in chunks of steps: rows, bases, masks, and which elements are a tile's.

In: a layout and the tiles' axes; out: texts of addresses and masks, and the lines they need. Loads and stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from scanlang.codegen.gpu.chunked_core import INSIDE
from scanlang.codegen.gpu.chunked_tiles import TIMED, Axis, Place, Tile, TileBlock, Tiles
from scanlang.codegen.gpu.triton_layout import Layout
from scanlang.codegen.kernel import TIME, MatrixKernel, Parameter, Stream
from scanlang.graph.matrix_form import CHANNEL

SMALLEST = 16
"""The least extent of a matrix product's side."""


def padded(size: int, least: int = 1) -> int:
    """The next power of two."""
    return max(least, 1 << (size - 1).bit_length())


class Places:
    """A program takes an image (`i_b`), a direction (`i_k`) and a block of the channels of one unit (`i_block`)."""

    def __init__(self, layout: Layout) -> None:
        assert layout.kernels.matrix is not None
        self.layout = layout
        self.matrix: MatrixKernel = layout.kernels.matrix
        self.form = self.matrix.form
        self.steps, self.lanes = layout.schedule.chunk, layout.schedule.lanes
        self.rows, self.channels = padded(self.matrix.state, SMALLEST), padded(self.lanes, SMALLEST)
        self.block = TileBlock(compute=layout.shape.compute)
        self.labels = dict(self.form.step.sizes)
        self.row_label = self.labels[self.form.index]
        self.tiles = Tiles(self.block, self.labels, self._axes())

    def _axes(self) -> dict[str, Axis]:
        """Every label that has an extent, and the channels."""
        layout = self.layout
        masked = layout.tail or self.lanes != self.channels
        found = {CHANNEL: Axis(self.lanes, self.channels, "o_c", "m_c" if masked else "")}
        for index, label in self.labels.items():
            if label == CHANNEL:
                continue
            size = self.matrix.extents[index]
            wide = padded(size, SMALLEST if label == self.row_label else 1)
            found[label] = Axis(size, wide, f"o_{label}", f"m_{label}" if wide != size else "")
        return found

    def inside(self, text: str) -> None:
        self.block.line(Place.INSIDE, text)

    def mask(self, timed: bool, label: str | None) -> str:
        """The condition under which an element of a tile is there."""
        tests = []
        if timed:
            tests.append("m_t[:, None]" if label is not None else "m_t")
        if label is not None and (mask := self.tiles.axes[label].mask):
            tests.append(f"{mask}[None, :]" if timed else mask)
        return " & ".join(tests)

    def by_direction(self, values: Sequence[int]) -> str:
        """A number of the program's direction."""
        text = str(values[-1])
        for k in reversed(range(len(values) - 1)):
            if any(value != values[k] for value in values[k + 1 :]):
                text = f"tl.where(i_k == {k}, {values[k]}, {text})"
        return text if len(set(values)) > 1 else str(values[0])

    def row(self, route: int) -> str:
        """The row of every step along a route; along TIME the step itself."""
        wide = ".to(tl.int64)" if self.layout.wide else ""
        if route == TIME:
            return self.block.define("o_step", TIMED, f"o_t{wide}") if wide else "o_t"
        layout = self.layout
        place = f"table + ({route * layout.directions} + i_k) * {layout.steps} + o_t"
        return self.block.define(f"o_row_{route}", TIMED, f"tl.load({place}, mask=m_t, other=0){wide}")

    def at(self, base: str, route: int, row: int, label: str | None) -> str:
        """The elements of a tile, in an array with `row` elements from one row to the next."""
        rows = self.row(route)
        if label is None:
            return f"{base} + {rows} * {row}"
        return f"{base} + {rows}[:, None] * {row} + {self.tiles.axes[label].numbers}[None, :]"

    def base(self, pointer: str, *terms: str) -> str:
        """A pointer moved once before the loop."""
        found = " + ".join((pointer, *(term for term in terms if term not in ("", "0"))))
        return self.block.define(f"{pointer}_here", Tile(), found)

    def unit(self, every: int, first: str = "o_first") -> str:
        """The number of the program's unit, of so many channels."""
        channel = f"{first} + i_block * LANES" if first else "i_block * LANES"
        return f"({channel})" if every <= 1 else f"({channel}) // {every}"

    def label(self, name: str) -> str | None:
        """The label of an operand's only index."""
        indices = next((o.indices for o in self.form.step.operands if o.name == name), ())
        return self.labels[indices[0]] if indices else None

    def stream_place(self, stream: Stream, pointer: str) -> tuple[str, int]:
        """Where a stream begins for the program, and the elements from one row to the next."""
        layout, per_word = self.layout, 1 if stream.lanes else self.layout.per_word(stream)
        row = layout.row(stream) * per_word
        image = "" if stream.route == TIME else f"i_b * {layout.rows * row}"
        aside = layout.step_aside(stream) * per_word
        direction = f"i_k * {aside}" if aside else ""
        if stream.lanes:
            return self.base(pointer, image, direction, "o_first"), row
        if stream.units:
            return self.base(pointer, image, direction, f"{self.unit(stream.every)} * {stream.width}"), row
        return self.base(pointer, image, direction), row

    def parameter_place(self, parameter: Parameter, pointer: str) -> str:
        """The elements of a parameter that the program reads."""
        label, split = self.label(parameter.name), self.layout.kernels.split is not None
        whole = "" if parameter.shared else "o_first" if split else f"i_k * {self.layout.shape.channels}"
        if label == CHANNEL:
            return f"{pointer} + {whole + ' + ' if whole else ''}o_c"
        place = f"{pointer} + {self.unit(parameter.every, whole)}{f' * {parameter.width}' if parameter.width > 1 else ''}"
        return place + (f" + {self.tiles.axes[label].numbers}" if label is not None else "")

    def parameter_row(self, parameter: Parameter) -> str:
        """Which channel of its gradient, of an image, a lane gives."""
        if self.layout.kernels.split is None:
            return "((i_b * K + i_k) * C + o_c)"
        return "((i_b * K + i_k) * n_channels + o_c)" if parameter.shared else "(i_b * C + o_first + o_c)"

    # States.

    def state_row(self, name: str) -> int:
        """The first of a state's rows."""
        return self.form.states.index(name) * self.matrix.state

    def state_place(self, base: str, name: str) -> str:
        """A state's tile `[N, P]` in an array of states."""
        rows, first = self.tiles.axes[self.row_label].numbers, self.state_row(name)
        number_ = f"({first} + {rows}[:, None])" if first else f"{rows}[:, None]"
        return f"{base} + {number_} * {self.layout.widest} + o_c[None, :]"

    def state_mask(self) -> str:
        masks = [(self.tiles.axes[self.row_label].mask, "[:, None]"), (self.tiles.axes[CHANNEL].mask, "[None, :]")]
        return " & ".join(f"{mask}{side}" for mask, side in masks if mask)

    def ends_base(self, array: str) -> str:
        """Where the program's direction begins in `entry` or `final`."""
        size = self.layout.states * self.layout.widest
        return self.base(array, f"(i_b * K + i_k) * {size}")

    def saved_base(self, chunk: str) -> str:
        size = self.layout.states * self.layout.widest
        here = self.base("states", f"(i_b * K + i_k) * {self.layout.chunks * size}")
        wide = ".to(tl.int64)" if self.layout.wide else ""
        return self.block.define("p_saved", INSIDE, f"{here} + {chunk}{wide} * {size}")

    # Maps.

    def map_base(self, pointer: str, partial: bool, stacked: bool = True) -> str:
        """Where the program's direction begins in a map of an image."""
        layout = self.layout
        if partial:
            return self.base(pointer, "(i_b + i_k * batch.to(tl.int64)) * (R * C)")
        if stacked and layout.kernels.stacked:
            return self.base(pointer, "i_b * (R * K * C)", f"i_k * {layout.shape.channels}")
        return self.base(pointer, "i_b * (R * C)", "o_first")
