"""First weights of the networks, as the published code draws them, by their published names; and what makes them possible."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from golden_checks import program
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.backbones.weights.convert import published_weights

Check = Callable[[Tensor], bool]

SMALL: Mapping[str, Any] = {"dim": 32, "depth1": 1, "depth2": 1, "depth3": 1, "depth4": 1, "num_classes": 50}
SMALL_VIM: Mapping[str, Any] = {"dim": 64, "depth": 6, "num_classes": 50}


def constant(value: float) -> Check:
    return lambda weight: bool((weight == value).all())


def normal(deviation: float) -> Check:
    """Truncated ones too: they end at 2, far out."""

    def check(weight: Tensor) -> bool:
        slack = 4 / math.sqrt(weight.numel())
        return abs(weight.std().item() / deviation - 1) < slack and abs(weight.mean().item()) < slack * deviation

    return check


def uniform(bound: float) -> Check:
    def check(weight: Tensor) -> bool:
        slack = 4 / math.sqrt(weight.numel())
        spread = abs(weight.std().item() * math.sqrt(3) / bound - 1) < slack
        return spread and bool(weight.abs().max() <= bound) and bool(weight.max() - weight.min() > 2 * bound * (1 - slack))

    return check


def fan_in(weight: Tensor) -> Check:
    """As torch draws linear maps and convolutions."""
    return uniform(1 / math.sqrt(weight[0].numel()))


def step_length(weight: Tensor) -> bool:
    """A step between 0.001 and 0.1, its logarithm uniform."""
    logarithms = functional.softplus(weight.double()).log()
    low, high = math.log(1e-3), math.log(1e-1)
    return uniform((high - low) / 2 * 1.001)(logarithms - (low + high) / 2)


def states(weight: Tensor) -> bool:
    """log(1), log(2), … in every row."""
    return torch.allclose(weight, torch.arange(1.0, weight.shape[-1] + 1).log().expand(weight.shape))


def of_bias(name: str, weights: Mapping[str, Tensor]) -> Check:
    """A bias has the bound of its convolution's weight."""
    return fan_in(weights[name.removesuffix("bias") + "weight"])


Rules = tuple[tuple[str, Callable[[str, Tensor, Mapping[str, Tensor]], bool]], ...]


def rule(check: Check) -> Callable[[str, Tensor, Mapping[str, Tensor]], bool]:
    return lambda name, weight, weights: check(weight)


def default(name: str, weight: Tensor, weights: Mapping[str, Tensor]) -> bool:
    return fan_in(weight)(weight)


def default_bias(name: str, weight: Tensor, weights: Mapping[str, Tensor]) -> bool:
    return of_bias(name, weights)(weight)


VMAMBA: Rules = (
    (r".*norm\d?\.weight|patch_embed\.[27]\.weight|.*downsample\.(3|norm)\.weight", rule(constant(1))),
    (r".*norm\d?\.bias|patch_embed\.[27]\.bias|.*downsample\.(3|norm)\.bias", rule(constant(0))),
    (r".*(in_proj|out_proj|fc1|fc2|head|reduction)\.weight", rule(normal(0.02))),
    (r".*(fc1|fc2|head)\.bias", rule(constant(0))),
    (r".*(patch_embed\.[05]|downsample\.1|conv2d)\.weight", default),
    (r".*(patch_embed\.[05]|downsample\.1|conv2d)\.bias", default_bias),
    (r".*x_proj_weight", lambda name, weight, weights: uniform(weight.shape[2] ** -0.5)(weight)),
    (r".*dt_projs_weight", lambda name, weight, weights: uniform(weight.shape[2] ** -0.5)(weight)),
    (r".*dt_projs_bias", rule(step_length)),
    (r".*A_logs", rule(states)),
    (r".*Ds", rule(constant(1))),
)
M2: Rules = (
    (r".*A_logs", rule(constant(0))),
    (r".*dt_projs_bias", lambda name, weight, weights: uniform(0.05)(weight - 0.05)),
    *VMAMBA,
)
VIM: Rules = (
    (r"patch_embed\.proj\.weight", rule(normal(0.0410))),
    (r"(patch_embed\.proj|head)\.bias", rule(constant(0))),
    (r"head\.weight|pos_embed|cls_token.*", rule(normal(0.02))),
    (r".*norm(_f)?\.weight", rule(constant(1))),
    (r".*(in_proj|x_proj|x_proj_b|dt_proj|dt_proj_b)\.weight", default),
    (r".*out_proj\.weight", lambda name, weight, weights: uniform((weight.shape[1] * 6) ** -0.5)(weight)),
    (r".*conv1d(_b)?\.(weight|bias)", rule(uniform(0.5))),
    (r".*dt_proj\.bias", rule(step_length)),
    (r".*dt_proj_b\.bias", rule(constant(0))),
    (r".*A(_b)?_log", rule(states)),
    (r".*\.D(_b)?", rule(constant(1))),
)

