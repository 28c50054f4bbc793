"""What `scanlang.load` gives: a program that was checked, its orders, and the graphs of its scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from os import PathLike
from types import MappingProxyType

from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedProgram, CheckedScan
from scanlang.diagnostics import ScanError
from scanlang.errors import NoSuchLayer, ScanNotChosen
from scanlang.graph.scan_graph import ScanGraph
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal
from scanlang.maps.verify import VerifiedProgram
from scanlang.pipeline import check_text, operator_graph, read_program, written_graph
from scanlang.source import Source, Span
from scanlang.syntax.text import make_source


class Program:
    """A checked program: `program.orders["rows"].positions(4, 6)`, `program.graph("cross")`.

    `source` is the text it came from. Made by `scanlang.load` and `scanlang.loads`; never changes.
    """

    def __init__(self, source: Source, verified: VerifiedProgram) -> None:
        self.source, self.verified = source, verified

    def __reduce__(self) -> tuple[object, ...]:
        return Program, (self.source, self.verified)

    @property
    def checked(self) -> CheckedProgram:
        return self.verified.mapped.checked

    @cached_property
    def orders(self) -> Mapping[str, Order]:
        """Orders of this file and of those it imports, by name.

        `orders[name].positions(h, w)[t]` is the index r * w + c of the cell visited at step t, `.ranks(h, w)` a cell's step:
        `map[positions]` is the sequence, `sequence[ranks]` the map, of an order that visits every cell once.
        """
        return MappingProxyType(dict(self.verified.orders))

    @cached_property
    def scans(self) -> Mapping[str, CheckedScan]:
        return MappingProxyType(dict(self.checked.scans))

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the grid's axes, the slowest of the raster first."""
        return self.checked.axes

    @cached_property
    def blocks(self) -> Mapping[str, CheckedBlock]:
        """Blocks of this file and of those it imports, by name; each brings the scans that it calls."""
        return MappingProxyType(dict(self.checked.blocks))

    @cached_property
    def backbones(self) -> Mapping[str, CheckedBackbone]:
        return MappingProxyType(dict(self.checked.backbones))

    def directions(self, scan: str | None = None, layer: int = 0) -> tuple[Order, ...]:
        """The orders of a scan's directions; they may depend on the layer where the scan says `layers`."""
        return self.traversal(scan, layer).orders

    def traversal(self, scan: str | None = None, layer: int = 0) -> Traversal:
        """What a scan visits: the rows of every step of its directions and of streams that run elsewhere, by size."""
        name = self.scan_name(scan)
        return self.verified.traversals[name][self._layer(name, layer)]

    def _layer(self, name: str, layer: int) -> int:
        """Its place among those of the scan: `cycle` starts again after the last."""
        scan = self.checked.scans[name]
        if layer < 0 or (scan.layer_rule == "list" and layer >= len(scan.layers)):
            count = len(scan.layers) if scan.layer_rule == "list" else 0
            raise ScanError([NoSuchLayer(scan.span, name, layer, count)])
        return layer % len(scan.layers)

    def scan_name(self, scan: str | None = None) -> str:
        """`scan`, or the only scan that the file has, or there is; a ScanError names what there is to choose from."""
        names = tuple(self.checked.scans)
        own = tuple(name for name in names if self.checked.scans[name].span.source == self.source)
        for only in (own, names) if scan is None else ():
            if len(only) == 1:
                return only[0]
        if scan not in names:
            kinds = {**dict.fromkeys(self.checked.blocks, "block"), **dict.fromkeys(self.checked.backbones, "backbone")}
            kind = kinds.get(scan) if isinstance(scan, str) else None
            raise ScanError([ScanNotChosen(Span(self.source, 0, 0), scan, names, kind=kind)])
        return scan

    def graph(self, scan: str | None = None, layer: int = 0) -> ScanGraph:
        """The scan as written, every direction gathering, convolving and projecting in its own time."""
        name = self.scan_name(scan)
        return written_graph(self.verified, name, self._layer(name, layer))

    def operator_graph(self, scan: str | None = None, layer: int = 0) -> ScanGraph:
        """The scan as the fused operator computes it: projections are left to the caller, the rest is in the step."""
        name = self.scan_name(scan)
        return operator_graph(self.verified, name, self._layer(name, layer))

    def __repr__(self) -> str:
        parts = [f"orders {', '.join(self.orders) or 'none'}", f"scans {', '.join(self.scans) or 'none'}"]
        parts += [f"blocks {', '.join(self.blocks)}"] if self.blocks else []
        parts += [f"backbones {', '.join(self.backbones)}"] if self.backbones else []
        return f"<Program {self.source.name}: {'; '.join(parts)}>"


def load(path: str | PathLike[str], sizes: Iterable[tuple[int, ...]] | None = None) -> Program:
    """`load("cross.scan")`: read and check a program. Orders without a proof are checked at `sizes`, or at the usual ones.

    Raises ScanError with every finding, OSError if the file cannot be read.
    """
    return Program(*read_program(path, sizes))


def loads(text: str, name: str = "<text>", sizes: Iterable[tuple[int, ...]] | None = None) -> Program:
    """`loads("grid h, w …")`: check a program given as text. It can import the library, not files."""
    source = make_source(name, text)
    return Program(source, check_text(source, None, sizes))
