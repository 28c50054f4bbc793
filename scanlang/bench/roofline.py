"""A document as a picture, with matplotlib: rows below the machine's roof, and how much of their limit they reach.

Where bytes are few for every exp or log, the roof is what the special function units do; left of the ridge it is memory.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from scanlang.bench.bounds import bounds_of, share
from scanlang.bench.document import Document
from scanlang.bench.table import number
from scanlang.files import write_atomically

INK, FAINT, GRID = "#1f2430", "#6b7280", "#e5e7eb"
MARKERS = {"forward": "o", "both": "s", "backward": "s"}
COLOURS = ("#2563eb", "#db2777", "#059669", "#d97706", "#7c3aed", "#0891b2", "#dc2626", "#65a30d")
MOST_BARS = 40
BAR, LEAST_HEIGHT = 0.2, 5.0
"""Inches."""


class NothingToDraw(ValueError):
    """No row has both bytes and exponentials."""


def draw(document: Document, path: str | PathLike[str]) -> None:
    """As a PNG. Raises NothingToDraw, and ModuleNotFoundError without matplotlib."""
    names = drawn(document)
    if not names:
        raise NothingToDraw("no row has both bytes and exponentials to draw")
    try:
        import matplotlib  # noqa: F401  before its parts, which may be there without it
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise ModuleNotFoundError("matplotlib is not installed: pip install 'scanlang[viz]'", name="matplotlib") from None

    bars = names[:MOST_BARS]
    figure = Figure(figsize=(13, max(LEAST_HEIGHT, BAR * len(bars) + 1.4)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    colours = colours_of(names)
    _roof(left, document, names)
    _points(left, document, names, colours)
    _bars(right, document, bars, colours)
    versions = ", ".join(f"{name} {value}" for name, value in document.versions.items())
    figure.suptitle(document.limits.device, x=0.01, ha="left", fontsize=14, fontweight="bold", color=INK)
    figure.supxlabel(f"{versions}; {document.date}", x=0.01, ha="left", fontsize=8, color=FAINT)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(str(path), buffer.getvalue())


def drawn(document: Document) -> list[str]:
    """The rows that have a place: with a time, bytes and exponentials. Series show how time grows, not how good it is."""
    rows = document.rows.items()
    return [name for name, row in rows if row.times is not None and row.bytes and row.special and row.step is None]


def group(name: str) -> str:
    """What has one colour: `stage1`, `rec`, `sweep` …"""
    return name.removeprefix("cpu-").partition("-")[0]


def colours_of(names: Sequence[str]) -> dict[str, str]:
    groups = dict.fromkeys(map(group, names))
    return {one: COLOURS[place % len(COLOURS)] for place, one in enumerate(groups)}


def intensity(document: Document, name: str) -> float:
    """Exponentials for each byte."""
    row = document.rows[name]
    return (row.special or 0) / (row.bytes or 1)


def _roof(panel: Any, document: Document, names: Sequence[str]) -> None:
    limits = document.limits
    ridge = limits.special / limits.bytes
    found = [*(intensity(document, name) for name in names), ridge]
    places = [min(found) / 2, ridge, max(found) * 2]
    roof = [min(limits.special, limits.bytes * place) / 1e9 for place in places]
    panel.plot(places, roof, color=INK, linewidth=1.8, zorder=2)
    panel.annotate(
        f"{limits.special / 1e9:.4g} G exp/s", (places[2], roof[2]), (-4, 5), textcoords="offset points", ha="right", fontsize=8
    )
    panel.annotate(
        f"{limits.bytes / 1e9:.4g} GB/s", (places[0], roof[0]), (4, 10), textcoords="offset points", ha="left", fontsize=8
    )


def _points(panel: Any, document: Document, names: Sequence[str], colours: Mapping[str, str]) -> None:
    labelled: set[str] = set()
    for name in names:
        row, colour = document.rows[name], colours[group(name)]
        assert row.times is not None
        assert row.special is not None
        marker = MARKERS.get(name.rpartition("-")[2], "D")
        label = None if group(name) in labelled else group(name)
        labelled.add(group(name))
        place = intensity(document, name), row.special / row.times.median / 1e6
        panel.scatter(*place, s=26, color=colour, marker=marker, label=label, zorder=3, alpha=0.85, linewidths=0)
    panel.set(xscale="log", yscale="log", xlabel="exp and log for each byte", ylabel="G exp and log a second")
    panel.set_title("below the roof  (circle: forward, square: with backward)", loc="left", fontsize=10)
    panel.grid(visible=True, which="major", color=GRID, linewidth=0.8)
    panel.tick_params(labelsize=8)
    panel.legend(frameon=False, fontsize=8, loc="lower right")


def _bars(panel: Any, document: Document, names: Sequence[str], colours: Mapping[str, str]) -> None:
    """The share of the largest limit, and which one that is."""
    shares = [share(document.rows[name], document.limits) or 0.0 for name in names]
    places = range(len(names))
    panel.barh(places, shares, color=[colours[group(name)] for name in names], height=0.7)
    for place, name, value in zip(places, names, shares, strict=True):
        written = f"{number(document.rows[name].median)} ms, {limit_name(document, name)}"
        panel.text(value + 0.01, place, written, va="center", fontsize=7)
    panel.set(yticks=list(places), yticklabels=list(names), xlim=(0, max(1.0, *shares) * 1.25), ylim=(len(names) - 0.4, -0.6))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    panel.set_title("share of the largest limit", loc="left", fontsize=10)
    panel.tick_params(labelsize=7, length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)


def limit_name(document: Document, name: str) -> str:
    """Which of the limits is the largest."""
    bounds = bounds_of(document.rows[name], document.limits)
    named = {"bytes": bounds.bytes, "exp": bounds.special, "issue": bounds.issued}
    return next(one for one, value in named.items() if value is not None and value == bounds.largest)
