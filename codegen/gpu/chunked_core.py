"""The core of a matrix-state recurrence over a chunk of T steps, as Triton text: matrix products in place of a loop over steps.

With b the sum of the log decays up to a step, b_end up to the last, S the state before the chunk:

    pairs[t, s] = (q_t · k_s) exp(b_t - b_s) w_s  where s ≤ t           read_t = pairs v + exp(b_t) q_t S
    S ← exp(b_end) S + (k_s w_s exp(b_end - b_s))ᵀ v

Only exponentials of sums over steps that lie between two steps are taken, so nothing grows that the recurrence does not. Where
the decay has the index of the state, the exponential does not leave the sum over it: pairs are then made level by level, those
of steps on either side of the middle of 2, 4, … T steps (`_levels`), each relative to that middle.

In: tiles of what the core takes; out: tiles of what it gives, and of the gradients of what it takes. Knows no address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scanlang.codegen.gpu.chunked_tiles import TIMED, Place, Tile, TileBlock
from scanlang.codegen.kernel import Atom

INSIDE = Tile(place=Place.INSIDE)
"""Of anything in the loop that the pointwise step does not see."""


@dataclass
class Products:
    """Matrix products of float32 tiles that lose less than float32 sums do.

    `halves`: a factor is the sum of two bfloat16 tiles, or one where it was loaded as such (`raws`); else TF32 three times.
    """

    block: TileBlock
    halves: bool
    raws: dict[str, str] = field(default_factory=dict)
    _parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def parts(self, name: str) -> tuple[str, ...]:
        """bfloat16 tiles whose sum is the tile, the largest first."""
        if name in self.raws:
            return (self.raws[name],)
        if name not in self._parts:
            tile = self.block.tile(name)
            high = self.block.define(f"h_{name}", tile, f"{name}.to(tl.bfloat16)")
            low = self.block.define(f"l_{name}", tile, f"({name} - {high}.to(tl.float32)).to(tl.bfloat16)")
            self._parts[name] = (high, low)
        return self._parts[name]

    def sums(self, hint: str, ones: str, name: str) -> str:
        """`ones @ name`, where `ones` are conditions."""
        if not self.halves:
            return self.block.define(hint, INSIDE, f'tl.dot(tl.where({ones}, 1.0, 0.0), {name}, input_precision="tf32x3")')
        high, low = self.parts(name)
        rest = f"({name} - {high}.to(tl.float32) - {low}.to(tl.float32)).to(tl.bfloat16)"
        made = ""
        for part in (self.block.define(f"ll_{name}", self.block.tile(name), rest), low, high):
            made = self.block.define(
                hint, INSIDE, f"tl.dot(tl.where({ones}, 1.0, 0.0).to(tl.bfloat16), {part}{f', {made}' if made else ''})"
            )
        return made

    def dot(self, hint: str, left: str, right: str, onto: str = "", turned: str = "", tile: Tile = INSIDE) -> str:
        """`left @ right`, added `onto` a tile; `turned` names the side that is transposed: `left` or `right`."""
        pairs = [(left, right)]
        if self.halves:
            lefts, rights = self.parts(left), self.parts(right)
            pairs = [(a, b) for a in lefts for b in rights if a is lefts[0] or b is rights[0]][::-1]
        precision = "" if self.halves else ', input_precision="tf32x3"'
        for a, b in pairs:
            a, b = f"tl.trans({a})" if turned == "left" else a, f"tl.trans({b})" if turned == "right" else b
            onto = self.block.define(hint, tile, f"tl.dot({a}, {b}{f', {onto}' if onto else ''}{precision})")
        return onto


@dataclass(frozen=True)
class Taken:
    """What the core takes, as tiles with zeros where there is no step: `query` and `key` `[T, N]`, `value` `[T, P]`, `weight`
    and `mass` `[T]` (or a number), the logarithms of the decays `[T]` or `[T, N]` (0.0: there is no decay).

    `sign` has the sign of a decay that may be negative, like the logarithms; `segment` counts the restarts up to every step.
    """

    query: str
    key: str
    value: str
    weight: Atom
    log_decay: Atom
    sign: str | None
    mass: Atom | None
    segment: str | None
    exclusive: bool
    by_row: bool


@dataclass(frozen=True)
class Level:
    """Pairs of steps on either side of the middle of so many steps: `scale` is the decay between a step and the middle, the
    two scaled tiles multiply to the pairs where `mask` is true."""

    scale: str
    query: str
    key: str
    mask: str


class Core:
    """One chunk. `state` and `sums` are the tiles of the state and of the normaliser before it."""

    def __init__(self, products: Products, steps: int, taken: Taken, state: str, sums: str | None) -> None:
        self.products, self.block, self.steps, self.taken = products, products.block, steps, taken
        self.state, self.sums = state, sums
        self.levels: list[Level] = []
        self.plain = self.pairs = ""
        self._write_decays()

    def define(self, hint: str, text: str, tile: Tile = INSIDE) -> str:
        return self.block.define(hint, tile, text)

    @property
    def decays(self) -> bool:
        return isinstance(self.taken.log_decay, str)

    def _write_decays(self) -> None:
        """`since`: the decay from the start of the chunk to what a step reads; `fade`: from a step to the end, `until` with its
        weight; `through`: over the whole chunk. Empty where it is 1."""
        taken = self.taken
        self.after = self.upto = self.since = self.until = self.through = self.fade = self.turned = self.turned_upto = ""
        if self.decays:
            log = str(taken.log_decay)
            self.after = self.define("b_after", f"tl.cumsum({log}, 0)")
            self.upto = self.define("b_upto", f"{self.after} - {log}") if taken.exclusive else self.after
            end = self.define("b_end", f"tl.sum({log}, 0)")
            self.since = self.define("b_since", f"exp({self.upto})")
            self.fade = self.define("b_fade", f"exp({end}{'[None, :]' if taken.by_row else ''} - {self.after})")
            self.through = self.define("b_through", f"exp({end})")
        if taken.sign is not None:
            self._write_signs(taken.sign)
        if taken.segment is not None:
            last = self.define("b_segment_end", f"tl.max({taken.segment}, 0)")
            fresh, same = f"({taken.segment} == 0.0)", f"({taken.segment} == {last})"
            wide = "[:, None]" if taken.by_row and self.decays else ""
            self.since = self.define("b_since", f"tl.where({fresh}{wide}, {self.since or '1.0'}, 0.0)")
            self.fade = self.define("b_fade", f"tl.where({same}{wide}, {self.fade or '1.0'}, 0.0)")
            self.through = self.define("b_through", f"tl.where({last} == 0.0, {self.through or '1.0'}, 0.0)")
        self.until = self.fade
        if isinstance(taken.weight, str):
            wide = "[:, None]" if taken.by_row and self.fade else ""
            self.until = self.define("b_until", f"{self.fade} * {taken.weight}{wide}") if self.fade else taken.weight

    def _write_signs(self, sign: str) -> None:
        """`turned`: -1 where an odd number of the decays up to a step are negative, else 1."""
        negative = self.define("b_negative", f"tl.where({sign} < 0.0, 1.0, 0.0)")

        def parity(count: str) -> str:
            return self.define("b_turned", f"1.0 - 2.0 * (({count}).to(tl.int32) % 2).to(tl.float32)")

        count = self.define("b_negatives", f"tl.cumsum({negative}, 0)")
        self.turned = parity(count)
        self.turned_upto = parity(f"{count} - {negative}") if self.taken.exclusive else self.turned
        end = parity(f"tl.sum({negative}, 0)")
        self.since = self.define("b_since", f"{self.since} * {self.turned_upto}")
        self.fade = self.define("b_fade", f"{self.fade} * {self.turned} * {end}{'[None, :]' if self.wide else ''}")
        self.through = self.define("b_through", f"{self.through} * {end}")

    @property
    def wide(self) -> bool:
        """`since`, `until` and `fade` are `[T, N]`."""
        return self.taken.by_row and self.decays

    def across(self, name: str) -> str:
        """`since`, `until` or `fade` beside a tile `[T, ·]`."""
        return name if self.wide else f"{name}[:, None]"

    def scaled(self, hint: str, name: str, by: str) -> str:
        """A tile `[T, N]` times `since`, `until` or `fade`."""
        return self.define(hint, f"{name} * {self.across(by)}") if by else name

    def write_pairs(self, at_level: Callable[[Level], None] = lambda _: None) -> None:
        """`pairs`, and without the weight `plain`, zero where a step does not see the other; what else is done `at_level`."""
        if self.pairs:
            for level in self.levels:
                at_level(level)
            return
        taken, products = self.taken, self.products
        if self.wide:
            dots = self._pairs_by_level(at_level)
        else:
            dots = products.dot("b_dots", taken.query, taken.key, turned="right")
        decay = self.between()
        seen = f"{dots} * {decay}" if decay else f"tl.where({self.seen()}, {dots}, 0.0)"
        self.plain = self.pairs = self.define("b_plain", seen)
        if isinstance(taken.weight, str):
            self.pairs = self.define("b_pairs", f"{self.plain} * {taken.weight}[None, :]")

    def seen(self) -> str:
        """Which steps see which others."""
        segment = self.taken.segment
        if segment is None:
            return "m_pair"
        return self.define("m_seen", f"m_pair & ({segment}[:, None] == {segment}[None, :])")

    def between(self) -> str:
        """The decay between two steps, zero where one does not see the other; empty where there is none, or by level."""
        if self.wide or not self.decays:
            return ""
        exponent = f"{self.upto}[:, None] - {self.after}[None, :]"
        signs = f" * {self.turned_upto}[:, None] * {self.turned}[None, :]" if self.turned else ""
        return self.define("b_decay", f"exp(tl.where({self.seen()}, {exponent}, float('-inf'))){signs}")

    def _pairs_by_level(self, at_level: Callable[[Level], None]) -> str:
        taken, total = self.taken, ""
        for level in self._write_levels():
            self.levels.append(level)
            made = self.products.dot("b_level", level.query, level.key, turned="right")
            total = self.define("b_dots", f"tl.where({level.mask}, {made}, {total or '0.0'})")
            at_level(level)
        if not taken.exclusive:
            own = self.define("b_own", f"tl.sum({taken.query} * {taken.key}, 1)")
            total = self.define("b_dots", f"tl.where(m_own, {own}[:, None], {total})")
        return total

    def _write_levels(self) -> Iterator[Level]:
        """The two halves of every 2 · `half` steps. The decay between a step and the middle is the exponential of the sum of
        the log decays of the steps that lie between: a product with a matrix of ones and zeros."""
        taken, half = self.taken, 1
        while half < self.steps:
            middle = f"(o_t // {2 * half} * {2 * half} + {half})"
            step, other = "o_t[None, :]", "o_t[:, None]"
            last = "<" if taken.exclusive else "<="
            upper = f"({other} >= {middle}[:, None]) & ({step} >= {middle}[:, None]) & ({step} {last} {other})"
            lower = f"({step} > {other}) & ({step} < {middle}[:, None])"
            ones = self.define(f"m_between_{half}", f"({upper}) | ({lower})")
            sums = self.products.sums("b_between", ones, str(taken.log_decay))
            signs = f" * tl.where((o_t >= {middle})[:, None], {self.turned_upto}, {self.turned})" if self.turned else ""
            scale = self.define("b_scale", f"exp({sums}){signs}")
            query = self.define("b_query", f"{taken.query} * {scale}")
            key = self.define("b_key", f"{taken.key} * {scale}")
            group = f"(o_t[:, None] // {2 * half} == o_t[None, :] // {2 * half})"
            mask = self.define(f"m_level_{half}", f"{group} & (o_t >= {middle})[:, None] & (o_t < {middle})[None, :]")
            yield Level(scale, query, key, mask)
            half *= 2

    # What it gives.

    def read(self, tile: Tile) -> str:
        """The readout `[T, P]`."""
        self.write_pairs()
        taken, products = self.taken, self.products
        if self.wide or not self.since:
            query = self.scaled("b_since_query", taken.query, self.since)
            return products.dot("b_read", query, self.state, products.dot("b_read", self.pairs, taken.value), tile=tile)
        before = products.dot("b_before", taken.query, self.state)
        onto = self.define("b_before", f"{before} * {self.across(self.since)}")
        return products.dot("b_read", self.pairs, taken.value, onto, tile=tile)

    def read_sums(self) -> str:
        """The readout of the normaliser `[T]`."""
        self.write_pairs()
        taken = self.taken
        own = f"tl.sum({self.pairs} * {taken.mass}[None, :], 1)" if isinstance(taken.mass, str) else f"tl.sum({self.pairs}, 1)"
        query = self.scaled("b_since_query", taken.query, self.since)
        return self.define("b_read_sums", f"{own} + tl.sum({query} * {self.sums}[None, :], 1)", TIMED)

    def next_state(self) -> tuple[str, str | None]:
        """The state after the chunk, and the normaliser."""
        taken = self.taken
        key = self.scaled("b_until_key", taken.key, self.until)
        kept = self.define("b_kept", f"{self.state} * {self._through()}") if self.through else self.state
        after = self.products.dot("b_next", key, taken.value, kept, turned="left")
        if self.sums is None:
            return after, None
        mass = f" * {taken.mass}[:, None]" if isinstance(taken.mass, str) else ""
        through = f" * {self.through}" if self.through else ""
        return after, self.define("b_next_sums", f"{self.sums}{through} + tl.sum({key}{mass}, 0)")

    def _through(self) -> str:
        """The decay over the chunk beside tiles `[N, P]`."""
        return f"{self.through}[:, None]" if self.wide else self.through


class CoreAdjoint:
    """The adjoint of a core: `read` and `sums_read` are the gradients of its readouts, `state` and `sums` of what it leaves.

    `rows` and `channels` are the labels of the two dimensions of the state.
    """

    def __init__(
        self, core: Core, rows: str, channels: str, read: str, sums_read: str | None, state: str, sums: str | None
    ) -> None:
        self.rows, self.channels = rows, channels
        self.core, self.products, self.taken, self.block = core, core.products, core.taken, core.block
        self.read, self.sums_read, self.state, self.sums = read, sums_read, state, sums
        self._own: tuple[str, str] | None = None

    def define(self, hint: str, text: str, tile: Tile = INSIDE) -> str:
        return self.block.define(hint, tile, text)

    def query_and_key(self) -> tuple[str, str]:
        core, taken = self.core, self.taken
        tile = Tile(True, self.rows, Place.INSIDE)
        own_query, own_key = self._through_pairs()
        query = self.define("g_query", f"{own_query} + {self._from_state()}", tile)
        end = self._key_from_end()
        faded = f"{end} * {core.across(core.until)}" if core.until else end
        key = self.define("g_key", f"{own_key} + {faded}", tile)
        if core.wide and not taken.exclusive:
            diagonal = self.define("g_own", f"tl.sum(tl.where(m_own, {self._dots()}, 0.0), 1)")
            query = self.define("g_query", f"{query} + {diagonal}[:, None] * {taken.key}", tile)
            key = self.define("g_key", f"{key} + {diagonal}[:, None] * {taken.query}", tile)
        return query, key

    def value(self) -> str:
        core, products, key = self.core, self.products, self.taken.key
        tile = Tile(True, self.channels, Place.INSIDE)
        if core.wide:
            self._through_pairs()  # at each level, while what belongs to it is at hand
        core.write_pairs()
        if core.wide or not core.until:
            key = core.scaled("b_until_key", key, core.until)
            own = products.dot("g_value", core.pairs, self.read, turned="left")
            return products.dot("g_value", key, self.state, own, tile=tile)
        end = products.dot("g_end", key, self.state)
        end = self.define("g_end", f"{end} * {core.across(core.until)}")
        return products.dot("g_value", core.pairs, self.read, end, turned="left", tile=tile)

    def _pairs(self) -> str:
        """The gradient of `pairs`, of any two steps."""
        made = self.products.dot("g_pairs", self.read, self.taken.value, turned="right")
        if self.sums_read is None:
            return made
        mass = f" * {self.taken.mass}[None, :]" if isinstance(self.taken.mass, str) else ""
        return self.define("g_pairs", f"{made} + {self.sums_read}[:, None]{mass}")

    def _dots(self) -> str:
        """The gradient of the products of queries and keys."""
        core, weight, pairs, decay = self.core, self.taken.weight, self._pairs(), self.core.between()
        weighed = f"{pairs} * {weight}[None, :]" if isinstance(weight, str) else pairs
        return self.define("g_dots", f"{weighed} * {decay}" if decay else f"tl.where({core.seen()}, {weighed}, 0.0)")

    def _through_pairs(self) -> tuple[str, str]:
        """The gradients of queries and keys through the pairs (where the decay has rows: without a step's pair with itself)."""
        core, products, dots = self.core, self.products, self._dots()
        if not core.wide:
            return products.dot("g_query", dots, self.taken.key), products.dot("g_key", dots, self.taken.query, turned="left")
        if self._own is None:
            found = ["", ""]

            def at_level(level: Level) -> None:
                some = self.define("g_level", f"tl.where({level.mask}, {dots}, 0.0)")
                query = products.dot("g_query", some, level.key)
                key = products.dot("g_key", some, level.query, turned="left")
                for place, one in enumerate((query, key)):
                    onto = f" + {found[place]}" if found[place] else ""
                    found[place] = self.define(("g_query", "g_key")[place], f"{one} * {level.scale}{onto}")

            core.write_pairs(at_level)
            self._own = found[0], found[1]
        return self._own

    def _from_state(self) -> str:
        """The gradient of the queries through the state before the chunk."""
        core = self.core
        made = self.products.dot("g_since", self.read, core.state, turned="right")
        if self.sums_read is not None:
            made = self.define("g_since", f"{made} + {self.sums_read}[:, None] * {core.sums}[None, :]")
        return core.scaled("g_since", made, core.since)

    def _key_from_end(self) -> str:
        """The gradient of the keys through the state after the chunk, before the decay and the weight."""
        made = self.products.dot("g_until", self.taken.value, self.state, turned="right")
        if self.sums is None:
            return made
        mass = f"{self.taken.mass}[:, None] * " if isinstance(self.taken.mass, str) else ""
        return self.define("g_until", f"{made} + {mass}{self.sums}[None, :]")

    def weight(self) -> str:
        core, key, key_end = self.core, self.taken.key, self._key_from_end()
        core.write_pairs()
        if core.wide:
            end = f"tl.sum({key} * {key_end} * {core.fade}, 1)"
        else:
            end = f"tl.sum({key} * {key_end}, 1){f' * {core.fade}' if core.fade else ''}"
        return self.define("g_weight", f"tl.sum({self._pairs()} * {core.plain}, 0) + {end}", TIMED)

    def log_decay(self) -> str:
        """A decay lies between two steps of every pair around it, between the start and every later readout, between every
        earlier key and the end, and between start and end."""
        core, taken = self.core, self.taken
        from_state, key_end = self._from_state(), self._key_from_end()
        if core.wide:
            query, key = self._through_pairs()
            row, column = f"{taken.query} * {query}", f"{taken.key} * {key}"
            since, until = f"{taken.query} * {from_state}", f"{taken.key} * {key_end} * {core.until}"
            ends = f"tl.sum({self.state} * {core.state}, 1)"
            tile = Tile(True, self.rows, Place.INSIDE)
        else:
            core.write_pairs()
            last = " - 1" if taken.exclusive else ""  # the next step reads what no decay has met
            apart = f"tl.where(o_t[None, :] < o_t[:, None]{last}, {self._pairs()} * {core.pairs}, 0.0)"
            apart = self.define("b_apart", apart)
            row, column = f"tl.sum({apart}, 1)", f"tl.sum({apart}, 0)"
            since = f"tl.sum({taken.query} * {from_state}, 1)"
            until = f"tl.sum({taken.key} * {key_end}, 1) * {core.until}"
            ends = f"tl.sum({self.state} * {core.state})"
            tile = TIMED
        if core.sums is not None:
            ends += f" + {self.sums} * {core.sums}" if core.wide else f" + tl.sum({self.sums} * {core.sums})"
        reader, column = self.define("b_reader", f"{row} + {since}"), self.define("b_column", column)
        if taken.exclusive:
            later = f"{self._over_steps('>', reader)} - tl.cumsum({column}, 0, reverse=True)"
        else:
            crossing = self.define("b_crossing", f"{reader} - {column}")
            later = f"tl.cumsum({crossing}, 0, reverse=True)"
        earlier = self._over_steps("<", self.define("b_leaving", until))
        ends = self.define("b_ends", f"({ends}) * {core.through}")
        return self.define("g_log_decay", f"{later} + {earlier} + {ends}{'[None, :]' if core.wide else ''}", tile)

    def _over_steps(self, sign: str, name: str) -> str:
        """Sums over the steps before (`<`) or after (`>`) each, without it: a large term of its own would take their digits."""
        if self.core.wide:
            return self.products.sums("b_others", f"o_t[None, :] {sign} o_t[:, None]", name)
        return self.define("b_others", f"tl.sum(tl.where(o_t[None, :] {sign} o_t[:, None], {name}[None, :], 0.0), 1)")

    def mass(self) -> str:
        core = self.core
        core.write_pairs()
        until_key = core.scaled("b_until_key", self.taken.key, core.until)
        return self.define(
            "g_mass",
            f"tl.sum({core.pairs} * {self.sums_read}[:, None], 0) + tl.sum({until_key} * {self.sums}[None, :], 1)",
            TIMED,
        )

    def before(self) -> tuple[str, str | None]:
        """The gradients of the state before the chunk and of the normaliser."""
        core = self.core
        query = core.scaled("b_since_query", self.taken.query, core.since)
        kept = self.define("g_kept", f"{self.state} * {core._through()}") if core.through else self.state
        state = self.products.dot("g_before", query, self.read, kept, turned="left")
        if self.sums is None:
            return state, None
        through = f" * {core.through}" if core.through else ""
        return state, self.define("g_before_sums", f"{self.sums}{through} + tl.sum({query} * {self.sums_read}[:, None], 0)")
