"""Maps between tuples of integers, and bijections: pairs of maps that undo each other and are composed together.

In: names and integer expressions; out: the same. A bijection's inverse is the swapped pair, so whatever is composed of
the elementary bijections below has its inverse composed too, and nobody writes one. A component may be used in the
parameters of a step (`radix`, `count`, …) as long as the step leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scanlang.maps.evaluate import Value, evaluate
from scanlang.maps.integers import (
    Compare,
    Constant,
    Integer,
    Variable,
    floor_div,
    floor_mod,
    maximum,
    minimum,
    select,
    substitute,
)


@dataclass(frozen=True)
class IndexMap:
    """`IndexMap(("t",), (t // n1, t % n1))`: one expression per output, in the inputs and in axis lengths."""

    inputs: tuple[str, ...]
    outputs: tuple[Integer, ...]

    def compose(self, inner: IndexMap) -> IndexMap:
        """The map that does `inner` first: (f.compose(g))(x) == f(g(x))."""
        values = dict(zip(self.inputs, inner.outputs, strict=True))
        return IndexMap(inner.inputs, tuple(substitute(output, values) for output in self.outputs))

    def with_sizes(self, sizes: Mapping[str, Integer | int]) -> IndexMap:
        """Names that are not inputs replaced."""
        return IndexMap(self.inputs, tuple(substitute(output, sizes) for output in self.outputs))

    def __call__(self, *values: Value, **sizes: int) -> tuple[Value, ...]:
        environment = {**dict(zip(self.inputs, values, strict=True)), **sizes}
        return tuple(evaluate(output, environment) for output in self.outputs)


@dataclass(frozen=True)
class Bijection:
    """`backward` undoes `forward`, and the other way round."""

    forward: IndexMap
    backward: IndexMap

    @property
    def inverse(self) -> Bijection:
        return Bijection(self.backward, self.forward)

    def then(self, after: Bijection) -> Bijection:
        """This one first, `after` on its result."""
        return Bijection(after.forward.compose(self.forward), self.backward.compose(after.backward))

    def with_sizes(self, sizes: Mapping[str, Integer | int]) -> Bijection:
        return Bijection(self.forward.with_sizes(sizes), self.backward.with_sizes(sizes))

    @property
    def names(self) -> tuple[str, ...]:
        """The components of the result."""
        return self.backward.inputs


def identity(names: tuple[str, ...]) -> Bijection:
    same = IndexMap(names, tuple(Variable(name) for name in names))
    return Bijection(same, same)


def _step(
    names: tuple[str, ...], new_names: tuple[str, ...], forward: dict[str, Integer], backward: dict[str, Integer]
) -> Bijection:
    """The components named in `forward` and `backward` are computed, the others stay."""
    return Bijection(
        IndexMap(names, tuple(forward.get(name, Variable(name)) for name in new_names)),
        IndexMap(new_names, tuple(backward.get(name, Variable(name)) for name in names)),
    )


def _replaced(names: tuple[str, ...], old: str, new: tuple[str, ...]) -> tuple[str, ...]:
    place = names.index(old)
    return (*names[:place], *new, *names[place + 1 :])


def split_digits(names: tuple[str, ...], whole: str, into: tuple[str, str], radix: Integer) -> Bijection:
    """Mixed-radix digits: whole <-> (whole // radix, whole % radix), for whole >= 0."""
    high, low = Variable(into[0]), Variable(into[1])
    return _step(
        names,
        _replaced(names, whole, into),
        {into[0]: floor_div(Variable(whole), radix), into[1]: floor_mod(Variable(whole), radix)},
        {whole: high * radix + low},
    )


def mirror(names: tuple[str, ...], name: str, count: Integer, when: Compare | bool = True) -> Bijection:
    """x <-> count - 1 - x, where `when` holds (reversal, flips, alternation by parity)."""
    mirrored: dict[str, Integer] = {name: select(when, count - 1 - Variable(name), Variable(name))}
    return _step(names, names, mirrored, mirrored)


def roll(names: tuple[str, ...], name: str, count: Integer, by: int) -> Bijection:
    """x <-> (x + by) % count."""
    x = Variable(name)
    return _step(names, names, {name: floor_mod(x + by, count)}, {name: floor_mod(x - by, count)})


def permute(names: tuple[str, ...], new_names: tuple[str, ...]) -> Bijection:
    """Components in another order (transposition)."""
    return _step(names, new_names, {}, {})


def rename(names: tuple[str, ...], new_names: tuple[str, ...]) -> Bijection:
    return Bijection(
        IndexMap(names, tuple(Variable(name) for name in names)),
        IndexMap(new_names, tuple(Variable(name) for name in new_names)),
    )


def drop_zero(names: tuple[str, ...], name: str) -> Bijection:
    """A component that can only be 0 <-> nothing."""
    return _step(names, tuple(other for other in names if other != name), {}, {name: Constant(0)})


@dataclass(frozen=True)
class TileSplit:
    """`length` cells cut into tiles of `by`, the first one `first` long, the last one as long as is left."""

    length: Integer
    by: Integer
    first: Integer

    @property
    def _lead(self) -> Integer:
        return self.by - self.first

    def tile(self, cell: Integer) -> Integer:
        if self._lead == Constant(0) or self.by == self.first:
            return floor_div(cell, self.by)
        return floor_div(maximum(0, cell + self._lead), self.by)

    @property
    def count(self) -> Integer:
        return self.tile(self.length - 1) + 1

    def start(self, tile: Integer) -> Integer:
        if self._lead == Constant(0) or self.by == self.first:
            return tile * self.by
        return select(Compare("==", tile, Constant(0)), 0, self.first + (tile - 1) * self.by)

    def size(self, tile: Integer) -> Integer:
        if self._lead == Constant(0) or self.by == self.first:
            return minimum(self.by, self.length - tile * self.by)
        later = minimum(self.by, self.length - self.first - (tile - 1) * self.by)
        return select(Compare("==", tile, Constant(0)), minimum(self.first, self.length), later)


def split_tiles(names: tuple[str, ...], whole: str, into: tuple[str, str], tiles: TileSplit) -> Bijection:
    """A cell <-> (its tile, its place in the tile)."""
    tile = tiles.tile(Variable(whole))
    return _step(
        names,
        _replaced(names, whole, into),
        {into[0]: tile, into[1]: Variable(whole) - tiles.start(tile)},
        {whole: tiles.start(Variable(into[0])) + Variable(into[1])},
    )


@dataclass(frozen=True)
class PhaseSplit:
    """`length` cells dealt out by their remainder modulo `modulus`; the first `longer` phases have one cell more."""

    length: Integer
    modulus: Integer

    @property
    def base(self) -> Integer:
        return floor_div(self.length, self.modulus)

    @property
    def longer(self) -> Integer:
        return floor_mod(self.length, self.modulus)

    @property
    def count(self) -> Integer:
        """Phases that hold no cell are not visited."""
        return minimum(self.modulus, self.length)

    def start(self, phase: Integer) -> Integer:
        """The number of cells in the phases before this one."""
        return phase * self.base + minimum(phase, self.longer)

    def size(self, phase: Integer) -> Integer:
        return floor_div(self.length - 1 - phase, self.modulus) + 1

    def phase_at(self, place: Integer) -> Integer:
        """The phase of the cell at `place`, with all cells of phase 0 counted first, then those of phase 1, …"""
        border = self.longer * (self.base + 1)
        beyond = self.longer + floor_div(place - border, maximum(1, self.base))
        return select(Compare("<", place, border), floor_div(place, self.base + 1), beyond)


def split_dealt(names: tuple[str, ...], whole: str, into: tuple[str, str], phases: PhaseSplit) -> Bijection:
    """A place in phase-by-phase order <-> (the phase, the place in it)."""
    phase = phases.phase_at(Variable(whole))
    return _step(
        names,
        _replaced(names, whole, into),
        {into[0]: phase, into[1]: Variable(whole) - phases.start(phase)},
        {whole: phases.start(Variable(into[0])) + Variable(into[1])},
    )


def split_phases(names: tuple[str, ...], whole: str, into: tuple[str, str], phases: PhaseSplit) -> Bijection:
    """A cell <-> (its remainder, its quotient)."""
    cell, modulus = Variable(whole), phases.modulus
    return _step(
        names,
        _replaced(names, whole, into),
        {into[0]: floor_mod(cell, modulus), into[1]: floor_div(cell, modulus)},
        {whole: Variable(into[0]) + Variable(into[1]) * modulus},
    )
