"""What is known of variables, and what follows: signs by proof over all sizes, intervals for one size.

In: expressions or polynomials and the `Ranges` of their variables; out: "surely" or "not proved", never "surely not".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import assert_never

from scanlang.maps.integers import (
    Absolute,
    Add,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
    multiply,
    nodes,
    sort_key,
)
from scanlang.maps.polynomial import Polynomial

MOST_AXES = 4
SIZES = tuple(Variable(f"n{axis}") for axis in range(MOST_AXES))
"""The lengths of the axes, the slowest of the raster first; a grid has the first so many."""

STEP = Variable("t")
Grid = tuple[int, ...]


def sizes_of(grid: Grid) -> dict[str, int]:
    """The lengths of the axes by the names they have in expressions."""
    return {name.name: size for name, size in zip(SIZES, grid, strict=False)}


def cell_names(rank: int) -> tuple[str, ...]:
    """The coordinates of a cell: c0, c1, …"""
    return tuple(f"c{axis}" for axis in range(rank))


def cell_count(rank: int) -> Integer:
    """n0 * n1 * …"""
    count: Integer = Constant(1)
    for size in SIZES[:rank]:
        count = multiply(count, size)
    return count


def raster_index(cell: Sequence[Integer]) -> Integer:
    """(c0 * n1 + c1) * n2 + …"""
    index = cell[0]
    for axis in range(1, len(cell)):
        index = index * SIZES[axis] + cell[axis]
    return index


@dataclass(frozen=True)
class Range:
    """`low <= name <= high`, `high` None where there is no limit; both may depend on names listed earlier."""

    name: str
    low: Integer
    high: Integer | None


@dataclass(frozen=True)
class Ranges:
    """What is known of each name, outer before inner."""

    known: tuple[Range, ...] = ()

    def with_range(self, name: str, low: Integer | int, high: Integer | int | None) -> Ranges:
        low = Constant(low) if isinstance(low, int) else low
        high = Constant(high) if isinstance(high, int) else high
        return Ranges((*self.known, Range(name, low, high)))

    def with_loop(self, name: str, count: Integer) -> Ranges:
        """`0 <= name < count`."""
        return self.with_range(name, 0, count - 1)


GRID = reduce(lambda ranges, size: ranges.with_range(size.name, 1, None), SIZES, Ranges())
"""Axis lengths n0, n1, … >= 1."""


def steps_on(rank: int) -> Ranges:
    """And a step 0 <= t < n0 * n1 * …"""
    return GRID.with_range(STEP.name, 0, cell_count(rank) - 1)


STEPS = steps_on(2)


def is_nonnegative(expression: Integer, ranges: Ranges) -> bool:
    """True only if `expression >= 0` is proved for every value that `ranges` allows."""
    from scanlang.maps.simplify import Simplifier

    return Simplifier(ranges).is_nonnegative(expression)


class Prover:
    """Proves polynomials non-negative by eliminating one atom after the other, the most derived one first.

    `bounds` gives each variable's (low, high) as polynomials in earlier variables; `parts` gives the polynomials of an
    atom's children. Work is bounded: a proof that takes more than `budget` steps is given up, and so is every proof
    after `total` steps in all.
    """

    def __init__(self, budget: int = 400, total: int = 10_000) -> None:
        self.bounds: dict[Integer, tuple[Polynomial, Polynomial | None]] = {}
        self.parts: dict[Integer, tuple[Polynomial, ...]] = {}
        self.rank: dict[Integer, int] = {}
        self.known: dict[Polynomial, bool] = {}
        self.budget = budget
        self.left = budget
        self.total = total

    def add_variable(self, name: str, low: Polynomial, high: Polynomial | None) -> None:
        variable = Variable(name)
        self.bounds[variable] = (low, high)
        self.rank[variable] = len(self.rank)
        self.known.clear()

    def is_nonnegative(self, polynomial: Polynomial) -> bool:
        self.left = min(self.budget, self.total)
        result = self._prove(polynomial, depth=0)
        self.total -= min(self.budget, self.total) - max(self.left, 0)
        return result

    def _prove(self, polynomial: Polynomial, depth: int) -> bool:
        value = polynomial.value
        if value is not None:
            return value >= 0
        if polynomial in self.known:
            return self.known[polynomial]
        self.left -= 1
        if self.left < 0 or depth > 24 or len(polynomial.terms) > 64:
            return False
        result = self._obvious(polynomial) or self._eliminate(polynomial, depth)
        if result or self.left > 0:
            self.known[polynomial] = result
        return result

    def _obvious(self, polynomial: Polynomial) -> bool:
        """With every variable that has a constant low written as low + x, x >= 0: no coefficient is negative."""
        shifted = polynomial
        for atom in polynomial.atoms:
            bound = self.bounds.get(atom)
            low = bound[0].value if bound else None
            if low is None:
                return False
            if low:
                shifted = shifted.with_atom(atom, Polynomial.atom(atom) + low)
        return all(coefficient >= 0 for _, coefficient in shifted.terms)

    def _eliminate(self, polynomial: Polynomial, depth: int) -> bool:
        atom = max(polynomial.atoms, key=self._order)
        powers = polynomial.coefficients(atom)
        match atom:
            case Minimum() | Maximum() | Select() | Absolute():
                return self._by_cases(polynomial, atom, powers, depth)
            case Variable() | FloorDiv() | FloorMod() if max(powers) == 1:
                slope, rest = powers[1], powers.get(0, Polynomial(()))
            case _:
                return False
        if self._prove(slope, depth + 1):
            return self._at_least(atom, slope, rest, depth)
        return self._prove(-slope, depth + 1) and self._at_most(atom, slope, rest, depth)

    def _order(self, atom: Integer) -> tuple[int, int, str]:
        """Atoms made of others go first, then inner before outer variables."""
        if isinstance(atom, Variable):
            return 0, self.rank.get(atom, -1), ""
        if atom not in self.rank:
            self.rank[atom] = len(nodes(atom))
        return 1 + self.rank[atom], 0, sort_key(atom)

    def _by_cases(self, polynomial: Polynomial, atom: Integer, powers: dict[int, Polynomial], depth: int) -> bool:
        """A minimum is one of two values and not above either; the others likewise."""
        parts = self.parts.get(atom)
        if parts is None:
            return False
        match atom:
            case Absolute():
                cases = [parts[0], -parts[0]]
            case Select():
                cases = [parts[2], parts[3]]
            case _:
                cases = list(parts)
        proved = (self._prove(polynomial.with_atom(atom, case), depth + 1) for case in cases)
        if max(powers) > 1 or isinstance(atom, Select):
            return all(proved)
        down, up = self._prove(-powers[1], depth + 1), self._prove(powers[1], depth + 1)
        if (isinstance(atom, Minimum) and down) or (not isinstance(atom, Minimum) and up):
            return any(proved)
        return all(proved)

    def _at_least(self, atom: Integer, slope: Polynomial, rest: Polynomial, depth: int) -> bool:
        """slope * atom + rest >= 0, slope >= 0: from the atom's low."""
        match atom:
            case FloorMod():
                return self._positive(self.parts[atom][1], depth) and self._prove(rest, depth + 1)
            case FloorDiv():
                a, b = self.parts[atom]
                if not self._positive(b, depth):
                    return False
                if self._prove(a, depth + 1) and self._prove(rest, depth + 1):
                    return True
                # b * atom >= a - b + 1, and an integer p is >= 0 where b * p + b - 1 is
                return self._prove(b * rest + slope * (a - b + 1) + b - 1, depth + 1)
            case _:
                bound = self.bounds.get(atom)
                return bound is not None and self._prove(slope * bound[0] + rest, depth + 1)

    def _at_most(self, atom: Integer, slope: Polynomial, rest: Polynomial, depth: int) -> bool:
        """slope * atom + rest >= 0, slope <= 0: from the atom's high."""
        match atom:
            case FloorMod():
                a, b = self.parts[atom]
                if not self._positive(b, depth):
                    return False
                if self._prove(slope * (b - 1) + rest, depth + 1):
                    return True
                return self._prove(a, depth + 1) and self._prove(slope * a + rest, depth + 1)
            case FloorDiv():
                a, b = self.parts[atom]
                return self._positive(b, depth) and self._prove(b * rest + slope * a + b - 1, depth + 1)
            case _:
                bound = self.bounds.get(atom)
                return bound is not None and bound[1] is not None and self._prove(slope * bound[1] + rest, depth + 1)

    def _positive(self, polynomial: Polynomial, depth: int) -> bool:
        return self._prove(polynomial - 1, depth + 1)


