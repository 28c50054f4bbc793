"""The scan graph: what it is built of, and that each rewrite keeps the meaning."""

from __future__ import annotations

from collections import Counter

import pytest
from graph_checks import CLAUSES, assert_alike, in_numpy, layers_of, numpy_of, program_of, sizes_of, written_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import program
from operator_programs import PROGRAMS

import scanlang
from scanlang.graph.interpret import interpret
from scanlang.graph.passes import (
    FUSIONS,
    REWRITES,
    cut_projections,
    drop_dead,
    hoist_projections,
    rewrite,
    share_gathers,
)
from scanlang.graph.scan_graph import (
    OWN,
    TIME,
    Conv,
    Convolution,
    Gather,
    Input,
    Label,
    Node,
    Pick,
    Project,
    Recur,
    ScanGraph,
    Scatter,
)
from scanlang.graph.step import Assign, Operand
from scanlang.graph.values import Apply, Constant, Read, Total
from scanlang.pipeline import conv_graph
from scanlang.testing import grids, programs


def graph_of(clauses: str, recurrence: str = "selective(state = 1, rank = 1)") -> ScanGraph:
    text = f"import std.selective grid h, w scan s(dim) {{ recur {recurrence} {clauses} }}"
    return scanlang.loads(text).graph()


def counts(graph: ScanGraph) -> Counter[type[Node]]:
    return Counter(type(node) for node in graph.nodes.values())


def test_the_graph_as_written() -> None:
    graph = graph_of("directions raster, reverse(raster) project low, B, C from x")
    assert counts(graph) == {Input: 1, Gather: 2, Project: 2, Pick: 6, Recur: 2, Scatter: 2, type(graph.nodes["merge"]): 1}
    assert graph.source("project 0.0") == "gather 0 x"
    assert graph.source("gather 0 x") == "input x"
    assert sorted(operand for _, operand in graph.operands("recur 1")) == ["B", "C", "low", "x"]
    assert [operand for _, operand in graph.operands("merge")] == ["y[0]", "y[1]"]


def test_projections_are_hoisted_before_the_gathers() -> None:
    graph = hoist_projections(graph_of("directions raster, reverse(raster) project low, B, C from x"))
    for key, node in graph.nodes.items():
        if isinstance(node, Project):
            assert graph.source(key) == "input x"
        if isinstance(node, Pick):
            assert [type(graph.nodes[after]) for after in graph.graph.successors(key)] == [Gather]
    assert {source for source, _ in graph.operands("recur 0")} == {"gather 0 low", "gather 0 B", "gather 0 C", "gather 0 x"}


def test_hoisting_twice_changes_nothing() -> None:
    once = hoist_projections(graph_of("directions raster, columns project low, B, C from x"))
    assert sorted(hoist_projections(once).edges()) == sorted(once.edges())


def test_gathers_along_equal_orders_are_shared() -> None:
    graph = share_gathers(
        graph_of("directions raster, columns, (walk h, w), reverse(reverse(columns)) project low, B, C from x")
    )
    gathers = {key for key, node in graph.nodes.items() if isinstance(node, Gather)}
    assert gathers == {"gather 0 x", "gather 1 x"}
    assert ("gather 0 x", "recur 2", "x") in graph.edges()
    assert ("gather 1 x", "recur 3", "x") in graph.edges()


def test_gathers_of_maps_per_direction_are_not_shared() -> None:
    graph = share_gathers(graph_of("directions raster, raster"))
    assert {"gather 0 B", "gather 1 B"} <= set(graph.nodes)
    assert "gather 1 x" not in graph.nodes


def test_what_the_merge_does_not_need_is_dropped() -> None:
    graph = graph_of("directions raster project low, B, C from x")
    stray = graph.rewritten({**graph.nodes, "gather 0 stray": Gather(0)}, [*graph.edges(), ("input x", "gather 0 stray", "x")])
    assert "gather 0 stray" in stray.nodes
    assert set(drop_dead(stray).nodes) == set(graph.nodes)


