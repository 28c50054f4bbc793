"""Pictures of orders: valid SVG with a bead per step, jumps kept apart from the path, and the terminal's grid."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

import scanlang
from scanlang.draw import MOST_CELLS, hexadecimal, layers_svg, order_text, orders_svg, ramp

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


def drawn(text: str, *size: int, grid: str = "h, w") -> str:
    return orders_svg([(text, scanlang.order(text, grid).sequence(*size))], *size)


def test_tokens_and_pads_stand_below_the_grid() -> None:
    svg = drawn("insert(window(raster, 2, 2, pad = decay), cls at middle)", 3, 3)
    steps = beads(svg)
    assert [step for step, _, _ in steps] == list(range(17))
    in_grid = max(y for step, _, y in steps if step in (0, 4, 9, 13))
    below = {step for step, _, y in steps if y > in_grid}
    assert len(below) == 1 + 7, "a token and seven pads"
    texts = [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"cls", "pads"} <= set(texts)
    hollow = [
        r for r in ElementTree.fromstring(svg).iter(f"{SVG}rect") if r.get("fill") == "#ffffff" and r.get("width") == "17"
    ]
    assert len(hollow) == 7


def test_nothing_leads_to_a_restart() -> None:
    assert len(lines(drawn("raster", 4, 5), dashed=True)) == 3
    svg = drawn("reset(raster, every h)", 4, 5)
    assert lines(svg, dashed=True) == []
    assert [step for step, _, _ in beads(svg)] == list(range(20))


def test_a_cell_visited_again_has_a_bead_for_every_visit() -> None:
    placed = beads(drawn("concat(raster, reverse(raster))", 2, 3))
    assert len(placed) == 12
    assert len({(x, y) for _, x, y in placed}) == 12
    by_step = {step: (x, y) for step, x, y in placed}
    for step in range(6):
        (x, y), (again_x, again_y) = by_step[step], by_step[11 - step]
        assert x == again_x
        assert 16 <= abs(y - again_y) <= 18


def test_slices_stand_side_by_side() -> None:
    placed = {step: (x, y) for step, x, y in beads(drawn("raster", 2, 2, 3, grid="t, h, w"))}
    assert placed[6][0] - placed[0][0] > 3 * 28
    assert [placed[step][1] == placed[0][1] for step in (2, 6, 3)] == [True, True, False]
    four = {step: (x, y) for step, x, y in beads(drawn("raster", 2, 2, 1, 2, grid="b, t, h, w"))}
    assert four[4][0] == four[0][0]
    assert four[4][1] > four[0][1]
    assert len(beads(drawn("snake", 7, grid="l"))) == 7


def test_layers_stand_below_each_other() -> None:
    named = [("rows", rows(2, 2)), ("snake", snake(2, 2))]
    svg = layers_svg([named, named[:1]], 2, 2)
    texts = {text.text: float(text.get("y", "")) for text in ElementTree.fromstring(svg).iter(f"{SVG}text") if text.text}
    assert texts["layer 1"] > texts["layer 0"] + 56
    assert "layer 0" not in layers_svg([named], 2, 2)


def test_text_grid_of_everything() -> None:
    order = scanlang.order("insert(reset(raster, every h), cls at head, reg at every 3)")
    assert order_text(order.sequence(2, 3), 2, 3) == "1 2 3\n5 6 7\ncls: 0\nreg: 4 8\nrestarts: 5"
    assert order_text(scanlang.order("snake", "t, h, w").sequence(2, 2, 2), 2, 2, 2) == "0 1   7 6\n3 2   4 5"
    assert order_text(scanlang.order("window(raster, 1, 2, pad = decay)").sequence(1, 3), 1, 3) == "0 1 2\npads: 3"


def test_long_titles_are_cut_off() -> None:
    title = "insert(window(hilbert, 4, 4, outer = snake), cls at middle)"
    texts = [
        text for text in ElementTree.fromstring(drawn(title, 4, 4)).iter(f"{SVG}text") if (text.text or "").startswith("insert")
    ]
    assert (texts[0].text or "").endswith("…")
    assert float(texts[0].get("font-size", "")) * len(texts[0].text or "") * 0.6 < 28 * 4 + 22
