"""The kernels that walk: one program takes an image, a block of channels, and one direction (or all of them in turn).

In: a layout and its chunk functions; out: the text of `forward` and `backward`, whose loops call the chunk functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scanlang.codegen.gpu.triton_chunks import FIRST, LAST, MIDDLE, ChunkFunction
from scanlang.codegen.gpu.triton_layout import Entry, Layout, Walk
from scanlang.codegen.gpu.triton_text import Statement, Writer, argument_texts, expression, index_text, needed, origin_text
from scanlang.codegen.kernel import BackwardKernel, ForwardKernel, Let, Stream
from scanlang.maps.integers import Integer, Variable, substitute

UNROLLED = 64
"""Loops of fewer chunks might be unrolled by LLVM, which takes a load to be one cheap instruction; that is prevented."""


@dataclass(frozen=True)
class Program:
    """One walking kernel: `chunk` takes whole chunks, `rest` what is left at the end of a table (None if nothing is)."""

    layout: Layout
    entry: Entry
    kernel: ForwardKernel | BackwardKernel
    chunk: ChunkFunction
    rest: ChunkFunction | None

    @property
    def backward(self) -> bool:
        return isinstance(self.kernel, BackwardKernel)

    @property
    def steps(self) -> int:
        return self.layout.schedule.backward_chunk if self.backward else self.layout.schedule.chunk

    @property
    def parameters(self) -> list[str]:
        """Values of the parameters and of the prologue that the chunks or the epilogue read."""
        named = [name for access in self.kernel.parameters for name in access.names]
        named += [let.name for let in self.kernel.prologue]
        used = set(self.chunk.parameters)
        if isinstance(self.kernel, BackwardKernel):
            used |= {a for let in self.kernel.epilogue for a in let.arguments if isinstance(a, str)}
            used |= {a for g in self.kernel.parameter_gradients for a in g.atoms if isinstance(a, str)}
        return [name for name in named if name in used]

    @property
    def reader(self) -> str:
        return f"{self.entry.name}_parameters"

    def write_reader(self, writer: Writer) -> None:
        """The function that loads the parameters of a direction and computes the prologue."""
        if not self.parameters:
            return
        layout, statements = self.layout, []
        mask = ", mask=m_c, other=0.0" if layout.tail else ""
        for access in self.kernel.parameters:
            pointer, width = f"p_{access.of.name}", len(access.names)
            base = f"{pointer} + {self._parameter_row(access.of.name)}"
            for element, name in enumerate(access.names):
                address = f"{base} + {element}" if element else base
                text = f"tl.load({address}{mask}).to(tl.{layout.shape.compute})"
                statements.append(Statement(name, text, frozenset((pointer,))))
            assert width == access.of.width
        statements = needed([*statements, *_lets(self.kernel.prologue, layout.shape.compute)], self.parameters)
        pointers = [f"p_{a.of.name}" for a in self.kernel.parameters if any(f"p_{a.of.name}" in s.reads for s in statements)]
        writer.line("@triton.jit")
        writer.wrapped(f"def {self.reader}(", [*pointers, "i_k", "i_block"], "):")
        writer.depth += 1
        writer.line('"""The parameters of direction i_k, a lane per channel, and what depends on them alone."""')
        writer.line("o_c = i_block * LANES + tl.arange(0, LANES)")
        if layout.tail:
            writer.line("m_c = o_c < C")
        writer.statements(statements)
        several = len(self.parameters) > 1
        writer.wrapped("return (" if several else "return ", self.parameters, ")" if several else "")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _parameter_row(self, name: str) -> str:
        parameter = next(access.of for access in self.kernel.parameters if access.of.name == name)
        shared = not isinstance(parameter, Stream) and parameter.shared
        channel = "o_c" if shared else "(i_k * C + o_c)"
        return channel if parameter.width == 1 else f"{channel} * {parameter.width}"

    def write(self, writer: Writer) -> None:
        """A function per direction, and the kernel that calls the one of its program, or all of them in turn."""
        for k in range(self.layout.directions):
            self._write_direction(writer, k)
        typed = [f"{a.name}: tl.constexpr" if a.type == "constexpr" else a.name for a in self.entry.arguments]
        turns = self.layout.mode == "turns"
        writer.line('@triton.jit(do_not_specialize=["batch", "first"])')
        writer.wrapped(f"def {self.entry.name}(", typed, "):")
        writer.depth += 1
        writer.line("i_program = tl.program_id(0)")
        writer.line("i_block = i_program % BLOCKS")
        writer.line(f"i_b = first + (i_program // {'BLOCKS' if turns else '(BLOCKS * K)'}).to(tl.int64)")
        if not turns:
            writer.line("i_k = i_program // BLOCKS % K")
        for k in range(self.layout.directions):
            if turns:
                writer.lines += ["    tl.debug_barrier()"] * (k > 0)
                writer.wrapped(f"{self._function(k)}(", self._direction_arguments(), ")")
            else:
                with writer.block(f"if i_k == {k}:"):
                    writer.wrapped(f"{self._function(k)}(", self._direction_arguments(), ")")
        writer.depth -= 1
        writer.line()
        writer.line()

    def _function(self, k: int) -> str:
        return f"{self.entry.name}_direction_{k}"

    def _direction_arguments(self) -> list[str]:
        given = [a.name for a in self.entry.arguments if a.name not in ("first", "SAVE")]
        return [*given, "i_b", "i_block", *(["SAVE"] if not self.backward else [])]

    def _write_direction(self, writer: Writer, k: int) -> None:
        """One direction of one image and block of channels. Not inlined where there are several: Triton's time for a
        function grows with the cube of its length."""
        layout = self.layout
        writer.line("@triton.jit(noinline=True)" if layout.directions > 1 else "@triton.jit")
        typed = [f"{a}: tl.constexpr" if a == "SAVE" else a for a in self._direction_arguments()]
        writer.wrapped(f"def {self._function(k)}(", typed, "):")
        writer.depth += 1
        writer.line(f'"""{layout.orders[k].name}"""')
        writer.line("o_c = i_block * LANES + tl.arange(0, LANES)")
        if layout.tail:
            writer.line("m_c = o_c < C")
        for name, text in self._bases(k):
            writer.line(f"{name} = {text}")
        self._write_start(writer, k)
        if layout.walks is None:
            self._write_table(writer, k)
        else:
            self._write_nest(writer, k, layout.walks[k])
        self._write_end(writer, k)
        writer.depth -= 1
        writer.line()
        writer.line()

    def _bases(self, k: int) -> list[tuple[str, str]]:
        """Where the arrays begin for this image, block and direction."""
        layout = self.layout
        cells, image = layout.shape.cells, "i_b * (L * C) + o_c"
        bases = []
        for stream in layout.kernels.streams:
            pointer, bits = f"p_{stream.name}", 0 if stream.lanes else layout.word(stream)
            place = f"i_b * {cells * layout.row(stream)}" + (" + o_c" if stream.lanes else "")
            place += _plus(k * layout.step_aside(stream))
            words = f"{pointer}.to(tl.pointer_type(tl.uint{bits}))" if bits else pointer
            bases.append((pointer, f"{words} + {place}"))
            if self.backward and stream.lanes and stream.per_direction:
                bases.append((f"g_{stream.name}", f"g_{stream.name} + {place}"))
        partial = f"(i_b + {k} * batch.to(tl.int64)) * (L * C) + o_c" if k else image
        saved = layout.chunks * layout.states * layout.shape.channels
        states = ("states", f"states + i_b * {saved * layout.directions} + o_c" + _plus(k * saved))
        if not self.backward:
            bases.append(("output", f"output + {partial if layout.mode == 'partials' else image}"))
            bases += [("running", f"running + {image}")] * (layout.mode == "turns")
            return [*bases, states]
        bases.append(("cotangent", f"cotangent + {image if layout.kernels.merge is None else partial}"))
        for stream in layout.summed_streams:
            gradient = f"g_{stream.name}"
            bases.append((gradient, f"{gradient} + {partial if layout.mode == 'partials' else image}"))
            bases += [(f"running_{stream.name}", f"running_{stream.name} + {image}")] * (layout.mode == "turns")
        if layout.uniform_streams:
            row = cells * layout.directions * layout.sum_width
            bases.append(("sums", f"sums + (i_block.to(tl.int64) * batch + i_b) * {row}{_plus(k * layout.sum_width)}"))
        return [*bases, states]

    def _write_start(self, writer: Writer, k: int) -> None:
        """Parameters, and everything carried, at zero."""
        if self.parameters:
            pointers = [f"p_{a.of.name}" for a in self.kernel.parameters]
            writer.assigned(self.parameters, f"{self.reader}(", [*self._read_pointers(pointers), str(k), "i_block"])
        for name in self._carried():
            writer.line(f"{name} = tl.zeros([LANES], tl.{self.layout.shape.compute})")

    def _read_pointers(self, pointers: Sequence[str]) -> list[str]:
        """The pointers that the reader takes: those of parameters that something needs."""
        lets = _lets(self.kernel.prologue, self.layout.shape.compute)
        loads = [Statement(n, "", frozenset((f"p_{a.of.name}",))) for a in self.kernel.parameters for n in a.names]
        read = {name for statement in needed([*loads, *lets], self.parameters) for name in statement.reads}
        return [pointer for pointer in pointers if pointer in read]

    def _carried(self) -> list[str]:
        """What goes from chunk to chunk, by the names the kernel has for it."""
        if isinstance(self.kernel, BackwardKernel):
            return [*self.kernel.carries, *(a.accumulator for a in self.kernel.accumulates)]
        return list(self.kernel.states)

    def _write_table(self, writer: Writer, k: int) -> None:
        cells, layout = self.layout.shape.cells, self.layout
        whole = cells // self.steps
        at_rest = {"table": f"table + {k * cells + whole * self.steps}", "states": self._states_at(str(whole))}
        if self.backward and self.rest:
            self._write_call(writer, self.rest, k, at_rest)
        if whole:
            with writer.block(f"for i in range({whole}):"):
                number = f"({whole - 1} - i)" if self.backward else "i"
                wide = f"{number}.to(tl.int64)" if layout.wide else number
                first = f"table + {k * cells} + {number} * {self.steps}"
                self._write_call(writer, self.chunk, k, {"table": first, "states": self._states_at(wide)})
        if not self.backward and self.rest:
            self._write_call(writer, self.rest, k, at_rest)

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
                "STRIDE": str(stride),
            }
            self._write_call(writer, self.chunk, k, places)
            if not self.backward:
                writer.line("i_chunk += 1")

    def _states_at(self, number: str) -> str:
        """Where the saved states of the `number`-th chunk of this kernel begin."""
        layout = self.layout
        size = layout.states * layout.shape.channels * (self.steps // layout.schedule.backward_chunk)
        return f"states + {number} * {size}"

    def _write_call(self, writer: Writer, function: ChunkFunction, k: int, places: dict[str, str]) -> None:
        kernel_names = dict(zip((before for before, _ in function.carried), self._carried(), strict=True))
        turn = FIRST if k == 0 else LAST if k == self.layout.directions - 1 else MIDDLE
        given = {**places, **kernel_names, "TURN": str(turn)}
        arguments = [given.get(p, p) for p in function.parameters]
        if self._carried():
            writer.assigned(self._carried(), f"{function.name}(", arguments)
        else:
            writer.wrapped(f"{function.name}(", arguments, ")")

    # The end of the backward: gradients of the parameters.

    def _write_end(self, writer: Writer, k: int) -> None:
        kernel, layout = self.kernel, self.layout
        if not isinstance(kernel, BackwardKernel):
            return
        writer.statements(_lets(kernel.epilogue, layout.shape.compute))
        mask = ", mask=m_c" if layout.tail else ""
        for gradient in kernel.parameter_gradients:
            pointer, width = f"g_{gradient.of.name}", gradient.of.width
            row = f"((i_b * K + {k}) * C + o_c)" + (f" * {width}" if width > 1 else "")
            for element, atom in enumerate(gradient.atoms):
                value = atom if isinstance(atom, str) else f"tl.full([LANES], {atom!r}, tl.{layout.shape.compute})"
                place = f"{pointer} + {row}" + (f" + {element}" if element else "")
                writer.line(f"tl.store({place}, {value}{mask})")


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def _lets(lets: Sequence[Let], compute: str) -> list[Statement]:
    """Lets outside the steps: names stay as they are."""
    found = []
    for let in lets:
        names = [a if isinstance(a, str) else None for a in let.arguments]
        text = expression(let, argument_texts(let, names, compute), compute)
        found.append(Statement(let.name, text, frozenset(n for n in names if n), origin_text(let.origin)))
    return found
