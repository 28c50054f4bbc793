"""The scan graph: what it is built of, and that each rewrite keeps the meaning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import PROGRAMS, program

import scanlang
from scanlang.graph.interpret import interpret
from scanlang.graph.passes import REWRITES, cut_projections, drop_dead, hoist_projections, rewrite, share_gathers
from scanlang.graph.scan_graph import Gather, Input, Node, Pick, Project, Recur, ScanGraph, Scatter
from scanlang.graph.step import Assign
from scanlang.graph.values import Apply, Constant, Read, Total
from scanlang.testing import grids, programs


def graph_of(clauses: str, recurrence: str = "selective(state = 1, rank = 1)") -> ScanGraph:
    text = f"import std.selective grid h, w scan s(dim) {{ recur {recurrence} {clauses} }}"
    return scanlang.loads(text).graph()


def counts(graph: ScanGraph) -> Counter[type[Node]]:
    return Counter(type(node) for node in graph.nodes.values())


def arrays_for(loaded: scanlang.Program, grid: tuple[int, int], seed: int = 0) -> dict[str, np.ndarray]:
    """What the graph of a program's only scan takes before projections are cut away."""
    torch.manual_seed(seed)
    core = scanlang.Scan2d(loaded, channels=2)
    arrays = {name: parameter.detach().double().numpy() for name, parameter in core.named_parameters()}
    sizes = {index: core._labels[label] for index, label in core.scan.recurrence.indices.items()}
    for name, node in loaded.graph().inputs().items():
        tail = [sizes[i] for i in node.indices] if node.kind == "shared" else [2]
        middle = [len(core.scan.directions)] if node.per_direction else []
        arrays[name] = torch.rand(1, *grid, *middle, *tail, dtype=torch.float64).numpy() * 2 - 1
    return arrays


def sizes_of(loaded: scanlang.Program) -> dict[str, int]:
    return scanlang.Scan2d(loaded, channels=2)._labels


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
    assert graph.inputs()["B"] == Input("B", "shared", ("n",), per_direction=True)
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
    assert [str(equation) for equation in step.prologue] == ["fixed.0[n] = -exp(A_log[n])"]
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
    assert step.body[-1] == Assign(
        "y", (), Apply("sub", (Total("n", Read("h", ("n",))), Apply("neg", (Read("x"),)))), step.body[-1].span
    )


def test_a_graph_reads_as_text() -> None:
    lines = str(rewrite(graph_of("directions raster project low, B, C from x"))).splitlines()
    assert any(line.startswith("recur 0") and "x: gather 0 x" in line for line in lines)
    assert lines == str(rewrite(graph_of("directions raster project low, B, C from x"))).splitlines()


@pytest.mark.parametrize("one", REWRITES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rewrite_keeps_the_meaning(name: str, one: object) -> None:
    graph, arrays, sizes = program(name).graph(), arrays_for(program(name), (2, 3)), sizes_of(program(name))
    rewritten = one(graph)  # type: ignore[operator]
    np.testing.assert_array_equal(interpret(rewritten, arrays, (2, 3), sizes), interpret(graph, arrays, (2, 3), sizes))


@settings(max_examples=15)
@given(programs(), grids(3), st.integers(0, 999))
def test_rewrites_keep_the_meaning_of_any_program(text: str, grid: tuple[int, int], seed: int) -> None:
    loaded = scanlang.loads(text)
    graph, arrays = loaded.graph(), arrays_for(loaded, grid, seed)
    sizes = sizes_of(loaded)
    expected = interpret(graph, arrays, grid, sizes)
    for one in REWRITES:
        graph = one(graph)
        np.testing.assert_allclose(interpret(graph, arrays, grid, sizes), expected, rtol=1e-13, atol=1e-13)
