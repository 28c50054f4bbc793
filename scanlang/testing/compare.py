"""Assertions: an order visits every cell once; an operator and its gradients agree with the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scanlang.maps.order import Order
from scanlang.program import Program
from scanlang.testing.reference import reference


@dataclass(frozen=True)
class Tolerance:
    """`rounding`: the relative error of one rounding to this type. `output` and `gradient`: what computing in this type may
    add, relative to the norm of the whole result."""

    rounding: float
    output: float
    gradient: float


TOLERANCES: Mapping[torch.dtype, Tolerance] = {
    torch.float64: Tolerance(2.0**-53, 1e-11, 1e-9),
    torch.float32: Tolerance(2.0**-24, 1e-5, 1e-4),
    torch.bfloat16: Tolerance(2.0**-8, 1e-5, 1e-4),
    torch.float16: Tolerance(2.0**-11, 1e-5, 1e-4),
}
"""By type. A scan reads bfloat16 and float16 exactly, computes in float32 and rounds each result once, so beside that
rounding it may be no further off than float32. A sum of n terms of like size errs by about n^½ u: 1e-5 is 170 u, and
gradients are sums over cells, channels and batch whose terms cancel in part, hence ten times as much; for float64 more room
is left than needed, and both are far below what one missed or misplaced cell would make."""

SMALLEST_RMS = 1e-2
"""Results of a smaller root mean square are held to this one: all of them may have cancelled."""


def assert_bijection(order: Order, h: int, w: int) -> None:
    """`order` visits every cell of an h × w grid exactly once, and `ranks` is the inverse of `positions`.

    >>> assert_bijection(program.orders["rows"], 5, 7)
    """
    positions, ranks, cells = order.positions(h, w), order.ranks(h, w), np.arange(h * w)
    assert positions.dtype == ranks.dtype == np.int64
    seen, counts = np.unique(positions, return_counts=True)
    missed = np.setdiff1d(cells, positions)
    assert not len(missed), f"{order.name} at {h} × {w} misses cell {divmod(int(missed[0]), w)}"
    assert np.array_equal(seen, cells), f"{order.name} at {h} × {w} leaves the grid at cell {int(seen.max())}"
    assert (counts == 1).all()
    assert np.array_equal(positions[ranks], cells)
    assert np.array_equal(ranks[positions], cells)


def error(got: Tensor, want: Tensor) -> float:
    """How far `got` is off beyond one rounding to its type, relative to the norm of `want`."""
    got64, want64 = got.detach().cpu().double(), want.detach().cpu().double()
    if want64.numel() == 0:
        return 0.0
    beyond = ((got64 - want64).abs() - TOLERANCES[got.dtype].rounding * want64.abs()).clamp(min=0)
    scale = max(want64.norm().item(), SMALLEST_RMS * math.sqrt(want64.numel()))
    return float(torch.nan_to_num(beyond, nan=math.inf).norm().item() / scale)


def assert_close(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    """`got` has the shape of `want` and is off by no more than `tolerance`, see `TOLERANCES`; says where it is furthest off."""
    assert got.shape == want.shape, f"{name} has shape {tuple(got.shape)}, not {tuple(want.shape)}"
    found = error(got, want)
    if found <= tolerance:
        return
    difference = torch.nan_to_num((got.detach().cpu().double() - want.detach().cpu().double()).abs(), nan=math.inf)
    place = np.unravel_index(int(difference.argmax()), difference.shape)
    values = f"{got[tuple(place)].item():.9g}, not {want[tuple(place)].item():.9g}"
    raise AssertionError(f"{name} is off by {found:.2e}, more than {tolerance:.0e}; at {tuple(map(int, place))} it is {values}")


def assert_matches_reference(
    op: Callable[..., Tensor],
    program: Program,
    tensors: Mapping[str, Tensor],
    scan: str | None = None,
    *,
    tolerances: Mapping[torch.dtype, Tolerance] = TOLERANCES,
    seed: int = 0,
) -> None:
    """The output and the gradient of every argument agree with `reference`, for a random gradient of the output.

    >>> assert_matches_reference(op, program, draw_inputs(op, (5, 7)))

    `op` may be any function of the scan's arguments. Nothing may be NaN; types, shapes and layout are compared too.
    """
    given = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    exact = {name: tensor.detach().cpu().double().requires_grad_() for name, tensor in tensors.items()}
    got, want = op(**given), reference(program, scan, **exact)
    maps = {o.name for o in program.checked.scans[program.scan_name(scan)].recurrence.operands if o.kind != "param"}
    wide = any(tensor.dtype == torch.float64 for name, tensor in tensors.items() if name in maps)
    tolerance = tolerances[torch.float64 if wide else torch.float32]
    assert got.is_contiguous(), "the output is not contiguous"
    assert_close("the output", got, want, tolerance.output)
    cotangent = torch.randn(want.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(got.dtype)
    gradients = torch.autograd.grad(got, list(given.values()), cotangent.to(got.device))
    wanted = torch.autograd.grad(want, list(exact.values()), cotangent.double(), allow_unused=True)
    for name, gradient, exactly in zip(given, gradients, wanted, strict=True):
        assert gradient.dtype == given[name].dtype, f"the gradient of {name} is {gradient.dtype}"
        zero = torch.zeros_like(exact[name])
        assert_close(f"the gradient of {name}", gradient, zero if exactly is None else exactly, tolerance.gradient)
