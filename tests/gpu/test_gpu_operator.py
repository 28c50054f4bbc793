"""The operator on an NVIDIA GPU: what `tests/test_operator.py` asks of the CPU, at sizes that fill more of one."""

from __future__ import annotations

import pytest
import torch
from operator_checks import assert_same_bits, check, check_torch_compile, opcheck, operator, program, results
from operator_programs import FEATURES, PROGRAMS, SIZES, VOLUMES
from operator_recurrences import RECURRENCES

import scanlang
from scanlang.testing import TOLERANCES, assert_close, assert_matches_reference, draw_inputs

pytestmark = pytest.mark.gpu

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
MAIN = ("cross", "bidirectional", "snakes", "gated", "windows", "formula")
GRIDS = ((13, 7), (1, 67), (67, 1), (1, 1), (16, 17), (31, 8))


def short(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("name", [*PROGRAMS, *FEATURES])
def test_matches_reference(name: str) -> None:
    check(name, (9, 11), device="cuda", channels=35)


@pytest.mark.parametrize("name", RECURRENCES)
def test_recurrences(name: str) -> None:
    check(name, (9, 11), device="cuda", channels=35)
    check(name, (3, 7), device="cuda", channels=70, dtype=torch.float64, with_states=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=short)
@pytest.mark.parametrize("name", ["ssd", "ssd-merged", "bare", "gla", "mlstm", "wkv"])
def test_types_of_recurrences(name: str, dtype: torch.dtype) -> None:
    check(name, (7, 6), device="cuda", dtype=dtype, channels=33)


@pytest.mark.parametrize("name", VOLUMES)
def test_grids_of_any_number_of_axes(name: str) -> None:
    check(name, SIZES[name], device="cuda", channels=35)


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", MAIN)
def test_types(name: str, dtype: torch.dtype) -> None:
    check(name, (11, 13), device="cuda", dtype=dtype, channels=40, batch=2)


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", ["merge-z", "merge-x", "projected-all", "two-states"])
def test_types_of_other_scans(name: str, dtype: torch.dtype) -> None:
    check(name, (7, 6), device="cuda", dtype=dtype, channels=33)


@pytest.mark.parametrize("grid", GRIDS, ids=short)
@pytest.mark.parametrize("name", MAIN)
def test_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, device="cuda", batch=1, channels=9)


@pytest.mark.parametrize("length", [3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_lengths_around_chunk_edges(length: int) -> None:
    check("one-direction", (length, 1), device="cuda", batch=1)


@pytest.mark.parametrize("channels", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 192])
@pytest.mark.parametrize("name", ["cross", "gated"])
def test_channels_around_block_edges(name: str, channels: int) -> None:
    check(name, (4, 5), device="cuda", channels=channels)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", ["cross", "gated", "merge-z"])
def test_batches(name: str, batch: int) -> None:
    check(name, (5, 6), device="cuda", batch=batch)


@pytest.mark.parametrize("name", ["cross", "gated", "merge-z", "projected-all"])
def test_inputs_in_any_layout(name: str) -> None:
    check(name, (5, 7), device="cuda", contiguous=False)
    op = operator(name)
    dense, strided = (draw_inputs(op, (5, 7), device="cuda", contiguous=kind) for kind in (True, False))
    assert_same_bits(results(op, dense), results(op, strided))


@pytest.mark.parametrize("name", ["cross", "merge-z"])
def test_expanded_gradients(name: str) -> None:
    op = operator(name)
    leaves = [{n: t.requires_grad_() for n, t in draw_inputs(op, (5, 7), device="cuda").items()} for _ in range(2)]
    op(**leaves[0]).sum().backward()  # one number, expanded
    (op(**leaves[1]) * torch.ones(2, 5, 7, 3, device="cuda")).sum().backward()
    for argument in op.arguments:
        assert torch.equal(leaves[0][argument].grad, leaves[1][argument].grad), argument


@pytest.mark.parametrize("name", [*MAIN, "split-parts", "conv-along", "reset-conv", "tokens", "twice", "labels", "given-two"])
def test_same_bits_on_a_second_run(name: str) -> None:
    op = operator(name)
    tensors = draw_inputs(op, (28, 28), device="cuda", batch=4, channels=96)
    expected = results(op, tensors)
    for _ in range(3):
        assert_same_bits(expected, results(op, tensors))


@pytest.mark.parametrize("name", [*MAIN, "split-parts", "conv", "reset", "tokens", "pads", "twice", "labels", "given-two"])
def test_the_gpu_agrees_with_the_cpu_at_full_size(name: str) -> None:
    """56 × 56, where the reference would take minutes: the CPU backend was compared with it on its own."""
    op = operator(name)
    tensors = draw_inputs(op, (56, 56), batch=2, channels=96)
    ours = results(op, {key: tensor.cuda() for key, tensor in tensors.items()})
    theirs = results(op, tensors)
    for key, value in ours.items():
        assert_close(key or "the output", value, theirs[key], TOLERANCES[torch.float32].gradient)


def test_types_may_be_mixed() -> None:
    op = operator("cross")
    mixed = dict.fromkeys(op.arguments, torch.bfloat16) | {"dt_bias": torch.float32, "A_log": torch.float64, "B": torch.float16}
    assert_matches_reference(op, program("cross"), draw_inputs(op, (6, 5), dtype=mixed, device="cuda"))


@pytest.mark.parametrize(
    "name",
    [
        "cross",
        "gated",
        "merge-z",
        "projected-channels",
        "given-two",
        "tokens",
        "split-uneven",
        "twice",
        "labels",
        "concat-tokens",
        "ssd-merged",
        "mlstm-split",
    ],
)
def test_opcheck(name: str) -> None:
    opcheck(name, device="cuda")


def test_opcheck_of_bfloat16() -> None:
    opcheck("cross", device="cuda", dtype=torch.bfloat16)


@pytest.mark.parametrize(
    "name",
    ["cross", "gated", "merge-z", "given-two", "mean-of-cells", "conv-along-pads", "labels", "twice", "split", "ssd", "wkv"],
)
def test_torch_compile(name: str) -> None:
    check_torch_compile(name, "inductor", device="cuda")


def test_torch_compile_with_dynamic_shapes() -> None:
    check_torch_compile("cross", "inductor", device="cuda", dynamic=True)


def test_autocast() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (6, 7), device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        mapped = tensors["x"] @ torch.eye(3, device="cuda")
        result = op(**{**tensors, "x": mapped})
    assert mapped.dtype == result.dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["cross", "module-pads-conv", "module-twice-conv", "module-labels", "module-two-phases"])
