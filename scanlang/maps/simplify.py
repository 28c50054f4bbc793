"""Simplify integer expressions by rules of our own, each true for every value that the ranges allow.

In: an `Integer` and the `Ranges` of its variables; out: an equal `Integer`. The rules, with 0 <= b < m:
    (a * m + b) // m --> a              (a * m + b) % m --> b
    x // y // z --> x // (y * z)        (x % m + y) % m --> (x + y) % m
    (x * g + s) // (y * g) --> x // y   (x * g + s) % (y * g) --> x % y * g + s     (0 <= s < g)
    min(a, b) --> a where a <= b, max and abs and select likewise
What this does not do: turn an operand of a division that is known to be >= 0 into one that is not
(sympy's `Mod` does, and C's `%` then gives another result). `Simplifier(..., canonical=True)` may, to compare.
"""

from __future__ import annotations

from typing import assert_never

from scanlang.maps.bounds import GRID, Prover, Ranges
from scanlang.maps.integers import (
    Absolute,
    Add,
    Compare,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
    children,
    nodes,
    rebuild,
    replace,
    sort_key,
)
from scanlang.maps.polynomial import Polynomial

MOST_TERMS = 128
MOST_NODES = 400
ONE, ZERO = Polynomial.constant(1), Polynomial(())
Factored = tuple[Polynomial, Polynomial, Polynomial, Polynomial]


def simplify(expression: Integer, ranges: Ranges = GRID) -> Integer:
    """An equal expression, usually shorter, and the same text in every run."""
    return Simplifier(ranges).simplify(expression)


def equal(left: Integer, right: Integer, ranges: Ranges = GRID) -> bool:
    """True only if the two are proved equal for every value that `ranges` allows."""
    return Simplifier(ranges, canonical=True).is_zero(left - right)