NETWORKS: Mapping[str, tuple[Rules, Mapping[str, Any]]] = {
    "vmamba_tiny_s1l8": (VMAMBA, {**SMALL, "state": 3}),
    "vanilla_vmamba_tiny": (VMAMBA, SMALL),
    "vmamba_tiny_m2": (M2, SMALL),
    "vim_tiny": (VIM, SMALL_VIM),
    "vim_tiny_double_token": (VIM, SMALL_VIM),
    "vim_tiny_mean_v1": (VIM, SMALL_VIM),
    "vim_tiny_one_way": (VIM, SMALL_VIM),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_first_weights(name: str) -> None:
    rules, given = NETWORKS[name]
    torch.manual_seed(len(name))
    model = scanlang.Backbone(program("backbones.vim" if name.startswith("vim") else "backbones.vmamba"), name, **given)
    weights = published_weights(model)
    for one, weight in weights.items():
        check = next(check for pattern, check in rules if re.fullmatch(pattern, one))
        assert check(one, weight, weights), one


@pytest.mark.parametrize("name", ["vim_tiny_layer_pairs", "vim_tiny_sum"])
def test_backward_layers_of_pairs_have_steps_of_their_own(name: str) -> None:
    """Only the second direction of one mixer starts without."""
    model = scanlang.Backbone(program("backbones.vim"), name, **SMALL_VIM)
    biases = {one: value for one, value in published_weights(model).items() if re.search(r"dt_proj(_b)?\.bias", one)}
    assert len(biases) == 12 if name == "vim_tiny_sum" else 6
    for one, value in biases.items():
        assert constant(0)(value) if "_b." in one else step_length(value)


DIRECTIONS = """
recurrence r(state n, head p) {{
  input x[p]
  param a = where(direction == 1, 5, unit), b[n] = direction * 10 + n, c[p] = 100 * direction + unit
  shared param s[n] = direction, t = 7 + direction
  h[n, p] = sigmoid(a + b[n] + s[n] + t) * h[n, p] + c[p] * x[p]
  y[p] = sum(n: h[n, p])
}}
scan s(dim) {{ directions raster, columns  recur r(state = 2, head = 2)  {clauses} }}
"""


def started(clauses: str, channels: int) -> dict[str, Any]:
    own = scanlang.Scan2d(scanlang.loads(DIRECTIONS.format(clauses=clauses)), "s", channels)
    return {name: value.tolist() for name, value in own.named_parameters()}


def test_numbers_of_directions() -> None:
    own = started("", 4)
    assert own["a"] == [[0, 1], [5, 5]]
    assert own["b"] == [[[0, 1]] * 2, [[10, 11]] * 2]
    assert own["c"] == [[0, 0, 1, 1], [100, 100, 101, 101]]
    assert (own["s"], own["t"]) == ([[0, 0], [1, 1]], [7, 8])


def test_shared_by_directions_they_are_0() -> None:
    own = started("share all", 4)
    assert (own["a"], own["b"], own["c"], own["s"], own["t"]) == ([0, 1], [[0, 1]] * 2, [0, 0, 1, 1], [0, 0], 7)


def test_directions_with_channels_of_their_own() -> None:
    own = started("channels split 1, 2", 12)
    assert own["a"] == [0, 1, 5, 5, 5, 5]
    assert own["c"] == [0, 0, 1, 1, *(100 + unit // 2 for unit in range(8))]
    assert started("channels split  share all", 8)["c"] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "initial, says",
    [
        ("where(direction == 2, log(0), 1)", "it is not a finite number at direction = 2 and n = 0"),
        ("where(direction == 1, log(n), 1)", "it is not a finite number at direction = 1 and n = 0"),
        ("where(direction, 1, 2)", "this is a value, not a comparison"),
        ("directions", "did you mean `direction`?"),
    ],
)
def test_initial_values_that_are_none(initial: str, says: str) -> None:
    text = f"recurrence r(state n) {{ input x  param a[n] = {initial}  h[n] = a[n] * h[n] + x  y = sum(n: h[n]) }}"
    with pytest.raises(scanlang.ScanError, match=re.escape(says)):
        scanlang.loads(text)


def test_only_the_branch_that_is_taken_need_be_finite() -> None:
    scanlang.loads("recurrence r { input x  param a = where(direction == 0, 1, log(direction))  h = a * h + x }")
