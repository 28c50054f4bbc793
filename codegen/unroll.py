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

MOST_IN_A_ROW = 16
"""A sum of more terms is made of several."""


@dataclass
class Gate:
    """How a sigmoid is made; `halves` are what it and 1 less it are chosen from, where that is asked for."""

    is_above: Atom
    decay: Atom
    total: Atom
    halves: tuple[Atom, Atom] | None = None


@dataclass
class Block:
    """Straight-line code under construction. Terms already computed, here or in `above`, are not computed again.

    `made` has the lets by name, `gates` the sigmoids. Where a block is not `exact`, 1 less a sigmoid is a plain difference,
    unless it is known already.
    """

    above: Block | None = None
    lets: list[Let] = field(default_factory=list)
    known: dict[tuple[str, tuple[Atom, ...]], str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    exact: bool = True
    made: dict[str, Let] = field(default_factory=dict)
    gates: dict[str, Gate] = field(default_factory=dict)

    def find(self, key: tuple[str, tuple[Atom, ...]]) -> str | None:
        return self.known.get(key) or (self.above.find(key) if self.above else None)

    def arguments(self, atom: Atom, function: str) -> tuple[Atom, ...]:
        """What `function` was applied to for this atom; nothing if it was not."""
        let = self.made.get(str(atom))
        if let is None:
            return self.above.arguments(atom, function) if self.above else ()
        return let.arguments if let.function == function else ()

    def gate(self, x: Atom, origin: Span | None) -> Atom:
        """sigmoid(x)."""
        decay = self.let("exp", self.let("neg", self.let("abs", x, origin=origin), origin=origin), origin=origin)
        is_above = self.let("ge", x, 0.0, origin=origin)
        above = self.let("where", is_above, 1.0, decay, origin=origin)
        total = self.let("add", 1.0, decay, origin=origin)
        made = str(self.let("div", above, total, origin=origin))
        if made in self.made:
            self.gates.setdefault(made, Gate(is_above, decay, total))
        return made

    def rest(self, name: str, exact: bool) -> Atom | None:
        """1 less a sigmoid, which a difference would lose: the other one of its two halves. None if the name is no sigmoid's.

        Before:  gate = where(x >= 0, 1, decay) / (1 + decay)
        After:   large = 1 / (1 + decay)   small = decay * large   gate = where(x >= 0, large, small)
                 rest = where(x >= 0, small, large)
        """
        gate = self.gates.get(name)
        if gate is None:
            return self.above.rest(name, exact) if self.above else None
        if gate.halves is None and exact:
            let = self.made[name]
            large = Let(self.fresh("b_large"), "div", (1.0, gate.total), let.origin)
            small = Let(self.fresh("b_small"), "mul", (gate.decay, large.name), let.origin)
            self.made[name] = Let(name, "where", (gate.is_above, large.name, small.name), let.origin)
            place = self.lets.index(let)
            self.lets[place : place + 1] = [large, small, self.made[name]]
            self.made |= {large.name: large, small.name: small}
            gate.halves = small.name, large.name
        return None if gate.halves is None else self.let("where", gate.is_above, *gate.halves)

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
        if function in ("abs", "neg") and folded is None and (inside := self.arguments(arguments[0], "neg")):
            folded = self.let("abs", inside[0], hint=hint, origin=origin) if function == "abs" else inside[0]
        if folded is not None:
            return folded
        if function in ("add", "mul") and _sort_key(arguments[0]) > _sort_key(arguments[1]):
            arguments = arguments[::-1]
        if (found := self.find((function, arguments))) is not None:
            return found
        name = self.fresh(hint or f"b_{function}")
        self.lets.append(Let(name, function, arguments, origin))
        self.made[name] = self.lets[-1]
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
            case Total():
                return self.total(self.terms_of(value, environment, origin), origin)
            case Apply("add", (Total() as total, other)) | Apply("add", (other, Total() as total)):
                start = self.atom(other, environment, origin)
                return self.total(self.terms_of(total, environment, origin), origin, start, hint)
            case Apply(function, arguments):
                atoms = [self.atom(argument, environment, origin) for argument in arguments]
                return self.apply(function, atoms, origin, hint)
            case _:
                assert_never(value)

    def terms_of(self, total: Total, environment: Environment, origin: Span | None) -> list[Atom]:
        index = total.index
        return [self.atom(total.body, {**environment, index: i}, origin) for i in range(self.sizes[index])]

    def total(self, terms: list[Atom], origin: Span | None, start: Atom = 0.0, hint: str | None = None) -> Atom:
        """`start` and a sum in a fixed shape: one running sum, so that a product and its addition are one instruction; of many
        terms four side by side, so that no long chain of additions waits."""
        if len(terms) <= MOST_IN_A_ROW:
            for i, term in enumerate(terms):
                called = hint if i == len(terms) - 1 else None
                start = self.block.let("add", start, term, hint=called, origin=origin)
            return start
        ways: list[Atom] = [start, 0.0, 0.0, 0.0]
        for i, term in enumerate(terms):
            ways[i % 4] = self.block.let("add", ways[i % 4], term, origin=origin)
        left, right = (self.block.let("add", ways[i], ways[i + 1], origin=origin) for i in (0, 2))
        return self.block.let("add", left, right, hint=hint, origin=origin)

    def apply(self, function: str, atoms: list[Atom], origin: Span | None, hint: str | None = None) -> Atom:
        """One function in primitives. Forms keep their relative accuracy and never overflow for large arguments."""

        def let(function: str, *arguments: Atom) -> Atom:
            return self.block.let(function, *arguments, origin=origin)

        match function, atoms:
            case "sigmoid" | "silu", [x]:
                gate = self.block.gate(x, origin)
                return gate if function == "sigmoid" else let("mul", x, gate)
            case "softplus", [x]:
                decay = let("exp", let("neg", let("abs", x)))
                return self.block.let("add", let("max", x, 0.0), let("log1p", decay), hint=hint, origin=origin)
            case "logaddexp", [x, y]:
                decay = let("exp", let("neg", let("abs", let("sub", x, y))))
                return self.block.let("add", let("max", x, y), let("log1p", decay), hint=hint, origin=origin)
            case "relu", [x]:
                return let("max", x, 0.0)
            case "gelu", [x]:
                below = let("add", 1.0, let("erf", let("mul", x, math.sqrt(0.5))))
                return let("mul", let("mul", 0.5, x), below)
            case "sub", [1.0, str(x)] if (rest := self.block.rest(x, self.block.exact)) is not None:
                return rest
            case "sub", [1.0, x] if (exponent := self.exponent(x, origin)) is not None:
                return let("neg", let("expm1", exponent))
            case ("sub", [x, 1.0]) | ("add", [x, -1.0] | [-1.0, x]) if (exponent := self.exponent(x, origin)) is not None:
                return let("expm1", exponent)
            case "exp", [x] if (root := self.root(x)) is not None:
                return let("mul", root, root)
            case _:
                return self.block.let(function, *atoms, hint=hint, origin=origin)

    def exponent(self, x: Atom, origin: Span | None) -> Atom | None:
        """What x is the exponential of, if it is an exponential or the product of two."""
        factors = self.block.arguments(x, "mul") or (x,)
        found = [exponent for factor in factors for exponent in self.block.arguments(factor, "exp")]
        if len(found) != len(factors):
            return None
        return self.block.let("add", *found, origin=origin) if len(found) == 2 else found[0]

    def root(self, x: Atom) -> str | None:
        """The square root of exp(x), if it is known: exp(y) where x is 2 * y."""
        match self.block.arguments(x, "mul"), self.block.arguments(x, "add"):
            case (2.0, half), _:
                return self.block.find(("exp", (half,)))
            case _, (half, other) if half == other:
                return self.block.find(("exp", (half,)))
        return None

    def assign(self, name: str, indices: tuple[str, ...], value: Value, origin: Span | None, called: str | None = None) -> None:
        """Compute `name[indices]` for every element; `called` is what the code calls it, if not `name`."""
        for element in itertools.product(*(range(self.sizes[i]) for i in indices)):
            environment = dict(zip(indices, element, strict=True))
            self.names.atoms[name, element] = self.atom(value, environment, origin, local_name(called or name, element))

    def extents(self, indices: tuple[str, ...]) -> tuple[int, ...]:
        return tuple(self.sizes[i] for i in indices)
