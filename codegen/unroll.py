"""Values → straight-line code: indices are written out, functions become primitives, equal terms are computed once.

    Before:  h[n] = exp(A[n] * dt) * h'[n] + dt * x * B[n]          (state = 2)
    After:   b_mul = b_A_0 * b_dt;  b_exp = exp(b_mul);  …  b_next_h_0 = b_mul_1 + b_mul_2;  …

A `Block` holds lets and finds equal ones; `Names` knows what every element of a named value is called; an `Unroller`
writes values into a block.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from scanlang.codegen.kernel import PRIMITIVES, Atom, Let
from scanlang.graph.values import Apply, Constant, IndexValue, Previous, Read, Total, Value
from scanlang.source import Span

Environment = dict[str, int]


@dataclass
class Block:
    """Straight-line code under construction. Terms already computed, here or in `above`, are not computed again."""

    above: Block | None = None
    lets: list[Let] = field(default_factory=list)
    known: dict[tuple[str, tuple[Atom, ...]], str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def find(self, key: tuple[str, tuple[Atom, ...]]) -> str | None:
        return self.known.get(key) or (self.above.find(key) if self.above else None)

    def is_taken(self, name: str) -> bool:
        return name in self.taken or (self.above is not None and self.above.is_taken(name))

    def fresh(self, stem: str) -> str:
        name, number = stem, itertools.count(1)
        while self.is_taken(name):
            name = f"{stem}_{next(number)}"
        self.taken.add(name)
        return name

    def let(self, function: str, *arguments: Atom, hint: str | None = None, origin: Span | None = None) -> Atom:
        assert function in PRIMITIVES, function
        folded = _fold(function, arguments)
        if folded is not None:
            return folded
        if function in ("add", "mul") and _sort_key(arguments[0]) > _sort_key(arguments[1]):
            arguments = arguments[::-1]
        if (found := self.find((function, arguments))) is not None:
            return found
        name = self.fresh(hint or f"b_{function}")
        self.lets.append(Let(name, function, arguments, origin))
        self.known[function, arguments] = name
        return name


def _sort_key(atom: Atom) -> tuple[bool, str]:
    return isinstance(atom, str), str(atom)


_FOLDABLE: Mapping[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a,
}  # fmt: skip


def _fold(function: str, arguments: tuple[Atom, ...]) -> Atom | None:
    """The result of arithmetic on numbers, and of the identities of zero and one."""
    numbers = [a for a in arguments if isinstance(a, float)]
    if len(numbers) == len(arguments) and function in _FOLDABLE:
        return float(_FOLDABLE[function](*numbers))
    match function, arguments:
        case ("add", (0.0, other)) | ("add", (other, 0.0)) | ("sub", (other, 0.0)):
            return other
        case ("mul", (1.0, other)) | ("mul", (other, 1.0)) | ("div", (other, 1.0)):
            return other
        case ("mul", (0.0, _)) | ("mul", (_, 0.0)):
            return 0.0
    return None


class Names:
    """The atoms of named values, element by element: `("h", (3,)) → "b_h_3"`."""

    def __init__(self, above: Names | None = None) -> None:
        self.atoms: dict[tuple[str, tuple[int, ...]], Atom] = dict(above.atoms) if above else {}

    def declare(self, block: Block, name: str, extents: tuple[int, ...]) -> tuple[str, ...]:
        """Make a fresh name for every element, in memory's order."""
        made = []
        for element in itertools.product(*map(range, extents)):
            atom = block.fresh(local_name(name, element))
            self.atoms[name, element] = atom
            made.append(atom)
        return tuple(made)

    def of(self, name: str, extents: tuple[int, ...]) -> tuple[Atom, ...]:
        """The atoms of every element; zero where none was computed."""
        return tuple(self.atoms.get((name, element), 0.0) for element in itertools.product(*map(range, extents)))


def local_name(name: str, element: tuple[int, ...]) -> str:
    """What an element of a named value is called in the code: `("h", (3,)) → "b_h_3"`."""
    return "_".join(("b", re.sub(r"\W+", "_", name.replace("∂", "d_")).strip("_"), *map(str, element)))


def previous_name(state: str) -> str:
    """The key of a state's value before the step; the code calls it by the state's own name."""
    return state + "'"


@dataclass
class Unroller:
    """Writes values into a block, with indices bound to numbers."""

    sizes: Mapping[str, int]
    names: Names
    block: Block

    def atom(self, value: Value, environment: Environment, origin: Span | None = None, hint: str | None = None) -> Atom:
        match value:
            case Constant(number):
                return float(number)
            case IndexValue(index):
                return float(environment[index])
            case Read(name, indices):
                return self.names.atoms[name, tuple(environment[i] for i in indices)]
            case Previous(name, indices):
                return self.names.atoms[previous_name(name), tuple(environment[i] for i in indices)]
            case Total(index, body):
                terms = [self.atom(body, {**environment, index: i}, origin) for i in range(self.sizes[index])]
                return self.total(terms, origin)
            case Apply(function, arguments):
                atoms = [self.atom(argument, environment, origin) for argument in arguments]
                return self.apply(function, atoms, origin, hint)
            case _:
                assert_never(value)

    def total(self, terms: list[Atom], origin: Span | None) -> Atom:
        """A sum in a fixed shape: four running sums side by side, so that no long chain of additions waits."""
        ways: list[Atom] = [0.0] * min(4, len(terms))
        for i, term in enumerate(terms):
            ways[i % len(ways)] = self.block.let("add", ways[i % len(ways)], term, origin=origin)
        while len(ways) > 1:
            ways = [
                self.block.let("add", *pair, origin=origin) if len(pair) == 2 else pair[0]
                for pair in (ways[i : i + 2] for i in range(0, len(ways), 2))
            ]
        return ways[0] if ways else 0.0

    def apply(self, function: str, atoms: list[Atom], origin: Span | None, hint: str | None = None) -> Atom:
        """One function in primitives. Forms keep their relative accuracy and never overflow for large arguments."""

        def let(function: str, *arguments: Atom) -> Atom:
            return self.block.let(function, *arguments, origin=origin)

        match function:
            case "sigmoid" | "softplus" | "silu":
                (x,) = atoms
                decay = let("exp", let("neg", let("abs", x)))
                if function == "softplus":
                    return self.block.let("add", let("max", x, 0.0), let("log1p", decay), hint=hint, origin=origin)
                above = let("where", let("ge", x, 0.0), 1.0, decay)
                gate = let("div", above, let("add", 1.0, decay))
                return gate if function == "sigmoid" else let("mul", x, gate)
            case "relu":
                return let("max", atoms[0], 0.0)
            case "gelu":
                below = let("add", 1.0, let("erf", let("mul", atoms[0], math.sqrt(0.5))))
                return let("mul", let("mul", 0.5, atoms[0]), below)
            case _:
                return self.block.let(function, *atoms, hint=hint, origin=origin)

    def assign(self, name: str, indices: tuple[str, ...], value: Value, origin: Span | None, called: str | None = None) -> None:
        """Compute `name[indices]` for every element; `called` is what the code calls it, if not `name`."""
        for element in itertools.product(*(range(self.sizes[i]) for i in indices)):
            environment = dict(zip(indices, element, strict=True))
            self.names.atoms[name, element] = self.atom(value, environment, origin, local_name(called or name, element))

    def extents(self, indices: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.sizes[i] for i in indices)
