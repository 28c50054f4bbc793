"""One file of a program after the other: its grid, its imports, its own definitions.

In: trees. Out: a `FileScope` per file, with what it defines; an imported file's findings are shown in that file.
An import brings in what a file defines itself, not what it imports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from scanlang.check import imports
from scanlang.check.backbones import BackboneResolver
from scanlang.check.blocks import BlockResolver
from scanlang.check.findings import Findings
from scanlang.check.network_numbers import check_numbers
from scanlang.check.network_parts import scans_in
from scanlang.check.order_calls import WINDOW
from scanlang.check.orders import OrderResolver
from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedOrder, CheckedRecurrence, CheckedScan
from scanlang.check.recurrences import check_recurrence
from scanlang.check.scans import ScanChecker
from scanlang.check.tables import Contents, Tables
from scanlang.diagnostics import Reporter
from scanlang.errors import DuplicateName, GridAxes, GridMissing, ImportCycle, ImportedAxes, RepeatedClause, TooMany
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import (
    Along,
    BackboneDefinition,
    BlockDefinition,
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

Definition = OrderDefinition | FormulaDefinition | RecurrenceDefinition | ScanDefinition | BlockDefinition | BackboneDefinition
UNNAMED = ("h", "w")
CALLED = "scan or block"
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class FileScope:
    """What a file defines; None stands for a definition with findings. `has_grid`: it names the axes itself."""

    axes: tuple[str, ...]
    orders: Mapping[str, CheckedOrder | None]
    recurrences: Mapping[str, CheckedRecurrence | None]
    scans: Mapping[str, CheckedScan | None]
    has_grid: bool
    blocks: Mapping[str, CheckedBlock | None] = field(default_factory=dict)
    backbones: Mapping[str, CheckedBackbone | None] = field(default_factory=dict)

    @property
    def on_grid(self) -> bool:
        """Something in it has the axes of its grid, which was found right."""
        networks = (network for network in (*self.blocks.values(), *self.backbones.values()) if network is not None)
        return bool(self.axes and (self.orders or self.scans or scans_in(networks)))


@dataclass
class Imported:
    """The names that a file's imports bring in; `complete` is False if one of them could not be read. `called` are scans and
    blocks, the later of one name.

    `axes` are those of the first file with a grid, for a file that has none.
    """

    orders: dict[str, CheckedOrder | None] = field(default_factory=dict)
    recurrences: dict[str, CheckedRecurrence | None] = field(default_factory=dict)
    scans: dict[str, CheckedScan | None] = field(default_factory=dict)
    blocks: dict[str, CheckedBlock | None] = field(default_factory=dict)
    backbones: dict[str, CheckedBackbone | None] = field(default_factory=dict)
    called: dict[str, CheckedScan | CheckedBlock | None] = field(default_factory=dict)
    complete: bool = True
    axes: tuple[str, ...] | None = None


@dataclass
class FileChecker:
    """Checks files and what they import, each file once. `names` are the places that imports name, `texts` what lies there."""

    reporter: Reporter
    tables: Contents = field(default_factory=Contents)
    names: dict[Path, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, FileScope | None] = field(default_factory=dict)
    chain: list[imports.Place] = field(default_factory=list)
    numbers: bool = True

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
        blocks, backbones = self.networks(program, scans, imported)
        if self.numbers and not place.is_library:
            check_numbers((*blocks.values(), *backbones.values()), axes, self.reporter)
        return FileScope(axes, orders, recurrences, scans, grid is not None, blocks, backbones), imported

    def networks(
        self, program: Program, scans: Mapping[str, CheckedScan | None], imported: Imported
    ) -> tuple[dict[str, CheckedBlock | None], dict[str, CheckedBackbone | None]]:
        """The file's blocks and backbones."""
        blocks = {name: item for name, item in self.own(program, "block").items() if isinstance(item, BlockDefinition)}
        backbones = {name: item for name, item in self.own(program, "backbone").items() if isinstance(item, BackboneDefinition)}
        self.check_called(program)
        names = frozenset((*imported.backbones, *backbones))
        resolver = BlockResolver(blocks, {**imported.called, **scans}, names, imported.complete, self.reporter)
        checked = {name: resolver.define(name) for name in blocks}
        chains = BackboneResolver(backbones, imported.backbones, resolver.things, self.reporter)
        return checked, {name: chains.define(name) for name in backbones}

    def check_called(self, program: Program) -> None:
        """A call in a block does not say whether it calls a scan or a block."""
        first: dict[str, ScanDefinition | BlockDefinition] = {}
        for item in program.items:
            if not isinstance(item, ScanDefinition | BlockDefinition):
                continue
            if type(first.setdefault(item.name, item)) is not type(item):
                self.reporter.report(DuplicateName(item.name_span, CALLED, item.name, first[item.name].name_span))

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
            scans, blocks = found(scope.scans, fits), found(scope.blocks, fits)
            self.bring_in(node, "scan", scans, imported.scans, own, brought)
            self.bring_in(node, "block", blocks, imported.blocks, own, brought)
            self.bring_in(node, "backbone", found(scope.backbones, fits), imported.backbones, own, brought)
            imported.called |= {**scans, **blocks}
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
            other = {"scan": "block", "block": "scan"}.get(kind, "")
            rival = own.get((other, name)) or brought.get((other, name))
            if first is not None and not (name in target and target[name] is thing):
                self.reporter.report(DuplicateName(node.span, kind, name, first))
            elif rival is not None:
                self.reporter.report(DuplicateName(node.span, CALLED, name, rival))
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
        if place.folder is not None:
            self.names[place.folder / Path(node.path).name] = place.key
        if place.key not in self.scopes:
            self.scopes[place.key] = self.read_and_check(node, place)
        return self.scopes[place.key]

    def read_and_check(self, node: Import, place: imports.Place) -> FileScope | None:
        found = imports.read(node, place, self.reporter)
        if found is None:
            return None
        self.texts[place.key] = found[1].text
        return self.check(found[0], place)[0]

    def files(self, folder: Path | None) -> dict[str, str]:
        """The user's files that a program in `folder` imports, directly or not."""
        return {} if folder is None else {below(folder, path): self.texts[key] for path, key in self.names.items()}

    def arrays(self, folder: Path | None) -> dict[str, NDArray[np.integer]]:
        """The tables of the program and of those files."""
        return {} if folder is None else {below(folder, path): array for path, array in self.tables.used.items()}


def below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


KINDS: dict[type, str] = {
    OrderDefinition: "order",
    FormulaDefinition: "order",
    RecurrenceDefinition: "recurrence",
    ScanDefinition: "scan",
    BlockDefinition: "block",
    BackboneDefinition: "backbone",
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
