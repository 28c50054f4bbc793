"""Check a formula at one size, step by step. In: a `FormulaOrder` and a size; out: its cells, or what is wrong.

Vectorised, so that an operator can do it once for every new size (1248 × 1248 takes a fraction of a second).
"""

from __future__ import annotations

import numpy as np

from scanlang.check.program import FormulaOrder
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import FormulaDividesByZero, FormulaTooLarge, NotABijection, OutOfTheGrid
from scanlang.maps.bounds import intervals
from scanlang.maps.evaluate import IntArray, ZeroDivisor, evaluate
from scanlang.maps.formula import Formula, formula_span, lower_formula
from scanlang.maps.integers import Integer

MOST = 2**62
CHUNK = 1 << 16


def formula_cells(name: str, order: FormulaOrder, h: int, w: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of the cells visited; raises ScanError unless every cell is visited exactly once."""
    found = check_formula(name, order, h, w)
    if isinstance(found, Diagnostic):
        raise ScanError([found])
    return found


def check_formula(name: str, order: FormulaOrder, h: int, w: int) -> tuple[IntArray, IntArray] | Diagnostic:
    """The cells, or the finding with the earliest step."""
    formula, sizes = lower_formula(order), tuple(zip(order.axes, (h, w), strict=True))
    large = too_large(name, order, h, w)
    if large is not None:
        return large
    cells = np.empty((2, h * w), dtype=np.int64)
    for start in range(0, h * w, CHUNK):
        steps = np.arange(start, min(h * w, start + CHUNK), dtype=np.int64)
        try:
            for axis, output in enumerate(formula.map.outputs):
                cells[axis, start : start + CHUNK] = evaluate(output, {"t": steps, "n0": h, "n1": w})
        except ZeroDivisor as error:
            return _division_by_zero(name, formula, order, error, sizes)
    row, column = cells[0], cells[1]
    outside = (row < 0) | (row >= h) | (column < 0) | (column >= w)
    if outside.any():
        step = int(np.argmax(outside))
        return OutOfTheGrid(formula_span(order), name, step, (int(row[step]), int(column[step])), sizes)
    collision = _collision(row * w + column)
    if collision is None:
        return row, column
    first, second, unvisited = collision
    cell = (int(row[first]), int(column[first]))
    return NotABijection(formula_span(order), name, (first, second), cell, divmod(unvisited, w), sizes)


def _collision(cells: IntArray) -> tuple[int, int, int] | None:
    """(step, later step, unvisited cell) with the smallest later step, None for a permutation."""
    visits = np.bincount(cells, minlength=len(cells))
    if visits.max() == 1:
        return None
    order = np.argsort(cells, kind="stable")
    again = np.flatnonzero(cells[order][1:] == cells[order][:-1])
    later = again[np.argmin(order[again + 1])]
    return int(order[later]), int(order[later + 1]), int(np.argmin(visits))


def too_large(name: str, order: FormulaOrder, h: int, w: int) -> FormulaTooLarge | None:
    """The finding of a part whose value may leave 62 bits at this size."""
    formula = lower_formula(order)
    values = {"t": (0, h * w - 1), "n0": (h, h), "n1": (w, w)}
    for output in formula.map.outputs:
        part, most = _first_above(output, values)
        if part is not None:
            span = formula.places.get(part, order.span)
            return FormulaTooLarge(span, name, span.text, most, tuple(zip(order.axes, (h, w), strict=True)))
    return None


def _first_above(output: Integer, values: dict[str, tuple[int, int]]) -> tuple[Integer | None, int]:
    """The smallest part whose value may leave 62 bits, and how far from 0 it may get."""
    for node, (low, high) in intervals(output, values).items():
        if max(-low, high) > MOST:
            return node, max(-low, high)
    return None, 0


def _division_by_zero(
    name: str, formula: Formula, order: FormulaOrder, error: ZeroDivisor, sizes: tuple[tuple[str, int], ...]
) -> FormulaDividesByZero:
    place = formula.places.get(error.node.right, order.span)
    return FormulaDividesByZero(place, name, place.text, error.values["t"], order.parameter, sizes)
