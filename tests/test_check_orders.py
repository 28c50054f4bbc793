"""Order expressions: what each call becomes, windows that are walks, tables, limits, and what is refused."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies_orders import NOWHERE, SIZES, orders, run_loops, run_order, walks

from scanlang.check import Importer, check, tables
from scanlang.check.order_tree import steps_per_cell
from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    CheckedProgram,
    ConcatOrder,
    CurveOrder,
    DilateOrder,
    FlipOrder,
    FormulaOrder,
    GivenOrder,
    InsertOrder,
    InterleaveOrder,
    Loop,
    RandomOrder,
    ResetOrder,
    ReverseOrder,
    ShiftOrder,
    TableOrder,
    Tiles,
    Token,
    TransposeOrder,
    WalkOrder,
    Whole,
    WindowOrder,
)
from scanlang.check.windows import as_walk, walk_of_windows
from scanlang.diagnostics import ScanError
from scanlang.limits import LIMITS, Limits
from scanlang.maps.sequence import Sequencer
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.parse import parse_text

RASTER = WalkOrder((Whole(0, ""), Whole(1, "")), NOWHERE)
LEAKY = "recurrence leaky { input x  param a  h = exp(-a) * h + x }\n"


def checked(text: str, folder: Path | None = None) -> CheckedProgram:
    source = Source("test.scan", text)
    importer = Importer() if folder is None else Importer(folder / "test.scan")
    return check(build_syntax(parse_text(source), source), source, importer)


def order(text: str, grid: str = "h, w", folder: Path | None = None) -> CheckedOrder:
    return checked(f"grid {grid}\norder o = {text}\n", folder).orders["o"]


def findings(text: str, folder: Path | None = None) -> list[str]:
    """Each finding as `S101 2:5 title`."""
    with pytest.raises(ScanError) as caught:
        checked(text, folder)
    return [f"{d.code} {d.span.line}:{d.span.column} {d.title}" for d in caught.value.diagnostics]


def finding(text: str, grid: str = "h, w", folder: Path | None = None) -> str:
    """The only finding of an order, without its place."""
    (found,) = findings(f"grid {grid}\norder o = {text}\n", folder)
    code, _, title = found.split(" ", 2)
    return f"{code} {title}"


# named orders, on any number of axes


@pytest.mark.parametrize("grid", ["l", "h, w", "t, h, w", "b, t, h, w"])
def test_raster_columns_and_snake_have_all_axes(grid: str) -> None:
    axes = range(len(grid.split(", ")))
    assert order("raster", grid) == WalkOrder(tuple(Whole(axis, "") for axis in axes), NOWHERE)
    assert order("columns", grid) == WalkOrder(tuple(Whole(axis, "") for axis in reversed(axes)), NOWHERE)
    assert order("snake", grid) == order(
        "walk " + ", ".join("~" * min(k, 2) + axis for k, axis in enumerate(grid.split(", "))), grid
    )


@pytest.mark.parametrize("name", ["diagonal", "zigzag", "spiral", "hilbert", "morton"])
def test_curves(name: str) -> None:
    assert order(name) == CurveOrder(name, NOWHERE)  # type: ignore[arg-type]


def test_antidiagonal_is_the_mirror_image() -> None:
    assert order("antidiagonal", "y, x") == order("flip(diagonal, x)", "y, x")


def test_wrapped_diagonals_are_formulas() -> None:
    expected = {"wrapped_diagonal": "(t % h, (t % h + t // h) % w)", "wrapped_antidiagonal": "(t % h, (t // h - t % h) % w)"}
    for name, cell in expected.items():
        formula = order(name, "row, column")
        assert isinstance(formula, FormulaOrder)
        assert formula == checked(f"grid h, w order o(t) = {cell}").orders["o"]


def test_library_file_has_the_named_orders() -> None:
    written = checked("import std.orders").orders
    assert set(written) == {"raster", "columns", "snake", "antidiagonal", "wrapped_diagonal", "wrapped_antidiagonal"}
    assert all(written[name] == order(name) for name in written)


@pytest.mark.parametrize("name", ["diagonal", "antidiagonal", "wrapped_diagonal", "zigzag", "spiral", "hilbert", "morton"])
@pytest.mark.parametrize("grid", ["l", "t, h, w"])
def test_curves_need_two_axes(name: str, grid: str) -> None:
    assert finding(name, grid) == f"S143 `{name}` needs two axes"


def test_a_grid_has_one_to_four_axes() -> None:
    assert checked("grid a, b, c, d order o = walk d, c, b, a").axes == ("a", "b", "c", "d")
    assert findings("grid a, b, c, d, e order o = raster") == ["S110 1:1 a grid has 1 to 4 axes, this one has 5"]


def test_formulas_have_one_coordinate_for_each_axis() -> None:
    formula = checked("grid t, h, w order o(i) = (i // (h * w), i // w % h, i % w)").orders["o"]
    assert isinstance(formula, FormulaOrder)
    assert formula.axes == ("t", "h", "w")
    assert findings("grid t, h, w order o(i) = (i // w, i % w)")[0].startswith("S119")
    assert findings("grid t, h, w order o(t) = (t, 0, 0)")[0].startswith("S108")


# calls


def test_calls() -> None:
    hilbert = CurveOrder("hilbert", NOWHERE)
    expected: dict[str, CheckedOrder] = {
        "shift(raster, -1, 2)": ShiftOrder(RASTER, (-1, 2), NOWHERE),
        "dilate(raster, 3)": DilateOrder(RASTER, 3, (0, 0), "skip", NOWHERE),
        "dilate(raster, 3, pad = decay, phase = (2, 1))": DilateOrder(RASTER, 3, (2, 1), "decay", NOWHERE),
        "concat(raster, hilbert, raster)": ConcatOrder((RASTER, hilbert, RASTER), NOWHERE),
        "interleave(raster, hilbert)": InterleaveOrder((RASTER, hilbert), NOWHERE),
        "reset(raster, every w)": ResetOrder(RASTER, 1, NOWHERE),
        "reset(window(hilbert, 7, 7), every window)": ResetOrder(
            WindowOrder(hilbert, (7, 7), RASTER, "skip", NOWHERE), "window", NOWHERE
        ),
        "window(hilbert, h, 2, outer = snake, pad = decay)": WindowOrder(
            hilbert, (AxisSize(0), 2), WalkOrder((Whole(0, ""), Whole(1, "~")), NOWHERE), "decay", NOWHERE
        ),
        "window(raster, 2, 2, pad = decay)": WindowOrder(RASTER, (2, 2), RASTER, "decay", NOWHERE),
        "insert(raster, cls at head, end at every w, reg at spread 12, a at 7, b at every 2)": InsertOrder(
            RASTER,
            (
                Token("cls", "head"),
                Token("end", "every", AxisSize(1)),
                Token("reg", "spread", 12),
                Token("a", "index", 7),
                Token("b", "every", 2),
            ),
            NOWHERE,
        ),
        "random(7)": RandomOrder(7, NOWHERE),
        "transpose(raster)": TransposeOrder(RASTER, NOWHERE),
    }
    for text, result in expected.items():
        assert order(text) == result, text


@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (270, 3)])
def test_rotate_is_clockwise(degrees: int, turns: int) -> None:
    """The picture of the steps, turned; a quarter turn has the sides of the grid exchanged."""
    rotated, upright = order(f"rotate(snake, {degrees})"), order("snake")
    inside = (4, 3) if turns % 2 else (3, 4)
    picture = np.rot90(steps_of(upright, *inside), -turns)
    np.testing.assert_array_equal(steps_of(rotated, 3, 4), picture)


def steps_of(of: CheckedOrder, h: int, w: int) -> np.ndarray:
    picture = np.zeros((h, w), dtype=np.int64)
    for step, cell in enumerate(run_order(of, h, w)):
        picture[cell] = step
    return picture


def test_three_axes_turn_in_the_plane_of_the_last_two() -> None:
    raster = order("raster", "t, h, w")
    turned = FlipOrder(TransposeOrder(raster, NOWHERE), 2, NOWHERE)
    assert order("rotate(raster, 90)", "t, h, w") == turned
    assert order("rotate(raster, 180)", "t, h, w") == FlipOrder(FlipOrder(raster, 1, NOWHERE), 2, NOWHERE)
    assert finding("rotate(raster, 90)", "l") == "S143 `rotate` needs two axes or more"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("window(raster, 7)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 7, 7)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 0)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, -7)", "S113 wrong arguments for `window`"),
        ('window(raster, 7, "7")', "S113 wrong arguments for `window`"),
        ("window(raster, 7, k)", "S101 unknown axis `k`"),
        ("window(raster, 7, 7, outer = 7)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 7, outer = (1, 1))", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 7, outer = snail)", "S101 unknown order `snail`"),
        ("window(raster, 7, 7, pad = crop)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 7, pad = 1)", "S113 wrong arguments for `window`"),
        ("window(raster, 7, 7, step = 2)", "S101 unknown argument `step` of `window`"),
        ("window(raster, 7, 7, pad = skip, pad = skip)", "S102 argument `pad` is given twice"),
        ("window(7, 7, 7)", "S113 wrong arguments for `window`"),
        ("reverse(raster, pad = skip)", "S101 unknown argument `pad` of `reverse`"),
        ("reverse(cls at head)", "S113 wrong arguments for `reverse`"),
        ("dilate(raster, 0)", "S113 wrong arguments for `dilate`"),
        ("dilate(raster, 2, phase = (2, 0))", "S113 wrong arguments for `dilate`"),
        ("dilate(raster, 2, phase = (-1, 0))", "S113 wrong arguments for `dilate`"),
        ("dilate(raster, 2, phase = (1, 1, 1))", "S113 wrong arguments for `dilate`"),
        ("dilate(raster, 2, phase = 1)", "S113 wrong arguments for `dilate`"),
        ("shift(raster, 1)", "S113 wrong arguments for `shift`"),
        ("shift(raster, h, 1)", "S113 wrong arguments for `shift`"),
        ("concat(raster)", "S113 wrong arguments for `concat`"),
        ("interleave(raster, 2)", "S113 wrong arguments for `interleave`"),
        ("interleave(raster, reverse(reset(raster, every h)))", "S146 `interleave` of an order with resets"),
        ("reset(raster, h)", "S113 wrong arguments for `reset`"),
        ("reset(raster, every k)", "S101 unknown axis `k`"),
        ("reset(hilbert, every window)", "S145 `every window` of an order without windows"),
        ("reset(concat(window(raster, 2, 2), raster), every window)", "S145 `every window` of an order without windows"),
        ("reset((walk h mod 2, w, h), every window)", "S145 `every window` of an order without windows"),
        ("insert(raster)", "S113 wrong arguments for `insert`"),
        ("insert(raster, cls)", "S113 wrong arguments for `insert`"),
        ("insert(raster, cls at every 0)", "S113 wrong arguments for `insert`"),
        ("insert(raster, cls at spread 0)", "S113 wrong arguments for `insert`"),
        ("insert(raster, cls at every k)", "S101 unknown axis `k`"),
        ("insert(raster, lambda at head)", "S108 a token may not be named `lambda`"),
        ("rotate(raster, 45)", "S113 wrong arguments for `rotate`"),
        ("rotate(raster, -90)", "S113 wrong arguments for `rotate`"),
        ("random", "S113 wrong arguments for `random`"),
        ("random(raster)", "S113 wrong arguments for `random`"),
        ("random(-1)", "S113 wrong arguments for `random`"),
        ("table(7)", "S113 wrong arguments for `table`"),
        ("reverse(window)", "S113 wrong arguments for `window`"),
        ("hilbert(3)", "S113 wrong arguments for `hilbert`"),
        ("o(raster)", "S113 wrong arguments for `o`"),
        ("rol(raster, 1, 1)", "S101 unknown function on orders `rol`"),
    ],
)
def test_wrong_arguments(text: str, expected: str) -> None:
    assert finding(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "reset(reverse(window(hilbert, 7, 7)), every window)",
        "reset(insert(flip((walk h by 2, w, h), w), cls at head), every window)",
        "reset(concat(window(raster, 2, 2), window(spiral, 3, 3)), every window)",
    ],
)
def test_windows_are_seen_through_what_is_around_them(text: str) -> None:
    assert isinstance(order(text), ResetOrder)


def test_an_axis_called_window_is_an_axis() -> None:
    assert order("reset(raster, every window)", "h, window") == ResetOrder(RASTER, 1, NOWHERE)


def test_all_findings_of_a_call_come_together() -> None:
    text = "grid h, w\norder o = window(a, 0, q, outer = b, pad = c)\n"
    assert [line.split()[0] for line in findings(text)] == ["S101", "S113", "S101", "S101", "S113"]


def test_how_a_function_is_called_is_shown_on_this_grid() -> None:
    with pytest.raises(ScanError) as caught:
        checked("grid t, y, x order o = window(raster, 7)")
    assert caught.value.diagnostics[0].help == "it is called as `window(order, 7, 7, 7, outer = order, pad = skip)`"


# windows that are walks


@pytest.mark.parametrize(
    "window, walk",
    [
        ("window(raster, 7, 7)", "walk h by 7, w by 7, h, w"),
        ("window(snake, 2, w)", "walk h by 2, w by w, h, ~w"),
        ("window((walk w, ~~h), 2, 3, outer = reverse(columns))", "walk -w by 3, -h by 2, w, ~h"),
        ("window(flip(raster, w), 2, 3, outer = snake)", "walk h by 2, ~w by 3, h, -w"),
        ("window(transpose(snake), 2, 3)", "walk h by 2, w by 3, w, ~h"),
        ("window(window(raster, 2, 2), 6, 4)", "walk h by 6, w by 4, h by 2, w by 2, h, w"),
        ("window(raster, 2, 3, outer = (walk h by 2 from 1, w, h))", "walk h by 4 from 2, w by 3, h by 2, h, w"),
        ("window((walk h mod 2, h, w), 4, 4)", "walk h by 4, w by 4, h mod 2, h, w"),
    ],
)
def test_windows_of_walks_are_walks(window: str, walk: str) -> None:
    assert order(window) == order(walk)


@pytest.mark.parametrize(
    "window",
    [
        "window((walk h by 2, w, ~~h), 4, 4)",  # runs are counted in each window
        "window((walk h by w, w, h), 4, 4)",  # w of the window
        "window(raster, h, 4, outer = (walk h by 2, w, h))",  # two windows of h cells
        "window(raster, 4, 4, outer = (walk h mod 2, w, h))",
        "window(reverse(snake), 4, 4)",
        "window(flip(snake, w), 4, 4)",
        "window(flip((walk h by 2, h, w), h), 4, 4)",  # the short tile comes first
        "window(raster, 4, 4, pad = decay)",
        "window(hilbert, 4, 4)",
    ],
)
def test_other_windows_stay(window: str) -> None:
    assert isinstance(order(window), WindowOrder)


def run_windows(of: WindowOrder, h: int, w: int) -> list[tuple[int, int]]:
    """From the definition: the outer order on the grid of windows, the inner one on each window's own size."""
    a, b = (size if isinstance(size, int) else (h, w)[size.axis] for size in of.sizes)
    visited = []
    for row, column in run_order(of.outer, -(-h // a), -(-w // b)):
        inside = run_order(of.inner, min(a, h - row * a), min(b, w - column * b))
        visited += [(row * a + r, column * b + c) for r, c in inside]
    return visited


def written(walk: WalkOrder) -> WalkOrder:
    """As a program can write it: the outermost loop turns for none around it."""
    outermost, *others = walk.loops
    turned = outermost.direction in ("-", "~~")
    return WalkOrder((replace(outermost, direction="-" if turned else ""), *others), NOWHERE)


@given(
    SIZES,
    walks(1).map(written),
    walks(1).map(written),
    st.tuples(*(st.one_of(st.integers(1, 4), st.just(AxisSize(axis))) for axis in (0, 1))),
)
def test_the_walk_of_windows_visits_like_the_windows(
    size: tuple[int, int], inner: WalkOrder, outer: WalkOrder, sizes: tuple[int | AxisSize, int | AxisSize]
) -> None:
    window = WindowOrder(inner, sizes, outer, "skip", NOWHERE)
    walk = walk_of_windows(window)
    assume(walk is not None)
    assert walk is not None
    assert run_loops(walk, *size) == run_windows(window, *size)


@st.composite
def walks_of_three_axes(draw: st.DrawFn) -> WalkOrder:
    loops: list[Loop] = []
    for depth, axis in enumerate(draw(st.permutations(range(3)))):
        loops.append(Whole(axis, draw(st.sampled_from(["", "-", "~", "~~"] if depth else ["", "-"]))))
    return WalkOrder(tuple(loops), NOWHERE)


@given(st.tuples(*[st.integers(1, 5)] * 3), walks_of_three_axes(), walks_of_three_axes(), st.tuples(*[st.integers(1, 3)] * 3))
def test_the_walk_of_windows_of_three_axes_visits_like_the_windows(
    grid: tuple[int, ...], inner: WalkOrder, outer: WalkOrder, sizes: tuple[int, ...]
) -> None:
    window = WindowOrder(inner, sizes, outer, "skip", NOWHERE)
    walk = walk_of_windows(window)
    assume(walk is not None)
    assert walk is not None
    sequencer = Sequencer("o", ("t", "h", "w"), grid)
    np.testing.assert_array_equal(sequencer.of(walk, grid).rows, sequencer.of(window, grid).rows)


@given(SIZES, orders())
def test_a_walk_with_something_around_it_visits_like_it(size: tuple[int, int], whole: CheckedOrder) -> None:
    walk = as_walk(whole)
    assume(walk is not None and walk != whole)
    assert walk is not None
    assert run_loops(walk, *size) == run_order(whole, *size)


def test_windows_of_too_many_loops_stay() -> None:
    inner = WalkOrder((*(Tiles(0, "", 2, None) for _ in range(LIMITS.loops - 2)), *RASTER.loops), NOWHERE)
    assert walk_of_windows(WindowOrder(inner, (2, 2), RASTER, "skip", NOWHERE)) is None
    shorter = replace(inner, loops=inner.loops[2:])
    assert walk_of_windows(WindowOrder(shorter, (2, 2), RASTER, "skip", NOWHERE)) is not None


def test_sizes_beyond_the_largest_integer_stay() -> None:
    outer = WalkOrder((Tiles(0, "", LIMITS.integer, None), *RASTER.loops), NOWHERE)
    assert walk_of_windows(WindowOrder(RASTER, (2, 2), outer, "skip", NOWHERE)) is None


# orders given at run time


def test_given_orders_are_known_by_their_name() -> None:
    program = checked("grid h, w order mine = input order back = reverse(insert(mine, cls at head))")
    inserted = InsertOrder(GivenOrder("mine", NOWHERE), (Token("cls", "head"),), NOWHERE)
    assert program.orders["back"] == ReverseOrder(inserted, NOWHERE)
    assert checked("grid h, w order a = input order b = concat(a, raster) order c = interleave(a, reverse(a))").orders


@pytest.mark.parametrize(
    "text",
    [
        "flip({}, h)",
        "transpose({})",
        "rotate({}, 90)",
        "shift({}, 1, 1)",
        "dilate({}, 2)",
        "window({}, 2, 2)",
        "window(raster, 2, 2, outer = {})",
        "reset({}, every h)",
    ],
)
@pytest.mark.parametrize("inner", ["mine", "reverse(mine)", "concat(raster, mine)"])
def test_given_orders_have_no_place(text: str, inner: str) -> None:
    function = text.split("(")[0]
    found = findings(f"grid h, w\norder mine = input\norder o = {text.format(inner)}")
    place = 11 + text.format(inner).index(inner)
    assert found == [f"S144 3:{place} `{function}` cannot be applied to `{inner}`, which is given at run time"]


def test_given_order_is_an_argument_in_python() -> None:
    assert findings("grid h, w order lambda = input") == ["S108 1:17 an order given at run time may not be named `lambda`"]


# refused by name


@pytest.mark.parametrize(
    "text, code",
    [
        ("mst", "S161"),
        ("reverse(tree)", "S161"),
        ("tree_scan(raster)", "S161"),
        ("bfs", "S161"),
        ("wavefront", "S160"),
        ("mamba2d(raster)", "S160"),
        ("scan_2d", "S160"),
        ("sort(raster)", "S147"),
        ("argsort", "S147"),
        ("sort_by_norm(raster)", "S147"),
        ("deform(raster)", "S147"),
        ("bilinear(raster, 2)", "S147"),
        ("shuffle(raster)", "S147"),
        ("downsample(raster, 2)", "S147"),
        ("reverse(input)", "S147"),
    ],
)
def test_what_is_no_order_is_refused_by_name(text: str, code: str) -> None:
    source = f"grid h, w\norder o = {text}\n"
    (found,) = findings(source)
    assert found.startswith(code)
    with pytest.raises(ScanError) as caught:
        checked(source)
    assert caught.value.diagnostics[0].help


def test_own_orders_may_have_any_name() -> None:
    assert checked("grid h, w order tree = raster order sort = reverse(tree)").orders["sort"]
    assert findings("grid h, w order tree_rows = raster order o = tree_row") == ["S101 1:46 unknown order `tree_row`"]


# limits


def test_orders_that_double_are_bounded() -> None:
    for function in ("concat", "interleave"):
        text = "grid h, w\norder o0 = raster\n"
        text += "\n".join(f"order o{k} = {function}(o{k - 1}, o{k - 1})" for k in range(1, 61))
        assert findings(text) == ["S106 9:12 too many steps for each cell"]


def test_windows_in_windows_are_bounded() -> None:
    text = "grid h, w\norder o0 = hilbert\n"
    text += "\n".join(f"order o{k} = window(o{k - 1}, 2, 2, outer = o{k - 1})" for k in range(1, 61))
    assert findings(text) == ["S106 10:12 too many orders in one order"]


def test_tokens_after_every_step_are_bounded() -> None:
    text = "grid h, w\norder o0 = raster\n"
    text += "\n".join(f"order o{k} = insert(o{k - 1}, t{k} at every 1)" for k in range(1, 30))
    assert findings(text) == ["S106 9:12 too many steps for each cell"]


def test_deep_orders_are_bounded_within_and_across_definitions() -> None:
    inside = "reverse(" * 60 + "{}" + ")" * 60
    text = "grid h, w\n" + "\n".join(f"order o{k} = {inside.format(f'o{k + 1}')}" for k in range(60))
    assert findings(text + "\norder o60 = raster\n")[0] == "S106 3:44 too many orders built on orders"
    back = "\n".join(f"order o{k} = {inside.format(f'o{k + 1}')}" for k in range(59, -1, -1))
    assert findings("grid h, w\norder o60 = raster\n" + back)[0].startswith("S106 4:")


def test_steps_per_cell() -> None:
    assert steps_per_cell(order("concat(raster, interleave(snake, hilbert), insert(raster, a at every 4))")) == 4.25
    assert (
        steps_per_cell(order("window(concat(raster, raster), 2, 2, outer = concat(raster, raster, raster), pad = decay)")) == 6
    )


# tables


def save(folder: Path, name: str, array: object) -> None:
    np.save(folder / name, np.asarray(array))


def table(folder: Path, array: object, grid: str = "h, w") -> TableOrder:
    save(folder, "t.npy", array)
    found = order('table("t.npy")', grid, folder)
    assert isinstance(found, TableOrder)
    return found


def cells(of: TableOrder) -> list[int]:
    return [int(cell) for cell in np.frombuffer(of.cells, dtype="<i8")]


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i4", ">i4", "<u8", ">i8"])
def test_tables_of_cells_and_of_steps(tmp_path: Path, dtype: str) -> None:
    positions = np.array([4, 2, 0, 1, 5, 3])
    as_cells = table(tmp_path, positions.astype(dtype))
    assert (as_cells.shape, cells(as_cells)) == ((6,), positions.tolist())
    steps = np.argsort(positions).reshape(2, 3)
    as_steps = table(tmp_path, steps.astype(dtype))
    assert (as_steps.shape, cells(as_steps)) == ((2, 3), positions.tolist())
    assert cells(table(tmp_path, np.asfortranarray(steps.astype(dtype)))) == positions.tolist()


def test_tables_of_other_grids(tmp_path: Path) -> None:
    assert table(tmp_path, np.arange(24).reshape(2, 3, 4), "t, h, w").shape == (2, 3, 4)
    assert cells(table(tmp_path, [1, 2, 0], "l")) == [1, 2, 0]
    save(tmp_path, "flat.npy", np.arange(6).reshape(2, 3))
    assert finding('table("flat.npy")', "l", tmp_path) == 'S150 the table "flat.npy" does not have the axes of the grid'
    save(tmp_path, "scalar.npy", 0)
    assert finding('table("scalar.npy")', "h, w", tmp_path) == 'S150 the table "scalar.npy" does not have the axes of the grid'


@pytest.mark.parametrize(
    "array, label",
    [
        ([0, 1, 6, 9, 4, -5], "entry 2 is 6, not one of 0 … 5"),
        ([0, 1, 2, -1], "entry 3 is -1, not one of 0 … 3"),
        (np.array([0, 2**64 - 1], dtype="u8"), "entry 1 is 18446744073709551615, not one of 0 … 1"),
        ([3, 1, 1, 3], "entries 1 and 2 are both 1, none is 0"),
        ([[0, 1], [2, 0]], "entries (0, 0) and (1, 1) are both 0, none is 3"),
    ],
)
def test_first_wrong_entry_of_a_table(tmp_path: Path, array: object, label: str) -> None:
    save(tmp_path, "t.npy", array)
    with pytest.raises(ScanError) as caught:
        order('table("t.npy")', "h, w", tmp_path)
    assert [(d.code, d.label) for d in caught.value.diagnostics] == [("S149", label)]


def reason(text: str, folder: Path | None) -> str:
    with pytest.raises(ScanError) as caught:
        order(text, "h, w", folder)
    (found,) = caught.value.diagnostics
    assert found.code == "S148"
    return found.label


def test_tables_lie_beside_their_program(tmp_path: Path) -> None:
    inside = tmp_path / "program"
    (inside / "deeper").mkdir(parents=True)
    save(tmp_path, "outside.npy", [0, 1])
    save(inside / "deeper", "below.npy", [1, 0])
    (inside / "link.npy").symlink_to(tmp_path / "outside.npy")
    assert isinstance(order('table("deeper/below.npy")', folder=inside), TableOrder)
    assert "`..` leads out of it" in reason('table("../outside.npy")', inside)
    assert "an absolute path" in reason(f'table("{tmp_path}/outside.npy")', inside)
    assert "an absolute path" in reason('table("C:/outside.npy")', inside)
    assert "separated by `/`" in reason(r'table("deeper\below.npy")', inside)
    assert "a symbolic link leads out of it" in reason('table("link.npy")', inside)
    assert reason('table("deeper/below.npy")', None) == "a program given as text has no folder to look in"


def test_an_imported_program_has_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    save(tmp_path / "lib", "t.npy", [2, 0, 1])
    (tmp_path / "lib" / "mine.scan").write_text('grid a, b order mine = table("t.npy")')
    program = checked('grid h, w import "lib/mine.scan" order o = reverse(mine)', tmp_path)
    assert isinstance(program.orders["mine"], TableOrder)


def test_what_is_no_table(tmp_path: Path) -> None:
    save(tmp_path, "floats.npy", [0.0, 1.0])
    save(tmp_path, "flags.npy", [False, True])
    save(tmp_path, "empty.npy", np.zeros((0, 4), dtype=int))
    np.savez(tmp_path / "several.npy", a=[0], b=[0])
    (tmp_path / "several.npy.npz").rename(tmp_path / "several.npy")
    np.save(tmp_path / "objects.npy", np.array([print], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("0 1 2")
    (tmp_path / "nothing.npy").write_bytes(b"")
    (tmp_path / "folder.npy").mkdir()
    assert reason('table("none.npy")', tmp_path) == "there is no such file"
    assert reason('table("folder.npy")', tmp_path) == "it is no file"
    assert reason('table("floats.npy")', tmp_path) == "it holds float64, not integers"
    assert reason('table("flags.npy")', tmp_path) == "it holds bool, not integers"
    assert reason('table("empty.npy")', tmp_path) == "it is empty"
    for name in ("several", "text", "nothing"):
        assert reason(f'table("{name}.npy")', tmp_path) == "it is no file of one array, as `numpy.save` writes it"
    assert reason('table("objects.npy")', tmp_path) == "it is damaged, or holds Python objects"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    assert reason('table("pipe.npy")', tmp_path) == "it is no file"


def headers() -> st.SearchStrategy[bytes]:
    """Bytes that begin like a table's."""
    shapes = ["(6,)", "(2, 3)", "(-6,)", "(1" + "0" * 18 + ",)", "(True, 6)", "()", "((((", "(6L,)", "None"]
    types = ["'<i8'", "'|O'", "'<f8'", "'V0'", "[('a', '<i8')]", "'garbage'", "7"]
    made = st.builds(
        "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}".format,
        st.sampled_from(types),
        st.sampled_from(["False", "True", "0", "__import__('os')"]),
        st.sampled_from(shapes),
    )
    header = st.one_of(made.map(str.encode), st.binary(max_size=80))
    versions = st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x07\x00"])
    return st.builds(with_header, header, versions, st.integers(0, 3))


def with_header(text: bytes, version: bytes, short: int) -> bytes:
    length = len(text).to_bytes(2 if version[0] < 2 else 4, "little")
    return b"\x93NUMPY" + version + length + text[short:]


@given(headers(), st.binary(max_size=60))
def test_no_file_gives_more_than_a_finding(tmp_path_factory: pytest.TempPathFactory, header: bytes, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "t.npy").write_bytes(header + data)
    with suppress(ScanError):
        order('table("t.npy")', "h, w", folder)


def test_cells_of_tables_are_bounded_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LIMITS", Limits(table_cells=10))
    save(tmp_path, "six.npy", np.arange(6))
    save(tmp_path, "five.npy", np.arange(5))
    save(tmp_path, "wide.npy", np.arange(11, dtype="u1"))
    save(tmp_path, "huge.npy", np.arange(10_000))
    text = 'order {} = concat(table("six.npy"), table("six.npy"))\n'
    assert checked("grid h, w\n" + text.format("a") + text.format("b"), tmp_path).orders
    for name in ("five", "wide", "huge"):
        found = findings("grid h, w\n" + text.format("a") + f'order b = table("{name}.npy")', tmp_path)
        assert found == ["S106 3:17 too many cells in tables"]
    assert findings('grid h, w order a = table("wide.npy")', tmp_path) == ["S106 1:27 too many cells in tables"]


def test_a_table_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = tables.read_array
    monkeypatch.setattr(tables, "read_array", lambda path, most: [read.append(path), original(path, most)][1])
    save(tmp_path, "t.npy", np.arange(6))
    checked('grid h, w order a = table("t.npy") order b = reverse(table("t.npy")) order c = concat(a, b)', tmp_path)
    assert len(read) == 1
    found = findings("grid h, w\n" + "\n".join(f'order o{k} = table("none.npy")' for k in range(5)), tmp_path)
    assert len(found) == 5
    assert len(read) == 2


# imports


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)


def test_axes_of_imported_orders_go_by_position(tmp_path: Path) -> None:
    write(tmp_path, "video.scan", "grid a, b, c order frames = walk c, a, b")
    program = checked('grid t, h, w import "video.scan" order o = reverse(frames)', tmp_path)
    assert program.orders["o"] == ReverseOrder(WalkOrder((Whole(2, ""), Whole(0, ""), Whole(1, "")), NOWHERE), NOWHERE)


def test_imported_orders_of_other_grids_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "video.scan", "grid a, b, c order frames = walk c, a, b")
    text = 'grid h, w\nimport "video.scan"\norder o = reverse(frames)\n'
    assert findings(text, tmp_path) == ["S151 2:1 `video.scan` has a grid of 3 axes, this file one of 2 axes"]


def test_imported_scans_of_other_grids_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "flat.scan", LEAKY + "scan flat(dim) { directions raster  recur leaky }")
    text = 'grid l\nimport "flat.scan"\nscan s(dim) { directions raster  recur leaky }'
    assert findings(text, tmp_path) == ["S151 2:1 `flat.scan` has a grid of 2 axes, this file one of 1 axis"]


def test_recurrences_fit_every_grid(tmp_path: Path) -> None:
    write(tmp_path, "leaky.scan", "grid a, b\n" + LEAKY)
    program = checked('grid t, h, w import "leaky.scan" scan s(dim) { directions raster  recur leaky }', tmp_path)
    assert program.scans["s"].directions[0].order == order("raster", "t, h, w")


def test_a_file_without_grid_has_that_of_its_imports(tmp_path: Path) -> None:
    write(tmp_path, "video.scan", "grid a, b, c order frames = walk c, a, b")
    write(tmp_path, "flat.scan", "grid a, b order rows = walk a, b")
    scan = LEAKY + "scan s(dim) { directions frames, raster  recur leaky }"
    program = checked('import "video.scan"\n' + scan, tmp_path)
    assert program.axes == ("a", "b", "c")
    assert program.scans["s"].directions[1].order == order("raster", "t, h, w")
    both = 'import "video.scan"\nimport "flat.scan"\n' + scan
    assert findings(both, tmp_path) == ["S151 2:1 `flat.scan` has a grid of 2 axes, this file one of 3 axes"]


@pytest.mark.parametrize(
    "direction, needed",
    [
        ("hilbert", False),
        ("window(hilbert, 7, 7, outer = snake)", False),
        ("reset(window(raster, 7, 7), every window)", False),
        ("shift(raster, 1, 1)", False),
        ("window(raster, 7, w)", True),
        ("window(raster, 7, 7, outer = flip(raster, h))", True),
        ("reset(raster, every h)", True),
        ("reverse((walk h, w))", True),
    ],
)
def test_a_scan_that_names_axes_needs_a_grid(direction: str, needed: bool) -> None:
    text = LEAKY + f"scan s(dim) {{ directions {direction}, raster  recur leaky }}"
    if needed:
        assert findings(text)[0].startswith("S109")
    else:
        assert checked(text).scans["s"]


def test_every_combination_of_two_functions_is_checked_without_an_error() -> None:
    calls = ("reverse({})", "flip({}, h)", "rotate({}, 90)", "window({}, 2, 3)", "dilate({}, 2)", "shift({}, 1, 1)")
    calls += ("concat({0}, {0})", "interleave({}, raster)", "reset({}, every w)", "insert({}, cls at middle)")
    for outer, inner, leaf in itertools.product(calls, calls, ("snake", "spiral", "wrapped_diagonal", "random(1)")):
        text = outer.format(inner.format(leaf))
        if outer.startswith("interleave") and inner.startswith("reset"):
            assert finding(text).startswith("S146")
        else:
            assert order(text)
