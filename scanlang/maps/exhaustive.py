"""Check a formula at one size, step by step. In: a `FormulaOrder` and a size; out: its cells, or what is wrong.

Vectorised, so that an operator can do it once for every new size (1248 × 1248 takes a fraction of a second).
"""

from __future__ import annotations

from math import prod

import numpy as np

from scanlang.check.program import FormulaOrder
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import FormulaDividesByZero, FormulaTooLarge, NotABijection, OutOfTheGrid
from scanlang.maps.bounds import STEP, Grid, intervals, sizes_of
from scanlang.maps.evaluate import IntArray, Value, ZeroDivisor, evaluate
from scanlang.maps.formula import Formula, formula_span, lower_formula
from scanlang.maps.integers import Integer

MOST = 2**62
CHUNK = 1 << 16


def formula_cells(name: str, order: FormulaOrder, grid: Grid) -> IntArray:
    """The raster indices of the cells visited; raises ScanError unless every cell is visited exactly once."""
    found = check_formula(name, order, grid)
    if isinstance(found, Diagnostic):
        raise ScanError([found])
    return found


def check_formula(name: str, order: FormulaOrder, grid: Grid) -> IntArray | Diagnostic:
    """The cells, or the finding with the earliest step."""
    formula, sizes, count = lower_formula(order), tuple(zip(order.axes, grid, strict=True)), prod(grid)
    large = too_large(name, order, grid)
    if large is not None:
        return large
    lengths: dict[str, Value] = {**sizes_of(grid)}
    cells = np.zeros(count, dtype=np.int64)
    outside = np.zeros(count, dtype=np.bool_)
    for start in range(0, count, CHUNK):
        steps = slice(start, min(count, start + CHUNK))
        environment = {**lengths, STEP.name: np.arange(steps.start, steps.stop, dtype=np.int64)}
        for output, size in zip(formula.map.outputs, grid, strict=True):
            try:
                cell = evaluate(output, environment)
            except ZeroDivisor as error:
                return _division_by_zero(name, formula, order, error, sizes)
            cells[steps] = cells[steps] * size + cell
            outside[steps] |= (np.asarray(cell) < 0) | (np.asarray(cell) >= size)
    if outside.any():
        step = int(np.argmax(outside))
        cell_there = tuple(int(evaluate(output, {**lengths, STEP.name: step})) for output in formula.map.outputs)
        return OutOfTheGrid(formula_span(order), name, step, cell_there, sizes)
    collision = _collision(cells)
    if collision is None:
        return cells
    first, second, unvisited = collision
    meeting, missed = cell_at(int(cells[first]), grid), cell_at(unvisited, grid)
    return NotABijection(formula_span(order), name, (first, second), meeting, missed, sizes)


def cell_at(index: int, grid: Grid) -> Grid:
    """The coordinates of a cell."""
    return tuple(int(coordinate) for coordinate in np.unravel_index(index, grid))


def _collision(cells: IntArray) -> tuple[int, int, int] | None:
    """(step, later step, unvisited cell) with the smallest later step, None for a permutation."""
    visits = np.bincount(cells, minlength=len(cells))
    if visits.max() == 1:
        return None
    order = np.argsort(cells, kind="stable")
    again = np.flatnonzero(cells[order][1:] == cells[order][:-1])
    later = again[np.argmin(order[again + 1])]
    return int(order[later]), int(order[later + 1]), int(np.argmin(visits))


def too_large(name: str, order: FormulaOrder, grid: Grid) -> FormulaTooLarge | None:
    """The finding of a part whose value may leave 62 bits at this size."""
    formula = lower_formula(order)
    values = {STEP.name: (0, prod(grid) - 1), **{length: (size, size) for length, size in sizes_of(grid).items()}}
    for output in formula.map.outputs:
        part, most = _first_above(output, values)
        if part is not None:
            span = formula.places.get(part, order.span)
            return FormulaTooLarge(span, name, span.text, most, tuple(zip(order.axes, grid, strict=True)))
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
