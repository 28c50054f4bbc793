"""The kernels that walk in chunks of T steps: a program takes an image, a direction (or all in turn) and a block of the
channels of one unit, and carries the state `[N, P]` from chunk to chunk.

In: a layout whose kernels have a matrix form; out: the text of `forward` and `backward`, as `Layout.entries` has them. Rows
always come from a table. What is pointwise is printed by `chunked_tiles`, the core by `chunked_core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scanlang.codegen.gpu.choose_chunked import MANY_ROWS, in_halves
from scanlang.codegen.gpu.chunked_core import INSIDE, Core, CoreAdjoint, Products, Taken
from scanlang.codegen.gpu.chunked_tiles import TIMED, Axis, Place, Supply, Tile, TileBlock, Tiles
from scanlang.codegen.gpu.triton_layout import Entry, Layout, argument_name, offsets
from scanlang.codegen.gpu.triton_text import Writer, number
from scanlang.codegen.kernel import TIME, Atom, MatrixKernel, Parameter, Stream
from scanlang.graph.matrix_form import CHANNEL, KEY, LOG_DECAY, MASS, QUERY, READ, SIGN, SUM, VALUE, WEIGHT, seed_of
from scanlang.graph.step import total_of
from scanlang.graph.step_rewrites import RESTART
from scanlang.graph.values import Constant, reads

SMALLEST = 16
"""The least extent of a matrix product's side."""


def write_chunked(writer: Writer, layout: Layout, entry: Entry) -> None:
    """The kernel behind an entry that walks."""
    kernel = _Forward(layout, entry) if entry.name == "forward" else _Backward(layout, entry)
    kernel.make()
    kernel.write(writer)


def padded(size: int, least: int = 1) -> int:
    """The next power of two."""
    return max(least, 1 << (size - 1).bit_length())


