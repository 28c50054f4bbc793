"""Generated Triton kernels in Triton's interpreter, on tiny shapes, against autograd over a float64 loop written by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from operator_checks import PROGRAMS, assert_same_bits, operator
from torch import Tensor
from triton_checks import Case, check, cross, gated, gated_loop, selective_loop

from scanlang.codegen.executable import Executable
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.run_torch import TorchScan
from scanlang.codegen.schedule import Schedule
from scanlang.testing import draw_inputs


def selective(grid: tuple[int, int] = (4, 6), channels: int = 5, dtype: torch.dtype = torch.float64, **sizes: int) -> Case:
    kernels, orders = cross(**sizes)  # type: ignore[arg-type]
    schedule = Schedule("nest", "partials", 32, 2, 2)
    return Case(kernels, orders, selective_loop, lambda y: y.sum(0), grid, channels, schedule, dtype)


@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_output_and_gradients(addressing: str, merge: str) -> None:
    check(selective().with_schedule(addressing=addressing, merge=merge))


def test_nest_and_table_give_the_same_bits() -> None:
    case = selective((2, 4), dtype=torch.float32)
    assert_same_bits(check(case), check(case.with_schedule(addressing="table")))


def test_turns_and_partials_agree_on_a_second_run() -> None:
    case = selective((2, 4), dtype=torch.float32).with_schedule(merge="turns")
    assert_same_bits(check(case), check(case))


@pytest.mark.parametrize("grid", [(3, 5), (1, 7), (7, 1), (1, 1), (2, 3)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_a_table_of_any_length_with_a_rest(grid: tuple[int, int]) -> None:
    check(selective(grid).with_schedule(addressing="table", chunk=4, backward_chunk=2))


def test_three_states_saved_twice_per_chunk() -> None:
    check(selective((4, 8), state=3, rank=1).with_schedule(chunk=4, backward_chunk=2))


@pytest.mark.parametrize("channels", [64, 65])
def test_two_channels_per_lane(channels: int) -> None:
    check(selective((2, 4), channels, torch.float32).with_schedule(lanes=64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("rank", [1, 2, 4])
def test_words_of_16_and_32_bit_numbers(dtype: torch.dtype, rank: int) -> None:
    """Streams without lanes are loaded as words of 16, 32 or 64 bits, by their width."""
    check(selective((2, 4), 33, dtype, state=3 if rank == 1 else rank, rank=rank))


def test_a_snake_changes_its_stride_from_run_to_run() -> None:
    kernels, orders = cross("zigzags, reverse(zigzags)")
    check(Case(kernels, orders, selective_loop, lambda y: y.sum(0), (3, 4), 5, Schedule("nest", "partials", 32, 2, 2)))


@pytest.mark.parametrize("merge", ["partials", "turns"])
def test_mean(merge: str) -> None:
    kernels, orders = cross("rows, columns, reverse(rows)", merge="mean")
    check(Case(kernels, orders, selective_loop, lambda y: y.mean(0), (2, 4), 3, Schedule("nest", merge, 32, 2, 2)))  # type: ignore[arg-type]


def test_one_direction_writes_its_result_itself() -> None:
    kernels, orders = cross("columns")
    check(Case(kernels, orders, selective_loop, lambda y: y.sum(0), (2, 4), 3, Schedule("nest", "partials", 32, 2, 2)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=lambda d: str(d)[6:])
def test_a_second_recurrence(dtype: torch.dtype) -> None:
    kernels, orders = gated()
    schedule = Schedule("nest", "partials", 32, 4, 2)
    check(Case(kernels, orders, gated_loop, lambda y: y.sum(0) / 2, (2, 6), 5, schedule, dtype))


def test_an_empty_batch() -> None:
    case = selective()
    kernels, orders = case.kernels, case.orders
    arrays = {s.name: torch.zeros(0, 24, *((5,) if s.lanes else (4, s.width))) for s in kernels.streams}
    arrays |= {p.name: torch.ones(4, 5, p.width) for p in kernels.parameters}
    scan = TritonScan(kernels, orders)
    result, saved = scan.forward(arrays, (4, 6), True)
    gradients = scan.backward(torch.zeros(0, 24, 5), saved, arrays, (4, 6))
    assert result.shape == (0, 24, 5)
    assert all(gradients[p.name].abs().max() == 0 for p in kernels.parameters)


def test_unaligned_arrays_are_copied() -> None:
    case = selective(dtype=torch.float32)
    arrays = {s.name: torch.randn(2, 24, *((5,) if s.lanes else (4, s.width))) for s in case.kernels.streams}
    arrays |= {p.name: torch.randn(4, 5, p.width) for p in case.kernels.parameters}
    shifted = {name: torch.cat([a.new_zeros(1), a.flatten()])[1:].view(a.shape) for name, a in arrays.items()}
    assert any(a.data_ptr() % 16 for a in shifted.values())
    scan = TritonScan(case.kernels, case.orders)
    assert torch.equal(scan.forward(shifted, case.grid, False)[0], scan.forward(arrays, case.grid, False)[0])


def test_the_chunk_is_what_is_saved() -> None:
    case = selective((5, 7), state=3)
    scan = TritonScan(case.kernels, case.orders)
    arrays = {s.name: torch.zeros(1, 35, *((5,) if s.lanes else (4, s.width))) for s in case.kernels.streams}
    arrays |= {p.name: torch.zeros(4, 5, p.width) for p in case.kernels.parameters}
    states = scan.forward(arrays, (5, 7), True)[1].states
    assert states.shape == (1, 4, -(-35 // scan.chunk((5, 7))), 3, 5)


def executed(kind: type[TritonScan] | type[TorchScan], name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    op = operator(name)
    given = [tensors[argument] for argument in op.arguments]
    executable: Executable = kind(lower_to_kernels(op.graph, op.signature.check(given)), op.graph.orders)
    grid, arrays = op.grid(given), op.flatten(given)
    result, saved = executable.forward(arrays, grid, True)
    cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(0)).to(result.dtype)
    return {"": result, **executable.backward(cotangent, saved, arrays, grid)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_agree_with_torch(name: str) -> None:
    tensors = draw_inputs(operator(name), (3, 4), dtype=torch.float64, batch=1, channels=3, seed=5)
    wanted = executed(TorchScan, name, tensors)
    for key, value in executed(TritonScan, name, tensors).items():
        torch.testing.assert_close(value.reshape(wanted[key].shape), wanted[key], rtol=1e-10, atol=1e-11, msg=key)
