"""Recurrences with a matrix form, each another of its cases, as scans along two directions; and those that have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Literal

import torch
from operator_checks import through

import scanlang
from scanlang.codegen.executable import Executable
from scanlang.codegen.gpu.choose_chunked import chunked_schedule
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal
from scanlang.testing import TOLERANCES, Tolerance, assert_matches_reference, draw_inputs, draw_states

SSD = """input x[p], dt  shared B[n], C[n]  param A_log, dt_bias, D[p]
  d       = softplus(dt_bias + dt)
  S[n, p] = exp(-exp(A_log) * d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D[p] * x[p]"""
ATTENTION = """input x[p], k[n], q[n]
  f[n] = where(k[n] > 0, k[n] + 1, exp(k[n]))
  g[n] = where(q[n] > 0, q[n] + 1, exp(q[n]))
  S[n, p] = S[n, p] + f[n] * x[p]
  z[n]    = z[n] + f[n]
  y[p]    = sum(n: g[n] * S[n, p]) / (sum(n: g[n] * z[n]) + 0.01)"""
GATED = """input x[p], k[n], q[n], g[n], r[p]
  S[n, p] = exp(-softplus(-g[n]) / 16) * S[n, p] + k[n] * x[p]
  y[p]    = sum(n: q[n] * S[n, p]) * silu(r[p])"""
BONUS = """input x[p], k[n], r[n], w[n]  param u[n]
  S[n, p] = exp(-exp(w[n])) * S[n, p] + k[n] * x[p]
  y[p]    = sum(n: r[n] * (prev(S[n, p]) + u[n] * k[n] * x[p]))"""
STRONG = """input x[p], dt  shared B[n], C[n]  param A
  S[n, p] = exp(-9 - exp(A) * softplus(dt)) * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: C[n] * READ)"""

BODIES = {
    "ssd": SSD,
    "grouped": SSD.replace("C[n]  param", "C[n] per 2 units  param"),
    "retention": """input x[p], k[n], q[n]  param gamma
  S[n, p] = gamma * S[n, p] + k[n] * x[p]
  y[p]    = sum(n: q[n] * S[n, p])""",
    "linear": """input x[p], k[n], q[n]
  S[n, p] = S[n, p] + k[n] * x[p]
  y[p]    = sum(n: q[n] * S[n, p])""",
    "normalised": ATTENTION,
    "weighed": """input x[p], k[n], q[n], g, i
  d       = softplus(g)
  S[n, p] = exp(-d) * S[n, p] + k[n] * x[p]
  z[n]    = exp(-d) * z[n] + softplus(i) * k[n]
  y[p]    = sum(n: q[n] * S[n, p]) / (abs(sum(n: q[n] * z[n])) + 0.5)""",
    "weighed apart": """input x[p], k[n], q[n], g[n], i
  S[n, p] = sigmoid(g[n]) * S[n, p] + tanh(i) * k[n] * x[p]
  z[n]    = sigmoid(g[n]) * z[n] + softplus(i) * k[n]
  y[p]    = sum(n: q[n] * S[n, p]) * sum(n: q[n] * z[n])""",
    "gated": GATED,
    "bonus": BONUS,
    "signs": """input x[p], k[n], q[n], g[n]
  S[n, p] = tanh(g[n]) * S[n, p] + k[n] * x[p]
  y[p]    = sum(n: q[n] * S[n, p])""",
    "exclusive": """input x[p], dt  shared B[n], C[n]  param A, D[p]
  d       = softplus(dt)
  S[n, p] = tanh(A + d) * S[n, p] + d * B[n] * x[p]
  y[p]    = tanh(sum(n: C[n] * prev(S[n, p]))) * D[p] + x[p]""",
    "strong": STRONG.replace("READ", "S[n, p]"),
    "strong exclusive": STRONG.replace("READ", "prev(S[n, p])"),
    "low rank": """input x[p]  shared low[r], B[n], C[n]  param W[r], D
  d       = softplus(sum(r: exp(W[r] * low[r])) - 3)
  S[n, p] = exp(-d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D * x[p]""",
    "no head": """input x  shared B[n], C[n], g  param D
  S[n] = sigmoid(g) * S[n] + B[n] * x
  y    = sum(n: C[n] * S[n]) + D * x""",
}

WITHOUT = {
    "a decay per channel": """input x[p], dt[p]  shared B[n], C[n]
  S[n, p] = exp(-softplus(dt[p])) * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p])""",
    "a key per channel": """input x[p]  shared B[n], C[n]  param A[n, p]
  S[n, p] = 0.5 * S[n, p] + A[n, p] * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p])""",
    "two products": """input x[p], z[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p] + C[n] * z[p]
  y[p]    = sum(n: C[n] * S[n, p])""",
    "a query per channel": """input x[p], z[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: tanh(C[n] * z[p]) * S[n, p])""",
    "two queries": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + sum(n: B[n] * S[n, p])""",
    "before and after": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) - sum(n: C[n] * prev(S[n, p]))""",
    "a gate of the state": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  y[p]    = sum(n: C[n] * tanh(S[n, p]))""",
    "another state": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  T[p]    = 0.5 * T[p] + x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + T[p]""",
    "another decay of the normaliser": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * x[p]
  z[n]    = 0.25 * z[n] + B[n]
  y[p]    = sum(n: C[n] * S[n, p]) / sum(n: C[n] * z[n])""",
    "earlier inputs": """input x[p]  shared B[n], C[n]
  S[n, p] = 0.5 * S[n, p] + B[n] * prev(x[p])
  y[p]    = sum(n: C[n] * S[n, p])""",
    "a scale": """input x[p], k[n], i  shared C[n]
  scale m = max(prev(m), i)
  S[n, p] = exp(prev(m) - m) * S[n, p] + exp(i - m) * k[n] * x[p]
  z[n]    = exp(prev(m) - m) * z[n] + exp(i - m) * k[n]
  y[p]    = sum(n: C[n] * S[n, p]) / sum(n: C[n] * z[n])""",
}

