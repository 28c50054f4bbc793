"""A document's rows as a table for people, beside what the machine would need at its best and what the authors' code took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from scanlang.bench.bounds import bounds_of, share
from scanlang.bench.document import Document
from scanlang.bench.machine import Limits
from scanlang.bench.row import Row

GIB = 2**30
LEFT = ("row", "note")
OFFICIAL = "official: the authors' code, as measured on an H200"

Cell = Callable[[Row, Limits], str]


def number(value: float | None, digits: int = 3) -> str:
    """
    >>> number(0.30612), number(28.04), number(15303.2), number(None)
    ('0.306', '28', '15303', '')
    """
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}" if abs(value) >= 1 else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def per_second(row: Row, milliseconds: float | None) -> str:
    return "" if row.images is None or milliseconds is None else number(row.images / milliseconds * 1e3)


def gib(count: int | None) -> str:
    return "" if count is None else f"{count / GIB:.2f}"


def official(row: Row, _: Limits) -> str:
    if row.official is None:
        return ""
    return per_second(row, row.official.median) or number(row.official.median)


def faster(row: Row, _: Limits) -> str:
    return "" if row.official is None or row.times is None else f"{row.official.median / row.times.median:.2f}x"


COLUMNS: dict[str, Cell] = {
    "ms": lambda row, _: number(row.median),
    "spread": lambda row, _: percent(row.times.spread if row.times else None),
    "call ms": lambda row, _: number(row.times.call if row.times else None),
    "bytes ms": lambda row, limits: number(bounds_of(row, limits).bytes),
    "exp ms": lambda row, limits: number(bounds_of(row, limits).special),
    "issue ms": lambda row, limits: number(bounds_of(row, limits).issued),
    "share": lambda row, limits: percent(share(row, limits)),
    "img/s": lambda row, _: per_second(row, row.median),
    "GiB": lambda row, _: gib(row.memory),
    "official": official,
    "faster": faster,
    "official GiB": lambda row, _: gib(row.official.memory if row.official else None),
    "note": lambda row, _: f"FAILED: {row.failed}" if row.failed else row.note,
}
"""By their heads; those without a number are left out."""


def table(document: Document) -> str:
    limits = document.limits
    columns = {"row": list(document.rows)}
    for head, cell in COLUMNS.items():
        texts = [cell(row, limits) for row in document.rows.values()]
        if any(texts):
            columns[head] = texts
    widths = [max(len(text) for text in (head, *texts)) for head, texts in columns.items()]
    lines = [list(columns), ["-" * width for width in widths], *(list(line) for line in zip(*columns.values(), strict=True))]
    printed = ["  ".join(map(_aligned, columns, line, widths)).rstrip() for line in lines]
    return "\n".join([*heading(document), "", *printed])


def heading(document: Document) -> Iterator[str]:
    limits, versions = document.limits, ", ".join(f"{name} {value}" for name, value in document.versions.items())
    yield f"{limits.device}; {versions}; {document.date}"
    best = f"{limits.bytes / 1e9:.4g} GB/s (a large copy), {limits.special / 1e9:.4g} G exp or log a second"
    slots = "" if limits.issued is None else f", {limits.issued / 1e9:.4g} G instructions of a warp"
    yield f"limits: {best}{slots}; share: the largest limit in the median; spread: between the quartiles"
    if any(row.official for row in document.rows.values()):
        yield OFFICIAL


def _aligned(head: str, text: str, width: int) -> str:
    return text.ljust(width) if head in LEFT else text.rjust(width)
