"""What is known of the terms of a step beyond their names: which products feed one sum, which divisors lie in [1, 2].

Before:  b_mul = b_C * b_h       b_y = b_mul + b_D           Before:  b_gate = b_above / b_sum      (b_sum = 1 + exp(-|z|))
After:   b_y = tl.fma(b_C, b_h, b_D)                         After:   b_gate = b_above * reciprocal(b_sum)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scanlang.codegen.kernel import Atom, Let


@dataclass(frozen=True)
class Terms:
    """`products` maps a product that only one sum reads to its factors; `near_one` holds what lies in [1, 2]."""

    products: Mapping[Atom, tuple[Atom, Atom]]
    near_one: frozenset[str]

    @staticmethod
    def of(lets: Iterable[Let], results: Iterable[Atom]) -> Terms:
        unique = {let.name: let for let in lets}
        readers: dict[Atom, set[str]] = defaultdict(set)
        for let in unique.values():
            for argument in let.arguments:
                readers[argument].add(let.name)
        for number, result in enumerate(results):
            readers[result].add(f"result {number}")
        products: dict[Atom, tuple[Atom, Atom]] = {}
        for let in unique.values():
            if let.function == "mul" and len(readers[let.name]) == 1 and all(isinstance(a, str) for a in let.arguments):
                products[let.name] = (let.arguments[0], let.arguments[1])
        return Terms(products, _near_one(unique))

    def rewritten(self, let: Let) -> Let:
        """The let as it is best computed."""
        match let.function, let.arguments:
            case "add", (a, b) if a in self.products and isinstance(b, str):
                return Let(let.name, "fma", (*self.products[a], b), let.origin)
            case "add", (a, b) if b in self.products and isinstance(a, str):
                return Let(let.name, "fma", (*self.products[b], a), let.origin)
            case "div", (a, b) if b in self.near_one:
                return Let(let.name, "div_near_one", (a, b), let.origin)
            case _:
                return let


def _near_one(lets: Mapping[str, Let]) -> frozenset[str]:
    """Names of `1 + exp(-|z|)`."""

    def function_of(atom: Atom) -> str:
        return lets[atom].function if isinstance(atom, str) and atom in lets else ""

    def is_small(atom: Atom) -> bool:
        if function_of(atom) != "exp":
            return False
        (exponent,) = lets[str(atom)].arguments
        return function_of(exponent) == "neg" and function_of(lets[str(exponent)].arguments[0]) == "abs"

    found = set()
    for let in lets.values():
        if let.function == "add" and 1.0 in let.arguments and any(is_small(argument) for argument in let.arguments):
            found.add(let.name)
    return frozenset(found)
