"""Generated Triton kernels in Triton's interpreter, on tiny shapes, against autograd over a float64 loop written by hand."""

from __future__ import annotations

import pytest
import torch
from operator_checks import assert_same_bits, call, check_pads_of_a_merge, draw, operator
from operator_programs import FEATURES, PROGRAMS
from triton_checks import Case, check, cross, gated, gated_loop, mean, selective_loop

from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.run_torch import TorchScan
from scanlang.codegen.schedule import Schedule


def selective(grid: tuple[int, int] = (4, 6), channels: int = 5, dtype: torch.dtype = torch.float64, **sizes: int) -> Case:
    schedule = Schedule("nest", "partials", 32, 2, 2)
    return Case(*cross(**sizes), selective_loop, grid, channels, schedule=schedule, dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_output_and_gradients(addressing: str, merge: str) -> None:
    check(selective().with_schedule(addressing=addressing, merge=merge))


def test_nest_and_table_give_the_same_bits() -> None:
    case = selective((2, 4), dtype=torch.float32)
    assert_same_bits(check(case), check(case.with_schedule(addressing="table")))


@pytest.mark.parametrize("grid", [pytest.param((4, 6), marks=pytest.mark.long), (2, 2), (1, 2)], ids=lambda g: f"{g[0]}x{g[1]}")
@pytest.mark.parametrize("merge", ["partials", "turns"])
@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_inputs_loaded_ahead(addressing: str, merge: str, grid: tuple[int, int]) -> None:
    """Also where there are fewer chunks than are on their way."""
    check(selective(grid).with_schedule(addressing=addressing, merge=merge, ahead=True))


def test_inputs_loaded_ahead_of_a_rest() -> None:
    check(selective((3, 5), state=2).with_schedule(addressing="table", chunk=4, backward_chunk=2, ahead=True))
    check(selective((1, 3)).with_schedule(addressing="table", chunk=4, backward_chunk=2, ahead=True))


def test_loading_ahead_changes_no_bit() -> None:
    case = selective((4, 4), dtype=torch.float32)
    assert_same_bits(check(case), check(case.with_schedule(ahead=True)))


def test_loops_that_turn_round_load_nothing_ahead() -> None:
    schedule = Schedule("nest", "partials", 32, 2, 2, ahead=True)
    with pytest.raises(ValueError, match="one stride"):
        check(Case(*cross("zigzags, reverse(zigzags)"), selective_loop, (3, 4), 5, schedule=schedule))


@pytest.mark.parametrize("segments", [2, 5])
@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_segments(addressing: str, segments: int) -> None:
    """Also more of them than there are chunks."""
    check(selective((2, 4), state=2).with_schedule(addressing=addressing, segments=segments))


@pytest.mark.parametrize("grid", [(3, 5), (1, 3)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_segments_of_a_table_with_a_rest(grid: tuple[int, int]) -> None:
    case = selective(grid).with_schedule(addressing="table", chunk=4, backward_chunk=2, segments=3)
    check(case)
    check(case.with_schedule(ahead=True, products="before"))


@pytest.mark.parametrize("abreast", [2, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("grid", [(2, 8), (3, 5), (1, 3)], ids=lambda g: f"{g[0]}x{g[1]}")
def test_chunks_abreast_of_a_table(grid: tuple[int, int], abreast: int) -> None:
    """Sizes that fill all of them, some, and not one chunk."""
    case = selective(grid).with_schedule(addressing="table", chunk=4, backward_chunk=2, abreast=abreast, warps=abreast)
    check(case)
    check(case.with_schedule(products="before", merge="turns"))


@pytest.mark.parametrize("grid", [(4, 8), pytest.param((2, 8), marks=pytest.mark.long), (6, 4)], ids=str)
def test_chunks_abreast_of_loops(grid: tuple[int, int]) -> None:
    check(selective(grid, state=2).with_schedule(chunk=2, backward_chunk=1, abreast=4, warps=4))


def test_states_that_cannot_be_cut() -> None:
    case = selective((2, 4)).with_schedule(merge="turns", segments=2)
    with pytest.raises(ValueError, match="side by side"):
        check(case)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16], ids=lambda d: str(d)[6:])
def test_products_made_before(dtype: torch.dtype) -> None:
    check(selective((2, 4), 5, dtype, rank=3).with_schedule(products="before"))


def test_products_made_before_of_a_rest_in_turns() -> None:
    case = selective((3, 3), state=2, rank=3)
    check(case.with_schedule(addressing="table", chunk=4, backward_chunk=2, products="before", merge="turns", ahead=True))


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
    schedule = Schedule("nest", "partials", 32, 2, 2)
    check(Case(*cross("zigzags, reverse(zigzags)"), selective_loop, (3, 4), 5, schedule=schedule))


@pytest.mark.parametrize("merge", ["partials", "turns"])
def test_mean(merge: str) -> None:
    made = cross("rows, columns, reverse(rows)", merge="mean")
    check(Case(*made, selective_loop, (2, 4), 3, mean, Schedule("nest", merge, 32, 2, 2)))  # type: ignore[arg-type]


def test_one_direction_writes_its_result_itself() -> None:
    check(Case(*cross("columns"), selective_loop, (2, 4), 3, schedule=Schedule("nest", "partials", 32, 2, 2)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=lambda d: str(d)[6:])
def test_a_second_recurrence(dtype: torch.dtype) -> None:
    check(Case(*gated(), gated_loop, (2, 6), 5, mean, Schedule("nest", "partials", 32, 4, 2), dtype))


@pytest.mark.parametrize("changes", [{"segments": 3}, {"abreast": 2, "warps": 2}], ids=["segments", "abreast"])
def test_parts_where_the_output_is_no_sum_of_states(changes: dict[str, int]) -> None:
    """So that its slope is known only where the states are."""
    check(Case(*gated(), gated_loop, (3, 6), 5, mean, Schedule("table", "partials", 32, 4, 2)).with_schedule(**changes))


def test_an_empty_batch() -> None:
    case = selective()
    kernels = case.kernels
    arrays = {s.name: torch.zeros(0, 24, *((5,) if s.lanes else (4, s.width))) for s in kernels.streams}
    arrays |= {p.name: torch.ones(4, 5, p.width) for p in kernels.parameters}
    scan = TritonScan(kernels, case.traversal)
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
    scan = TritonScan(case.kernels, case.traversal)
    assert torch.equal(scan.forward(shifted, case.grid, False)[0], scan.forward(arrays, case.grid, False)[0])


def test_the_chunk_is_what_is_saved() -> None:
    case = selective((5, 7), state=3)
    scan = TritonScan(case.kernels, case.traversal)
    arrays = {s.name: torch.zeros(1, 35, *((5,) if s.lanes else (4, s.width))) for s in case.kernels.streams}
    arrays |= {p.name: torch.zeros(4, 5, p.width) for p in case.kernels.parameters}
    states = scan.forward(arrays, (5, 7), True)[1].states
    assert states.shape == (1, 4, -(-35 // scan.chunk((5, 7))), 3, 5)


@pytest.mark.parametrize("name", [*PROGRAMS, *FEATURES])
def test_programs_agree_with_torch(name: str) -> None:
    called = call(operator(name), draw(name, (3, 4), dtype=torch.float64, batch=1, channels=3, seed=5))
    wanted = called.run(TorchScan)
    for key, value in called.run(TritonScan).items():
        torch.testing.assert_close(value.reshape(wanted[key].shape), wanted[key], rtol=1e-10, atol=1e-11, msg=key)


def test_what_a_merge_makes_of_pads_reaches_nothing() -> None:
    check_pads_of_a_merge(TritonScan)
