"""The demo's pictures, with matplotlib: orders, the photograph, the response, receptive fields; each a PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scanlang.draw import hexadecimal, ramp

INK, FAINT, PAPER = "#1f2430", "#6b7280", "#ffffff"
UNREACHED = "#2b2f3a"
MIDDLE = "#22d3ee"
STYLE: Mapping[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.edgecolor": "#d1d5db",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": PAPER,
    "savefig.dpi": 140,
}


def figure(
    columns: int, aspect: float, heading: str, note: str, panel: float = 4.2, titled: bool = True
) -> tuple[Any, list[Any]]:
    """A figure of panels side by side, each `aspect` = height / width, with a heading above and a note below."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(STYLE)
    lines = note.count("\n") + 1
    above, below = 0.95 if titled else 0.62, 0.42 + 0.2 * lines
    height = panel * aspect + above + below
    width = columns * panel + (columns - 1) * 0.3 + 0.8
    whole = pyplot.figure(figsize=(width, height))
    panels = [
        whole.add_axes(((0.4 + i * (panel + 0.3)) / width, below / height, panel / width, panel * aspect / height))
        for i in range(columns)
    ]
    whole.text(0.4 / width, 1 - 0.22 / height, heading, fontsize=15, fontweight="bold", va="top")
    whole.text(0.4 / width, 0.14 / height, note, fontsize=9.5, color=FAINT, va="bottom", linespacing=1.4)
    return whole, panels


def save(whole: Any, path: Path) -> Path:
    from matplotlib import pyplot

    whole.savefig(path)
    pyplot.close(whole)
    return path


def clear(panel: Any) -> None:
    panel.set_xticks([])
    panel.set_yticks([])


def draw_orders(path: Path, orders: Sequence[tuple[str, Sequence[int]]], height: int, width: int) -> Path:
    """Every order as a path over the cells, its colour running along time."""
    from matplotlib.collections import LineCollection

    note = "Colour runs from the first step (ring) to the last (square). Dashed: a step to a cell that is no neighbour."
    whole, panels = figure(len(orders), height / width, "The four directions of the scan", note, 3.4)
    for panel, (title, positions) in zip(panels, orders, strict=True):
        rows, columns = np.divmod(np.asarray(positions), width)
        points = np.stack([columns, rows], 1)
        segments = np.stack([points[:-1], points[1:]], 1)
        colours = np.array([hexadecimal(ramp(t / len(points))) for t in range(len(points))])
        jumps = np.abs(np.diff(points, axis=0)).max(1) > 1
        dashed: Any = {"linewidths": 0.7, "linestyles": (0, (3, 3)), "alpha": 0.6}
        thick: Any = {"linewidths": 2.6, "capstyle": "round"}
        panel.add_collection(LineCollection(segments[jumps], colors=colours[:-1][jumps], **dashed))
        panel.add_collection(LineCollection(segments[~jumps], colors=colours[:-1][~jumps], **thick))
        panel.scatter(columns, rows, c=colours, s=16, zorder=3)
        panel.scatter(columns[:1], rows[:1], s=90, facecolors="none", edgecolors=INK, linewidths=1.6, zorder=4)
        panel.scatter(columns[-1:], rows[-1:], s=80, marker="s", c=colours[-1:], edgecolors=INK, linewidths=1.6, zorder=4)
        panel.set(xlim=(-0.8, width - 0.2), ylim=(height - 0.2, -0.8), title=title, facecolor="#f4f5f7")
        clear(panel)
    return save(whole, path)


def draw_photograph(path: Path, photograph: Tensor, name: str) -> Path:
    height, width = photograph.shape[:2]
    whole, (panel,) = figure(1, height / width, "The input", f"{name}, {height} × {width} cells", 7, titled=False)
    panel.imshow(photograph.numpy())
    clear(panel)
    return save(whole, path)


