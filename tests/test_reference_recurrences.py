"""Recurrences with heads, scales and values of the step before, in loops written by hand from their papers: `reference`,
`interpret` and the operator agree with them, from given states on, and the last states too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from graph_checks import assert_alike, numpy_of
from numpy.typing import NDArray

import scanlang
from scanlang.graph.interpret import interpret
from scanlang.testing import draw_inputs, draw_states, reference

Array = NDArray[np.float64]
Arrays = dict[str, Any]
Loop = Callable[[Arrays, Arrays], tuple[Array, Arrays]]
HEAD, GRID = 2, (2, 3)

SSD = """recurrence ssd(state n, head p, group = 1) {
  input  x[p], dt
  shared B[n], C[n] per group units
  param  A_log, dt_bias, D[p]
  d       = softplus(dt_bias + dt)
  S[n, p] = exp(-exp(A_log) * d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D[p] * x[p]
}"""
MLSTM = """recurrence mlstm(state n, head p) {
  input v[p], q[n], k[n], i, f
  lf      = -softplus(-f)
  scale m = max(lf + m, i)
  C[n, p] = exp(lf + prev(m) - m) * C[n, p] + exp(i - m) * k[n] * v[p]
  a[n]    = exp(lf + prev(m) - m) * a[n] + exp(i - m) * k[n]
  y[p]    = sum(n: C[n, p] * q[n]) / max(abs(sum(n: a[n] * q[n])), exp(-m))
}"""
WKV = """recurrence wkv {
  input k, v
  param w, u
  scale m = max(prev(m) - exp(w), k)
  a       = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
  b       = exp(prev(m) - exp(w) - m) * b + exp(k - m)
  scale q = max(prev(m), u + k)
  y       = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))
}"""
EXCLUSIVE = """recurrence exclusive(state n) {
  input  x, g
  shared B[n], C[n]
  h[n] = sigmoid(g) * h[n] + B[n] * x
  y    = sum(n: C[n] * prev(h[n])) + prev(x * g)
}"""


def ssd(m: Arrays, h: Arrays) -> tuple[Array, Arrays]:
    """Mamba-2, section 2: h[t] = exp(Δ A) h[t-1] + Δ B x, y = C h + D x, head by head; two heads share B and C."""
    outputs, states = np.zeros_like(m["x"]), h["S"].copy()
    for head in range(m["dt"].shape[1]):
        own, group = slice(head * HEAD, (head + 1) * HEAD), head // 2
        for t in range(len(outputs)):
            delta = np.log1p(np.exp(m["dt"][t, head] + m["dt_bias"][head]))
            decay = np.exp(-np.exp(m["A_log"][head]) * delta)
            states[own] = decay * states[own] + delta * np.outer(m["x"][t, own], m["B"][t, group])
            outputs[t, own] = states[own] @ m["C"][t, group] + m["D"][own] * m["x"][t, own]
    return outputs, {"S": states}


def mlstm(m: Arrays, h: Arrays) -> tuple[Array, Arrays]:
    """xLSTM, equations 19 to 27, with exponentials as they are: `exp(m)` times what is held back."""
    outputs, last = np.zeros_like(m["v"]), {name: array.copy() for name, array in h.items()}
    for head in range(m["i"].shape[1]):
        own, scale = slice(head * HEAD, (head + 1) * HEAD), h["m"][head]
        matrix, normaliser = h["C"][own].T * np.exp(scale), h["a"][head] * np.exp(scale)
        for t in range(len(outputs)):
            forget, write = 1 / (1 + np.exp(-m["f"][t, head])), np.exp(m["i"][t, head])
            matrix = forget * matrix + write * np.outer(m["k"][t, head], m["v"][t, own])
            normaliser = forget * normaliser + write * m["k"][t, head]
            scale = max(np.log(forget) + scale, m["i"][t, head])
            outputs[t, own] = m["q"][t, head] @ matrix / max(abs(normaliser @ m["q"][t, head]), 1)
        last["C"][own], last["a"][head] = matrix.T * np.exp(-scale), normaliser * np.exp(-scale)
        last["m"][head] = scale
    return outputs, last


def wkv(m: Arrays, h: Arrays) -> tuple[Array, Arrays]:
    """RWKV-4, equation 14: a weighted mean of all values so far, the present one with a bonus `u`."""
    outputs, scale, keep = np.zeros_like(m["k"]), h["m"], np.exp(-np.exp(m["w"]))
    above, below = h["a"] * np.exp(scale), h["b"] * np.exp(scale)
    for t in range(len(outputs)):
        now, own = np.exp(m["k"][t]), np.exp(m["u"] + m["k"][t])
        outputs[t] = (above + own * m["v"][t]) / (below + own)
        above, below = keep * above + now * m["v"][t], keep * below + now
        scale = np.maximum(scale - np.exp(m["w"]), m["k"][t])
    return outputs, {"m": scale, "a": above * np.exp(-scale), "b": below * np.exp(-scale)}


def exclusive(m: Arrays, h: Arrays) -> tuple[Array, Arrays]:
    """What was read before the step wrote."""
    outputs, state, product = np.zeros_like(m["x"]), h["h"], h["prev.0"]
    for t in range(len(outputs)):
        outputs[t] = state @ m["C"][t] + product
        state = state / (1 + np.exp(-m["g"][t]))[:, None] + np.outer(m["x"][t], m["B"][t])
        product = m["x"][t] * m["g"][t]
    return outputs, {"h": state, "prev.0": product}


CASES: dict[str, tuple[str, str, Loop]] = {
    "ssd": (SSD, "state = 3, head = 2, group = 2", ssd),
    "mlstm": (MLSTM, "state = 3, head = 2", mlstm),
    "wkv": (WKV, "", wkv),
    "exclusive": (EXCLUSIVE, "state = 2", exclusive),
}
STARTS = {"m": -1e30}
"""States that do not start at 0."""


def program_of(name: str, clauses: str) -> scanlang.Program:
    text, actuals, _ = CASES[name]
    inputs = {"ssd": "x, dt", "mlstm": "v, q, k, i, f", "wkv": "k, v", "exclusive": "x, g"}[name]
    return scanlang.loads(f"grid h, w\n{text}\nscan s(dim) {{ input {inputs}  {clauses}  recur {name}({actuals}) }}")


def by_hand(name: str, arrays: Arrays, states: Arrays, runs: list[list[int]]) -> tuple[Array, Arrays]:
    """The sum over the directions, each given by its cells, and every direction's last states; `states` `(B, K, …)`."""
    maps = {key: array.reshape(array.shape[0], -1, *array.shape[3:]) for key, array in arrays.items() if array.ndim > 3}
    first = next(array for array in maps.values() if array.ndim == 3)
    outputs, last = np.zeros_like(first), {key: array.copy() for key, array in states.items()}
    for image in range(len(first)):
        for k, cells in enumerate(runs):
            own = {key: array[image, cells] if array.ndim == 3 else array[image, cells, k] for key, array in maps.items()}
            own |= {key: array[k] for key, array in arrays.items() if key not in maps}
            made, end = CASES[name][2](own, {key: array[image, k] for key, array in states.items()})
            outputs[image, cells] += made
            for key in last:
                last[key][image, k] = end[key]
    return outputs.reshape(len(first), *GRID, -1), last


