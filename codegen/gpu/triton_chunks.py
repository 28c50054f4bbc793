"""The text of one chunk: all loads of its steps, then the arithmetic of all steps, then all stores.

In: a layout and the number of steps; out: a `ChunkFunction`, forward or backward, that every direction calls.
Values of step 3 are called `b3_…`, what was loaded for them `r3_…` (`l3_…` from the kernel's own arrays); parameters and
prologue values keep the name `b_…`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from scanlang.codegen.gpu.chunks_abreast import sum_up_backward, sum_up_forward
from scanlang.codegen.gpu.triton_helpers import LOG2_E, WARP, lane_index
from scanlang.codegen.gpu.triton_layout import Layout, argument_name
from scanlang.codegen.gpu.triton_terms import Terms
from scanlang.codegen.gpu.triton_text import (
    Statement,
    Writer,
    argument_texts,
    expression,
    free_names,
    needed,
    number,
    origin_text,
)
from scanlang.codegen.kernel import OWN, TIME, Access, Accumulate, Atom, BackwardKernel, ForwardKernel, Let, Stream

CONSTANTS = ("STRIDE", "TURN", "SAVE")
PLACES = ("table", "table_next", "table_after", "o_cell", "o_next", "i_step", "i_next", "states_next")
"""Where a chunk is, the next one, and the one after."""
MOST_SAVED = 64
"""More states than these are saved when their step begins, not behind the chunk with all that is stored: registers are few."""
FIRST, MIDDLE, LAST = 0, 1, 2
"""Values of TURN: the first direction stores, the others add, the last also finishes."""


@dataclass(frozen=True)
class ChunkFunction:
    """A helper of the generated module: `results = name(parameters)`.

    `carried` pairs what goes in with what comes out for it: a state goes in as `b0_h` and comes out as `b7_h`. Where inputs
    are loaded ahead they are carried too, `next_b3_x` comes out for `b3_x`, and `opening` gives those of the first chunk.
    """

    name: str
    summary: str
    parameters: tuple[str, ...]
    statements: tuple[Statement, ...]
    results: tuple[str, ...]
    carried: tuple[tuple[str, str], ...]
    opening: ChunkFunction | None = None

    def write(self, writer: Writer) -> None:
        typed = [f"{p}: tl.constexpr" if p in CONSTANTS else p for p in self.parameters]
        writer.line("@triton.jit")
        writer.wrapped(f"def {self.name}(", typed, "):")
        writer.depth += 1
        writer.line(f'"""{self.summary}"""')
        writer.statements(self.statements)
        if self.results:
            returned = [name if name else "None" for name in self.results]
            writer.wrapped("return (" if len(returned) > 1 else "return ", returned, ")" if len(returned) > 1 else "")
        writer.depth -= 1
        writer.line()
        writer.line()


def plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def _fixed_names(kernel: ForwardKernel | BackwardKernel) -> list[str]:
    return [name for access in kernel.parameters for name in access.names] + [let.name for let in kernel.prologue]


def _row_name(step: int, which: str, route: int) -> str:
    return f"o{step}_{which}" + (f"_{route}" if route else "")


def step_name(name: str, step: int) -> str:
    """`b_dt` at step 3 is `b3_dt`."""
    return f"b{step}_{name.removeprefix('b_')}"


Address = tuple[str, frozenset[str]]
"""A pointer as text, and the names it reads."""


@dataclass
class Chunk:
    """A chunk under construction, of `steps` steps where a whole one has `whole`.

    `added` is what its steps have added so far to each array that they add to. With `opening`, which makes what the first
    chunk begins with, inputs are loaded a chunk ahead: `ahead` loads them, `converted` makes values of them behind the work,
    and `coming` pairs a chunk's values with those of the next. The rows of a table are loaded two chunks ahead. While chunks
    abreast are summed up, what depends on the state has names `apart`: `s3_h` for `b3_h`.
    """

    layout: Layout
    whole: int
    steps: int
    local: frozenset[str]
    uniform: frozenset[str]
    terms: Terms
    added: dict[str, list[tuple[int, str, frozenset[str]]]] = field(default_factory=dict)
    addresses: dict[str, Statement] = field(default_factory=dict)
    loads: list[Statement] = field(default_factory=list)
    work: list[Statement] = field(default_factory=list)
    stores: list[Statement] = field(default_factory=list)
    opening: Chunk | None = None
    coming: dict[str, str] = field(default_factory=dict)
    apart: frozenset[str] = frozenset()
    made: set[str] = field(default_factory=set)
    ahead: list[Statement] = field(default_factory=list)
    converted: list[Statement] = field(default_factory=list)

    @classmethod
    def of(cls, layout: Layout, whole: int, steps: int, local: frozenset[str], uniform: frozenset[str], terms: Terms) -> Chunk:
        """Whole chunks load ahead if the schedule says so; what is left at the end of a table does not."""
        made, opening = (cls(layout, whole, steps, local, uniform, terms) for _ in range(2))
        made.opening = opening if layout.schedule.ahead and steps == whole else None
        return made

    @property
    def compute(self) -> str:
        return self.layout.shape.compute

    @property
    def ragged(self) -> bool:
        """Some of the chunks abreast may have been taken before, or by another one; those that count have `m_taken`."""
        return self.layout.ragged(self.whole)

    @property
    def table(self) -> bool:
        return self.layout.schedule.addressing == "table"

    def address(self, pointer: str, step: int, row: int, extra: int = 0, route: int = OWN, ahead: bool = False) -> Address:
        """Where step `step` finds the `extra`-th element of its row of an array with `row` elements per row; `ahead`, where
        that step of the next chunk does."""
        tail = f" + {extra}" if extra else ""
        base = f"a_next_{pointer}" if ahead else f"a_{pointer}"
        if route == TIME:
            i_step = "i_next" if ahead else "i_step"
            if base not in self.addresses:
                self.addresses[base] = Statement(base, f"{pointer} + {i_step} * {row}", frozenset((pointer, i_step)))
            return f"{base}{plus(step * row)}{tail}", frozenset((base,))
        if self.table:
            cell = self.next_row_number(step, route) if ahead else self.row_number(step, route)
            return f"{pointer} + {cell} * {row}{tail}", frozenset((pointer, cell))
        if base not in self.addresses:
            first, cell = ("o_next_first", "o_next") if ahead else ("o_first", "o_cell")
            self._number(first, cell, cell)
            text = f"{pointer} + {first} * {row}"
            self.addresses[base] = Statement(base, text, frozenset((pointer, first)))
        if step == 0:
            return f"{base}{tail}", frozenset((base,))
        return f"{base} + {step * row} * STRIDE{tail}", frozenset((base, "STRIDE"))

    def row_number(self, step: int, route: int) -> str:
        """The name of the row that the table has for a step."""
        name = _row_name(step, "cell", route)
        coming = _row_name(step, "next", route)
        if self.opening is not None and coming in self.coming:
            self.opening.row_number(step, route)
            self.coming[name] = coming
        else:
            self._number(name, self._row(step, "table", route), "table")
        return name

    def next_row_number(self, step: int, route: int) -> str:
        """The name of the row that the table has for that step of the next chunk; that of the one after is loaded."""
        assert self.opening is not None
        name, after = _row_name(step, "next", route), _row_name(step, "after", route)
        if name not in self.coming:
            self.coming[name] = after
            self.opening._number(name, self._row(step, "table_next", route), "table_next")
            wide = ".to(tl.int64)" if self.layout.wide else ""
            text = self._row(step, "table_after", route) + wide
            self.ahead.append(Statement(after, text, frozenset(("table_after",))))
        return name

    def _row(self, step: int, table: str, route: int) -> str:
        return f"tl.load({table}{plus(route * self.layout.directions * self.layout.steps + step)})"

    def _number(self, name: str, text: str, read: str) -> None:
        if name not in self.addresses:
            wide = ".to(tl.int64)" if self.layout.wide else ""
            self.addresses[name] = Statement(name, text + wide, frozenset((read,)))

    def load(self, target: str, address: Address, lanes: bool, guard: str = "", other: str = "0.0") -> None:
        self.loads.append(self._loading(target, address, lanes, guard, other))

    def _loading(self, target: str, address: Address, lanes: bool, guard: str, other: str) -> Statement:
        text, reads = address
        if lanes and self.layout.tail:
            text, reads = f"{text}, mask=m_c, other={other}", reads | {"m_c"}
        return Statement(target, f"tl.load({text})", reads, guard=guard)

    def take(
        self, raw: str, pointer: str, step: int, row: int, extra: int = 0, route: int = OWN, lanes: bool = True,
        other: str = "0.0",
    ) -> None:  # fmt: skip
        """Load what this kernel writes nowhere, now or ahead; `convert` makes values of it."""
        if self.opening is None:
            self.load(raw, self.address(pointer, step, row, extra, route), lanes, other=other)
            return
        self.opening.take(raw, pointer, step, row, extra, route, lanes, other)
        address = self.address(pointer, step, row, extra, route, ahead=True)
        self.ahead.append(self._loading(f"next_{raw}", address, lanes, "", other))

    def convert(self, target: str, raw: str, head: str, tail: str, *mask: str) -> None:
        """`target`, a step's value, is `head raw tail` of what was loaded for it; `mask` is read there, too."""
        if self.opening is None:
            self.work.append(Statement(target, f"{head}{raw}{tail}", frozenset((raw, *mask))))
            return
        self.opening.convert(target, raw, head, tail)
        self.coming[target], raw = f"next_{target}", f"next_{raw}"
        self.converted.append(Statement(f"next_{target}", f"{head}{raw}{tail}", frozenset((raw,))))

    def take_state(self, target: str, offset: int) -> None:
        """Load a state that was saved where the chunk begins, now or ahead."""
        if self.opening is None:
            self.load(target, (f"states{plus(offset)}", frozenset(("states",))), lanes=True)
            return
        self.opening.take_state(target, offset)
        self.coming[target] = f"next_{target}"
        address = f"states_next{plus(offset)}", frozenset(("states_next",))
        self.ahead.append(self._loading(f"next_{target}", address, True, "", "0.0"))

    @property
    def behind(self) -> list[Statement]:
        """Where stores go: behind the work of all steps, or where they are."""
        return self.stores if self.opening is None else self.work

    def read(self, access: Access, step: int) -> None:
        """Load what a step takes from a stream; the conversions are part of the step's work."""
        stream = access.of
        assert isinstance(stream, Stream)
        pointer, row = argument_name("p", stream.name), self.layout.row(stream)
        if stream.lanes:
            raw = argument_name(f"r{step}", stream.name)
            self.take(raw, pointer, step, row, route=stream.route)
            self.convert(step_name(access.names[0], step), raw, "", f".to(tl.{self.compute})")
            return
        bits, per_word, lanes = self.layout.word(stream), self.layout.per_word(stream), not self.layout.scalar(stream)
        for element in range(self.layout.words(stream)):
            word = argument_name(f"r{step}_{element}", stream.name)
            self.take(word, pointer, step, row, element, stream.route, lanes, "0" if bits else "0.0")
        for place, name in enumerate(access.names):
            raw = argument_name(f"r{step}_{place // per_word}", stream.name)
            if not bits:
                self.convert(step_name(name, step), raw, "", f".to(tl.{self.compute})")
                continue
            unpack = f"{self.layout.shape.dtype(stream.name)}_of_{bits}_{place % per_word}("
            double = ".to(tl.float64)" if self.compute == "float64" else ""
            self.convert(step_name(name, step), raw, unpack, ")" + double)

    def resolve(self, atom: Atom, step: int) -> str | None:
        """The name of an atom at a step; None for a number."""
        if not isinstance(atom, str):
            return None
        return self.named(atom, step) if atom in self.local or atom in self.apart else atom

    def named(self, name: str, step: int) -> str:
        """`step` is -1 behind the first step on the way back."""
        return f"{'s' if name in self.apart else 'b'}{step if step >= 0 else ''}_{name.removeprefix('b_')}"

    def let(self, let: Let, step: int) -> None:
        if self.named(let.name, step) in self.made:
            return
        self.made.add(self.named(let.name, step))
        if let.name in self.terms.exponents and self.compute == "float32":
            self._exponential(let, step)
            return
        let = self.terms.rewritten(let)
        names = [self.resolve(argument, step) for argument in let.arguments]
        text = expression(let, argument_texts(let, names, self.compute), self.compute)
        reads = frozenset(name for name in names if name)
        self.work.append(Statement(self.named(let.name, step), text, reads, origin_text(let.origin)))

    def _exponential(self, let: Let, step: int) -> None:
        """The exponential of a product, one of whose factors is turned into a power of two once for several."""
        common, other = self.terms.exponents[let.name]
        scaled, one, two = f"e{step}_{common.removeprefix('b_')}", self.resolve(common, step), self.resolve(other, step)
        assert one is not None
        assert two is not None
        origin = origin_text(let.origin)
        self.work.append(Statement(scaled, f"{one} * {LOG2_E}", frozenset((one,)), origin))
        text = f"tl.exp2({scaled} * {two})"
        self.work.append(Statement(step_name(let.name, step), text, frozenset((scaled, two)), origin))

    def assign(self, target: str, atom: Atom, step: int) -> None:
        """`target = atom`, spread over the lanes."""
        text, reads = self.lanes(atom, step)
        self.work.append(Statement(target, text, reads))

    def full(self, value: float) -> str:
        return f"tl.full({self.layout.block}, {number(value)}, tl.{self.compute})"

    def join(self, made: Sequence[str], begin: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
        """The values with which each of the chunks abreast begins its steps, names and the steps that they begin: from what the
        chunks make of zero, and behind that the products of their decays. From here on no name is apart."""
        self.apart, carried = frozenset(), []
        for i, (name, step) in enumerate(begin):
            plain = name.removeprefix("b_")
            sums, product, comes, both = made[i], made[len(begin) + i], f"w_{plain}", f"j_{plain}"
            given = (
                [f"tl.where(m_taken, {product}, 1.0)", f"tl.where(m_taken, {sums}, 0.0)"] if self.ragged else [product, sums]
            )
            mask = {"m_taken"} if self.ragged else set()
            self.work.append(Statement(both, f"joined({', '.join(given)}, {comes})", frozenset((product, sums, comes, *mask))))
            text = f"tl.where(m_taken, {both}[0], 0.0)" if self.ragged else f"{both}[0]"
            self.work.append(Statement(step_name(name, step), text, frozenset((both, *mask))))
            self.work.append(Statement(f"next_{comes}", f"{both}[1]", frozenset((both,))))
            carried.append((comes, f"next_{comes}"))
        return carried

    def accumulate(self, target: str, accumulate: Accumulate, step: int) -> None:
        """`target = accumulator + value`."""
        so_far, factors = step_name(accumulate.accumulator, step), self.terms.products.get(accumulate.value)
        if factors:
            names = [self.resolve(factor, step) for factor in factors]
            text, reads = f"tl.fma({names[0]}, {names[1]}, {so_far})", frozenset(n for n in names if n)
        else:
            value, reads = self.lanes(accumulate.value, step)
            text = f"{so_far} + {value}"
        self.work.append(Statement(target, text, reads | {so_far}))

    def lanes(self, atom: Atom, step: int) -> tuple[str, frozenset[str]]:
        """An atom as a value with lanes, and what it reads."""
        name = self.resolve(atom, step)
        if name is None:
            assert isinstance(atom, float)
            return self.full(atom), frozenset()
        if atom in self.uniform:
            return f"{self.full(0.0)} + {name}", frozenset((name,))
        return name, frozenset((name,))

    def store(self, address: Address, value: str, reads: Iterable[str], guard: str = "") -> None:
        text, names = address
        masks = ["m_c"] * self.layout.tail + ["m_taken"] * self.ragged
        mask = f", mask={' & '.join(masks)}" if masks else ""
        self.behind.append(Statement(None, f"tl.store({text}, {value}{mask})", names | {*reads, *masks}, guard=guard))

    def store_result(
        self, target: str, row: int, value: tuple[str, frozenset[str]], step: int, route: int, element: int = 0
    ) -> None:
        """Store the only value that a step has for its row (and `element`), or add it where a direction comes back to a row."""
        address = self.address(target, step, row, element, route)
        if self.layout.adds(route):
            name = f"{target}_{element}" if element else target
            so_far = f"l{step}_{name}"
            self.load(so_far, address, lanes=True)
            value = self.sum_with(name, so_far, value, step, route)
        self.store(address, *value)

    def sum_with(
        self, target: str, so_far: str, value: tuple[str, frozenset[str]], step: int, route: int
    ) -> tuple[str, frozenset[str]]:
        """`so_far + value`, `so_far` loaded before anything of this chunk was stored: steps of the chunk that were at the same
        row have stored since."""
        text, reads, own = f"{so_far} + {value[0]}", value[1] | {so_far}, self.row_number(step, route)
        before = self.added.setdefault(target, [])
        meetings = self.layout.meetings(route, self.whole)
        for other, earlier, names in before:
            if (min(step, other), max(step, other)) in meetings:
                met = self.row_number(other, route)
                text += f" + tl.where({own} == {met}, {earlier}, 0.0)"
                reads |= names | {own, met}
        before.append((step, *value))
        return text, reads

    def store_merged(self, target: str, running: str, row: int, atom: Atom, step: int, scale: float, route: int) -> None:
        """Store a value that is summed over the directions: on its own, or in its turn."""
        value, reads = self.lanes(atom, step)
        scaled = "" if scale == 1.0 else f" * {number(scale)}"
        if self.layout.mode != "turns":
            self.store_result(target, row, (value if not scaled else f"({value}){scaled}", reads), step, route)
            return
        address = self.address(target, step, row, route=route)
        so_far, where = f"l{step}_{running}", self.address(running, step, row, route=route)
        self.load(so_far, where, lanes=True, guard=f"TURN != {FIRST}")
        self.store(where, value, {*reads, "TURN"}, guard=f"TURN == {FIRST}")
        self.store(where, f"{so_far} + {value}", {*reads, so_far, "TURN"}, guard=f"TURN == {MIDDLE}")
        final = f"({so_far} + {value}){scaled}" if scaled else f"{so_far} + {value}"
        self.store(address, final, {*reads, so_far, "TURN"}, guard=f"TURN == {LAST}")

    def finish(
        self, name: str, summary: str, order: Sequence[str], results: Sequence[str], carried: Sequence[tuple[str, str]]
    ) -> ChunkFunction:
        carried, results = [*carried, *self.coming.items()], [*results, *self.coming.values()]
        body = [*self.addresses.values(), *self.loads, *self.ahead, *self.work, *self.converted, *self.stores]
        statements = needed(body, results)
        free = set(free_names(statements)) | {p for p in results if p not in {s.target for s in statements}}
        guards = " ".join(statement.guard for statement in statements)
        free |= {constant for constant in CONSTANTS if constant in guards}
        rank = {parameter: i for i, parameter in enumerate([*order, "m_c", "m_taken", *PLACES, *CONSTANTS])}
        parameters = sorted(free, key=lambda p: (rank.get(p, -1), p))
        opening = None
        if self.opening is not None:
            what = "What the first chunk reads, loaded before it."
            opening = self.opening.finish(f"{name}_opening", what, order, list(self.coming), [])
        return ChunkFunction(name, summary, tuple(parameters), tuple(statements), tuple(results), tuple(carried), opening)


def uniform_names(layout: Layout, reads: Iterable[Access], lets: Iterable[Let]) -> frozenset[str]:
    """Names whose value is the same in all lanes: what comes from streams with one value for all of them alone."""
    uniform = {name for access in reads if isinstance(access.of, Stream) and layout.scalar(access.of) for name in access.names}
    for let in lets:
        if all(not isinstance(a, str) or a in uniform for a in let.arguments):
            uniform.add(let.name)
    return frozenset(uniform)


def local_names(reads: Iterable[Access], *groups: Iterable[str]) -> frozenset[str]:
    return frozenset(name for access in reads for name in access.names).union(*map(frozenset, groups))


def forward_chunk(layout: Layout, kernel: ForwardKernel, name: str, steps: int) -> ChunkFunction:
    """`steps` steps forward; with SAVE the states are stored wherever a chunk of the backward begins. What sums up a segment
    stores nothing."""
    silent = kernel is not layout.kernels.forward
    local = local_names(kernel.reads, kernel.states, (let.name for let in kernel.body))
    results = [*([] if silent else [kernel.output]), *(advance.value for advance in kernel.advances)]
    uniform, terms = uniform_names(layout, kernel.reads, kernel.body), Terms.of(kernel.body, results)
    chunk = Chunk.of(layout, layout.schedule.chunk, steps, local, uniform, terms)
    every, channels, row, route = layout.schedule.backward_chunk, layout.widest, layout.output_row, layout.kernels.output_route
    scale = layout.kernels.merge_scale if layout.mode != "partials" else None
    at_once = layout.states * (layout.schedule.chunk // every) > MOST_SAVED
    carried = [(step_name(state, 0), step_name(state, steps)) for state in kernel.states]
    if layout.schedule.abreast > 1:
        carried = sum_up_forward(chunk, kernel)
    for step in range(steps):
        if step % every == 0 and not silent:
            for number_, state in enumerate(kernel.states):
                offset = (step // every * layout.states + number_) * channels
                where = f"states + {offset}" if offset else "states"
                saved = step_name(state, step)
                chunk.store((where, frozenset(("states",))), saved, (saved,), guard="SAVE")
                if at_once and step and chunk.stores:
                    chunk.work.append(chunk.stores.pop())
        for access in kernel.reads if layout.schedule.abreast == 1 else ():
            chunk.read(access, step)
        for let in kernel.body:
            chunk.let(let, step)
        for advance in kernel.advances:
            chunk.assign(step_name(advance.state, step + 1), advance.value, step)
        if not silent:
            chunk.store_merged("output", "running", row, kernel.output, step, 1.0 if scale is None else scale, route)
    pointers = [*_stream_pointers(layout), "output", "running", "states"]
    order = [*pointers, *_fixed_names(kernel), *(before for before, _ in carried)]
    summary = f"{steps} steps forward: every load, then every step, then every store. Returns the states after them."
    if chunk.opening is not None:
        summary = f"{steps} steps forward, and every load of the next ones. Returns the states after them, and those values."
    return chunk.finish(name, summary, order, [after for _, after in carried], carried)


def backward_chunk(layout: Layout, kernel: BackwardKernel, name: str, steps: int) -> ChunkFunction:
    """`steps` steps run forward from saved states, then taken back from the last to the first. What sums up a segment stores
    nothing."""
    lets = (*kernel.forward, *kernel.backward)
    local = local_names(kernel.reads, kernel.states, kernel.carries, (let.name for let in lets), (kernel.cotangent,))
    results = [advance.value for advance in (*kernel.advances, *kernel.carry_advances)]
    results += [accumulate.value for accumulate in kernel.accumulates]
    results += [atom for gradient in kernel.gradients for atom in gradient.atoms]
    uniform, terms = uniform_names(layout, kernel.reads, lets), Terms.of(lets, results)
    chunk = Chunk.of(layout, layout.schedule.backward_chunk, steps, local, uniform, terms)
    channels = layout.widest
    for number_, state in enumerate(kernel.states):
        chunk.take_state(step_name(state, 0), number_ * channels)
    for step in range(steps):
        for access in kernel.reads:
            chunk.read(access, step)
        _read_cotangent(chunk, kernel.cotangent, step)
        for let in kernel.forward:
            chunk.let(let, step)
        for advance in kernel.advances:
            chunk.assign(step_name(advance.state, step + 1), advance.value, step)
    carried = _walk_back(chunk, kernel)
    pointers = [*_stream_pointers(layout), "cotangent", "states"]
    for stream in layout.lane_streams:
        pointers += [argument_name("g", stream.name), argument_name("running", stream.name)]
    pointers += [argument_name("g", stream.name) for stream in layout.spread_streams]
    order = [*pointers, "sums", "timed", *_fixed_names(kernel), *(before for before, _ in carried)]
    summary = f"{steps} steps forward from the saved states, then back. Returns carries and sums for the steps before."
    return chunk.finish(name, summary, order, [after for _, after in carried], carried)


def _read_cotangent(chunk: Chunk, cotangent: str, step: int) -> None:
    layout, raw = chunk.layout, f"l{step}_cotangent"
    scale, route = layout.kernels.merge_scale, layout.kernels.output_route
    chunk.take(raw, "cotangent", step, layout.output_row, route=route)
    scaled = "" if scale in (None, 1.0) else f" * {number(scale or 1.0)}"
    head, tail = ("tl.where(m_taken, ", ", 0.0)") if chunk.ragged else ("", "")
    chunk.convert(step_name(cotangent, step), raw, head, f"{tail}.to(tl.{chunk.compute}){scaled}", *["m_taken"] * chunk.ragged)


def _walk_back(chunk: Chunk, kernel: BackwardKernel) -> list[tuple[str, str]]:
    """The steps from the last to the first. Gives the names of what is carried, before and after the chunk."""
    layout, last = chunk.layout, chunk.steps - 1
    carried = [(step_name(name, last), name) for name in kernel.carries]
    if layout.schedule.abreast > 1:
        carried = sum_up_backward(chunk, kernel)

    def after(name: str, step: int) -> str:
        return step_name(name, step - 1) if step else name

    for step in reversed(range(chunk.steps)):
        for let in kernel.backward:
            chunk.let(let, step)
        if kernel is layout.kernels.backward:
            _store_gradients(chunk, kernel, step)
        for advance in kernel.carry_advances:
            chunk.assign(after(advance.state, step), advance.value, step)
        for accumulate in kernel.accumulates:
            chunk.accumulate(after(accumulate.accumulator, step), accumulate, step)
    return carried + [(step_name(a.accumulator, last), a.accumulator) for a in kernel.accumulates]


def _store_gradients(chunk: Chunk, kernel: BackwardKernel, step: int) -> None:
    layout = chunk.layout
    gradients = {gradient.of.name: gradient.atoms for gradient in kernel.gradients}
    for stream in layout.lane_streams:
        atom, target, row = gradients.get(stream.name, (0.0,))[0], argument_name("g", stream.name), layout.row(stream)
        if stream.per_direction:
            chunk.store_result(target, row, chunk.lanes(atom, step), step, stream.route)
        else:
            running = argument_name("running", stream.name)
            chunk.store_merged(target, running, row, atom, step, 1.0, stream.route)
    for stream in layout.spread_streams:
        target, row = argument_name("g", stream.name), layout.gradient_row(stream)
        for element, atom in enumerate(gradients.get(stream.name, (0.0,) * stream.width)):
            chunk.store_result(target, row, chunk.lanes(atom, step), step, stream.route, element)
    first = 0
    for route, streams in groupby(layout.scalar_streams, key=lambda stream: stream.route):
        atoms = [a for s in streams for a in gradients.get(s.name, (0.0,) * s.width)]
        _sum_lanes(chunk, atoms, Line("sums", layout.directions * layout.sum_width, route), first, step)
        first += len(atoms)
    atoms = [a for s in layout.timed_streams for a in gradients.get(s.name, (0.0,) * s.width)]
    _sum_lanes(chunk, atoms, Line("timed", layout.timed_width, TIME), 0, step)


@dataclass(frozen=True)
class Line:
    """Where the sums of a step over the lanes go: an array with `row` elements per row of a route."""

    pointer: str
    row: int
    route: int


def _sum_lanes(chunk: Chunk, atoms: Sequence[Atom], line: Line, first: int, step: int) -> None:
    """Sum values over the lanes of the program and store the sums side by side from `first` on, as many as a warp at a time."""
    for start in range(0, len(atoms), WARP):
        _sum_warp(chunk, atoms[start : start + WARP], line, first + start, step)


def _sum_warp(chunk: Chunk, atoms: Sequence[Atom], line: Line, start: int, step: int) -> None:
    layout, count = chunk.layout, len(atoms)
    lanes, width = layout.schedule.lanes, lane_index(count)
    texts, reads = [], frozenset[str]()
    for atom in atoms:
        text, names = chunk.lanes(atom, step)
        texts.append(f"tl.where(m_c, {text}, 0.0)" if layout.tail else text)
        reads |= names
    if layout.tail:
        reads |= {"m_c"}
    name = f"{line.pointer}_{start}"
    target, offsets, mask = f"s{step}_{name}", f"o_{name}", f"m_{name}"
    chunk.work.append(Statement(target, f"sums_of_{count}_over_{lanes}({', '.join(texts)})", reads))
    lane = f"tl.arange(0, {WARP})" + "[None, :]" * (layout.schedule.abreast > 1)
    place = lane if width == 1 else f"{lane} // {width}"
    chunk.addresses.setdefault(offsets, Statement(offsets, f"{start} + {place}" if start else place, frozenset()))
    where, names = chunk.address(line.pointer, step, line.row, route=line.route)
    test = [f"({lane} % {width} == 0)"] * (width > 1) + [f"({place} < {count})"] * (width * count < WARP)
    if test:
        chunk.addresses.setdefault(mask, Statement(mask, " & ".join(test), frozenset()))
    masks = [mask] * bool(test) + ["m_taken"] * chunk.ragged
    where, names, masked = (
        f"{where} + {offsets}",
        names | {offsets, *masks},
        f", mask={' & '.join(masks)}" if masks else "",
    )
    value = (target, frozenset((target,)))
    if line.route != TIME and layout.adds(line.route):
        so_far = f"l{step}_{name}"
        chunk.loads.append(Statement(so_far, f"tl.load({where}{masked})", names))
        value = chunk.sum_with(name, so_far, value, step, line.route)
    chunk.behind.append(Statement(None, f"tl.store({where}, {value[0]}{masked})", names | value[1]))


def _stream_pointers(layout: Layout) -> list[str]:
    return [argument_name("p", stream.name) for stream in layout.kernels.streams]
