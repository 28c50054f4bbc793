"""Sums of products with integer coefficients, the form in which expressions are compared. In and out: `Integer`s.

An atom is whatever is not a sum or product: a variable, or a division, minimum, … taken as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from scanlang.maps.integers import Constant, Integer, add, multiply, sort_key

Monomial = tuple[tuple[Integer, int], ...]
"""Atoms with their powers, in the order of `sort_key`; empty for 1."""


def _monomial_product(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for atom, power in right:
        powers[atom] = powers.get(atom, 0) + power
    return tuple(sorted(powers.items(), key=lambda item: sort_key(item[0])))


def _monomial_key(monomial: Monomial) -> tuple[int, list[tuple[str, int]]]:
    return -sum(power for _, power in monomial), [(sort_key(atom), -power) for atom, power in monomial]


@dataclass(frozen=True)
class Polynomial:
    """Terms of the highest degree first, no coefficient 0: equal polynomials are equal objects."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def of(terms: Iterable[tuple[Monomial, int]]) -> Polynomial:
        collected: dict[Monomial, int] = {}
        for monomial, coefficient in terms:
            collected[monomial] = collected.get(monomial, 0) + coefficient
        kept = [(monomial, coefficient) for monomial, coefficient in collected.items() if coefficient]
        return Polynomial(tuple(sorted(kept, key=lambda term: _monomial_key(term[0]))))

    @staticmethod
    def constant(value: int) -> Polynomial:
        return Polynomial.of([((), value)])

    @staticmethod
    def atom(atom: Integer) -> Polynomial:
        return Polynomial.constant(atom.value) if isinstance(atom, Constant) else Polynomial(((((atom, 1),), 1),))

    def __add__(self, other: Polynomial | int) -> Polynomial:
        other = Polynomial.constant(other) if isinstance(other, int) else other
        return Polynomial.of((*self.terms, *other.terms))

    def __sub__(self, other: Polynomial | int) -> Polynomial:
        return self + (-other)

    def __neg__(self) -> Polynomial:
        return Polynomial(tuple((monomial, -coefficient) for monomial, coefficient in self.terms))

    def __mul__(self, other: Polynomial | int) -> Polynomial:
        other = Polynomial.constant(other) if isinstance(other, int) else other
        return Polynomial.of((_monomial_product(a, b), x * y) for a, x in self.terms for b, y in other.terms)

    @property
    def value(self) -> int | None:
        """The number, if it is one."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and self.terms[0][0] == () else None

    @cached_property
    def atoms(self) -> tuple[Integer, ...]:
        found = {atom: None for monomial, _ in self.terms for atom, _ in monomial}
        return tuple(sorted(found, key=sort_key))

    @property
    def single_atom(self) -> Integer | None:
        """The atom, if the polynomial is just one."""
        match self.terms:
            case ((((atom, 1),), 1),):
                return atom
            case _:
                return None

    def coefficients(self, atom: Integer) -> dict[int, Polynomial]:
        """The polynomial by powers of `atom`."""
        powers: dict[int, list[tuple[Monomial, int]]] = {}
        for monomial, coefficient in self.terms:
            power = dict(monomial).get(atom, 0)
            rest = tuple(factor for factor in monomial if factor[0] != atom)
            powers.setdefault(power, []).append((rest, coefficient))
        return {power: Polynomial.of(terms) for power, terms in powers.items()}

    def with_atom(self, atom: Integer, value: Polynomial) -> Polynomial:
        """`atom` replaced at the top level, not inside other atoms."""
        result = Polynomial(())
        for power, coefficient in self.coefficients(atom).items():
            for _ in range(power):
                coefficient = coefficient * value
            result = result + coefficient
        return result

    def divide(self, divisor: Polynomial) -> tuple[Polynomial, Polynomial]:
        """(q, r) with self = q * divisor + r, taking out the terms that the divisor's first term goes into."""
        if not divisor.terms:
            return Polynomial(()), self
        leading, unit = divisor.terms[0]
        quotient, rest = Polynomial(()), self
        for _ in range(16):
            step = Polynomial.of(
                (without, coefficient // unit)
                for monomial, coefficient in rest.terms
                if coefficient // unit and (without := _cancelled(monomial, leading)) is not None
            )
            if not step.terms:
                break
            quotient, rest = quotient + step, rest - step * divisor
            if len(divisor.terms) == 1:
                break
        return quotient, rest

    def expression(self) -> Integer:
        """Back to an expression: positive terms first, so that a difference reads as one."""
        ordered = [term for term in self.terms if term[1] > 0] + [term for term in self.terms if term[1] < 0]
        total: Integer = Constant(0)
        for monomial, coefficient in ordered:
            product: Integer = Constant(1)
            for atom, power in monomial:
                for _ in range(power):
                    product = multiply(product, atom)
            total = add(total, multiply(coefficient, product))
        return total


def _cancelled(monomial: Monomial, divisor: Monomial) -> Monomial | None:
    """monomial / divisor, if it goes in."""
    powers = dict(monomial)
    for atom, power in divisor:
        if powers.get(atom, 0) < power:
            return None
        powers[atom] -= power
    return tuple((atom, power) for atom, power in monomial if powers[atom] for power in [powers[atom]])
