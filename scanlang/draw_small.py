"""Many orders in one small picture: groups of sequences with their titles in → SVG text out.

A path per order, coloured along time, without numbers (`draw.py` has them): a dot where it starts, a ring where the state
starts anew and nothing leads there, an arrow head at its end, grey dashes to cells that are no neighbours. Tokens are squares
on the path, and again with their names below; pads are hollow squares there. Cells visited again are drawn a little beside.
"""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from itertools import pairwise
from math import hypot, prod

from scanlang.draw import FAINT, INK, Grid, hexadecimal, printable, ramp
from scanlang.maps.sequence import Sequence

Point = tuple[float, float]

WIDEST = 900
MARGIN = 16
BETWEEN = 24
BETWEEN_GROUPS = 32
BETWEEN_SLICES = 6
HEADING = 20
TITLE = 22
STRIP = 14
ABOVE_STRIPS = 5
LETTER = 5.3
LONGEST_TITLE = 64
SHADES = 20
MOST_PADS = 12
JUMP = "#9aa1ad"


@dataclass(frozen=True)
class Panel:
    """One order; `sequence` is None if it is given with the call. Its top left corner is put at (x, y)."""

    title: str
    grid: Grid
    sequence: Sequence | None
    cell: float = 12
    x: float = 0
    y: float = 0

    @property
    def side(self) -> tuple[int, int]:
        """Rows and columns of a slice."""
        return (1, self.grid[0]) if len(self.grid) == 1 else (self.grid[-2], self.grid[-1])

    @property
    def slices(self) -> tuple[int, int]:
        """Rows and columns of slices."""
        before = (1, 1, *self.grid[:-2])
        return before[-2], before[-1]

    @property
    def slice_size(self) -> tuple[float, float]:
        """Width and height, without what is between them."""
        return self.side[1] * self.cell, self.side[0] * self.cell

    @property
    def map_size(self) -> tuple[float, float]:
        """Width and height of all slices."""
        width, height = self.slice_size
        return (
            self.slices[1] * (width + BETWEEN_SLICES) - BETWEEN_SLICES,
            self.slices[0] * (height + BETWEEN_SLICES) - BETWEEN_SLICES,
        )

    @property
    def shown_title(self) -> str:
        title = printable(self.title)
        return title if len(title) <= LONGEST_TITLE else f"{title[: LONGEST_TITLE - 1]}…"

    @property
    def width(self) -> float:
        return max(self.map_size[0], LETTER * len(self.shown_title))

    @property
    def height(self) -> float:
        return TITLE + self.map_size[1] + (ABOVE_STRIPS + STRIP * len(self.strips) if self.strips else 0)

    @cached_property
    def strips(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The tokens of each name, and the pads, by their steps."""
        if self.sequence is None:
            return ()
        found: dict[str, list[int]] = {name: [] for name, _ in self.sequence.tokens}
        for step in self.beside:
            found.setdefault("pads" if self.is_pad(step) else self.token_name(step), []).append(step)
        return tuple((name, tuple(steps)) for name, steps in found.items() if steps)

    @property
    def beside(self) -> tuple[int, ...]:
        """The steps that visit no cell."""
        return () if self.sequence is None else tuple(map(int, (~self.sequence.at_cells).nonzero()[0]))

    @cached_property
    def drawn(self) -> tuple[int, ...]:
        """The steps that visit a cell."""
        return () if self.sequence is None else tuple(map(int, self.sequence.at_cells.nonzero()[0]))

    def row(self, step: int) -> int:
        assert self.sequence is not None
        return int(self.sequence.rows[step])

    def is_pad(self, step: int) -> bool:
        return self.row(step) < 0

    def token_name(self, step: int) -> str:
        assert self.sequence is not None
        names = [name for name, count in self.sequence.tokens for _ in range(count)]
        return names[self.row(step) - self.sequence.cells]

    def corners(self) -> Iterator[Point]:
        width, height = self.slice_size
        for index in range(prod(self.slices)):
            row, column = divmod(index, self.slices[1])
            yield self.x + column * (width + BETWEEN_SLICES), self.y + TITLE + row * (height + BETWEEN_SLICES)

    @cached_property
    def points(self) -> dict[int, Point]:
        """Where each step that visits a cell is drawn."""
        corners, before = tuple(self.corners()), Counter[int]()
        points = {}
        for step in self.drawn:
            index, inside = divmod(self.row(step), prod(self.side))
            down, right = divmod(inside, self.side[1])
            shifted = 0.5 + min(before[self.row(step)], 3) / 5
            points[step] = corners[index][0] + (right + shifted) * self.cell, corners[index][1] + (down + shifted) * self.cell
            before[self.row(step)] += 1
        return points

    def are_neighbours(self, here: int, there: int) -> bool:
        """Whether the cells of two steps are in one slice, at most one row and one column apart."""
        size = prod(self.side)
        if self.row(here) // size != self.row(there) // size:
            return False
        (row, column), (other_row, other_column) = (divmod(self.row(step) % size, self.side[1]) for step in (here, there))
        return max(abs(row - other_row), abs(column - other_column)) <= 1

    def restarts(self, here: int, there: int) -> bool:
        """Whether the state starts anew between two steps."""
        return self.sequence is not None and bool(self.sequence.restarts[here + 1 : there + 1].any())

    def shade(self, step: int) -> int:
        return 0 if self.sequence is None else step * SHADES // self.sequence.steps


@dataclass(frozen=True)
class Group:
    """Panels under a heading, which may be empty."""

    heading: str
    panels: tuple[Panel, ...]

    @cached_property
    def lines(self) -> tuple[Many[Panel], ...]:
        """As many in a line as the picture is wide, the lines alike."""
        most = max(int((WIDEST - 2 * MARGIN + BETWEEN) // (self.column + BETWEEN)), 1)
        count = -(-len(self.panels) // most)
        columns = -(-len(self.panels) // max(count, 1))
        return tuple(self.panels[first : first + columns] for first in range(0, len(self.panels), max(columns, 1)))

    @property
    def column(self) -> float:
        return max((panel.width for panel in self.panels), default=0)

    @property
    def width(self) -> float:
        columns = max(map(len, self.lines), default=0)
        return max(columns * (self.column + BETWEEN) - BETWEEN, 7.5 * len(self.heading))

    @property
    def height(self) -> float:
        lines = sum(max(panel.height for panel in line) + BETWEEN for line in self.lines)
        return lines - BETWEEN + (HEADING if self.heading else 0)

    def at(self, x: float, y: float) -> Iterator[Panel]:
        """The panels in their places, the group's top left corner at (x, y)."""
        y += HEADING if self.heading else 0
        for line in self.lines:
            for index, panel in enumerate(line):
                yield replace(panel, x=x + index * (self.column + BETWEEN), y=y)
            y += max(panel.height for panel in line) + BETWEEN


def small_svg(groups: Iterable[Group]) -> str:
    """Groups side by side where there is room, else one below the other."""
    parts: list[str] = []
    x, y, right, bottom = float(MARGIN), float(MARGIN), 0.0, 0.0
    for group in groups:
        if x > MARGIN and x + group.width > WIDEST - MARGIN:
            x, y = float(MARGIN), bottom + BETWEEN_GROUPS
        if group.heading:
            place = f'x="{decimal(x)}" y="{decimal(y + 10)}"'
            parts.append(f'<text {place} font-size="12.5" font-weight="bold" fill="{INK}">{escape(group.heading)}</text>')
        for panel in group.at(x, y):
            parts.extend(draw(panel))
        right, bottom = max(right, x + group.width), max(bottom, y + group.height)
        x += group.width + BETWEEN_GROUPS
    width, height = round(right + MARGIN), round(bottom + MARGIN)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        )
    )


