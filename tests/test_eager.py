"""Scans called at once, without torch's dispatcher: the same bits as the registered operator, which whoever follows operators
still sees; and calls that were checked are not checked again, others are."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from operator_checks import draw, operator
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import scanlang
from scanlang.codegen import module, on_rows
from scanlang.diagnostics import ScanError

TEXT = """
import std.selective
grid h, w
scan core(dim, state = 2, rank = 2) {
  input      x, z
  directions raster, reverse(raster)
  conv       3
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
  merge      (y[0] + y[1]) * silu(z)
}
"""


def core() -> scanlang.Scan2d:
    torch.manual_seed(1)
    return scanlang.Scan2d(scanlang.loads(TEXT), channels=4)


def rows(count: int = 2, grid: tuple[int, int] = (3, 5), dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.randn(count, grid[0] * grid[1], 4, dtype=dtype) for _ in range(2)]


class Seen(TorchDispatchMode):
    """The scans among the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "scanlang":
            self.names.append(func._schema.name)
        return func(*args, **(kwargs or {}))


def results(call: Any, given: dict[str, Tensor]) -> list[Tensor]:
    leaves = {name: value.detach().clone().requires_grad_() for name, value in given.items()}
    made = call(**leaves)
    return [made, *torch.autograd.grad(made.square().sum(), list(leaves.values()))]


def test_the_same_bits_as_the_operator_which_modes_see() -> None:
    op, given = operator("cross"), draw("cross", (3, 5), dtype=torch.float32)
    at_once = results(op, given)
    with Seen() as seen:
        followed = results(op, given)
    for one, other in zip(at_once, followed, strict=True):
        assert torch.equal(one, other)
    name = op.torch_op._schema.name
    assert seen.names == [name, f"{name}_backward"]


def test_profilers_see_operators() -> None:
    op, given = operator("cross"), draw("cross", (3, 5), dtype=torch.float32)
    op(**given)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        op(**given)
    assert op.torch_op._schema.name in {event.key for event in profile.key_averages()}


def test_fake_tensors_run_nothing() -> None:
    from torch._subclasses import FakeTensorMode

    op, given = operator("cross"), draw("cross", (3, 5), dtype=torch.float32)
    with FakeTensorMode(allow_non_fake_inputs=False) as mode:
        made = op(**{name: mode.from_tensor(value) for name, value in given.items()})
    assert made.shape == op(**given).shape
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a backend that runs says that it is slow
        assert op(**{name: value.to("meta") for name, value in given.items()}).is_meta


def test_a_second_derivative_is_refused() -> None:
    op, given = operator("cross"), draw("cross", (3, 5), dtype=torch.float32)
    x = given["x"].requires_grad_()
    (first,) = torch.autograd.grad(op(**given).sum(), x, create_graph=True)
    with pytest.raises(ScanError, match="S516"):
        torch.autograd.grad(first.sum(), x)


def test_mistakes_after_good_calls_are_named() -> None:
    scan, (x, z) = core(), rows()
    scan.on_rows([x, z], (3, 5))
    scan.on_rows([x, z], (3, 5))
    for inputs, grid in (
        ([x.double(), z], (3, 5)),
        ([x[:, :-1], z], (3, 5)),
        ([x, z], (3, 4)),
        ([x[..., :2], z], (3, 5)),
        ([x], (3, 5)),
        ([x.long(), z], (3, 5)),
    ):
        with pytest.raises(ScanError):
            scan.on_rows(inputs, grid)
    with pytest.raises(ScanError):
        scan.on_rows([x, z], (3, 5), (("cls", 1),))
    with torch.autocast("cpu", torch.bfloat16):
        scan.on_rows([x.bfloat16(), z], (3, 5))
    with pytest.raises(ScanError):
        scan.on_rows([x.bfloat16(), z], (3, 5))
    scan.double()
    with pytest.raises(ScanError):
        scan.on_rows([x, z], (3, 5))


def test_what_is_remembered_of_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_rows, "MOST_CALLS", 3)
    monkeypatch.setattr(module, "MOST_CALLS", 3)
    scan = core()
    for count in range(1, 9):
        x, z = rows(count)
        assert scan.on_rows([x, z], (3, 5)).shape == x.shape
    assert len(scan._checked) <= 3
    assert len(scan.op.eager.scan._kinds) <= 3


def test_weights_that_are_no_parameters_of_the_module_s_own() -> None:
    scan, (x, z) = core(), rows()
    plain = scan.on_rows([x, z], (3, 5))

    class Twice(torch.nn.Module):
        def forward(self, value: Tensor) -> Tensor:
            return 2 * value

    for name in ("project_weight", "D"):
        torch.nn.utils.parametrize.register_parametrization(scan, name, Twice())
    assert not torch.allclose(scan.on_rows([x, z], (3, 5)), plain)
