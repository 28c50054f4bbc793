"""The forward and backward functions of a generated C file: the loops over blocks of channels, directions, chunks and steps
around a kernel's straight-line code. Prints into a `Writer`; the file around them is made by `emit_c.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from scanlang.codegen.cpu.c_math import Computing, number
from scanlang.codegen.cpu.c_order import Act, Item, shorten_lifetimes, split_early
from scanlang.codegen.cpu.c_text import Statements, Writer, names_in, names_of
from scanlang.codegen.kernel import OWN, TIME, Access, Advance, Atom, BackwardKernel, Let, Parameter, ScanKernels, Stream

SIZES = ("image", "first", "last", "images", "rows", "steps", "channels", "add")


def lane_streams(kernels: ScanKernels) -> tuple[Stream, ...]:
    """Streams with lanes that have a gradient."""
    return tuple(stream for stream in kernels.streams if stream.lanes and not stream.constant)


def shared_streams(kernels: ScanKernels) -> tuple[Stream, ...]:
    """Streams without lanes: their gradients are sums over the channels. Widest first, as rows of sums hold them."""
    shared = (stream for stream in kernels.streams if not stream.lanes and not stream.constant)
    return tuple(sorted(shared, key=lambda stream: -stream.width))


def sums_width(kernels: ScanKernels) -> int:
    """Values in a row of sums over channels: one per element of a shared stream, filled up to whole vectors."""
    return -(-sum(stream.width for stream in shared_streams(kernels)) // 16) * 16


def input_names(kernels: ScanKernels) -> list[str]:
    """The arrays that both functions read, in the order of their arguments."""
    return [stream.name for stream in kernels.streams] + [of.name for of in kernels.parameters]


RESERVED = frozenset({"y", "states", "partials", "table", "lengths", "sums"})


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
        with self.directions("forward", ["real *restrict p_y", "real *restrict p_states"]):
            self.parameters(kernel.parameters)
            statements.run(kernel.prologue)
            self.zeros(kernel.states)
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
                    self.body(statements, [*early.late, *acts], {**self.reads(kernel.reads), **early.loads})
        writer.line()

    def backward(self) -> None:
        kernel, writer, statements = self.kernels.backward, self.writer, self.statements()
        names = [stream.name for stream in lane_streams(self.kernels)] + [of.name for of in self.kernels.parameters]
        outputs = [f"real *restrict {gradient_pointer(name)}" for name in names]
        outputs += ["real *restrict p_sums"] if shared_streams(self.kernels) else []
        shape = "(B, C, width)" if self.split else "(B, K, C, width)"
        writer.line(f"// Gradients of parameters are {shape}. p_sums: this group of blocks' (B, K, J, SUMS_ROW).")
        with self.directions("backward", ["const real *restrict p_d_y", "const real *restrict p_states", *outputs]):
            self.parameters(kernel.parameters)
            statements.run(kernel.prologue)
            self.zeros([*kernel.carries, *(a.accumulator for a in kernel.accumulates)])
            with writer.block("for (int64_t chunk = (length + CHUNK - 1) / CHUNK - 1; chunk >= 0; --chunk)"):
                writer.line("const int64_t start = chunk * CHUNK, end = least(start + CHUNK, length);")
                writer.line("vec kept[CHUNK + 1][KEPT];")
                self.run_chunk(statements)
                with self.step("for (int64_t t = end - 1; t >= start; --t)"):
                    self.walk_back(statements)
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
            self.body(statements, items, {**self.reads(kernel.reads), **early.loads})
        for name, (_, i) in places.items():
            if name in kernel.states:
                writer.line(f"kept[end - start][{i}] = {name};")

    def walk_back(self, statements: Statements) -> None:
        """One step of the adjoint."""
        kernel = self.kernels.backward
        loads = self.reads(kernel.reads)
        for name, (later, i) in kept_places(kernel).items():
            loads[name] = f"kept[t - start{' + 1' if later else ''}][{i}]"
        scale = self.kernels.merge_scale
        scaled = "" if scale in (None, 1.0) else f" * {number(scale or 0.0, self.computing)}"
        loads[kernel.cotangent] = f"load(p_d_y + {self.output_place}, width){scaled}"
        items: list[Item] = [*kernel.backward, *self.write_gradients(statements)]
        for change in kernel.accumulates:
            line = f"{change.accumulator} += {statements.atom(change.value)};"
            items.append(Act(line, names_of(change.value)))
        self.body(statements, [*items, *statements.advances(kernel.carry_advances)], loads)

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
            self.body(statements, [*first, *acts], self.reads(reads))
        return Early(late, {name: f"early[t - start][{i}]" for i, name in enumerate(crossing)})

    def body(self, statements: Statements, items: Sequence[Item], loads: Mapping[str, str]) -> None:
        statements.origin = ""
        statements.items(shorten_lifetimes(items), loads)

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

    def zeros(self, names: Iterable[str]) -> None:
        for name in names:
            self.writer.line(f"vec {name} = {{0}};")

    def parameters(self, accesses: Iterable[Access]) -> None:
        for access in accesses:
            of, writer = access.of, self.writer
            assert isinstance(of, Parameter)
            if of.shared:
                row = self.lane
            else:
                row = "channel" if self.split else "(direction * channels + channel)"
            start = f"{pointer(of.name)} + {row} * {of.width}"
            for i, name in enumerate(access.names):
                writer.line(f"const vec {name} = load_column({start} + {i}, {of.width}, width);")

    def reads(self, accesses: Iterable[Access]) -> dict[str, str]:
        """How the values of the streams at a step are loaded."""
        found = {}
        for access in accesses:
            of = access.of
            assert isinstance(of, Stream)
            for i, name in enumerate(access.names):
                start = f"{pointer(of.name)} + {stream_place(of)}"
                found[name] = f"load({start}, width)" if of.lanes else f"all({pointer(of.name)}[{stream_place(of)} + {i}])"
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
        """Gradients with lanes go to their row; the others are summed over the channels, and over the blocks of the group."""
        atoms = {gradient.of.name: gradient.atoms for gradient in self.kernels.backward.gradients}
        items: list[Item] = []
        for stream in lane_streams(self.kernels):
            value = atoms.get(stream.name, (0.0,))[0]
            place, add = f"{gradient_pointer(stream.name)} + {stream_place(stream)}", self.adds(stream.per_direction)
            items.append(Act(f"put({place}, {add}, {statements.atom(value)}, width);", names_of(value)))
        sums: list[Atom] = []
        for stream in shared_streams(self.kernels):
            sums += atoms.get(stream.name, (0.0,) * stream.width)
        for group in range(0, len(sums), 16):
            items += _fold(sums[group : group + 16], group)
        return items

    def write_parameters(self, statements: Statements) -> None:
        atoms = {gradient.of.name: gradient.atoms for gradient in self.kernels.backward.parameter_gradients}
        for of in self.kernels.parameters:
            image = "image" if self.split else "(image * DIRECTIONS + direction)"
            row = f"({image} * channels + channel) * {of.width}"
            for i, atom in enumerate(atoms.get(of.name, (0.0,) * of.width)):
                place = f"{gradient_pointer(of.name)} + {row} + {i}"
                self.writer.line(f"store_column({place}, {of.width}, {statements.atom(atom)}, width);")


def row_name(route: int) -> str:
    """The variable that holds the row of a route at the step, counted over all images."""
    return "o_row" if route == OWN else f"o_row_{route}"


def table_row(route: int) -> str:
    """The row of the table that a direction takes along a route."""
    return "direction" if route == OWN else f"({route} * DIRECTIONS + direction)"


def stream_place(stream: Stream) -> str:
    """The offset of a stream's values at the step."""
    if stream.route == TIME:
        return f"(direction * steps + t) * {stream.width}"
    row = row_name(stream.route)
    if not stream.lanes:
        return f"({row} * DIRECTIONS + direction) * {stream.width}"
    return f"{f'({row} * DIRECTIONS + direction)' if stream.per_direction else row} * channels + channel"


def _fold(atoms: Sequence[Atom], start: int) -> list[Item]:
    """Up to 16 vectors → their sums over lanes, by halves; a vector without partner is folded with itself."""
    items: list[Item] = []
    level = list(atoms)
    for distance in (1, 2):
        above: list[Atom] = []
        for i in range(0, len(level), 2):
            name = f"fold_{start}_{distance}_{i // 2}"
            items.append(Let(name, f"fold_{distance}", (level[i], level[min(i + 1, len(level) - 1)])))
            above.append(name)
        level = above
    names = names_of(*(level[i % len(level)] for i in range(4)))
    row = f"p_sums + ((image * DIRECTIONS + direction) * steps + t) * SUMS_ROW + {start}"
    return [*items, Act(f"store_sums({row}, block == first, {', '.join(names)});", tuple(dict.fromkeys(names)))]
