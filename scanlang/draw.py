"""Orders as pictures: the cells visited, step by step, in → SVG text or a grid of numbers for the terminal out.

An order comes as its positions: the raster index (row × width + column) of the cell visited at every step. The SVG uses
rectangles, polylines and text only, so that every viewer and converter shows it alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import SupportsInt

Point = tuple[int, int]

MOST_CELLS = 256 * 256
NUMBERED_UP_TO = 32
WIDEST_PICTURE = 1180
MARGIN = 22
TITLE_HEIGHT = 30
LEGEND_HEIGHT = 34
INK = "#1f2430"
FAINT = "#6b7280"

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


@dataclass(frozen=True)
class Panel:
    """One order, its top left corner at (x, y)."""

    title: str
    cells: tuple[int, ...]
    height: int
    width: int
    cell: int
    x: int
    y: int

    @property
    def numbered(self) -> bool:
        return max(self.height, self.width) <= NUMBERED_UP_TO

    def point(self, cell: int) -> Point:
        row, column = divmod(cell, self.width)
        return self.x + column * self.cell + self.cell // 2, self.y + TITLE_HEIGHT + row * self.cell + self.cell // 2

    def colour(self, step: int) -> tuple[int, int, int]:
        return ramp(step / max(len(self.cells) - 1, 1))


def orders_svg(named_positions: Sequence[tuple[str, Iterable[SupportsInt]]], h: int, w: int) -> str:
    """`orders_svg([("rows", program.orders["rows"].positions(8, 12))], 8, 12)`: every order as a numbered path.

    Colour runs along time; a step to a cell that is no neighbour is thin and dashed; beyond 32 × 32 there are no
    numbers.
    """
    panels, width, height = lay_out(named_positions, h, w)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
    ]
    for panel in panels:
        parts.extend(draw_panel(panel))
    parts.extend(draw_legend(width, height, h * w))
    parts.append("</svg>\n")
    return "\n".join(parts)


def lay_out(named_positions: Sequence[tuple[str, Iterable[SupportsInt]]], h: int, w: int) -> tuple[list[Panel], int, int]:
    """The panels in their places, and the width and height of the picture."""
    if h < 1 or w < 1 or h * w > MOST_CELLS:
        raise ValueError(f"a picture has 1 to {MOST_CELLS} cells; {h}x{w} has {h * w}")
    cell = 28 if max(h, w) <= NUMBERED_UP_TO else max(640 // max(h, w), 3)
    column_width, row_height = max(w * cell, 96) + MARGIN, h * cell + TITLE_HEIGHT + MARGIN
    count = max(len(named_positions), 1)
    columns = min(max((WIDEST_PICTURE - MARGIN) // column_width, 1), count)
    rows = -(-count // columns)
    columns = -(-count // rows)
    panels = []
    for number, (title, positions) in enumerate(named_positions):
        row, column = divmod(number, columns)
        cells = tuple(int(position) for position in positions)
        if any(not 0 <= each < h * w for each in cells):
            raise ValueError(f"order {title!r} leaves the {h}x{w} grid")
        panels.append(Panel(title, cells, h, w, cell, MARGIN + column * column_width, 12 + row * row_height))
    return panels, max(MARGIN + columns * column_width, 260), 12 + rows * row_height + LEGEND_HEIGHT - 8


def draw_panel(panel: Panel) -> Iterator[str]:
    title = "".join(character if character.isprintable() else " " for character in panel.title)
    width, height = panel.width * panel.cell, panel.height * panel.cell
    top = panel.y + TITLE_HEIGHT
    place = f'x="{panel.x}" y="{panel.y + 18}"'
    yield f'<text {place} font-size="14" font-weight="bold" fill="{INK}">{escape(title)}</text>'
    yield f'<rect x="{panel.x}" y="{top}" width="{width}" height="{height}" rx="4" fill="#f4f5f7"/>'
    yield from draw_path(panel)
    if panel.numbered:
        yield from draw_beads(panel)
    elif panel.cells:
        yield from draw_ends(panel)


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
    longest = max(len(panel.cells) // 64, 1)
    jumps: list[tuple[int, list[Point]]] = []
    runs: list[tuple[int, list[Point]]] = []
    joined = False
    for step, (here, there) in enumerate(pairwise(panel.cells)):
        (row, column), (next_row, next_column) = divmod(here, panel.width), divmod(there, panel.width)
        if max(abs(row - next_row), abs(column - next_column)) > 1:
            jumps.append((step, [panel.point(here), panel.point(there)]))
            joined = False
        elif joined and len(runs[-1][1]) <= longest:
            runs[-1][1].append(panel.point(there))
        else:
            runs.append((step, [panel.point(here), panel.point(there)]))
            joined = True
    return jumps, runs


def polyline(points: list[Point], colour: tuple[int, int, int]) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    return f'<polyline points="{path}" stroke="{hexadecimal(colour)}"/>'


def draw_beads(panel: Panel) -> Iterator[str]:
    """A bead for every visit, with its step; the first and the last step have a frame, the last a double one."""
    digits = len(str(max(len(panel.cells) - 1, 0)))
    width, height = (18, 16) if digits <= 2 else (20, 15) if digits == 3 else (23, 14)
    yield f'<g font-size="{9.5 if digits <= 3 else 8.5}" text-anchor="middle">'
    for step, cell in enumerate(panel.cells):
        (x, y), colour = panel.point(cell), panel.colour(step)
        for grow in frames(panel, step):
            yield rectangle(x, y, width + grow, height + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
        yield rectangle(x, y, width, height, hexadecimal(colour))
        yield f'<text x="{x}" y="{y + 3.4:g}" fill="{hexadecimal(ink_on(colour))}">{step}</text>'
    yield "</g>"


def frames(panel: Panel, step: int) -> tuple[int, ...]:
    """How much wider than its bead each frame of a step is."""
    if step == len(panel.cells) - 1:
        return (8, 4)
    return (4,) if step == 0 else ()


def draw_ends(panel: Panel) -> Iterator[str]:
    size = max(panel.cell, 7)
    for step in (0, len(panel.cells) - 1):
        x, y = panel.point(panel.cells[step])
        for grow in frames(panel, step):
            yield rectangle(x, y, size + grow, size + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
        yield rectangle(x, y, size, size, hexadecimal(panel.colour(step)))


def rectangle(x: int, y: int, width: int, height: int, fill: str, more: str = "") -> str:
    """A rounded one, centred at (x, y)."""
    left, top = x - width / 2, y - height / 2
    return f'<rect x="{left:g}" y="{top:g}" width="{width}" height="{height}" rx="4" fill="{fill}"{more}/>'


def draw_legend(width: int, height: int, steps: int) -> Iterator[str]:
    """The ramp from the first step to the last, how they are framed, and what a dashed line is."""
    y = height - 16
    yield f'<g font-size="11" fill="{FAINT}">'
    yield rectangle(MARGIN + 9, y, 16, 12, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
    yield rectangle(MARGIN + 9, y, 12, 8, hexadecimal(ramp(0.0)))
    for piece in range(24):
        colour = hexadecimal(ramp(piece / 23))
        yield f'<rect x="{MARGIN + 26 + piece * 3}" y="{y - 3}" width="3" height="6" fill="{colour}"/>'
    for grow in (8, 4):
        yield rectangle(MARGIN + 115, y, 12 + grow, 8 + grow, "#ffffff", f' stroke="{INK}" stroke-width="1.2"')
    yield rectangle(MARGIN + 115, y, 12, 8, hexadecimal(ramp(1.0)))
    yield f'<text x="{MARGIN + 132}" y="{y + 4}">{steps} step{"s" if steps > 1 else ""}</text>'
    if width >= 330:
        dash = f"{MARGIN + 210},{y} {MARGIN + 240},{y}"
        yield f'<polyline points="{dash}" fill="none" stroke="{FAINT}" stroke-dasharray="3 3"/>'
        yield f'<text x="{MARGIN + 247}" y="{y + 4}">jump</text>'
    yield "</g>"


def order_text(positions: Iterable[SupportsInt], h: int, w: int, colour: bool = False) -> str:
    """The grid with the step of each cell's first visit, `·` where there is none; in colour if asked."""
    cells = [int(position) for position in positions]
    steps: dict[int, int] = {}
    for step, cell in enumerate(cells):
        steps.setdefault(cell, step)
    digits = len(str(max(len(cells) - 1, 0)))
    lines = []
    for row in range(h):
        entries = []
        for column in range(w):
            step_here = steps.get(row * w + column)
            entry = f"{'·' if step_here is None else step_here:>{digits}}"
            if colour and step_here is not None:
                entry = painted(f" {entry} ", ramp(step_here / max(len(cells) - 1, 1)))
            entries.append(entry)
        lines.append(("" if colour else " ").join(entries))
    return "\n".join(lines)


def painted(text: str, colour: tuple[int, int, int]) -> str:
    """Text on a background of the colour, by 24-bit terminal codes."""
    background, foreground = (";".join(map(str, each)) for each in (colour, ink_on(colour)))
    return f"\x1b[48;2;{background}m\x1b[38;2;{foreground}m{text}\x1b[0m"
