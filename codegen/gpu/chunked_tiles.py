"""Values of a step as Triton text over tiles of many steps: `[T]`, `[T, N]` or `[T, P]`, nothing written out over an index.

In: the equations of a pointwise step and of its adjoint, and where its operands lie; out: lines, made as they are asked for.
What does not depend on the step is computed before the loop over chunks, what depends on sums over all steps after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import assert_never

from scanlang.codegen.gpu.triton_text import argument_texts, expression
from scanlang.codegen.kernel import Atom, Let
from scanlang.codegen.unroll import Block, Names, Unroller, local_name
from scanlang.graph.step import Assign
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value, free_indices
from scanlang.source import Span


class Place(IntEnum):
    """Where a line stands: before the loop over chunks, in it, or after it."""

    BEFORE = 0
    INSIDE = 1
    AFTER = 2


@dataclass(frozen=True)
class Tile:
    """The shape of a value: `timed` ones have a row for every step of the chunk, `axis` is the label of the other dimension."""

    timed: bool = False
    axis: str | None = None
    place: Place = Place.BEFORE

    def joined(self, other: Tile) -> Tile:
        axes = {axis for axis in (self.axis, other.axis) if axis is not None}
        if len(axes) > 1:
            raise ValueError(f"a tile over {sorted(axes)}")
        return Tile(self.timed or other.timed, min(axes, default=None), max(self.place, other.place))

    def seen_from(self, other: Tile, name: str) -> str:
        """`name`, of this shape, as it is written beside tiles of the shape `other`."""
        if other.timed and other.axis is not None:
            if not self.timed and self.axis is not None:
                return f"{name}[None, :]"
            if self.timed and self.axis is None:
                return f"{name}[:, None]"
        return name


SCALAR = Tile()
TIMED = Tile(timed=True, place=Place.INSIDE)


@dataclass(frozen=True)
class Axis:
    """A dimension beside time: `size` numbers in a tile of `padded`; `numbers` is the name of their indices, `mask` of which
    are there (empty: all)."""

    size: int
    padded: int
    numbers: str
    mask: str


@dataclass
class TileBlock(Block):
    """Straight-line code over tiles: every let is a line at the place its arguments allow."""

    compute: str = "float32"
    tiles: dict[str, Tile] = field(default_factory=dict)
    lines: dict[Place, list[str]] = field(default_factory=lambda: {place: [] for place in Place})

    def let(self, function: str, *arguments: Atom, hint: str | None = None, origin: Span | None = None) -> Atom:
        found = super().let(function, *arguments, hint=hint, origin=origin)
        if isinstance(found, str) and found not in self.tiles:
            self._write(self.made[found])
        return found

    def rest(self, name: str, exact: bool) -> Atom | None:
        """1 less a sigmoid by its other half; what is written stays as it is."""
        gate = self.gates.get(name)
        if gate is None:
            return None
        large = self.let("div", 1.0, gate.total)
        return self.let("where", gate.is_above, self.let("mul", gate.decay, large), large)

    def _write(self, let: Let) -> None:
        tile = SCALAR
        for argument in let.arguments:
            tile = tile.joined(self.tile(argument))
        names = [self.tile(a).seen_from(tile, a) if isinstance(a, str) else None for a in let.arguments]
        self.tiles[let.name] = tile
        self.line(tile.place, f"{let.name} = {expression(let, argument_texts(let, names, self.compute), self.compute)}")

    def tile(self, atom: Atom) -> Tile:
        return self.tiles[atom] if isinstance(atom, str) else SCALAR

    def line(self, place: Place, text: str) -> None:
        self.lines[place].append(text)

    def define(self, hint: str, tile: Tile, text: str) -> str:
        """A value computed by `text`, once."""
        key = (f"{tile}", (text,))
        if (known := self.find(key)) is not None:
            return known
        name = self.fresh(hint)
        self.tiles[name] = tile
        self.line(tile.place, f"{name} = {text}")
        self.known[key] = name
        return name


Supply = Callable[[], Atom]


class Tiles:
    """Named values as tiles, each made when it is first read.

    `equations` define values by name; `given` supplies the others: operands, and what the core computes.
    """

    def __init__(self, block: TileBlock, labels: Mapping[str, str], axes: Mapping[str, Axis]) -> None:
        self.block, self.labels, self.axes = block, labels, axes
        self.equations: dict[str, Assign] = {}
        self.given: dict[str, Supply] = {}
        self.atoms: dict[str, Atom] = {}
        self._functions = Unroller({}, Names(), block)

    def read(self, name: str) -> Atom:
        if name not in self.atoms:
            equation = self.equations.get(name)
            if equation is None:
                self.atoms[name] = self.given[name]()
            else:
                self.atoms[name] = self.atom(equation.value, local_name(name, ()))
        return self.atoms[name]

    def atom(self, value: Value, hint: str | None = None) -> Atom:
        match value:
            case Constant(number):
                return float(number)
            case IndexValue(index):
                return self._index_numbers(self.labels[index])
            case Read(name, _):
                return self.read(name)
            case Total(index, body):
                return self._total(index, body)
            case Apply(function, arguments):
                return self._functions.apply(function, [self.atom(a) for a in arguments], None, hint)
            case Previous(name, _):
                raise ValueError(f"{name}: a pointwise step has no states")
            case _:
                assert_never(value)

    def _index_numbers(self, label: str) -> str:
        name = f"index {label}"
        if name not in self.atoms:
            text = f"{self.axes[label].numbers}.to(tl.{self.block.compute})"
            self.atoms[name] = self.block.define(f"b_index_{label}", Tile(axis=label), text)
        return str(self.atoms[name])

    def _total(self, index: str, body: Value) -> Atom:
        axis, atom = self.labels[index], self.atom(body)
        if index not in free_indices(body) or self.block.tile(atom).axis is None:
            return self.block.let("mul", atom, float(self.axes[axis].size))
        return self.summed(str(atom))

    def summed(self, name: str) -> str:
        """A tile summed over its axis."""
        tile = self.block.tile(name)
        text = f"tl.sum({self.masked(name, steps=False)}, {int(tile.timed)})"
        return self.block.define("b_sum", Tile(tile.timed, None, tile.place), text)

    def masked(self, name: str, steps: bool = True) -> str:
        """The text of a tile with zeros where there is no step (if asked for) or no number of its axis."""
        tile = self.block.tile(name)
        tests = []
        if steps and tile.timed:
            tests.append("m_t[:, None]" if tile.axis is not None else "m_t")
        if tile.axis is not None and (mask := self.axes[tile.axis].mask):
            tests.append(f"{mask}[None, :]" if tile.timed else mask)
        return f"tl.where({' & '.join(tests)}, {name}, 0.0)" if tests else name