def test_the_operator_takes_projected_maps_as_inputs() -> None:
    graph = cut_projections(rewrite(graph_of("directions raster, columns project low, B, C from x")))
    assert not counts(graph)[Project]
    assert not counts(graph)[Pick]
    assert graph.inputs()["B"] == Input("B", "shared", ("n",), per_direction=True, per="all")
    assert set(graph.inputs()) == {"x", "low", "B", "C"}


def test_a_source_of_projections_alone_is_no_input_of_the_operator() -> None:
    text = """grid h, w
    recurrence r(state n) { input x  shared B[n]  h[n] = 0.5 * h[n] + B[n] * x  y = sum(n: h[n]) }
    scan s(dim) { input x, z  directions raster  recur r(state = 2)  project B from z }"""
    loaded = scanlang.loads(text)
    assert set(loaded.graph().inputs()) == {"x", "z"}
    assert set(loaded.operator_graph().inputs()) == {"x", "B"}


def test_parameters_alone_are_computed_before_the_loop() -> None:
    step = graph_of("directions raster").step
    assert [str(equation) for equation in step.prologue] == ["fixed.0[n] = -min(exp(A_log[n]), 1e+36)"]
    assert "fixed.0[n]" in str(step.states[0])
    assert not any("A_log" in str(equation) for equation in step.body)


def test_what_mixes_parameters_and_inputs_stays_in_the_loop() -> None:
    text = """grid h, w
    recurrence r(state n) {
      input x  param a, b[n]
      h[n] = sigmoid(a * b[n]) * h[n] + exp(a) * x + a  y = sum(n: b[n]) * sum(n: h[n])
    }
    scan s(dim) { directions raster  recur r(state = 2) }"""
    step = scanlang.loads(text).graph().step
    assert [str(equation).split(" = ")[1] for equation in step.prologue] == ["sigmoid(a * b[n])", "exp(a)", "sum(n: b[n])"]
    (update,) = step.states
    assert update.decay == Read("fixed.0", ("n",))


def test_values_are_folded_and_shown() -> None:
    text = """grid h, w
    recurrence r(state n) { input x  shared B[n]  h[n] = 1 * h[n] * 0.5 + (0 + x) * B[n]  y = sum(n: h[n]) - -x }
    scan s(dim) { directions raster  recur r(state = 2) }"""
    step = scanlang.loads(text).graph().step
    (update,) = step.states
    assert update.decay == Constant(0.5)
    assert update.drive == Apply("mul", (Read("x"), Read("B", ("n",))))
    assert step.body[-1] == Assign("y", (), Apply("add", (Total("n", Read("h", ("n",))), Read("x"))), step.body[-1].span)


def test_a_graph_reads_as_text() -> None:
    lines = str(rewrite(graph_of("directions raster project low, B, C from x"))).splitlines()
    assert any(line.startswith("recur 0") and "x: gather 0 x" in line for line in lines)
    assert lines == str(rewrite(graph_of("directions raster project low, B, C from x"))).splitlines()


def step_of(clauses: str) -> list[str]:
    return [str(equation) for equation in program_of(clauses).operator_graph().step.body]


def test_a_convolution_stands_between_gather_and_projection() -> None:
    graph = program_of(CLAUSES["projected"]).graph()
    assert graph.source("conv 0") == "gather 0 x"
    assert graph.source("project 0.0") == "conv 0"
    assert ("conv 0", "recur 0", "x") in graph.edges()
    assert graph.conv == Convolution("x", 3, None)


def test_what_is_projected_after_a_convolution_is_not_hoisted() -> None:
    hoisted = hoist_projections(program_of(CLAUSES["projected"]).graph())
    assert hoisted.source("project 0.0") == "conv 0"
    cut = cut_projections(hoisted)
    assert ("input K", "gather 0 K", "K") in cut.edges()
    assert ("conv 0", "recur 0", "x") in cut.edges()


