"""The operator beyond one pass of the whole grid: channels split, convolution, restarts, tokens, pads, orders given at run
time, streams elsewhere, merges of two phases, other numbers of axes. Outputs and every gradient against the reference."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from operator_checks import (
    assert_same_bits,
    call,
    check,
    check_torch_compile,
    draw,
    opcheck,
    operator,
    results,
)
from operator_programs import FEATURES, SIZES, VOLUMES
from torch._dynamo.testing import CompileCounterWithBackend

import scanlang
from scanlang.codegen import register
from scanlang.testing import assert_close, assert_matches_reference, draw_inputs

FLOATS = (torch.float64, torch.bfloat16, torch.float16)


def short(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("name", FEATURES)
def test_matches_reference(name: str) -> None:
    check(name, (4, 5))


@pytest.mark.parametrize("name", VOLUMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=short)
def test_grids_of_any_number_of_axes(name: str, dtype: torch.dtype) -> None:
    check(name, SIZES[name], dtype=dtype)
    check(name, (1,) * len(SIZES[name]), batch=1)


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", FEATURES)
def test_types(name: str, dtype: torch.dtype) -> None:
    check(name, (3, 7), dtype=dtype, seed=1)


@pytest.mark.parametrize("grid", [(1, 11), (11, 1), (2, 9), (13, 3)], ids=short)
@pytest.mark.parametrize("name", FEATURES)
def test_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, batch=1, channels=5)


@pytest.mark.parametrize("name", [name for name in FEATURES if name not in ("tokens", "concat-tokens", "projected-tokens")])
def test_one_cell(name: str) -> None:
    check(name, (1, 1))


@pytest.mark.long
@pytest.mark.parametrize("grid", [(17, 15), (3, 67), (65, 2)], ids=short)
@pytest.mark.parametrize("name", FEATURES)
def test_larger_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, channels=9)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", FEATURES)
def test_batches(name: str, batch: int) -> None:
    check(name, (3, 4), batch=batch, channels=20)


@pytest.mark.parametrize("name", FEATURES)
def test_inputs_in_any_layout(name: str) -> None:
    dense, strided = (draw(name, (3, 5), seed=4, contiguous=kind) for kind in (True, False))
    assert_same_bits(results(operator(name), dense), results(operator(name), strided))


OPCHECKED = ("conv-along", "split-uneven", "pads-divided", "reset-conv", "concat-tokens", "labels-shared", "given-two", "twice")
COMPILED = (*OPCHECKED, "weighted-uneven", "mean-of-cells", "tokens", "conv-along-pads")


@pytest.mark.parametrize("name", OPCHECKED)
def test_opcheck(name: str) -> None:
    opcheck(name)


@pytest.mark.parametrize("name", COMPILED)
def test_torch_compile(name: str) -> None:
    check_torch_compile(name, "aot_eager")


@pytest.mark.parametrize("name", ["split", "conv", "tokens", "pads", "given"])
def test_torch_compile_with_dynamic_shapes(name: str) -> None:
    check_torch_compile(name, "aot_eager", dynamic=True)


def test_one_traced_graph_is_for_every_size_of_plain_orders() -> None:
    op, counter = operator("conv"), CompileCounterWithBackend("aot_eager")
    torch._dynamo.reset()
    compiled = torch.compile(op, fullgraph=True, backend=counter, dynamic=True)
    for grid in ((7, 9), (6, 10), (13, 8)):  # no two dimensions alike: torch takes equal ones for the same
        compiled(**draw_inputs(op, grid, batch=5, channels=11))
    torch._dynamo.reset()
    assert counter.frame_count == 1


def scan_of(orders: str, clauses: str, **options: int) -> scanlang.CompiledScan:
    text = f"import std.selective grid h, w {orders} scan s(dim) {{ recur selective(state = 2, rank = 2) {clauses} }}"
    return scanlang.compile(scanlang.loads(text), **options)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=short)
def test_an_order_given_at_run_time_is_the_order_it_gives(dtype: torch.dtype) -> None:
    written = scan_of("order s = walk w, ~h", "directions s, reverse(insert(s, cls at 3)) conv 2")
    given = scan_of("order s = input", "directions s, reverse(insert(s, cls at 3)) conv 2")
    tensors = draw_inputs(written, (4, 5), dtype=torch.float64)
    table = torch.from_numpy(scanlang.loads("grid h, w order s = walk w, ~h").orders["s"].positions(4, 5)).to(dtype)
    with_order = results(given, {**tensors, "s": table.expand(2, 20)})
    assert_same_bits(results(written, tensors), with_order)
    assert "s" not in with_order  # it has no gradient


def test_images_are_visited_each_in_its_own_order() -> None:
    op = operator("given")
    tensors = draw_inputs(op, (3, 4), batch=3, seed=1)
    together = op(**tensors)
    maps = {argument.name for argument in op.signature.arguments if argument.kind != "param"}
    for image in range(3):
        alone = op(**{name: t[image : image + 1] if name in maps else t for name, t in tensors.items()})
        assert torch.equal(alone[0], together[image])


@pytest.mark.parametrize(
    "change, words",
    [
        ({(1, 4): 12}, "of image 1 exactly once"),
        ({(1, 4): 12}, "step 4 visits cell 12; there are cells 0 to 11"),
        ({(2, 0): -1, (0, 11): 3}, "steps 3 and 11 both visit cell 3"),
        ({(2, 5): 0}, "steps 0 and 5 both visit cell 0"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_wrong_order_is_a_finding(change: dict[tuple[int, int], int], words: str, compiled: bool) -> None:
    op = operator("given")
    tensors = draw_inputs(op, (3, 4), batch=3)
    tensors["mine"] = torch.arange(12).expand(3, 12).clone()
    for place, value in change.items():
        tensors["mine"][place] = value
    torch._dynamo.reset()
    run = torch.compile(op, backend="aot_eager") if compiled else op
    with pytest.raises(scanlang.ScanError) as caught:
        run(**tensors)
    assert words in str(caught.value)
    assert caught.value.diagnostics[0].code == "S508"


def test_indices_outside_the_grid_are_never_read() -> None:
    """Where a wrong order is not looked for, it is made to stay inside."""
    op = operator("given")
    tensors = draw_inputs(op, (3, 4))
    called = call(op, {**tensors, "mine": torch.full((2, 12), 1 << 40)})
    assert int(called.tables.max()) < 12
    assert int(call(op, {**tensors, "mine": torch.full((2, 12), -7)}).tables.min()) >= 0


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"mine": torch.zeros(2, 12)}, "argument `mine` is float32"),
        ({"mine": torch.zeros(2, 3, 4, dtype=torch.int64)}, "must be (B, L)"),
        ({"mine": torch.zeros(2, 11, dtype=torch.int64)}, "L = 12, the number of cells"),
        ({"mine": torch.zeros(3, 12, dtype=torch.int64)}, "B = 2"),
        ({"mine": None}, "misses `mine`"),
        ({"mine": [1]}, "argument `mine` is a list"),
    ],
)
def test_orders_of_a_wrong_kind(changed: dict[str, object], words: str) -> None:
    tensors = {**draw_inputs(operator("given"), (3, 4)), **changed}
    with pytest.raises(scanlang.ScanError) as caught:
        operator("given")(**{name: value for name, value in tensors.items() if value is not None})
    assert words in str(caught.value)


def test_tokens_are_arguments_and_results() -> None:
    op = operator("tokens")
    assert [name for name in op.arguments if name.endswith(("cls", "reg", "dist"))] == [
        f"{prefix}{token}" for token in ("cls", "reg", "dist") for prefix in ("", "low_", "B_", "C_", "z_")
    ]
    tensors = draw_inputs(op, (3, 4), channels=3)
    shapes = {name: tuple(tensors[name].shape) for name in ("cls", "reg", "dist", "B_cls", "z_reg")}
    assert shapes == {"cls": (2, 2, 3), "reg": (2, 2, 3), "dist": (2, 1, 3), "B_cls": (2, 2, 3, 3), "z_reg": (2, 2, 3)}
    y, cls, reg, dist = op(**tensors)
    assert y.shape == (2, 3, 4, 3)
    assert [tuple(one.shape) for one in (cls, reg, dist)] == [shapes["cls"], shapes["reg"], shapes["dist"]]
    assert "-> ((B, H, W, C), cls (B, T, C), reg (B, T, C), dist (B, T, C))>" in repr(op)


def test_there_may_be_no_tokens_at_a_size() -> None:
    op = scan_of("order s = insert(raster, reg at every 100)", "directions s merge concat")
    tensors = draw_inputs(op, (3, 4))
    assert tensors["reg"].shape == (2, 0, 3)
    y, reg = op(**tensors)
    assert reg.shape == (2, 0, 3)
    assert torch.equal(y, scan_of("", "directions raster")(**{n: t for n, t in tensors.items() if not n.endswith("reg")}))


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"cls": None}, "misses `cls`"),
        ({"B_cls": None, "reg": None}, "misses `B_cls` and `reg`"),
        ({"cls": torch.zeros(2, 3, 3)}, "argument `cls` has 3 tokens"),
        ({"cls": torch.zeros(2, 1, 4)}, "must be (B, T, C) with C = 3"),
        ({"B_cls": torch.zeros(2, 2, 3, 5)}, "state = 3, as in `B`"),
        ({"B_dist": torch.zeros(2, 1, 2)}, "must be (B, T, K, state)"),
    ],
)
def test_wrong_tokens(changed: dict[str, object], words: str) -> None:
    tensors = {**draw_inputs(operator("tokens"), (3, 4)), **changed}
    with pytest.raises(scanlang.ScanError) as caught:
        operator("tokens")(**{name: value for name, value in tensors.items() if value is not None})
    assert words in str(caught.value)


def test_layers_of_a_merge_may_be_any_function() -> None:
    op = operator("mean-of-cells")
    given = draw("mean-of-cells", (3, 4), dtype=torch.float64)
    linear, norm = given["g"], given["n"]
    functions = {"g": lambda x: x @ linear.weight.T + linear.bias, "n": lambda x: norm(x)}
    for ours, theirs in zip(op(**{**given, **functions}), op(**given), strict=True):
        assert_close("the output", ours, theirs.detach(), 1e-14)
    with pytest.raises(scanlang.ScanError, match="argument `g` is a float"):
        op(**{**given, "g": 1.0})
    with pytest.raises(scanlang.ScanError, match="misses `n`"):
        op(**{name: value for name, value in given.items() if name != "n"})


def test_channels_that_do_not_split() -> None:
    op = operator("split-parts")
    given = draw_inputs(op, (2, 3), channels=8)
    six = {a.name: given[a.name].narrow(a.dimensions.index("C"), 0, 6) for a in op.signature.arguments if "C" in a.dimensions}
    with pytest.raises(scanlang.ScanError, match="6 channels do not split 2 : 1 : 1"):
        op(**{**given, **six})
    tensors = draw_inputs(operator("split-shared"), (2, 3), channels=4)
    with pytest.raises(scanlang.ScanError, match="C/K = 2, the channels of one direction"):
        operator("split-shared")(**{**tensors, "D": torch.zeros(4)})


def test_every_scan_has_an_operator_of_its_own() -> None:
    """What one program says and another does not is part of the operator's name."""
    names = {name: operator(name).torch_op for name in (*FEATURES, *VOLUMES)}
    assert len(set(names.values())) == len(names)
    assert scan_of("order a = walk h, w", "directions a").torch_op is scan_of("order b = walk h, w", "directions b").torch_op


