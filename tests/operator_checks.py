"""Programs and checks that the operator tests of every backend share: a scan by name, its operator, comparisons.

Checks take a device, so that the same lines run on the CPU, in Triton's interpreter and on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import scanlang
from scanlang.codegen.executable import Executable
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.testing import assert_matches_reference, draw_inputs

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = {
    "cross": "cross_scan.scan",
    "bidirectional": "bidirectional.scan",
    "snakes": "snake.scan",
    "windows": "windows.scan",
    "gated": "gated.scan",
}

RENAMED = """
grid row, column
recurrence leaky(width m, inner q) {
  input  u
  shared p[m], reduced[q], o[m]
  param  skip, decay[m], shift, widen[q]
  step = softplus(sum(q: reduced[q] * widen[q]) + shift)
  s[m] = u * (p[m] * step) + s[m] * exp(step * -exp(decay[m]))
  out  = u * skip + sum(m: s[m] * o[m])
}
scan renamed(dim, width = 2, inner = 2) {
  input u
  directions raster, reverse(columns), snake
  recur leaky(width = width, inner = inner)
}
"""
"""The selective recurrence with all names changed and all factors in another order."""

SCAN = """
import std.selective
grid h, w
scan tested(dim, state = 2, rank = 2) {{
  directions raster, columns, reverse(raster)
  recur selective(state = state, rank = rank)
  {clauses}
}}
"""

GATED = """
grid h, w
order f(t) = (t % h, (t // h + t % h) % w)
recurrence gated(state n) {{
  input x, g
  shared K[n], Q[n]
  param lam[n]
  f[n] = sigmoid(lam[n] + g)
  h[n] = f[n] * h[n] + (1 - f[n]) * K[n] * x
  y    = tanh(sum(n: Q[n] * h[n])) * silu(g)
}}
scan tested(dim, state = 3) {{
  {clauses}
  recur gated(state = state)
}}
"""

TEXTS = {
    "renamed": RENAMED,
    "share-all": SCAN.format(clauses="share all"),
    "share-names": SCAN.format(clauses="share A_log, D"),
    "share-all-except": SCAN.format(clauses="share all except dt_bias  merge mean"),
    "merge-mean": SCAN.format(clauses="merge mean"),
    "merge-nonlinear": SCAN.format(clauses="merge tanh(y[0]) * y[1] + sum(k: y[k]) / 3"),
    "merge-x": SCAN.format(clauses="merge sum(k: y[k]) * silu(x) + x"),
    "merge-z": SCAN.format(clauses="input x, z  merge (y[0] + y[1] - y[2]) * silu(z) / 2"),
    "merge-drops-one": SCAN.format(clauses="merge y[2] - y[0] + 0 * y[1]"),
    "repeated-order": SCAN.format(clauses="merge sum").replace("raster, columns", "raster, raster"),
    "one-direction": SCAN.format(clauses="merge sum").replace("raster, columns, reverse(raster)", "reverse(columns)"),
    "formula": GATED.format(clauses="input x, g  directions f, reverse(f), flip(f, w)  merge mean"),
    "projected-channels": GATED.format(clauses="directions raster, reverse(columns)  project g, K, Q from x"),
    "projected-all": GATED.format(
        clauses="input u, z  directions raster, transpose(f)  project x from u bias  project K, g, Q from u"
        "  merge y[0] * z - y[1]"
    ),
    "tiles": GATED.format(clauses="input x, g  directions tiles, reverse(phases)").replace(
        "recurrence",
        "order tiles = walk h by 3 from 2, ~w by 4, ~~h, -w\norder phases = walk w mod 2, h mod 3, w, h\nrecurrence",
        1,
    ),
    "no-param": """grid h, w
recurrence fading(rank r) { input x  shared a[r]  h = sigmoid(sum(r: a[r])) * h + x  y = h }
scan fading(dim, rank = 2) { directions raster, reverse(raster)  recur fading(rank = rank) }""",
    "no-shared": """grid h, w
recurrence fading(state n) { input x  param a[n] = 1  h[n] = exp(-exp(a[n])) * h[n] + x  y = sum(n: h[n]) + tanh(x) }
scan fading(dim, state = 2) { directions raster, reverse(raster)  recur fading(state = state)  share all }""",
    "conditions": """grid h, w
recurrence choosing(state n) {
  input x  shared B[n]  param a
  e    = exp(a * x)
  h[n] = where(e + x + a + B[n] + 0.2 < 1, tanh(where(x < 0.1, 0.5, a)), 0.7) * h[n] + where(x < 0.1, B[n], x)
  y    = sum(n: where(x < 0.1, h[n], e)) + where(e * x * a + x - a + 0.3 > 0.2, x, a)
}
scan choosing(dim, state = 2) { directions raster, reverse(raster)  recur choosing(state = state) }""",
    "chained-states": """grid h, w
recurrence chained(state n) {
  input x
  shared B[n]
  param a[n], c
  h[n] = sigmoid(a[n]) * h[n] + B[n] * x
  u    = sum(n: h[n])
  s    = exp(-softplus(c + 0.3 * u)) * s + tanh(u) * x
  r[n] = sigmoid(s + h[n]) * r[n] + h[n] * s
  y    = sum(n: r[n] * B[n]) + s
}
scan chained(dim, state = 3) { directions raster, reverse(columns)  recur chained(state = state)  merge sum }""",
    "two-states": """grid h, w
recurrence both(state n, rank r) {
  input x
  shared B[n], low[r, n]
  param a[r], b[n, r]
  S[n, r] = sigmoid(a[r] + low[r, n]) * S[n, r] + B[n] * x * b[n, r]
  m       = sum(n: sum(r: tanh(S[n, r]) * b[n, r]))
  e       = where(x > 0.1, 0.5, 0.9) * e + max(x, sum(n: B[n]))
  y       = m * sqrt(1 + e * e) + min(m, x)
}
scan both(dim, state = 2, rank = 3) { directions raster, reverse(columns)
  recur both(state = state, rank = rank)  merge mean
}""",
}

HARD_NAMES = (
    "states", "save", "gradient", "self", "partials", "d_x", "cells", "sums", "width", "real", "double", "int", "vec", "tl",
    "p_x", "x_ptr", "y_", "K", "C", "H",
)  # fmt: skip
"""Names of a program that a generator may want for itself."""
BACKWARD_CHECKS = ("test_schema", "test_faketensor")  # the backward has no derivative of its own
SELECTIVE_NAMES = {
    "u": "x", "p": "B", "reduced": "low", "o": "C", "skip": "D", "decay": "A_log", "shift": "dt_bias", "widen": "dt_weight",
}  # fmt: skip
PROGRAMS = (*FILES, *TEXTS)


@cache
def program(name: str) -> scanlang.Program:
    return scanlang.load(EXAMPLES / FILES[name]) if name in FILES else scanlang.loads(TEXTS[name])


@cache
def operator(name: str) -> scanlang.CompiledScan:
    return scanlang.compile(program(name))


def program_with_name(name: str) -> scanlang.Program:
    """A shared input of this name, and a parameter called like its gradient."""
    return scanlang.loads(f"""grid h, w
    recurrence r(state n) {{
      input x
      shared {name}[n], y
      param d_{name}
      h[n] = sigmoid(d_{name} + {name}[n]) * h[n] + x
      out = y * sum(n: h[n])
    }}
    scan s(dim) {{ directions raster, columns recur r(state = 2) merge y[0] * x + y[1] }}""")


def check(name: str, grid: tuple[int, int], **drawn: object) -> None:
    """Output and every gradient of a scan against the reference."""
    op = operator(name)
    assert_matches_reference(op, program(name), draw_inputs(op, grid, **drawn))  # type: ignore[arg-type]


def results(op: Callable[..., Tensor], tensors: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """The output and the gradient of every argument, by name (`""` is the output)."""
    given = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    result = op(**given)
    cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(seed)).to(result)
    gradients = torch.autograd.grad(result, list(given.values()), cotangent)
    return {"": result.detach(), **dict(zip(given, gradients, strict=True))}


def assert_same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name or 'the output'} differs"


def opcheck(name: str, grid: tuple[int, int] = (3, 5), device: str = "cpu", **drawn: object) -> None:
    """`torch.library.opcheck` on the operator, with and without saved states, every argument differentiable or none."""
    op = operator(name)
    tensors = draw_inputs(op, grid, device=device, **drawn)  # type: ignore[arg-type]
    plain = tuple(tensors[argument] for argument in op.arguments)
    torch.library.opcheck(op.torch_op, plain, {"save": False})
    result, states, partials = op.torch_op(*plain, save=True)
    backward = getattr(torch.ops.scanlang, op.torch_op._schema.name.split("::")[1] + "_backward").default
    torch.library.opcheck(backward, (result.clone(), states, partials, *plain), test_utils=BACKWARD_CHECKS)
    torch.library.opcheck(op.torch_op, tuple(tensor.requires_grad_() for tensor in plain), {"save": True})


def check_torch_compile(name: str, backend: str, device: str = "cpu", dynamic: bool | None = None) -> None:
    """`torch.compile(fullgraph=True)` around the scan gives the same output and gradients, at several sizes."""
    op = operator(name)
    torch._dynamo.reset()

    def around(**tensors: Tensor) -> Tensor:
        return torch.tanh(op(**{key: value * 1.5 for key, value in tensors.items()})) + 1

    compiled = torch.compile(around, fullgraph=True, backend=backend, dynamic=dynamic)
    for grid in ((3, 5), (4, 7)) if dynamic else ((3, 5),):
        tensors = draw_inputs(op, grid, device=device, seed=grid[0])
        expected = results(around, tensors)
        for key, value in results(compiled, tensors).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")
    torch._dynamo.reset()


class Through(torch.autograd.Function):
    """An executable under autograd, without the registered operator between: equal scans share one of those."""

    @staticmethod
    def forward(ctx: Any, executable: Executable, op: scanlang.CompiledScan, *tensors: Tensor) -> Tensor:
        ctx.executable, ctx.op, ctx.tensors = executable, op, tensors
        result, ctx.saved = executable.forward(op.flatten(tensors), op.grid(tensors), True)
        like = op.output_like(tensors)
        return result.view(*like.shape[:3], like.shape[-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        arrays, flat = ctx.op.flatten(ctx.tensors), gradient.flatten(1, 2).contiguous()
        found = ctx.executable.backward(flat, ctx.saved, arrays, ctx.op.grid(ctx.tensors))
        gradients = zip(ctx.op.arguments, ctx.tensors, strict=True)
        return None, None, *(found[name].to(tensor.dtype).reshape(tensor.shape) for name, tensor in gradients)


def through(backend: Callable[..., Executable], op: scanlang.CompiledScan) -> Callable[..., Tensor]:
    """`op`, run by a backend of choice: `CpuScan`, `TorchScan`, `TritonScan`."""

    def run(**given: Tensor) -> Tensor:
        tensors = [given[name] for name in op.arguments]
        executable = backend(lower_to_kernels(op.graph, op.signature.check(tensors)), op.graph.orders)
        return Through.apply(executable, op, *tensors)

    return run
