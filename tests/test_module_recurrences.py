"""`Scan2d` of recurrences with heads: its parameters, projections and mistakes; states that it is given and gives."""

from __future__ import annotations

import pytest
import torch
from module_checks import check_module, core_and_call, made_and_call
from operator_checks import program
from operator_recurrences import DEFINITIONS, MODULE_RECURRENCES
from torch import Tensor

import scanlang
from scanlang.testing import assert_close
from scanlang.testing.tensors import draw_states


def core_of(clauses: str, channels: int = 8, **sizes: int) -> scanlang.Scan2d:
    text = f"{DEFINITIONS} scan s(dim, head = 2, state = 3, group = 2) {{ {clauses} }}"
    return scanlang.Scan2d(scanlang.loads(text), channels=channels, **sizes)


RECUR = "recur ssd(state = state, head = head, group = group)"


@pytest.mark.parametrize("name", MODULE_RECURRENCES)
def test_modules_match_the_reference(name: str) -> None:
    check_module(program(name), *core_and_call(name, channels=8))


@pytest.mark.parametrize("name", MODULE_RECURRENCES)
def test_states_of_modules(name: str) -> None:
    """A convolution in a pass of its own has the states of the one inside."""
    core, given = core_and_call(name, channels=8)
    sizes = {label: size for label, size in core._labels.items() if label not in core.op.signature.fixed}
    states = draw_states(core.op, channels=8, sizes=sizes, dtype=torch.float64)
    check_module(program(name), core, given, states)


def test_parameters_and_projections() -> None:
    core = core_of(f"directions raster, snake project dt, B from x bias project C from x share D {RECUR}")
    assert {name: tuple(parameter.shape) for name, parameter in core.named_parameters()} == {
        "A_log": (2, 4),
        "dt_bias": (2, 4),
        "D": (8,),
        "project_weight": (2, 4 + 2 * 3, 8),
        "project_bias": (2, 4 + 2 * 3),
        "project_1_weight": (2, 2 * 3, 8),
    }
    split = core_of(f"input x, dt directions raster, snake channels split share D, dt_bias {RECUR}", 16)
    assert {name: tuple(parameter.shape) for name, parameter in split.named_parameters()} == {
        "A_log": (8,),
        "dt_bias": (4,),
        "D": (8,),
    }


def test_initial_values_of_heads_are_drawn_for_each() -> None:
    text = """grid h, w recurrence r(state n, head p) { input x[p] param a = uniform(1, 2), b[n] = n + 1, c[n, p] = normal(0, 1)
    h[n, p] = sigmoid(a) * h[n, p] + b[n] * x[p]  y[p] = sum(n: h[n, p] * c[n, p]) }
    scan s(dim) { directions raster, snake recur r(state = 3, head = 4) }"""
    core = scanlang.Scan2d(scanlang.loads(text), channels=64)
    assert core.a.shape == (2, 16)
    assert core.a.min() >= 1
    assert core.a.unique().numel() == 32
    assert torch.equal(core.b.detach(), torch.arange(1.0, 4).expand(2, 16, 3))
    assert core.c.shape == (2, 64, 3)


@pytest.mark.parametrize(
    ("clauses", "channels", "words"),
    [
        (
            f"directions raster project dt, B, C from x {RECUR}",
            6,
            "6 channels do not divide into groups of 2 heads of 2 channels",
        ),
        (f"directions raster project dt, B, C from x {RECUR}", 7, "7 channels do not divide into heads of 2 channels"),
        (f"input x, dt directions raster, snake channels split {RECUR}", 12, "6 channels of a direction do not divide"),
    ],
)
def test_channels_that_are_no_whole_units(clauses: str, channels: int, words: str) -> None:
    with pytest.raises(scanlang.ScanError) as caught:
        core_of(clauses, channels)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dt": torch.zeros(1, 2, 3, 1, 3)}, "must be (B, H, W, K, heads) with heads = 4, C / 2"),
        ({"B": torch.zeros(1, 2, 3, 1, 4, 3)}, "must be (B, H, W, K, groups, state) with groups = 2, C / 4"),
        ({"B": torch.zeros(1, 2, 3, 1, 2, 2)}, "with state = 3, as the program says"),
        ({"h0": torch.zeros(1, 1, 8)}, "argument `h0['S']` has shape (1, 1, 8)"),
        ({"h0": {"S": torch.zeros(1, 1, 8, 3).double()}}, "argument `h0['S']` is float64"),
        ({"h0": {"s": torch.zeros(1, 1, 8, 3)}}, "has no state `s`"),
    ],
)
def test_mistakes_with_units_and_states(changed: dict[str, Tensor], words: str) -> None:
    core = core_of(f"input x, dt directions raster {RECUR}")
    shapes = {"x": (8,), "dt": (1, 4), "B": (1, 2, 3), "C": (1, 2, 3)}
    given = {name: torch.zeros(1, 2, 3, *shape) for name, shape in shapes.items()}
    with pytest.raises(scanlang.ScanError) as caught:
        core(**{**given, **changed})
    assert words in str(caught.value)


def test_two_halves_of_a_sequence() -> None:
    """A convolution that the module runs before the projections too goes on where it was."""
    text = (
        DEFINITIONS.replace("grid h, w", "grid l").partition("order lines")[0]
        + DEFINITIONS.partition("order mine   = input")[2]
    )
    clauses = "directions raster conv 4 project dt, B, C from x recur ssd(state = 2, head = 2)"
    core, given = made_and_call(scanlang.loads(f"{text} scan s(dim) {{ {clauses} }}"), (40,), channels=4)
    x = given["x"]
    whole, last = core(x, return_state=True)
    first, between = core(x[:, :17], return_state=True)
    second, end = core(x[:, 17:], h0=between, return_state=True)
    assert set(last) == {"S", "conv.1", "conv.2", "conv.3"}
    assert_close("the output", torch.cat([first, second], 1), whole, 1e-12)
    for name, value in last.items():
        assert_close(name, end[name], value, 1e-12)
    without, _ = core(x[:, 17:], h0={"S": between["S"]}, return_state=True)
    assert not torch.allclose(without, second)


def test_a_convolution_along_another_order_has_no_state() -> None:
    core = core_of("directions raster conv 3 along snake project dt, B, C from x recur ssd(state = 2, head = 2)")
    x = torch.randn(1, 3, 4, 8)
    assert set(core(x, return_state=True)[1]) == {"S"}
    with pytest.raises(scanlang.ScanError, match=r"no state `conv\.1`"):
        core(x, h0={"conv.1": torch.zeros(1, 1, 8)})


def test_tokens_stand_between_the_output_and_the_states() -> None:
    core = core_of("directions vim project dt, B, C from x recur ssd(state = 2, head = 2)")
    y, cls, states = core(torch.randn(1, 3, 4, 8), cls=torch.randn(1, 1, 8), return_state=True)
    assert (y.shape, cls.shape, states["S"].shape) == ((1, 3, 4, 8), (1, 1, 8), (1, 1, 8, 2))


def test_modules_with_states_compile_without_a_break() -> None:
    core, given = core_and_call("module-ssd-conv", channels=8)
    _, _, states = core(**given, return_state=True)
    torch._dynamo.reset()
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    made, exact = (call(**given, h0=states, return_state=True) for call in (compiled, core))
    torch.testing.assert_close(made[:2], exact[:2])
    torch.testing.assert_close(made[2]["S"], exact[2]["S"])
    torch._dynamo.reset()
