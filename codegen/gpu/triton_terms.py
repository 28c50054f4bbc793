"""What is known of the terms of a step beyond their names: which products feed one sum, what lies in [0, 1] or [1, 2].

Before:  b_mul = b_C * b_h       b_y = b_mul + b_D           Before:  b_gate = b_above / b_sum      (b_sum = 1 + exp(-|z|))
After:   b_y = tl.fma(b_C, b_h, b_D)                         After:   b_gate = b_above * reciprocal(b_sum)

Before:  b_log = log1p(b_exp)        (b_exp = exp(-|z|))
After:   b_log = log1p_small(b_exp)

Before:  b_decay = exp(b_dt * b_A)   and others with b_dt
After:   b_decay = tl.exp2(e_dt * b_A)                       (e_dt = b_dt * log2(e), once)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scanlang.codegen.kernel import Atom, Let


@dataclass(frozen=True)
class Terms:
    """`products` maps a product that only one sum reads to its factors; `small` lies in [0, 1], `near_one` in [1, 2];
    `exponents` maps the exponential of a product to its factors, the first of which other exponentials share."""

    products: Mapping[Atom, tuple[Atom, Atom]]
    small: frozenset[str]
    near_one: frozenset[str]
    exponents: Mapping[str, tuple[str, str]]

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
        small = _small(unique)
        sums = (let for let in unique.values() if let.function == "add" and 1.0 in let.arguments)
        near_one = frozenset(let.name for let in sums if small.intersection(let.arguments))
        return Terms(products, small, near_one, _exponents(unique, readers))

    def rewritten(self, let: Let) -> Let:
        """The let as it is best computed."""
        match let.function, let.arguments:
            case "add", (a, b) if a in self.products and isinstance(b, str):
                return Let(let.name, "fma", (*self.products[a], b), let.origin)
            case "add", (a, b) if b in self.products and isinstance(a, str):
                return Let(let.name, "fma", (*self.products[b], a), let.origin)
            case "div", (a, b) if b in self.near_one:
                return Let(let.name, "div_near_one", (a, b), let.origin)
            case "log1p", (a,) if a in self.small:
                return Let(let.name, "log1p_small", (a,), let.origin)
            case _:
                return let


def _exponents(lets: Mapping[str, Let], readers: Mapping[Atom, set[str]]) -> dict[str, tuple[str, str]]:
    """Exponentials of products that nothing else reads, where a factor computed in the step is in several of them."""
    factors: dict[str, tuple[str, ...]] = {}
    for let in lets.values():
        product = lets.get(str(let.arguments[0])) if let.function == "exp" else None
        if product is None or product.function != "mul" or len(readers[product.name]) > 1:
            continue
        if all(isinstance(factor, str) for factor in product.arguments):
            factors[let.name] = tuple(map(str, product.arguments))
    count = Counter(factor for pair in factors.values() for factor in pair if factor in lets)
    found = {}
    for name, (a, b) in factors.items():
        most, other = (a, b) if count[a] >= count[b] else (b, a)
        if count[most] > 1:
            found[name] = (most, other)
    return found


def _small(lets: Mapping[str, Let]) -> frozenset[str]:
    """Names of `exp(-|z|)`."""

    def argument(atom: Atom, function: str) -> Atom | None:
        let = lets.get(atom) if isinstance(atom, str) else None
        return let.arguments[0] if let is not None and let.function == function else None

    found = set()
    for name in lets:
        exponent = argument(name, "exp")
        magnitude = None if exponent is None else argument(exponent, "neg")
        if magnitude is not None and argument(magnitude, "abs") is not None:
            found.add(name)
    return frozenset(found)