def test_the_compiler_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.compile keeps on disk has the shapes of saved states in it, which are a rule of the compiler's."""
    before = scan_of("order a = walk h, w", "directions a").torch_op
    assert re.fullmatch("[0-9a-f]{12}", register.compiler())
    monkeypatch.setattr("scanlang.codegen.op.compiler", lambda: "another")
    assert scan_of("order a = walk h, w", "directions a").torch_op is not before


def test_tables_are_part_of_the_name(tmp_path: Path) -> None:
    made = []
    for seed in (1, 2):
        np.save(tmp_path / "mine.npy", np.random.default_rng(seed).permutation(12))
        text = (
            'import std.selective grid h, w scan s(dim) { directions table("mine.npy") recur selective(state = 2, rank = 2) }'
        )
        (tmp_path / "p.scan").write_text(text)
        loaded = scanlang.load(tmp_path / "p.scan", sizes=[(3, 4)])
        made.append(scanlang.compile(loaded))
        assert_matches_reference(made[-1], loaded, draw_inputs(made[-1], (3, 4)))
    assert made[0].torch_op is not made[1].torch_op


def test_a_cell_that_nobody_visits_is_found_at_the_size_of_the_call() -> None:
    partly = ", ".join(f"dilate(raster, 2, phase = ({r}, {c}))" for r in (0, 1) for c in (0, 1))
    op = scan_of("", f"directions {partly}")
    assert op(**draw_inputs(op, (3, 5))).shape == (2, 3, 5, 3)
    with_hole = scanlang.CompiledScan(operator("dilate-max").graph, {"state": 2, "rank": 2}, op.signature.span)
    with pytest.raises(scanlang.ScanError, match="none visits"):
        with_hole(**draw_inputs(with_hole, (4, 5)))


@pytest.mark.parametrize("layer", [0, 1, 2, 5])
def test_layers_pick_their_directions(layer: int) -> None:
    text = """import std.selective grid h, w scan s(dim) {
    layers cycle (raster, snake), columns, (reverse(raster), columns)  recur selective(state = 2, rank = 2) }"""
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded, layer=layer)
    orders = [["raster", "snake"], ["columns"], ["reverse(raster)", "columns"]][layer % 3]
    assert [order.name for order in op.graph.orders] == orders
    assert_matches_reference(op, loaded, draw_inputs(op, (3, 4)), None, layer)
    core = scanlang.Scan2d(loaded, channels=4, layer=layer)
    assert core.A_log.shape == (len(orders), 4, 2)


def test_gradcheck_of_a_scan_with_everything() -> None:
    orders = "order padded = window(raster, 2, 2, pad = decay) order vim = insert(raster, cls at 1)"
    op = scan_of(orders, "directions padded, reverse(vim) conv 2 along snake merge weighted")
    tensors = draw_inputs(op, (1, 3), batch=1, channels=2, dtype=torch.float64)
    names = tuple(tensors)
    leaves = tuple(tensors[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(lambda *given: op(**dict(zip(names, given, strict=True))), leaves)
