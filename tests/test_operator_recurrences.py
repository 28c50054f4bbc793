"""The operator on heads, groups, inputs with indices, `prev` and scales; states that a caller gives and gets.

Outputs, states and every gradient against the reference.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from operator_checks import (
    assert_same_bits,
    call,
    channels_of,
    check,
    check_torch_compile,
    draw,
    opcheck,
    operator,
    program,
    results,
)
from operator_recurrences import DEFINITIONS, RECURRENCES
from torch import Tensor

import scanlang
from scanlang.codegen.run_torch import TorchScan
from scanlang.testing import assert_close, draw_inputs, reference
from scanlang.testing.tensors import draw_states

QUICK = ("ssd", "gla", "bare-split", "indexed", "mlstm", "wkv", "looks-back-conv", "ssd-split-uneven")


def some(*quick: str) -> list[object]:
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.long]) for name in RECURRENCES]


@pytest.mark.parametrize("name", RECURRENCES)
def test_matches_reference(name: str) -> None:
    check(name, (4, 5), dtype=torch.float64)


@pytest.mark.parametrize("name", RECURRENCES)
def test_states_match_reference(name: str) -> None:
    check(name, (3, 4), channels=9, dtype=torch.float64, with_states=True)


@pytest.mark.parametrize("name", some("ssd-merged", "bare-split", "mlstm-split"))
def test_in_plain_torch(name: str) -> None:
    check(name, (3, 5), backend=TorchScan, dtype=torch.float64)
    check(name, (2, 4), backend=TorchScan, dtype=torch.float64, with_states=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", some("ssd", "bare"))
def test_types(name: str, dtype: torch.dtype) -> None:
    check(name, (3, 7), dtype=dtype, seed=1)


@pytest.mark.parametrize("name", some("mlstm", "ssd-conv"))
def test_types_of_states(name: str) -> None:
    check(name, (3, 4), with_states=True)


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("name", some("ssd-split-uneven", "wkv"))
def test_batches(name: str, batch: int) -> None:
    check(name, (2, 4), batch=batch, channels=20, with_states=True, dtype=torch.float64)


@pytest.mark.parametrize("name", some("ssd-tokens", "gla-split"))
def test_inputs_in_any_layout(name: str) -> None:
    dense, strided = (draw(name, (3, 5), seed=4, contiguous=kind) for kind in (True, False))
    assert_same_bits(results(operator(name), dense), results(operator(name), strided))


@pytest.mark.parametrize("name", some("ssd-open", "mlstm"))
def test_opcheck(name: str) -> None:
    opcheck(name)


@pytest.mark.parametrize("name", some("ssd-merged", "wkv"))
def test_torch_compile(name: str) -> None:
    check_torch_compile(name, "aot_eager")


@pytest.mark.parametrize("head, group, channels", [(1, 1, 3), (4, 1, 8), (2, 3, 12), (8, 1, 8), (3, 2, 18)])
def test_units_of_any_size(head: int, group: int, channels: int) -> None:
    """Read off the arguments; on the CPU lanes lie within a head, across heads, or there is one head."""
    op, given = operator("ssd-open"), {"head": head, "group": group, "state": 3}
    tensors = draw_inputs(op, (3, 4), channels=channels, sizes=given, dtype=torch.float64)
    exact = {name: tensor.clone().requires_grad_() for name, tensor in tensors.items()}
    leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    y, wanted = op(**leaves), reference(program("ssd-open"), **exact)
    assert_close("the output", y, wanted, 1e-12)
    cotangent = torch.randn_like(y)
    found = torch.autograd.grad(y, list(leaves.values()), cotangent)
    for name, one, exactly in zip(leaves, found, torch.autograd.grad(wanted, list(exact.values()), cotangent), strict=True):
        assert_close(f"the gradient of {name}", one, exactly, 1e-11)


SEQUENCE = DEFINITIONS.replace("grid h, w", "grid l").partition("recurrence ssd")[2]
ONE_WAY = {
    "ssd": "input x, dt recur ssd(state = 3, head = 2, group = 2)",
    "ssd-conv": "input x, dt conv 4 recur ssd(state = 2, head = 2)",
    "gla": "input x, q, k, f, g recur gla(state = 2, head = 2)",
    "mlstm": "input v, q, k, i, f recur mlstm(state = 2, head = 2)",
    "wkv": "input k, v recur wkv()",
    "looks-back": "input x, g conv 3 recur looks_back(state = 2)",
}


def one_way(name: str) -> scanlang.CompiledScan:
    text = f"grid l recurrence ssd{SEQUENCE} scan s(dim) {{ directions raster {ONE_WAY[name]} }}"
    return scanlang.compile(scanlang.loads(text))


@pytest.mark.parametrize("name", ONE_WAY)
def test_a_sequence_in_two_parts(name: str) -> None:
    """The states handed on: outputs, last states and every gradient are those of the whole."""
    op, length, first = one_way(name), 150, 71
    given = draw_inputs(op, (length,), channels=8, dtype=torch.float64)
    leaves = {key: value.requires_grad_() for key, value in given.items()}
    maps = {argument.name for argument in op.signature.maps}

    def part(steps: slice, h0: Any) -> Any:
        return op(**{k: v[:, steps] if k in maps else v for k, v in leaves.items()}, h0=h0, return_state=True)

    whole, last = op(**leaves, return_state=True)
    before, between = part(slice(0, first), None)
    after, end = part(slice(first, length), between)
    assert_close("the output", torch.cat([before, after], 1), whole, 1e-12)
    assert set(last) == set(end) == set(op.states.names)
    for state, value in last.items():
        assert_close(state, end[state], value, 1e-12)
        assert value.requires_grad == (not state.startswith("m"))
    cotangents = {key: torch.randn_like(value) for key, value in last.items() if value.requires_grad}
    cotangent = torch.randn_like(whole)

    def gradients(y: Tensor, states: dict[str, Tensor]) -> tuple[Tensor, ...]:
        outputs = [y, *(states[state] for state in cotangents)]
        return torch.autograd.grad(outputs, list(leaves.values()), [cotangent, *cotangents.values()])

    in_parts = gradients(torch.cat([before, after], 1), end)
    for key, one, exactly in zip(leaves, in_parts, gradients(whole, last), strict=True):
        assert_close(f"the gradient of {key}", one, exactly, 1e-11)


@pytest.mark.parametrize("name", ["ssd", "wkv", "looks-back"])
def test_gradcheck_of_states(name: str) -> None:
    """Of what a state stands for: `a` and `b` of `wkv` are so many times exp(m)."""
    op = one_way(name)
    given = draw_inputs(op, (3,), batch=1, channels=4, dtype=torch.float64)
    states = draw_states(op, batch=1, channels=4, dtype=torch.float64)
    learned = [key for key in states if key != "m"]
    maps = [argument.name for argument in op.signature.maps]

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        h0 = {**states, **dict(zip(learned, values, strict=False))}
        y, last = op(**{**given, **dict(zip(maps, values[len(learned) :], strict=True))}, h0=h0, return_state=True)
        scale = last["m"].exp() if "m" in last else 1
        return (y, *(last[key] * scale for key in learned))

    leaves = [value.detach().requires_grad_() for value in (*(states[k] for k in learned), *(given[k] for k in maps))]
    assert torch.autograd.gradcheck(run, leaves)


@pytest.fixture
def ssd() -> tuple[scanlang.CompiledScan, dict[str, Tensor], Tensor]:
    """A scan, its arguments, all of them leaves, and a state for it."""
    op, channels = operator("ssd"), channels_of("ssd", 8)
    given = {k: v.requires_grad_() for k, v in draw_inputs(op, (3, 4), channels=channels, dtype=torch.float64).items()}
    return op, given, draw_states(op, channels=channels, dtype=torch.float64)["S"]


def test_a_loss_of_the_last_state_alone(ssd: Any) -> None:
    op, given, state = ssd
    state.requires_grad_()
    _, last = op(**given, h0=state, return_state=True)
    _, wanted = reference(program("ssd"), h0={"S": state}, return_state=True, **given)
    inputs = [given["x"], given["dt"], given["A_log"], state]
    found = torch.autograd.grad(last["S"].square().sum(), inputs)
    for one, exactly in zip(found, torch.autograd.grad(wanted["S"].square().sum(), inputs), strict=True):
        assert_close("the gradient", one, exactly, 1e-11)
    assert torch.autograd.grad(op(**given, h0=state, return_state=True)[1]["S"].sum(), given["D"])[0].eq(0).all()


def test_states_that_nobody_uses_change_nothing(ssd: Any) -> None:
    op, given, state = ssd
    with_state, _ = op(**given, return_state=True)
    assert torch.equal(with_state, op(**given))
    assert torch.equal(op(**given, h0={}), op(**given))
    plain, asked = (torch.autograd.grad(y.sum(), list(given.values())) for y in (op(**given), with_state))
    assert all(map(torch.equal, plain, asked))
    zero = op(**given, h0=torch.zeros_like(state))
    assert_close("the output", zero, op(**given), 1e-14)


def test_a_state_with_a_gradient_alone(ssd: Any) -> None:
    """Nothing else has one; and nothing is saved where nothing has."""
    op, given, state = ssd
    fixed = {name: tensor.detach() for name, tensor in given.items()}
    (found,) = torch.autograd.grad(op(**fixed, h0=state.requires_grad_()).sum(), state)
    (wanted,) = torch.autograd.grad(reference(program("ssd"), h0={"S": state}, **fixed).sum(), state)
    assert_close("the gradient", found, wanted, 1e-12)
    assert not op(**fixed, h0=state.detach()).requires_grad


def test_states_twice_and_in_inference(ssd: Any) -> None:
    """One state for two calls; a state made in inference mode; a strided one; no gradient but the wanted."""
    op, given, state = ssd
    state.requires_grad_()
    y = op(**given, h0=state) + 2 * op(**given, h0={"S": state})
    once = torch.autograd.grad(op(**given, h0=state).sum(), state)[0]
    assert_close("the gradient", torch.autograd.grad(y.sum(), state)[0], 3 * once, 1e-12)
    with torch.inference_mode():
        _, last = op(**given, return_state=True)
        made = op(**given, h0=last)
    assert torch.equal(made, op(**given, h0={"S": last["S"].clone()}))
    strided = state.detach().transpose(0, -1).contiguous().transpose(0, -1)
    assert not strided.is_contiguous()
    assert torch.equal(op(**given, h0=strided), op(**given, h0=state))


def test_states_in_torch_compile(ssd: Any) -> None:
    op, given, state = ssd
    torch._dynamo.reset()

    def around(x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, last = op(**{**given, "x": x * 2}, h0={"S": state * 2}, return_state=True)
        return y + 1, last["S"] + 1

    compiled, leaves = torch.compile(around, fullgraph=True, backend="aot_eager"), [given["x"], state.requires_grad_()]
    made, plain = compiled(*leaves), around(*leaves)
    for one, exactly in zip(made, plain, strict=True):
        assert torch.equal(one, exactly)
    gradients = (torch.autograd.grad(sum(part.square().sum() for part in parts), leaves) for parts in (made, plain))
    assert all(map(torch.equal, *gradients))
    torch._dynamo.reset()


def test_half_precision_states_are_wide() -> None:
    op = operator("ssd")
    given = draw_inputs(op, (3, 4), channels=channels_of("ssd", 8), dtype=torch.bfloat16)
    y, last = op(**given, return_state=True)
    assert (y.dtype, last["S"].dtype) == (torch.bfloat16, torch.float32)
    assert op(**given, h0=last).dtype == torch.bfloat16


def test_without_a_state_nothing_is_made_for_it(ssd: Any) -> None:
    op, given, _ = ssd
    called = call(op, {name: tensor.detach() for name, tensor in given.items()})
    assert op.torch_op(*called.tensors, None, grid=list(called.grid), save=True)[3].numel() == 0
