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
        (None, {}, "`channels=...` is missing"),
        (None, {"chanels": 4}, "did you mean `channels`?"),
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
        (lambda: CORE(X, X), "takes 1 argument without a name, not 2"),
        (lambda: CORE(X, h_0=X), "did you mean `h0`?"),
        (lambda: CORE(X, return_state="yes"), "argument `return_state` is 'yes'"),
        (lambda: CORE.op(X, X), "takes no arguments without a name, not 2"),
        (lambda: CORE(X, h0="h"), "argument `h0` is a str"),
        (lambda: CORE(X, h0={"h": None}), r"argument `h0\['h'\]` is a NoneType"),
        (lambda: CORE(X, h0={1: X}), "has no state `1`"),
        (lambda: CORE(X, h0=torch.zeros(1, 2, 4, 2).int()), "is int32"),
        (lambda: CORE(X, h0=torch.zeros(1, 2, 4, 2, device="meta")), "is on meta"),
        (lambda: CORE(X, h0=torch.zeros(1, 4, 2, 2)), r"must be \(B, K, C, state\) = \(1, 2, 4, 2\)"),
        (lambda: CORE(X, return_states=True), "does not know `return_states`"),
        (lambda: scanlang.compile(PROGRAM, 4), "`Scan2d` takes the number of channels as `channels=4`"),  # type: ignore[arg-type]
    ],
)
def test_arguments_of_a_call(call: Callable[[], object], words: str) -> None:
    with pytest.raises(scanlang.ScanError, match=words) as caught:
        call()
    assert len(caught.value.diagnostics) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_result_has_the_type_of_its_map_under_autocast(dtype: torch.dtype) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert CORE(X.to(dtype)).dtype == dtype
        with pytest.raises(scanlang.ScanError, match="float32, as the module's weights are"):
            CORE(X.double())


ARGUMENTS = {"x": X, "B": torch.randn(1, 2, 3, 2, 2), "a": torch.randn(2, 4, 2), "skip": torch.randn(2, 4)}


def of_x(x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = CORE.op(**{**ARGUMENTS, "free": torch.ones(2, 4, 2), "x": x})
    return result


@pytest.mark.parametrize(
    "transformed",
    [
        lambda: torch.func.grad(lambda x: of_x(x).sum())(X),
        lambda: torch.func.vjp(of_x, X),
        lambda: torch.func.jacrev(of_x)(X),
        lambda: torch.func.vmap(torch.func.grad(lambda x: of_x(x).sum()))(X[None]),
        lambda: torch.func.jvp(of_x, (X,), (X,)),
        lambda: torch.func.jacfwd(of_x)(X),
    ],
)
def test_transforms_do_not_see_the_backward(transformed: Callable[[], object]) -> None:
    with pytest.raises(scanlang.ScanError, match="S517"):
        transformed()


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_calls_it_for_each_entry() -> None:
    images = torch.stack([X, 2 * X]).requires_grad_()
    got, want = torch.func.vmap(of_x)(images), torch.stack([of_x(x) for x in images])
    torch.testing.assert_close(got, want)
    gradients = [torch.autograd.grad(result.square().sum(), images)[0] for result in (got, want)]
    torch.testing.assert_close(*gradients)


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