CLAUSES = {
    "two": "directions rows, reverse(columns)",
    "mean": "directions rows, columns merge mean",
    "weighted": "directions rows, columns merge weighted",
    "stacked": "directions rows, columns merge concat",
    "expression": "directions rows, columns merge y[0] * tanh(y[1]) + x",
    "split": "directions rows, columns channels split",
    "restarts": "directions lines, reverse(lines)",
    "tokens": "directions marked, reverse(marked)",
    "pads": "directions spread, rows",
    "some rows": "directions evens, rows",
    "given": "directions o, reverse(o)",
    "along": "directions rows, columns operands FIRST along columns",
}

ORDERS = """grid h, w
order rows    = walk h, w
order columns = walk w, h
order lines   = reset(rows, every h)
order marked  = insert(rows, cls at middle)
order spread  = window(columns, 2, 3, pad = decay)
order evens   = dilate(rows, 2, pad = skip)
order o       = input
"""


@cache
def program(body: str, clauses: str = CLAUSES["two"], state: int = 16, head: int = 16) -> scanlang.Program:
    """A scan of one recurrence; `state` and `head` are its sizes."""
    sized = "[p]" in body
    indices = ["state n", *(["head p"] if sized else []), *(["rank r"] if "low[r]" in body else [])]
    given = [f"state = {state}", *([f"head = {head}"] if sized else []), *(["rank = 3"] if "low[r]" in body else [])]
    inputs = body.partition("  shared")[0].partition("\n")[0].partition("  param")[0].removeprefix("input ")
    names = ", ".join(name.partition("[")[0].strip() for name in inputs.split(","))
    return scanlang.loads(
        f"{ORDERS}recurrence r({', '.join(indices)}) {{ {body} }}\n"
        f"scan s(dim) {{ input {names}  {clauses.replace('FIRST', 'q')}  recur r({', '.join(given)}) }}"
    )


def in_chunks(steps: int, merge: Literal["turns", "partials"] = "partials") -> Callable[[ScanKernels, Traversal], Executable]:
    """A backend by matrix products over so many steps."""

    def schedule(kernels: ScanKernels, _: Traversal, shape: Shape, __: int) -> Schedule:
        dtype = dict(shape.dtypes).get(kernels.leading.name, "bfloat16")
        return replace(chunked_schedule(kernels, dtype, merge), chunk=steps, backward_chunk=steps)

    return lambda kernels, traversal: TritonScan(kernels, traversal, schedule)


def check(
    of: scanlang.Program,
    backend: Callable[[ScanKernels, Traversal], Executable],
    grid: tuple[int, ...] = (3, 11),
    channels: int = 32,
    *,
    batch: int = 1,
    dtype: torch.dtype = torch.float32,
    with_states: bool = False,
    tolerances: dict[torch.dtype, Tolerance] | None = None,
    device: str = "cpu",
) -> None:
    """Output and every gradient against the reference."""
    op = scanlang.compile(of)
    tensors = draw_inputs(op, grid, batch=batch, channels=channels, dtype=dtype, device=device)
    states = draw_states(op, channels=channels, batch=batch, device=device) if with_states else None
    assert_matches_reference(through(backend, op), of, tensors, states=states, tolerances=tolerances or TOLERANCES)
