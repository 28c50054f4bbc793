"""The operator on the CPU: outputs and every gradient against the reference, and how it behaves as a torch operator."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_checks import (
    assert_same_bits,
    call,
    check,
    check_torch_compile,
    opcheck,
    operator,
    program,
    program_with_name,
    results,
)
from operator_programs import HARD_NAMES, PROGRAMS, SELECTIVE_NAMES
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import scanlang
from scanlang.testing import TOLERANCES, assert_close, assert_matches_reference, draw_inputs, grids, inputs, programs

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
MAIN = ("cross", "bidirectional", "snakes", "gated", "windows")
GRIDS = ((5, 7), (1, 11), (11, 1), (1, 1), (13, 3))


def short(value: object) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value).removeprefix("torch.")


@pytest.mark.parametrize("name", PROGRAMS)
def test_matches_reference(name: str) -> None:
    check(name, (4, 5))


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
@pytest.mark.parametrize("name", MAIN)
def test_types(name: str, dtype: torch.dtype) -> None:
    check(name, (3, 7), dtype=dtype, seed=1)


@pytest.mark.parametrize("name", ["merge-z", "merge-x", "projected-all", "two-states"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=short)
def test_types_of_other_scans(name: str, dtype: torch.dtype) -> None:
    check(name, (3, 4), dtype=dtype, seed=2)


@pytest.mark.parametrize("grid", GRIDS, ids=short)
@pytest.mark.parametrize("name", MAIN)
def test_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, batch=1)


@pytest.mark.parametrize("length", [7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129])
def test_lengths_around_chunk_edges(length: int) -> None:
    check("one-direction", (length, 1), batch=1, channels=2)


@pytest.mark.long
@pytest.mark.parametrize("grid", [(16, 16), (17, 15), (8, 33), (257, 1), (1, 511), (23, 29)], ids=short)
@pytest.mark.parametrize("name", [*MAIN, "merge-z", "projected-all"])
def test_larger_grids(name: str, grid: tuple[int, int]) -> None:
    check(name, grid, batch=2, channels=5, seed=3)


@pytest.mark.parametrize("channels", [1, 2, 7, 8, 9, 15, 16, 17, 33, 65])
@pytest.mark.parametrize("name", ["cross", "gated"])
def test_channels_around_vector_edges(name: str, channels: int) -> None:
    check(name, (2, 3), channels=channels, batch=1)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", ["cross", "gated", "merge-z", "projected-channels"])
def test_batches(name: str, batch: int) -> None:
    check(name, (3, 4), batch=batch)


@pytest.mark.parametrize("name", ["cross", "gated", "merge-z", "projected-all", "share-names"])
def test_inputs_in_any_layout(name: str) -> None:
    check(name, (3, 5), contiguous=False, batch=2)
    op = operator(name)
    dense = draw_inputs(op, (3, 5), seed=4)
    strided = draw_inputs(op, (3, 5), seed=4, contiguous=False)
    assert not any(tensor.is_contiguous() for tensor in strided.values() if tensor.ndim > 1)
    assert_same_bits(results(op, dense), results(op, strided))


def test_expanded_inputs_and_gradients() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 4), batch=1)
    tensors = {name: t.expand(3, *t.shape[1:]) if t.ndim >= 4 else t for name, t in tensors.items()}
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    op(**leaves).sum().backward()  # the gradient of the output is one number, expanded
    dense = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for name, tensor in tensors.items()
    }
    (op(**dense) * torch.ones(3, 3, 4, 3)).sum().backward()
    for name in tensors:
        assert torch.equal(leaves[name].grad, dense[name].grad), name


def test_types_may_be_mixed() -> None:
    op = operator("cross")
    mixed = dict.fromkeys(op.arguments, torch.bfloat16) | {"dt_bias": torch.float32, "A_log": torch.float64, "B": torch.float16}
    tensors = draw_inputs(op, (3, 5), dtype=mixed)
    assert op(**tensors).dtype == torch.bfloat16
    assert_matches_reference(op, program("cross"), tensors)
    wide = draw_inputs(op, (3, 5), dtype=dict.fromkeys(op.arguments, torch.float32) | {"C": torch.float64})
    assert_matches_reference(op, program("cross"), wide)


def test_directions_have_parameters_of_their_own() -> None:
    """Exchanging the parameters of two directions changes the result; exchanging the directions too restores it."""
    texts = [
        f"import std.selective grid h, w scan s(dim) {{ directions {d} recur selective(state = 2, rank = 2) }}"
        for d in ("raster, columns", "columns, raster")
    ]
    first, second = (scanlang.compile(scanlang.loads(text)) for text in texts)
    tensors = draw_inputs(first, (3, 4), dtype=torch.float64)
    exchanged = {}
    for argument in first.signature.arguments:
        tensor = tensors[argument.name]
        axis = {"input": None, "shared": 3, "param": 0}[argument.kind]
        exchanged[argument.name] = tensor if axis is None else tensor.flip(axis)
    assert_close("exchanged", second(**exchanged), first(**tensors), 1e-14)
    assert not torch.allclose(first(**exchanged), first(**tensors))


def test_renamed_and_reordered_selective_is_the_same_function() -> None:
    text = (
        "import std.selective grid h, w scan s(dim) { directions raster, reverse(columns), snake "
        "recur selective(state = 2, rank = 3) }"
    )
    renamed, selective = operator("renamed"), scanlang.compile(scanlang.loads(text))
    tensors = draw_inputs(renamed, (4, 5), sizes={"width": 2, "inner": 3}, dtype=torch.float64)
    ours = results(renamed, tensors)
    theirs = results(selective, {SELECTIVE_NAMES[name]: tensor for name, tensor in tensors.items()})
    for name, gradient in ours.items():
        assert_close(name, gradient, theirs[SELECTIVE_NAMES.get(name, "")], TOLERANCES[torch.float64].gradient)


@pytest.mark.parametrize("name", ["cross", "gated", "merge-z", "windows"])
def test_same_bits_on_a_second_run(name: str) -> None:
    op = operator(name)
    tensors = draw_inputs(op, (9, 8), channels=19, batch=3)
    assert_same_bits(results(op, tensors), results(op, tensors))


@settings(max_examples=15)
@given(st.sampled_from(("cross", "gated", "tiles", "merge-z", "projected-all", "formula")), st.data())
def test_random_inputs(name: str, data: st.DataObject) -> None:
    tensors = data.draw(inputs(operator(name), grids(7)))
    assert_matches_reference(operator(name), program(name), tensors)


@settings(max_examples=6)
@given(st.data(), programs())
def test_random_programs(data: st.DataObject, text: str) -> None:
    _check_random_program(data, text, 3)


@pytest.mark.long
@settings(max_examples=80)
@given(st.data(), programs())
def test_many_random_programs(data: st.DataObject, text: str) -> None:
    _check_random_program(data, text, 9)


def _check_random_program(data: st.DataObject, text: str, most: int) -> None:
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded)
    assert_matches_reference(op, loaded, data.draw(inputs(op, grids(most), channels=(1, 2, 9))))


@pytest.mark.parametrize("name", HARD_NAMES)
def test_names_that_generated_code_uses(name: str) -> None:
    loaded = program_with_name(name)
    op = scanlang.compile(loaded)
    assert_matches_reference(op, loaded, draw_inputs(op, (2, 3)))


@pytest.mark.parametrize("name", ["cross", "gated", "merge-z", "projected-channels", "no-param"])
def test_opcheck(name: str) -> None:
    opcheck(name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=short)
def test_opcheck_of_types(dtype: torch.dtype) -> None:
    opcheck("cross", dtype=dtype, contiguous=False)


@pytest.mark.parametrize("name", ["cross", "gated", "merge-z"])
def test_torch_compile(name: str) -> None:
    check_torch_compile(name, "aot_eager")


def test_torch_compile_with_dynamic_shapes() -> None:
    check_torch_compile("cross", "aot_eager", dynamic=True)


def test_gradcheck() -> None:
    op = operator("gated")
    tensors = draw_inputs(op, (2, 3), batch=1, channels=2, dtype=torch.float64)
    names = tuple(tensors)
    leaves = tuple(tensors[name].requires_grad_() for name in names)
    assert torch.autograd.gradcheck(lambda *given: op(**dict(zip(names, given, strict=True))), leaves)


@pytest.mark.parametrize("dtype", FLOATS, ids=short)
def test_fake_tensors(dtype: torch.dtype) -> None:
    op = operator("merge-z")
    real = draw_inputs(op, (3, 5), dtype=dtype)
    with FakeTensorMode() as mode:
        fake = {name: mode.from_tensor(tensor).requires_grad_() for name, tensor in real.items()}
        result = op(**fake)
        gradients = torch.autograd.grad(result.sum(), list(fake.values()))
    expected = op(**real)
    assert (result.shape, result.dtype, result.stride()) == (expected.shape, expected.dtype, expected.stride())
    for tensor, gradient in zip(fake.values(), gradients, strict=True):
        assert (gradient.shape, gradient.dtype) == (tensor.shape, tensor.dtype)


def test_meta_tensors_of_any_size() -> None:
    op = operator("cross")
    tensors = {name: tensor.to("meta") for name, tensor in draw_inputs(op, (3, 5), batch=1).items()}
    huge = {name: tensor.expand(1 << 16, *tensor.shape[1:]) if tensor.ndim > 3 else tensor for name, tensor in tensors.items()}
    assert op(**huge).shape == (1 << 16, 3, 5, 3)


def test_autocast_keeps_the_operator_in_its_types() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 5))
    weight = torch.eye(3)
    with torch.autocast("cpu", torch.bfloat16):
        mapped = tensors["x"] @ weight
        assert mapped.dtype == torch.bfloat16
        result = op(**{**tensors, "x": mapped})
        assert op(**tensors).dtype == torch.float32
    assert result.dtype == torch.bfloat16
    assert_matches_reference(op, program("cross"), {**tensors, "x": mapped})


def test_nothing_is_saved_without_gradients() -> None:
    op = operator("merge-z")
    tensors = [t.requires_grad_() for t in draw_inputs(op, (3, 5)).values()]
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        with torch.no_grad():
            op(**dict(zip(op.arguments, tensors, strict=True)))
        with torch.inference_mode():
            op(**dict(zip(op.arguments, tensors, strict=True)))
        op(**dict(zip(op.arguments, (t.detach() for t in tensors), strict=True)))
        assert saved == []
        op(**dict(zip(op.arguments, tensors, strict=True)))
    assert saved
    called = call(op, dict(zip(op.arguments, tensors, strict=True)))
    _, states, partials, last = op.torch_op(*called.tensors, None, grid=list(called.grid), save=False)
    assert states.numel() == partials.numel() == last.numel() == 0


class Calls(TorchDispatchMode):
    """Records whether each call of a scan's operator was told to save."""

    def __init__(self) -> None:
        super().__init__()
        self.saves: list[bool] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if function.namespace == "scanlang":
            self.saves.append((kwargs or {}).get("save", False))
        return function(*args, **(kwargs or {}))


