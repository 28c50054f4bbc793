"""Recurrences with units, scales and earlier values that the interpreter's tests and the GPU's tests share, each at a size
where lanes read it in another way: units that are blocks of lanes or several, that are smaller, that lie across two blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from operator_checks import call, through
from torch import Tensor

import scanlang
from scanlang.codegen.gpu.choose_gpu_schedule import sequential_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.run_torch import TorchScan
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal
from scanlang.testing import TOLERANCES, Tolerance, assert_close, assert_matches_reference, draw_inputs

HEADS = """recurrence r(state n, head p) {
  input  x[p], dt
  shared B[n], C[n]
  param  A_log, dt_bias, D[p]
  d       = softplus(dt_bias + dt)
  S[n, p] = exp(-exp(A_log) * d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D[p] * x[p]
}"""
GROUPS = HEADS.replace("head p", "head p, group").replace("C[n]\n", "C[n] per group units\n")
KEYS = """recurrence r(state n, head p) {
  input  v[p], q[n], k[n], f[n]
  param  u[n]
  S[n, p] = sigmoid(f[n]) * S[n, p] + k[n] * v[p]
  y[p]    = sum(n: q[n] * (prev(S[n, p]) + u[n] * k[n] * v[p]))
}"""
SCALED = """recurrence r(state n, head p) {
  input  v[p], q[n], k[n], i, f
  param  bias
  log_f   = -softplus(-(f + bias))
  scale m = max(log_f + prev(m), i)
  S[n, p] = exp(log_f + prev(m) - m) * S[n, p] + exp(i - m) * k[n] * v[p]
  a[n]    = exp(log_f + prev(m) - m) * a[n] + exp(i - m) * k[n]
  y[p]    = sum(n: q[n] * S[n, p]) / max(abs(sum(n: q[n] * a[n])), exp(-m))
}"""
CHANNELS = """recurrence r(state n) {
  input  x, f[n]
  param  b[n]
  h[n] = sigmoid(f[n]) * h[n] + b[n] * x
  y    = sum(n: h[n]) + prev(x)
}"""
KERNEL = """recurrence r() {
  input  k, v
  param  w, u
  scale m = max(prev(m) - exp(w), k)
  a       = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
  b       = exp(prev(m) - exp(w) - m) * b + exp(k - m)
  scale q = max(prev(m), u + k)
  y       = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))
}"""

TEXT = """grid h, w
order rows    = walk h, w
order columns = walk w, h
order twice   = concat(rows, reverse(columns))
order marked  = insert(rows, cls at middle)
order spread  = window(columns, 2, 3, pad = decay)
RECURRENCE
scan s(FORMALS) { INPUTS
  recur r(ARGUMENTS)
  CLAUSES
}"""


@dataclass(frozen=True)
class Recurrence:
    """A recurrence in a scan whose `clauses` say the directions and how they come together, at one size."""

    text: str
    inputs: str
    channels: int
    sizes: Mapping[str, int] = field(default_factory=dict)
    clauses: str = "directions rows, reverse(columns)"
    grid: tuple[int, int] = (2, 4)

    @cached_property
    def program(self) -> scanlang.Program:
        arguments = [f"{name} = {size if name == 'head' else name}" for name, size in self.sizes.items()]
        formals = ", ".join(["dim", *(name for name in self.sizes if name != "head")])
        text = TEXT.replace("RECURRENCE", self.text).replace("FORMALS", formals).replace("ARGUMENTS", ", ".join(arguments))
        return scanlang.loads(text.replace("INPUTS", f"input {self.inputs}").replace("CLAUSES", self.clauses))

    @cached_property
    def op(self) -> scanlang.CompiledScan:
        return scanlang.compile(self.program)

    def drawn(self, **drawn: Any) -> dict[str, Tensor]:
        return draw_inputs(self.op, self.grid, **{"channels": self.channels, "sizes": self.sizes, "batch": 1, **drawn})

    def check(
        self, schedule: Schedule | None = None, tolerances: Mapping[torch.dtype, Tolerance] = TOLERANCES, **drawn: Any
    ) -> None:
        """Output and every gradient against the reference, step by step."""
        op = through(triton(schedule), self.op)
        assert_matches_reference(op, self.program, self.drawn(**drawn), tolerances=tolerances)

    def check_ends(self, schedule: Schedule | None = None, **drawn: Any) -> None:
        """From states that are given to those after the last step, forward and backward, as torch does it."""
        called = call(self.op, self.drawn(dtype=torch.float64, **drawn))
        ours, theirs = (ends(called, backend) for backend in (triton(schedule), TorchScan))
        assert set(ours) == set(theirs)
        for name, wanted in theirs.items():
            assert_close(name, ours[name].reshape(wanted.shape), wanted, 1e-11)


def triton(schedule: Schedule | None) -> Any:
    """The backend that goes step by step, under its own rules or this schedule."""

    def backend(kernels: ScanKernels, traversal: Traversal) -> TritonScan:
        return TritonScan(kernels, traversal, sequential_schedule if schedule is None else lambda *_: schedule)

    return backend


def ends(called: Any, backend: Any) -> dict[str, Tensor]:
    """What an executable makes of states at both ends, by name; beyond what it may write there is 7."""
    kernels = called.kernels
    executable, grid, arrays = backend(kernels, called.op.graph.traversal), called.grid, called.arrays
    batch = arrays[kernels.leading.name].shape[0]
    channels = max(count for _, count in kernels.channels(kernels.channel_count(arrays)))
    generator = torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    shape = (batch, kernels.directions, len(kernels.forward.states), channels)
    entry, (final, d_entry, last) = drawn(*shape), (torch.full(shape, 7.0).double() for _ in range(3))
    executable.forward(arrays, grid, False, called.tables, None, last)
    result, saved = executable.forward(arrays, grid, True, called.tables, entry, final)
    cotangent, d_final = drawn(*result.shape), drawn(*shape)
    cotangent[:, called.rows.covered :] = 0
    found = executable.backward(cotangent, saved, arrays, grid, called.tables, d_final, d_entry)
    alone = executable.backward(cotangent, saved, arrays, grid, called.tables)
    found |= {f"{name} from the output alone": value for name, value in alone.items()}
    found |= {"the output": result[:, : called.rows.covered], "the final states": final, "those from their starts": last}
    return {**found, "the gradient of the first states": d_entry}


CASES = {
    "a block of lanes a head": Recurrence(HEADS, "x, dt", 64, {"state": 2, "head": 32}),
    "two blocks a head": Recurrence(HEADS, "x, dt", 128, {"state": 3, "head": 64}),
    "small heads": Recurrence(HEADS, "x, dt", 40, {"state": 2, "head": 8}),
    "heads across blocks": Recurrence(HEADS, "x, dt", 40, {"state": 2, "head": 20}),
    "groups of whole blocks": Recurrence(GROUPS, "x, dt", 96, {"state": 2, "head": 16, "group": 2}),
    "small groups": Recurrence(GROUPS, "x, dt", 24, {"state": 4, "head": 3, "group": 2}),
    "keys of blocks": Recurrence(KEYS, "v, q, k, f", 64, {"state": 4, "head": 32}),
    "keys of small heads": Recurrence(KEYS, "v, q, k, f", 36, {"state": 3, "head": 6}),
    "a scale of blocks": Recurrence(SCALED, "v, q, k, i, f", 64, {"state": 2, "head": 64}),
    "a scale of small heads": Recurrence(SCALED, "v, q, k, i, f", 6, {"state": 2, "head": 3}),
    "numbers of a channel": Recurrence(CHANNELS, "x, f", 5, {"state": 4}),
    "a scale of channels": Recurrence(KERNEL, "k, v", 35),
}
"""By what a program reads."""
