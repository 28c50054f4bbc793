"""`scanlang.testing` itself: its strategies give programs of the language, and its assertions fail when they should."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
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
    grids,
    inputs,
    orders,
    programs,
    recurrences,
)


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


@settings(max_examples=30)
@given(st.data())
def test_inputs_fit(data: st.DataObject) -> None:
    tensors = data.draw(inputs(operator("merge-z"), low=2, high=3, sizes={"state": 5}))
    assert set(operator("merge-z").signature.check([tensors[n] for n in operator("merge-z").arguments])) == {"state", "rank"}
    assert tensors["B"].shape[-1] == 5
    assert all(((tensor >= 2) & (tensor <= 3)).all() for tensor in tensors.values())


def test_inputs_come_from_their_seed_and_differ_by_direction() -> None:
    first, again, other = (draw_inputs(operator("cross"), (3, 4), seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["x"], other["x"])
    assert not torch.equal(first["A_log"][0], first["A_log"][1])


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