class _Kernel:
    """What forward and backward have in common: where things lie, and what the core takes."""

    def __init__(self, layout: Layout, entry: Entry) -> None:
        assert layout.kernels.matrix is not None
        self.layout, self.entry = layout, entry
        self.matrix: MatrixKernel = layout.kernels.matrix
        self.form = self.matrix.form
        self.steps = layout.schedule.chunk
        self.lanes = layout.schedule.lanes
        self.rows, self.channels = padded(self.matrix.state, SMALLEST), padded(self.lanes, SMALLEST)
        self.block = TileBlock(compute=layout.shape.compute)
        self.labels = dict(self.form.step.sizes)
        self.row_label = self.labels[self.form.index]
        self.tiles = Tiles(self.block, self.labels, self._axes())
        self.products = Products(self.block, in_halves(layout.kernels, layout.shape.dtype(layout.kernels.leading.name)))
        self.tiles.equations.update(self.form.equations)
        for operand in self.form.step.operands:
            self.tiles.given[operand.name] = partial(self.operand, operand.name)
        self.loop_starts: dict[str, str] = {}
        self.loop_ends: dict[str, str] = {}

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

    # Texts of places.

    def before(self, text: str) -> None:
        self.block.line(Place.BEFORE, text)

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

    def label(self, name: str) -> str | None:
        """The label of an operand's only index."""
        indices = next((o.indices for o in self.form.step.operands if o.name == name), ())
        return self.labels[indices[0]] if indices else None

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

    def load_parameter(self, parameter: Parameter) -> str:
        pointer, label = argument_name("p", parameter.name), self.label(parameter.name)
        split = self.layout.kernels.split is not None
        whole = "" if parameter.shared else "o_first" if split else f"i_k * {self.layout.shape.channels}"
        tile = Tile(axis=label)
        if label == CHANNEL:
            place = f"{pointer} + {whole + ' + ' if whole else ''}o_c"
        else:
            unit = self.unit(parameter.every, whole)
            place = f"{pointer} + {unit}{f' * {parameter.width}' if parameter.width > 1 else ''}"
            place += f" + {self.tiles.axes[label].numbers}" if label is not None else ""
        mask = self.mask(False, label)
        masked = f", mask={mask}, other=0.0" if mask else ""
        name = f"b_{argument_name('', parameter.name).strip('_')}"
        return self.block.define(name, tile, f"tl.load({place}{masked}).to(tl.{self.layout.shape.compute})")

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

    def ends_base(self, array: str) -> str:
        """Where the program's direction begins in `entry` or `final`."""
        size = self.layout.states * self.layout.widest
        return self.base(array, f"(i_b * K + i_k) * {size}")

    def saved_base(self, chunk: str) -> str:
        size = self.layout.states * self.layout.widest
        here = self.base("states", f"(i_b * K + i_k) * {self.layout.chunks * size}")
        wide = ".to(tl.int64)" if self.layout.wide else ""
        return self.block.define("p_saved", INSIDE, f"{here} + {chunk}{wide} * {size}")

    def carried(self, name: str, start: str) -> str:
        """A name that the loop carries, and where it starts."""
        made = self.block.fresh(name)
        self.block.tiles[made] = INSIDE
        self.loop_starts[made] = start
        return made

    def zeros(self, *sizes: int) -> str:
        return f"tl.zeros([{', '.join(map(str, sizes))}], tl.{self.layout.shape.compute})"

    # Maps.

    def map_base(self, pointer: str, partial: bool, stacked: bool = True) -> str:
        """Where the program's direction begins in a map of an image."""
        layout = self.layout
        if partial:
            return self.base(pointer, "(i_b + i_k * batch.to(tl.int64)) * (R * C)")
        if stacked and layout.kernels.stacked:
            return self.base(pointer, "i_b * (R * K * C)", f"i_k * {layout.shape.channels}")
        return self.base(pointer, "i_b * (R * C)", "o_first")

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

    # The frame.

    def make(self) -> None:
        raise NotImplementedError

    def write(self, writer: Writer) -> None:
        layout, turns = self.layout, self.layout.mode == "turns"
        typed = [f"{a.name}: tl.constexpr" if a.type == "constexpr" else a.name for a in self.entry.arguments]
        writer.line('@triton.jit(do_not_specialize=["batch", "first"])')
        writer.wrapped(f"def {self.entry.name}(", typed, "):")
        depth = writer.depth
        writer.depth += 1
        writer.line("i_program = tl.program_id(0)")
        writer.line("i_block = i_program % BLOCKS")
        writer.line(f"i_b = first + (i_program // {'BLOCKS' if turns else '(BLOCKS * K)'}).to(tl.int64)")
        if layout.per_image:
            writer.line(f"table = table + i_b * {layout.kernels.routes * layout.directions * layout.steps}")
        writer.line(f"o_s = tl.arange(0, {self.steps})")
        for label, axis in self.tiles.axes.items():
            if label != CHANNEL:
                writer.line(f"{axis.numbers} = tl.arange(0, {axis.padded})")
                if axis.mask:
                    writer.line(f"{axis.mask} = {axis.numbers} < {axis.size}")
        if turns:
            writer.line("for i_k in range(K):")
            writer.depth += 1
            writer.line("tl.debug_barrier()")
        else:
            writer.line("i_k = i_program // BLOCKS % K")
        self.write_direction(writer)
        writer.depth = depth
        writer.line()
        writer.line()

    def pair_masks(self) -> dict[str, str]:
        """Which steps of a chunk see which others. They are made anew in every chunk: kept, they would fill registers."""
        masks = {"m_pair": ">" if self.form.exclusive else ">="}
        return masks | ({"m_own": "=="} if self.form.by_row else {})

    @property
    def loads_ahead(self) -> bool:
        """Whether shared memory has room for the next chunk's loads."""
        layout, few = self.layout, self.matrix.state <= MANY_ROWS
        return layout.shape.dtype(layout.kernels.leading.name) == "bfloat16" and (few or self.entry.name == "forward")

    def write_direction(self, writer: Writer) -> None:
        layout, groups = self.layout, self.layout.groups
        writer.line(f"o_first = {self.by_direction([first for first, _ in groups])}")
        writer.line(f"n_channels = {self.by_direction([count for _, count in groups])}")
        writer.line(f"n_steps = {self.by_direction(layout.lengths)}")
        writer.line(f"o_lane = tl.arange(0, {self.channels})")
        writer.line("o_c = i_block * LANES + o_lane")
        if self.tiles.axes[CHANNEL].mask:
            tests = ["(o_lane < LANES)"] * (self.lanes != self.channels) + ["(o_c < n_channels)"] * layout.tail
            writer.line(f"m_c = {' & '.join(tests)}")
        if not layout.even:
            writer.line("if i_block * LANES < n_channels:")
            writer.depth += 1
        for line in self.block.lines[Place.BEFORE]:
            writer.line(line)
        for name, start in self.loop_starts.items():
            writer.line(f"{name} = {start}")
        writer.line(f"n_chunks = (n_steps + {self.steps - 1}) // {self.steps}")
        with writer.block(f"for i in {'range(n_chunks)' if self.loads_ahead else 'tl.range(n_chunks, num_stages=1)'}:"):
            writer.line(f"i_chunk = {'n_chunks - 1 - i' if self.entry.name == 'backward' else 'i'}")
            writer.line(f"o_t = i_chunk * {self.steps} + o_s")
            writer.line("m_t = o_t < n_steps")
            for name, sign in self.pair_masks().items():
                writer.line(f"{name} = o_t[:, None] {sign} o_t[None, :]")
            for line in self.block.lines[Place.INSIDE]:
                writer.line(line)
            for name, end in self.loop_ends.items():
                writer.line(f"{name} = {end}")
        for line in self.block.lines[Place.AFTER]:
            writer.line(line)


