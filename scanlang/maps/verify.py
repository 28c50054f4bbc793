"""Verify that every order visits what it should. In: a `MappedProgram`; out: a `VerifiedProgram`, or S201 … S211.

By proof for every size where there is one (`prove.py`). Formulas without a proof, and what is made of them, are checked step by
step at the sizes given, or at the usual ones, and the result says which. At sizes that are given, tables must fit and tokens
have their places; at the usual ones such an order is taken where it exists. The directions of a scan together visit every cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from scanlang.check.program import CheckedScan, FormulaOrder
from scanlang.diagnostics import Diagnostic, InternalError, Reporter, ScanError
from scanlang.errors import (
    LengthsDiffer,
    MixedWithGiven,
    NotABijection,
    SpreadTooWide,
    TableSize,
    TokenBeyondEnd,
    UncoveredCell,
)
from scanlang.maps.algebra import transposed
from scanlang.maps.bounds import Grid
from scanlang.maps.exhaustive import cell_at, too_large
from scanlang.maps.lower import MappedProgram
from scanlang.maps.order import Order, size_finding
from scanlang.maps.proofs import misplaced_axis
from scanlang.maps.routes import output_orders
from scanlang.maps.sequence import MOST_STEPS, sequence_of
from scanlang.maps.structure import as_many_steps_as_cells, mixed, parts_of
from scanlang.maps.traversal import Traversal
from scanlang.maps.usual_sizes import telling_first, usual_sizes, usual_sizes_in_words
from scanlang.source import Span

Sizes = tuple[Grid, ...]

OF_THE_SIZE = (TokenBeyondEnd, SpreadTooWide, TableSize)
"""Findings that say that there is no such order at a size, not that the order is wrong."""

MOST_IN_ALL = 2**24
"""How many steps are checked for one order or scan at the usual sizes."""


@dataclass(frozen=True)
class Verification:
    """`proof` for every size, or the `sizes` that were checked step by step."""

    proof: str | None
    sizes: Sizes

    def __str__(self) -> str:
        if self.proof is not None:
            return f"proved for every size ({self.proof})"
        if self.sizes and self.sizes == usual_sizes(len(self.sizes[0])):
            return f"checked on {usual_sizes_in_words(len(self.sizes[0]))}, not proved"
        return f"checked on {', '.join(' × '.join(map(str, size)) for size in self.sizes)}, not proved"


@dataclass(frozen=True)
class VerifiedProgram:
    """The mapped program, and how each of its orders and directions (by its text) was verified."""

    mapped: MappedProgram
    verifications: dict[str, Verification]

    @property
    def orders(self) -> dict[str, Order]:
        return self.mapped.orders

    @property
    def traversals(self) -> dict[str, tuple[Traversal, ...]]:
        return self.mapped.traversals

    @property
    def scans(self) -> dict[str, tuple[Order, ...]]:
        return self.mapped.scans

    def layers(self, scan: str) -> tuple[tuple[Order, ...], ...]:
        """The orders of the directions of a scan, layer by layer."""
        return self.mapped.layers(scan)

    def summary(self) -> str:
        """One line: `4 orders proved for every size; 1 checked on …, not proved`."""
        proved = sum(verification.proof is not None for verification in self.verifications.values())
        parts = [f"{proved} order{'' if proved == 1 else 's'} proved for every size"] if proved else []
        parts += [f"{name} {v}" for name, v in self.verifications.items() if v.proof is None]
        return "; ".join(parts) or "no orders"


def verify_maps(program: MappedProgram, sizes: Sizes | None = None) -> VerifiedProgram:
    """A size that no grid has is shown at the first order alone."""
    orders = list(_orders_of(program))
    reporter, verifications = Reporter(), {}
    for size in sizes or ():
        finding = size_finding(orders[0], size) if orders else None
        if finding is not None:
            reporter.report(finding)
    reporter.check()
    names = {o.checked.span: o.name for o in program.orders.values() if isinstance(o.checked, FormulaOrder)}
    wrong: set[FormulaOrder] = set()
    for order in orders:
        if wrong.isdisjoint(_formulas(order)):
            checked, found = _check_order(order, names, sizes)
            if found is not None:
                wrong.update(formula for formula in _formulas(order) if _is_about(found, formula))
                reporter.report(found)
            verifications[order.name] = Verification(order.proof, () if order.proof else checked)
    reporter.check()
    for scan in program.checked.scans.values():
        found = _check_scan(scan, program.traversals[scan.name], program.checked.axes, sizes)
        if found is not None:
            reporter.report(found)
    reporter.check()
    return VerifiedProgram(program, verifications)


def verify_size(order: Order, *grid: int) -> None:
    """Visit every step at one size; raises ScanError where there is no such order."""
    if order.covers and not (order.visits(*grid) == 1).all():
        size = " × ".join(map(str, grid))
        raise InternalError(f"the order {order.name} does not visit every cell of a {size} grid exactly once")


def _orders_of(program: MappedProgram) -> Iterable[Order]:
    yield from program.orders.values()
    for layers in program.traversals.values():
        for traversal in layers:
            for route in traversal.routes:
                yield from route


def _formulas(order: Order) -> set[FormulaOrder]:
    return {part for part in parts_of(order.checked) if isinstance(part, FormulaOrder)}


def _is_about(finding: Diagnostic, formula: FormulaOrder) -> bool:
    span, place = formula.span, finding.span
    return span.source is place.source and span.start <= place.start and place.end <= span.end


def _check_order(order: Order, names: dict[Span, str], sizes: Sizes | None) -> tuple[Sizes, Diagnostic | None]:
    """The sizes that were checked, and what is wrong at the first size where something is."""
    part = mixed(order.checked)
    if part is not None:
        return (), MixedWithGiven(part.span, order.name, order.given or "")
    if order.bijection is not None or (order.proof is not None and not sizes):
        return (), None
    checked: list[Grid] = []
    steps = 0
    for size in sizes or sorted(usual_sizes(order.rank), key=telling_first):
        found, made = _check_at(order, names, size)
        if found is not None and (sizes or not isinstance(found, OF_THE_SIZE)):
            return tuple(checked), _with_hint(found, order)
        steps += made
        if found is None:
            checked.append(size)
        if not sizes and steps > MOST_IN_ALL:
            break
    return sizes or tuple(sorted(checked, key=usual_sizes(order.rank).index)), None


def _check_at(order: Order, names: dict[Span, str], size: Grid) -> tuple[Diagnostic | None, int]:
    """What is wrong, or the number of steps; a proved formula is not made where it has many."""
    if prod(size) > MOST_STEPS and order.proof is not None and isinstance(order.leaf, FormulaOrder):
        own = transposed(size) if order.normal.transposed else size
        return too_large(names.get(order.leaf.span, order.name), order.leaf, own), 0
    try:
        order.check_size(size)
        return None, sequence_of(order.checked, order.axes, size, order.name, names).steps
    except ScanError as error:
        return error.diagnostics[0], 0


def _with_hint(found: Diagnostic, order: Order) -> Diagnostic:
    if not isinstance(found, NotABijection) or order.rank != 2:
        return found
    formula = next(formula for formula in _formulas(order) if _is_about(found, formula))
    return replace(found, hint=misplaced_axis(formula))


# Scans: streams along other orders keep step, and every cell is visited.


def _check_scan(
    scan: CheckedScan, layers: tuple[Traversal, ...], axes: tuple[str, ...], sizes: Sizes | None
) -> Diagnostic | None:
    for layer, traversal in enumerate(layers):
        outputs = output_orders(scan.at_layer(layer), axes)
        in_step = len(traversal.routes) == 1 or all(as_many_steps_as_cells(o.checked) for r in traversal.routes for o in r)
        covered = scan.uncovered or any(order.covers for order in outputs)
        found = None if in_step and covered else _check_layer(traversal, () if covered else outputs, sizes)
        if isinstance(found, Diagnostic):
            return found
        if found is not None:
            cell, size = found
            directions, number = scan.layers[layer], layer if len(layers) > 1 else None
            place = replace(directions[0].span, end=directions[-1].span.end)
            texts = tuple(direction.text for direction in directions)
            return UncoveredCell(place, scan.name, texts, number, cell, tuple(zip(axes, size, strict=True)))
    return None


def _check_layer(
    traversal: Traversal, outputs: tuple[Order, ...], sizes: Sizes | None
) -> Diagnostic | tuple[Grid, Grid] | None:
    """What is wrong, or the first cell, and at which size, that none of `outputs` visits."""
    steps = 0
    for size in sizes or sorted(usual_sizes(traversal.orders[0].rank), key=telling_first):
        try:
            steps += sum(traversal.at(size).lengths)
            cell = _first_unvisited(outputs, size) if outputs else None
        except ScanError as error:
            if sizes or isinstance(error.diagnostics[0], LengthsDiffer):
                return error.diagnostics[0]
            continue
        if cell is not None:
            return cell, size
        if not sizes and steps > MOST_IN_ALL:
            break
    return None


def _first_unvisited(orders: tuple[Order, ...], size: Grid) -> Grid | None:
    visits = np.sum([order.visits(*size) for order in orders], axis=0)
    return None if visits.all() else cell_at(int(np.argmin(visits)), size)