@pytest.mark.parametrize("name", CASES)
def test_by_hand(name: str) -> None:
    """Both ways, from where states start: the reference, the graph interpreter and the operator."""
    loaded = program_of(name, "directions raster, reverse(columns)")
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, GRID, dtype=torch.float64, seed=2)
    states = {key: np.full(s.shape, STARTS.get(key, 0.0)) for key, s in draw_states(op, dtype=torch.float64).items()}
    expected, last = by_hand(name, numpy_of(tensors), states, [list(range(6)), [5, 2, 4, 1, 3, 0]])
    got, ends = reference(loaded, None, return_state=True, **tensors)
    assert_alike(got, expected)
    check_states(ends, last)
    assert_alike(interpret(loaded.operator_graph(), numpy_of(tensors), GRID, op.signature.fixed), expected)
    assert_alike(op(**tensors), expected)


@pytest.mark.parametrize("name", CASES)
def test_from_given_states(name: str) -> None:
    loaded = program_of(name, "directions raster, reverse(columns)")
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, GRID, dtype=torch.float64, seed=3)
    states = draw_states(op, dtype=torch.float64, seed=4)
    expected, last = by_hand(name, numpy_of(tensors), numpy_of(states), [list(range(6)), [5, 2, 4, 1, 3, 0]])
    for function in (lambda **given: reference(loaded, None, **given), op):
        got, ends = function(h0=states, return_state=True, **tensors)
        assert_alike(got, expected)
        check_states(ends, last)