class _Forward(_Kernel):
    def make(self) -> None:
        form, layout, ends = self.form, self.layout, self.layout.shape
        second = form.normaliser
        start = self.load_state(self.ends_base("entry"), form.state) if ends.entry else self.zeros(self.rows, self.channels)
        state, sums = self.carried("b_state", start), None
        if second is not None:
            sums = self.carried(
                "b_sums", self.load_sums(self.ends_base("entry"), second) if ends.entry else self.zeros(self.rows)
            )
        saved = self.saved_base("i_chunk")
        stores = [self.store_state(saved, form.state, state)]
        stores += [self.store_state(saved, second, self.across(sums))] if second is not None and sums is not None else []
        self.inside("if SAVE:")
        for store in stores:
            self.inside(f"    {store}")
        core = self.core(state, sums)
        self.tiles.given[READ] = lambda: core.read(Tile(True, CHANNEL, Place.INSIDE))
        self.tiles.given[SUM] = core.read_sums
        scale = layout.kernels.merge_scale if layout.mode != "partials" else None
        value = self.tiles.read(form.step.readout)
        place = (layout.kernels.output_route, layout.output_row)
        self.store_merged("output", "running", place, value, 1.0 if scale is None else scale)
        self.loop_ends[state], after = core.next_state()
        if sums is not None and after is not None:
            self.loop_ends[sums] = after
        if ends.final:
            final = self.ends_base("final")
            self.block.line(Place.AFTER, self.store_state(final, form.state, state))
            if second is not None and sums is not None:
                self.block.line(Place.AFTER, self.store_state(final, second, self.across(sums)))

    def across(self, sums: str) -> str:
        """The normaliser in every channel."""
        return f"tl.broadcast_to({sums}[:, None], [{self.rows}, {self.channels}])"


class _Backward(_Kernel):
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
        adjoint, layout = self.form.adjoint, self.layout
        for equation in adjoint.epilogue:
            self.tiles.equations[equation.name] = equation
        for parameter in layout.kernels.parameters:
            pointer, width = argument_name("g", parameter.name), parameter.width
            value = adjoint.parameters.get(parameter.name, Constant(0.0))
            atom, label = self.tiles.atom(value), self.label(parameter.name)
            row = self.parameter_row(parameter)
            text = atom if isinstance(atom, str) else f"tl.full((), {number(atom)}, tl.{layout.shape.compute})"
            if label is None or label == CHANNEL:
                first = text if label == CHANNEL else f"tl.where(o_lane == 0, {text}, 0.0)"
                masks = [self.tiles.axes[CHANNEL].mask]
                place = f"{pointer} + {row}"
                first = f"tl.broadcast_to({first}, [{self.channels}])" if not isinstance(atom, str) else first
            else:
                axis = self.tiles.axes[label]
                across = f"{text}[None, :]" if isinstance(atom, str) and self.block.tile(atom).axis else text
                first = f"tl.where(o_lane[:, None] == 0, {across}, tl.zeros([{self.channels}, {axis.padded}], tl.float32))"
                channel_mask = self.tiles.axes[CHANNEL].mask
                masks = [f"{channel_mask}[:, None]" if channel_mask else "", f"{axis.mask}[None, :]" if axis.mask else ""]
                place = f"{pointer} + {row}[:, None] * {width} + {axis.numbers}[None, :]"
            mask = " & ".join(one for one in masks if one)
            self.block.line(Place.AFTER, f"tl.store({place}, {first}{f', mask={mask}' if mask else ''})")

    def parameter_row(self, parameter: Parameter) -> str:
        if self.layout.kernels.split is None:
            return "((i_b * K + i_k) * C + o_c)"
        return "((i_b * K + i_k) * n_channels + o_c)" if parameter.shared else "(i_b * C + o_first + o_c)"

    def store_entry(self, d_state: str, d_sums: str | None) -> None:
        base = self.ends_base("entry")
        self.block.line(Place.AFTER, self.store_state(base, self.form.state, d_state))
        if self.form.normaliser is not None and d_sums is not None:
            value = f"tl.where(o_lane[None, :] == 0, {d_sums}[:, None], 0.0)"
            self.block.line(Place.AFTER, self.store_state(base, self.form.normaliser, value))
