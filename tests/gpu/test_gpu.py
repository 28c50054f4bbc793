"""Generated Triton kernels on a real GPU: sizes of real networks, against autograd over a float64 loop and against torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from operator_checks import assert_same_bits, operator, results
from triton_checks import Case, check, cross, gated, gated_loop, mean, selective_loop

from scanlang.codegen.schedule import Schedule
from scanlang.testing import draw_inputs

pytestmark = pytest.mark.gpu

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]


def case(grid: tuple[int, int], channels: int, state: int, rank: int, dtype: torch.dtype, batch: int = 2) -> Case:
    kernels, traversal = cross(state=state, rank=rank)
    return Case(kernels, traversal, selective_loop, grid, channels, dtype=dtype, batch=batch)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize(
    "channels, side, state, rank",
    [(96, 56, 1, 6), (192, 28, 1, 12), (384, 14, 1, 24), (768, 7, 1, 48), (384, 14, 16, 12)],
    ids=["stage1", "stage2", "stage3", "stage4", "N16"],
)
def test_networks(channels: int, side: int, state: int, rank: int, dtype: torch.dtype) -> None:
    found = check(case((side, side), channels, state, rank, dtype), "cuda")
    again = check(case((side, side), channels, state, rank, dtype), "cuda")
    assert_same_bits(found, again)


@pytest.mark.parametrize("grid", [(1, 197), (13, 17), (14, 22), (31, 1), (8, 40)], ids=lambda g: f"{g[0]}x{g[1]}")
@pytest.mark.parametrize("channels", [1, 40, 100, 128])
def test_sizes_that_fit_nothing(grid: tuple[int, int], channels: int) -> None:
    check(case(grid, channels, 2, 3, torch.float32), "cuda")


@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("addressing", ["nest", "table"])
@pytest.mark.parametrize("lanes", [32, 64])
def test_schedules(addressing: str, merge: str, lanes: int) -> None:
    schedule = Schedule(addressing, merge, lanes, 8, 4)  # type: ignore[arg-type]
    check(replace(case((16, 24), 96, 3, 4, torch.float32), schedule=schedule), "cuda")


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_a_second_recurrence(dtype: torch.dtype) -> None:
    kernels, traversal = gated()
    check(Case(kernels, traversal, gated_loop, (14, 20), 96, merge=mean, dtype=dtype), "cuda")


def test_cpu_and_gpu_agree() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (12, 20), batch=2, channels=96, seed=4)
    on_cpu, on_gpu = results(op, tensors), results(op, {name: t.cuda() for name, t in tensors.items()})
    for name, value in on_cpu.items():
        torch.testing.assert_close(on_gpu[name].cpu(), value, rtol=1e-4, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_more_than_two_to_the_31_elements() -> None:
    """One map of 2**31 + elements in bfloat16: offsets of images need 64 bits."""
    kernels, orders = cross("rows, reverse(rows)", state=1, rank=1)
    batch, grid, channels = 2731, (64, 64), 192
    assert batch * grid[0] * grid[1] * channels > 2**31
    from scanlang.codegen.gpu.run_triton import TritonScan

    arrays = {"x": torch.zeros(batch, 4096, channels, dtype=torch.bfloat16, device="cuda")}
    arrays |= {s.name: torch.zeros(batch, 4096, 2, s.width, dtype=torch.bfloat16, device="cuda") for s in kernels.streams[1:]}
    arrays |= {p.name: torch.ones(2, channels, p.width, device="cuda") for p in kernels.parameters}
    arrays["x"][-1] = 1
    schedule = Schedule("nest", "turns", 64, 8, 8)
    result, _ = TritonScan(kernels, orders, lambda *_: schedule).forward(arrays, grid, False)
    assert result[0].abs().max() == 0
    assert torch.equal(result[-1], torch.full_like(result[-1], 2))  # B and C are 0: D * x from both directions
