"""Orders as pictures: what is visited, step by step, in → SVG text or a grid of numbers for the terminal out.

An order comes as its `Sequence` at the grid drawn, or as its positions (the raster index of the cell visited at every step).
Grids of more than two axes are slices side by side. Tokens and pads stand in strips below, pads hollow; nothing leads to a step
where the state starts anew; a cell visited several times has a bead for every visit. The SVG uses rectangles, polylines and
text only, so that every viewer and converter shows it alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, SupportsInt

import numpy as np

from scanlang.diagnostics import ScanError
from scanlang.maps.sequence import Sequence

if TYPE_CHECKING:
    from scanlang.maps.order import Order

Point = tuple[int, int]
Grid = tuple[int, ...]
Visits = Sequence | Iterable[SupportsInt]

MOST_CELLS = 256 * 256
MOST_STEPS = 4 * MOST_CELLS
NUMBERED_UP_TO = 32
WIDEST_PICTURE = 1180
MARGIN = 22
TITLE_HEIGHT = 30
LEGEND_HEIGHT = 34
STRIP_LABEL = 16
BETWEEN_SLICES = 14
MOST_BEADS = 4
INK = "#1f2430"
FAINT = "#6b7280"
IN_NOTEBOOKS: dict[int, tuple[Grid, ...]] = {
    1: ((16,),),
    2: ((8, 8), (14, 14), (16, 16)),
    3: ((3, 4, 4), (4, 8, 8)),
    4: ((2, 2, 4, 4), (2, 4, 8, 8)),
}
"""The sizes that are drawn when none is said, by the number of axes: the first at which there is such an order."""

# Time runs along these: the dark end of a perceptually uniform ramp (plasma) up to where it still shows on white.
RAMP = (
    (13, 8, 135),
    (70, 3, 159),
    (114, 1, 168),
    (156, 23, 158),
    (189, 55, 134),
    (216, 87, 107),
    (237, 121, 83),
    (251, 159, 58),
)


def ramp(fraction: float) -> tuple[int, int, int]:
    """The colour of a moment, 0 the first step and 1 the last."""
    place = min(max(fraction, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    red, green, blue = (round(a + (b - a) * (place - low)) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True))
    return red, green, blue


def hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on the colour."""
    red, green, blue = colour
    return (31, 36, 48) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def sequence_of(visits: Visits, grid: Grid, title: str) -> Sequence:
    """Positions as a sequence; -1 is a pad."""
    if isinstance(visits, Sequence):
        return visits
    rows = np.array([int(position) for position in visits], dtype=np.int64)
    cells, pads = prod(grid), int(np.count_nonzero(rows == -1))
    if (rows < -1).any() or (rows >= cells).any():
        raise ValueError(f"order {title!r} leaves the {'x'.join(map(str, grid))} grid")
    rows[rows == -1] = -1 - np.arange(pads)
    return Sequence(cells, rows, pads)


@dataclass(frozen=True)
class Strip:
    """A row of slots below the grid for what is no cell: `first` is the index of its first row below the cells."""

    label: str
    first: int
    count: int


