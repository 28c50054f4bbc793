"""Pictures of orders: valid SVG with a bead per step, jumps kept apart from the path, and the terminal's grid."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from scanlang.draw import MOST_CELLS, hexadecimal, order_text, orders_svg, ramp

SVG = "{http://www.w3.org/2000/svg}"


def rows(h: int, w: int) -> list[int]:
    return list(range(h * w))


def snake(h: int, w: int) -> list[int]:
    return [row * w + (column if row % 2 == 0 else w - 1 - column) for row in range(h) for column in range(w)]


def beads(svg: str) -> list[tuple[int, float, float]]:
    """(step, x, y) of every number in the picture, the legend's and titles' texts aside."""
    texts = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return [(int(t.text or ""), float(t.get("x", "")), float(t.get("y", ""))) for t in texts if (t.text or "").isdigit()]


def lines(svg: str, dashed: bool) -> list[ElementTree.Element]:
    groups = ElementTree.fromstring(svg).iter(f"{SVG}g")
    return [
        line
        for group in groups
        if group.get("fill") == "none" and (group.get("stroke-dasharray") is not None) == dashed
        for line in group.iter(f"{SVG}polyline")
    ]


def test_every_step_has_its_number_at_its_cell() -> None:
    svg = orders_svg([("snake", snake(14, 14))], 14, 14)
    placed = beads(svg)
    assert [step for step, _, _ in placed] == list(range(196))
    columns = sorted({x for _, x, _ in placed})
    lower = sorted({y for _, _, y in placed})
    assert [(lower.index(y), columns.index(x)) for _, x, y in placed] == [divmod(cell, 14) for cell in snake(14, 14)]


def test_numbers_do_not_overlap() -> None:
    placed = beads(orders_svg([("rows", rows(32, 32))], 32, 32))
    xs = sorted({x for _, x, _ in placed})
    assert min(b - a for a, b in pairwise(xs)) >= 24  # four digits of 8.5 px type are 19 px wide


def test_only_the_ends_of_rows_are_jumps() -> None:
    assert len(lines(orders_svg([("rows", rows(5, 7))], 5, 7), dashed=True)) == 4
    assert lines(orders_svg([("snake", snake(5, 7))], 5, 7), dashed=True) == []


def test_the_path_visits_the_cells_in_turn() -> None:
    svg = orders_svg([("snake", snake(3, 4))], 3, 4)
    points: list[tuple[int, int]] = []
    for line in lines(svg, dashed=False):
        path = [(int(x), int(y)) for x, y in re.findall(r"(\d+),(\d+)", line.get("points", ""))]
        points.extend(path if not points else path[1:])
        assert points[-len(path)] == path[0]
    corner = min(points)
    assert [((y - corner[1]) // 28, (x - corner[0]) // 28) for x, y in points] == [divmod(c, 4) for c in snake(3, 4)]


def test_colours_are_plain_and_run_along_time() -> None:
    svg = orders_svg([("rows", rows(4, 4))], 4, 4)
    assert "hsl" not in svg
    assert "pathLength" not in svg
    strokes = [line.get("stroke") for line in lines(svg, dashed=False)]
    assert strokes[0] == hexadecimal(ramp(0.0))
    assert len(set(strokes)) == len(strokes) == 12
    assert all(re.fullmatch("#[0-9a-f]{6}", stroke or "") for stroke in strokes)


def test_large_grids_have_no_numbers_and_stay_small() -> None:
    svg = orders_svg([("rows", rows(56, 40)), ("snake", snake(56, 40))], 56, 40)
    assert beads(svg) == []
    assert len(svg) < 120_000


@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 9), (9, 1)])
def test_thin_grids(h: int, w: int) -> None:
    assert len(beads(orders_svg([("rows", rows(h, w))], h, w))) == h * w


def test_several_orders_stand_side_by_side_with_their_titles() -> None:
    svg = orders_svg([("a <b>", rows(8, 8)), ("c", snake(8, 8)), ("d\x00", rows(8, 8))], 8, 8)
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"a <b>", "c", "d "} <= set(texts)


def test_a_position_outside_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the 2x2 grid"):
        orders_svg([("bad", [0, 1, 2, 4])], 2, 2)


def test_too_many_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=str(MOST_CELLS)):
        orders_svg([], 4096, 4096)


def test_text_grid() -> None:
    assert order_text(snake(3, 4), 3, 4) == " 0  1  2  3\n 7  6  5  4\n 8  9 10 11"


def test_text_grid_of_a_partial_cover() -> None:
    assert order_text([0, 3], 2, 2) == "0 ·\n· 1"


def test_text_grid_in_colour_says_the_same() -> None:
    coloured = order_text(snake(3, 4), 3, 4, colour=True)
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured).split() == order_text(snake(3, 4), 3, 4).split()
    assert coloured.count("\x1b[0m") == 12
