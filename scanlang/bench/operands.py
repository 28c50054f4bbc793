"""The arguments of a scan's operator at one size, and its calls with and without all gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import scanlang
from scanlang.bench.clock import timed
from scanlang.bench.row import Official, Row, Step, Where
from scanlang.testing.tensors import argument_shapes, open_sizes

PASSES = {"forward": False, "both": True}
"""`both`: forward and backward, all gradients."""


@dataclass(frozen=True)
class Size:
    batch: int
    height: int
    width: int
    channels: int

    @property
    def cells(self) -> int:
        return self.height * self.width

    @property
    def elements(self) -> int:
        return self.batch * self.cells * self.channels


def arguments(module: scanlang.Scan2d, size: Size, where: Where) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors by name: maps drawn from N(0, 1), in bfloat16, and parameters as the program says."""
    named = {name: value for name, value in module.named_parameters() if not name.startswith("project")}
    sizes = {label: value for label, value in module.sizes.items() if label in open_sizes(module.op)}
    shapes = argument_shapes(module.op, (size.height, size.width), size.batch, size.channels, sizes)
    maps = {
        name: torch.randn(shape, device=where.device, dtype=torch.bfloat16)
        for name, shape in shapes.items()
        if name not in named
    }
    return maps, {name: value.detach().clone() for name, value in named.items()}


def measured_operator(
    module: scanlang.Scan2d,
    size: Size,
    backward: bool,
    where: Where,
    special: int | None = None,
    issued: Callable[[], int | None] = lambda: None,
    official: Official | None = None,
    step: Step | None = None,
    repeats: int = 30,
) -> Row:
    """The operator alone. Its bytes: every map once in or out, in bfloat16; the backward reads them again, with the gradient of
    the output, and writes their gradients."""
    maps, parameters = arguments(module, size, where)
    given, numbers = maps | parameters, sum(array.numel() for array in maps.values())
    if backward:
        wanted = {name: value.requires_grad_() for name, value in given.items()}
        run = gradients(lambda: module.op(**wanted), list(wanted.values()))
        times, moved = timed(where, run, repeats), 2 * (3 * numbers + 2 * size.elements)
    else:
        with torch.no_grad():
            times, moved = timed(where, lambda: module.op(**given), repeats), 2 * (numbers + size.elements)
    return Row(times, bytes=moved, special=special, issued=issued(), official=official, step=step)


def gradients(call: Callable[[], Tensor], wanted: Sequence[Tensor]) -> Callable[[], object]:
    """A forward and a backward pass."""
    seed = torch.randn_like(call())
    return lambda: torch.autograd.grad(call(), wanted, seed)
