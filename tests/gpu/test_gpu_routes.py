"""Kernels on a real GPU beyond one pass of all cells and channels: what Triton's interpreter runs, wider and longer, and
programs through the operator in every type, at edges, and beyond 2³¹ elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from kernel_checks import PER_IMAGE, TABLES, check_executable, check_states, draw_tables
from operator_checks import assert_same_bits, check, draw, operator
from triton_checks import ByHand, Case, cross, rerouted, selective_loop, side_by_side, stacked
from triton_checks import check as check_case

import scanlang
from scanlang.codegen.gpu.run_triton import TritonScan
from scanlang.codegen.kernel import TIME
from scanlang.codegen.schedule import Schedule
from scanlang.testing import draw_inputs

pytestmark = pytest.mark.gpu

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
ASKED = (
    "split-parts",
    "concat-tokens",
    "conv-tokens",
    "reset-conv",
    "pads",
    "dilate",
    "twice",
    "along",
    "writes",
    "given-two",
    "labels",
)


def short(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("channels", [6, 66, 198])
@pytest.mark.parametrize("tables", TABLES)
def test_any_tables(tables: str, channels: int) -> None:
    kernels, visits = TABLES[tables]
    check_executable(TritonScan, kernels, visits, channels=channels, device="cuda")


@pytest.mark.parametrize("channels", [6, 66])
@pytest.mark.parametrize("tables", TABLES)
def test_states_with_any_tables(tables: str, channels: int) -> None:
    kernels, visits = TABLES[tables]
    check_states(TritonScan, kernels, visits, channels=channels, device="cuda")


@pytest.mark.parametrize("tables", TABLES)
def test_any_tables_in_float32(tables: str) -> None:
    kernels, visits = TABLES[tables]
    check_executable(TritonScan, kernels, visits, channels=96, device="cuda", dtype=torch.float32, tolerance=1e-4)


@pytest.mark.parametrize("tables", PER_IMAGE)
def test_any_tables_of_every_image(tables: str) -> None:
    kernels, visits = TABLES[tables]
    given = draw_tables(kernels, visits, batch=5)
    check_executable(TritonScan, kernels, visits, channels=66, batch=5, device="cuda", tables=given)


def at_random(cells: int, *lengths: int, rows: int | None = None) -> list[list[int]]:
    """A table at random for each length: every row once if it is as long as there are rows, else any number of times."""
    generator, rows = np.random.default_rng(cells), rows or cells
    return [
        (generator.permutation(rows) if length == rows else generator.integers(0, rows, length)).tolist() for length in lengths
    ]


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
def test_long_tables(dtype: torch.dtype) -> None:
    """Streams, outputs and tokens on routes of their own; a row comes up eight times in one direction, and never in another."""
    kernels = rerouted(cross("rows, columns")[0], {"B": {"route": 1}, "low": {"route": 1}}, routes=2, output_route=1)
    tables = [at_random(196, 1576, 100, rows=197), at_random(196, 1576, 100, rows=197)]
    case = Case(kernels, ByHand(196, tables, tokens=1), selective_loop, (196,), 96, dtype=dtype)
    assert_same_bits(check_case(case, "cuda"), check_case(case, "cuda"))


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("parts", [(1, 1), (2, 1), (1, 7)], ids=str)
def test_split_channels(parts: tuple[int, int], dtype: torch.dtype) -> None:
    kernels, traversal = cross("rows, reverse(columns)", state=3, rank=4)
    kernels = rerouted(kernels, {"C": {"route": TIME}}, split=parts, merge_scale=None)
    check_case(Case(kernels, traversal, selective_loop, (16, 12), 24 * sum(parts), side_by_side, dtype=dtype), "cuda")


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
def test_stacked_outputs(dtype: torch.dtype) -> None:
    kernels, traversal = cross(state=2, rank=3)
    kernels = replace(kernels, stacked=True, merge_scale=None)
    check_case(Case(kernels, traversal, selective_loop, (16, 12), 100, stacked, dtype=dtype), "cuda")


@pytest.mark.parametrize("addressing", ["nest", "table"])
def test_a_stream_along_time(addressing: str) -> None:
    kernels = rerouted(cross()[0], {"B": {"route": TIME}, "low": {"route": TIME, "constant": True}})
    schedule = Schedule(addressing, "partials", 64, 8, 4)  # type: ignore[arg-type]
    check_case(Case(kernels, cross()[1], selective_loop, (16, 24), 96, schedule=schedule, dtype=torch.float32, batch=3), "cuda")


@pytest.mark.parametrize("merge", ["partials", "turns"])
def test_turns_with_tokens_and_tables_of_every_image(merge: str) -> None:
    generator = np.random.default_rng(0)
    orders = np.stack([generator.permutation(197) for _ in range(4)])
    tables = torch.from_numpy(np.stack([orders, orders[:, ::-1]], 1)[:, None].astype(np.int32))
    traversal = ByHand(196, [[list(range(197)), list(range(196, -1, -1))]], tokens=1, given=True)
    kernels, schedule = cross("rows, columns")[0], Schedule("table", merge, 32, 8, 4)  # type: ignore[arg-type]
    case = Case(kernels, traversal, selective_loop, (196,), 96, schedule=schedule, dtype=torch.float32, batch=4, tables=tables)
    assert_same_bits(check_case(case, "cuda"), check_case(case, "cuda"))


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", ASKED)
def test_types(name: str, dtype: torch.dtype) -> None:
    check(name, (11, 13), device="cuda", dtype=dtype, channels=40, batch=2)


@pytest.mark.parametrize("grid", [(1, 67), (67, 1), (16, 17), (31, 8)], ids=short)
@pytest.mark.parametrize("name", ASKED)
def test_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, device="cuda", batch=1, channels=9)


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 65, 128])
@pytest.mark.parametrize("name", ["split-parts", "concat-tokens", "twice", "labels"])
def test_channels_around_block_edges(name: str, channels: int) -> None:
    check(name, (4, 5), device="cuda", channels=channels)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", ["split-uneven", "concat-tokens", "twice", "given-two", "labels-shared"])
def test_batches(name: str, batch: int) -> None:
    check(name, (5, 6), device="cuda", batch=batch)


@pytest.mark.parametrize("name", ASKED)
def test_an_image_alone_and_among_many(name: str) -> None:
    """With many images a program may take all directions in turn; with few it takes one."""
    op = operator(name)
    many = draw(name, (6, 7), device="cuda", batch=4300, channels=8)
    maps = {argument.name for argument in op.signature.arguments if argument.kind != "param"}
    few = {key: value[-2:] if key in maps else value for key, value in many.items()}
    outputs = [made if isinstance(made, tuple) else (made,) for made in (op(**many), op(**few))]
    for ours, theirs in zip(*outputs, strict=True):
        torch.testing.assert_close(ours[-2:], theirs, rtol=1e-5, atol=1e-5)


HUGE = """grid h, w
order o = {order}
recurrence fading(state n) {{ input x  param a[n] = 1  h[n] = exp(-exp(a[n])) * h[n] + x  y = sum(n: h[n]) }}
scan fading(dim, state = 1) {{ directions o, reverse(o)  recur fading(state = state)  merge concat  share all }}"""


@pytest.mark.parametrize("order", ["raster", "insert(raster, cls at middle)", "concat(raster, dilate(raster, 512))"])
def test_more_than_2_to_the_31_elements_in_one_image(order: str) -> None:
    """Offsets beyond 32 bits inside an image, by loops and by tables: the last channels have what they have alone."""
    needed = 45
    free, total = (size >> 30 for size in torch.cuda.mem_get_info())
    if total < 75:
        pytest.skip(f"the card has {total} GiB, this takes {needed}")
    assert free >= needed, f"{free} GiB of the card's {total} are free, this takes {needed}"
    op, channels = scanlang.compile(scanlang.loads(HUGE.format(order=order))), 1088
    drawn = draw_inputs(op, (1024, 1024), device="cuda", batch=1, channels=1, dtype=torch.bfloat16)
    generator = torch.Generator("cuda").manual_seed(0)

    def values(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device="cuda", dtype=torch.bfloat16)

    whole = {key: values(*value.shape[:-1], channels) for key, value in drawn.items() if key != "a"}
    whole["a"] = torch.linspace(-1, 1, channels, device="cuda")[:, None]
    last = {key: (value[-32:] if key == "a" else value[..., -32:]).contiguous() for key, value in whole.items()}
    found, alone = gradients(op, whole, channels), gradients(op, last, 32)
    for key, value in alone.items():
        assert torch.equal(found[key], value), key


def gradients(op: scanlang.CompiledScan, given: dict[str, torch.Tensor], channels: int) -> dict[str, torch.Tensor]:
    """The last 32 channels of the outputs of both directions and of all gradients."""
    leaves = {key: value.requires_grad_() for key, value in given.items()}
    made = op(**leaves)
    result = made[0] if isinstance(made, tuple) else made
    result.backward(result.detach())
    found = {"": result.detach()[..., channels - 32 : channels].clone(), "second": result.detach()[..., -32:].clone()}
    for key, value in leaves.items():
        assert value.grad is not None
        found[key] = (value.grad[-32:] if key == "a" else value.grad[..., -32:]).clone()
    return found
