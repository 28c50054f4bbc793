"""`scanlang.testing` itself: its strategies give programs of the language, and its assertions fail when they should."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from graph_checks import CLAUSES, channels_of, program_of
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from operator_checks import operator, program

import scanlang
from scanlang import testing
from scanlang.maps.order import Order
from scanlang.testing import (
    TOLERANCES,
    assert_bijection,
    assert_close,
    assert_matches_reference,
    draw_inputs,
    draw_layers,
    draw_states,
    grids,
    inputs,
    orders,
    programs,
    recurrences,
)
from scanlang.testing.tensors import shown_by


@settings(max_examples=60)
@given(orders("mine"), grids())
def test_orders_visit_every_cell(text: str, grid: tuple[int, int]) -> None:
    assert_bijection(scanlang.loads(f"grid h, w\n{text}").orders["mine"], *grid)


@settings(max_examples=40)
@given(recurrences("any"))
def test_recurrences_are_accepted(text: str) -> None:
    assert "any" in scanlang.loads(f"grid h, w\n{text}").checked.recurrences


@settings(max_examples=40)
@given(programs(directions=2))
def test_programs_are_accepted(text: str) -> None:
    assert 1 <= len(scanlang.loads(text).directions()) <= 2


@settings(max_examples=15)
@given(st.data(), st.integers(1, 4))
def test_programs_have_any_number_of_axes(data: st.DataObject, rank: int) -> None:
    loaded = scanlang.loads(data.draw(programs(rank=rank)))
    op = scanlang.compile(loaded)
    tensors = data.draw(inputs(op, batches=(1,)))
    assert len(loaded.checked.axes) == rank
    assert set(tensors) | set(draw_layers(loaded)) == set(op.arguments)


SAYS = (
    "conv 3", " along ", "operands ", "writes ", "channels split\n", "channels split 2", "label moves", "layers cycle",
    "merge max\n", "merge concat", "merge weighted", "mean(cells:", "use norm", "use up", "insert(", "reset(", "dilate(",
    "concat(", "pad = decay", "order given_order = input", "shared param", "share all except", "project ", " bias",
    "uncovered = 0", "hilbert", "every window", "head p", " per group units", " per 1 unit\n", "prev(", "scale top",
    "scale reach",
)  # fmt: skip


def test_programs_say_all_there_is_to_say() -> None:
    texts: list[str] = []

    @settings(max_examples=500, derandomize=True, database=None, phases=[Phase.generate])
    @given(programs())
    def collect(text: str) -> None:
        texts.append(text)

    collect()
    unsaid = [words for words in SAYS if not any(words in text for text in texts)]
    assert not unsaid


@settings(max_examples=30)
@given(st.data())
def test_inputs_fit(data: st.DataObject) -> None:
    tensors = data.draw(inputs(operator("merge-z"), low=2, high=3, sizes={"state": 5}))
    op = operator("merge-z")
    op.signature.complete(tensors)
    op.signature.check(tensors)
    assert tensors["B"].shape[-1] == 5
    assert all(((tensor >= 2) & (tensor <= 3)).all() for tensor in tensors.values())


@pytest.mark.parametrize("name", CLAUSES)
def test_drawn_inputs_are_the_operator_s_arguments(name: str) -> None:
    """Shapes are read off the scan graph; the operator checks them by its own account."""
    loaded = program_of(CLAUSES[name])
    op = scanlang.compile(loaded)
    channels = 3 * channels_of(loaded)
    given = {**draw_inputs(op, (3, 4), channels=channels), **draw_layers(loaded, channels=channels)}
    op.signature.complete(given)
    op.signature.check(given)


def test_tokens_and_orders_are_drawn() -> None:
    op = scanlang.compile(program_of(CLAUSES["tokens"]))
    tensors = draw_inputs(op, (3, 4), channels=2)
    assert tensors["cls"].shape == tensors["z_cls"].shape == (2, 1, 2)
    assert tensors["reg"].shape == (2, 4, 2)
    assert tensors["K_reg"].shape == (2, 4, 2, 2)
    order = draw_inputs(scanlang.compile(program_of(CLAUSES["given"])), (3, 4))["o"]
    assert order.dtype == torch.int64
    assert torch.equal(order.sort(1).values, torch.arange(12).expand(2, 12))
    assert not torch.equal(order[0], order[1])


def test_layers_are_drawn_from_their_seed() -> None:
    loaded = program_of(CLAUSES["two phases"])
    first, again, other = (draw_layers(loaded, channels=4, seed=seed) for seed in (1, 1, 2))
    assert [tuple(layer.weight.shape) for layer in first.values()] == [(2, 4), (4, 2)]
    assert [layer.bias is None for layer in first.values()] == [False, True]
    assert torch.equal(first["up"].weight, again["up"].weight)
    assert not torch.equal(first["up"].weight, other["up"].weight)


def test_inputs_come_from_their_seed_and_differ_by_direction() -> None:
    first, again, other = (draw_inputs(operator("cross"), (3, 4), seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["x"], other["x"])
    assert not torch.equal(first["A_log"][0], first["A_log"][1])


HEADED = """grid h, w
recurrence r(state n, head p, group = 1) {
  input x[p], f[n, p], g  shared B[n] per group units  param a[n], d[p]
  h[n, p] = sigmoid(a[n] + g) * h[n, p] + B[n] * (x[p] + f[n, p])
  s       = sigmoid(g) * s + g
  y[p]    = sum(n: h[n, p]) + d[p] * s
}
"""


def test_inputs_of_units_have_their_shapes() -> None:
    scan = "scan s(dim, head) { input x, f, g  directions raster, columns  recur r(state = 3, head = head, group = 2) }"
    op = scanlang.compile(scanlang.loads(HEADED + scan))
    tensors = draw_inputs(op, (3, 4), batch=1, sizes={"head": 5}, channels=20)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        "x": (1, 3, 4, 20), "f": (1, 3, 4, 2, 20, 3), "g": (1, 3, 4, 2, 4), "B": (1, 3, 4, 2, 2, 3), "a": (2, 4, 3),
        "d": (2, 20),
    }  # fmt: skip


def test_channels_are_whole_units() -> None:
    clauses = "input x, f, g  directions raster, columns  channels split 1, 2  recur r(state = 3, head = 4, group = 2)"
    op = scanlang.compile(scanlang.loads(f"{HEADED} scan s(dim) {{ {clauses} }}"))
    shapes = {name: tuple(tensor.shape) for name, tensor in draw_inputs(op, (3, 4)).items()}
    assert (shapes["x"], shapes["f"], shapes["g"]) == ((2, 3, 4, 72), (2, 3, 4, 72, 3), (2, 3, 4, 18))
    assert (shapes["B"], shapes["a"], shapes["d"]) == ((2, 3, 4, 9, 3), (18, 3), (72,))
    assert {name: tuple(state.shape) for name, state in draw_states(op).items()} == {"h": (2, 72, 3), "s": (2, 18)}
    with pytest.raises(ValueError, match="20 channels are not a multiple of 24"):
        draw_inputs(op, (3, 4), channels=20)


def test_a_head_is_the_scan_s_where_channels_are_given() -> None:
    text = """grid h, w
      recurrence r(state n, head p, group = 1) {
        input x[p], dt  shared B[n] per group units
        S[n, p] = sigmoid(dt) * S[n, p] + B[n] * x[p]  y[p] = sum(n: S[n, p])
      }
      scan s(dim, state = 2, head = 8) {
        input x, dt  directions raster  recur r(state = state, head = head)  project B from x
      }"""
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded)
    drawn = draw_inputs(op, (2, 3), channels=8)
    assert drawn["dt"].shape[-1] == 1
    assert draw_states(op, channels=8)["S"].shape[-2:] == (8, 2)
    assert_matches_reference(op, loaded, drawn)
    assert draw_inputs(op, (2, 3), channels=8, sizes={"head": 4})["dt"].shape[-1] == 2
    with pytest.raises(ValueError, match="10 channels are not a multiple of 8"):
        draw_inputs(op, (2, 3), channels=10)


def test_no_tensors_are_no_arguments() -> None:
    with pytest.raises(ValueError, match="was given no tensors"):
        assert_matches_reference(operator("cross"), program("cross"), {})


@settings(max_examples=20)
@given(st.data())
def test_drawn_sizes_are_shown(data: st.DataObject) -> None:
    scan = "scan s(dim, head, group) { input x, f, g  directions raster  recur r(state = 3, head = head, group = group) }"
    op = scanlang.compile(scanlang.loads(HEADED + scan))
    tensors = data.draw(inputs(op, grids(3)))
    states = draw_states(op, **shown_by(op, tensors))
    assert states["h"].shape == (*tensors["x"].shape[:1], 1, tensors["x"].shape[-1], 3)
    assert states["s"].shape == (*tensors["x"].shape[:1], 1, tensors["g"].shape[-1])
    op.signature.complete(tensors)
    op.signature.check(tensors)


def test_wrong_states_are_seen() -> None:
    scan = "scan s(dim) { input x, f, g  directions raster, snake  recur r(state = 3, head = 2) }"
    loaded = scanlang.loads(HEADED + scan)
    op = scanlang.compile(loaded)
    tensors, states = draw_inputs(op, (3, 4)), draw_states(op)

    def changed(**given: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        y, last = op(**given)
        return y, {**last, "s": last["s"] * 1.001}

    def careless(h0: dict[str, torch.Tensor], **given: Any) -> Any:
        return op(h0={**h0, "s": h0["s"].detach()}, **given)

    assert_matches_reference(op, loaded, tensors, states=states)
    with pytest.raises(AssertionError, match="the state s is off"):
        assert_matches_reference(changed, loaded, tensors, states=states)
    with pytest.raises(AssertionError, match=r"the gradient of h0\[s\] is off"):
        assert_matches_reference(careless, loaded, tensors, states=states)


class Wrong(Order):
    cells: tuple[int, ...] = ()

    def positions(self, h: int, w: int) -> np.ndarray:
        return np.array(self.cells)


@pytest.mark.parametrize(
    "cells, words", [((0, 1, 1, 3), "misses cell"), ((0, 1, 2, 3, 4), "leaves the grid"), ((0, 1, 2), "misses")]
)
def test_an_order_that_is_none(cells: tuple[int, ...], words: str) -> None:
    good = program("cross").orders["rows"]
    wrong = Wrong(good.name, good.axes, good.checked)
    object.__setattr__(wrong, "cells", cells)
    object.__setattr__(wrong, "ranks", lambda h, w: np.arange(4))
    with pytest.raises(AssertionError, match=words):
        assert_bijection(wrong, 2, 2)


def test_one_wrong_element_is_seen() -> None:
    """In the output of a scan of 64 × 64, and in every type."""
    want = torch.randn(64, 64, dtype=torch.float64)
    for dtype, tolerance in TOLERANCES.items():
        got = want.to(dtype, copy=True)
        assert_close("it", got, want, tolerance.output)
        got[3, 5] += 0.1
        with pytest.raises(AssertionError, match=r"it is off by .* at \(3, 5\)"):
            assert_close("it", got, want, tolerance.output)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_a_number_is_never_close(wrong: float) -> None:
    got = torch.ones(8)
    got[2] = wrong
    with pytest.raises(AssertionError, match=r"off by inf.* at \(2,\)"):
        assert_close("it", got, torch.ones(8), 1e9)


def test_a_shape_that_broadcasts_is_wrong() -> None:
    with pytest.raises(AssertionError, match=r"it has shape \(1,\), not \(3,\)"):
        assert_close("it", torch.ones(1), torch.ones(3), 1.0)


def test_a_wrong_output_or_gradient_is_seen() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 4))
    with pytest.raises(AssertionError, match="the output is off"):
        assert_matches_reference(lambda **given: op(**given) * 1.001, program("cross"), tensors)
    with pytest.raises(AssertionError, match="the gradient of A_log is off"):
        assert_matches_reference(
            lambda **given: op(**{**given, "A_log": given["A_log"].detach() + 0 * given["A_log"]}), program("cross"), tensors
        )


def test_wrong_tokens_are_seen() -> None:
    loaded = program_of(CLAUSES["tokens"])
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, (3, 4))

    def wrong(**given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, cls, reg = op(**given)
        return y, cls, reg + 0.01

    assert_matches_reference(op, loaded, tensors)
    with pytest.raises(AssertionError, match="output 2, of tokens, is off"):
        assert_matches_reference(wrong, loaded, tensors)
    with pytest.raises(AssertionError, match="the output has 2 parts, not 3"):
        assert_matches_reference(lambda **given: op(**given)[:2], loaded, tensors)


def test_a_wrong_gradient_of_a_layer_is_seen() -> None:
    loaded = program_of(CLAUSES["two phases"])
    op = scanlang.compile(loaded)
    tensors = draw_inputs(op, (3, 4))

    def wrong(up: torch.nn.Linear, **given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        twice = up.weight * 2 - up.weight.detach()
        return op(up=lambda x: x @ twice.T, **given)  # type: ignore[no-any-return]

    assert_matches_reference(op, loaded, tensors)
    with pytest.raises(AssertionError, match=r"the gradient of up\.weight is off"):
        assert_matches_reference(wrong, loaded, tensors)


def test_all_public_names_are_there() -> None:
    assert all(hasattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError):
        _ = testing.nothing


def test_without_hypothesis_only_the_strategies_are_missing() -> None:
    script = """
import sys
sys.modules["hypothesis"] = None
import importlib.util
importlib.util.find_spec = lambda name, find=importlib.util.find_spec: None if name == "hypothesis" else find(name)
import scanlang.testing as testing
assert testing.reference and testing.TOLERANCES
try:
    testing.grids
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert "pip install hypothesis" in done.stdout, done.stderr
