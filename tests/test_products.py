"""Products taken out of a step: what is taken, and that kernels which take them as inputs compute the same, gradients too."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from triton_checks import Made, cross, kernels_of

import scanlang
from scanlang.codegen.gpu.products import multiply, multiply_backward
from scanlang.codegen.gpu.triton_layout import Shape, layout_of
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.run_torch import TorchScan
from scanlang.codegen.schedule import Schedule
from scanlang.graph.products import Product, stream_of, take_products
from scanlang.testing import assert_close

TEXT = """
grid h, w
recurrence several(state n, rank r) {
  input x, g[r]
  shared low[r], K[n], s
  shared param T[r]
  param W[r], V[r], a[n], c
  u    = sum(r: low[r] * W[r]) + tanh(sum(r: V[r] * low[r]))
  h[n] = sigmoid(a[n] + K[n]) * h[n] + K[n] * u * x
  y    = sum(n: a[n] * h[n] * K[n]) + sum(r: T[r] * g[r]) + c * s
}
scan several(dim, state, rank) {
  input x, g  directions raster, reverse(columns)  recur several(state = state, rank = rank)
}
"""


def several() -> Made:
    return kernels_of(scanlang.loads(TEXT), "several", {"state": 2, "rank": 3})


def test_what_is_taken() -> None:
    graph = scanlang.loads(TEXT).operator_graph("several")
    step, products = take_products(graph.step, graph.inputs())
    assert set(products) == {Product("low", "W"), Product("low", "V")}
    assert {product.name for product in products} == {"low.times.W", "low.times.V"}
    assert all(stream_of(product.name) == "low" for product in products)
    assert stream_of("low") == ""
    assert not any("sum(r: W" in str(equation) or "sum(r: V" in str(equation) for equation in step.body)
    assert {operand.name for operand in graph.step.operands} - {operand.name for operand in step.operands} == {"low", "W", "V"}


def test_what_is_read_elsewhere_stays() -> None:
    text = TEXT.replace(" + c * s", " + c * s * sum(r: low[r])")
    graph = scanlang.loads(text).operator_graph("several")
    step, products = take_products(graph.step, graph.inputs())
    assert len(products) == 2
    assert {"low"} == {operand.name for operand in step.operands} & {"low", "W", "V"}


def test_what_is_not_taken() -> None:
    """What a state needs, what the channels do not share, what has no channels, tables of labels, channels split."""
    made = [
        "recurrence r(state n) { input x param a[n], b[n] h[n] = sigmoid(a[n]) * h[n] + x  y = sum(n: b[n] * h[n]) }",
        "recurrence r(state n) { input x, z[n] param b[n] h = 0.5 * h + x  y = h + sum(n: b[n] * z[n]) }",
        "recurrence r(state n) { input x shared B[n], C[n] h = 0.5 * h + x  y = h + sum(n: B[n] * C[n]) }",
    ]
    for text in made:
        inputs = "x, z" if "z[n]" in text else "x"
        scan = f"scan s(dim) {{ input {inputs} directions raster recur r(state = 2) }}"
        graph = scanlang.loads(f"grid h, w {text} {scan}").operator_graph("s")
        assert take_products(graph.step, graph.inputs()) == (graph.step, ())
    split = """import std.selective grid h, w
    scan s(dim) { directions raster, columns channels split recur selective(state = 2, rank = 3) }"""
    graph = scanlang.loads(split).operator_graph("s")
    assert lower_to_kernels(graph, {"state": 2, "rank": 3}).factored is None


@pytest.mark.parametrize("made", [cross(state=2, rank=3), several()], ids=["selective", "several"])
def test_kernels_that_take_products_compute_the_same(made: Made) -> None:
    kernels, traversal = made
    factored = kernels.factored
    assert factored is not None
    arrays = draw(kernels)
    cotangent = torch.randn(2, 12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    wanted = both(kernels, traversal, arrays, cotangent)

    given = dict(arrays)
    for product in factored.products:
        given[product.name] = multiply(arrays[product.stream], arrays[product.parameter], torch.float64)
    found = both(factored.kernels, traversal, given, cotangent)
    for product in factored.products:
        parts = multiply_backward(found.pop(product.name), arrays[product.stream], arrays[product.parameter])
        for name, part in zip((product.stream, product.parameter), parts, strict=True):
            found[name] = found[name] + part if name in found else part
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert_close(name or "the output", found[name], value, 1e-12)


def draw(kernels: ScanKernels) -> dict[str, Tensor]:
    generator, arrays = torch.Generator().manual_seed(0), dict[str, Tensor]()
    for stream in kernels.streams:
        own = (kernels.directions,) if stream.per_direction or not stream.lanes else ()
        last = (5,) if stream.lanes else (stream.width,) if stream.uniform else (5, stream.width)
        arrays[stream.name] = torch.randn(2, 12, *own, *last, dtype=torch.float64, generator=generator)
    for parameter in kernels.parameters:
        own = () if parameter.shared else (kernels.directions,)
        arrays[parameter.name] = torch.randn(
            *own, 5 // parameter.every, parameter.width, dtype=torch.float64, generator=generator
        )
    return arrays


def both(kernels: ScanKernels, traversal: object, arrays: dict[str, Tensor], cotangent: Tensor) -> dict[str, Tensor]:
    scan = TorchScan(kernels, traversal)  # type: ignore[arg-type]
    result, saved = scan.forward(arrays, (3, 4), True)
    return {"": result, **scan.backward(cotangent, saved, arrays, (3, 4))}


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
def test_gradients_of_products(shared: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    stream = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    parameter = torch.randn(*(() if shared else (4,)), 6, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    made = multiply(stream, parameter, torch.float64)
    assert_close("the products", made, torch.einsum("brkn,cn->brkc" if shared else "brkn,kcn->brkc", stream, parameter), 1e-14)
    cotangent = torch.randn(made.shape, dtype=torch.float64, generator=generator)
    wanted = torch.autograd.grad(made, (stream, parameter), cotangent)
    for found, exact in zip(multiply_backward(cotangent, stream.detach(), parameter.detach()), wanted, strict=True):
        assert_close("a gradient", found, exact, 1e-14)


def test_types_of_products() -> None:
    """Kept in float16 where their stream has 16 bits; their gradient has the type of the stream."""
    kernels, traversal = cross()
    schedule = Schedule("nest", "partials", 32, 2, 2, products="before")
    for of_stream, of_product in (("bfloat16", "float16"), ("float16", "float16"), ("float32", "float32")):
        types = tuple((s.name, of_stream) for s in kernels.streams) + tuple((p.name, "float32") for p in kernels.parameters)
        layout = layout_of(kernels, traversal, schedule, Shape((4, 4), 8, types))
        made = next(stream for stream in layout.kernels.streams if stream_of(stream.name))
        assert (layout.shape.dtype(made.name), layout.gradient_type(made)) == (of_product, of_stream)


def test_nothing_to_make_beforehand() -> None:
    kernels, traversal = kernels_of(
        scanlang.loads("import std.ema grid h, w scan s(dim) { directions raster recur ema() }"), "s", {}
    )
    assert kernels.factored is None
    schedule = Schedule("nest", "partials", 32, 2, 2, products="before")
    with pytest.raises(ValueError, match="no products"):
        layout_of(kernels, traversal, schedule, Shape((4, 4), 8, (("x", "float32"),)))
