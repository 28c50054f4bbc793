"""Three accounts of what a program means agree: `interpret`, `reference`, and loops written by hand from the papers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from graph_checks import (
    CLAUSES,
    assert_alike,
    channels_of,
    in_numpy,
    layers_of,
    numpy_of,
    program_of,
    sizes_of,
    written_arrays,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from operator_checks import operator, program
from operator_programs import PROGRAMS

import scanlang
from scanlang.check.program import StateUpdate
from scanlang.graph.interpret import interpret
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Equation, Expr, RecurrenceDefinition
from scanlang.syntax.parse import parse_text
from scanlang.testing import draw_inputs, grids, inputs, programs, recurrences, reference
from scanlang.testing.reference_values import evaluate
from scanlang.testing.tensors import draw_layers

Array = NDArray[np.float64]
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def selective_scan(x: Array, low: Array, b: Array, c: Array, weight: Array, bias: Array, a_log: Array, d: Array) -> Array:
    """Algorithm 2 of the Mamba paper for one sequence: x (L, C), low (L, R), b and c (L, N), a_log (C, N), weight (C, R)."""
    length, channels = x.shape
    y = np.zeros((length, channels))
    for channel in range(channels):
        state = np.zeros(a_log.shape[1])
        for t in range(length):
            delta = np.log1p(np.exp(bias[channel] + weight[channel] @ low[t]))
            decay = np.exp(delta * -np.exp(a_log[channel]))
            state = decay * state + delta * b[t] * x[t, channel]
            y[t, channel] = c[t] @ state + d[channel] * x[t, channel]
    return y


def gated_scan(x: Array, g: Array, k: Array, q: Array, lam: Array) -> Array:
    length, channels = x.shape
    y = np.zeros((length, channels))
    for channel in range(channels):
        state = np.zeros(lam.shape[1])
        for t in range(length):
            forget = 1 / (1 + np.exp(-(lam[channel] + g[t, channel])))
            state = forget * state + (1 - forget) * k[t] * x[t, channel]
            y[t, channel] = np.tanh(q[t] @ state) * g[t, channel] / (1 + np.exp(-g[t, channel]))
    return y


def cross_permutations(h: int, w: int) -> list[Array]:
    """VMamba's cross-scan: along the rows, along the columns, and both from the end."""
    rows = [r * w + c for r in range(h) for c in range(w)]
    columns = [r * w + c for c in range(w) for r in range(h)]
    return [np.array(cells) for cells in (rows, columns, rows[::-1], columns[::-1])]


def merged_by_hand(outputs: list[Array], cells: list[Array]) -> Array:
    total = np.zeros_like(outputs[0])
    for output, visited in zip(outputs, cells, strict=True):
        for t, cell in enumerate(visited):
            total[cell] += output[t]
    return total


