"""What a scan computes at one size: projections, convolution, recurrence and the layers of its merge, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from scanlang.check.expressions import names_in, parts
from scanlang.check.program import HEAD, CheckedScan, Scale, StateUpdate, Temporary
from scanlang.maps.order import Order
from scanlang.maps.routes import order_of, traversal_of
from scanlang.maps.structure import as_many_steps_as_cells
from scanlang.networks.network import ScanLayer
from scanlang.networks.scan_shape import ScanShape, scan_shape
from scanlang.networks.values import Map
from scanlang.networks.work_counts import Work
from scanlang.syntax.nodes import Call, CellMean, Expr, Name, Sum


@dataclass(frozen=True)
class ScanAt:
    """A scan at one size: `steps` of every direction, the `rows` and `cells` of its maps."""

    shape: ScanShape
    steps: tuple[int, ...]
    conv_steps: int
    rows: int
    cells: int

    @property
    def scan(self) -> CheckedScan:
        return self.shape.scan

    @property
    def work(self) -> Work:
        total = Work(dense=self.projections() + self.convolution())
        for part, steps in zip(self.shape.parts, self.steps, strict=True):
            total += self.step(part) * steps
        return total + self.merge()

    def projections(self) -> int:
        """One linear map for every direction, at its steps; once for every row where all directions have the same."""
        total = 0
        for projection in self.scan.projections:
            rows = self.shape.rows(projection)
            if self._once(projection.source):
                total += rows * self.shape.channels * self.rows
            else:
                total += rows * sum(part * steps for part, steps in zip(self.shape.parts, self.steps, strict=True))
        return total

    def _once(self, source: str) -> bool:
        """The directions project the same values by the same weights."""
        scan = self.scan
        if "project" not in scan.shared or scan.split is not None:
            return False
        convolved = scan.conv is not None and source == scan.inputs[0]
        return not convolved or (scan.conv is not None and scan.conv.along is not None and "conv" in scan.shared)

    def convolution(self) -> int:
        """In the directions' own time, or along another order: there once where all directions have the same weights."""
        conv = self.scan.conv
        if conv is None:
            return 0
        if conv.along is None:
            return conv.width * sum(part * steps for part, steps in zip(self.shape.parts, self.steps, strict=True))
        once = "conv" in self.scan.shared and self.scan.split is None
        return conv.width * self.conv_steps * (self.shape.channels if once else sum(self.shape.parts))

    def step(self, channels: int) -> Work:
        """One step of a direction with so many channels."""
        total, of_states = Work(outputs=channels), set[str]()
        for equation in self.scan.recurrence.equations:
            units = channels if equation.per == "channel" else channels // self.shape.labels[HEAD]
            entries = units * prod(self.shape.extents(equation.indices))
            plain, recurrent = self._sums(equation, of_states)
            total += Work(dense=plain, recurrent=recurrent) * entries
            if isinstance(equation, StateUpdate):
                total += Work(recurrent=entries, entries=entries)
                of_states.add(equation.name)
            elif any(name.name in of_states for name in names_in(equation.value)):
                of_states.add(equation.name)
        return total

    def _sums(self, equation: Temporary | StateUpdate | Scale, of_states: set[str]) -> tuple[int, int]:
        """The terms of the sums of an equation: without states, and with them."""
        values = (equation.decay, equation.drive) if isinstance(equation, StateUpdate) else (equation.value,)
        plain = recurrent = 0
        for found, terms in (pair for value in values for pair in self._terms(value, 1)):
            if any(name.name in of_states for name in names_in(found)):
                recurrent += terms
            else:
                plain += terms
        return plain, recurrent

    def _terms(self, expr: Expr, times: int) -> Iterator[tuple[Sum, int]]:
        """Every sum, with the number of its terms, those of sums inside as often as they are made."""
        if isinstance(expr, Sum):
            times *= prod(self.shape.extents((expr.index,)))
            yield expr, times
        for part in parts(expr):
            yield from self._terms(part, times)

    def merge(self) -> Work:
        return Work() if isinstance(self.scan.merge, str) else self._merged(self.scan.merge)

    def _merged(self, expr: Expr) -> Work:
        """The layers that a merge calls, and its means over cells."""
        inside = Work()
        for part in parts(expr):
            inside += self._merged(part)
        match expr:
            case Sum():
                return inside * self.shape.directions
            case CellMean():
                return inside + Work(pooled=self.cells * self.shape.channels)
            case Call():
                return inside + self._used(expr)
            case _:
                return inside

    def _used(self, call: Call) -> Work:
        use = next((use for use in self.scan.uses if use.name == call.function), None)
        if use is None:
            return Work()
        sizes, rows = self.shape.used_sizes(use), self.rows if of_cells(call.arguments[0]) else 1
        return Work(dense=rows * prod(sizes)) if use.layer == "linear" else Work(normalised=rows * sizes[0])


def of_cells(expr: Expr) -> bool:
    """Whether an expression of a merge has a value for every cell."""
    if isinstance(expr, CellMean):
        return False
    return isinstance(expr, Name) or any(map(of_cells, parts(expr)))


def scan_work(layer: ScanLayer, value: Map, axes: tuple[str, ...], image: tuple[int, ...]) -> Work:
    """Of one image. Raises ScanError where there is no such scan on the grid."""
    shape, grid = scan_shape(layer), value.grid(image)
    return ScanAt(
        shape, _steps(shape.scan, axes, grid), _conv_steps(shape.scan, axes, grid), value.rows(image), prod(grid)
    ).work


def _steps(scan: CheckedScan, axes: tuple[str, ...], grid: tuple[int, ...]) -> tuple[int, ...]:
    """Of every direction; looked at step by step only where they are not as many as cells."""
    if all(as_many_steps_as_cells(direction.order) for direction in scan.directions):
        return (prod(grid),) * len(scan.directions)
    return traversal_of(scan, axes).at(grid).lengths


def _conv_steps(scan: CheckedScan, axes: tuple[str, ...], grid: tuple[int, ...]) -> int:
    if scan.conv is None or scan.conv.along is None:
        return 0
    order: Order = order_of(scan.conv.along, axes)
    return order.sequence(*grid).steps
