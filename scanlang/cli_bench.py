"""`scanlang bench`: which rows are measured, for how long, and what is made of them. In: options; out: an exit code.

0: every row was measured, 1: some failed, 2: nothing could be measured (usage, files, no GPU).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import click

from scanlang.bench.catalogue import catalogue, chosen
from scanlang.bench.document import Document, NotMeasurements, merged, read
from scanlang.bench.growth import growth_table
from scanlang.bench.row import Device, Measurement, Where
from scanlang.bench.run import begun, measure, worker
from scanlang.bench.table import table

FAILED, UNUSABLE = 1, 2
NO_GPU = "torch sees no CUDA device"


@dataclass(frozen=True)
class Wanted:
    """`minutes`: no row is begun after so many; `row_seconds`: a row may take so long."""

    rows: str | None = None
    json: str | None = None
    resume: bool = False
    png: str | None = None
    minutes: float | None = None
    row_seconds: float = 300.0
    threads: int = 2
    tiny: bool = False


def listed(patterns: str | None) -> list[str]:
    """Names, a line each, and what they need."""
    rows = catalogue()
    names = matching(rows, patterns)
    wide = max(map(len, names))
    return [f"{name:<{wide}}  {'GPU' if rows[name].device == 'cuda' else 'CPU'}" for name in names]


def matching(names: Iterable[str], patterns: str | None) -> list[str]:
    """Raises UsageError where there is none."""
    known = list(names)
    found = chosen(known, patterns)
    if not found:
        close = get_close_matches(patterns or "", known, n=3, cutoff=0.4)
        hint = f"; near it: {', '.join(close)}" if close else ""
        raise click.UsageError(f"--rows: no row is like {patterns}{hint} (`scanlang bench --list` has all)")
    return found


def show_files(files: Sequence[str], wanted: Wanted) -> int:
    """Of what was measured before. Raises UsageError for files that are none, or that do not go together."""
    try:
        document = merged([read(file) for file in files])
    except NotMeasurements as error:
        raise click.UsageError(str(error)) from None
    document = replace(document, rows={name: document.rows[name] for name in matching(document.rows, wanted.rows)})
    if wanted.json is not None:
        document.write(wanted.json)
    return show(document, wanted)


def run(wanted: Wanted) -> int:
    """Measure, and show."""
    import torch

    device: Device = "cuda" if torch.cuda.is_available() and not wanted.tiny else "cpu"
    available = catalogue()
    rows = measurable([available[name] for name in matching(available, wanted.rows)], device, wanted)
    until = None if wanted.minutes is None else time.monotonic() + wanted.minutes * 60
    before = earlier(wanted)
    with worker(Where(device, wanted.tiny), wanted.threads) as asked:
        try:
            document = begun(asked)
        except (RuntimeError, TimeoutError) as error:
            print(f"scanlang: the machine's limits could not be measured: {error}", file=sys.stderr)
            return UNUSABLE
        if before is not None:
            document = together(before, document)
            rows = [one for one in rows if one.name not in before.rows or before.rows[one.name].failed]

        def keep(found: Document) -> None:
            if wanted.json is not None:
                found.write(wanted.json)

        document, left = measure(asked, rows, document, wanted.row_seconds, until, say, keep)
    if wanted.json is not None:
        document.write(wanted.json)
        print(f"wrote {click.format_filename(wanted.json)}", file=sys.stderr)
    if left:
        rest = f"{len(left)} rows were not begun after {wanted.minutes:g} minutes: {', '.join(left[:5])}"
        print(f"{rest}{' …' if len(left) > 5 else ''}; --resume goes on with them", file=sys.stderr)
    return show(document, wanted)


def measurable(rows: Sequence[Measurement], device: Device, wanted: Wanted) -> list[Measurement]:
    """Those of the device; of both, tiny ones. Raises UsageError where there is none."""
    if wanted.tiny:
        return list(rows)
    own = [one for one in rows if one.device == device]
    if own:
        if wanted.rows is not None and len(own) < len(rows):
            print(f"{len(rows) - len(own)} of the rows are for a {'CPU' if device == 'cuda' else 'GPU'}", file=sys.stderr)
        return own
    if device == "cpu":
        raise click.UsageError(f"{NO_GPU}, and {rows[0].name} needs one; `--rows 'cpu-*'` runs here")
    raise click.UsageError(f"{rows[0].name} is for machines without a GPU; CUDA_VISIBLE_DEVICES= hides it")


def earlier(wanted: Wanted) -> Document | None:
    """What --resume goes on with."""
    if not wanted.resume:
        return None
    if wanted.json is None:
        raise click.UsageError("--resume goes on with what --json wrote; name that file too")
    if not Path(wanted.json).exists():
        return None
    try:
        return read(wanted.json)
    except NotMeasurements as error:
        raise click.UsageError(str(error)) from None


def together(before: Document, now: Document) -> Document:
    """Raises UsageError for another machine's rows."""
    try:
        return merged([before, now])
    except NotMeasurements as error:
        raise click.UsageError(f"--resume: {error}") from None


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(document: Document, wanted: Wanted) -> int:
    """The table, the growth of series, and the picture."""
    click.echo(table(document))
    if growing := growth_table(document.rows):
        click.echo(f"\n{growing}")
    if wanted.png is not None:
        draw_picture(document, wanted.png)
    failed = [name for name, row in document.rows.items() if row.failed]
    if failed:
        print(f"{len(failed)} rows failed: {', '.join(failed)}", file=sys.stderr)
    return FAILED if failed else 0


def draw_picture(document: Document, path: str) -> None:
    """Times are worth more than their picture: where it cannot be drawn, that is said."""
    from scanlang.bench.roofline import NothingToDraw, draw

    try:
        draw(document, path)
    except (ModuleNotFoundError, NothingToDraw) as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        print(f"wrote {click.format_filename(path)}", file=sys.stderr)
