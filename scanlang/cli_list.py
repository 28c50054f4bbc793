"""`scanlang list`: the programs of the library, a line each. In: words to look for; out: entries, as lines or as JSON.

Programs are checked as far as their orders; that these visit what they should is what the tests of the library prove.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from scanlang.arrows import AS_ASCII, arrows
from scanlang.check import check
from scanlang.check.program import CheckedScan
from scanlang.library import library, library_source, opening_comment
from scanlang.maps.lower import lower_to_maps
from scanlang.syntax.build import build_syntax
from scanlang.syntax.parse import parse_text

DEFINITION = re.compile(r"^(?:scan|recurrence|order|block)\s+(\w+)", re.MULTILINE)
SOURCES = re.compile(r"\s*\((?=[^()]*(?:github\.com|arXiv))[^()]*\)")
SENTENCE = re.compile(r"(.+?)\.(?=\s+[A-Z`])|.+")
HEADINGS = ("program", "first direction", "axes", "directions", "")
NO_SCAN = "-"


@dataclass(frozen=True)
class ScanEntry:
    """`layers` are the directions of each layer, as the program writes them: one layer unless the scan says `layers`."""

    name: str
    layers: tuple[tuple[str, ...], ...]

    @property
    def directions(self) -> str:
        """How many in a layer, and in how many layers: `4`, `1×8`, `2+3`."""
        counts = [len(layer) for layer in self.layers]
        if len(set(counts)) > 1:
            return "+".join(map(str, counts))
        return str(counts[0]) if len(counts) == 1 else f"{counts[0]}×{len(counts)}"


@dataclass(frozen=True)
class Entry:
    """A program: the first sentence of its comment, all of it, and the first direction (or order) on one line."""

    name: str
    about: str
    comment: str
    axes: tuple[str, ...]
    scans: tuple[ScanEntry, ...]
    picture: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def columns(self) -> tuple[str, ...]:
        directions = " ".join(scan.directions for scan in self.scans)
        return self.name, self.picture or NO_SCAN, ", ".join(self.axes), directions or NO_SCAN, self.about


def found(words: tuple[str, ...]) -> tuple[str, ...]:
    """The programs with all the words in their names, their comments or the names of what they define."""
    names = []
    for name in library():
        source = library_source(name)
        text = " ".join((name, *opening_comment(source), *DEFINITION.findall(source.text))).lower()
        if all(word.lower() in text for word in words):
            names.append(name)
    return tuple(names)


def entry(name: str) -> Entry:
    source = library_source(name)
    program = lower_to_maps(check(build_syntax(parse_text(source), source), source))
    comment = " ".join(opening_comment(source))
    own = set(DEFINITION.findall(source.text))
    scans = {name: scan for name, scan in program.checked.scans.items() if name in own}
    orders = [order for name in scans for order in program.scans[name]]
    orders = orders or [order for name, order in program.orders.items() if name in own]
    return Entry(
        name,
        first_sentence(comment),
        comment,
        program.checked.axes,
        tuple(ScanEntry(name, _layers(scan)) for name, scan in scans.items()),
        arrows(orders[0]) if orders else "",
    )


def _layers(scan: CheckedScan) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(direction.text for direction in layer) for layer in scan.layers)


def first_sentence(comment: str) -> str:
    """Without where it comes from."""
    match = SENTENCE.match(SOURCES.sub("", comment))
    return "" if match is None else match[1] or match[0]


def table(entries: list[Entry], details: bool, width: int | None = None) -> Iterator[str]:
    """A line for each, below the headings, cut off at the width; with details another one for each scan."""
    rows = [HEADINGS, *(each.columns() for each in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    for row, each in zip(rows, [None, *entries], strict=True):
        line = "  ".join((*(f"{text:<{wide}}" for text, wide in zip(row, widths, strict=False)), row[-1])).rstrip()
        yield line if width is None or len(line) <= width else f"{line[: width - 1]}…"
        if details and each is not None:
            yield from (f"    {_scan_line(scan)}" for scan in each.scans)


def as_ascii(line: str) -> str:
    """For terminals that show nothing else."""
    return line.replace("×", "x").translate(AS_ASCII).encode("ascii", "replace").decode()


def _scan_line(scan: ScanEntry) -> str:
    layers = f", {len(scan.layers)} layers" if len(scan.layers) > 1 else ""
    return f"{scan.name}{layers}: {'; '.join(', '.join(layer) for layer in scan.layers)}"
