"""Every kind of schedule on the GPU, whatever the rule would choose. Against loops in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from operator_checks import assert_same_bits
from triton_checks import Case, check, cross, draw, selective_loop

from scanlang.codegen.gpu.products import multiply, multiply_backward
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.schedule import Schedule

pytestmark = pytest.mark.gpu

PLAIN = Schedule("nest", "partials", 32, 8, 4)
SCHEDULES = {
    "ahead": replace(PLAIN, ahead=True),
    "ahead, table": replace(PLAIN, addressing="table", ahead=True),
    "ahead, turns": replace(PLAIN, merge="turns", ahead=True),
    "ahead, two channels a lane": replace(PLAIN, lanes=64, ahead=True),
    "before": replace(PLAIN, products="before"),
    "before, ahead": replace(PLAIN, products="before", ahead=True),
    "segments": replace(PLAIN, segments=5),
    "segments, table": replace(PLAIN, addressing="table", segments=7),
    "segments, ahead, before": replace(PLAIN, segments=3, ahead=True, products="before"),
    "abreast": replace(PLAIN, abreast=4, warps=4),
    "abreast, table": replace(PLAIN, addressing="table", abreast=8, warps=8),
    "abreast, before, turns": replace(PLAIN, merge="turns", products="before", abreast=2, warps=2),
    "fetch": replace(PLAIN, fetch=True),
    "fetch, table, ahead": replace(PLAIN, addressing="table", ahead=True, fetch=True),
    "fetch, abreast, before": replace(PLAIN, products="before", abreast=4, warps=4, fetch=True),
    "before, turns": replace(PLAIN, merge="turns", products="before"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str, dtype: torch.dtype) -> None:
    made = Case(*cross(state=2, rank=12), selective_loop, (16, 24), 96, schedule=SCHEDULES[name], dtype=dtype)
    assert_same_bits(check(made, "cuda"), check(made, "cuda"))


@pytest.mark.parametrize(
    "changes", [{"ahead": True, "products": "before"}, {"abreast": 4, "warps": 4}], ids=["ahead", "abreast"]
)
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (13, 17), (1, 197)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_rests(grid: tuple[int, int], changes: dict[str, object]) -> None:
    schedule = replace(PLAIN, addressing="table", **changes)  # type: ignore[arg-type]
    check(Case(*cross(state=3, rank=5), selective_loop, grid, 40, schedule=schedule, dtype=torch.float32), "cuda")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(("rows", "channels", "width"), [(1, 1, 1), (49, 768, 48), (197, 40, 12)])
def test_products(rows: int, channels: int, width: int, shared: bool, dtype: torch.dtype) -> None:
    """On tensor cores, within what rounding the result costs."""
    generator = torch.Generator().manual_seed(0)
    stream = torch.randn(3, rows, 2, width, generator=generator).to(dtype).cuda()
    parameter = torch.randn(*(() if shared else (2,)), channels, width, generator=generator).cuda()
    found = multiply(stream, parameter, torch.float16)
    wanted = multiply(stream.double(), parameter.double(), torch.float64)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.double(), wanted, rtol=2**-10, atol=2**-10)
    cotangent = torch.randn(*found.shape, generator=generator).to(dtype).cuda()
    ours = multiply_backward(cotangent, stream, parameter)
    assert all(
        torch.equal(one, again) for one, again in zip(ours, multiply_backward(cotangent, stream, parameter), strict=True)
    )
    exact = multiply_backward(cotangent.double(), stream.double(), parameter.double())
    for one, value in zip(ours, exact, strict=True):
        assert ((one.double() - value).norm() / value.norm().clamp_min(1e-9)).item() < 2**-7


@pytest.mark.parametrize("name", ["abreast", "segments", "before"])
def test_a_cuda_graph_records_every_launch(name: str) -> None:
    """And no copy from the host."""
    made = Case(*cross(state=2, rank=12), selective_loop, (16, 24), 96, schedule=SCHEDULES[name], dtype=torch.bfloat16)
    scan, grid = TritonScan(made.kernels, made.traversal, lambda *_: SCHEDULES[name]), (16, 24)
    arrays = draw(made, "cuda")
    gradient = torch.randn(*made.result_shape, device="cuda").bfloat16()

    def both() -> list[torch.Tensor]:
        output, saved = scan.forward(arrays, grid, True)
        return [output, *scan.backward(gradient, saved, arrays, grid).values()]

    wanted = [value.clone() for value in both()]
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = both()
    for value in found:
        value.fill_(float("nan"))
    graph.replay()
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
