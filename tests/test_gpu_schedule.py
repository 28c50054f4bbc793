"""What is decided for a GPU before text is printed: loops or a table, and why; how directions come together; what is wide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_checks import TABLES, Tables, draw_visits, rerouted
from operator_checks import operator
from triton_checks import cross

import scanlang
from scanlang.codegen.gpu.addressing import addressing
from scanlang.codegen.gpu.choose_gpu_schedule import PROGRAMS, choose_gpu_schedule, registers, sequential_schedule
from scanlang.codegen.gpu.legal_schedules import legal_schedules
from scanlang.codegen.gpu.triton_layout import Layout, Shape, argument_name
from scanlang.codegen.gpu.triton_layout import layout_of as of_schedule
from scanlang.codegen.kernel import TIME, ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

SCHEDULE = Schedule("table", "partials", 32, 8, 4)


def made(clauses: str, orders: str = "", axes: str = "h, w") -> tuple[ScanKernels, Traversal]:
    text = f"import std.selective grid {axes} {orders} scan s(dim) {{ recur selective(state = 1, rank = 2) {clauses} }}"
    graph = scanlang.loads(text).operator_graph("s")
    return lower_to_kernels(graph, {"state": 1, "rank": 2}), graph.traversal


def layout_of(kernels: ScanKernels, traversal: Traversal | Tables, grid: tuple[int, ...], channels: int = 64) -> Layout:
    types = tuple((one.name, "bfloat16") for one in (*kernels.streams, *kernels.parameters))
    return Layout(kernels, traversal, SCHEDULE, Shape(grid, channels, types))  # type: ignore[arg-type]


LOOPS_FOR_ALL = ("table", "loops for all directions or for none")


@pytest.mark.parametrize(
    ("orders", "clauses", "wanted"),
    [
        ("", "directions raster, columns", [("arithmetic", "runs of 392 steps"), ("arithmetic", "runs of 14 steps")]),
        ("order o = walk h by 7, w by 7, h, w", "directions o", [("table", "runs of 7 steps are short")]),
        ("", "directions snake, raster", [("table", "loops that turn round take longer"), LOOPS_FOR_ALL]),
        ("order o = walk w by 11, h, w", "directions o, raster", [("table", "runs differ in length"), LOOPS_FOR_ALL]),
        ("order o(t) = (t // w, t % w)", "directions o, raster", [("table", "a formula has no loops"), LOOPS_FOR_ALL]),
        ("", "directions hilbert, raster", [("table", "the order has no loops"), LOOPS_FOR_ALL]),
        (
            "order o = insert(raster, cls at head)",
            "directions o, raster",
            [("table", "steps at tokens or pads"), LOOPS_FOR_ALL],
        ),
        ("order o = dilate(raster, 2)", "directions o, raster", [("table", "not every cell once"), LOOPS_FOR_ALL]),
        ("order o = reset(raster, every h)", "directions raster, o", [LOOPS_FOR_ALL, ("table", "restarts on the way")]),
        ("order o = input", "directions o, raster", [("table", "the order is given at run time"), LOOPS_FOR_ALL]),
        ("", "directions raster, snake operands B along columns", [("table", "streams along another order")] * 2),
    ],
)
def test_addressing(orders: str, clauses: str, wanted: list[tuple[str, str]]) -> None:
    assert list(addressing(*made(clauses, orders), (14, 28))) == wanted


def test_runs_that_are_no_whole_chunks() -> None:
    kernels, traversal = made("directions columns, raster")
    assert list(addressing(kernels, traversal, (11, 8))) == [("table", "runs of 11 steps are no whole chunks"), LOOPS_FOR_ALL]


def test_a_nest_of_three_axes() -> None:
    kernels, traversal = made("directions way, reverse(way)", "order way = walk w, t, h", "t, h, w")
    assert set(addressing(kernels, traversal, (3, 8, 5))) == {("arithmetic", "runs of 24 steps")}
    schedule = choose_gpu_schedule(kernels, traversal, Shape((3, 8, 5), 64, ()), 1)
    assert (schedule.addressing, schedule.chunk) == ("nest", 8)


@pytest.mark.parametrize(
    ("orders", "clauses", "mode"),
    [
        ("", "directions raster, columns", "turns"),
        ("order o = insert(raster, cls at middle)", "directions o, reverse(o)", "turns"),
        ("order o = input", "directions o, reverse(o)", "turns"),
        ("order o = reset(raster, every h)", "directions o, reverse(o)", "turns"),
        ("order o = insert(raster, cls at middle)", "directions o, columns", "partials"),
        ("order o = concat(raster, columns)", "directions o, raster", "partials"),
        ("order o = window(raster, 5, 5, pad = decay)", "directions o, raster", "partials"),
        ("", "directions raster, columns merge concat", "partials"),
        ("", "directions raster, columns merge max", "partials"),
        ("", "directions raster", "direct"),
        ("", "directions raster, columns channels split", "direct"),
        (
            "order a = dilate(raster, 2) order b = dilate(raster, 2, phase = (0, 1))",
            "directions a, reverse(b) uncovered = 0",
            "direct",
        ),
        ("order a = dilate(raster, 2) order b = dilate(raster, 2)", "directions a, b uncovered = 0", "partials"),
    ],
)
def test_how_directions_come_together(orders: str, clauses: str, mode: str) -> None:
    """With many images: one program takes all directions only where each of them visits every row once."""
    kernels, traversal = made(clauses, orders)
    schedule = choose_gpu_schedule(kernels, traversal, Shape((8, 6), 64, ()), PROGRAMS)
    layout = replace(layout_of(kernels, traversal, (8, 6)), schedule=schedule)
    assert layout.mode == mode
    assert ("merge" in [entry.name for entry in layout.entries]) == (mode == "partials" and not kernels.stacked)


def test_turns_are_refused_where_rows_are_left_out() -> None:
    kernels, visits = TABLES["uneven"]
    layout = replace(layout_of(kernels, Tables(visits), (12,)), schedule=replace(SCHEDULE, merge="turns"))
    with pytest.raises(ValueError, match="every direction visits every row of it once"):
        _ = layout.mode


def test_loops_are_refused_where_there_are_none() -> None:
    kernels, traversal = made("directions raster", "")
    layout = replace(layout_of(kernels, traversal, (3, 5)), schedule=replace(SCHEDULE, addressing="nest"))
    with pytest.raises(ValueError, match="runs of a multiple of 8 steps"):
        _ = layout.walks


def test_what_is_added_to_has_the_computing_type() -> None:
    kernels = made("directions raster")[0]
    once, twice = draw_visits(12, (9,), once=True), draw_visits(12, (40,))
    types = [layout_of(kernels, Tables(visits), (12,)).output_type for visits in (once, twice)]
    assert types == ["bfloat16", "float32"]


@pytest.mark.parametrize("channels, wide", [(1 << 12, False), (1 << 13, True)])
def test_stacked_outputs_beyond_32_bits_are_wide(channels: int, wide: bool) -> None:
    kernels, traversal = made("directions raster, columns merge concat")
    assert layout_of(kernels, traversal, (2**9, 2**8), channels).wide == wide


def test_long_arrays_along_time_are_wide() -> None:
    kernels, traversal = made("directions raster")
    along = rerouted(kernels, {"low": TIME})
    assert not layout_of(along, traversal, (2**9, 2**9), 8).wide
    assert layout_of(along, traversal, (2**15, 2**15), 1).wide


KEYS = """recurrence keys(state n, head p) {
  input v[p], q[n], k[n]
  param gamma
  S[n, p] = gamma * S[n, p] + k[n] * v[p]
  y[p]    = sum(n: q[n] * S[n, p])
}
grid h, w scan s(dim) { input v, q, k  directions raster  recur keys(state = 16, head = HEAD) }"""


def of_heads(head: int, state: int = 16) -> tuple[ScanKernels, Traversal]:
    graph = scanlang.loads(KEYS.replace("HEAD", str(head))).operator_graph("s")
    return lower_to_kernels(graph, {"state": state, "head": head}), graph.traversal


@pytest.mark.parametrize("head, scalar", [(32, True), (64, True), (48, False), (16, False)])
def test_what_a_program_reads_one_value_of(head: int, scalar: bool) -> None:
    """A unit that is made of whole blocks of lanes: its gradients lie side by side with those of other such streams."""
    layout = layout_of(*of_heads(head), (8, 6), channels=3 * 64)
    assert [stream.name for stream in layout.scalar_streams] == (["q", "k"] if scalar else [])
    assert [stream.name for stream in layout.spread_streams] == ([] if scalar else ["q", "k"])
    arguments = [argument.name for argument in layout.entries[1].arguments]
    assert ("sums" in arguments) == scalar
    assert ("g_q" in arguments) != scalar


def test_gradients_of_lanes_beyond_32_bits_are_wide() -> None:
    """They are wider than what is read: a number for every lane."""
    side = 2**10
    assert not layout_of(*of_heads(64), (side, side), channels=64).wide
    assert layout_of(*of_heads(16), (2 * side, side), channels=64).wide


def test_states_at_the_ends_are_arguments_where_they_are_asked_for() -> None:
    layout = layout_of(*of_heads(32), (8, 6))
    both = replace(layout, shape=replace(layout.shape, entry=True, final=True))
    for plain, asked in zip(layout.entries[:2], both.entries[:2], strict=True):
        assert {a.name for a in asked.arguments} - {a.name for a in plain.arguments} == {"entry", "final"}


@pytest.mark.parametrize("state, chunks", [(4, (8, 4)), (16, (8, 2)), (32, (8, 1)), (128, (8, 1))])
def test_many_states_leave_room_for_few_steps(state: int, chunks: tuple[int, int]) -> None:
    kernels, traversal = of_heads(32, state)
    schedule = sequential_schedule(kernels, traversal, Shape((8, 16), 64, ()), 128)
    assert (schedule.chunk, schedule.backward_chunk) == chunks
    assert registers(kernels.backward, 1) < registers(kernels.backward, 2) < registers(kernels.backward, 4)


@pytest.mark.parametrize(("state", "chunks"), [(16, (8, 2)), (24, (4, 1)), (32, (4, 1)), (64, (1, 1))])
def test_many_decays_leave_room_for_few_loads(state: int, chunks: tuple[int, int]) -> None:
    kernels, traversal = cross(state=state, rank=6)
    schedule = sequential_schedule(kernels, traversal, Shape((8, 16), 64, ()), 128)
    assert (schedule.chunk, schedule.backward_chunk) == chunks


def test_names_of_arguments_never_meet() -> None:
    assert argument_name("p", "restart") == "p_restart"
    assert argument_name("p", "restart.") == "p_0restart"


def test_chunks_do_not_depend_on_the_batch() -> None:
    op = operator("cross")
    kernels = lower_to_kernels(op.graph, {"state": 1, "rank": 6})
    few, some, many = (choose_gpu_schedule(kernels, op.graph.traversal, Shape((14, 14), 96, ()), b) for b in (1, 128, 10**6))
    assert few.abreast > some.abreast > many.abreast == 1
    assert replace(few, abreast=1, warps=1, merge="turns") == replace(some, abreast=1, warps=1, merge="turns") == many
    assert few.merge == some.merge == "partials"
    assert many.merge == "turns"


@pytest.mark.parametrize("batch", [1, 4, 16, 128, 1024])
@pytest.mark.parametrize("rank", [6, 48])
@pytest.mark.parametrize("state", [1, 16])
@pytest.mark.parametrize("grid", [(56, 56), (7, 7), (1, 6085)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_what_the_rule_chooses_can_be_laid_out(grid: tuple[int, int], state: int, rank: int, batch: int) -> None:
    kernels, traversal = cross(state=state, rank=rank)
    shape = Shape(grid, 384, tuple((o.name, "bfloat16") for o in (*kernels.streams, *kernels.parameters)))
    schedule = sequential_schedule(kernels, traversal, shape, batch)
    layout = of_schedule(kernels, traversal, schedule, shape)
    assert set(layout.walking) >= {"forward", "backward"}
    assert schedule in legal_schedules(kernels, traversal, shape)
