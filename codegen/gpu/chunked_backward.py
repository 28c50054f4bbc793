"""The backward that walks in chunks, from the last to the first: each begins from the state that the forward saved before it.

In: the layout; out: as `chunked_forward`. The pointwise adjoint reads the gradients of what the core takes, the core's adjoint
those of what it gives; each is computed when it is first read.
"""

from __future__ import annotations

from scanlang.codegen.gpu.chunked_core import INSIDE, CoreAdjoint
from scanlang.codegen.gpu.chunked_tiles import Place, Supply, Tile
from scanlang.codegen.gpu.chunked_values import Values
from scanlang.codegen.gpu.triton_layout import Layout, argument_name, offsets
from scanlang.codegen.gpu.triton_text import number
from scanlang.codegen.kernel import Atom, Parameter, Stream
from scanlang.graph.matrix_form import CHANNEL, KEY, LOG_DECAY, MASS, QUERY, READ, SIGN, SUM, VALUE, WEIGHT, seed_of
from scanlang.graph.step import total_of
from scanlang.graph.values import Constant, reads


class Backward(Values):
    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.make()

    def make(self) -> None:
        form, second, ends = self.form, self.form.normaliser, self.layout.shape
        adjoint = form.adjoint
        for equation in adjoint.body:
            self.tiles.equations[equation.name] = equation
        self.tiles.atoms[adjoint.cotangent] = 1.0
        start = self.load_state(self.ends_base("final"), form.state) if ends.final else self.zeros(self.rows, self.channels)
        d_state, d_sums = self.carried("g_state", start), None
        if second is not None:
            start = f"tl.sum({self.load_state(self.ends_base('final'), second)}, 1)" if ends.final else self.zeros(self.rows)
            d_sums = self.carried("g_sums", start)
        saved = self.saved_base("i_chunk")
        state = self.block.define("b_state", INSIDE, self.load_state(saved, form.state))
        sums = None if second is None else self.block.define("b_sums", INSIDE, self.load_sums(saved, second))
        core = self.core(state, sums)
        self.tiles.given[READ] = lambda: core.read(Tile(True, CHANNEL, Place.INSIDE))
        self.tiles.given[SUM] = core.read_sums
        self.tiles.given[seed_of(form.step.readout)] = self.load_cotangent
        read = self.full_gradient(READ, CHANNEL)
        sums_read = None if second is None else self.full_gradient(SUM, None)
        self.adjoint = CoreAdjoint(core, self.row_label, CHANNEL, read, sums_read, d_state, d_sums)
        self.bind_gradients()
        self.store_gradients()
        self.accumulate()
        self.store_parameters()
        self.loop_ends[d_state], d_before = self.adjoint.before()
        if d_sums is not None and d_before is not None:
            self.loop_ends[d_sums] = d_before
        if ends.entry:
            self.store_entry(d_state, d_sums)

    def bind_gradients(self) -> None:
        """The gradients of what the core takes, for the pointwise adjoint to read; each is computed when it is first read."""
        made = self.adjoint
        given: dict[str, Supply] = {
            QUERY: lambda: made.query_and_key()[0],
            KEY: lambda: made.query_and_key()[1],
            VALUE: made.value,
            WEIGHT: made.weight,
            LOG_DECAY: made.log_decay,
            MASS: made.mass,
        }
        for name in self.form.core:
            if name != SIGN and reads(self.form.definition(name).value):
                self.tiles.given[seed_of(name)] = given[name]
            else:
                self.tiles.atoms[seed_of(name)] = 0.0  # a number has no gradient, nor has a sign

    def load_cotangent(self) -> str:
        """The gradient of the readout, with the factor of the merge."""
        layout, compute = self.layout, self.layout.shape.compute
        scale, tile = layout.kernels.merge_scale, Tile(True, CHANNEL, Place.INSIDE)
        base = self.map_base("cotangent", layout.kernels.merge is not None)
        where = self.at(base, layout.kernels.output_route, layout.output_row, CHANNEL)
        raw = self.block.define("r_cotangent", tile, f"tl.load({where}, mask={self.mask(True, CHANNEL)}, other=0.0)")
        scaled = "" if scale in (None, 1.0) else f" * {number(scale or 1.0)}"
        made = self.block.define("b_cotangent", tile, f"{raw}.to(tl.{compute}){scaled}")
        if not scaled and layout.kernels.merge is None and layout.shape.dtype(layout.kernels.leading.name) == "bfloat16":
            self.products.raws[made] = raw
        return made

    def gradient(self, name: str) -> Atom:
        return self.tiles.atom(self.form.adjoint.gradients.get(name, Constant(0.0)))

    def full_gradient(self, name: str, axis: str | None) -> str:
        self.tiles.given[f"full {name}"] = lambda: self.gradient(name)
        return self.full(f"full {name}", axis)

    def store_gradients(self) -> None:
        layout = self.layout
        for stream in layout.lane_streams:
            target, row = argument_name("g", stream.name), layout.row(stream)
            atom = self.gradient(stream.name)
            if stream.per_direction:
                base, _ = self.stream_place(stream, target)
                where = self.at(base, stream.route, row, CHANNEL)
                self.inside(f"tl.store({where}, {self.wide_value(atom)}, mask={self.mask(True, CHANNEL)})")
            else:
                self.store_merged(target, argument_name("running", stream.name), (stream.route, row), atom, 1.0)
        block = "(i_block.to(tl.int64) * batch + i_b)"
        width, firsts = layout.sum_width, offsets(layout.scalar_streams)
        for stream in layout.scalar_streams:
            size = layout.rows * layout.directions * width
            base = self.base("sums", f"{block} * {size}", f"i_k * {width}", str(firsts[stream.name]))
            self.store_scalars(stream, base, layout.directions * width)
        width, firsts = layout.timed_width, offsets(layout.timed_streams)
        for stream in layout.timed_streams:
            size = layout.directions * layout.steps * width
            base = self.base("timed", f"{block} * {size}", f"i_k * {layout.steps * width}", str(firsts[stream.name]))
            self.store_scalars(stream, base, width)

    def store_scalars(self, stream: Stream, base: str, row: int) -> None:
        """The gradient of what the program has one value of."""
        label, atom = self.label(stream.name), self.gradient(stream.name)
        tile = Tile(True, label, Place.INSIDE)
        if isinstance(atom, str):
            text = self.block.tile(atom).seen_from(tile, atom)
        else:
            sizes = [self.steps] + ([self.tiles.axes[label].padded] if label is not None else [])
            text = f"tl.full({sizes}, {number(atom)}, tl.{self.layout.shape.compute})"
        self.inside(f"tl.store({self.at(base, stream.route, row, label)}, {text}, mask={self.mask(True, label)})")

    def accumulate(self) -> None:
        """Sums over all steps, of what belongs to parameters and the prologue."""
        streams = {stream.name for stream in self.layout.kernels.streams} | {READ, SUM}
        for name in self.form.adjoint.gradients:
            if name in streams:
                continue
            indices, atom = self.form.step.indices_of(name), self.gradient(name)
            label = self.labels[indices[0]] if indices else None
            axis = [self.tiles.axes[label].padded] if label is not None else []
            start = self.zeros(*axis) if axis else f"tl.full((), 0.0, tl.{self.layout.shape.compute})"
            total = self.carried("b_total", start)
            self.block.tiles[total] = Tile(axis=label, place=Place.AFTER)
            self.tiles.atoms[total_of(name)] = total
            if isinstance(atom, str):
                self.loop_ends[total] = f"{total} + tl.sum({self.tiles.masked(atom)}, 0)"

    def store_parameters(self) -> None:
        """The gradients of the parameters: what a unit has one of is given in its first channel, zero in the others."""
        adjoint = self.form.adjoint
        for equation in adjoint.epilogue:
            self.tiles.equations[equation.name] = equation
        for parameter in self.layout.kernels.parameters:
            atom = self.tiles.atom(adjoint.parameters.get(parameter.name, Constant(0.0)))
            text = atom if isinstance(atom, str) else f"tl.full((), {number(atom)}, tl.{self.layout.shape.compute})"
            label = self.label(parameter.name)
            if label is None or label == CHANNEL:
                self.store_of_channels(parameter, atom, text)
            else:
                self.store_of_numbers(parameter, atom, text, label)

    def store_of_channels(self, parameter: Parameter, atom: Atom, text: str) -> None:
        """One number for each channel, or for the unit."""
        value = text if self.label(parameter.name) == CHANNEL else f"tl.where(o_lane == 0, {text}, 0.0)"
        value = value if isinstance(atom, str) else f"tl.broadcast_to({value}, [{self.channels}])"
        place = f"{argument_name('g', parameter.name)} + {self.parameter_row(parameter)}"
        self.store_after(place, value, self.tiles.axes[CHANNEL].mask)

    def store_of_numbers(self, parameter: Parameter, atom: Atom, text: str, label: str) -> None:
        """Several numbers for the unit, beside each other in every channel."""
        axis, channel_mask = self.tiles.axes[label], self.tiles.axes[CHANNEL].mask
        across = f"{text}[None, :]" if isinstance(atom, str) and self.block.tile(atom).axis else text
        value = f"tl.where(o_lane[:, None] == 0, {across}, tl.zeros([{self.channels}, {axis.padded}], tl.float32))"
        masks = [f"{channel_mask}[:, None]" if channel_mask else "", f"{axis.mask}[None, :]" if axis.mask else ""]
        row = f"{self.parameter_row(parameter)}[:, None] * {parameter.width}"
        place = f"{argument_name('g', parameter.name)} + {row} + {axis.numbers}[None, :]"
        self.store_after(place, value, " & ".join(one for one in masks if one))

    def store_after(self, place: str, value: str, mask: str) -> None:
        self.block.line(Place.AFTER, f"tl.store({place}, {value}{f', mask={mask}' if mask else ''})")

    def store_entry(self, d_state: str, d_sums: str | None) -> None:
        base = self.ends_base("entry")
        self.block.line(Place.AFTER, self.store_state(base, self.form.state, d_state))
        if self.form.normaliser is not None and d_sums is not None:
            value = f"tl.where(o_lane[None, :] == 0, {d_sums}[:, None], 0.0)"
            self.block.line(Place.AFTER, self.store_state(base, self.form.normaliser, value))