@pytest.mark.parametrize("grid", [(3, 5), (1, 7), (6, 1), (4, 4)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_cross_scan_by_hand(grid: tuple[int, int]) -> None:
    tensors = draw_inputs(operator("cross"), grid, batch=2, channels=3, dtype=torch.float64)
    expected = np.zeros((2, grid[0] * grid[1], 3))
    for image in range(2):
        maps = {n: t[image].flatten(0, 1).numpy() for n, t in tensors.items() if t.ndim > 3}
        outputs = []
        for k, cells in enumerate(cross_permutations(*grid)):
            low, b, c = (maps[name][cells, k] for name in ("low", "B", "C"))
            own = [tensors[name][k].numpy() for name in ("dt_weight", "dt_bias", "A_log", "D")]
            outputs.append(selective_scan(maps["x"][cells], low, b, c, *own))
        expected[image] = merged_by_hand(outputs, cross_permutations(*grid))
    check_all("cross", tensors, expected.reshape(2, *grid, 3))


def test_gated_by_hand() -> None:
    tensors = draw_inputs(operator("gated"), (3, 4), batch=1, channels=2, dtype=torch.float64)
    maps = {n: t[0].flatten(0, 1).numpy() for n, t in tensors.items() if t.ndim > 3}
    cells = [np.arange(12), np.arange(12)[::-1]]
    outputs = [
        gated_scan(
            maps["x"][c], maps["g"][c], maps["K"][c, k], maps["Q"][c, k], tensors["lam"][k].numpy()
        )
        for k, c in enumerate(cells)
    ]  # fmt: skip
    check_all("gated", tensors, merged_by_hand(outputs, cells).reshape(1, 3, 4, 2) / 2)


def check_all(name: str, tensors: dict[str, torch.Tensor], expected: Array) -> None:
    height, width = expected.shape[1:3]
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    np.testing.assert_allclose(reference(program(name), None, **tensors).numpy(), expected, **CLOSE)
    np.testing.assert_allclose(interpret(program(name).operator_graph(), arrays, (height, width)), expected, **CLOSE)
    np.testing.assert_allclose(operator(name)(**tensors).numpy(), expected, **CLOSE)


@pytest.mark.parametrize("name", PROGRAMS)
def test_interpret_is_the_reference(name: str) -> None:
    tensors = draw_inputs(operator(name), (3, 4), batch=2, channels=2, dtype=torch.float64, seed=1)
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    expected = reference(program(name), None, **tensors).numpy()
    np.testing.assert_allclose(interpret(program(name).operator_graph(), arrays, (3, 4)), expected, **CLOSE)


@settings(max_examples=40)
@given(st.data(), st.sampled_from((1, 2, 2, 3)))
def test_interpret_is_the_reference_for_any_program(data: st.DataObject, rank: int) -> None:
    loaded = scanlang.loads(data.draw(programs(rank=rank)))
    op = scanlang.compile(loaded, layer=1)
    grid = data.draw(grids(3, rank))
    tensors = data.draw(inputs(op, st.just(grid), channels=(1, 2), batches=(0, 1, 2), dtypes=(torch.float64,)))
    layers = draw_layers(loaded, channels=tensors["x"].shape[-1], dtype=torch.float64)
    graph = loaded.operator_graph(layer=1)
    got = interpret(graph, numpy_of(tensors), grid, op.signature.fixed, in_numpy(layers))
    assert_alike(got, reference(loaded, None, 1, **tensors, **layers))


@pytest.mark.parametrize("name", CLAUSES)
def test_interpret_is_the_reference_for_all_that_a_scan_says(name: str) -> None:
    """As written, projections in a direction's own time, and as the operator computes it."""
    loaded, grid = program_of(CLAUSES[name]), (3, 4)
    arrays, sizes, layers = written_arrays(loaded, grid), sizes_of(loaded), layers_of(loaded)
    got = interpret(loaded.graph(), numpy_of(arrays), grid, sizes, in_numpy(layers))
    assert_alike(got, reference(loaded, None, **arrays, **layers))
    tensors = draw_inputs(scanlang.compile(loaded), grid, channels=channels_of(loaded), dtype=torch.float64, seed=1)
    got = interpret(loaded.operator_graph(), numpy_of(tensors), grid, sizes, in_numpy(layers))
    assert_alike(got, reference(loaded, None, **tensors, **layers))


@settings(max_examples=25)
@given(programs(), grids(3), st.integers(0, 999))
def test_interpret_is_the_reference_as_any_program_is_written(text: str, grid: tuple[int, ...], seed: int) -> None:
    loaded = scanlang.loads(text)
    arrays, layers = written_arrays(loaded, grid, seed), layers_of(loaded)
    got = interpret(loaded.graph(), numpy_of(arrays), grid, sizes_of(loaded), in_numpy(layers))
    assert_alike(got, reference(loaded, None, **arrays, **layers))


def test_layers_may_be_given_by_their_weights() -> None:
    clauses = (
        "directions raster, columns  use down = linear(dim, dim, bias = false)  use up = linear(dim, dim)"
        "  use ln = layer_norm(dim)  use rn = rms_norm(dim)  merge ln(y[0]) + rn(down(y[1]) * mean(cells: up(x)))"
    )
    loaded, grid = program_of(clauses), (2, 3)
    arrays, layers = written_arrays(loaded, grid), layers_of(loaded)
    weights = {f"{name}.{key}": value.detach() for name, layer in layers.items() for key, value in layer.named_parameters()}
    got = interpret(loaded.graph(), numpy_of({**arrays, **weights}), grid, sizes_of(loaded))
    assert_alike(got, reference(loaded, None, **arrays, **layers))


def test_an_image_has_its_own_order() -> None:
    """With the same permutation for all images the order given at run time is a table."""
    loaded, same = (
        program_of(CLAUSES["given"]),
        program_of("directions random(3), reverse(random(3)), insert(random(3), cls at 1) conv 2"),
    )
    arrays = written_arrays(same, (3, 4))
    order = torch.from_numpy(scanlang.loads("grid h, w order r = random(3)").orders["r"].positions(3, 4)).expand(2, 12)
    assert_alike(reference(loaded, None, **arrays, o=order), reference(same, None, **arrays))


@settings(max_examples=60)
@given(recurrences(), st.integers(0, 2**16))
def test_the_split_of_an_update_is_the_update(text: str, seed: int) -> None:
    """`decay * h + drive` equals the right-hand side as it was written, for any old values."""
    source = Source("any.scan", text)
    (definition,) = build_syntax(parse_text(source), source).items
    assert isinstance(definition, RecurrenceDefinition)
    written = {s.name: s.value for s in definition.body if isinstance(s, Equation)}
    names = [o.name for s in definition.body if not isinstance(s, Equation) for o in s.operands]
    checked = scanlang.loads("grid h, w " + text).checked.recurrences[definition.name]
    indices, sizes = tuple(checked.indices), dict.fromkeys(checked.indices, 2)
    generator = torch.Generator().manual_seed(seed)
    shape = (1, 1, 1) + (2,) * len(indices)

    def drawn() -> dict[str, torch.Tensor]:
        every = (*names, *(equation.name for equation in checked.equations))
        return {name: torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1 for name in every}

    values, before = drawn(), drawn()

    def previous(expr: Expr) -> torch.Tensor:
        return evaluate(expr, before, indices, sizes, previous)

    for equation in checked.equations:
        if isinstance(equation, StateUpdate):
            got = evaluate(equation.decay, values, indices, sizes, previous) * values[equation.name]
            got = got + evaluate(equation.drive, values, indices, sizes, previous)
            expected = evaluate(written[equation.name], values, indices, sizes, previous)
            torch.testing.assert_close(got, expected.expand_as(got), rtol=1e-12, atol=1e-12)


def test_gradients_of_the_reference_are_slopes() -> None:
    """Autograd through the reference against finite differences, once."""
    tensors = draw_inputs(operator("gated"), (2, 2), batch=1, channels=1, dtype=torch.float64)
    names = tuple(tensors)
    function: Callable[..., torch.Tensor] = lambda *given: reference(  # noqa: E731
        program("gated"), None, **dict(zip(names, given, strict=True))
    )
    assert torch.autograd.gradcheck(function, tuple(tensors[name].requires_grad_() for name in names))


@pytest.mark.parametrize("name", ["cross", "projected-channels", "projected-all"])
def test_reference_projects_in_a_direction_s_own_time(name: str) -> None:
    """Given weights instead of projected maps, the reference computes what the uncut graph means."""
    core = scanlang.Scan2d(program(name), channels=3)
    names = program(name).checked.scans[core.scan.name].inputs
    tensors = {n: torch.rand(1, 3, 4, 3, dtype=torch.float64) for n in names}
    weights = {n: parameter.detach().double() for n, parameter in core.named_parameters()}
    expected = reference(program(name), None, **tensors, **weights).numpy()
    arrays = {n: t.numpy() for n, t in (tensors | weights).items()}
    np.testing.assert_allclose(interpret(program(name).graph(), arrays, (3, 4), core._labels), expected, **CLOSE)
    np.testing.assert_allclose(core.double()(*tensors.values()).detach().numpy(), expected, rtol=1e-9, atol=1e-9)