def check_states(got: dict[str, torch.Tensor], want: Arrays) -> None:
    assert set(got) == set(want)
    for key, state in got.items():
        np.testing.assert_allclose(state.numpy(), want[key], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_two_halves_are_the_whole(name: str) -> None:
    """The states that a scan of the first rows ends with are those that one of the others goes on from; convolution goes on."""
    loaded = program_of(name, "directions raster  conv 3")
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, (5, 3), dtype=torch.float64, seed=5)
    maps = [argument.name for argument in op.signature.arguments if argument.is_map]
    for function in (lambda **given: reference(loaded, None, **given), op):
        whole, end = function(return_state=True, **tensors)
        first, states = function(return_state=True, **tensors | {key: tensors[key][:, :2] for key in maps})
        second, last = function(h0=states, return_state=True, **tensors | {key: tensors[key][:, 2:] for key in maps})
        assert_alike(torch.cat([first, second], 1), whole)
        check_states(last, numpy_of(end))


def test_a_direction_that_starts_anew_forgets_what_was_given() -> None:
    """Every row is a scan of its own, the first one from the given states; the last states are those of the last row."""
    loaded, rows = (
        program_of("wkv", "directions reset(raster, every h)  conv 2"),
        program_of("wkv", "directions raster  conv 2"),
    )
    tensors = draw_inputs(scanlang.compile(loaded), (3, 4), dtype=torch.float64, seed=6)
    states = draw_states(scanlang.compile(loaded), dtype=torch.float64, seed=7)
    got, last = reference(loaded, None, h0=states, return_state=True, **tensors)
    for row in range(3):
        given = tensors | {key: tensors[key][:, row : row + 1] for key in ("k", "v")}
        want, ends = reference(rows, None, h0=states if row == 0 else {}, return_state=True, **given)
        assert_alike(got[:, row : row + 1], want)
    check_states(last, numpy_of(ends))


def test_directions_with_channels_and_steps_of_their_own() -> None:
    """Their last states stand side by side; a direction of fewer steps ends where it ends."""
    loaded = program_of("mlstm", "directions dilate(raster, 2), columns  channels split 2, 1  uncovered = 0")
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, (3, 4), channels=6, dtype=torch.float64)
    states = draw_states(op, channels=6, dtype=torch.float64)
    _, last = reference(loaded, None, h0=states, return_state=True, **tensors)
    cells = {0: [0, 2, 8, 10], 1: [r * 4 + c for c in range(4) for r in range(3)]}
    heads = {0: slice(0, 2), 1: slice(2, 3)}
    arrays, first = numpy_of(tensors), numpy_of(states)
    for k, visited in cells.items():
        channels = slice(heads[k].start * HEAD, heads[k].stop * HEAD)
        of = {"v": channels, "C": channels}
        for image in range(2):
            own = {key: a[image].reshape(12, *a.shape[3:])[visited, of.get(key, heads[k])] for key, a in arrays.items()}
            _, ends = mlstm(own, {key: a[image, of.get(key, heads[k])] for key, a in first.items()})
            for key, end in ends.items():
                np.testing.assert_allclose(last[key][image, of.get(key, heads[k])].numpy(), end, rtol=1e-10)


def test_scales_pass_no_gradient() -> None:
    """Neither the one given nor the one that a scan ends with."""
    loaded = program_of("wkv", "directions raster")
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, (2, 2), dtype=torch.float64)
    states = {key: state.requires_grad_() for key, state in draw_states(op, dtype=torch.float64).items()}
    y, last = reference(loaded, None, h0=states, return_state=True, **tensors)
    assert not last["m"].requires_grad
    found = torch.autograd.grad(y.sum() + last["a"].sum(), list(states.values()), allow_unused=True)
    assert [gradient is None for gradient in found] == [key == "m" for key in states]