def draw_response(path: Path, photograph: Tensor, brought: Tensor) -> Path:
    """The photograph beside what the scan brings each cell from elsewhere, `(1, H, W, C)`: its strength, and its three
    strongest components as colours."""
    from matplotlib.colors import LogNorm

    height, width, channels = photograph.shape[0], photograph.shape[1], brought.shape[-1]
    note = (
        f"What the scan brings to a cell: its output without the skip term D · x, {channels} channels, untrained. "
        "Strength: the root mean square over the channels.\n"
        "Components: the three directions in channel space along which it varies most, as red, green and blue."
    )
    whole, (left, middle, right) = figure(3, height / width, "The response of the cross-scan", note)
    left.imshow(photograph.numpy())
    strength = brought[0].square().mean(-1).sqrt()
    low, high = (float(strength.flatten().kthvalue(max(1, int(share * strength.numel()))).values) for share in (0.01, 0.995))
    middle.imshow(strength.numpy(), cmap="magma", norm=LogNorm(low, high))
    right.imshow(components(brought[0]).numpy())
    for panel, title in zip((left, middle, right), ("input", "strength", "components"), strict=True):
        panel.set_title(title)
        clear(panel)
    return save(whole, path)


def components(maps: Tensor) -> Tensor:
    """`(H, W, C)` → `(H, W, 3)` in 0 … 1: three principal components, each from its 1st to its 99th percentile."""
    cells = maps.flatten(0, 1)
    centred = cells - cells.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    scores = centred @ vectors[:, -3:].flip(1)
    low, high = (scores.kthvalue(max(1, round(share * len(scores))), dim=0).values for share in (0.01, 0.99))
    stretched: Tensor = ((scores - low) / (high - low)).clamp(0, 1)
    return stretched.reshape(*maps.shape[:2], 3)


def draw_receptive_fields(path: Path, fields: Mapping[str, Tensor]) -> Path:
    """Fields side by side on one logarithmic scale, relative to the cell's own weight; what cannot reach the cell is grey."""
    from matplotlib.colors import LogNorm

    height, width = next(iter(fields.values())).shape
    note = (
        "How much each cell of the input moves the output of the cell in the frame: root mean square gradient, relative to "
        "the cell itself, on a logarithmic scale.\nGrey: cannot reach it at all. Raster sees only what comes before. "
        "Bidirectional sees everything, but the next row is a whole row of steps away.\n"
        "The cross-scan sees far up and down as well. The same recurrence and parameters, untrained, on the photograph."
    )
    whole, panels = figure(len(fields), height / width, f"What one cell sees, on a {height} × {width} map", note)
    picture = None
    for panel, (title, field) in zip(panels, fields.items(), strict=True):
        relative = torch.where(field > 0, field / field.max(), torch.nan).numpy()
        panel.set_facecolor(UNREACHED)
        picture = panel.imshow(relative, cmap="inferno", norm=LogNorm(1e-5, 3e-2))
        panel.add_patch(_frame(height // 2, width // 2))
        panel.set_title(title)
        share = float((field > 1e-4 * field.max()).double().mean())
        panel.set_title(f"{share:.0%} of the cells above 1/10,000", loc="right", fontsize=9.5, fontweight="normal", color=FAINT)
        clear(panel)
    _colour_bar(whole, picture)
    return save(whole, path)


def _frame(row: int, column: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 1, row - 1), 2, 2, fill=False, edgecolor=MIDDLE, linewidth=1.6)


def _colour_bar(whole: Any, picture: Any) -> None:
    """Small, in the upper right corner."""
    width, height = whole.get_size_inches()
    place = whole.add_axes((1 - 3.2 / width, 1 - 0.36 / height, 2.7 / width, 0.12 / height))
    bar = whole.colorbar(picture, cax=place, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.ax.minorticks_off()
    bar.set_ticks([1e-5, 1e-4, 1e-3, 1e-2], labels=["1/100,000", "1/10,000", "1/1,000", "1/100"])


def draw_curves(path: Path, heading: str, curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]]) -> Path:
    """(loss, accuracy) by epoch: a colour for each name, a line for each run of it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update(STYLE)
    whole, panels = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    whole.suptitle(heading, x=0.01, ha="left", fontsize=15, fontweight="bold")
    for place, (name, runs) in enumerate(curves.items()):
        colour = hexadecimal(ramp((place + 0.5) / len(curves)))
        for number, run in enumerate(runs):
            epochs = range(1, len(run) + 1)
            for panel, values in zip(panels, zip(*run, strict=True), strict=True):
                panel.plot(epochs, values, color=colour, linewidth=1.6, alpha=0.8, label=None if number else name)
    panels[0].set(title="loss of the training images", yscale="log", xlabel="epoch")
    panels[1].set(title="accuracy on the test images", xlabel="epoch")
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    for panel in panels:
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(visible=True, color="#e5e7eb", linewidth=0.8)
        panel.tick_params(labelsize=9)
    panels[1].legend(frameon=False, fontsize=10)
    return save(whole, path)
