"""Every construct against its definition in plain Python: cells, tokens, pads, restarts; and the laws among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_orders import Step, all_orders, visits
from strategies_orders import NOWHERE

import scanlang
from scanlang.check.program import CheckedOrder, TableOrder
from scanlang.diagnostics import ScanError
from scanlang.maps.order import Order
from scanlang.maps.sequence import Sequence, sequence_of

AXES = ("t", "d", "h", "w")
SIZES = ((1, 1), (1, 9), (9, 1), (2, 3), (3, 2), (7, 12), (13, 8), (16, 16))


def named(checked: CheckedOrder, rank: int = 2) -> Order:
    return Order("o", AXES[-rank:], checked)


def visited(sequence: Sequence, grid: tuple[int, ...]) -> list[tuple[object, ...]]:
    """What every step visits, as the definitions say it; pads without their numbers."""
    tokens = [("token", name, number) for name, count in sequence.tokens for number in range(count)]
    return [
        ("pad",)
        if row < 0
        else ("cell", tuple(map(int, np.unravel_index(row, grid))))
        if row < sequence.cells
        else tokens[row - sequence.cells]
        for row in sequence.rows.tolist()
    ]


def assert_like_the_definition(order: CheckedOrder, grid: tuple[int, ...]) -> None:
    rank = len(grid)
    try:
        expected: list[Step] = visits(order, grid)
    except ValueError as error:
        with pytest.raises(ScanError, match=str(error)):
            sequence_of(order, AXES[-rank:], grid, "o")
        return
    found = sequence_of(order, AXES[-rank:], grid, "o")
    assert visited(found, grid) == [step.visit for step in expected]
    assert found.restarts.tolist() == [t > 0 and step.run != expected[t - 1].run for t, step in enumerate(expected)]
    pads = sorted((-1 - found.rows[found.rows < 0]).tolist())
    assert pads == list(range(found.pads))
    order_ = named(order, rank)
    cells = [int(np.ravel_multi_index(s.visit[1], grid)) if s.visit[0] == "cell" else -1 for s in expected]
    assert order_.ranks(*grid).tolist() == [cells.index(cell) if cell in cells else -1 for cell in range(found.cells)]
    assert order_.visits(*grid).tolist() == [cells.count(cell) for cell in range(found.cells)]


@given(all_orders(2), st.tuples(st.integers(1, 7), st.integers(1, 7)))
@settings(max_examples=250)
def test_every_construct_on_two_axes(order: CheckedOrder, grid: tuple[int, int]) -> None:
    assert_like_the_definition(order, grid)


@given(st.data(), st.sampled_from((1, 3, 4)))
@settings(max_examples=120)
def test_every_construct_on_other_grids(data: st.DataObject, rank: int) -> None:
    grid = data.draw(st.tuples(*[st.integers(1, {1: 20, 3: 4, 4: 3}[rank])] * rank))
    assert_like_the_definition(data.draw(all_orders(rank, 2)), grid)


WITH_EVERYTHING = (
    "raster",
    "columns",
    "snake",
    "diagonal",
    "antidiagonal",
    "zigzag",
    "spiral",
    "hilbert",
    "morton",
    "random(7)",
    "reverse(snake)",
    "transpose(spiral)",
    "flip(hilbert, h)",
    "rotate(zigzag, 90)",
    "rotate(morton, 270)",
    "shift(snake, 2, -3)",
    "window(hilbert, 3, 4, outer = snake)",
    "window(snake, 2, 2, outer = window(raster, 2, 2))",
    "window(spiral, 3, 2, outer = zigzag, pad = decay)",
    "window(insert(raster, cls at middle), 2, w, outer = insert(snake, reg at head))",
    "window(dilate(raster, 2), 3, h, pad = decay)",
    "dilate(snake, 2, phase = (1, 0))",
    "dilate(raster, 3, phase = (2, 1), pad = decay)",
    "concat(hilbert, transpose(hilbert))",
    "interleave(raster, dilate(snake, 2), reverse(raster))",
    "reset(raster, every h)",
    "reset(snake, every w)",
    "reset(window(snake, 3, 3, pad = decay), every window)",
    "reset((walk h by 3, w by 4, h, ~w), every window)",
    "reset(reset(raster, every h), every w)",
    "reverse(reset(columns, every w))",
    "insert(raster, cls at head, reg at every 3, cls at tail)",
    "insert(reverse(raster), cls at middle)",
    "reverse(insert(raster, cls at middle))",
    "insert(reset(raster, every h), reg at every w, cls at 1)",
    "insert(insert(snake, cls at middle), cls at tail, reg at spread 1)",
    "concat(insert(raster, cls at head), insert(columns, reg at head, cls at tail))",
    "concat(reset(raster, every h), columns)",
    "interleave(insert(raster, cls at tail), window(raster, 2, 2, pad = decay))",
    "concat(window(raster, 2, 2, pad = decay), dilate(raster, 2, phase = (1, 1), pad = decay))",
    "window(reset(raster, every h), 2, 2, outer = insert(snake, reg at every 1))",
)


@pytest.mark.parametrize("text", WITH_EVERYTHING)
def test_constructs_on_the_sizes_of_the_catalogue(text: str) -> None:
    for size in SIZES:
        assert_like_the_definition(scanlang.order(text).checked, size)


@pytest.mark.parametrize("size", SIZES)
def test_formulas_and_what_is_made_of_them(size: tuple[int, int]) -> None:
    """A formula and the walk it says give the same in every construct."""
    around = (
        "{}",
        "window({}, 2, 3, outer = reverse({}))",
        "insert(dilate({}, 2), cls at middle)",
        "transpose(shift({}, 1, 2))",
    )
    lines = ["grid h, w", "order f(t) = (t // w, where(t // w % 2 == 0, t % w, w - 1 - t % w))"]
    for number, text in enumerate(around):
        lines += [f"order {name}{number} = {text.replace('{}', order)}" for name, order in (("a", "f"), ("b", "snake"))]
    orders = scanlang.loads("\n".join(lines)).orders
    for number in range(len(around)):
        assert np.array_equal(orders[f"a{number}"].positions(*size), orders[f"b{number}"].positions(*size))
        assert orders[f"a{number}"] == orders[f"b{number}"]


def table(shape: tuple[int, ...], cells: list[int]) -> TableOrder:
    return TableOrder("t.npy", shape, np.array(cells, dtype="<i8").tobytes(), NOWHERE)


def test_tables_are_for_one_size() -> None:
    mine = named(table((2, 3), [5, 0, 4, 1, 3, 2]))
    assert mine.positions(2, 3).tolist() == [5, 0, 4, 1, 3, 2]
    assert mine.proof == "table: each of its 2 × 3 cells once, by check"
    for size in ((3, 2), (1, 6), (2, 4)):
        with pytest.raises(ScanError, match=r"S208.*is for 2 × 3 grids"):
            mine.positions(*size)
    flat = named(table((6,), [5, 0, 4, 1, 3, 2]))
    for size in ((2, 3), (3, 2), (1, 6)):
        assert flat.positions(*size).tolist() == [5, 0, 4, 1, 3, 2]
    assert flat != mine
    assert mine == named(table((2, 3), [5, 0, 4, 1, 3, 2]))
    assert mine != named(table((2, 3), [5, 0, 4, 1, 2, 3]))


# What the numbers mean.


def test_positions_of_tokens_and_pads() -> None:
    tokens = scanlang.order("reverse(insert(raster, reg at every 2, cls at head))")
    assert tokens.positions(2, 2).tolist() == [5, 3, 2, 4, 1, 0, 6]
    assert tokens.tokens(2, 2) == (("reg", 2), ("cls", 1))
    assert tokens.token_names == ("reg", "cls")
    assert tokens.ranks(2, 2).tolist() == [5, 4, 2, 1]
    pads = scanlang.order("window(raster, 2, 2, pad = decay)")
    assert pads.positions(1, 3).tolist() == [0, 1, -1, -1, 2, -1, -1, -1]
    assert pads.sequence(1, 3).rows.tolist() == [0, 1, -1, -2, 2, -3, -4, -5]
    assert pads.visits(1, 3).tolist() == [1, 1, 1]
    assert scanlang.order("reverse(window(raster, 2, 2, pad = decay))").sequence(1, 3).rows.tolist() == [
        -5,
        -4,
        -3,
        2,
        -2,
        -1,
        1,
        0,
    ]


def test_cells_left_out_and_visited_again() -> None:
    assert scanlang.order("dilate(raster, 2, phase = (1, 0))").ranks(3, 3).tolist() == [-1, -1, -1, 0, -1, 1, -1, -1, -1]
    assert scanlang.order("dilate(raster, 2, phase = (1, 1))").positions(1, 5).tolist() == []
    twice = scanlang.order("concat(raster, reverse(raster))")
    assert twice.ranks(1, 3).tolist() == [0, 1, 2]
    assert twice.visits(1, 3).tolist() == [2, 2, 2]
    assert scanlang.order("interleave(raster, reverse(raster))").positions(1, 3).tolist() == [0, 2, 1, 1, 2, 0]


def test_vim_and_local_vim_place_their_token_differently() -> None:
    """`cls at middle` of 5 cells is before step 2; run backwards it is after 3 cells, put in afterwards again after 2."""
    assert scanlang.order("insert(raster, cls at middle)").positions(1, 5).tolist() == [0, 1, 5, 2, 3, 4]
    assert scanlang.order("reverse(insert(raster, cls at middle))").positions(1, 5).tolist() == [4, 3, 2, 5, 1, 0]
    assert scanlang.order("insert(reverse(raster), cls at middle)").positions(1, 5).tolist() == [4, 3, 5, 2, 1, 0]


def test_restarts_survive_reversal() -> None:
    rows = scanlang.order("reset(raster, every h)")
    assert np.flatnonzero(rows.sequence(3, 4).restarts).tolist() == [4, 8]
    assert np.flatnonzero(scanlang.order("reverse(reset(raster, every h))").sequence(3, 4).restarts).tolist() == [4, 8]
    ragged = scanlang.order("reset(window(raster, 2, 2), every window)")
    assert np.flatnonzero(ragged.sequence(3, 3).restarts).tolist() == [4, 6, 8]
    backwards = scanlang.order("reverse(reset(window(raster, 2, 2), every window))")
    assert np.flatnonzero(backwards.sequence(3, 3).restarts).tolist() == [1, 3, 5]


def test_pads_belong_to_their_window() -> None:
    """Also where they come first in it."""
    order = scanlang.order("reset(window(reverse(raster), 1, 2, pad = decay), every window)")
    assert order.positions(1, 3).tolist() == [1, 0, -1, 2]
    assert np.flatnonzero(order.sequence(1, 3).restarts).tolist() == [2]


@pytest.mark.parametrize(
    ("text", "size", "code"),
    [
        ("insert(raster, cls at 5)", (2, 2), "S206"),
        ("window(insert(raster, cls at 3), 2, 2)", (3, 3), "S206"),
        ("insert(raster, cls at spread 5)", (2, 2), "S207"),
        ("window(raster, 10000, 10000, pad = decay)", (2, 2), "S211"),
    ],
)
def test_sizes_at_which_there_is_no_such_order(text: str, size: tuple[int, int], code: str) -> None:
    order = scanlang.order(text)
    for of in (order, scanlang.order(f"reverse({text})")):
        with pytest.raises(ScanError) as caught:
            of.positions(*size)
        assert caught.value.diagnostics[0].code == code


def test_sizes_of_another_grid_are_a_finding() -> None:
    for size in ((3,), (2, 3, 4), ()):
        with pytest.raises(ScanError, match=r"S205.*\n.*\n.*\n.*\n.*the program's grid has 2 axes"):
            scanlang.order("spiral").positions(*size)


# Laws, with their side conditions.


def same(left: str, right: str, size: tuple[int, int]) -> bool:
    return np.array_equal(scanlang.order(left).positions(*size), scanlang.order(right).positions(*size))


@pytest.mark.parametrize("size", SIZES)
def test_reversal_is_a_half_turn_only_for_some(size: tuple[int, int]) -> None:
    h, w = size
    for order in ("raster", "columns"):
        assert same(f"reverse({order})", f"rotate({order}, 180)", size)
    assert same("reverse(snake)", "rotate(snake, 180)", size) == (h % 2 == 1 or w == 1)
    if h % 2 == 0 and w % 4 == 0:
        assert same("reverse(window(raster, 2, 4))", "rotate(window(raster, 2, 4), 180)", size)
    if min(size) > 2:
        for order in ("wrapped_diagonal", "spiral", "diagonal"):
            half_turn = order == "diagonal"
            turned = scanlang.order(f"rotate({order}, 180)").positions(*size)
            assert np.array_equal(turned, scanlang.order(f"reverse({order})").positions(*size)) == half_turn
    if h % 3 and min(size) > 3:
        assert not same("reverse(window(raster, 3, 3))", "rotate(window(raster, 3, 3), 180)", size)


def test_dihedral_group_of_every_order() -> None:
    for order in ("hilbert", "insert(spiral, cls at middle)", "reset(window(snake, 2, 3, pad = decay), every window)"):
        once = scanlang.order(order)
        pairs = [
            (f"rotate(rotate({order}, 90), 90)", f"rotate({order}, 180)"),
            (f"rotate(rotate({order}, 90), 270)", order),
            (f"transpose(flip({order}, h))", f"flip(transpose({order}), w)"),
            (f"flip(flip({order}, h), w)", f"rotate({order}, 180)"),
            (f"reverse(transpose({order}))", f"transpose(reverse({order}))"),
            (f"reverse(reverse({order}))", order),
            (f"shift(shift({order}, 2, -1), -2, 1)", order),
        ]
        for left, right in pairs:
            assert scanlang.order(left) == scanlang.order(right)
            assert hash(scanlang.order(left)) == hash(scanlang.order(right))
        eight = [once, *(scanlang.order(f"rotate({order}, {turn})") for turn in (90, 180, 270))]
        eight += [scanlang.order(f"transpose({each.checked.span.text})") for each in eight]
        assert len(set(eight)) == 8


def test_a_quarter_turn_is_clockwise() -> None:
    """What stood in the upper left corner stands in the upper right one."""
    assert scanlang.order("rotate(raster, 90)").ranks(2, 3).reshape(2, 3).tolist() == [[4, 2, 0], [5, 3, 1]]
    assert np.array_equal(
        np.rot90(np.arange(6).reshape(3, 2), -1), scanlang.order("rotate(raster, 90)").ranks(2, 3).reshape(2, 3)
    )


@given(st.sampled_from(("spiral", "random(3)", "window(hilbert, 2, 3)")), st.tuples(st.integers(1, 9), st.integers(1, 9)))
@settings(max_examples=30)
def test_ranks_undo_positions(text: str, size: tuple[int, int]) -> None:
    order, cells = scanlang.order(text), np.arange(size[0] * size[1])
    assert np.array_equal(order.ranks(*size)[order.positions(*size)], cells)
    assert np.array_equal(order.positions(*size)[order.ranks(*size)], cells)


# Published sets of orders.


@pytest.mark.parametrize("size", SIZES)
def test_plain_mamba(size: tuple[int, int]) -> None:
    """o1: row t // w, its columns there and back; o2 is o1 backwards; o3 and o4 likewise down the columns."""
    h, w = size
    o1 = [t // w * w + (t % w if t // w % 2 == 0 else w - 1 - t % w) for t in range(h * w)]
    o3 = [(t % h if t // h % 2 == 0 else h - 1 - t % h) * w + t // h for t in range(h * w)]
    ours = ("snake", "reverse(snake)", "transpose(snake)", "reverse(transpose(snake))")
    for text, theirs in zip(ours, (o1, o1[::-1], o3, o3[::-1]), strict=True):
        assert scanlang.order(text).positions(h, w).tolist() == theirs


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_zigma(n: int) -> None:
    """Its eight orders are the images of the snake, and there is the reversal of every one among them."""
    snakes = {
        tuple(image(grid).ravel().argsort().tolist())
        for grid in [
            np.array([t if r % 2 == 0 else r * n + n - 1 - t % n for r in range(n) for t in range(r * n, r * n + n)]).reshape(
                n, n
            )
        ]
        for turned in range(4)
        for image in (lambda g, k=turned: np.rot90(g, k), lambda g, k=turned: np.rot90(g.T, k))
    }
    turns = ["snake", *(f"rotate(snake, {angle})" for angle in (90, 180, 270))]
    ours = {tuple(scanlang.order(text).positions(n, n).tolist()) for turn in turns for text in (turn, f"transpose({turn})")}
    assert ours == snakes
    assert {order[::-1] for order in ours} == ours


@pytest.mark.parametrize("size", [(4, 4), (8, 16), (16, 8)])
def test_quad_mamba(size: tuple[int, int]) -> None:
    """Quadrants, and quadrants of quadrants, are windows in windows."""
    h, w = size
    split = np.arange(h * w).reshape(2, 2, h // 4, 2, 2, w // 4)
    theirs = split.transpose(0, 3, 1, 4, 2, 5).ravel()
    text = f"window(window(raster, {h // 4}, {w // 4}), {h // 2}, {w // 2})"
    assert scanlang.order(text).positions(h, w).tolist() == theirs.tolist()


@pytest.mark.parametrize(("size", "stripe"), [((4, 12), 4), ((7, 13), 4), ((1, 9), 2), ((9, 1), 2)])
def test_mair(size: tuple[int, int], stripe: int) -> None:
    """Stripes of columns, snakes inside, every second stripe from below."""
    h, w = size
    theirs = []
    for t in range(h * w):
        j = t // (h * stripe)
        wide = min(stripe, w - j * stripe)
        down, along = divmod(t - j * h * stripe, wide)
        row = h - 1 - down if j % 2 else down
        theirs.append(row * w + j * stripe + (wide - 1 - along if down % 2 else along))
    assert scanlang.order(f"walk w by {stripe}, ~h, ~w").positions(h, w).tolist() == theirs


# Equality.


def test_equal_orders_visit_alike() -> None:
    equal = [
        ("walk h by 2, w by 3, h, w", "window(raster, 2, 3)"),
        ("wrapped_diagonal", "o(t) = (t % h, (t // h + t % h) % w)"),
        ("reset(raster, every h)", "reset(walk h, w, every h)".replace("walk h, w", "(walk h, w)")),
        ("reverse(raster)", "rotate(raster, 180)"),
        ("concat(raster, raster)", "concat((walk h, w), reverse(reverse(raster)))"),
        ("walk w by 40, h, w", "transpose(walk h by 40, w, h)"),
        ("walk w by 40, h, w", "window(raster, h, 40)"),
    ]
    for left, right in equal:
        assert scanlang.order(left) == scanlang.order(right)
        assert hash(scanlang.order(left)) == hash(scanlang.order(right))


def test_different_orders_differ() -> None:
    different = [
        ("walk w by 32, h, w", "walk w by 64, h, w"),
        ("walk h by 40, w by 40, h, w", "walk w by 40, h by 40, h, w"),
        ("window(snake, 30, 30)", "window(snake, 30, 31)"),
        ("raster", "snake"),
        ("raster", "reset(raster, every h)"),
        ("insert(raster, cls at head)", "insert(raster, reg at head)"),
        ("insert(raster, cls at 98)", "insert(raster, cls at 99)"),
        ("insert(raster, reg at every 100)", "insert(raster, reg at every 101)"),
        ("window(raster, 2, 2)", "window(raster, 2, 2, pad = decay)"),
        ("random(1)", "random(2)"),
        ("dilate(raster, 40)", "dilate(raster, 41)"),
        ("shift(raster, 36036000, 0)", "raster"),
        ("walk w by 5000, h, w", "walk w by 5001, h, w"),
    ]
    for left, right in different:
        assert scanlang.order(left) != scanlang.order(right), (left, right)
    assert scanlang.order("raster", "h, w") != scanlang.order("raster", "t, h, w")
    assert scanlang.order("raster", "h, w") == scanlang.order("raster", "y, x")
    assert scanlang.order("raster") != "raster"


def test_orders_show_themselves() -> None:
    order = scanlang.order("walk h by 7,\n w by 7, h, w")
    assert str(order) == order.name == "walk h by 7, w by 7, h, w"
    assert repr(order) == "<order walk h by 7, w by 7, h, w>"
    formula = scanlang.order("cols(t) = (t % h, t // h)")
    assert repr(formula) == "<order cols(t) = (t % h, t // h)>"
    assert formula.name == "cols"
    program = scanlang.loads("grid h, w order mine = snake order other = reverse(mine)")
    assert [repr(each) for each in program.orders.values()] == ["<order snake>", "<order reverse(mine)>"]
    assert ">63</text>" in (order._repr_svg_() or "")
    assert "cls" in (scanlang.order("insert(raster, cls at 98)")._repr_svg_() or "")
    assert scanlang.order("window(raster, 9999, 9999, pad = decay)")._repr_svg_() is None


# Text.


@pytest.mark.parametrize(
    ("text", "place", "code"),
    [
        ("walk h, x", "1:9", "S101"),
        ("reverse(\nrasta)", "2:1", "S101"),
        ("o(t) = (t % h, t // w)", "1:8", "S201"),
        ("raster order p = snake", "1:8", "S001"),
        ("import std.selective", "1:8", "S001"),
        ("", "1:1", "S002"),
        ("raster\x00", "1:7", "S003"),
    ],
)
def test_findings_point_into_the_text(text: str, place: str, code: str) -> None:
    with pytest.raises(ScanError) as caught:
        scanlang.order(text)
    found = caught.value.diagnostics[0]
    assert (found.code, str(found.span)) == (code, f"<order>:{place}")
    assert f"--> <order>:{place}" in str(caught.value)


def test_other_grids() -> None:
    assert scanlang.order("walk h, w, t", "t, h, w").positions(2, 1, 3).tolist() == [0, 3, 1, 4, 2, 5]
    assert scanlang.order("snake", "t, h, w").positions(2, 2, 2).tolist() == [0, 1, 3, 2, 6, 7, 5, 4]
    assert scanlang.order("reverse(raster)", "l").positions(3).tolist() == [2, 1, 0]
    assert scanlang.order("o(t) = (l - 1 - t)", "l").positions(3).tolist() == [2, 1, 0]
    assert scanlang.order("transpose(raster)", "t, h, w").positions(2, 2, 3).tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