def test_states_are_saved_only_where_a_backward_may_follow() -> None:
    op = operator("merge-z")
    plain = draw_inputs(op, (3, 5))
    learned = {name: tensor.clone().requires_grad_(name == "D") for name, tensor in plain.items()}
    with Calls() as calls:
        op(**plain)
        with torch.no_grad():
            op(**learned)
        op(**learned)
    assert calls.saves == [False, False, True]


@pytest.mark.parametrize("wanted", [("x",), ("A_log",), ("C", "D"), ("z",)])
def test_gradients_of_some_arguments(wanted: tuple[str, ...]) -> None:
    op = operator("merge-z")
    tensors = draw_inputs(op, (3, 5))
    full = results(op, tensors)
    some = {name: tensor.detach().requires_grad_(name in wanted) for name, tensor in tensors.items()}
    result = op(**some)
    cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(0))
    result.backward(cotangent)
    for name, tensor in some.items():
        assert (tensor.grad is not None) == (name in wanted), name
        assert tensor.grad is None or torch.equal(tensor.grad, full[name]), name


def test_one_tensor_used_twice() -> None:
    """x feeds the operator, is used again by the merge outside, and the operator runs twice before one backward."""
    op = operator("cross")
    tensors = draw_inputs(op, (3, 5), dtype=torch.float64)
    single = results(op, tensors)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in tensors.items()}
    first, second = op(**leaves), op(**leaves)
    cotangent = torch.randn(first.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).double()
    (first * cotangent + second * cotangent + leaves["x"]).sum().backward()
    for name, leaf in leaves.items():
        assert_close(name, leaf.grad, 2 * single[name] + (1 if name == "x" else 0), 1e-12)


