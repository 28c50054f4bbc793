"""Every backbone of the programs, small, with weights under published names, against transcriptions in plain torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from golden import golden_rules
from golden_checks import loaded, program
from plain_vim import plain_vim
from plain_vmamba import plain_vmamba
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.backbones.weights.convert import convert_weights, published_weights

SMALL: Mapping[str, Any] = {"dim": 16, "depth1": 1, "depth2": 1, "depth3": 2, "depth4": 1, "num_classes": 5, "state": 2}
SMALL_VIM: Mapping[str, Any] = {"dim": 32, "depth": 2, "num_classes": 5, "state": 2, "img_height": 48, "img_width": 80}
FORWARD: Mapping[str, dict[str, Any]] = {
    "vmamba_tiny_s1l8_unidi": {"forward_type": "v051d"},
    "vmamba_tiny_s1l8_bidi": {"forward_type": "v052d"},
    "vmamba_tiny_s1l8_cascade": {"forward_type": "v052dc"},
    "vmamba_tiny_s1l8_product": {"forward_type": "v05_nozact"},
    "vmamba_tiny_s1l8_norm_none": {"forward_type": "v05_onnone"},
    "vmamba_tiny_s1l8_norm_conv": {"forward_type": "v05_ondwconv3"},
    "vmamba_tiny_s1l8_norm_both": {"forward_type": "v05_oncnorm"},
    "vmamba_tiny_s1l8_norm_softmax": {"forward_type": "v05_onsoftmax"},
    "vmamba_tiny_s1l8_norm_sigmoid": {"forward_type": "v05_onsigmoid"},
    "vmamba_tiny_s1l8_norm_gelu": {"forward_type": "v05_oact"},
    **{name: {"act": functional.gelu} for name in ("vmamba_tiny_m2", "vmamba_small_m2", "vmamba_base_m2")},
}
READ: Mapping[str, dict[str, Any]] = {
    **{name: {"stride": 8} for name in ("vim_tiny_stride8", "vim_small_stride8", "vim_base_stride8")},
    "vim_tiny_head_token": {"read": "head"},
    "vim_tiny_double_token": {"read": "double"},
    "vim_tiny_mean": {"read": "mean"},
    "vim_tiny_max": {"read": "max"},
    "vim_tiny_one_way": {"read": "mean", "both": "none"},
    "vim_tiny_layer_pairs": {"read": "mean", "both": "pairs"},
    "vim_tiny_mean_v1": {"read": "mean", "both": "v1"},
    "vim_tiny_v1": {"both": "v1"},
    "vim_tiny_sum": {"both": "sum"},
}
UNPUBLISHED = {"vim_tiny_columns", "vim_tiny_cross"}
"""Paths that the published code does not have."""

VMAMBAS, VIMS = (sorted(program(f"backbones.{name}").backbones) for name in ("vmamba", "vim"))
QUICK = {
    *("vanilla_vmamba_tiny", "vmamba_tiny_m2", "vmamba_tiny_s1l8_cascade", "vmamba_tiny_s1l8_norm_both"),
    *("vim_tiny_double_token", "vim_tiny_max", "vim_tiny_layer_pairs", "vim_tiny_mean_v1", "vim_tiny_stride8"),
}


def long_but_for_some(names: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in names]


def weights_for(model: scanlang.Backbone, family: str) -> dict[str, Tensor]:
    """Drawn by their published names, in the published shapes."""
    shapes = {name: list(weight.shape) for name, weight in published_weights(model).items()}
    rule = golden_rules.vmamba_parameter if family == "vmamba" else golden_rules.vim_parameter
    return {name: weight.double() for name, weight in golden_rules.state_dict(shapes, rule).items()}


@pytest.mark.parametrize("name", long_but_for_some(VMAMBAS))
def test_vmamba_as_transcribed(name: str) -> None:
    """On a grid whose sides are odd in every stage but the last."""
    model = scanlang.Backbone(program("backbones.vmamba"), name, **SMALL).double()
    weights = weights_for(model, "vmamba")
    images = golden_rules.image((2, 3, 52, 76)).double()
    with torch.no_grad():
        right = plain_vmamba(weights, images, **FORWARD.get(name, {}))
        assert torch.allclose(loaded(model, weights)(images), right, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", long_but_for_some(name for name in VIMS if name not in UNPUBLISHED))
def test_vim_as_transcribed(name: str) -> None:
    """On 3 × 5 patches: the middle is in a line, and no middle of the sequence with the token."""
    model = scanlang.Backbone(program("backbones.vim"), name, **SMALL_VIM).double()
    weights = weights_for(model, "vim")
    images = golden_rules.image((2, 3, 48, 80)).double()
    with torch.no_grad():
        right = plain_vim(weights, images, **READ.get(name, {}))
        assert torch.allclose(loaded(model, weights)(images), right, rtol=1e-9, atol=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("name", [*VMAMBAS, *(name for name in VIMS if name not in UNPUBLISHED)])
def test_weights_go_there_and_back(name: str) -> None:
    """Every weight has a published name."""
    family, small = ("vmamba", SMALL) if name in VMAMBAS else ("vim", SMALL_VIM)
    model = scanlang.Backbone(program(f"backbones.{family}"), name, **small)
    back = convert_weights(published_weights(model), model)
    own = model.state_dict()
    assert back.keys() == own.keys()
    assert all(torch.equal(back[one], own[one]) for one in own)
