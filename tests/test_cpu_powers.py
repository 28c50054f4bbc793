"""exp of a product with a constant as a power of two, in the C backend: where it is, where it is not, and what comes out."""

from __future__ import annotations

import re

import pytest
import torch

import scanlang
from scanlang.codegen.cpu.c_powers import with_powers
from scanlang.codegen.cpu.run_c import CpuScan
from scanlang.codegen.kernel import Let, ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.testing import assert_close, reference

TEXT = """
grid h, w
recurrence r(state n) {{
  input x, g   shared B[n], C[n]   param lam[n]
  {equations}
  y = sum(n: C[n] * h[n])
}}
scan s(dim) {{ input x, g  directions raster, columns  recur r(state = 2)  project B, C from x }}
"""

DECAY = "d = softplus(g)  l[n] = -exp(lam[n])  h[n] = exp(d * l[n]) * h[n] + d * B[n] * x"
TWICE = "a[n] = -softplus(g) * exp(lam[n])  h[n] = exp(a[n]) * h[n] + a[n] * B[n] * x"
ALONE = "h[n] = exp(-softplus(g)) * h[n] + lam[n] * B[n] * x"


def program(equations: str) -> scanlang.Program:
    return scanlang.loads(TEXT.format(equations=equations))


def kernels(equations: str) -> ScanKernels:
    return lower_to_kernels(scanlang.compile(program(equations)).graph, {"state": 2})


def functions(lets: tuple[Let, ...]) -> list[str]:
    return sorted(let.function for let in lets if let.function.startswith("exp"))


def test_a_decay_is_a_power_of_two_on_both_ways() -> None:
    made = with_powers(kernels(DECAY))
    assert functions(made.forward.body) == ["exp", "exp2", "exp2"]  # the one left is of softplus
    assert "exp2" in functions(made.backward.forward)
    for prologue in (made.forward.prologue, made.backward.prologue):
        assert sum(let.name.startswith("two_") for let in prologue) == 2


@pytest.mark.parametrize("equations", [TWICE, ALONE])
def test_other_exponents_stay(equations: str) -> None:
    """Of what is read elsewhere, or is no product with what is the same at every step."""
    given = kernels(equations)
    assert with_powers(given).forward == given.forward


@pytest.mark.parametrize("equations", [DECAY, TWICE, ALONE])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
def test_outputs_and_gradients(equations: str, dtype: torch.dtype, tolerance: float) -> None:
    loaded, generator = program(equations), torch.Generator().manual_seed(0)
    op = scanlang.compile(loaded)
    shapes = op.signature.shapes((5, 7), 2, 20, {"state": 2}, {})
    given = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    single = {name: value.to(dtype).requires_grad_() for name, value in given.items()}
    wide = {name: value.detach().to(torch.float64).requires_grad_() for name, value in single.items()}
    ours, theirs = op(**single), reference(loaded, None, **wide)
    assert_close("the output", ours.double(), theirs, tolerance)
    gradients = (torch.autograd.grad(made.sum(), list(of.values())) for made, of in ((ours, single), (theirs, wide)))
    for name, mine, exactly in zip(given, *gradients, strict=True):
        assert_close(f"the gradient of {name}", mine.double(), exactly, 10 * tolerance)


def test_the_text_says_so() -> None:
    op = scanlang.compile(program(DECAY))
    text = CpuScan(kernels(DECAY), op.graph.traversal).text()
    assert len(re.findall(r"= vexp2\(", text)) == 4  # both states, forward and once more backward