def test_module_and_graph_capture(name: str) -> None:
    core = scanlang.Scan2d(program(name), channels=96).cuda()
    x = torch.randn(2, 14, 14, 96, device="cuda")
    tokens = {token: torch.randn(2, count, 96, device="cuda") for token, count in core.op.graph.traversal.at((14, 14)).tokens}

    def run() -> torch.Tensor:
        made = core(x, **tokens)
        return made[0] if tokens else made

    expected = run().detach()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        run()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            captured = run()
    captured.fill_(float("nan"))
    graph.replay()
    assert torch.equal(captured, expected)


def test_on_a_stream_of_its_own() -> None:
    op = operator("gated")
    tensors = draw_inputs(op, (28, 28), device="cuda", channels=64)
    expected = results(op, tensors)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = results(op, tensors)
    stream.synchronize()
    assert_same_bits(expected, found)


def test_orders_are_checked_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    op = operator("given")
    tensors = draw_inputs(op, (3, 4), device="cuda")
    wrong = {**tensors, "mine": torch.full_like(tensors["mine"], 12)}
    op(**wrong)  # what it reads is in the map
    torch.cuda.synchronize()
    monkeypatch.setenv("SCANLANG_DEBUG", "1")
    op(**tensors)
    with pytest.raises(scanlang.ScanError, match="step 0 visits cell 12"):
        op(**wrong)


def test_wrong_device() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 4), device="cuda")
    with pytest.raises(scanlang.ScanError) as caught:
        op(**{**tensors, "D": tensors["D"].cpu()})
    assert "argument `D` is on cpu" in str(caught.value)
    assert "must be on cuda:0" in str(caught.value)


HUGE = """grid h, w
recurrence fading(state n) { input x  param a[n] = 1  h[n] = exp(-exp(a[n])) * h[n] + x  y = sum(n: h[n]) }
scan fading(dim, state = 1) { directions raster, reverse(raster)  recur fading(state = state) }"""


def test_more_than_2_to_the_31_elements() -> None:
    """Offsets beyond 32 bits: the last image of a huge batch has the output and gradient that it has alone."""
    grid, channels = (1024, 1024), 64
    batch = 2**31 // (grid[0] * grid[1] * channels) + 1
    needed = 6 * batch * grid[0] * grid[1] * channels * 2 + 2**31 * 2  # x, y, both gradients, and room, in bfloat16
    free, total = torch.cuda.mem_get_info()
    if total < 75 * 2**30:
        pytest.skip(f"the card has {total >> 30} GiB, this takes {needed >> 30}")
    assert free >= needed, f"{free >> 30} GiB of the card's {total >> 30} are free, this takes {needed >> 30}"
    op = scanlang.compile(scanlang.loads(HUGE))
    generator = torch.Generator("cuda").manual_seed(0)
    x = torch.rand((batch, *grid, channels), generator=generator, device="cuda", dtype=torch.bfloat16).requires_grad_()
    a = torch.linspace(-1, 1, 2 * channels, device="cuda").reshape(2, channels, 1)
    assert x.numel() > 2**31
    result = op(x=x, a=a)
    for image in (0, batch - 1):
        assert torch.equal(result[image : image + 1].detach(), op(x=x[image : image + 1].detach(), a=a)), image
    result.backward(result.detach())
    del result
    assert x.grad is not None
    for image in (0, batch - 1):
        alone = x[image : image + 1].detach().requires_grad_()
        small = op(x=alone, a=a)
        small.backward(small.detach())
        assert torch.equal(x.grad[image : image + 1], alone.grad), image
