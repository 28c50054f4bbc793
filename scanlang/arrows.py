"""An order on one line of text, a character for every step. In: an order; out: `•→→→⇙→→→⇙→→→`, `raster` on 3 × 4 cells.

`•` starts, after a space where the state starts anew. An arrow is where a step leads on the last two axes, a double one if that
is no neighbour; `⊗` leads along the axes before them, `⊙` back, `↻` nowhere. `◆` is a token, `∘` a pad, `?` a cell that
the call names.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from scanlang.diagnostics import ScanError
from scanlang.maps.order import Order

GRIDS: dict[int, tuple[int, ...]] = {1: (12,), 2: (3, 4), 3: (2, 2, 3), 4: (2, 2, 2, 2)}
"""What is drawn, by the number of axes."""

NEAR = {(0, 1): "→", (1, 1): "↘", (1, 0): "↓", (1, -1): "↙", (0, -1): "←", (-1, -1): "↖", (-1, 0): "↑", (-1, 1): "↗"}
FAR = {(0, 1): "⇒", (1, 1): "⇘", (1, 0): "⇓", (1, -1): "⇙", (0, -1): "⇐", (-1, -1): "⇖", (-1, 0): "⇑", (-1, 1): "⇗"}
AS_ASCII = str.maketrans("→↘↓↙←↖↑↗⇒⇘⇓⇙⇐⇖⇑⇗⊗⊙↻•◆∘…", r">\v/<\^/>\v/<\^/+-@o#.~")


def arrows(order: Order, most: int = 16) -> str:
    """At most so many characters; none where there is no such order on the small grid."""
    try:
        picture = "".join(signs(order, GRIDS[order.rank]))
    except ScanError:
        return ""
    return picture if len(picture) <= most else f"{picture[: most - 1]}…"


def signs(order: Order, grid: tuple[int, ...]) -> Iterator[str]:
    sequence = order.sequence(*grid)
    cells = np.transpose(np.unravel_index(np.where(sequence.at_cells, sequence.rows, 0), grid))
    before: tuple[int, ...] | None = None
    for row, at_cell, cell, restart in zip(sequence.rows, sequence.at_cells, cells, sequence.restarts, strict=True):
        if restart:
            before = None
            yield " "
        if not at_cell:
            yield "∘" if row < 0 else "◆"
            continue
        here = tuple(map(int, cell))
        yield "?" if order.given else "•" if before is None else move(before, here)
        before = here


def move(before: tuple[int, ...], here: tuple[int, ...]) -> str:
    along = [there - back for back, there in zip(before, here, strict=True)]
    down, right = ([0, 0, *along])[-2:]
    if down or right:
        signs = NEAR if max(map(abs, along)) == 1 else FAR
        return signs[_sign(down), _sign(right)]
    return "↻" if not any(along) else "⊗" if sum(along) > 0 else "⊙"


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)
