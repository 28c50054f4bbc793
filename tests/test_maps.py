"""Orders as maps and nests: known tables, and what must hold for every walk at every size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_orders import visits
from slow_orders import walks as walks_on
from strategies_orders import NOWHERE, SIZES, orders, run_order, walks

from scanlang.check.program import (
    CheckedOrder,
    FlipOrder,
    Phases,
    ReverseOrder,
    ShiftOrder,
    Tiles,
    TransposeOrder,
    WalkOrder,
    Whole,
)
from scanlang.diagnostics import ScanError
from scanlang.maps.integers import Constant
from scanlang.maps.order import Order
from scanlang.maps.sequence import sequence_of
from scanlang.maps.verify import verify_size


def order(*loops: Whole | Tiles | Phases) -> Order:
    return named(WalkOrder(loops, NOWHERE))


def named(checked: CheckedOrder) -> Order:
    return Order("o", ("h", "w"), checked)


def reverse(of: Order) -> Order:
    return named(ReverseOrder(of.checked, NOWHERE))


def flip(of: Order, axis: int) -> Order:
    return named(FlipOrder(of.checked, axis, NOWHERE))


def transpose(of: Order) -> Order:
    return named(TransposeOrder(of.checked, NOWHERE))


H, W = Whole(0, ""), Whole(1, "")
RASTER, COLUMNS, SNAKE = order(H, W), order(W, H), order(H, Whole(1, "~"))
TABLES = {
    "raster": (RASTER, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    "columns": (COLUMNS, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]),
    "snake": (SNAKE, [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]),
    "walk w, ~h": (order(W, Whole(0, "~")), [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3]),
    "walk -h, w": (order(Whole(0, "-"), W), [8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3]),
    "walk h by 2, w by 2, h, w": (
        order(Tiles(0, "", 2, None), Tiles(1, "", 2, None), H, W),
        [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 10, 11],
    ),
    "walk w by 4 from 2, h, ~w": (
        order(Tiles(1, "", 4, 2), H, Whole(1, "~")),
        [0, 1, 5, 4, 8, 9, 2, 3, 7, 6, 10, 11],
    ),
    "walk w by 3 from 2, h, ~~w": (
        order(Tiles(1, "", 3, 2), H, Whole(1, "~~")),
        [0, 1, 5, 4, 8, 9, 3, 2, 6, 7, 11, 10],
    ),
    "walk h mod 2, w mod 2, h, w": (
        order(Phases(0, "", 2), Phases(1, "", 2), H, W),
        [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 5, 7],
    ),
    "transpose(snake)": (transpose(SNAKE), [0, 4, 8, 9, 5, 1, 2, 6, 10, 11, 7, 3]),
    "flip(raster, w)": (flip(RASTER, 1), [3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8]),
    "reverse(columns)": (reverse(COLUMNS), [11, 7, 3, 10, 6, 2, 9, 5, 1, 8, 4, 0]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_3x4(name: str) -> None:
    tested, expected = TABLES[name]
    assert tested.positions(3, 4).tolist() == expected
    assert tested.ranks(3, 4).tolist() == [expected.index(cell) for cell in range(12)]
    assert tested.nest is not None
    assert tested.nest.enumerate(3, 4).tolist() == expected
    assert tested.nest.at(3, 4).enumerate(3, 4).tolist() == expected


@given(orders(), SIZES)
@settings(max_examples=100)
def test_map_is_what_the_loops_do(checked: CheckedOrder, size: tuple[int, int]) -> None:
    h, w = size
    expected = [row * w + column for row, column in run_order(checked, h, w)]
    assert named(checked).positions(h, w).tolist() == expected
    assert sorted(expected) == list(range(h * w))


@given(walks(most_splits=3), SIZES)
@settings(max_examples=40)
def test_deeply_nested_tiles(checked: WalkOrder, size: tuple[int, int]) -> None:
    h, w = size
    expected = [row * w + column for row, column in run_order(checked, h, w)]
    assert named(checked).positions(h, w).tolist() == expected


@given(orders(), SIZES)
@settings(max_examples=50)
def test_nest_is_the_table(checked: CheckedOrder, size: tuple[int, int]) -> None:
    tested = named(checked)
    assert tested.nest is not None
    expected = tested.positions(*size).tolist()
    assert tested.nest.enumerate(*size).tolist() == expected
    sized = tested.nest.at(*size)
    assert sized.enumerate(*size).tolist() == expected
    if sized.uniform:
        assert np.prod([loop.count.value for loop in sized.loops], initial=sized.length.value) == size[0] * size[1]


@given(st.data(), st.sampled_from((1, 3, 4)))
@settings(max_examples=30)
def test_walks_on_other_grids(data: st.DataObject, rank: int) -> None:
    """Map, inverse, nest and reversal on one, three and four axes."""
    walk = data.draw(walks_on(rank, most_splits=1))
    size = data.draw(st.tuples(*[st.integers(1, {1: 30, 3: 5, 4: 4}[rank])] * rank))
    expected = [int(np.ravel_multi_index(step.visit[1], size)) for step in visits(walk, size)]
    turned = data.draw(st.integers(0, rank - 1))
    checked = ReverseOrder(FlipOrder(FlipOrder(walk, turned, NOWHERE), turned, NOWHERE), NOWHERE)
    for tested, positions in (
        (Order("o", "tdhw"[:rank], walk), expected),
        (Order("o", "tdhw"[:rank], checked), expected[::-1]),
    ):
        assert tested.positions(*size).tolist() == positions
        assert tested.nest is not None
        assert tested.nest.enumerate(*size).tolist() == positions
        assert tested.nest.at(*size).enumerate(*size).tolist() == positions
        assert tested.bijection is not None
        sizes = {f"n{axis}": length for axis, length in enumerate(size)}
        cell = np.unravel_index(np.array(positions), size)
        assert np.array_equal(tested.bijection.backward(*cell, **sizes)[0], np.arange(len(positions)))


def test_raster_of_any_number_of_axes_is_one_run() -> None:
    for rank in (1, 2, 3, 4):
        raster = WalkOrder(tuple(Whole(axis, "") for axis in range(rank)), NOWHERE)
        nest = Order("o", tuple("tdhw"[:rank]), raster).nest
        assert nest is not None
        assert (nest.loops, nest.start, nest.stride) == ((), Constant(0), Constant(1))


@given(walks(), st.tuples(st.integers(-9, 9), st.integers(-9, 9)), SIZES)
@settings(max_examples=40)
def test_a_rolled_walk_is_a_bijection(walk: WalkOrder, offsets: tuple[int, int], size: tuple[int, int]) -> None:
    h, w = size
    for checked in (ShiftOrder(walk, offsets, NOWHERE), ReverseOrder(ShiftOrder(walk, offsets, NOWHERE), NOWHERE)):
        rolled = named(checked)
        assert rolled.bijection is not None
        assert rolled.positions(h, w).tolist() == sequence_of(checked, ("h", "w"), size, "o").rows.tolist()
        row, column = np.divmod(rolled.positions(h, w), w)
        assert np.array_equal(rolled.bijection.backward(row, column, n0=h, n1=w)[0], np.arange(h * w))
    assert named(TransposeOrder(ShiftOrder(walk, offsets, NOWHERE), NOWHERE)).proof is not None


@given(orders(), SIZES)
@settings(max_examples=50)
def test_rank_undoes_position_both_ways(checked: CheckedOrder, size: tuple[int, int]) -> None:
    h, w = size
    bijection = named(checked).bijection
    assert bijection is not None
    steps = np.arange(h * w)
    row, column = bijection.forward(steps, n0=h, n1=w)
    assert np.array_equal(bijection.backward(row, column, n0=h, n1=w)[0], steps)
    back_row, back_column = bijection.forward(bijection.backward(steps // w, steps % w, n0=h, n1=w)[0], n0=h, n1=w)
    assert np.array_equal(back_row * w + back_column, steps)
    assert np.array_equal(named(checked).ranks(h, w)[named(checked).positions(h, w)], steps)


@given(walks(), walks(), SIZES)
@settings(max_examples=40)
def test_inverse_of_a_composition(first: WalkOrder, second: WalkOrder, size: tuple[int, int]) -> None:
    """(a⁻¹ then b)⁻¹ = b⁻¹ then a: what takes one order's cells to another's and back."""
    h, w = size
    a, b = named(first).bijection, named(second).bijection
    assert a is not None
    assert b is not None
    both = a.then(b.inverse)
    steps = np.arange(h * w)
    moved = both.forward(steps, n0=h, n1=w)[0]
    assert np.array_equal(moved, named(second).ranks(h, w)[named(first).positions(h, w)])
    assert np.array_equal(both.inverse.forward(moved, n0=h, n1=w)[0], steps)
    assert np.array_equal(b.then(a.inverse).forward(moved, n0=h, n1=w)[0], steps)


@given(orders(), SIZES)
@settings(max_examples=30)
def test_reverse_is_reversal_in_time(checked: CheckedOrder, size: tuple[int, int]) -> None:
    assert np.array_equal(reverse(named(checked)).positions(*size), named(checked).positions(*size)[::-1])


def rotated_by_180(of: Order) -> Order:
    return flip(flip(of, 0), 1)


@given(SIZES)
def test_reverse_is_rotation_for_raster_and_columns(size: tuple[int, int]) -> None:
    for tested in (RASTER, COLUMNS):
        assert np.array_equal(reverse(tested).positions(*size), rotated_by_180(tested).positions(*size))


@given(SIZES)
def test_reverse_is_rotation_for_a_snake_only_with_odd_h(size: tuple[int, int]) -> None:
    h, w = size
    same = np.array_equal(reverse(SNAKE).positions(h, w), rotated_by_180(SNAKE).positions(h, w))
    assert same == (h % 2 == 1 or w == 1)


@given(st.integers(1, 5), SIZES)
def test_reverse_is_rotation_for_tiles_where_they_divide(by: int, size: tuple[int, int]) -> None:
    h, w = size
    tiles = order(Tiles(0, "", by, None), Tiles(1, "", by, None), H, W)
    same = np.array_equal(reverse(tiles).positions(h, w), rotated_by_180(tiles).positions(h, w))
    if h % by == 0 and w % by == 0:
        assert same


def test_reverse_is_not_rotation_for_ragged_tiles() -> None:
    tiles = order(Tiles(0, "", 2, None), Tiles(1, "", 2, None), H, W)
    assert not np.array_equal(reverse(tiles).positions(3, 3), rotated_by_180(tiles).positions(3, 3))


@given(orders(), SIZES)
@settings(max_examples=30)
def test_dihedral_group(checked: CheckedOrder, size: tuple[int, int]) -> None:
    o = named(checked)
    pairs = [
        (flip(flip(o, 0), 0), o),
        (flip(flip(o, 0), 1), flip(flip(o, 1), 0)),
        (transpose(transpose(o)), o),
        (transpose(flip(o, 0)), flip(transpose(o), 1)),
        (reverse(flip(o, 1)), flip(reverse(o), 1)),
        (reverse(transpose(o)), transpose(reverse(o))),
    ]
    for left, right in pairs:
        assert left == right
        assert hash(left) == hash(right)
        assert np.array_equal(left.positions(*size), right.positions(*size))
    assert reverse(o) != o
    assert flip(o, 0) != o


@given(SIZES)
def test_transpose_walks_the_other_axis_first(size: tuple[int, int]) -> None:
    assert transpose(RASTER) == COLUMNS
    assert np.array_equal(transpose(RASTER).positions(*size), COLUMNS.positions(*size))


def test_equality_ignores_names_and_long_chains_are_fine() -> None:
    checked = RASTER.checked
    for _ in range(5000):
        checked = ReverseOrder(FlipOrder(checked, 1, NOWHERE), NOWHERE)
    assert Order("long", ("h", "w"), checked) == RASTER
    assert Order("long", ("h", "w"), checked).positions(2, 3).tolist() == [0, 1, 2, 3, 4, 5]


def test_raster_is_one_run() -> None:
    nest = RASTER.nest
    assert nest is not None
    assert nest.loops == ()
    assert (nest.start, nest.stride) == (Constant(0), Constant(1))
    assert nest.at(3, 4).length == Constant(12)
    backward = reverse(RASTER).nest
    assert backward is not None
    assert backward.loops == ()
    assert backward.stride == Constant(-1)
    assert backward.at(3, 4).start == Constant(11)


def test_columns_are_one_loop_of_strided_runs() -> None:
    nest = COLUMNS.nest
    assert nest is not None
    assert len(nest.loops) == 1
    sized = nest.at(3, 4)
    assert (sized.loops[0].count, sized.stride, sized.length) == (Constant(4), Constant(4), Constant(3))


def test_single_rows_and_columns_are_one_run() -> None:
    for tested in (RASTER, COLUMNS):
        for size in ((1, 7), (7, 1)):
            assert tested.nest is not None
            sized = tested.nest.at(*size)
            assert (sized.loops, sized.start, sized.stride, sized.length) == (
                (),
                Constant(0),
                Constant(1),
                Constant(7),
            )


def test_tiles_are_uniform_where_they_divide() -> None:
    nest = order(Tiles(0, "", 2, None), Tiles(1, "", 7, None), H, W).nest
    assert nest is not None
    assert nest.at(14, 14).uniform
    assert not nest.at(14, 15).uniform
    assert not nest.uniform


@pytest.mark.parametrize("size", [(0, 4), (3, -1), (2**20, 2**20)])
def test_impossible_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ScanError, match=r"error\[S205\]: order `o` cannot have a grid of"):
        RASTER.positions(*size)


@given(orders(), SIZES)
@settings(max_examples=30)
def test_verify_size_accepts_walks(checked: CheckedOrder, size: tuple[int, int]) -> None:
    verify_size(named(checked), *size)


def test_large_grid() -> None:
    tested = order(Tiles(0, "", 7, None), Tiles(1, "~", 7, 3), H, Whole(1, "~~"))
    verify_size(tested, 500, 700)
    assert tested.nest is not None
    assert np.array_equal(tested.positions(500, 700), tested.nest.enumerate(500, 700))
