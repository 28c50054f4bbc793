"""Verify that every order visits every cell once. In: a `MappedProgram`; out: a `VerifiedProgram`, or S201 … S205.

By proof for every size where there is one: walks by construction (each loop is a bijection of what is left of its
axis), formulas by the rules of `proofs.py`; reverse, transpose and flip keep what they are around. Formulas without a
proof are checked exhaustively at the sizes given, or at `USUAL_SIZES`, and the result says which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scanlang.check.program import FormulaOrder
from scanlang.diagnostics import Diagnostic, InternalError, Reporter
from scanlang.errors import NotABijection
from scanlang.maps.exhaustive import check_formula, too_large
from scanlang.maps.lower import MappedProgram
from scanlang.maps.order import MOST_CHECKED, Order, size_finding, unproved_finding
from scanlang.maps.proofs import misplaced_axis

Sizes = tuple[tuple[int, int], ...]

SMALL_SIDE = 8
LARGER_SIZES: Sizes = (
    (1, 17), (17, 1), (2, 11), (11, 2), (3, 11), (11, 3), (7, 13), (13, 7), (11, 13), (19, 5), (5, 19)
)  # fmt: skip
USUAL_SIZES: Sizes = (
    *((h, w) for h in range(1, SMALL_SIDE + 1) for w in range(1, SMALL_SIDE + 1)),
    *LARGER_SIZES,
)


@dataclass(frozen=True)
class Verification:
    """`proof` for every size, or the `sizes` (h, w of the program's grid) that were checked step by step."""

    proof: str | None
    sizes: Sizes

    def __str__(self) -> str:
        if self.proof is not None:
            return f"proved for every size ({self.proof})"
        if self.sizes == USUAL_SIZES:
            more = f"{len(LARGER_SIZES)} larger ones with prime sides"
            return f"checked on every grid up to {SMALL_SIDE} × {SMALL_SIDE} and {more}, not proved"
        return f"checked on {', '.join(f'{h} × {w}' for h, w in self.sizes)}, not proved"


@dataclass(frozen=True)
class VerifiedProgram:
    """The mapped program, and how each of its orders and directions (by its text) was verified."""

    mapped: MappedProgram
    verifications: dict[str, Verification]

    @property
    def orders(self) -> dict[str, Order]:
        return self.mapped.orders

    @property
    def scans(self) -> dict[str, tuple[Order, ...]]:
        return self.mapped.scans

    def summary(self) -> str:
        """One line: `4 orders proved for every size; 1 checked on …, not proved`."""
        proved = sum(verification.proof is not None for verification in self.verifications.values())
        parts = [f"{proved} order{'' if proved == 1 else 's'} proved for every size"] if proved else []
        parts += [f"{name} {v}" for name, v in self.verifications.items() if v.proof is None]
        return "; ".join(parts) or "no orders"


def verify_maps(program: MappedProgram, sizes: Sizes | None = None) -> VerifiedProgram:
    """`sizes` are (h, w) of the program's grid. A size that no grid has is shown at the first order alone."""
    orders = (*program.orders.values(), *(order for scan in program.scans.values() for order in scan))
    reporter, verifications = Reporter(), {}
    for h, w in sizes or ():
        finding = size_finding(orders[0], h, w) if orders else None
        if finding is not None:
            reporter.report(finding)
    reporter.check()
    names = {order.leaf: order.name for order in reversed(program.orders.values()) if order.checked == order.leaf}
    wrong: set[FormulaOrder] = set()
    for order in orders:
        found = None if order.leaf in wrong else _finding(order, names.get(order.leaf, order.name), sizes)
        if found is not None:
            assert isinstance(order.leaf, FormulaOrder)
            wrong.add(order.leaf)
            reporter.report(found)
        verifications[order.name] = Verification(order.proof, () if order.proof else sizes or USUAL_SIZES)
    reporter.check()
    return VerifiedProgram(program, verifications)


def verify_size(order: Order, h: int, w: int) -> None:
    """Visit every step at one size; raises ScanError for a formula that is no order there."""
    visits = np.bincount(order.positions(h, w), minlength=h * w)
    if len(visits) != h * w or visits.max() != 1:
        raise InternalError(f"the order {order.name} does not visit every cell of a {h} × {w} grid exactly once")


def _finding(order: Order, name: str, sizes: Sizes | None) -> Diagnostic | None:
    """What is wrong with the formula inside `order` at the first size where something is."""
    if isinstance(order.leaf, FormulaOrder) and (order.proof is None or sizes):
        for size in sizes if sizes else sorted(USUAL_SIZES, key=_telling_first):
            found = _finding_at(order, order.leaf, name, *size)
            if found is not None:
                return replace(found, hint=misplaced_axis(order.leaf)) if isinstance(found, NotABijection) else found
    return None


def _finding_at(order: Order, leaf: FormulaOrder, name: str, h: int, w: int) -> Diagnostic | None:
    """Too many steps to check are a finding where there is no proof; where there is, numbers may be too large still."""
    unproved = unproved_finding(order, name, h, w)
    if unproved is not None:
        return unproved
    own = (w, h) if order.normal.transposed else (h, w)
    if h * w > MOST_CHECKED:
        return too_large(name, leaf, *own)
    found = check_formula(name, leaf, *own)
    return found if isinstance(found, Diagnostic) else None


def _telling_first(size: tuple[int, int]) -> tuple[bool, int, int]:
    """The smallest grid first, those of a single row or column last: they say less about what is wrong."""
    h, w = size
    return min(h, w) == 1, h * w, h