def test_a_convolution_along_another_order_is_on_the_grid() -> None:
    graph = program_of(CLAUSES["projected along"]).graph()
    assert graph.source("conv 1") == "input x"
    assert graph.source("gather 1 x") == "conv 1"
    assert graph.nodes["conv 1"] == Conv(1, along=True)
    hoisted = hoist_projections(graph)
    assert hoisted.source("project 1.0") == "conv 1"
    operator = program_of(CLAUSES["projected along"]).operator_graph()
    assert operator.inputs()["x.conv"] == Input("x.conv", "input", (), per_direction=True)
    assert set(operator.inputs()) == {"x.conv", "K", "Q"}


def test_directions_that_share_a_convolution_along_an_order_share_its_result() -> None:
    graph = program_of(CLAUSES["conv along, shared"]).graph()
    assert [key for key, node in graph.nodes.items() if isinstance(node, Conv)] == ["conv 0"]
    operator = program_of(CLAUSES["conv along, shared"]).operator_graph()
    assert operator.inputs()["x.conv"] == Input("x.conv", "input", (), per_direction=False)
    assert operator.merge_inputs == ("x",)


def test_a_convolution_along_the_order_of_every_direction_is_in_their_time() -> None:
    loaded = program_of("directions snake, (walk h, ~w)  conv 2 along snake")
    assert loaded.graph().conv == Convolution("x", 2, None)
    assert program_of("directions snake, reverse(snake)  conv 2 along snake").graph().conv.along is not None
    elsewhere = program_of("directions snake, snake  conv 2 along snake  operands x along raster")
    assert elsewhere.graph().conv.along is not None


def test_a_convolution_becomes_states_of_the_step() -> None:
    assert step_of("directions raster  conv 3") == [
        "conv.0 = conv_bias + conv_weight.2 * x + conv_weight.1 * conv.1' + conv_weight.0 * conv.2'",
        "x.conv = silu(conv.0)",
        "conv.1 = x",
        "conv.2 = conv.1'",
        "u = tanh(c * x.conv)",
        "in.0[n] = a[n] + K[n]",
        "h[n] = sigmoid(in.0[n]) * h'[n] + u * K[n]",
        "y = sum(n: Q[n] * h[n]) + c * x.conv",
    ]


def test_directions_share_the_taps_of_a_convolution() -> None:
    shared = program_of("directions raster, columns  conv 2  share conv").operator_graph().shared
    assert shared == {"conv", "conv_weight.0", "conv_weight.1", "conv_bias"}
    assert program_of("directions raster, columns  conv 2").operator_graph().shared == frozenset()


@pytest.mark.parametrize("name", ["projected", "projected along", "projected in time, along", "routed projections"])
def test_projections_are_cut_away_where_they_stand(name: str) -> None:
    """Hoisted or not, the caller gives the same, and it is read along the same routes."""
    written = program_of(CLAUSES[name]).graph()
    early, late = cut_projections(written), cut_projections(hoist_projections(written))
    for key in ("recur 0", "recur 1"):
        taken = [{operand: early.nodes[source] for source, operand in graph.operands(key)} for graph in (early, late)]
        assert taken[0] == taken[1]
    assert early.inputs() == late.inputs()


def test_states_start_anew_where_an_operand_says_so() -> None:
    graph = program_of("directions reset(raster, every h)  conv 2").operator_graph()
    lines = [str(equation) for equation in graph.step.body]
    assert lines[0] == "conv.0 = conv_bias + conv_weight.1 * x + conv_weight.0 * where(restart. > 0.5, 0, conv.1')"
    assert lines[2] == "conv.1 = x"
    assert lines[5] == "h[n] = where(restart. > 0.5, 0, sigmoid(in.0[n])) * h'[n] + u * K[n]"
    assert graph.step.operands[-1] == Operand("restart.", "shared", (), graph.step.operands[-1].span, constant=True, per="all")
    assert graph.stream_routes == {"restart.": TIME}
    assert graph.restarts


def test_without_a_reset_nothing_starts_anew() -> None:
    graph = program_of("directions reverse(raster), window(snake, 2, 2)  conv 2").operator_graph()
    assert not graph.restarts
    assert not any("restart" in str(equation) for equation in graph.step.body)


