"""Calls that cannot work: each is a ScanError that names the argument, not what torch says of it further in."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

import scanlang

PROGRAM = scanlang.loads("""
recurrence leaky(state n) {
  input x
  shared B[n]
  param a[n] = uniform(1, 4), skip = 1, free[n]
  h[n] = sigmoid(a[n]) * h[n] + free[n] * B[n] * x
  y    = sum(n: h[n]) + skip * x
}
scan leak(dim, state = 2) { directions raster, snake  recur leaky(state = state)  project B from x }
""")
CORE = scanlang.Scan2d(PROGRAM, "leak", 4)
X = torch.randn(1, 2, 3, 4)


@pytest.mark.parametrize(
    ("channels", "sizes", "words"),
    [
        ("4", {}, "'4', which is not an integer"),
        (True, {}, "True, which is not an integer"),
        (1.5, {}, "1.5, which is not an integer"),
        (0, {}, "`dim` is not a size"),
        (4, {"state": "two"}, "`state` is not a size"),
        (4, {"dim": 5}, "given twice, as 4 and 5"),
    ],
)
def test_sizes_of_a_module(channels: int, sizes: dict[str, int], words: str) -> None:
    with pytest.raises(scanlang.ScanError, match=words):
        scanlang.Scan2d(PROGRAM, "leak", channels, **sizes)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CORE(None), "argument `x` is a NoneType"),
        (lambda: CORE(X.numpy()), "argument `x` is a ndarray"),
        (lambda: CORE(X.int()), "argument `x` is int32"),
        (lambda: CORE(X.half()), "float32, as the module's weights are"),
        (lambda: CORE(X[0]), r"must be \(B, H, W, 4\)"),
        (lambda: CORE(X.to("meta")), "argument `x` is on meta"),
        (lambda: CORE(X, x=X), "a second x"),
        (lambda: CORE.op(X, X), "without a name"),
        (lambda: CORE(X, h0="h"), "argument `h0` is a str"),
        (lambda: CORE(X, h0={"h": None}), r"argument `h0\['h'\]` is a NoneType"),
        (lambda: CORE(X, h0={1: X}), "has no state `1`"),
        (lambda: CORE(X, h0=torch.zeros(1, 2, 4, 2).int()), "is int32"),
        (lambda: CORE(X, h0=torch.zeros(1, 2, 4, 2, device="meta")), "is on meta"),
        (lambda: CORE(X, h0=torch.zeros(1, 4, 2, 2)), r"must be \(B, K, C, state\) = \(1, 2, 4, 2\)"),
        (lambda: CORE(X, return_states=True), "does not know `return_states`"),
    ],
)
def test_arguments_of_a_call(call: Callable[[], object], words: str) -> None:
    with pytest.raises(scanlang.ScanError, match=words) as caught:
        call()
    assert len(caught.value.diagnostics) == 1


def test_sizes_may_be_integers_of_numpy() -> None:
    assert scanlang.Scan2d(PROGRAM, "leak", np.int64(4)).channels == 4


def test_parameters_have_torch_s_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        core = scanlang.Scan2d(PROGRAM, "leak", 4)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in core.parameters()} == {torch.float64}
    assert core(X.double()).dtype == torch.float64


def test_a_program_that_was_used_can_be_copied_and_pickled() -> None:
    program = scanlang.loads("grid h, w\norder down = walk w, h\n")
    expected = program.orders["down"].positions(3, 4)
    for again in (copy.deepcopy(program), pickle.loads(pickle.dumps(program))):
        assert np.array_equal(again.orders["down"].positions(3, 4), expected)
