"""The gallery: every program of the library, in pictures that show its directions. That it is current `test_repo.py` checks."""

from __future__ import annotations

import re
import runpy
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

import scanlang
from scanlang.draw_small import TITLE, Group, Panel, links, small_svg, token_place
from scanlang.library import library

DOCS = Path(__file__).parents[1] / "docs"
SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 80_000
WITHOUT_ORDERS = {"std.selective", "std.vmambair_spatial", "std.wavemamba"}


@cache
def documents() -> dict[str, str]:
    made: dict[str, str] = runpy.run_path(str(DOCS / "generate.py"))["documents"]()
    return made


def panel(text: str, *grid: int, axes: str = "h, w") -> Panel:
    order = scanlang.order(text, grid=axes)
    return Panel(text, grid, order.sequence(*grid), 10)


def test_every_program_has_its_section_and_picture() -> None:
    page = documents()["gallery/README.md"]
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(library())
    for name in library():
        file = name.removeprefix("std.")
        assert f"[{file}.scan](../../scanlang/std/{file}.scan)" in page
        assert (f"gallery/{file}.svg" in documents()) == (f"]({file}.svg)" in page) == (name not in WITHOUT_ORDERS)
    for link in re.findall(r"\]\((?!https:|#)([^)]+)\)", page):
        assert (DOCS / "gallery" / link).is_file(), link


def test_every_scan_and_direction_is_drawn() -> None:
    page = documents()["gallery/README.md"]
    for name in library():
        program = scanlang.load(name)
        for scan in set(program.scans) & set(re.findall(r"^scan (\w+)", program.source.text, re.MULTILINE)):
            texts = written(documents()[f"gallery/{name.removeprefix('std.')}.svg"])
            assert f"- `{scan}` (" in page
            assert any(scan in re.split(r", ", text) for text in texts), scan
            for layer in program.scans[scan].layers:
                for direction in layer:
                    assert any(re.search(rf"(^|: ){re.escape(direction.text)}($|,)", text) for text in texts), direction.text


def written(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_named_orders_are_drawn_in_one_picture() -> None:
    lines = ("raster columns snake diagonal antidiagonal wrapped_diagonal", "wrapped_antidiagonal zigzag spiral hilbert morton")
    assert written(documents()["named_orders.svg"]) == [*" ".join(lines).split(), "random(7)"]


@pytest.mark.parametrize(
    "name", sorted({"named_orders.svg", *(f"gallery/{name.removeprefix('std.')}.svg" for name in library())})
)
def test_pictures_are_small_and_everything_is_inside(name: str) -> None:
    if name.removeprefix("gallery/").removesuffix(".svg") in {each.removeprefix("std.") for each in WITHOUT_ORDERS}:
        assert name not in documents()
        return
    svg = documents()[name]
    assert len(svg) < LARGEST
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    assert width <= 920
    for element in root.iter():
        x, y = element.get("x", element.get("cx")), element.get("y", element.get("cy"))
        if x is not None and y is not None:
            assert 0 <= float(x) <= width, ElementTree.tostring(element)
            assert 0 <= float(y) <= height, ElementTree.tostring(element)


def drawn_steps(picture: Panel) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(jumps, steps to neighbours)."""
    jumps, runs = links(picture)
    return jumps, sorted(pair for found in runs.values() for run in found for pair in pairwise(run))


def test_every_step_is_a_line_or_a_jump() -> None:
    jumps, steps = drawn_steps(panel("raster", 3, 4))
    assert jumps == [(3, 4), (7, 8)]
    assert steps == [(step, step + 1) for step in range(11) if step not in (3, 7)]


def test_nothing_leads_to_a_restart() -> None:
    jumps, steps = drawn_steps(panel("reset(snake, every h)", 3, 4))
    assert jumps == []
    assert {(3, 4), (7, 8)}.isdisjoint(steps)
    svg = small_svg([Group("", (panel("reset(snake, every h)", 3, 4),))])
    assert Counter(element.get("fill") for element in ElementTree.fromstring(svg).iter(f"{SVG}circle"))["#ffffff"] == 2


def test_every_visited_cell_is_drawn_even_alone() -> None:
    alone = panel("dilate(raster, 2)", 3, 5)
    _, runs = links(alone)
    assert sorted(step for found in runs.values() for run in found for step in run) == list(alone.drawn)


def test_slices_are_not_neighbours() -> None:
    jumps, _ = drawn_steps(panel("walk h, w, t", 2, 1, 3, axes="t, h, w"))
    assert len(jumps) == 5


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("insert(raster, cls at middle)", (20.0, 5.0)),
        ("insert(raster, cls at head)", (-2.5, 5.0)),
        ("insert(raster, cls at tail)", (44.5, 15.0)),
        ("insert(raster, cls at 4)", (42.5, 5.0)),
        ("insert(reverse(columns), cls at 2)", (30.0, 10.0)),
    ],
)
def test_tokens_stand_where_they_are_in_the_path(text: str, place: tuple[float, float]) -> None:
    picture = panel(text, 2, 4) if "middle" not in text else panel(text, 1, 4)
    (step,) = picture.beside
    x, y = token_place(picture, step)
    assert (x, y - TITLE) == pytest.approx(place)


def test_tokens_have_their_names_and_pads_are_hollow() -> None:
    svg = small_svg([Group("", (panel("insert(window(raster, 2, 2, pad = decay), cls at head, end at every 4)", 2, 3),))])
    assert {"cls", "end", "pads"} <= set(written(svg))
    squares = [each for each in ElementTree.fromstring(svg).iter(f"{SVG}rect") if each.get("width") == "7"]
    assert [square.get("fill") == "#ffffff" for square in squares] == [False, False, False, True, True]


def test_many_pads_are_counted() -> None:
    assert "91 pads" in written(small_svg([Group("", (panel("window(raster, 10, 10, pad = decay)", 3, 3),))]))


def test_an_order_given_with_the_call_has_no_path() -> None:
    texts = written(small_svg([Group("scan", (Panel("sorted", (8, 12), None),))]))
    assert texts == ["scan", "sorted", "given with the call"]