def test_weights_are_a_factor_of_the_readout() -> None:
    graph = program_of(CLAUSES["weighted"]).operator_graph()
    assert graph.merge == "sum"
    assert str(graph.step.body[-1]) == "y.weighted = y * merge_weight"
    assert graph.step.readout == "y.weighted"
    assert graph.channelless == {"merge_weight"}
    assert ("recur 0", "scatter 0", "y.weighted") in graph.edges()


def test_the_largest_output_is_an_expression() -> None:
    outputs = [Read(f"y[{k}]") for k in range(3)]
    largest = Apply("max", (Apply("max", (outputs[0], outputs[1])), outputs[2]))
    assert program_of(CLAUSES["max"]).operator_graph().merge == largest


@pytest.mark.parametrize("clauses, merge, stacked", [
    ("directions raster, snake  merge concat", "concat", True), ("directions raster  merge concat", "sum", False),
    ("directions raster, snake  channels split  merge concat", "sum", False), ("directions raster, snake", "sum", False),
    ("directions raster  merge y[0] * mean(cells: y[0])", "concat", True),
])  # fmt: skip
def test_outputs_are_left_side_by_side_where_they_must(clauses: str, merge: str, stacked: bool) -> None:
    graph = program_of(clauses).operator_graph()
    assert (graph.merge, graph.stacked) == (merge, stacked)


def test_a_merge_that_calls_layers_has_a_second_phase() -> None:
    graph = program_of(CLAUSES["norms"]).operator_graph()
    assert graph.layers == {"ln": "layer_norm", "rn": "rms_norm"}
    assert graph.second == program_of(CLAUSES["norms"]).checked.scans["s"].merge
    assert graph.merge_inputs == ("x",)


def test_streams_run_along_routes() -> None:
    graph = program_of("directions raster, back  operands K along snake  back writes raster").operator_graph()
    assert graph.stream_routes == {"K": 1}
    assert graph.nodes["gather 1 K along 1"] == Gather(1, 1)
    assert graph.nodes["gather 1 Q"] == Gather(1)
    assert [order.name for order in graph.traversal.routes[graph.output_route]] == ["raster", "raster"]
    assert graph.nodes["scatter 1"] == Scatter(1, graph.output_route)


def test_a_route_that_is_the_directions_own_is_none() -> None:
    graph = program_of(
        "directions back, back  operands K along reverse(columns)  back writes reverse(columns)"
    ).operator_graph()
    assert (graph.stream_routes, graph.output_route, len(graph.traversal.routes)) == ({}, OWN, 1)


def test_tables_are_looked_up_by_the_label_of_the_step() -> None:
    graph = program_of(CLAUSES["labels"]).operator_graph()
    assert graph.labelled == {"dB"}
    assert graph.channelless == {"T"}
    assert graph.stream_routes["dB"] == TIME
    assert graph.nodes["label 1 dB"] == Label("dB", 1)
    kinds = {operand.name: (operand.kind, operand.indices) for operand in graph.step.operands}
    assert kinds["dB"] == ("shared", ("n",))
    assert kinds["T"] == ("param", ("n",))


def test_split_channels_are_in_their_proportions() -> None:
    graph = program_of(CLAUSES["split"]).operator_graph()
    assert graph.split == (2, 1, 1)
    assert [graph.channels(k, 12) for k in range(3)] == [slice(0, 6), slice(6, 9), slice(9, 12)]
    assert share_gathers(graph) is graph


def test_gathers_along_different_routes_are_not_shared() -> None:
    graph = share_gathers(program_of("directions raster, raster  operands x along snake").graph())
    assert [key for key in graph.nodes if key.startswith("gather") and " x" in key] == ["gather 0 x along 1"]


def test_layers_have_graphs_of_their_own() -> None:
    loaded = program_of(CLAUSES["layers"])
    names = [[order.name for order in loaded.graph(layer=layer).orders] for layer in range(3)]
    assert names == [["raster", "snake"], ["columns", "reverse(zigzag)"], ["raster", "snake"]]


