"""What the directions of a scan visit: rows, tokens shared among them, pads, restarts, labels, routes; and a scan's layers."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_orders import Grid, Step, all_orders, visits

import scanlang
from scanlang.check.program import LABELS, GivenOrder, ReverseOrder
from scanlang.diagnostics import ScanError
from scanlang.maps.order import Order
from scanlang.maps.traversal import MOST_KEPT, Traversal

HEAD = "grid h, w recurrence leaky { input x param a = 0.5 h = a * h + x } "
AXES = ("t", "d", "h", "w")


def traversal(*texts: str, grid: str = "h, w") -> Traversal:
    return Traversal((tuple(scanlang.order(text, grid) for text in texts),))


def program(clauses: str) -> scanlang.Program:
    return scanlang.loads(f"{HEAD} scan s {{ {clauses} recur leaky merge sum }}")


def test_rows_are_cells_then_tokens_then_pads() -> None:
    visits = traversal(
        "insert(raster, cls at head)",
        "insert(reverse(raster), reg at every 2, cls at tail)",
        "window(raster, 2, 2, pad = decay)",
    ).at((1, 3))
    assert visits.tokens == (("cls", 1), ("reg", 1))
    assert (visits.cells, visits.pads, visits.rows) == (3, 5, 10)
    assert visits.lengths == (4, 5, 8)
    assert visits.steps == 8
    assert [rows.tolist() for rows in visits.tables[0]] == [[3, 0, 1, 2], [2, 1, 4, 0, 3], [0, 1, 5, 6, 2, 7, 8, 9]]
    assert visits.table.dtype == np.int32
    assert visits.table[0, 0].tolist() == [3, 0, 1, 2, 0, 0, 0, 0]
    assert [visits.whole(0, k) for k in range(3)] == [False, True, False]
    assert not visits.simple


def test_directions_share_tokens_by_name_and_number() -> None:
    """As many as the direction that has most; running backwards keeps their numbers."""
    visits = traversal("insert(raster, reg at every 4)", "reverse(insert(raster, reg at every 2))").at((2, 3))
    assert visits.tokens == (("reg", 3),)
    assert visits.tables[0][0].tolist() == [0, 1, 2, 3, 6, 4, 5]
    assert visits.tables[0][1].tolist() == [8, 5, 4, 7, 3, 2, 6, 1, 0]
    assert traversal("insert(raster, reg at every 2)", "insert(raster, reg at every 4)").at((2, 3)).tokens == (("reg", 3),)


def test_simple_whole_and_repeated() -> None:
    plain = traversal("raster", "reverse(snake)")
    assert plain.plain
    assert plain.at((3, 4)).simple
    with_token = traversal("insert(raster, cls at middle)", "reverse(insert(raster, cls at middle))")
    assert not with_token.plain
    assert with_token.at((3, 4)).simple
    left_out = traversal("dilate(raster, 2)", "raster")
    assert not left_out.plain
    assert (left_out.at((3, 4)).whole(0, 0), left_out.at((3, 4)).whole(0, 1)) == (False, True)
    assert left_out.at((1, 1)).simple
    twice = traversal("concat(raster, snake)").at((2, 2))
    assert (twice.whole(0, 0), twice.repeats(0, 0), twice.simple) == (True, True, False)
    assert not traversal("window(raster, 2, 2, pad = decay)").plain
    assert not traversal("reset(raster, every h)").plain
    assert traversal("window(hilbert, 3, 3, outer = shift(spiral, 1, 1))").plain


def test_restarts() -> None:
    visits = traversal("reset(raster, every h)", "raster").at((2, 3))
    assert [restarts.tolist() for restarts in visits.restarts] == [[False] * 3 + [True] + [False] * 2, [False] * 6]


def words(text: str, *grid: int) -> list[str]:
    axes = ", ".join(AXES[-len(grid) :])
    return [LABELS[label][0] for label in traversal(text, grid=axes).at(grid).labels[0].tolist()]


def test_labels() -> None:
    assert "".join(words("snake", 2, 3)) == "srrdll"
    assert "".join(words("reverse(snake)", 2, 3)) == "srrull"
    assert "".join(words("columns", 2, 3)) == "sdjdjd"
    assert "".join(words("reset(raster, every h)", 2, 3)) == "srrsrr"
    assert "".join(words("insert(raster, cls at middle)", 2, 3)) == "srrjjrr"
    assert "".join(words("insert(raster, cls at head)", 1, 2)) == "sjr"
    assert "".join(words("interleave(raster, raster)", 1, 2)) == "sjrj"
    assert "".join(words("window(raster, 1, 2, pad = decay)", 1, 3)) == "srrj"
    assert "".join(words("raster", 4)) == "srrr"
    assert "".join(words("snake", 2, 2, 2)) == "srdljrul"


def moves(steps: list[Step]) -> list[str]:
    """By comparing the coordinates of a step with those of the step before."""
    result = []
    for t, step in enumerate(steps):
        name = "jump"
        if t > 0 and step.visit[0] == steps[t - 1].visit[0] == "cell":
            here, before = step.visit[1], steps[t - 1].visit[1]
            moved = tuple(a - b for a, b in zip(here, before, strict=True))
            still = (*moved[:-1], 0), (*moved[:-2], 0, *moved[-1:])
            if not any(still[0]) and abs(moved[-1]) == 1:
                name = "right" if moved[-1] == 1 else "left"
            elif len(moved) > 1 and not any(still[1]) and abs(moved[-2]) == 1:
                name = "down" if moved[-2] == 1 else "up"
        result.append("start" if t == 0 or step.run != steps[t - 1].run else name)
    return result


@given(st.data(), st.sampled_from((1, 2, 3)))
@settings(max_examples=80)
def test_traversals_of_every_construct(data: st.DataObject, rank: int) -> None:
    grid: Grid = data.draw(st.tuples(*[st.integers(1, 5)] * rank))
    checked = [data.draw(all_orders(rank, 2)) for _ in range(2)]
    tested = Traversal((tuple(Order(f"o{k}", AXES[-rank:], each) for k, each in enumerate(checked)),))
    try:
        expected = [visits(each, grid) for each in checked]
    except ValueError as error:
        with pytest.raises(ScanError, match=str(error)):
            tested.at(grid)
        return
    found = tested.at(grid)
    names = [(name, number) for name, count in found.tokens for number in range(count)]
    cells = found.cells
    for k, steps in enumerate(expected):
        rows = found.tables[0][k].tolist()
        for row, step in zip(rows, steps, strict=True):
            match step.visit:
                case ("cell", cell):
                    assert row == np.ravel_multi_index(cell, grid)
                case ("token", name, number):
                    assert names[row - cells] == (name, number)
                case _:
                    assert row >= cells + len(names)
        pads = [row - cells - len(names) for row in rows if row >= cells + len(names)]
        assert sorted(pads) == list(range(len(pads)))
        assert [LABELS[label] for label in found.labels[k].tolist()] == moves(steps)
        counts = [rows.count(row) for row in range(cells + len(names))]
        assert found.whole(0, k) == all(counts)
        assert found.repeats(0, k) == any(count > 1 for count in counts)
    assert found.rows == cells + len(names) + found.pads
    assert found.simple == all(sorted(rows.tolist()) == list(range(found.rows)) for rows in found.tables[0])
    if tested.plain:
        assert found.simple
        assert found.rows == found.steps == cells


def test_orders_given_at_run_time() -> None:
    """Their rows below L are steps of the table that comes later."""
    given = GivenOrder("mine", scanlang.order("raster").checked.span)
    orders = (Order("mine", ("h", "w"), given), Order("reverse(mine)", ("h", "w"), ReverseOrder(given, given.span)))
    both = Traversal(((*orders, scanlang.order("raster")),))
    assert both.given_names == ("mine",)
    found = both.at((2, 2))
    assert found.given == ("mine", "mine", None)
    assert [rows.tolist() for rows in found.tables[0]] == [[0, 1, 2, 3], [3, 2, 1, 0], [0, 1, 2, 3]]
    assert not both.plain


def test_other_routes_keep_step() -> None:
    loaded = program("directions raster, reverse(raster) operands x along columns")
    found = loaded.traversal("s").at((2, 3))
    assert [[rows.tolist() for rows in route] for route in found.tables] == [
        [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]],
        [[0, 3, 1, 4, 2, 5], [0, 3, 1, 4, 2, 5]],
    ]
    assert not loaded.traversal("s").plain
    writes = program("directions raster, columns columns writes raster")
    assert [[o.name for o in route] for route in writes.traversal().routes] == [["raster", "columns"], ["raster", "raster"]]
    with pytest.raises(ScanError, match="S209"):
        program("directions raster, dilate(raster, 2) operands x along raster")
    with pytest.raises(ScanError, match=r"4 steps, the direction has 1, when h = 2, w = 2"):
        program("directions dilate(raster, 2) uncovered = 0 operands x along raster")


def test_same_tuples_of_orders_are_one_route() -> None:
    loaded = program("directions raster, raster operands x along (walk h, w)")
    assert len(loaded.traversal().routes) == 1


# Scans.


def test_layers() -> None:
    loaded = program("layers cycle (raster, columns), snake, reverse(snake)")
    names = [[order.name for order in loaded.directions("s", layer)] for layer in range(4)]
    assert names == [["raster", "columns"], ["snake"], ["reverse(snake)"], ["raster", "columns"]]
    assert [len(orders) for orders in loaded.verified.layers("s")] == [2, 1, 1]
    assert [order.name for order in loaded.verified.scans["s"]] == ["raster", "columns"]
    listed = program("layers list raster, columns")
    assert [order.name for order in listed.directions(layer=1)] == ["columns"]
    for of, layer in ((listed, 2), (listed, -1), (loaded, -1)):
        with pytest.raises(ScanError, match="the scan `s` has no layer"):
            of.traversal("s", layer)


def test_scans_cover_the_grid() -> None:
    phases = ["dilate(raster, 2, phase = (0, 0))", "dilate(raster, 2, phase = (0, 1))"]
    phases += ["dilate(raster, 2, phase = (1, 0))", "dilate(raster, 2, phase = (1, 1))"]
    assert program(f"directions {', '.join(phases)}").directions()[0].proof == (
        "walk: every axis whole, by construction; dilate: each cell of its phase once"
    )
    with pytest.raises(ScanError) as caught:
        program(f"directions {', '.join(phases[:3])}")
    (found,) = caught.value.diagnostics
    assert (found.code, found.label) == ("S210", "none visits (1, 1) when h = 2, w = 2")
    assert program(f"directions {', '.join(phases[:3])} uncovered = 0")
    assert program(f"directions {phases[0]}, snake")
    with pytest.raises(ScanError, match="none visits \\(0, 1\\) when h = 1, w = 2"):
        scanlang.loads(f"{HEAD} scan s {{ directions dilate(raster, 2) recur leaky merge sum }}", sizes=[(1, 1), (1, 2)])
    assert scanlang.loads(f"{HEAD} scan s {{ directions dilate(raster, 2) recur leaky merge sum }}", sizes=[(1, 1)])


def test_what_directions_write_is_what_they_cover() -> None:
    corner = f"concat({', '.join(['dilate(raster, 2)'] * 4)})"
    clauses = f"directions raster raster writes {corner} recur leaky merge sum"
    with pytest.raises(ScanError, match="none visits \\(0, 1\\) when h = 2, w = 2"):
        scanlang.loads(f"{HEAD} scan s {{ {clauses} }}", sizes=[(2, 2)])
    assert scanlang.loads(f"{HEAD} scan s {{ {clauses} uncovered = 0 }}", sizes=[(2, 2)])


# Keeping.


def test_tables_are_made_once_and_the_oldest_goes() -> None:
    tested = traversal("spiral")
    first = tested.at((1, 1))
    assert tested.at((np.int64(1), 1)) is first
    for width in range(2, MOST_KEPT + 1):
        tested.at((1, width))
    assert tested.at((1, 1)) is first
    tested.at((2, 2))
    tested.at((2, 3))
    assert tested.at((1, 1)) is first
    again = tested.at((1, 2))
    assert again.table.tolist() == [[[0, 1]]]
    assert len(tested._made) == MOST_KEPT


def test_traversals_are_pickled_and_used_by_threads() -> None:
    tested = traversal("hilbert", "insert(snake, cls at middle)")
    copied = pickle.loads(pickle.dumps(tested))
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(copied.at((7, 5)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1
    assert np.array_equal(copied.at((7, 5)).table, tested.at((7, 5)).table)