def draw(panel: Panel) -> Iterator[str]:
    place = f'x="{decimal(panel.x)}" y="{decimal(panel.y + 10)}"'
    yield f'<text {place} font-size="10" fill="{INK}">{escape(panel.shown_title)}</text>'
    width, height = panel.slice_size
    for left, top in panel.corners():
        place = f'x="{decimal(left)}" y="{decimal(top)}" width="{decimal(width)}" height="{decimal(height)}"'
        yield f'<rect {place} rx="2" fill="#eef0f3"/>'
        yield f'<path d="{cell_borders(panel, left, top)}" stroke="#ffffff"/>'
    if panel.sequence is None:
        middle = panel.x + panel.map_size[0] / 2, panel.y + TITLE + panel.map_size[1] / 2 + 3
        place = f'x="{decimal(middle[0])}" y="{decimal(middle[1])}"'
        yield f'<text {place} font-size="10" fill="{FAINT}" text-anchor="middle">given with the call</text>'
        return
    yield from draw_path(panel)
    yield from draw_marks(panel)
    yield from draw_strips(panel)


def cell_borders(panel: Panel, left: float, top: float) -> str:
    width, height = panel.slice_size
    across = (f"M{decimal(left)} {decimal(top + row * panel.cell)}h{decimal(width)}" for row in range(1, panel.side[0]))
    down = (f"M{decimal(left + column * panel.cell)} {decimal(top)}v{decimal(height)}" for column in range(1, panel.side[1]))
    return "".join((*across, *down))