@pytest.mark.parametrize("one", [*REWRITES, *FUSIONS], ids=lambda one: one.__name__)
def test_a_rewrite_with_nothing_to_do_changes_nothing(one: object) -> None:
    graph = graph_of("directions raster, columns")
    for before in REWRITES:
        graph = before(graph)
    again = one(graph)  # type: ignore[operator]
    assert (sorted(again.edges()), again.nodes, again.step) == (sorted(graph.edges()), graph.nodes, graph.step)


def assert_rewrites_keep_the_meaning(loaded: scanlang.Program, grid: tuple[int, ...], seed: int = 0) -> None:
    """Each alone, and all one after another."""
    written, sizes, layers = loaded.graph(layer=seed % 2), sizes_of(loaded), in_numpy(layers_of(loaded))
    arrays = numpy_of(written_arrays(loaded, grid, seed, seed % 2))
    expected, graph = interpret(written, arrays, grid, sizes, layers), written
    for one in (*REWRITES, *FUSIONS):
        graph = one(graph)
        assert_alike(interpret(graph, arrays, grid, sizes, layers), expected, 1e-12, 1e-12)
        assert_alike(interpret(one(written), arrays, grid, sizes, layers), expected, 1e-12, 1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_rewrites_keep_the_meaning_of_a_program(name: str) -> None:
    assert_rewrites_keep_the_meaning(program(name), (2, 3))


@pytest.mark.parametrize("name", CLAUSES)
def test_rewrites_keep_the_meaning_of_all_that_a_scan_says(name: str) -> None:
    assert_rewrites_keep_the_meaning(program_of(CLAUSES[name]), (3, 4))


@settings(max_examples=25)
@given(programs(), grids(3), st.integers(0, 999))
def test_rewrites_keep_the_meaning_of_any_program(text: str, grid: tuple[int, ...], seed: int) -> None:
    assert_rewrites_keep_the_meaning(scanlang.loads(text), grid, seed)


@settings(max_examples=10)
@given(programs(rank=3), grids(2, 3), st.integers(0, 999))
def test_rewrites_keep_the_meaning_on_three_axes(text: str, grid: tuple[int, ...], seed: int) -> None:
    assert_rewrites_keep_the_meaning(scanlang.loads(text), grid, seed)


THROUGH = "grid h, w recurrence through() {{ input x  h = 0 * h + x  y = h }} scan s(dim) {{ {} recur through merge {} }}"


@pytest.mark.parametrize("clauses, alike, merge", [
    ("directions raster, reverse(snake)  conv 3", "directions raster, reverse(snake)  conv 3", "concat"),
    ("directions reset(raster, every h)  conv 3", "directions reset(raster, every h)  conv 3", "concat"),
    ("directions raster, columns  conv 3 along reverse(snake)", "directions reverse(snake), reverse(snake)  conv 3", "concat"),
    ("directions raster, columns  conv 3 along snake  share conv", "directions snake  conv 3  share conv", "concat"),
    ("directions raster, columns  channels split 2, 1  conv 2 along snake",
     "directions snake, snake  channels split 2, 1  conv 2", "sum"),
    ("directions window(raster, 2, 3, pad = decay), insert(columns, cls at 2)  conv 2",
     "directions window(raster, 2, 3, pad = decay), insert(columns, cls at 2)  conv 2", "concat"),
])  # fmt: skip
def test_the_convolution_alone(clauses: str, alike: str, merge: str) -> None:
    """Equal to a scan whose recurrence hands on what it reads, along the order of the convolution."""
    loaded, through, grid = program_of(clauses), scanlang.loads(THROUGH.format(alike, merge)), (3, 4)
    arrays = numpy_of(written_arrays(loaded, grid))
    graph = conv_graph(loaded.verified, "s")
    got, want = interpret(graph, arrays, grid), interpret(through.graph(), arrays, grid)
    assert_alike(got, want, 1e-12, 1e-12)
    assert graph.stacked == (graph.directions > 1 and graph.split is None)
    assert graph.name == "s_conv"
