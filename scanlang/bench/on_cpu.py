"""Rows on the CPU: batch 1, 192 channels, a 56 × 56 map (3136 steps), 16 states, float32; beside the torch loop that mamba,
VMamba and Vim fall back to without CUDA, and beside mambapy's parallel scan where that is installed.

`one` computes what the loop and mambapy compute (dt given per channel); `cross` is four directions with the low-rank dt
product (rank 12) and the merge inside, its time divided by four. The loop's backward is quadratic in the steps: it has 784.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.bench.clock import timed
from scanlang.bench.row import Measurement, Row, Times, Where
from scanlang.bench.stages import CROSS
from scanlang.bench.unfused import selective_scan_loop

CHANNELS, SIDE, STATES, RANK = 192, 56, 16, 12
SHORT_SIDE, TINY_SIDE = 28, 5

ONE = """# The selective scan with dt given per channel, as mamba's selective_scan_ref takes it, along one direction
grid h, w

recurrence given_dt(state n) {
  input  x, delta
  shared B[n], C[n]
  param  dt_bias = inv_softplus(loguniform(1e-3, 1e-1)), A_log[n] = log(n + 1), D = 1
  dt   = softplus(dt_bias + delta)
  h[n] = exp(-exp(A_log[n]) * dt) * h[n] + dt * B[n] * x
  y    = sum(n: C[n] * h[n]) + D * x
}

scan one_direction(dim, state = 16) {
  input      x, delta
  directions raster
  recur      given_dt(state = state)
  project    B, C from x
}
"""
FOUR = CROSS.replace("state = 1", f"state = {STATES}")

Arrays = Mapping[str, Tensor]


def inputs(side: int) -> dict[str, Any]:
    """The arguments of `ONE`'s operator, tensors, dt between 0.001 and 0.1 as Mamba starts."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    dt = torch.rand(1, CHANNELS, generator=generator) * 0.099 + 0.001
    return {
        "x": normal(1, side, side, CHANNELS),
        "delta": normal(1, side, side, CHANNELS) * 0.1,
        "B": normal(1, side, side, 1, STATES),
        "C": normal(1, side, side, 1, STATES),
        "dt_bias": dt + torch.log(-torch.expm1(-dt)),
        "A_log": torch.arange(1.0, STATES + 1).log().expand(1, CHANNELS, STATES).contiguous(),
        "D": torch.ones(1, CHANNELS),
    }


def cross_inputs(side: int) -> dict[str, Any]:
    """The arguments of `FOUR`'s: four directions, each with its parameters."""
    one, generator = inputs(side), torch.Generator().manual_seed(1)
    arrays = {name: one[name].repeat_interleave(4, 0) for name in ("dt_bias", "A_log", "D")}
    arrays |= {name: one[name].repeat_interleave(4, 3) for name in ("B", "C")}
    arrays["low"] = torch.randn(1, side, side, 4, RANK, generator=generator) * 0.1
    arrays["dt_weight"] = torch.randn(4, CHANNELS, RANK, generator=generator) * 0.1
    return {"x": one["x"], **arrays}


def side_of(where: Where, side: int = SIDE) -> int:
    return TINY_SIDE if where.tiny else side


def scanlang_row(text: str, directions: int, backward: bool, where: Where) -> Row:
    """A direction's share of forward, or of a backward pass alone with all gradients."""
    side = side_of(where)
    arrays = inputs(side) if directions == 1 else cross_inputs(side)
    op = scanlang.compile(scanlang.loads(text))
    moved = 4 * (sum(value.numel() for value in arrays.values()) + arrays["x"].numel()) // directions
    if backward:
        wanted = {name: value.requires_grad_() for name, value in arrays.items()}
        times, moved = pulled_back(where, op(**wanted), list(wanted.values())), 2 * moved
    else:
        with torch.no_grad():
            times = timed(where, lambda: op(**arrays))
    shared = Times(times.median / directions, times.best / directions, times.spread)
    return Row(shared, bytes=moved, special=side * side * CHANNELS * (2 + STATES))


def pulled_back(where: Where, result: Tensor, wanted: list[Tensor]) -> Times:
    """A backward pass alone."""
    gradient = torch.randn_like(result)
    return timed(where, partial(torch.autograd.grad, result, wanted, gradient, retain_graph=True))


def sequence(arrays: Arrays) -> tuple[Tensor, ...]:
    """The same inputs as `selective_scan_loop` takes them, with one direction: u, delta, A, B, C, D, delta_bias."""
    u, delta = (arrays[name].flatten(1, 2).transpose(1, 2)[:, None].contiguous() for name in ("x", "delta"))
    B, C = (arrays[name].flatten(1, 2).movedim(1, -1).contiguous() for name in ("B", "C"))
    return u, delta, -arrays["A_log"].exp(), B, C, arrays["D"], arrays["dt_bias"]


def mambapy_arguments(arrays: Arrays) -> tuple[Tensor, ...]:
    """The same inputs as mambapy takes them."""
    u, delta = (arrays[name].flatten(1, 2) for name in ("x", "delta"))
    B, C = (arrays[name].flatten(1, 2)[:, :, 0] for name in ("B", "C"))
    return u, delta, -arrays["A_log"][0].exp(), B, C, arrays["D"][0], arrays["dt_bias"][0]


def mambapy_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """mambapy's `selective_scan`: u, delta (B, L, C), B, C (B, L, N), A (C, N)."""
    from mambapy.pscan import pscan

    dt = functional.softplus(delta + delta_bias)
    decay = torch.exp(dt[..., None] * A)
    drive = dt[..., None] * B[:, :, None] * u[..., None]
    states = pscan(decay, drive)
    result: Tensor = (states @ C[..., None]).squeeze(3) + D * u
    return result


def peer_row(
    scan: Callable[..., Tensor], given: Callable[[Arrays], tuple[Tensor, ...]], side: int, backward: bool, where: Where
) -> Row:
    arguments = given(inputs(side_of(where, side)))
    note = "" if side == SIDE else f"{side * side} steps"
    if backward:
        wanted = [value.detach().clone().requires_grad_() for value in arguments]
        return Row(pulled_back(where, scan(*wanted), wanted), note=note)
    with torch.no_grad():
        return Row(timed(where, lambda: scan(*arguments)), note=note)


def measurements() -> Iterator[Measurement]:
    """`cpu-cross-forward`, `cpu-loop-backward` …; mambapy's where it is installed."""
    for which, backward in {"forward": False, "backward": True}.items():
        yield Measurement(f"cpu-one-{which}", partial(scanlang_row, ONE, 1, backward), "cpu")
        yield Measurement(f"cpu-cross-{which}", partial(scanlang_row, FOUR, 4, backward), "cpu")
        side = SHORT_SIDE if backward else SIDE
        yield Measurement(f"cpu-loop-{which}", partial(peer_row, selective_scan_loop, sequence, side, backward), "cpu")
        if importlib.util.find_spec("mambapy") is not None:
            yield Measurement(f"cpu-mambapy-{which}", partial(peer_row, mambapy_scan, mambapy_arguments, SIDE, backward), "cpu")
