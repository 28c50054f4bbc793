"""A map of numbers as a picture, with matplotlib: colours, a bar that says what they mean, a frame around a cell."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from scanlang.files import write_atomically

FRAME, COLOURS = "#22d3ee", "inferno"
LONGEST, SHORTEST, BELOW, ABOVE = 6.0, 2.0, 0.3, 0.5
"""Inches: of the map's sides, of what is below and above it."""


@dataclass(frozen=True)
class Heatmap:
    """`values` `(H, W)`, and `tokens` `(T,)` by name, which stand in a column of their own; `framed` is a cell. A logarithmic
    scale has five powers of ten."""

    values: Tensor
    title: str
    framed: tuple[int, int] | None = None
    tokens: Mapping[str, Tensor] = field(default_factory=dict)
    logarithmic: bool = False

    def write(self, path: str | PathLike[str]) -> None:
        """As a PNG. Raises ModuleNotFoundError without matplotlib."""
        try:
            import matplotlib  # noqa: F401  before its parts, which may be there without it
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            if error.name != "matplotlib":
                raise
            raise ModuleNotFoundError("matplotlib is not installed: pip install 'scanlang[viz]'", name="matplotlib") from None

        height, width = (max(SHORTEST, LONGEST * length / max(self.values.shape)) for length in self.values.shape)
        beside = 2.4 if self.tokens else 1.4
        figure = Figure(figsize=(width + beside, height + BELOW + ABOVE), dpi=120)
        FigureCanvasAgg(figure)
        columns = _Columns(figure, height)
        norm = self._norm()
        picture = self._draw_map(columns.add(0.3, width), norm)
        if self.tokens:
            self._draw_tokens(columns.add(width + 1.0, 0.3), norm)
        figure.colorbar(picture, cax=columns.add(width + beside - 0.9, 0.15)).ax.tick_params(labelsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        write_atomically(Path(path), buffer.getvalue())

    def _norm(self) -> Any:
        from matplotlib.colors import LogNorm, Normalize

        largest = max(float(each.max()) for each in (self.values, *self.tokens.values())) or 1.0
        return LogNorm(largest * 1e-5, largest, clip=True) if self.logarithmic else Normalize(0, largest)

    def _draw_map(self, panel: Any, norm: Any) -> Any:
        from matplotlib.patches import Rectangle

        picture = panel.imshow(self.values.numpy(), cmap=COLOURS, norm=norm)
        panel.set_title(self.title, loc="left", fontsize=10)
        panel.set(xticks=[], yticks=[])
        if self.framed is not None:
            row, column = self.framed
            panel.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=FRAME, linewidth=1.8))
        return picture

    def _draw_tokens(self, panel: Any, norm: Any) -> None:
        names, values = [], []
        for name, each in self.tokens.items():
            names += [name] if len(each) == 1 else [f"{name} {number}" for number in range(len(each))]
            values += [[number] for number in each.tolist()]
        panel.imshow(values, cmap=COLOURS, norm=norm, aspect="auto")
        panel.set(xticks=[], yticks=range(len(names)), yticklabels=names)
        panel.tick_params(labelsize=8, length=0)


@dataclass(frozen=True)
class _Columns:
    """Panels of a figure, all of one height, placed in inches from the left."""

    figure: Any
    height: float

    def add(self, left: float, width: float) -> Any:
        whole = self.figure.get_size_inches()
        return self.figure.add_axes((left / whole[0], BELOW / whole[1], width / whole[0], self.height / whole[1]))
