"""The kernels that walk: one program takes an image, a block of channels, and one direction (or all of them in turn).

In: a layout and its chunk functions; out: the text of `forward` and `backward`, whose loops call the chunk functions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scanlang.codegen.gpu.triton_chunks import FIRST, LAST, MIDDLE, ChunkFunction, plus
from scanlang.codegen.gpu.triton_layout import WARP, Entry, Layout, Walk, argument_name
from scanlang.codegen.gpu.triton_text import Statement, Writer, argument_texts, expression, index_text, needed, origin_text
from scanlang.codegen.kernel import OWN, TIME, BackwardKernel, ForwardKernel, Let, Parameter, Stream
from scanlang.maps.integers import Constant, Integer, Variable, substitute

MOST_HELD = 16
"""As many values that only the end needs may be held in registers all along."""

UNROLLED = 64
"""Loops of fewer chunks might be unrolled by LLVM, which takes a load to be one cheap instruction; that is prevented."""


@dataclass(frozen=True)
class Program:
    """One walking kernel: `chunk` takes whole chunks, `rests` what is left at the end of a table, by the number of steps."""

    layout: Layout
    entry: Entry
    kernel: ForwardKernel | BackwardKernel
    chunk: ChunkFunction
    rests: Mapping[int, ChunkFunction]

    @property
    def backward(self) -> bool:
        return isinstance(self.kernel, BackwardKernel)

    @property
    def steps(self) -> int:
        return self.layout.schedule.backward_chunk if self.backward else self.layout.schedule.chunk

    @property
    def parameters(self) -> list[str]:
        """Values of the parameters and of the prologue that the chunks read, or the epilogue, unless it reads many."""
        late = self.late
        return [name for name in self._fixed if name in self._read and name not in late]

    @property
    def late(self) -> list[str]:
        """Those that only the epilogue reads, if they are many: they are read behind the steps, which need the registers."""
        found = [name for name in self._fixed if name in self._read and name not in self.chunk.parameters]
        return found if len(found) > MOST_HELD else []

    @property
    def _fixed(self) -> list[str]:
        named = [name for access in self.kernel.parameters for name in access.names]
        return named + [let.name for let in self.kernel.prologue]

    @property
    def _read(self) -> set[str]:
        used = set(self.chunk.parameters)
        if isinstance(self.kernel, BackwardKernel):
            used |= {a for let in self.kernel.epilogue for a in let.arguments if isinstance(a, str)}
            used |= {a for g in self.kernel.parameter_gradients for a in g.atoms if isinstance(a, str)}
        return used

    @property
    def readers(self) -> dict[str, list[str]]:
        """What the functions that load the parameters of a direction and compute the prologue give, by their names."""
        found = {f"{self.entry.name}_parameters": self.parameters, f"{self.entry.name}_parameters_at_the_end": self.late}
        return {name: given for name, given in found.items() if given}

    def write_readers(self, writer: Writer) -> None:
        for name, given in self.readers.items():
            self._write_reader(writer, name, given)

    def _write_reader(self, writer: Writer, name: str, given: list[str]) -> None:
        layout, statements = self.layout, []
        mask = ", mask=m_c, other=0.0" if layout.tail else ""
        for access in self.kernel.parameters:
            assert isinstance(access.of, Parameter)
            pointer, width = argument_name("p", access.of.name), len(access.names)
            base = f"{pointer} + {self._parameter_row(access.of)}"
            for element, value in enumerate(access.names):
                address = f"{base} + {element}" if element else base
                text = f"tl.load({address}{mask}).to(tl.{layout.shape.compute})"
                statements.append(Statement(value, text, frozenset((pointer,))))
            assert width == access.of.width
        statements = needed([*statements, *_lets(self.kernel.prologue, layout.shape.compute)], given)
        split = layout.kernels.split is not None
        writer.line("@triton.jit")
        writer.wrapped(f"def {name}(", [*self._read_pointers(given), *self._reader_places(split), "i_block"], "):")
        writer.depth += 1
        whose = "of channels o_k to o_k + n_k" if split else "of direction i_k"
        writer.line(f'"""The parameters {whose}, a lane per channel, and what depends on them alone."""')
        writer.line(f"o_c = {layout.lanes}")
        if layout.tail:
            writer.line(f"m_c = o_c < {'n_k' if split else 'C'}")
        writer.statements(statements)
        several = len(given) > 1
        writer.wrapped("return (" if several else "return ", given, ")" if several else "")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _reader_places(self, split: bool) -> list[str]:
        """What tells the reader whose parameters it reads."""
        return ["o_k", "n_k"] if split else ["i_k"]

    def _parameter_row(self, parameter: Parameter) -> str:
        whole = "(o_k + o_c)" if self.layout.kernels.split is not None else "(i_k * C + o_c)"
        unit = ("o_c" if parameter.shared else whole) + per_unit(parameter.every)
        return unit if parameter.width == 1 else f"{unit} * {parameter.width}"

    def write(self, writer: Writer) -> None:
        """A function per direction, and the kernel that calls the one of its program, or all of them in turn."""
        for k, walk in enumerate(self.layout.walks or () if self.layout.flat_loops else ()):
            self._write_cells(writer, k, walk)
        if self.layout.schedule.fetch:
            self._write_fetch(writer)
        for k in range(self.layout.directions):
            self._write_direction(writer, k)
        typed = [f"{a.name}: tl.constexpr" if a.type == "constexpr" else a.name for a in self.entry.arguments]
        turns = self.layout.mode == "turns"
        writer.line('@triton.jit(do_not_specialize=["batch", "first"])')
        writer.wrapped(f"def {self.entry.name}(", typed, "):")
        writer.depth += 1
        writer.line("i_program = tl.program_id(0)")
        writer.line("i_block = i_program % BLOCKS")
        per_image = "BLOCKS" if turns else f"(BLOCKS * K * {self.segments})" if self.segments > 1 else "(BLOCKS * K)"
        writer.line(f"i_b = first + (i_program // {per_image}).to(tl.int64)")
        if not turns:
            writer.line("i_k = i_program // BLOCKS % K")
        if self.segments > 1:
            writer.line(f"i_segment = i_program // (BLOCKS * K) % {self.segments}")
        for k in range(self.layout.directions):
            if turns:
                writer.lines += ["    tl.debug_barrier()"] * (k > 0)
                writer.wrapped(f"{self._function(k)}(", self._direction_arguments(), ")")
            else:
                some = "" if self.layout.even else f" and i_block < {self.layout.blocks_of(k)}"
                with writer.block(f"if i_k == {k}{some}:"):
                    writer.wrapped(f"{self._function(k)}(", self._direction_arguments(), ")")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _function(self, k: int) -> str:
        return f"{self.entry.name}_direction_{k}"

    def _direction_arguments(self) -> list[str]:
        given = [a.name for a in self.entry.arguments if a.name not in ("first", "SAVE")]
        saving = "SAVE" in (a.name for a in self.entry.arguments)
        return [*given, "i_b", "i_block", *(["i_segment"] if self.segments > 1 else []), *(["SAVE"] if saving else [])]

    @property
    def segments(self) -> int:
        return self.layout.schedule.segments

    @property
    def abreast(self) -> int:
        return self.layout.schedule.abreast

    def _write_direction(self, writer: Writer, k: int) -> None:
        """One direction of one image and block of channels. Not inlined where there are several: Triton's time for a
        function grows with the cube of its length."""
        layout = self.layout
        writer.line("@triton.jit(noinline=True)" if layout.directions > 1 else "@triton.jit")
        typed = [f"{a}: tl.constexpr" if a == "SAVE" else a for a in self._direction_arguments()]
        writer.wrapped(f"def {self._function(k)}(", typed, "):")
        writer.depth += 1
        writer.line(f'"""{layout.orders[k].name}"""')
        writer.line(f"o_c = {layout.lanes}")
        if layout.tail:
            writer.line(f"m_c = o_c < {'C' if layout.kernels.split is None else layout.groups[k][1]}")
        for name, text in self._bases(k):
            writer.line(f"{name} = {text}")
        self._write_start(writer, k)
        if layout.walks is None:
            self._write_table(writer, k)
        elif layout.flat_loops:
            self._write_flat(writer, k, layout.walks[k])
        else:
            self._write_nest(writer, k, layout.walks[k])
        self._write_end(writer, k)
        writer.depth -= 1
        writer.line()
        writer.line()

    def _bases(self, k: int) -> list[tuple[str, str]]:
        """Where the arrays begin for this image, block and direction."""
        layout = self.layout
        bases = [("table", f"table + i_b * {layout.kernels.routes * layout.directions * layout.steps}")] * layout.per_image
        for stream in layout.kernels.streams:
            pointer, bits = argument_name("p", stream.name), 0 if stream.lanes else layout.word(stream)
            words = f"{pointer}.to(tl.pointer_type(tl.uint{bits}))" if bits else pointer
            bases.append((pointer, words + self._place(stream, k)))
            if self.entry.sums_up:
                continue
            if self.backward and stream in layout.lane_streams and stream.per_direction:
                gradient = argument_name("g", stream.name)
                bases.append((gradient, gradient + self._place(stream, k)))
            if self.backward and stream in layout.spread_streams:
                gradient = argument_name("g", stream.name)
                bases.append((gradient, gradient + self._spread_place(stream, k)))
        saved = layout.chunks * layout.states * layout.widest
        states = ("states", f"states + i_b * {saved * layout.directions} + o_c" + plus(k * saved))
        bases += [(end, end + self._end_place(k)) for end in self.entry.ends]
        image, output = self._map_place(k, partial=False), self._map_place(k, partial=layout.partial_outputs)
        cotangent = ("cotangent", f"cotangent + {image if layout.kernels.merge is None else output}")
        if self.entry.sums_up:
            return [*bases, cotangent, states] if self.backward else bases
        if not self.backward:
            bases.append(("output", f"output + {output}"))
            bases += [("running", f"running + {image}")] * (layout.mode == "turns")
            return [*bases, states]
        bases.append(cotangent)
        for stream in layout.summed_streams:
            gradient, running = argument_name("g", stream.name), argument_name("running", stream.name)
            place = self._map_place(k, partial=layout.mode == "partials", stacked=False)
            bases.append((gradient, f"{gradient} + {place}"))
            bases += [(running, f"{running} + {image}")] * (layout.mode == "turns")
        for pointer, row, aside in self._sum_arrays():
            place = f"(i_block.to(tl.int64) * batch + i_b) * {row}{plus(k * aside)}"
            bases.append((pointer, f"{pointer} + {place}"))
        return [*bases, states]

    def _place(self, stream: Stream, k: int) -> str:
        """Where a stream begins for direction k."""
        layout = self.layout
        image = "" if stream.route == TIME else f" + i_b * {layout.rows * layout.row(stream)}"
        lane, first = "", 0
        if stream.lanes:
            lane, first = " + o_c", layout.groups[k][0]
        elif stream.units:
            words, lanes = layout.words(stream), layout.schedule.lanes
            unit = "i_block" + per_unit(stream.every // lanes) if layout.scalar(stream) else "o_c" + per_unit(stream.every)
            lane, first = f" + {unit}" + times(words), layout.groups[k][0] // stream.every * words
        return image + lane + plus(first + k * layout.step_aside(stream))

    def _spread_place(self, stream: Stream, k: int) -> str:
        """Where direction k begins in what the lanes give for a stream of units."""
        layout, row = self.layout, self.layout.gradient_row(stream)
        first = layout.groups[k][0] + (0 if layout.kernels.split is not None else k * layout.shape.channels)
        return f" + i_b * {layout.rows * row} + o_c{times(stream.width)}{plus(first * stream.width)}"

    def _end_place(self, k: int) -> str:
        """Where the states before the first step, or after the last, of a direction lie, or of a segment of it."""
        layout = self.layout
        ends = layout.states * layout.widest * (2 if self.entry.sums_up else 1)
        if self.segments == 1:
            return f" + i_b * {ends * layout.directions} + o_c{plus(k * ends)}"
        return f" + ((i_b * {layout.directions}{plus(k)}) * {self.segments} + i_segment) * {ends} + o_c"

    def _map_place(self, k: int, partial: bool, stacked: bool = True) -> str:
        """Where direction k begins in a map of an image: in one for all, in its own, or beside the others' in every row."""
        layout = self.layout
        if partial and k:
            return f"(i_b + {k} * batch.to(tl.int64)) * (R * C) + o_c"
        if stacked and layout.kernels.stacked:
            return f"i_b * (R * K * C) + o_c{plus(k * layout.shape.channels)}"
        return f"i_b * (R * C) + o_c{plus(layout.groups[k][0])}"

    def _sum_arrays(self) -> list[tuple[str, int, int]]:
        """Arrays of sums over the channels: their elements per image, and from one direction to the next."""
        layout, found = self.layout, []
        if layout.scalar_streams:
            found.append(("sums", layout.rows * layout.directions * layout.sum_width, layout.sum_width))
        if layout.timed_streams:
            aside = layout.steps * layout.timed_width
            found.append(("timed", layout.directions * aside, aside))
        return found

    def _write_start(self, writer: Writer, k: int) -> None:
        """Parameters, and everything carried as it is before the first step taken."""
        if self.parameters:
            self._write_read(writer, k, self.parameters)
        for name, text in self._carried().items():
            writer.line(f"{name} = {text}")

    def _write_read(self, writer: Writer, k: int, given: list[str]) -> None:
        reader = next(name for name, values in self.readers.items() if values == given)
        whose = self.layout.groups[k] if self.layout.kernels.split is not None else (k,)
        writer.assigned(given, f"{reader}(", [*self._read_pointers(given), *map(str, whose), "i_block"])

    def _read_pointers(self, given: list[str]) -> list[str]:
        """The pointers that a reader takes: those of parameters that something needs."""
        pointers = {name: argument_name("p", a.of.name) for a in self.kernel.parameters for name in a.names}
        loads = [Statement(name, "", frozenset((pointer,))) for name, pointer in pointers.items()]
        lets = _lets(self.kernel.prologue, self.layout.shape.compute)
        read = {name for statement in needed([*loads, *lets], given) for name in statement.reads}
        return [pointer for pointer in dict.fromkeys(pointers.values()) if pointer in read]

    def _carried(self) -> dict[str, str]:
        """What goes from chunk to chunk, by the names the kernel has for it, and where it begins. Not what is loaded ahead."""
        zero = self._full(0.0, self.layout.block)
        if isinstance(self.kernel, BackwardKernel):
            begin = self._end("final") if "final" in self.entry.ends else {}
            names = (*self.kernel.carries, *(a.accumulator for a in self.kernel.accumulates))
            given = itertools.chain(self.kernel.carry_starts, itertools.repeat(0.0))
            came = {name: self._full(start) for name, start in zip(self.kernel.carries, given, strict=False)}
            return {name: self._loaded(begin[name]) if name in begin else came.get(name, zero) for name in names}
        if "entry" in self.entry.ends:
            return {name: self._loaded(place) for name, place in self._end("entry").items()}
        starts = zip(self.kernel.states, self.kernel.starts or itertools.repeat(0.0), strict=False)
        return {name: self._full(start) for name, start in starts}

    def _full(self, start: float, shape: str = "") -> str:
        compute, shape = self.layout.shape.compute, shape or self.layout.vector
        return f"tl.full({shape}, {start!r}, tl.{compute})" if start else f"tl.zeros({shape}, tl.{compute})"

    def _end(self, array: str) -> dict[str, str]:
        """Where in `entry` or `final` every state is, or every carry the gradient of its."""
        kernel, channels = self.kernel, self.layout.widest
        if isinstance(kernel, BackwardKernel):
            return {name: array + plus(state * channels) for name, state in zip(kernel.carries, kernel.carried, strict=True)}
        return {name: array + plus(number * channels) for number, name in enumerate(kernel.states)}

    def _loaded(self, place: str) -> str:
        return f"tl.load({place}{', mask=m_c, other=0.0' if self.layout.tail else ''})"

    def _write_table(self, writer: Writer, k: int) -> None:
        layout = self.layout
        first = k * layout.steps
        whole, left = divmod(layout.lengths[k], self.steps)
        done, rest = whole * self.steps, self.rests.get(left)
        at_rest = {"table": f"table + {first + done}", "states": self._states_at(str(whole)), "i_step": str(done)}
        if rest and self.abreast > 1:  # as if all of them took it, but only the first one's results count
            writer.line("i_alone = tl.arange(0, ABREAST)[:, None]")
            at_rest = {name: f"{place} + i_alone * 0" for name, place in at_rest.items()} | {"m_taken": "i_alone == 0"}
        if self.backward and rest:
            self._write_rest(writer, rest, k, at_rest, 0)
        if whole:
            start, span = self._span(writer, whole)
            self._write_opening(writer, k, self._places_in_table(first, whole, start))
            with writer.block(f"for i in range({span}):"):
                taken = self._taken(writer, whole)
                self._write_fetched(writer, whole, taken, {"table_next": f"table + {first} + {{}} * {self.steps}"})
                self._write_call(writer, self.chunk, k, self._places_in_table(first, whole, taken))
        if not self.backward and rest:
            self._write_rest(writer, rest, k, at_rest, self.segments - 1)

    def _write_rest(self, writer: Writer, rest: ChunkFunction, k: int, places: dict[str, str], segment: int) -> None:
        """What is left at the end of a table, in the segment that has it."""
        if self.segments == 1:
            self._write_call(writer, rest, k, places)
            return
        with writer.block(f"if i_segment == {segment}:"):
            self._write_call(writer, rest, k, places)

    def _span(self, writer: Writer, whole: int) -> tuple[str, str]:
        """Of `whole` chunks, in the order in which they are taken: the first that a program takes, and the range of its own."""
        if self.segments == 1:
            return f"tl.full((), 0, tl.{'int64' if self.layout.wide else 'int32'})", str(-(-whole // self.abreast))
        each = -(-whole // self.segments)
        writer.line(f"i_first = tl.minimum(i_segment * {each}, {whole})")
        return f"tl.minimum(i_first, {whole - 1})", f"i_first, tl.minimum(i_first + {each}, {whole})"

    def _taken(self, writer: Writer, whole: int) -> str:
        """The numbers of the chunks, of `whole` ones, in one turn of the loop, in the order in which they are taken."""
        if self.abreast == 1:
            return "i"
        writer.line("i_chunks = i * ABREAST + tl.arange(0, ABREAST)[:, None]")
        if self.layout.ragged(self.steps):
            writer.line(f"m_taken = i_chunks < {whole}")
            writer.line(f"i_chunks = tl.minimum(i_chunks, {whole - 1})")
        return "i_chunks"

    def _places_in_table(self, first: int, whole: int, i: str) -> dict[str, str]:
        """Where the `i`-th chunk taken of `whole` ones is, the next, and the one after: beyond the last, the last again."""
        numbers = [self._number(whole, i, later) for later in range(3)]
        if self.layout.wide:
            numbers = [f"tl.cast({number}, tl.int64)" for number in numbers]
        now, coming, after = (f"table + {first} + {number} * {self.steps}" for number in numbers)
        return {
            **dict(zip(("table", "table_next", "table_after"), (now, coming, after), strict=True)),
            **dict(zip(("states", "states_next"), map(self._states_at, numbers[:2]), strict=True)),
            **dict(zip(("i_step", "i_next"), (f"{number} * {self.steps}" for number in numbers[:2]), strict=True)),
        }

    def _number(self, whole: int, i: str, later: int = 0) -> str:
        """The number of a chunk, of `whole` ones, taken `later` than the `i`-th."""
        if self.backward:
            return f"tl.maximum({whole - 1 - later} - {i}, 0)" if later else f"({whole - 1} - {i})"
        return f"tl.minimum({i} + {later}, {whole - 1})" if later else i

    def _write_opening(self, writer: Writer, k: int, places: dict[str, str]) -> None:
        """Load what the first chunk reads, where inputs are loaded ahead."""
        if (opening := self.chunk.opening) is not None and opening.results:
            arguments = [places.get(p, p) for p in opening.parameters]
            writer.assigned(opening.results, f"{opening.name}(", arguments)

    def _write_flat(self, writer: Writer, k: int, walk: Walk) -> None:
        """The loops of a nest as one, so that the place of the next chunk is known: the number of the chunk says it."""
        whole = self.layout.lengths[k] // self.steps
        cells = f"{self.entry.name}_cell_{k}"

        def places(i: str) -> dict[str, str]:
            now, coming = self._number(whole, i), self._number(whole, i, 1)
            return {
                "o_cell": f"{cells}({_bare(now)})",
                "o_next": f"{cells}({_bare(coming)})",
                "STRIDE": str(walk.strides[0]),
                **dict(zip(("states", "states_next"), map(self._states_at, (now, coming)), strict=True)),
                **dict(zip(("i_step", "i_next"), (f"{number} * {self.steps}" for number in (now, coming)), strict=True)),
            }

        start, span = self._span(writer, whole)
        self._write_opening(writer, k, places(start))
        if self.segments == 1 and 1 < (turns := int(span)) < UNROLLED:
            span = "i_end"
            writer.line(f"i_end = tl.minimum({turns}, batch + {turns})  # {turns}, without LLVM knowing")
        with writer.block(f"for i in range({span}):"):
            taken = self._taken(writer, whole)
            taken = f"{taken}.to(tl.int64)" if self.layout.wide else taken
            self._write_fetched(writer, whole, taken, {"o_next": f"{cells}({{}})", "STRIDE": str(walk.strides[0])})
            self._write_call(writer, self.chunk, k, places(taken))

    def _write_fetched(self, writer: Writer, whole: int, taken: str, places: Mapping[str, str]) -> None:
        """Call what fetches the lines of the turn after this one, or after that which is loaded ahead."""
        if not self.layout.schedule.fetch:
            return
        number = self._number(whole, taken, self.abreast * (1 + self.layout.schedule.ahead))
        if self.layout.wide and self.layout.walks is None:
            number = f"tl.cast({number}, tl.int64)"
        given = {name: text.format(_bare(number) if name == "o_next" else number) for name, text in places.items()} | {
            "states_next": self._states_at(number)
        }
        writer.wrapped(f"{self.entry.name}_fetch(", [given.get(name, name) for name in self._fetched], ")")

    @property
    def _fetched(self) -> list[str]:
        """What the function that fetches takes."""
        places = ["table_next"] if self.layout.walks is None else ["o_next", "STRIDE"]
        saved = ["states_next"] if self._fetches_states else []
        return [*(pointer for pointer, _, _ in self._fetched_rows), *saved, "i_block", "o_c", *places]

    @property
    def _fetches_states(self) -> bool:
        return isinstance(self.kernel, BackwardKernel) and 0 < len(self.kernel.states) <= WARP

    @property
    def _fetched_rows(self) -> list[tuple[str, int, int]]:
        """Arrays of which lines are fetched, elements from row to row, and elements of a row; 0 where lanes read neighbours."""
        layout, found = self.layout, []
        for stream in dict.fromkeys(access.of for access in self.kernel.reads):
            assert isinstance(stream, Stream)
            if stream.route == OWN and (stream.lanes or layout.scalar(stream)):
                width = 0 if stream.lanes else layout.words(stream)
                found.append((argument_name("p", stream.name), layout.row(stream), width))
        if self.backward and layout.kernels.output_route == OWN:
            found.append(("cotangent", layout.output_row, 0))
        return found

    def _write_fetch(self, writer: Writer) -> None:
        """A function that fetches lines: lanes share the rows of the steps, and of every row a part each."""
        each = max(1, WARP // (1 << (self.steps - 1).bit_length()))
        writer.line("@triton.jit")
        writer.wrapped(
            f"def {self.entry.name}_fetch(", [f"{p}: tl.constexpr" if p == "STRIDE" else p for p in self._fetched], "):"
        )
        writer.depth += 1
        writer.line('"""Fetch lines of the rows that are read next."""')
        writer.line(f"o_lane = tl.arange(0, {WARP})" + "[None, :]" * (self.abreast > 1))
        step, states = f"tl.minimum(o_lane // {each}, {self.steps - 1})", len(self.kernel.states)
        if self.layout.walks is None:
            writer.line(f"o_row = tl.load(table_next + {step})" + ".to(tl.int64)" * self.layout.wide)
        else:
            writer.line(f"o_row = o_next + {step} * STRIDE")
        for pointer, row, width in self._fetched_rows:
            part = f"tl.minimum(o_lane % {each} * {max(1, -(-width // each))}, {width - 1})"
            place = f"{pointer} - o_c + {self._fetched_lanes(each)}" if not width else f"{pointer} + {part}"
            writer.line(f"fetch({place} + o_row * {row})")
        if self._fetches_states:
            each = WARP // (1 << (states - 1).bit_length())
            state = f"tl.minimum(o_lane // {each}, {states - 1}) * {self.layout.widest}"
            writer.line(f"fetch(states_next - o_c + {self._fetched_lanes(each)} + {state})")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _fetched_lanes(self, each: int) -> str:
        """Where a part of the lanes of a row begins, not beyond the last channel."""
        return f"tl.minimum(i_block * LANES + o_lane % {each} * {WARP // each}, {self.layout.widest - 1})"

    def _write_cells(self, writer: Writer, k: int, walk: Walk) -> None:
        """A function from the number of a chunk to the cell where it begins."""
        runs, stride = walk.length // self.steps, walk.strides[0]
        writer.line("@triton.jit")
        writer.line(f"def {self.entry.name}_cell_{k}(number):")
        writer.depth += 1
        writer.line(f'"""Where a chunk of {self.layout.orders[k].name} begins."""')
        if walk.nest.loops:
            writer.line(f"i_run = number // {runs}")
        for loop in reversed(walk.nest.loops):
            assert isinstance(loop.count, Constant)
            writer.line(f"{loop.variable} = i_run % {loop.count.value}")
            writer.line(f"i_run = i_run // {loop.count.value}")
        step = f"number % {runs} * {self.steps * abs(stride)}"
        writer.line(f"return {index_text(walk.nest.start, 1)} {'-' if stride < 0 else '+'} {step}")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _write_nest(self, writer: Writer, k: int, walk: Walk) -> None:
        wide = ", tl.int64" if self.layout.wide else ", tl.int32"
        writer.line(f"i_chunk = tl.full((), {self.layout.chunks if self.backward else 0}{wide})")
        depth = writer.depth
        mirrored: dict[str, Integer] = {}
        for loop in walk.nest.loops:
            count = substitute(loop.count, mirrored)
            writer.line(f"for {loop.variable} in range({index_text(count)}):")
            writer.depth += 1
            if self.backward:
                mirrored[loop.variable] = count - 1 - Variable(loop.variable)
        start, stride = substitute(walk.nest.start, mirrored), substitute(walk.nest.stride, mirrored)
        writer.line(f"o_start = {index_text(start)}")
        if len(walk.strides) == 1:
            self._write_run(writer, k, walk.length, walk.strides[0])
        else:
            with writer.block(f"if {index_text(stride, 1)} == {walk.strides[0]}:"):
                self._write_run(writer, k, walk.length, walk.strides[0])
            with writer.block("else:"):
                self._write_run(writer, k, walk.length, walk.strides[1])
        writer.depth = depth

    def _write_run(self, writer: Writer, k: int, length: int, stride: int) -> None:
        steps, count = self.steps, length // self.steps
        if 1 < count < UNROLLED:
            writer.line(f"i_end = tl.minimum({count}, batch + {count})  # {count}, without LLVM knowing")
        with writer.block(f"for i in range({'i_end' if 1 < count < UNROLLED else count}):"):
            number = f"({count - 1} - i)" if self.backward else "i"
            if self.backward:
                writer.line("i_chunk -= 1")
            places = {
                "o_cell": f"o_start {'-' if stride < 0 else '+'} {number} * {steps * abs(stride)}",
                "states": self._states_at("i_chunk"),
                "i_step": f"i_chunk * {steps}",
                "STRIDE": str(stride),
            }
            self._write_call(writer, self.chunk, k, places)
            if not self.backward:
                writer.line("i_chunk += 1")

    def _states_at(self, number: str) -> str:
        """Where the saved states of the `number`-th chunk of this kernel begin."""
        layout = self.layout
        size = layout.states * layout.widest * (self.steps // layout.schedule.backward_chunk)
        return f"states + {number} * {size}"

    def _write_call(self, writer: Writer, function: ChunkFunction, k: int, places: dict[str, str]) -> None:
        carried = [*self._carried(), *(function.opening.results if function.opening else ())]
        kernel_names = dict(zip((before for before, _ in function.carried), carried, strict=True))
        turn = FIRST if k == 0 else LAST if k == self.layout.directions - 1 else MIDDLE
        given = {**places, **kernel_names, "TURN": str(turn)}
        arguments = [given.get(p, p) for p in function.parameters]
        if carried:
            writer.assigned(carried, f"{function.name}(", arguments)
        else:
            writer.wrapped(f"{function.name}(", arguments, ")")

    # The end: states, or gradients of the states and of the parameters.

    def _write_end(self, writer: Writer, k: int) -> None:
        kernel, layout = self.kernel, self.layout
        mask = ", mask=m_c" if layout.tail else ""
        end = "entry" if self.backward else "final"
        for name, place in self._end(end).items() if end in self.entry.ends else ():
            writer.line(f"tl.store({place}, {name}{mask})")
        if not isinstance(kernel, BackwardKernel):
            return
        if layout.schedule.abreast > 1:
            for accumulate in kernel.accumulates:
                writer.line(f"{accumulate.accumulator} = tl.sum({accumulate.accumulator}, axis=0, keep_dims=True)")
        if self.late:
            self._write_read(writer, k, self.late)
        writer.statements(_lets(kernel.epilogue, layout.shape.compute))
        for gradient in kernel.parameter_gradients:
            pointer, width = argument_name("g", gradient.of.name), gradient.of.width
            row = self._gradient_row(gradient.of, k) + (f" * {width}" if width > 1 else "")
            for element, atom in enumerate(gradient.atoms):
                value = atom if isinstance(atom, str) else f"tl.full({layout.vector}, {atom!r}, tl.{layout.shape.compute})"
                place = f"{pointer} + {row}" + (f" + {element}" if element else "")
                writer.line(f"tl.store({place}, {value}{mask})")

    def _gradient_row(self, parameter: Parameter, k: int) -> str:
        """The row of a channel in an image's part of a parameter's gradient, which has a row per direction and channel."""
        if self.layout.kernels.split is None:
            image = f"(i_b * {self.segments} + i_segment)" if self.segments > 1 else "i_b"
            return f"(({image} * K + {k}) * C + o_c)"
        first, count = self.layout.groups[k]
        return f"((i_b * K + {k}) * {count} + o_c)" if parameter.shared else f"(i_b * C + o_c{plus(first)})"


def _bare(text: str) -> str:
    """Without the parentheses around it, if there are some."""
    return text[1:-1] if text.startswith("(") else text


def per_unit(every: int) -> str:
    return f" // {every}" if every > 1 else ""


def times(width: int) -> str:
    return f" * {width}" if width > 1 else ""


def _lets(lets: Sequence[Let], compute: str) -> list[Statement]:
    """Lets outside the steps: names stay as they are."""
    found = []
    for let in lets:
        names = [a if isinstance(a, str) else None for a in let.arguments]
        text = expression(let, argument_texts(let, names, compute), compute)
        found.append(Statement(let.name, text, frozenset(n for n in names if n), origin_text(let.origin)))
    return found