def test_backward_twice_through_one_graph() -> None:
    op = operator("merge-z")
    leaves = {name: tensor.requires_grad_() for name, tensor in draw_inputs(op, (3, 5)).items()}
    result = op(**leaves)
    first = torch.autograd.grad(result.sum(), list(leaves.values()), retain_graph=True)
    second = torch.autograd.grad(result.sum(), list(leaves.values()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_nobody_writes_into_the_arguments() -> None:
    op = operator("merge-x")
    tensors = draw_inputs(op, (3, 5))
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    results(op, tensors)
    assert_same_bits(before, tensors)


def test_saved_state_is_a_fraction_of_the_features() -> None:
    """States are kept at chunk boundaries, not at every step."""
    op = operator("one-direction")
    tensors = draw_inputs(op, (64, 64), batch=1)
    called = call(op, tensors)
    _, states, *_ = op.torch_op(*called.tensors, None, grid=list(called.grid), save=True)
    every_step = tensors["x"].numel() * 2
    assert 0 < states.numel() <= every_step / 4


def mistake(**changed: object) -> str:
    op = operator("share-names")
    tensors: dict[str, object] = {**draw_inputs(op, (3, 5)), **changed}
    with pytest.raises(scanlang.ScanError) as caught:
        op(**{name: value for name, value in tensors.items() if value is not None})
    return str(caught.value)


def test_missing_argument() -> None:
    text = mistake(low=None)
    assert "S505" in text
    assert "misses `low`" in text
    assert "`dt_weight`" in text


def test_unknown_argument() -> None:
    assert "does not know `lov`" in mistake(lov=torch.zeros(1))


@pytest.mark.parametrize(
    "name, shape, words",
    [
        ("x", (2, 3, 5), ("argument `x` has shape (2, 3, 5)", "must be (B, H, W, C)")),
        ("B", (2, 3, 5, 3), ("argument `B` has shape (2, 3, 5, 3)", "must be (B, H, W, K, state)")),
        ("B", (2, 3, 4, 3, 2), ("argument `B` has shape (2, 3, 4, 3, 2)", "W = 5")),
        ("B", (2, 3, 5, 2, 2), ("argument `B` has shape (2, 3, 5, 2, 2)", "K = 3, the number of directions")),
        ("C", (2, 3, 5, 3, 7), ("argument `C` has shape (2, 3, 5, 3, 7)", "state = 3, as in `B`")),
        ("D", (3, 3), ("argument `D` has shape (3, 3)", "must be (C)")),
        ("A_log", (4, 2), ("argument `A_log` has shape (4, 2)", "C = 3, as in `x`")),
        ("dt_bias", (3,), ("argument `dt_bias` has shape (3)", "must be (K, C)")),
    ],
)
def test_wrong_shape(name: str, shape: tuple[int, ...], words: tuple[str, ...]) -> None:
    text = mistake(**{name: torch.zeros(shape)})
    assert "S502" in text
    assert all(word in text for word in words), text
    assert "selective.scan:" in text


def test_wrong_size_of_what_the_program_fixes() -> None:
    op = operator("cross")
    tensors = draw_inputs(op, (3, 5))
    with pytest.raises(scanlang.ScanError, match=r"state = 1, as the program says") as caught:
        op(**{**tensors, "A_log": torch.zeros(4, 3, 2)})
    assert "cross_scan.scan:" in str(caught.value)


def test_empty_grid() -> None:
    op = operator("cross")
    with pytest.raises(scanlang.ScanError, match="H at least 1"):
        op(**{name: t[:, :0] if t.ndim > 3 else t for name, t in draw_inputs(op, (3, 5)).items()})


def test_wrong_type() -> None:
    text = mistake(D=torch.zeros(3, dtype=torch.int64))
    assert "S503" in text
    assert "argument `D` is int64" in text
    assert "must be float32, bfloat16, float16 or float64" in text
    assert "a list" in mistake(D=[1.0])
    assert "complex64" in mistake(x=torch.zeros(2, 3, 5, 3, dtype=torch.complex64))


def test_wrong_device() -> None:
    text = mistake(D=torch.zeros(3, device="meta"))
    assert "S504" in text
    assert "argument `D` is on meta" in text
    assert "must be on cpu" in text


def test_every_mistake_is_named_at_once() -> None:
    text = mistake(D=torch.zeros(1, 1), dt_bias=torch.zeros(3, 3, dtype=torch.int8))
    assert "`D`" in text
    assert "`dt_bias`" in text


def test_arguments_have_names() -> None:
    with pytest.raises(scanlang.ScanError, match="takes no arguments without a name, not 1"):
        operator("cross")(torch.zeros(1))


@pytest.mark.parametrize("label", ["K", "C", "B", "H", "state"])
def test_sizes_may_have_any_name(label: str) -> None:
    text = f"""grid h, w
    recurrence r({label} n) {{ input x shared b[n] param a[n]  h[n] = sigmoid(a[n]) * h[n] + b[n] * x  y = sum(n: h[n]) }}
    scan s(dim, {label} = 5) {{ directions raster, columns recur r({label} = {label}) }}"""
    loaded = scanlang.loads(text)
    op = scanlang.compile(loaded)
    assert_matches_reference(op, loaded, draw_inputs(op, (2, 3), sizes={label: 3}))


LEAKS = """grid h, w
recurrence leaks(state n) {{ input x  h[n] = x + 0.5 * h[n]  y = sum(n: tanh(h[n])) }}
scan s(dim, state{default}) {{ directions raster  recur leaks(state = {state}) }}"""


@pytest.mark.parametrize("state, default", [("3", ""), ("state", " = 3"), ("state + 1", " = 2")])
def test_a_size_that_no_argument_shows_is_the_program_s(state: str, default: str) -> None:
    loaded = scanlang.loads(LEAKS.format(state=state, default=default))
    op = scanlang.compile(loaded)
    x = draw_inputs(op, (2, 3))["x"]
    once = scanlang.compile(scanlang.loads(LEAKS.format(state=1, default="")))
    assert_close("three states", op(x=x), 3 * once(x=x), 1e-6)


def test_a_size_that_nothing_shows_is_a_finding() -> None:
    with pytest.raises(scanlang.ScanError, match="is not told its size `state`"):
        scanlang.compile(scanlang.loads(LEAKS.format(state="state", default="")))
