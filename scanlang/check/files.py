"""One file of a program after the other: its grid, its imports, its own definitions.

In: trees. Out: a `FileScope` per file, with what it defines; an imported file's findings are shown in that file.
An import brings in what a file defines itself, not what it imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from scanlang.check import imports
from scanlang.check.findings import Findings
from scanlang.check.order_calls import WINDOW
from scanlang.check.orders import OrderResolver
from scanlang.check.program import CheckedOrder, CheckedRecurrence, CheckedScan
from scanlang.check.recurrences import check_recurrence
from scanlang.check.scans import ScanChecker
from scanlang.check.tables import Contents, Tables
from scanlang.diagnostics import Reporter
from scanlang.errors import DuplicateName, GridAxes, GridMissing, ImportCycle, ImportedAxes, RepeatedClause, TooMany
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import (
    Along,
    Clause,
    Conv,
    Directions,
    Every,
    FormulaDefinition,
    Grid,
    Import,
    Keyword,
    Layers,
    OrderCall,
    OrderDefinition,
    OrderExpr,
    OrderName,
    Program,
    RecurrenceDefinition,
    ScanDefinition,
    Walk,
    Writes,
)

Definition = OrderDefinition | FormulaDefinition | RecurrenceDefinition | ScanDefinition
UNNAMED = ("h", "w")
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class FileScope:
    """What a file defines; None stands for a definition with findings. `has_grid`: it names the axes itself."""

    axes: tuple[str, ...]
    orders: Mapping[str, CheckedOrder | None]
    recurrences: Mapping[str, CheckedRecurrence | None]
    scans: Mapping[str, CheckedScan | None]
    has_grid: bool

    @property
    def on_grid(self) -> bool:
        """Something in it has the axes of its grid, which was found right."""
        return bool(self.axes and (self.orders or self.scans))


@dataclass
class Imported:
    """The names that a file's imports bring in; `complete` is False if one of them could not be read.

    `axes` are those of the first file with a grid, for a file that has none.
    """

    orders: dict[str, CheckedOrder | None] = field(default_factory=dict)
    recurrences: dict[str, CheckedRecurrence | None] = field(default_factory=dict)
    scans: dict[str, CheckedScan | None] = field(default_factory=dict)
    complete: bool = True
    axes: tuple[str, ...] | None = None


@dataclass
class FileChecker:
    """Checks files and what they import, each file once."""

    reporter: Reporter
    tables: Contents = field(default_factory=Contents)
    scopes: dict[str, FileScope | None] = field(default_factory=dict)
    chain: list[imports.Place] = field(default_factory=list)

    def check(self, program: Program, place: imports.Place) -> tuple[FileScope, Imported]:
        """The file's own definitions, and what its imports bring in."""
        grid = self.check_grid(program)
        self.chain.append(place)
        imported = self.check_imports(program, place, grid)
        self.chain.pop()
        axes = self.check_grid_needed(program, imported) if grid is None else grid
        findings = Findings(self.reporter)
        definitions = {
            name: item
            for name, item in self.own(program, "order").items()
            if isinstance(item, OrderDefinition | FormulaDefinition)
        }
        tables = Tables(place.folder, self.tables)
        resolver = OrderResolver(axes, definitions, imported.orders, imported.complete, findings, tables)
        orders = {name: resolver.define(name) if axes else None for name in definitions}
        recurrences = {
            name: check_recurrence(item, self.reporter)
            for name, item in self.own(program, "recurrence").items()
            if isinstance(item, RecurrenceDefinition)
        }
        visible = {**imported.recurrences, **recurrences}
        scans: dict[str, CheckedScan | None] = {}
        for name, item in self.own(program, "scan").items():
            if isinstance(item, ScanDefinition):
                checker = ScanChecker(item, resolver if axes else None, visible, imported.complete, self.reporter)
                scans[name] = checker.check()
        return FileScope(axes, orders, recurrences, scans, grid is not None), imported

    def own(self, program: Program, kind: str) -> dict[str, Definition]:
        """The file's definitions of a kind by name; a second one of the same name is a finding."""
        found: dict[str, Definition] = {}
        for item in program.items:
            if not isinstance(item, Definition) or kind_of(item) != kind:
                continue
            if item.name in found:
                self.reporter.report(DuplicateName(item.name_span, kind, item.name, found[item.name].name_span))
            found.setdefault(item.name, item)
        return found

    def check_grid(self, program: Program) -> tuple[str, ...] | None:
        """The axes, none after a finding; None without a grid."""
        grids = [item for item in program.items if isinstance(item, Grid)]
        for again in grids[1:]:
            self.reporter.report(RepeatedClause(again.span, "grid", grids[0].span))
        if not grids:
            return None
        before = len(self.reporter.diagnostics)
        first: dict[str, Span] = {}
        for axis in grids[0].axes:
            if axis.name in first:
                self.reporter.report(DuplicateName(axis.span, "axis", axis.name, first[axis.name]))
            first.setdefault(axis.name, axis.span)
        if len(grids[0].axes) > LIMITS.axes:
            self.reporter.report(GridAxes(grids[0].span, len(grids[0].axes), LIMITS.axes))
        return () if len(self.reporter.diagnostics) > before else tuple(first)

    def check_grid_needed(self, program: Program, imported: Imported) -> tuple[str, ...]:
        """Without a grid the axes have no names, which is enough for scans in named and imported orders."""
        for item in program.items:
            is_order = isinstance(item, OrderDefinition | FormulaDefinition)
            if is_order or (isinstance(item, ScanDefinition) and names_axes(item)):
                assert isinstance(item, OrderDefinition | FormulaDefinition | ScanDefinition)
                self.reporter.report(GridMissing(item.name_span, item.name))
                return ()
        return imported.axes or UNNAMED

    def check_imports(self, program: Program, place: imports.Place, axes: tuple[str, ...] | None) -> Imported:
        """Read every import; later library names give way to user names, two files' equal names are a finding."""
        imported = Imported(axes=axes)
        nodes = [item for item in program.items if isinstance(item, Import)]
        own = {(kind_of(item), item.name): item.name_span for item in program.items if isinstance(item, Definition)}
        brought: dict[tuple[str, str], Span] = {}
        for node in sorted(nodes, key=lambda node: not node.is_library):
            scope = self.load(node, place)
            if scope is None:
                imported.complete = False
                continue
            fits = self.check_axes(node, scope, imported)
            self.bring_in(node, "order", found(scope.orders, fits), imported.orders, own, brought)
            self.bring_in(node, "recurrence", scope.recurrences, imported.recurrences, own, brought)
            self.bring_in(node, "scan", found(scope.scans, fits), imported.scans, own, brought)
        return imported

    def check_axes(self, node: Import, scope: FileScope, imported: Imported) -> bool:
        """The axes of imported orders are taken by their position, so there must be as many. A recurrence of the library comes
        without the scans beside it, which show it on two axes."""
        if not scope.on_grid:
            return True
        if imported.axes is None:
            imported.axes = scope.axes
        if not imported.axes or len(scope.axes) == len(imported.axes):
            return True
        if node.is_library and scope.recurrences and not scope.has_grid:
            return False
        self.reporter.report(ImportedAxes(node.span, node.path, len(scope.axes), imported.axes))
        return False

    def bring_in(
        self,
        node: Import,
        kind: str,
        table: Mapping[str, object],
        target: dict[str, Any],
        own: Mapping[tuple[str, str], Span],
        brought: dict[tuple[str, str], Span],
    ) -> None:
        """Add an imported file's names of one kind, unless another user's file gives the same name."""
        for name, thing in table.items():
            if node.is_library:
                target[name] = thing
                continue
            first = own.get((kind, name)) or brought.get((kind, name))
            if first is not None and not (name in target and target[name] is thing):
                self.reporter.report(DuplicateName(node.span, kind, name, first))
            brought.setdefault((kind, name), node.span)
            target[name] = thing

    def load(self, node: Import, importer: imports.Place) -> FileScope | None:
        place = imports.find(node, importer, self.reporter)
        if place is None:
            return None
        keys = [above.key for above in self.chain]
        if place.key in keys:
            around = self.chain[keys.index(place.key) :]
            names = (*(above.shown for above in around), place.shown)
            self.reporter.report(ImportCycle(node.span, names))
            return None
        if len(self.chain) > LIMITS.import_depth:
            self.reporter.report(TooMany(node.span, "files that import each other in a chain", LIMITS.import_depth))
            return None
        if place.key not in self.scopes:
            self.scopes[place.key] = self.read_and_check(node, place)
        return self.scopes[place.key]

    def read_and_check(self, node: Import, place: imports.Place) -> FileScope | None:
        found = imports.read(node, place, self.reporter)
        return None if found is None else self.check(found[0], place)[0]


