"""What directions and streams may do beyond visiting every cell once, in Triton's interpreter, on tiny shapes: other routes,
tokens and pads, rows never visited or visited twice, directions of different length, channels of one's own, tables per image.

Every buffer is full of NaN before it is written (`conftest.py`), so a row that nobody wrote is seen.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from kernel_checks import PER_IMAGE, TABLES, check_executable, check_states, draw_tables
from triton_checks import (
    ByHand,
    Case,
    check,
    cross,
    draw,
    expected,
    rerouted,
    run,
    selective_loop,
    side_by_side,
    stacked,
)

from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import TIME
from scanlang.codegen.schedule import Schedule

SCHEDULE = Schedule("table", "partials", 32, 4, 2)
FORTH, BACK, MIXED = list(range(7)), list(range(6, -1, -1)), [3, 0, 5, 1, 6, 2, 4]
HALF, REST = [1, 3, 5], [0, 2, 4, 6]


def two(merge: str = "sum", **streams: dict[str, object]) -> object:
    return rerouted(cross("rows, columns", merge)[0], streams)


def case(*routes: list[list[int]], cells: int = 7, channels: int = 3, **changes: object) -> Case:
    """Two directions along tables written by hand."""
    by_hand = {name: changes.pop(name) for name in ("tokens", "pads") if name in changes}
    traversal = ByHand(cells, routes, **by_hand)  # type: ignore[arg-type]
    kernels = replace(changes.pop("kernels", two()), routes=len(routes))  # type: ignore[type-var]
    made = Case(kernels, traversal, selective_loop, (cells,), channels, schedule=SCHEDULE)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("merge", ["partials", "turns"])
def test_streams_along_another_route(merge: str) -> None:
    kernels = two(B={"route": 1}, low={"route": 1}, x={"route": 2})
    found = case([FORTH, BACK], [MIXED, FORTH], [BACK, MIXED], kernels=kernels)
    check(found.with_schedule(merge=merge))


def test_outputs_along_another_route() -> None:
    check(case([FORTH, BACK], [MIXED, FORTH], kernels=replace(two(C={"route": 1}), output_route=1)))


@pytest.mark.parametrize(("addressing", "grid"), [("nest", (4, 4)), ("table", (3, 5))], ids=["nest", "table"])
def test_a_stream_along_time(addressing: str, grid: tuple[int, int]) -> None:
    kernels, traversal = cross("rows, reverse(columns)")
    kernels = rerouted(kernels, {"B": {"route": TIME}, "C": {"route": TIME, "constant": True}})
    schedule = Schedule(addressing, "partials", 32, 4, 2)  # type: ignore[arg-type]
    check(Case(kernels, traversal, selective_loop, grid, 35, schedule=schedule))


def test_tokens_that_every_direction_visits() -> None:
    with_tokens = [[7, *FORTH, 8], [*BACK, 8, 7]]
    check(case(with_tokens, tokens=2))
    check(case(with_tokens, tokens=2).with_schedule(merge="turns"))


def test_pads_at_different_steps() -> None:
    check(case([[0, 1, 7, 2, 3, 4, 8, 5, 6], [6, 5, 4, 7, 3, 2, 1, 0]], pads=2))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_directions_of_different_length(dtype: torch.dtype) -> None:
    check(case([[1, 3, 5], [0, 1, 2, 4, 6]], dtype=dtype))


@pytest.mark.parametrize("tables", [[[], FORTH], [HALF, []], [[], [2]]], ids=["first", "second", "one step"])
def test_directions_of_no_steps(tables: list[list[int]]) -> None:
    check(case(tables))


def test_no_direction_has_a_step() -> None:
    made = case([[], []])
    for name, value in run(made, draw(made), torch.randn(2, 7, 3)).items():
        assert value.abs().max() == 0, name


def test_directions_that_share_no_row_write_the_result_itself() -> None:
    made = case([HALF, REST])
    assert check(made)[""].dtype == torch.float64
    check(replace(made, dtype=torch.bfloat16))
    check(case([[0, 2, 7], [6, 7, 1]], pads=1))


TWICE = {
    "far apart": [[*FORTH, *BACK], BACK],
    "in one chunk": [[0, 0, 1, 0, 2, 2, 2, 2, 3, 4, 5, 6], MIXED],
    "at the end": [[1, 2, 3, 4, 4, 4], [0, 1, 2, 3, 5, 6, 5]],
}


@pytest.mark.parametrize("tables", TWICE.values(), ids=list(TWICE))
def test_rows_visited_twice(tables: list[list[int]]) -> None:
    check(case(tables))
    check(case(tables, dtype=torch.float32, channels=33).with_schedule(lanes=64))


@pytest.mark.parametrize("route", [0, 1])
def test_rows_visited_twice_on_one_route_alone(route: int) -> None:
    tables = [[MIXED, BACK], [MIXED, BACK]]
    tables[route] = [[0, 0, 1, 5, 0, 1, 2], FORTH]
    kernels = replace(two(B={"route": 1}, low={"route": 1}), output_route=1)
    check(case(*tables, kernels=kernels))


def test_rows_visited_twice_in_bfloat16() -> None:
    """The sums are rounded once: no partial sum is kept in the output's type."""
    made = case([[0] * 60], cells=1, kernels=cross("rows")[0], dtype=torch.bfloat16, batch=1)
    arrays = {name: array.abs() for name, array in draw(made).items()}
    cotangent = torch.ones(1, 1, 3, dtype=torch.bfloat16)
    found, wanted = run(made, arrays, cotangent), expected(made, arrays, cotangent)
    assert found["x"].dtype == torch.float32  # for the operator to round
    assert ((found[""].double() / wanted[""] - 1).abs() <= 2**-8).all()
    assert ((found["x"].double() / wanted["x"] - 1).abs() <= 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("tables", [[FORTH, BACK], [HALF, MIXED], [[0, 0, 1, 0, 2], MIXED]], ids=["all", "some", "twice"])
def test_stacked_outputs(tables: list[list[int]], dtype: torch.dtype) -> None:
    kernels = replace(two(), stacked=True, merge_scale=None)
    found = check(case(tables, kernels=kernels, merge=stacked, dtype=dtype))
    assert found[""].dtype == dtype


def test_stacked_outputs_by_loops() -> None:
    kernels, traversal = cross()
    kernels = replace(kernels, stacked=True, merge_scale=None)
    check(Case(kernels, traversal, selective_loop, (2, 4), 5, stacked, Schedule("nest", "partials", 32, 2, 2)))


@pytest.mark.parametrize(("parts", "channels"), [((1, 1), 6), ((2, 1), 99), ((1, 3), 64), ((1, 2), 96)], ids=str)
@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_channels_split_over_the_directions(addressing: str, parts: tuple[int, int], channels: int) -> None:
    kernels, traversal = cross("rows, reverse(columns)", rank=1)
    kernels = rerouted(kernels, {"C": {"route": TIME}}, split=parts, merge_scale=None)
    schedule = Schedule(addressing, "partials", 32, 2, 2)  # type: ignore[arg-type]
    check(Case(kernels, traversal, selective_loop, (2, 2), channels, side_by_side, schedule, batch=1))


@pytest.mark.parametrize("tables", [[HALF, MIXED], [[], REST], [[0, 0, 1, 0, 2], MIXED]], ids=["some", "none", "twice"])
def test_split_channels_of_rows_that_some_visit(tables: list[list[int]]) -> None:
    kernels = replace(two(), split=(1, 2), merge_scale=None)
    check(case(tables, kernels=kernels, merge=side_by_side, channels=6, dtype=torch.bfloat16))


def test_parameters_shared_by_directions_with_channels_of_their_own() -> None:
    text = "rows, reverse(columns)\n  share A_log, dt_weight"
    kernels, traversal = cross(text)
    kernels = replace(kernels, split=(1, 1), merge_scale=None)
    schedule = Schedule("nest", "partials", 32, 2, 2)
    check(Case(kernels, traversal, selective_loop, (2, 2), 6, side_by_side, schedule))


def test_a_merge_over_rows() -> None:
    kernels = two("tanh(y[0]) * y[1] * x + x")
    merge = lambda y, a: torch.tanh(y[0]) * y[1] * a["x"] + a["x"]  # noqa: E731
    check(case([[*FORTH, 7], HALF], tokens=1, kernels=kernels, merge=merge))
    check(case([[*FORTH, 7, 7], MIXED], tokens=1, pads=1, kernels=kernels, merge=merge))


@pytest.mark.parametrize("merge", ["partials", "turns"])
def test_a_table_for_every_image(merge: str) -> None:
    """`tables` as the operator makes them: an order of its own for every image, and its reverse."""
    generator = torch.Generator().manual_seed(3)
    orders = torch.stack([torch.randperm(7, generator=generator) for _ in range(3)])
    tables = torch.stack([orders, orders.flip(1)], 1)[:, None].int()
    made = case([FORTH, BACK], batch=3, tables=tables)
    made = replace(made, traversal=replace(made.traversal, given=True))
    check(made.with_schedule(merge=merge))


def test_a_table_for_every_image_with_tokens_and_another_route() -> None:
    generator = torch.Generator().manual_seed(3)
    orders = torch.stack([torch.randperm(7, generator=generator) for _ in range(2)])
    token = torch.full((2, 1), 7)
    own = torch.stack([torch.cat([orders, token], 1), torch.cat([token, orders.flip(1)], 1)], 1)
    other = torch.tensor([[*MIXED, 7], [7, *FORTH]]).expand(2, -1, -1)
    made = case([[*FORTH, 7], [7, *BACK]], [[*MIXED, 7], [7, *FORTH]], tokens=1, kernels=two(B={"route": 1}))
    made = replace(made, traversal=replace(made.traversal, given=True), tables=torch.stack([own, other], 1).int())
    check(made)


def test_turns_need_every_row_once() -> None:
    with pytest.raises(ValueError, match="every direction visits every row of it once"):
        check(case([FORTH, HALF]).with_schedule(merge="turns"))


@pytest.mark.parametrize("tables", TABLES)
def test_any_tables(tables: str) -> None:
    kernels, visits = TABLES[tables]
    check_executable(TritonScan, kernels, visits, channels=6, batch=1)


@pytest.mark.parametrize("tables", ["once", "split-parts", "merge-routes", "heads-split", "scales"])
def test_states_with_any_tables(tables: str) -> None:
    kernels, visits = TABLES[tables]
    check_states(TritonScan, kernels, visits, channels=6, batch=1)


@pytest.mark.parametrize("tables", PER_IMAGE)
def test_any_tables_of_every_image(tables: str) -> None:
    kernels, visits = TABLES[tables]
    check_executable(TritonScan, kernels, visits, channels=6, tables=draw_tables(kernels, visits, batch=2))