Interval = tuple[int, int]


def intervals(expression: Integer, values: Mapping[str, Interval]) -> dict[Integer, Interval]:
    """Bounds of every part's value, small parts first and the whole last; names range over `values`."""
    known: dict[Integer, Interval] = {}
    for node in nodes(expression):
        known[node] = _interval(node, known, values)
    return known


def _interval(node: Integer, known: dict[Integer, Interval], values: Mapping[str, Interval]) -> Interval:
    match node:
        case Constant(value):
            return value, value
        case Variable(name):
            return values[name]
        case Add(a, b):
            return known[a][0] + known[b][0], known[a][1] + known[b][1]
        case Multiply(a, b):
            products = [x * y for x in known[a] for y in known[b]]
            return min(products), max(products)
        case FloorDiv(a, b):
            return _quotients(known[a], known[b])
        case FloorMod(_, b):
            return min(0, known[b][0] + 1), max(0, known[b][1] - 1)
        case Minimum(a, b):
            return min(known[a][0], known[b][0]), min(known[a][1], known[b][1])
        case Maximum(a, b):
            return max(known[a][0], known[b][0]), max(known[a][1], known[b][1])
        case Absolute(a):
            low, high = known[a]
            return (0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case Select(_, then, otherwise):
            return min(known[then][0], known[otherwise][0]), max(known[then][1], known[otherwise][1])
        case _:
            assert_never(node)


def _quotients(dividend: Interval, divisor: Interval) -> Interval:
    if divisor[0] <= 0 <= divisor[1]:
        most = max(abs(dividend[0]), abs(dividend[1]))
        return -most, most
    quotients = [a // b for a in dividend for b in divisor]
    return min(quotients), max(quotients)