@dataclass(frozen=True)
class Panel:
    """One order, its top left corner at (x, y); `cell` is the width of a cell."""

    title: str
    sequence: Sequence
    grid: Grid
    cell: int
    x: int = 0
    y: int = 0
    heading: str | None = None

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of a slice: the last two axes."""
        return (1, self.grid[0]) if len(self.grid) == 1 else self.grid[-2:]  # type: ignore[return-value]

    @property
    def slices(self) -> tuple[int, int]:
        """Rows and columns of slices."""
        return {0: (1, 1), 1: (1, self.grid[0]), 2: self.grid[:2]}[max(len(self.grid) - 2, 0)]  # type: ignore[return-value]

    @property
    def numbered(self) -> bool:
        return max(self.side) <= NUMBERED_UP_TO

    @cached_property
    def cell_height(self) -> int:
        """Room for a bead for every visit, of the cell that has most of them."""
        beads = int(self.sequence.visits.max(initial=1))
        return self.cell + 17 * (min(max(beads, 1), MOST_BEADS) - 1) if self.numbered else self.cell

    @property
    def slice_size(self) -> tuple[int, int]:
        """Width and height of a slice, in pixels."""
        return self.side[1] * self.cell, self.side[0] * self.cell_height

    @property
    def width(self) -> int:
        return self.slices[1] * (self.slice_size[0] + BETWEEN_SLICES) - BETWEEN_SLICES

    @property
    def top(self) -> int:
        return self.y + TITLE_HEIGHT

    @property
    def grid_height(self) -> int:
        return self.slices[0] * (self.slice_size[1] + BETWEEN_SLICES) - BETWEEN_SLICES

    @cached_property
    def strips(self) -> tuple[Strip, ...]:
        strips, first = [], 0
        for name, count in (*self.sequence.tokens, ("pads", self.sequence.pads)):
            if count:
                strips.append(Strip(name, first, count))
            first += count
        return tuple(strips)

    @property
    def slots(self) -> int:
        """How many of a strip stand side by side."""
        return max(self.width // self.cell, 1)

    def strip_height(self, strip: Strip) -> int:
        return STRIP_LABEL + -(-strip.count // self.slots) * self.cell

    @property
    def height(self) -> int:
        """All of it, title and strips among it."""
        return TITLE_HEIGHT + self.grid_height + sum(map(self.strip_height, self.strips))

    def strip_tops(self) -> Iterator[tuple[Strip, int]]:
        top = self.top + self.grid_height
        for strip in self.strips:
            yield strip, top
            top += self.strip_height(strip)

    def corner(self, number: int) -> Point:
        """The top left corner of a slice."""
        row, column = divmod(number, self.slices[1])
        width, height = self.slice_size
        return self.x + column * (width + BETWEEN_SLICES), self.top + row * (height + BETWEEN_SLICES)

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """Cells, then tokens, then pads, for every step."""
        sequence = self.sequence
        below = sequence.cells + sum(count for _, count in sequence.tokens)
        rows: list[int] = np.where(sequence.rows < 0, below - 1 - sequence.rows, sequence.rows).tolist()
        return tuple(rows)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The middle of the bead of every step; those of one cell stand below each other."""
        places = {
            strip.first + number: (
                self.x + number % self.slots * self.cell + self.cell // 2,
                top + STRIP_LABEL + number // self.slots * self.cell + self.cell // 2,
            )
            for strip, top in self.strip_tops()
            for number in range(strip.count)
        }
        beads, before = Counter(self.rows), Counter[int]()
        points = []
        for row in self.rows:
            if row >= self.sequence.cells:
                points.append(places[row - self.sequence.cells])
                continue
            x, y = self.middle(row)
            if self.numbered:
                shown = min(beads[row], MOST_BEADS)
                y += round(17 * (min(before[row], shown - 1) - (shown - 1) / 2))
            points.append((x, y))
            before[row] += 1
        return tuple(points)

    def middle(self, cell: int) -> Point:
        number, inside = divmod(cell, prod(self.side))
        row, column = divmod(inside, self.side[1])
        x, y = self.corner(number)
        return x + column * self.cell + self.cell // 2, y + row * self.cell_height + self.cell_height // 2

    def are_neighbours(self, here: int, there: int) -> bool:
        """Cells of one slice, at most one row and one column apart."""
        if max(here, there) >= self.sequence.cells or here // prod(self.side) != there // prod(self.side):
            return False
        (row, column), (next_row, next_column) = (divmod(cell % prod(self.side), self.side[1]) for cell in (here, there))
        return max(abs(row - next_row), abs(column - next_column)) <= 1

    def colour(self, step: int) -> tuple[int, int, int]:
        return ramp(step / max(len(self.rows) - 1, 1))


def orders_svg(named: Many[tuple[str, Visits]], *grid: int) -> str:
    """`orders_svg([("rows", program.orders["rows"].sequence(8, 12))], 8, 12)`: every order as a numbered path.

    Colour runs along time; a step to a cell that is no neighbour is thin and dashed; beyond 32 × 32 there are no
    numbers.
    """
    return picture([list(named)], grid)