def draw_path(panel: Panel) -> Iterator[str]:
    """The jumps below; then the steps to neighbours, a path for every shade."""
    jumps, runs = links(panel)
    if jumps:
        path = "".join(polyline([panel.points[here], panel.points[there]]) for here, there in jumps)
        yield f'<path d="{path}" fill="none" stroke="{JUMP}" stroke-width="0.8" stroke-dasharray="2 2"/>'
    yield f'<g fill="none" stroke-width="{decimal(panel.cell * 0.3)}" stroke-linecap="round" stroke-linejoin="round">'
    for shade, found in runs.items():
        path = "".join(polyline([panel.points[step] for step in run]) for run in found)
        yield f'<path d="{path}" stroke="{shade_colour(shade)}"/>'
    yield "</g>"


def links(panel: Panel) -> tuple[list[tuple[int, int]], dict[int, list[list[int]]]]:
    """(jumps, runs): what one step leads to, and by their shade steps that lead to neighbours or stand alone."""
    jumps: list[tuple[int, int]] = []
    runs: dict[int, list[list[int]]] = {}
    linked = False
    for here, there in pairwise((*panel.drawn, -1)):
        follows = there >= 0 and not panel.restarts(here, there)
        if follows and panel.are_neighbours(here, there):
            found = runs.setdefault(panel.shade(here), [])
            if linked and found:
                found[-1].append(there)
            else:
                found.append([here, there])
            linked = True
            continue
        if follows:
            jumps.append((here, there))
        if not linked:
            runs.setdefault(panel.shade(here), []).append([here])
        linked = False
    return jumps, runs


def polyline(points: list[Point]) -> str:
    """The points, those in the middle of a straight line left out; a single one as a line to itself."""
    corners = points[:1]
    for before, here, after in zip(points, points[1:], points[2:], strict=False):
        if coordinates(way(before, here)) != coordinates(way(here, after)):
            corners.append(here)
    corners.append(points[-1])
    path = f"M{coordinates(corners[0])}"
    for here, there in pairwise(corners):
        right, down = map(decimal, way(here, there))
        path += f"h{right}" if down == "0" else f"v{down}" if right == "0" else f"l{right} {down}"
    return path


def draw_marks(panel: Panel) -> Iterator[str]:
    """Where the state starts, where it starts anew, the end, and the tokens."""
    steps, points, cell = panel.drawn, panel.points, panel.cell
    for before, step in pairwise(steps):
        if panel.restarts(before, step):
            yield dot(points[step], cell * 0.22, "#ffffff", shade_colour(panel.shade(step)))
    if steps:
        yield dot(points[steps[0]], cell * 0.34, shade_colour(0), "#ffffff")
    if len(steps) > 1:
        yield arrow_head(points[steps[-2]], points[steps[-1]], cell * 0.42)
    for step in panel.beside:
        if steps and not panel.is_pad(step):
            yield square(token_place(panel, step), 7.5, shade_colour(panel.shade(step)), ' stroke="#ffffff"')


