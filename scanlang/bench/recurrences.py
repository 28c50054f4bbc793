"""Rows of recurrences: each in four directions over 56 × 56 cells of 96 or 128 channels, batch 128, beside S6.

The operator alone, from what is projected in grid order to the merged output. An exp or log counts once for all channels that
have it in common, and again in the backward.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import torch

import scanlang
from scanlang.bench.instructions import issued
from scanlang.bench.operands import PASSES, Size, measured_operator
from scanlang.bench.row import Measurement, Row, Where
from scanlang.codegen.driver import Job
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.traffic import TRANSCENDENTAL

BATCH, GRID, TINY = 128, (56, 56), (2, 3)

GATED = """recurrence gated() {
  input x, g
  param lam
  forget = sigmoid(lam + g)
  h      = forget * h + (1 - forget) * x
  y      = h * silu(g)
}"""
TWO_STATES = """recurrence two_states(state n) {
  input  x, dt
  shared B[n], C[n]
  param  A_log[n], rate, D
  d    = softplus(dt)
  h[n] = exp(-exp(A_log[n]) * d) * h[n] + d * B[n] * x
  m    = sigmoid(rate) * m + (1 - sigmoid(rate)) * x
  y    = sum(n: C[n] * h[n]) + D * m
}"""

DECAYS_OF_KEYS = """recurrence decays_of_keys(state n, head p) {
  input v[p], r[n], k[n], d[n]
  param u[n]
  S[n, p] = exp(-exp(d[n])) * S[n, p] + k[n] * v[p]
  y[p]    = sum(n: r[n] * (prev(S[n, p]) + u[n] * k[n] * v[p]))
}"""


@dataclass(frozen=True)
class Recurrence:
    """`imported` is a file of the library, or the text of a recurrence that is in none."""

    name: str
    imported: str
    recur: str
    inputs: str
    projected: str
    channels: int = 96

    @property
    def text(self) -> str:
        before = self.imported if "{" in self.imported else f"import {self.imported}"
        project = f"project {self.projected} from {self.inputs}" if self.projected else ""
        return f"""grid h, w
{before}
scan s(dim) {{
  input {self.inputs}
  directions raster, columns, reverse(raster), reverse(columns)
  recur {self.recur}
  {project}
}}"""


RECURRENCES = (
    Recurrence("s6", "std.selective", "selective(state = 16, rank = 6)", "x", "low, B, C"),
    Recurrence("s6-c128", "std.selective", "selective(state = 16, rank = 6)", "x", "low, B, C", 128),
    Recurrence("s6-n1", "std.selective", "selective(state = 1, rank = 6)", "x", "low, B, C"),
    Recurrence("ssd", "std.ssd", "ssd(state = 16, head = 32)", "x", "dt, B, C"),
    Recurrence("ssd-p64", "std.ssd", "ssd(state = 16, head = 64)", "x", "dt, B, C", 128),
    Recurrence("ssd-grouped", "std.ssd", "ssd_grouped(state = 16, head = 32, group = 2)", "x", "dt, B, C", 128),
    Recurrence("gla", "std.gla", "gla(state = 16, head = 32)", "v", "q, k, g"),
    Recurrence("retention", "std.retention", "retention(state = 16, head = 32)", "v", "q, k"),
    Recurrence("linear-attention", "std.linear_attention", "linear_attention(state = 16, head = 32)", "v", "q, k"),
    Recurrence("mlstm", "std.mlstm", "mlstm(state = 16, head = 32)", "v", "q, k, i, f"),
    Recurrence("s4d", "std.s4d", "s4d(state = 16)", "x", ""),
    Recurrence("damped-ema", "std.ema", "damped_ema(state = 16)", "x", ""),
    Recurrence("ema", "std.ema", "ema()", "x", ""),
    Recurrence("mingru", "std.mingru", "mingru()", "x", "c, z"),
    Recurrence("rg-lru", "std.rg_lru", "rg_lru()", "x", "r, i"),
    Recurrence("hgrn", "std.hgrn", "hgrn()", "x", "i, f"),
    Recurrence("wkv", "std.wkv", "wkv()", "x", "k, v"),
    Recurrence("gated", GATED, "gated()", "x", "g"),
    Recurrence("two-states", TWO_STATES, "two_states(state = 16)", "x", "dt, B, C"),
    Recurrence("decays-of-keys", DECAYS_OF_KEYS, "decays_of_keys(state = 16, head = 32)", "v", "r, k, d"),
)


def size_of(recurrence: Recurrence, where: Where) -> Size:
    return Size(1 if where.tiny else BATCH, *(TINY if where.tiny else GRID), recurrence.channels)


@lru_cache(maxsize=2)
def module_of(recurrence: Recurrence, where: Where) -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(scanlang.loads(recurrence.text), channels=recurrence.channels).to(where.device)


@lru_cache(maxsize=2)
def kernels_of(recurrence: Recurrence) -> ScanKernels:
    return Job(scanlang.loads(recurrence.text), "s", "sm_90", GRID, recurrence.channels, "bfloat16").kernels


def special(recurrence: Recurrence, size: Size) -> int:
    """exp and log of a forward pass, one for all channels that have it in common."""
    kernels, channel_steps = kernels_of(recurrence), size.elements * kernels_of(recurrence).directions
    reach = _reach(kernels, recurrence.channels)
    evaluated = [reach[let.name] for let in kernels.forward.body if let.function in TRANSCENDENTAL]
    return sum(channel_steps // channels for channels in evaluated)


def _reach(kernels: ScanKernels, channels: int) -> dict[str, int]:
    """For how many channels a value is the same, by name."""
    kernel = kernels.forward
    found = {name: access.of.every or channels for access in (*kernel.reads, *kernel.parameters) for name in access.names}
    states = dict.fromkeys(kernel.states, channels)
    while True:
        found |= states
        for let in (*kernel.prologue, *kernel.body):
            found[let.name] = min((found[a] for a in let.arguments if isinstance(a, str)), default=channels)
        after = {a.state: found[a.value] if isinstance(a.value, str) else channels for a in kernel.advances}
        if after == states:
            return found
        states = after


def measure(recurrence: Recurrence, backward: bool, where: Where) -> Row:
    size, module = size_of(recurrence, where), module_of(recurrence, where)
    steps, exponentials = size.elements * kernels_of(recurrence).directions, special(recurrence, size) * (2 if backward else 1)
    return measured_operator(module, size, backward, where, exponentials, lambda: issued(module.op, steps, backward, where))


def measurements() -> Iterator[Measurement]:
    """`rec-s6-stage1-forward`, `rec-mlstm-stage1-both` …"""
    for recurrence in RECURRENCES:
        for name, backward in PASSES.items():
            yield Measurement(f"rec-{recurrence.name}-stage1-{name}", partial(measure, recurrence, backward))