def layers_svg(layers: Many[Many[tuple[str, Visits]]], *grid: int) -> str:
    """The orders of one layer below those of another, each under its number."""
    return picture([list(layer) for layer in layers], grid, numbered=len(layers) > 1)


def order_svg(order: Order) -> str | None:
    """One order at a size of our choice, under its text; None where it has no such size."""
    from scanlang.maps.structure import table_grids

    for grid in (*IN_NOTEBOOKS[order.rank], *table_grids(order.checked, order.rank)):
        try:
            return orders_svg([(str(order), order.sequence(*grid))], *grid)
        except (ScanError, ValueError):
            continue
    return None


def picture(groups: list[list[tuple[str, Visits]]], grid: Grid, numbered: bool = False) -> str:
    panels, width, height = lay_out(groups, grid, numbered)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for panel in panels:
        parts.extend(draw_panel(panel))
    parts.extend(draw_legend(width, height, panels))
    parts.append("</svg>\n")
    return "\n".join(parts)


def lay_out(groups: list[list[tuple[str, Visits]]], grid: Grid, numbered: bool) -> tuple[list[Panel], int, int]:
    """The panels in their places, every group in lines of its own, and the width and height of the picture."""
    size = "x".join(map(str, grid))
    if min(grid) < 1 or prod(grid) > MOST_CELLS:
        raise ValueError(f"a picture has 1 to {MOST_CELLS} cells; {size} has {prod(grid)}")
    side = max(grid[-2:])
    cell = 28 if side <= NUMBERED_UP_TO else max(640 // side, 3)
    panels, y, right = [], 12, 0
    for number, group in enumerate(groups):
        made = [Panel(title, sequence_of(visits, grid, title), grid, cell) for title, visits in group]
        if any(panel.sequence.steps > MOST_STEPS for panel in made):
            raise ValueError(f"a picture has at most {MOST_STEPS} steps")
        if numbered:
            made[0] = replace(made[0], heading=f"layer {number}")
            y += 20
        for line in lines_of(made):
            x = MARGIN
            for panel in line:
                panels.append(replace(panel, x=x, y=y))
                x += max(panel.width, 96) + MARGIN
            right = max(right, x)
            y += max(panel.height for panel in line) + MARGIN
    return panels, max(right, 260), y + LEGEND_HEIGHT - 8


def lines_of(panels: list[Panel]) -> Iterator[list[Panel]]:
    """As many in a line as the picture is wide, the lines alike."""
    widest = max((max(panel.width, 96) for panel in panels), default=1) + MARGIN
    columns = min(max((WIDEST_PICTURE - MARGIN) // widest, 1), max(len(panels), 1))
    lines = -(-len(panels) // columns)
    columns = -(-len(panels) // max(lines, 1))
    for first in range(0, len(panels), max(columns, 1)):
        yield panels[first : first + columns]


def draw_panel(panel: Panel) -> Iterator[str]:
    if panel.heading is not None:
        place = f'x="{panel.x}" y="{panel.y - 2}"'
        yield f'<text {place} font-size="12" fill="{FAINT}">{escape(panel.heading)}</text>'
    yield from draw_title(panel)
    width, height = panel.slice_size
    for number in range(prod(panel.slices)):
        x, y = panel.corner(number)
        yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#f4f5f7"/>'
    for strip, top in panel.strip_tops():
        place = f'x="{panel.x}" y="{top + 13}"'
        yield f'<text {place} font-size="10" fill="{FAINT}">{escape(printable(strip.label))}</text>'
    yield from draw_path(panel)
    if panel.numbered:
        yield from draw_beads(panel)
    elif panel.rows:
        yield from draw_ends(panel)


def draw_title(panel: Panel) -> Iterator[str]:
    """As large as there is room for, cut off where that is too small to read."""
    room, title = max(panel.width, 96) + MARGIN // 2, printable(panel.title)
    size = min(14.0, max(9.0, room / (0.6 * max(len(title), 1))))
    most = int(room / (0.6 * size))
    shown = title if len(title) <= most else f"{title[: most - 1]}…"
    place = f'x="{panel.x}" y="{panel.y + 18}"'
    yield f'<text {place} font-size="{size:.3g}" font-weight="bold" fill="{INK}">{escape(shown)}</text>'


def printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def draw_path(panel: Panel) -> Iterator[str]:
    """The jumps first, below; then the steps to neighbours, one polyline for every run of one colour."""
    jumps, runs = split_path(panel)
    thick = panel.cell // 7 if panel.numbered else max(panel.cell // 3, 1)
    yield f'<g fill="none" stroke-width="{max(thick / 4, 0.7):g}" stroke-dasharray="3 3" stroke-opacity="0.65">'
    for step, points in jumps:
        yield polyline(points, panel.colour(step))
    yield "</g>"
    yield f'<g fill="none" stroke-width="{thick}" stroke-linejoin="round" stroke-linecap="round">'
    for step, points in runs:
        yield polyline(points, panel.colour(step))
    yield "</g>"


def split_path(panel: Panel) -> tuple[list[tuple[int, list[Point]]], list[tuple[int, list[Point]]]]:
    """(jumps, runs): each a step that gives the colour, and the points; a run is at most a 64th of the whole."""
    longest = max(len(panel.rows) // 64, 1)
    jumps: list[tuple[int, list[Point]]] = []
    runs: list[tuple[int, list[Point]]] = []
    restarts, points, joined = panel.sequence.restarts.tolist(), panel.points, False
    for step, (here, there) in enumerate(pairwise(panel.rows)):
        if restarts[step + 1]:
            joined = False
        elif not panel.are_neighbours(here, there):
            jumps.append((step, [points[step], points[step + 1]]))
            joined = False
        elif joined and len(runs[-1][1]) <= longest:
            runs[-1][1].append(points[step + 1])
        else:
            runs.append((step, [points[step], points[step + 1]]))
            joined = True
    return jumps, runs


def polyline(points: list[Point], colour: tuple[int, int, int]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" stroke="{hexadecimal(colour)}"/>'


def draw_beads(panel: Panel) -> Iterator[str]:
    """A bead for every visit, with its step; the first and the last step have a frame, the last a double one."""
    digits = len(str(max(len(panel.rows) - 1, 0)))
    width, height = (18, 16) if digits <= 2 else (20, 15) if digits == 3 else (23, 14)
    pads = panel.sequence.rows < 0
    yield f'<g font-size="{9.5 if digits <= 3 else 8.5}" text-anchor="middle">'
    for step, (x, y) in enumerate(panel.points):
        colour = panel.colour(step)
        for grow in frames(panel, step):
            yield rectangle(x, y, width + grow, height + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
        ink = INK if pads[step] else hexadecimal(ink_on(colour))
        if pads[step]:
            yield rectangle(x, y, width - 1, height - 1, "#ffffff", f' stroke="{hexadecimal(colour)}"')
        else:
            yield rectangle(x, y, width, height, hexadecimal(colour), "", 8 if panel.rows[step] >= panel.sequence.cells else 4)
        yield f'<text x="{x}" y="{y + 3.4:g}" fill="{ink}">{step}</text>'
    yield "</g>"


def frames(panel: Panel, step: int) -> tuple[int, ...]:
    """How much wider than its bead each frame of a step is."""
    if step == len(panel.rows) - 1:
        return (8, 4)
    return (4,) if step == 0 else ()


def draw_ends(panel: Panel) -> Iterator[str]:
    size = max(panel.cell, 7)
    for step in (0, len(panel.rows) - 1):
        x, y = panel.points[step]
        for grow in frames(panel, step):
            yield rectangle(x, y, size + grow, size + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
        yield rectangle(x, y, size, size, hexadecimal(panel.colour(step)))


def rectangle(x: int, y: int, width: int, height: int, fill: str, more: str = "", rounded: int = 4) -> str:
    """A rounded one, centred at (x, y)."""
    left, top = x - width / 2, y - height / 2
    return f'<rect x="{left:g}" y="{top:g}" width="{width}" height="{height}" rx="{rounded}" fill="{fill}"{more}/>'


def draw_legend(width: int, height: int, panels: list[Panel]) -> Iterator[str]:
    """The ramp from the first step to the last, how they are framed, what a dashed line and a hollow bead is."""
    y, lengths = height - 16, {len(panel.rows) for panel in panels} or {0}
    steps = f"{max(lengths)} step{'' if max(lengths) == 1 else 's'}"
    yield f'<g font-size="11" fill="{FAINT}">'
    yield rectangle(MARGIN + 9, y, 16, 12, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
    yield rectangle(MARGIN + 9, y, 12, 8, hexadecimal(ramp(0.0)))
    for piece in range(24):
        colour = hexadecimal(ramp(piece / 23))
        yield f'<rect x="{MARGIN + 26 + piece * 3}" y="{y - 3}" width="3" height="6" fill="{colour}"/>'
    for grow in (8, 4):
        yield rectangle(MARGIN + 115, y, 12 + grow, 8 + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
    yield rectangle(MARGIN + 115, y, 12, 8, hexadecimal(ramp(1.0)))
    yield f'<text x="{MARGIN + 132}" y="{y + 4}">{steps if len(lengths) == 1 else f"up to {steps}"}</text>'
    if width >= 330:
        dash = f"{MARGIN + 225},{y} {MARGIN + 255},{y}"
        yield f'<polyline points="{dash}" fill="none" stroke="{FAINT}" stroke-dasharray="3 3"/>'
        yield f'<text x="{MARGIN + 262}" y="{y + 4}">jump</text>'
    if width >= 400 and any(panel.sequence.pads for panel in panels):
        yield rectangle(MARGIN + 320, y, 16, 11, "#ffffff", f' stroke="{FAINT}"')
        yield f'<text x="{MARGIN + 334}" y="{y + 4}">pad</text>'
    yield "</g>"


def order_text(visits: Visits, *grid: int, colour: bool = False) -> str:
    """The grid with the step of each cell's first visit, `·` where there is none; in colour if asked.

    Slices stand side by side; below them are the steps of tokens and pads, and those at which the state starts anew.
    """
    sequence = sequence_of(visits, grid, "")
    panel = Panel("", sequence, grid, 1)
    first: dict[int, int] = {}
    for step, row in enumerate(panel.rows):
        first.setdefault(row, step)
    digits = len(str(max(len(panel.rows) - 1, 0)))

    def entry(cell: int) -> str:
        step = first.get(cell)
        shown = f"{'·' if step is None else step:>{digits}}"
        return painted(f" {shown} ", ramp(step / max(len(panel.rows) - 1, 1))) if colour and step is not None else shown

    (height, width), (down, across) = panel.side, panel.slices
    lines = []
    for number in range(down):
        lines += [""] if number else []
        for row in range(height):
            cells = [
                [((number * across + slice_) * height + row) * width + column for column in range(width)]
                for slice_ in range(across)
            ]
            lines.append("   ".join(("" if colour else " ").join(map(entry, part)) for part in cells))
    for strip in panel.strips:
        steps = (
            first[sequence.cells + strip.first + each]
            for each in range(strip.count)
            if sequence.cells + strip.first + each in first
        )
        lines.append(f"{strip.label}: {' '.join(map(str, sorted(steps)))}")
    if sequence.restarts.any():
        lines.append(f"restarts: {' '.join(map(str, np.flatnonzero(sequence.restarts).tolist()))}")
    return "\n".join(lines)


def painted(text: str, colour: tuple[int, int, int]) -> str:
    """Text on a background of the colour, by 24-bit terminal codes."""
    background, foreground = (";".join(map(str, each)) for each in (colour, ink_on(colour)))
    return f"\x1b[48;2;{background}m\x1b[38;2;{foreground}m{text}\x1b[0m"
