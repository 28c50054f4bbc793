"""The forward and backward functions of a generated C file: the loops over blocks of channels, directions, chunks and steps
around a kernel's straight-line code. Prints into a `Writer`; the file around them is made by `emit_c.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scanlang.codegen.cpu.c_math import Computing, number
from scanlang.codegen.cpu.c_order import Act, Item, reads_of, shorten_lifetimes, split_early
from scanlang.codegen.cpu.c_streams import (
    Sums,
    columns_name,
    gradient_pointer,
    input_names,
    is_columns,
    parameter_load,
    pointer,
    row_name,
    stream_load,
    stream_place,
    summed,
    table_row,
    written_streams,
)
from scanlang.codegen.cpu.c_text import Statements, Writer, names_in, names_of
from scanlang.codegen.kernel import TIME, Access, Advance, Atom, BackwardKernel, Let, Parameter, ScanKernels, Stream

SIZES = ("image", "first", "last", "images", "rows", "steps", "channels", "add")


def kept_places(kernel: BackwardKernel) -> dict[str, tuple[bool, int]]:
    """Where a step's kept values lie: (is it in the row of the step after, column).

    A new value of a kept state is that state's old value one step later, so it takes no column of its own.
    """
    kept = set(kernel.keep)
    states = {a.value: a.state for a in kernel.advances if a.state in kept and a.value not in kernel.states}
    own = [name for name in kernel.keep if name not in states]
    columns = {name: i for i, name in enumerate(own)}
    return {name: (True, columns[states[name]]) if name in states else (False, columns[name]) for name in kernel.keep}


def kept_columns(kernels: ScanKernels) -> int:
    """Values kept of every step of a chunk."""
    return max(1, sum(not later for later, _ in kept_places(kernels.backward).values()))


@dataclass(frozen=True)
class Early:
    """What an early loop leaves to the step, and where its values are."""

    late: tuple[Let, ...]
    loads: dict[str, str]


class ScanWriter:
    """Prints `forward` and `backward`. `first` and `last` are blocks of channels, `image` the one image they work on.

    Where `add` is set, rows may be visited more than once or never: arrays of rows start at zero and every step adds. Else each
    direction visits every row once, and the first to get there stores.
    """

    def __init__(self, kernels: ScanKernels, computing: Computing, writer: Writer) -> None:
        self.kernels, self.computing, self.writer = kernels, computing, writer

    def forward(self) -> None:
        kernel, writer, statements = self.kernels.forward, self.writer, self.statements()
        writer.line(f"// p_y: {self.output_shape}. p_states: null or (B, K, chunks, STATES, {self.most}).")
        writer.line(
            f"// p_entry, p_final: the states before the first and after the last step, null or (B, K, STATES, {self.most})."
        )
        ends = ["const real *restrict p_entry", "real *restrict p_final"]
        with self.directions("forward", ["real *restrict p_y", "real *restrict p_states", *ends]):
            self.parameters(kernel.parameters)
            statements.run(kernel.prologue)
            self.begin(kernel.states, range(len(kernel.states)), kernel.starts, "p_entry")
            with writer.block("for (int64_t chunk = 0; chunk * CHUNK < length; ++chunk)"):
                with writer.block("if (p_states)"):
                    writer.line(f"real *o_states = p_states + {self.chunk_states};")
                    for i, state in enumerate(kernel.states):
                        writer.line(f"store(o_states + {i} * {self.most}, {state}, width);")
                writer.line("const int64_t start = chunk * CHUNK, end = least(start + CHUNK, length);")
                results = [a.value for a in kernel.advances] + [kernel.output]
                early = self.early(statements, kernel.reads, kernel.body, kernel.advances, results)
                with self.step("for (int64_t t = start; t < end; ++t)"):
                    acts = [self.write_output(statements, kernel.output), *statements.advances(kernel.advances)]
                    self.body(statements, [*early.late, *acts], kernel.reads, early.loads)
            self.end(kernel.states, range(len(kernel.states)), "p_final")
        writer.line()

    def backward(self) -> None:
        kernel, writer, statements = self.kernels.backward, self.writer, self.statements()
        names = [stream.name for stream in written_streams(self.kernels)] + [of.name for of in self.kernels.parameters]
        outputs = [gradient_pointer(name) for name in names] + [sums.pointer for sums in summed(self.kernels)]
        shape = "(B, C, width)" if self.split else "(B, K, C, width)"
        writer.line(f"// Gradients of parameters are {shape}. p_sums: this group of blocks' (B, K, J, SUMS_ROW).")
        for sums in summed(self.kernels):
            if sums.every:
                writer.line(f"// {sums.pointer}: one such for each unit of {sums.every} channels, from this group's first on.")
        ends = ["const real *restrict p_d_final", "real *restrict p_d_entry"]
        reads = ["const real *restrict p_d_y", "const real *restrict p_states", *ends]
        with self.directions("backward", [*reads, *(f"real *restrict {name}" for name in outputs)]):
            self.parameters(kernel.parameters)
            statements.run(kernel.prologue)
            self.begin(kernel.carries, kernel.carried, (0.0,) * len(kernel.carries), "p_d_final")
            for change in kernel.accumulates:
                writer.line(f"vec {change.accumulator} = {{0}};")
            with writer.block("for (int64_t chunk = (length + CHUNK - 1) / CHUNK - 1; chunk >= 0; --chunk)"):
                writer.line("const int64_t start = chunk * CHUNK, end = least(start + CHUNK, length);")
                writer.line("vec kept[CHUNK + 1][KEPT];")
                self.run_chunk(statements)
                with self.step("for (int64_t t = end - 1; t >= start; --t)"):
                    self.walk_back(statements)
            self.end(kernel.carries, kernel.carried, "p_d_entry")
            statements.run(kernel.epilogue)
            self.write_parameters(statements)
        writer.line()

    def run_chunk(self, statements: Statements) -> None:
        """A chunk's steps once more, from the saved states, keeping what the way back reads."""
        kernel, writer, places = self.kernels.backward, self.writer, kept_places(self.kernels.backward)
        if kernel.states:
            writer.line(f"const real *o_states = p_states + {self.chunk_states};")
        for i, state in enumerate(kernel.states):
            writer.line(f"vec {state} = load(o_states + {i} * {self.most}, width);")
        results = [*(a.value for a in kernel.advances), *kernel.keep]
        early = self.early(statements, kernel.reads, kernel.forward, kernel.advances, results)
        with self.step("for (int64_t t = start; t < end; ++t)"):
            acts: list[Item] = [
                Act(f"kept[t - start][{i}] = {name};", (name,)) for name, (later, i) in places.items() if not later
            ]
            items = [*early.late, *acts, *statements.advances(kernel.advances)]
            self.body(statements, items, kernel.reads, early.loads)
        for name, (_, i) in places.items():
            if name in kernel.states:
                writer.line(f"kept[end - start][{i}] = {name};")

    def walk_back(self, statements: Statements) -> None:
        """One step of the adjoint."""
        kernel = self.kernels.backward
        loads = {name: f"kept[t - start{' + 1' if later else ''}][{i}]" for name, (later, i) in kept_places(kernel).items()}
        scale = self.kernels.merge_scale
        scaled = "" if scale in (None, 1.0) else f" * {number(scale or 0.0, self.computing)}"
        loads[kernel.cotangent] = f"load(p_d_y + {self.output_place}, width){scaled}"
        items: list[Item] = [*kernel.backward, *self.write_gradients(statements)]
        for change in kernel.accumulates:
            line = f"{change.accumulator} += {statements.atom(change.value)};"
            items.append(Act(line, names_of(change.value)))
        self.body(statements, [*items, *statements.advances(kernel.carry_advances)], kernel.reads, loads)

    def early(
        self,
        statements: Statements,
        reads: Sequence[Access],
        lets: Sequence[Let],
        advances: Sequence[Advance],
        results: Sequence[Atom],
    ) -> Early:
        """The loop over the chunk that computes what all states wait for, and what is left of the step."""
        first, late = split_early(lets, [a.state for a in advances], advances)
        crossing = sorted(({let.name for let in first} - {let.name for let in late}) & names_in(late, results))
        if not crossing:
            return Early(late, {})
        writer = self.writer
        writer.line(f"vec early[CHUNK][{len(crossing)}];")
        with self.step("for (int64_t t = start; t < end; ++t)"):
            acts = [Act(f"early[t - start][{i}] = {name};", (name,)) for i, name in enumerate(crossing)]
            self.body(statements, [*first, *acts], reads, {})
        return Early(late, {name: f"early[t - start][{i}]" for i, name in enumerate(crossing)})

    def body(self, statements: Statements, items: Sequence[Item], reads: Sequence[Access], others: Mapping[str, str]) -> None:
        """What a step does with the values of the streams and with `others`, by how they are loaded."""
        loads, used = self.reads(reads), {name for item in items for name in reads_of(item)}
        for access in reads:
            of = access.of
            if isinstance(of, Stream) and is_columns(of) and used.intersection(access.names):
                self.writer.line(f"vec {columns_name(of)}[{of.width}];")
                place = f"{pointer(of.name)} + {stream_place(of, self.split)}"
                self.writer.line(f"load_columns({columns_name(of)}, {place}, {of.width}, width);")
        statements.origin = ""
        statements.items(shorten_lifetimes(items), {**loads, **others})

    def statements(self) -> Statements:
        return Statements(self.writer, self.computing)

    @contextmanager
    def directions(self, function: str, outputs: Iterable[str]) -> Iterator[None]:
        """A function with its loops over blocks of channels and directions."""
        sizes = [f"int64_t {size}" for size in (("direction", *SIZES) if self.split else SIZES)]
        tables = ["const int32_t *restrict p_table", "const int64_t *restrict p_lengths"]
        inputs = [f"const real *restrict {pointer(name)}" for name in input_names(self.kernels)]
        with self.writer.function(function, [*sizes, *tables, *inputs, *outputs]):
            self.writer.line("const int64_t chunks = (steps + CHUNK - 1) / CHUNK;")
            with self.blocks_of_direction() if self.split else self.blocks_of_all():
                yield

    @contextmanager
    def blocks_of_all(self) -> Iterator[None]:
        """Blocks of all channels, and the directions in turn in each."""
        writer = self.writer
        with writer.block("for (int64_t block = first; block < last; ++block)"):
            writer.line("const int64_t channel = block * LANES, width = least(LANES, channels - channel);")
            with writer.block("for (int64_t direction = 0; direction < DIRECTIONS; ++direction)"):
                writer.line("const int64_t length = p_lengths[direction], o_add = add || direction;")
                yield

    @contextmanager
    def blocks_of_direction(self) -> Iterator[None]:
        """Blocks of one direction's own channels."""
        writer = self.writer
        writer.line("const int64_t part = channels / PARTS[DIRECTIONS], most = part * MOST_PARTS;")
        writer.line("const int64_t begin = part * PARTS[direction], own = part * PARTS[direction + 1] - begin;")
        writer.line("const int64_t length = p_lengths[direction];")
        with writer.block("for (int64_t block = first; block < last; ++block)"):
            writer.line("const int64_t lane = block * LANES, channel = begin + lane, width = least(LANES, own - lane);")
            yield

    @contextmanager
    def step(self, head: str) -> Iterator[None]:
        """A loop over steps, with the row that each route has at step `t`."""
        with self.writer.block(head):
            for route in sorted({self.kernels.output_route, *(s.route for s in self.kernels.streams)} - {TIME}):
                place = f"p_table[{table_row(route)} * steps + t]"
                self.writer.line(f"const int64_t {row_name(route)} = image * rows + {place};")
            yield

    def begin(self, names: Sequence[str], places: Sequence[int], starts: Sequence[float], given: str) -> None:
        """States or carries before the loop: at their starts, or where the caller says."""
        for name, start in zip(names, starts, strict=True):
            self.writer.line(f"vec {name} = {f'all({number(start, self.computing)})' if start else '{0}'};")
        if names:
            with self.writer.block(f"if ({given})"):
                self.writer.line(f"const real *o_given = {given} + {self.end_states};")
                for name, place in zip(names, places, strict=True):
                    self.writer.line(f"{name} = load(o_given + {place} * {self.most}, width);")

    def end(self, names: Sequence[str], places: Sequence[int], wanted: str) -> None:
        """States or carries after the loop, to where the caller wants them."""
        if names:
            with self.writer.block(f"if ({wanted})"):
                self.writer.line(f"real *o_wanted = {wanted} + {self.end_states};")
                for name, place in zip(names, places, strict=True):
                    self.writer.line(f"store(o_wanted + {place} * {self.most}, {name}, width);")

    def parameters(self, accesses: Iterable[Access]) -> None:
        for access in accesses:
            assert isinstance(access.of, Parameter)
            for i, name in enumerate(access.names):
                self.writer.line(f"const vec {name} = {parameter_load(access.of, self.split, i)};")

    def reads(self, accesses: Iterable[Access]) -> dict[str, str]:
        """How the values of the streams at a step are loaded."""
        found = {}
        for access in accesses:
            assert isinstance(access.of, Stream)
            for i, name in enumerate(access.names):
                found[name] = stream_load(access.of, self.split, i)
        return found

    @property
    def split(self) -> bool:
        """Every direction has its own channels."""
        return self.kernels.split is not None

    @property
    def lane(self) -> str:
        """The first of a block's channels, counted among those of the direction."""
        return "lane" if self.split else "channel"

    @property
    def most(self) -> str:
        """The most channels a direction has."""
        return "most" if self.split else "channels"

    @property
    def chunk_states(self) -> str:
        return f"((image * DIRECTIONS + direction) * chunks + chunk) * STATES * {self.most} + {self.lane}"

    @property
    def end_states(self) -> str:
        """The place of the states at an end of a direction."""
        return f"(image * DIRECTIONS + direction) * STATES * {self.most} + {self.lane}"

    @property
    def output_shape(self) -> str:
        if self.kernels.merge is not None:
            return "the partial outputs (K, B, R, C)"
        return f"the output {'(B, R, K, C)' if self.kernels.stacked else '(B, R, C)'}"

    @property
    def output_place(self) -> str:
        row = row_name(self.kernels.output_route)
        if self.kernels.merge is not None:
            row = f"(direction * images * rows + {row})"
        elif self.kernels.stacked:
            row = f"({row} * DIRECTIONS + direction)"
        return f"{row} * channels + channel"

    def adds(self, apart: bool) -> str:
        """Whether a value is added to what is there; where directions stay `apart`, none finds what another wrote."""
        return "add" if apart or self.split else "o_add"

    def write_output(self, statements: Statements, output: Atom) -> Act:
        scale, value = self.kernels.merge_scale, statements.atom(output)
        scaled = value if scale in (None, 1.0) else f"{value} * {number(scale or 0.0, self.computing)}"
        apart = self.kernels.merge is not None or self.kernels.stacked
        return Act(f"put(p_y + {self.output_place}, {self.adds(apart)}, {scaled}, width);", names_of(output))

    def write_gradients(self, statements: Statements) -> list[Item]:
        """Gradients of every channel go to their row; the others are summed over the channels, and over the group's blocks."""
        atoms = {gradient.of.name: gradient.atoms for gradient in self.kernels.backward.gradients}
        items: list[Item] = []
        for stream in written_streams(self.kernels):
            place = f"{gradient_pointer(stream.name)} + {stream_place(stream, self.split)}"
            add = self.adds(stream.per_direction or not stream.lanes)
            found = atoms.get(stream.name, (0.0,) * stream.width)
            if stream.lanes:
                line = f"put({place}, {add}, {statements.atom(found[0])}, width);"
            else:
                line = f"put_columns({place}, {add}, {self.vectors(found, statements)}, {stream.width}, width);"
            items.append(Act(line, tuple(dict.fromkeys(names_of(*found)))))
        for sums in summed(self.kernels):
            values = [atom for stream in sums.streams for atom in atoms.get(stream.name, (0.0,) * stream.width)]
            items += self.sum_folded(sums, values) if sums.whole else self.sum_by_lane(sums, values, statements)
        return items

    def sum_folded(self, sums: Sums, atoms: Sequence[Atom]) -> list[Item]:
        """A block's lanes are all of one unit."""
        first = f"block == first || {self.lane} % {sums.every} == 0" if sums.every else "block == first"
        items: list[Item] = []
        for start in range(0, len(atoms), 16):
            called = f"fold_{sums.every}_{start}" if sums.every else f"fold_{start}"
            items += _fold(atoms[start : start + 16], called, f"{self.sums_place(sums)} + {start}, {first}")
        return items

    def sum_by_lane(self, sums: Sums, atoms: Sequence[Atom], statements: Statements) -> list[Item]:
        """A block's lanes may be of several units; the rows of sums start at zero."""
        units = f"{sums.every}, images * DIRECTIONS * steps * {sums.row_label}, {self.lane} % {sums.every}, width"
        items: list[Item] = []
        for start in range(0, len(atoms), 16):
            some = atoms[start : start + 16]
            line = f"add_units({self.sums_place(sums)} + {start}, {units}, {self.vectors(some, statements, 16)});"
            items.append(Act(line, tuple(dict.fromkeys(names_of(*some)))))
        return items

    def vectors(self, atoms: Sequence[Atom], statements: Statements, count: int = 0) -> str:
        """An array of vectors; there are `count` or as many as atoms, the others zero."""
        return f"(vec[{count or len(atoms)}]){{{', '.join(map(statements.atom, atoms))}}}"

    def sums_place(self, sums: Sums) -> str:
        image = f"({self.lane} / {sums.every} * images + image)" if sums.every else "image"
        return f"{sums.pointer} + (({image} * DIRECTIONS + direction) * steps + t) * {sums.row_label}"

    def write_parameters(self, statements: Statements) -> None:
        atoms = {gradient.of.name: gradient.atoms for gradient in self.kernels.backward.parameter_gradients}
        for of in self.kernels.parameters:
            image = "image" if self.split else "(image * DIRECTIONS + direction)"
            row = f"({image} * channels + channel) * {of.width}"
            for i, atom in enumerate(atoms.get(of.name, (0.0,) * of.width)):
                place = f"{gradient_pointer(of.name)} + {row} + {i}"
                self.writer.line(f"store_column({place}, {of.width}, {statements.atom(atom)}, width);")


def _fold(atoms: Sequence[Atom], called: str, row: str) -> list[Item]:
    """Up to 16 vectors → their sums over lanes, by halves, to a `row`; a vector without partner is folded with itself."""
    items: list[Item] = []
    level = list(atoms)
    for distance in (1, 2):
        above: list[Atom] = []
        for i in range(0, len(level), 2):
            name = f"{called}_{distance}_{i // 2}"
            items.append(Let(name, f"fold_{distance}", (level[i], level[min(i + 1, len(level) - 1)])))
            above.append(name)
        level = above
    names = names_of(*(level[i % len(level)] for i in range(4)))
    return [*items, Act(f"store_sums({row}, {', '.join(names)});", tuple(dict.fromkeys(names)))]