KINDS: dict[type, str] = {
    OrderDefinition: "order",
    FormulaDefinition: "order",
    RecurrenceDefinition: "recurrence",
    ScanDefinition: "scan",
}


def names_axes(scan: ScanDefinition) -> bool:
    """An order that the scan writes walks over an axis, or says `flip(…, h)`, `every h` or `window(…, h, w)`."""
    waiting: list[object] = [order for clause in scan.clauses for order in orders_in(clause)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Walk) or (isinstance(part, Every) and part.what != WINDOW):
            return True
        if isinstance(part, Keyword):
            waiting.append(part.value)
        elif isinstance(part, OrderCall):
            sizes = part.arguments[1:] if part.function in ("flip", WINDOW) else ()
            if any(isinstance(argument, OrderName) for argument in sizes):
                return True
            waiting += part.arguments
    return False


def orders_in(clause: Clause) -> tuple[OrderExpr, ...]:
    match clause:
        case Directions():
            return clause.orders
        case Layers():
            return tuple(order for choice in clause.choices for order in choice)
        case Conv():
            return () if clause.along is None else (clause.along,)
        case Along() | Writes():
            return (clause.order,)
        case _:
            return ()


def found(table: Mapping[str, Thing], fits: bool) -> Mapping[str, Thing | None]:
    """Nothing but the names where the things cannot be used."""
    return table if fits else dict.fromkeys(table)


def kind_of(definition: Definition) -> str:
    return KINDS[type(definition)]