def token_place(panel: Panel, step: int) -> Point:
    """Between neighbours; else beyond the cell before it, as the path came there, or, at the head, in front of the first."""
    number = bisect(panel.drawn, step)
    before, after = panel.drawn[max(number - 2, 0) : number], panel.drawn[number : number + 2]
    if before and after and panel.are_neighbours(before[-1], after[0]):
        (x, y), (next_x, next_y) = panel.points[before[-1]], panel.points[after[0]]
        return (x + next_x) / 2, (y + next_y) / 2
    here, other = (before[-1], before[0]) if before else (after[0], after[-1])
    leaving = way(panel.points[other], panel.points[here]) if panel.are_neighbours(other, here) else (0, 0)
    return beyond(panel.points[here], leaving, panel.cell * (0.75 if after else 0.95))


def beyond(point: Point, along: Point, distance: float) -> Point:
    """At this distance from a point; straight above where there is no way along."""
    length = hypot(*along)
    if not length:
        return point[0], point[1] - distance
    return point[0] + along[0] / length * distance, point[1] + along[1] / length * distance


def way(here: Point, there: Point) -> Point:
    return there[0] - here[0], there[1] - here[1]


def arrow_head(before: Point, end: Point, size: float) -> str:
    """At `end`, where the way from `before` leads."""
    across, down = beyond((0, 0), way(before, end), size)
    corners = (
        (end[0] + across, end[1] + down),
        (end[0] - across - down, end[1] - down + across),
        (end[0] - across + down, end[1] - down - across),
    )
    path = f"M{'L'.join(map(coordinates, corners))}z"
    return f'<path d="{path}" fill="{shade_colour(SHADES - 1)}" stroke="#ffffff" stroke-width="0.8"/>'


def draw_strips(panel: Panel) -> Iterator[str]:
    """Tokens with their names, and pads: one by one, or how many there are."""
    for line, (label, steps) in enumerate(panel.strips):
        y = panel.y + TITLE + panel.map_size[1] + ABOVE_STRIPS + STRIP * (line + 1) - 2.5
        counted = label == "pads" and len(steps) > MOST_PADS
        text = f"{len(steps)} pads" if counted else label
        yield f'<text x="{decimal(panel.x)}" y="{decimal(y)}" font-size="9.5" fill="{FAINT}">{escape(printable(text))}</text>'
        left = panel.x + LETTER * len(text) + 10
        apart = min(11.0, (panel.x + panel.width - left) / len(steps))
        for index, step in enumerate(steps[:1] if counted else steps):
            colour = shade_colour(panel.shade(step))
            fill, more = ("#ffffff", f' stroke="{FAINT if counted else colour}"') if panel.is_pad(step) else (colour, "")
            yield square((left + index * apart, y - 3.5), 7, fill, more)


def square(middle: Point, size: float, fill: str, more: str) -> str:
    place = f'x="{decimal(middle[0] - size / 2)}" y="{decimal(middle[1] - size / 2)}"'
    return f'<rect {place} width="{decimal(size)}" height="{decimal(size)}" rx="1.5" fill="{fill}"{more}/>'


def dot(middle: Point, radius: float, fill: str, stroke: str) -> str:
    place = f'cx="{decimal(middle[0])}" cy="{decimal(middle[1])}" r="{decimal(radius)}"'
    return f'<circle {place} fill="{fill}" stroke="{stroke}"/>'


def shade_colour(shade: int) -> str:
    return hexadecimal(ramp(shade / (SHADES - 1)))


def coordinates(point: Point) -> str:
    return f"{decimal(point[0])} {decimal(point[1])}"


def decimal(value: float) -> str:
    """With one digit behind the point, or none."""
    return f"{round(value, 1) + 0:g}"
