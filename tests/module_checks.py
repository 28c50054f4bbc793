"""Checks of `Scan2d` that its tests share: a module in float64 with what it is called with, compared with the reference."""

from __future__ import annotations

import math

import torch
from operator_checks import program
from torch import Tensor

import scanlang
from scanlang.testing import assert_close, reference


def core_and_call(name: str, channels: int = 4) -> tuple[scanlang.Scan2d, dict[str, Tensor]]:
    return made_and_call(program(name), (5, 4), channels=channels)


def made_and_call(
    loaded: scanlang.Program, grid: tuple[int, ...], channels: int, **sizes: int
) -> tuple[scanlang.Scan2d, dict[str, Tensor]]:
    """A module in float64, weights that are 0 or 1 at first made something else, and what it is called with."""
    torch.manual_seed(7)
    core = scanlang.Scan2d(loaded, channels=channels, **sizes).double()
    for parameter in core.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    counts = dict(core.op.graph.traversal.at(grid).tokens)
    shapes = core._signature.shapes(grid, 2, channels, core._labels, counts)
    orders = {argument.name for argument in core._signature.orders}
    given = {n: torch.rand(shape, dtype=torch.float64) * 2 - 1 for n, shape in shapes.items() if n not in orders}
    cells = math.prod(grid)
    return core, {**given, **{n: torch.stack([torch.randperm(cells), torch.randperm(cells)]) for n in orders}}


def check_module(
    loaded: scanlang.Program, core: scanlang.Scan2d, given: dict[str, Tensor], h0: dict[str, Tensor] | None = None
) -> None:
    """Outputs, tokens, and the gradients of inputs and of all that is learned; with states, of these too."""
    inputs = {key: value.requires_grad_() for key, value in given.items() if value.is_floating_point()}
    states = {} if h0 is None else {"h0": h0, "return_state": True}
    smooth = {f"h0[{key!r}]": value.requires_grad_() for key, value in (h0 or {}).items() if key != "m"}
    own = dict(core.named_parameters(recurse=False))
    positional = [given[key] for key in core.scan.inputs]
    got = core(*positional, **{key: value for key, value in given.items() if key not in core.scan.inputs}, **states)
    want = reference(loaded, None, **given, **own, **dict(core.named_children()), **states)
    ours, theirs = (_parts(made) for made in (got, want))
    leaves = {**inputs, **dict(core.named_parameters()), **smooth}
    cotangents = [torch.randn_like(part) for part in theirs]
    for part, exactly in zip(ours, theirs, strict=True):
        assert part.is_contiguous()
        assert_close("the output", part, exactly, 1e-11)
    gradients, wanted = (
        torch.autograd.grad(made, list(leaves.values()), cotangents, materialize_grads=True, allow_unused=True)
        for made in (ours, theirs)
    )
    for key, mine, exactly in zip(leaves, gradients, wanted, strict=True):
        assert_close(f"the gradient of {key}", mine, exactly, 1e-9)


def _parts(made: object) -> tuple[Tensor, ...]:
    """The output, tokens, and states but for scales, which have no gradient."""
    parts = made if isinstance(made, tuple) else (made,)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    states = [value for part in parts if isinstance(part, dict) for key, value in sorted(part.items()) if key != "m"]
    return (*tensors, *states)
