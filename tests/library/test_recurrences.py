"""The recurrences of the library: gradients by finite differences, states handed on, published initial values, large numbers.

That outputs and gradients are those of the papers' formulas is in `test_library.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from library.library_checks import program
from library.matrix import Recurrence, all_recurrences
from library.transcriptions import DESIGNS, RECURRENCES
from torch import Tensor

import scanlang
from scanlang.testing import TOLERANCES, assert_close, draw_inputs
from scanlang.testing.tensors import fewest_channels

RANDOM = "random"
LIBRARY = [one for one in all_recurrences() if one.name != RANDOM]
WITH_RECURRENCE = sorted({*RECURRENCES, *(pair for pair, design in DESIGNS.items() if design.recurrence != "selective")})
HANDED_ON = {"ssd", "wkv", "mlstm", "exclusive_ssd", "selective"}
"""One for each kind of state: of heads, with a scale, both, of an earlier step; the others are `long`."""


@cache
def alone(recurrence: Recurrence) -> scanlang.CompiledScan:
    """The recurrence along one raster scan, nothing made for it."""
    lines = (f"input {', '.join(recurrence.inputs)}", "directions raster", f"recur {recurrence.name}({recurrence.actuals})")
    text = "\n".join((recurrence.text, "scan alone(dim) {", *lines, "}"))
    return scanlang.compile(scanlang.loads(text, recurrence.name))


def arguments(recurrence: Recurrence, grid: tuple[int, int], **said: object) -> dict[str, Tensor]:
    op = alone(recurrence)
    return draw_inputs(op, grid, **{"batch": 1, "channels": fewest_channels(op, {}), "dtype": torch.float64, **said})


# Gradients by finite differences.


@pytest.mark.long
@pytest.mark.parametrize(("file", "scan"), [pytest.param(*one, id=one[1]) for one in WITH_RECURRENCE])
def test_gradcheck(file: str, scan: str) -> None:
    """The C backend in float64, all directions and every argument at once."""
    design, op = DESIGNS[file, scan], scanlang.compile(program(file), scan)
    given = draw_inputs(op, (3, 2), batch=1, channels=design.channels, sizes=design.sizes, dtype=torch.float64)
    names = tuple(given)

    def of(*tensors: Tensor) -> tuple[Tensor, ...]:
        made = op(**dict(zip(names, tensors, strict=True)))
        return made if isinstance(made, tuple) else (made,)

    assert torch.autograd.gradcheck(of, tuple(tensor.requires_grad_() for tensor in given.values()), fast_mode=True)


@pytest.mark.parametrize("recurrence", LIBRARY, ids=lambda one: one.name)
def test_gradcheck_of_one_direction(recurrence: Recurrence) -> None:
    """Every entry of every gradient, by a difference of its own; the initial state too, and the final one, unless it is held by
    a scale: it has no gradient, and only what does not depend on it is a difference."""
    op = alone(recurrence)
    given = arguments(recurrence, (2, 2))
    states = dict(op(**given, return_state=True)[1])
    scales = {update.name for update in op.graph.step.states if update.constant}
    names = (*given, *(f"state {name}" for name in states))

    def of(*tensors: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(names, tensors, strict=True))
        h0 = {name: values.pop(f"state {name}") for name in states}
        y, final = op(**values, h0=h0, return_state=True)
        return (y, *final.values()) if all(learns) else (y,)

    leaves = (*given.values(), *(state.detach() for state in states.values()))
    learns = [name not in scales for name in states]
    wanted = (*(True for _ in given), *learns)
    assert torch.autograd.gradcheck(of, tuple(leaf.requires_grad_(want) for leaf, want in zip(leaves, wanted, strict=True)))


# States handed on.


def handed_on(recurrence: Recurrence) -> object:
    return pytest.param(recurrence, id=recurrence.name, marks=[] if recurrence.name in HANDED_ON else [pytest.mark.long])


@pytest.mark.parametrize("recurrence", [handed_on(one) for one in LIBRARY])
def test_two_halves_are_the_whole(recurrence: Recurrence) -> None:
    """What the first rows end with, the others begin with: outputs, and the gradients of everything."""
    op, whole = alone(recurrence), arguments(recurrence, (5, 3), batch=2)
    maps = {argument.name for argument in op.signature.maps}
    leaves = {name: tensor.requires_grad_() for name, tensor in whole.items()}

    def rows(first: int, end: int) -> dict[str, Tensor]:
        return {name: tensor[:, first:end] if name in maps else tensor for name, tensor in leaves.items()}

    upper, between = op(**rows(0, 2), return_state=True)
    lower, last = op(**rows(2, 5), h0=between, return_state=True)
    want, final = op(**leaves, return_state=True)
    got = torch.cat((upper, lower), 1)
    assert_close("output", got, want, TOLERANCES[torch.float64].output)
    assert last.keys() == final.keys()
    for name, state in final.items():
        assert_close(f"state {name}", last[name], state, TOLERANCES[torch.float64].output)
    cotangent = torch.randn(want.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, theirs = (torch.autograd.grad(y, list(leaves.values()), cotangent) for y in (got, want))
    for name, mine, other in zip(leaves, ours, theirs, strict=True):
        assert_close(f"gradient of {name}", mine, other, TOLERANCES[torch.float64].gradient)


# Large numbers.


@pytest.mark.parametrize("largest", [False, True], ids=["up to 100", "near 100"])
@pytest.mark.parametrize("recurrence", LIBRARY, ids=lambda one: one.name)
def test_nothing_overflows(recurrence: Recurrence, largest: bool) -> None:
    """Inputs up to 100, or all from 90 to 100 in size, in float32: output and gradients are finite numbers."""
    given = arguments(recurrence, (3, 4), dtype=torch.float32)
    maps = {argument.name for argument in alone(recurrence).signature.maps}
    sized = {name: 100 * (0.9 * tensor.sign() + 0.1 * tensor if largest else tensor) for name, tensor in given.items()}
    leaves = {name: (sized if name in maps else given)[name].requires_grad_() for name in given}
    y = alone(recurrence)(**leaves)
    assert y.isfinite().all()
    for name, gradient in zip(leaves, torch.autograd.grad(y.sum(), list(leaves.values())), strict=True):
        assert gradient.isfinite().all(), name


def test_mlstm_of_no_query_is_nothing() -> None:
    """q = 0 where exp(-m) has no float32: what y is divided by is 0."""
    op = scanlang.compile(program("mlstm"), "mlstm2d")
    given = draw_inputs(op, (3, 4), channels=8, sizes={"state": 2, "head": 4})
    given["i"].fill_(120.0)
    given["q"][:, 1] = 0
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
    y = op(**leaves)
    assert not y[:, 1].any()
    assert y[:, 0].all()
    for name, gradient in zip(leaves, torch.autograd.grad(y.sum(), list(leaves.values())), strict=True):
        assert gradient.isfinite().all(), name


# Initial values.


def parameters(file: str, scan: str, channels: int, **sizes: int) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in scanlang.Scan2d(program(file), scan, channels, **sizes).named_parameters()}


def test_retention_starts_as_published() -> None:
    """Section 3.1: γ = 1 - 2^(-5 - arange(0, h))."""
    gamma = parameters("retention", "retention2d", 32, head=4)["gamma"]
    assert torch.allclose(gamma, (1 - 2.0 ** (-5 - torch.arange(8))).expand(4, 8))


def test_mlstm_starts_as_published() -> None:
    """The code: biases of the forget gate from 3 to 6 over the heads."""
    assert torch.allclose(parameters("mlstm", "mlstm2d", 32, head=4)["f_bias"], torch.linspace(3, 6, 8).expand(4, 8))


def test_a_single_head_has_its_first_value() -> None:
    assert torch.equal(parameters("mlstm", "mlstm2d", 4, head=4)["f_bias"], torch.full((4, 1), 3.0))


def test_wkv_starts_as_published() -> None:
    w = parameters("wkv", "wkv2d", 9)["w"]
    assert torch.allclose(w, (-5 + 8 * (torch.arange(9) / 8) ** 0.7).expand(4, 9), atol=2e-2)


WITHIN: dict[str, tuple[str, str, Callable[[dict[str, Tensor]], Tensor], float, float]] = {
    "ssd": ("ssd", "ssd2d", lambda of: of["A_log"].exp(), 1, 16),
    "ssd, step": ("ssd", "ssd2d", lambda of: torch.nn.functional.softplus(of["dt_bias"]), 1e-3, 1e-1),
    "rg_lru": ("rg_lru", "rg_lru2d", lambda of: torch.exp(-8 * torch.nn.functional.softplus(of["Lambda"])), 0.9, 0.999),
    "s4d": ("s4d", "s4d2d", lambda of: of["log_dt"].exp(), 1e-3, 1e-1),
}


@pytest.mark.parametrize("name", WITHIN)
def test_starts_within(name: str) -> None:
    file, scan, of, low, high = WITHIN[name]
    values = of(parameters(file, scan, 640))
    assert low * 0.999 <= values.min()
    assert values.max() <= high * 1.001
    assert values.max() - values.min() > (high - low) / 4


def test_unit_numbers_of_split_channels() -> None:
    """Every direction counts its own units; in shares of different width, and shared by all."""
    text = """
    recurrence r(head p) {{
      input x[p]
      param a = unit + units / 100, b[p] = unit
      h[p] = a * h[p] + b[p] * x[p]
      y[p] = h[p]
    }}
    scan s(dim) {{ directions raster, columns  channels split{parts}  recur r(head = 2)  {share} }}
    """
    own = scanlang.Scan2d(scanlang.loads(text.format(parts=" 2, 1", share="")), "s", 12)
    assert torch.allclose(own.a, torch.tensor([0.04, 1.04, 2.04, 3.04, 0.02, 1.02]))
    assert own.b.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1]
    shared = scanlang.Scan2d(scanlang.loads(text.format(parts="", share="share all")), "s", 8)
    assert torch.allclose(shared.a, torch.tensor([0.02, 1.02]))


def test_only_what_units_have_of_their_own_knows_their_number() -> None:
    text = "recurrence r { input x  shared param a = unit  h = a * h + x  y = h }"
    with pytest.raises(scanlang.ScanError, match="unknown index `unit`"):
        scanlang.loads(text)


# Vision-RWKV's two ways are joined in torch.


def joined(**maps: Tensor) -> Tensor:
    """The lines that `std.vision_rwkv` shows."""
    averages, weights = (scanlang.compile(program("vision_rwkv"), scan) for scan in ("vision_rwkv", "vision_rwkv_log"))
    mean, log = averages(**maps).chunk(2, -1), weights(**{n: t for n, t in maps.items() if n != "v"}).chunk(2, -1)
    to_second = torch.sigmoid(log[1] - log[0])
    return torch.lerp(mean[0], mean[1], to_second)


def bi_wkv(k: Tensor, v: Tensor, w: Tensor, u: Tensor, **_: Tensor) -> Tensor:
    """Equation 6 of the paper, in float64: k and v `(T, C)`."""
    steps, found = len(k), []
    for t in range(steps):
        log = torch.stack([k[i] + (u / steps if i == t else -(abs(t - i) - 1) / steps * w) for i in range(steps)])
        found.append((torch.softmax(log, 0) * v).sum(0))
    return torch.stack(found)


@pytest.mark.parametrize("size", [1, 100])
def test_bi_wkv_is_joined_exactly(size: float) -> None:
    """Outputs and gradients, with keys so large that a sum of their exponentials would overflow."""
    generator = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 1, 3, 4, 5, generator=generator, dtype=torch.float64)
    w, u = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    given = {"k": size * k, "v": v, "w": w, "u": u}
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items()}
    got = joined(**leaves, step=torch.full((1, 3, 4, 2), 1 / 12, dtype=torch.float64))
    want = bi_wkv(**{n: t[0].flatten(0, 1) if t.ndim > 1 else t for n, t in leaves.items()}).reshape(got.shape)
    assert_close("output", got, want, TOLERANCES[torch.float64].output)
    ours, theirs = (torch.autograd.grad((y * y).sum(), list(leaves.values())) for y in (got, want))
    for name, mine, other in zip(leaves, ours, theirs, strict=True):
        assert_close(f"gradient of {name}", mine, other, TOLERANCES[torch.float64].gradient)


def test_bi_wkv_in_float32() -> None:
    k = torch.tensor([-100.0, 100.0, 0.0, 80.0]).reshape(1, 2, 2, 1).requires_grad_()
    y = joined(k=k, v=torch.ones(1, 2, 2, 1), w=torch.zeros(1), u=torch.zeros(1), step=torch.full((1, 2, 2, 2), 0.25))
    assert torch.allclose(y, torch.ones_like(y))
    assert torch.autograd.grad(y.sum(), k)[0].isfinite().all()
