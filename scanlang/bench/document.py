"""What was measured, as JSON: the machine, versions, the date, and rows by name. Several of one machine are merged into one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scanlang.bench.machine import Limits
from scanlang.bench.row import Official, Row, Step, Times
from scanlang.files import write_atomically

FORMAT = 1
PARTS = {"times": Times, "official": Official, "step": Step}


class NotMeasurements(ValueError):
    """A file that is none of ours, or files that do not go together."""


@dataclass(frozen=True)
class Document:
    """`date` is that of the newest row, in UTC."""

    limits: Limits
    versions: Mapping[str, str]
    date: str
    rows: Mapping[str, Row] = field(default_factory=dict)

    def with_row(self, name: str, row: Row) -> Document:
        return replace(self, rows={**self.rows, name: row}, date=now())

    def write(self, path: str | Path) -> None:
        rows = [{"name": name, **known(asdict(row))} for name, row in self.rows.items()]
        head = {"format": FORMAT, "card": self.limits.device, "date": self.date, "versions": dict(self.versions)}
        write_atomically(path, json.dumps({**head, "limits": asdict(self.limits), "rows": rows}, indent=2) + "\n")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def read(path: str | Path) -> Document:
    """Raises NotMeasurements, or OSError."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise NotMeasurements(f"{path}: its format is {content['format']}, and this scanlang reads {FORMAT}")
        rows = {row.pop("name"): row_of(row) for row in content["rows"]}
        return Document(Limits(**content["limits"]), dict(content["versions"]), str(content["date"]), rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, NotMeasurements):
            raise
        raise NotMeasurements(f"{path}: this is no file that `scanlang bench --json` wrote ({error!r})") from None


def row_of(values: Mapping[str, Any]) -> Row:
    """
    >>> row_of({"times": {"median": 2.0, "best": 1.0, "spread": 0.1}, "note": "few"}).times.median
    2.0
    """
    made = {name: PARTS[name](**value) if name in PARTS else value for name, value in values.items()}
    return Row(**made)


def merged(documents: Sequence[Document]) -> Document:
    """Of several of one machine. Of a row that several have, the newest counts that did not fail; of versions that differ there
    are all."""
    cards = dict.fromkeys(document.limits.device for document in documents)
    if len(cards) > 1:
        raise NotMeasurements(f"measured on different machines, which is no one table: {'; '.join(cards)}")
    ordered = sorted(documents, key=lambda document: document.date)
    rows: dict[str, Row] = {}
    for document in ordered:
        for name, row in document.rows.items():
            if name not in rows or not row.failed or rows[name].failed:
                rows[name] = row
    names = dict.fromkeys(name for document in ordered for name in document.versions)
    versions = {
        name: ", ".join(dict.fromkeys(document.versions[name] for document in ordered if name in document.versions))
        for name in names
    }
    return replace(ordered[-1], versions=versions, rows=rows)