class Simplifier:
    """One set of ranges, and the normal forms found so far."""

    def __init__(self, ranges: Ranges, canonical: bool = False) -> None:
        self.canonical = canonical
        self.known: dict[Integer, Polynomial] = {}
        self.prover = Prover()
        for known in ranges.known:
            high = None if known.high is None else self.normal(known.high)
            self.prover.add_variable(known.name, self.normal(known.low), high)

    def simplify(self, expression: Integer) -> Integer:
        """Expressions of more than `MOST_NODES` parts are left as they are: work is bounded."""
        if len(nodes(expression)) > MOST_NODES:
            return expression
        return self.normal(expression).expression()

    def is_nonnegative(self, expression: Integer) -> bool:
        return len(nodes(expression)) <= MOST_NODES and self.prover.is_nonnegative(self.normal(expression))

    def is_zero(self, expression: Integer) -> bool:
        """Normal form 0, if need be with every x % m written out, or in both cases of a parity."""
        if len(nodes(expression)) > MOST_NODES:
            return False
        if not self.normal(expression).terms:
            return True
        if not self.normal(without_modulo(self.simplify(expression))).terms:
            return True
        simple = self.simplify(expression)
        for node in nodes(simple):
            if isinstance(node, FloorMod) and node.right == Constant(2):
                return all(self.is_zero(replace(simple, {node: Constant(bit)})) for bit in (0, 1))
        return False

    def normal(self, expression: Integer) -> Polynomial:
        for node in nodes(expression):
            if node not in self.known:
                self.known[node] = self._normal(node)
        return self.known[expression]

    def _normal(self, node: Integer) -> Polynomial:
        """Of a node whose parts are in normal form already."""
        match node:
            case Constant() | Variable():
                return Polynomial.atom(node)
            case Add(a, b):
                return self.known[a] + self.known[b]
            case Multiply(a, b):
                left, right = self.known[a], self.known[b]
                if len(left.terms) * len(right.terms) > MOST_TERMS:
                    return self._atom(Multiply(left.expression(), right.expression()), left, right)
                return left * right
            case FloorDiv(a, b):
                return self._quotient(self.known[a], self.known[b])
            case FloorMod(a, b):
                return self._remainder(self.known[a], self.known[b])
            case Minimum(a, b):
                return self._extreme(self.known[a], self.known[b], smaller=True)
            case Maximum(a, b):
                return self._extreme(self.known[a], self.known[b], smaller=False)
            case Absolute(a):
                return self._absolute(self.known[a])
            case Select(condition, then, otherwise):
                sides = self.known[condition.left], self.known[condition.right]
                return self._select(condition, *sides, self.known[then], self.known[otherwise])
            case _:
                assert_never(node)

    def _atom(self, atom: Integer, *parts: Polynomial) -> Polynomial:
        self.prover.parts[atom] = parts
        return Polynomial.atom(atom)

    def _proved(self, polynomial: Polynomial) -> bool:
        return self.prover.is_nonnegative(polynomial)

    def _split(self, a: Polynomial, m: Polynomial) -> tuple[Polynomial, Polynomial, bool]:
        """(q, r, True) with a = q * m + r and 0 <= r < m proved, or (q, r, False) with what could be taken out."""
        quotient, rest = a.divide(m)
        for q, r in ((quotient, rest), (quotient - 1, rest + m), (quotient + 1, rest - m), (ZERO, a)):
            if self._proved(r) and self._proved(m - 1 - r):
                return q, r, True
        if self.canonical or self._proved(rest) or not self._proved(a):
            return quotient, rest, False
        return ZERO, a, False

    def _quotient(self, a: Polynomial, m: Polynomial) -> Polynomial:
        if a.value is not None and m.value:
            return Polynomial.constant(a.value // m.value)
        if m == ONE:
            return a
        if not self._proved(m - 1):
            return self._atom(FloorDiv(a.expression(), m.expression()), a, m)
        q, r, exact = self._split(a, m)
        return q if exact else q + self._reduced_quotient(r, m)

    def _reduced_quotient(self, r: Polynomial, m: Polynomial) -> Polynomial:
        if self._is_mirrored(r):
            return -self._quotient(-r - 1, m) - 1
        inner = r.single_atom
        if isinstance(inner, FloorDiv):
            x, y = self.prover.parts[inner]
            if self._proved(y - 1):
                return self._quotient(x, y * m)
        if isinstance(inner, FloorMod):
            x, y = self.prover.parts[inner]
            k, left = y.divide(m)
            if not left.terms and self._proved(k - 1):
                return self._remainder(self._quotient(x, m), k)
        common = self._common_factor(r, m)
        if common is not None:
            x, y, _, _ = common
            return self._quotient(x, y)
        return self._atom(FloorDiv(r.expression(), m.expression()), r, m)

    def _is_mirrored(self, r: Polynomial) -> bool:
        """(-1 - x) // m --> -1 - x // m and (-1 - x) % m --> m - 1 - x % m: only to compare, as it is no shorter."""
        return self.canonical and r.terms[0][1] < 0 and r.value is None

    def _remainder(self, a: Polynomial, m: Polynomial) -> Polynomial:
        if a.value is not None and m.value:
            return Polynomial.constant(a.value % m.value)
        if m == ONE:
            return ZERO
        if not self._proved(m - 1):
            return self._atom(FloorMod(a.expression(), m.expression()), a, m)
        _, r, exact = self._split(a, m)
        if exact:
            return r
        if self._is_mirrored(r):
            return m - 1 - self._remainder(-r - 1, m)
        flat = self._without_inner_modulo(r, m)
        if flat != r:
            return self._remainder(flat, m)
        common = self._common_factor(r, m)
        if common is not None:
            x, y, g, s = common
            return self._remainder(x, y) * g + s
        return self._atom(FloorMod(r.expression(), m.expression()), r, m)

    def _without_inner_modulo(self, r: Polynomial, m: Polynomial) -> Polynomial:
        """(x % (m * k) + y) --> (x + y), for use below % m."""
        for atom in r.atoms:
            powers = r.coefficients(atom)
            if not isinstance(atom, FloorMod) or max(powers) > 1:
                continue
            x, y = self.prover.parts[atom]
            keeps_sign = self.canonical or self._proved(powers[1]) or not self._proved(r)
            if keeps_sign and self._proved(y - 1) and not y.divide(m)[1].terms:
                return r.with_atom(atom, x)
        return r

    def _common_factor(self, r: Polynomial, m: Polynomial) -> Factored | None:
        """(x, y, g, s) with r = x * g + s, m = y * g and 0 <= s < g proved, for a factor g of m."""
        if len(m.terms) != 1:
            return None
        monomial, coefficient = m.terms[0]
        factors = [Polynomial.atom(atom) for atom, _ in monomial]
        if coefficient > 1 and monomial:
            factors.append(Polynomial.constant(coefficient))
        for g in factors:
            if not self._proved(g - 1):
                continue
            x, s, exact = self._split(r, g)
            if exact and x.terms and (self.canonical or self._proved(x)):
                return x, m.divide(g)[0], g, s
        return None

    def _extreme(self, a: Polynomial, b: Polynomial, smaller: bool) -> Polynomial:
        if self._proved(b - a):
            return a if smaller else b
        if self._proved(a - b):
            return b if smaller else a
        left, right = sorted((a.expression(), b.expression()), key=sort_key)
        parts = (a, b) if left == a.expression() else (b, a)
        return self._atom(Minimum(left, right) if smaller else Maximum(left, right), *parts)

    def _absolute(self, a: Polynomial) -> Polynomial:
        if self._proved(a):
            return a
        if self._proved(-a):
            return -a
        return self._atom(Absolute(a.expression()), a)

    def _select(
        self, condition: Compare, left: Polynomial, right: Polynomial, then: Polynomial, otherwise: Polynomial
    ) -> Polynomial:
        """Only `==` and `<` stay; a parity is asked for as `x % 2 == 1`."""
        match condition.operator:
            case ">" | "<=":
                left, right = right, left
        if condition.operator in ("!=", "<=", ">="):
            then, otherwise = otherwise, then
        if then == otherwise:
            return then
        if condition.operator in ("==", "!="):
            return self._where_equal(left, right, then, otherwise)
        if self._proved(right - left - 1):
            return then
        if self._proved(left - right):
            return otherwise
        test = Compare("<", left.expression(), right.expression())
        return self._atom(Select(test, then.expression(), otherwise.expression()), left, right, then, otherwise)

    def _where_equal(self, left: Polynomial, right: Polynomial, then: Polynomial, otherwise: Polynomial) -> Polynomial:
        difference = left - right
        if not difference.terms:
            return then
        if self._proved(difference - 1) or self._proved(-difference - 1):
            return otherwise
        if right.value is None and left.value is not None:
            left, right = right, left
        parity = left.single_atom
        if isinstance(parity, FloorMod) and parity.right == Constant(2) and right.value == 0:
            then, otherwise, right = otherwise, then, ONE
        test = Compare("==", left.expression(), right.expression())
        return self._atom(Select(test, then.expression(), otherwise.expression()), left, right, then, otherwise)


def without_modulo(expression: Integer) -> Integer:
    """x % m --> x - m * (x // m), parities aside."""
    done: dict[Integer, Integer] = {}
    for node in nodes(expression):
        new = rebuild(node, tuple(done[part] for part in children(node)))
        if isinstance(new, FloorMod) and new.right != Constant(2):
            new = new.left - new.right * FloorDiv(new.left, new.right)
        done[node] = new
    return done[expression]
