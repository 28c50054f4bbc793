"""What both kernels that walk in chunks read and write: operands as tiles, what the core takes, states, maps.

In: the places of a program; out: tiles by name, and the lines that load and store them. `carried` names go from chunk to chunk.
"""

from __future__ import annotations

from functools import partial

from scanlang.codegen.gpu.choose_chunked import in_halves
from scanlang.codegen.gpu.chunked_core import INSIDE, Core, Products, Taken
from scanlang.codegen.gpu.chunked_places import Places
from scanlang.codegen.gpu.chunked_tiles import TIMED, Place, Tile
from scanlang.codegen.gpu.triton_layout import Layout, argument_name
from scanlang.codegen.gpu.triton_text import number
from scanlang.codegen.kernel import Atom, Parameter, Stream
from scanlang.graph.matrix_form import CHANNEL, KEY, LOG_DECAY, MASS, QUERY, SIGN, VALUE, WEIGHT
from scanlang.graph.step_rewrites import RESTART


class Values(Places):
    """The lines of a program, made as values are asked for."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.products = Products(self.block, in_halves(layout.kernels, layout.shape.dtype(layout.kernels.leading.name)))
        self.tiles.equations.update(self.form.equations)
        for operand in self.form.step.operands:
            self.tiles.given[operand.name] = partial(self.operand, operand.name)
        self.loop_starts: dict[str, str] = {}
        self.loop_ends: dict[str, str] = {}

    # Operands.

    def operand(self, name: str) -> Atom:
        layout = self.layout
        for stream in layout.kernels.streams:
            if stream.name == name:
                return self.load_stream(stream)
        for parameter in layout.kernels.parameters:
            if parameter.name == name:
                return self.load_parameter(parameter)
        raise ValueError(f"nothing gives {name}")

    def load_stream(self, stream: Stream) -> str:
        compute, label, name = self.layout.shape.compute, self.label(stream.name), stream.name
        base, row = self.stream_place(stream, argument_name("p", name))
        fill = ", other=0.0"
        raw = self.block.define(
            argument_name("r", name),
            Tile(True, label, Place.INSIDE),
            f"tl.load({self.at(base, stream.route, row, label)}, mask={self.mask(True, label)}{fill})",
        )
        made = self.block.define(f"b_{argument_name('', name).strip('_')}", self.block.tile(raw), f"{raw}.to(tl.{compute})")
        if self.layout.shape.dtype(name) == "bfloat16":
            self.products.raws[made] = raw
        return made

    def load_parameter(self, parameter: Parameter) -> str:
        label = self.label(parameter.name)
        mask, place = self.mask(False, label), self.parameter_place(parameter, argument_name("p", parameter.name))
        masked = f", mask={mask}, other=0.0" if mask else ""
        name = f"b_{argument_name('', parameter.name).strip('_')}"
        return self.block.define(name, Tile(axis=label), f"tl.load({place}{masked}).to(tl.{self.layout.shape.compute})")

    # The core.

    def full(self, name: str, axis: str | None) -> str:
        """What the core takes, of full shape and zero where there is nothing."""
        atom, compute = self.tiles.read(name), self.layout.shape.compute
        tile = Tile(True, axis, Place.INSIDE)
        if isinstance(atom, str) and self.block.tile(atom) == tile and atom in self.products.raws:
            return atom
        text = (
            self.block.tile(atom).seen_from(tile, atom)
            if isinstance(atom, str)
            else f"tl.full((), {number(atom)}, tl.{compute})"
        )
        text = f"tl.where({self.mask(True, axis)}, {text}, 0.0)"
        if axis is not None and self.block.tile(atom).axis is None:
            text = f"tl.broadcast_to({text}, [{self.steps}, {self.tiles.axes[axis].padded}])"
        return self.block.define("b_full", tile, text)

    def taken(self) -> Taken:
        form = self.form
        by_row = form.by_row
        weight, log_decay = self.tiles.read(WEIGHT), self.tiles.read(LOG_DECAY)
        mass = self.tiles.read(MASS) if form.normaliser is not None else None
        segment = None
        if form.restarts:
            segment = self.block.define("b_segment", TIMED, f"tl.cumsum({self.full_restarts()}, 0)")
        return Taken(
            self.full(QUERY, self.row_label),
            self.full(KEY, self.row_label),
            self.full(VALUE, CHANNEL),
            weight if weight == 1.0 else self.full(WEIGHT, None),
            log_decay if log_decay == 0.0 else self.full(LOG_DECAY, self.row_label if by_row else None),
            self.full(SIGN, self.row_label if by_row else None) if form.signed else None,
            None if mass is None else mass if mass == 1.0 else self.full(MASS, None),
            segment,
            form.exclusive,
            by_row,
        )

    def full_restarts(self) -> str:
        stream = next(stream for stream in self.layout.kernels.streams if stream.name == RESTART)
        return self.load_stream(stream)

    def core(self, state: str, sums: str | None) -> Core:
        return Core(self.products, self.steps, self.taken(), state, sums)

    # States.

    def load_state(self, base: str, name: str) -> str:
        mask = self.state_mask()
        return f"tl.load({self.state_place(base, name)}{f', mask={mask}, other=0.0' if mask else ''})"

    def load_sums(self, base: str, name: str) -> str:
        """The normaliser `[N]`: every channel of the unit has the same."""
        axis, first = self.tiles.axes[self.row_label], self.state_row(name)
        rows = f"({first} + {axis.numbers})" if first else axis.numbers
        masked = f", mask={axis.mask}, other=0.0" if axis.mask else ""
        return f"tl.load({base} + {rows} * {self.layout.widest} + i_block * LANES{masked})"

    def store_state(self, base: str, name: str, value: str) -> str:
        mask = self.state_mask()
        return f"tl.store({self.state_place(base, name)}, {value}{f', mask={mask}' if mask else ''})"

    def carried(self, name: str, start: str) -> str:
        """A name that the loop carries, and where it starts."""
        made = self.block.fresh(name)
        self.block.tiles[made] = INSIDE
        self.loop_starts[made] = start
        return made

    def zeros(self, *sizes: int) -> str:
        return f"tl.zeros([{', '.join(map(str, sizes))}], tl.{self.layout.shape.compute})"

    # Maps.

    def wide_value(self, atom: Atom) -> str:
        """The text of a value to be stored in a tile `[T, P]`."""
        if isinstance(atom, str):
            return self.block.tile(atom).seen_from(Tile(True, CHANNEL), atom)
        return f"tl.full([{self.steps}, {self.channels}], {number(atom)}, tl.{self.layout.shape.compute})"

    def store_merged(self, target: str, running: str, place: tuple[int, int], atom: Atom, scale: float) -> None:
        """Store a tile of a map, or add it where the directions take turns; `place`: (route, elements of a row)."""
        layout, mask = self.layout, self.mask(True, CHANNEL)
        value = self.wide_value(atom)
        if layout.mode != "turns":
            stacked = target == "output" and layout.kernels.stacked
            base = self.map_base(target, layout.mode == "partials" and not stacked, stacked)
            text = f"({value}) * {number(scale)}" if scale != 1.0 else value
            self.inside(f"tl.store({self.at(base, *place, CHANNEL)}, {text}, mask={mask})")
            return
        whole, part = self.map_base(target, False), self.map_base(running, False)
        there = self.at(part, *place, CHANNEL)
        value = self.block.define("b_turn", Tile(True, CHANNEL, Place.INSIDE), value)
        self.inside("if i_k > 0:")
        self.inside(f"    {value} += tl.load({there}, mask={mask}, other=0.0)")
        self.inside("if i_k < K - 1:")
        self.inside(f"    tl.store({there}, {value}, mask={mask})")
        self.inside("else:")
        text = f"{value} * {number(scale)}" if scale != 1.0 else value
        self.inside(f"    tl.store({self.at(whole, *place, CHANNEL)}, {text}, mask={mask})")
