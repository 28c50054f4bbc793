"""The programs of the published networks, with published weights, against the numbers of the published code."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from golden_checks import (
    NETWORKS,
    RULE_B,
    VMAMBA,
    check_core,
    check_vim,
    check_vim_gradients,
    check_vmamba,
    check_vmamba_gradients,
    golden_vim,
    golden_vmamba,
    vim_images,
    vim_weights,
    vmamba_images,
)
from plain_vim import plain_vim
from torch import Tensor

import scanlang
from scanlang.library import library_source


def long_but(changes: Iterable[str], *quick: str) -> list[Any]:
    return [pytest.param(change, marks=() if change in quick else pytest.mark.long) for change in changes]


QUICK = long_but(NETWORKS, "micro_v05_noz", "micro_v052d_noz")
CROSS = "raster, columns, reverse(raster), reverse(columns)"
DIRECTIONS = {
    "vmamba_tiny_s1l8": CROSS,
    "micro_v05_noz": CROSS,
    "micro_v052d_noz": "raster, raster, reverse(raster), reverse(raster)",
}


def test_every_record_is_compared() -> None:
    assert NETWORKS.keys() == VMAMBA["models"].keys()
    assert {f"{name}/strong/{images}" for name, (_, _, images) in NETWORKS.items()} == VMAMBA["results"].keys()
    assert VMAMBA["grads"].keys() == {"micro_v05_noz/strong/b2_56x88"}


def test_parameters_are_those_of_the_record() -> None:
    sums = [weight.double().sum().item() for weight in vim_weights().values()]
    assert math.fsum(sums) == pytest.approx(RULE_B["params_sum_fp64"], rel=1e-13)


@pytest.mark.parametrize("name", QUICK)
def test_vmamba(name: str) -> None:
    check_vmamba(name, golden_vmamba(name))


@pytest.mark.parametrize("name", QUICK)
def test_vmamba_in_float64(name: str) -> None:
    check_vmamba(name, golden_vmamba(name).double(), torch.float64)


@pytest.mark.parametrize("name", QUICK)
def test_the_scan_of_the_first_block(name: str) -> None:
    check_core(name, golden_vmamba(name), DIRECTIONS[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_gradients_of_vmamba(dtype: torch.dtype) -> None:
    check_vmamba_gradients("micro_v05_noz", golden_vmamba("micro_v05_noz").to(dtype), dtype)


def test_vim() -> None:
    check_vim(golden_vim())


@pytest.mark.long
def test_vim_in_float64() -> None:
    check_vim(golden_vim().double(), torch.float64)


@pytest.mark.long
def test_gradients_of_vim() -> None:
    check_vim_gradients(golden_vim().double())


# What is altered is seen.


def altered(name: str, old: str, new: str) -> scanlang.Program:
    """A program of networks, with the scans of the library in the same text, and one thing in it changed."""
    text = library_source(f"std.{name}").text + library_source(f"backbones.{name}").text
    text = "\n".join(
        line for line in text.splitlines() if line not in (f"import std.{name}", "grid h, w", "import std.selective")
    )
    assert old in text
    return scanlang.loads(f"import std.selective\ngrid h, w\n{text}".replace(old, new))


@pytest.mark.long
def test_the_same_text_in_one_file() -> None:
    check_vmamba("micro_v05_noz", golden_vmamba("micro_v05_noz", altered("vmamba", "cross2d", "cross2d")))


VMAMBA_CHANGES = {
    "convolution": ("forward x = silu(depthwise(x))", "forward x = silu(x + depthwise(x))"),
    "activation": ("forward x = silu(depthwise(x))", "forward x = gelu(depthwise(x))"),
    "direction": (
        "directions raster, columns, reverse(raster), reverse(columns)",
        "directions raster, columns, reverse(raster), columns",
    ),
    "order": ("raster, columns, reverse(raster), reverse(columns)", "columns, raster, reverse(columns), reverse(raster)"),
    "residual": ("skip(mlp(norm2(y)))", "skip(mlp(norm2(x)))"),
}
VIM_CHANGES = {
    "convolution": (
        "directions middle, reverse(middle)\n  conv       4\n",
        "directions middle, reverse(middle)\n  conv       4 along middle\n",
    ),
    "gate": ("(y[0] + y[1]) * silu(z) / 2", "(y[0] + y[1]) * z / 2"),
    "half": ("(y[0] + y[1]) * silu(z) / 2", "(y[0] + y[1]) * silu(z)"),
    "direction": ("directions middle, reverse(middle)", "directions middle, middle"),
    "place of the token": ("insert(raster, cls at middle)", "insert(raster, cls at head)"),
    "neighbouring place": ("insert(raster, cls at middle)", "insert(raster, cls at 97)"),
}


@pytest.mark.parametrize("change", long_but(VMAMBA_CHANGES, "convolution", "direction"))
def test_a_changed_vmamba_is_seen(change: str) -> None:
    model = golden_vmamba("micro_v05_noz", altered("vmamba", *VMAMBA_CHANGES[change]))
    with pytest.raises(AssertionError, match="off by"):
        check_vmamba("micro_v05_noz", model)


@pytest.mark.parametrize("change", long_but(VIM_CHANGES, "gate", "place of the token"))
def test_a_changed_vim_is_seen(change: str) -> None:
    model = golden_vim(altered("vim", *VIM_CHANGES[change]))
    with pytest.raises(AssertionError, match="off by"):
        check_vim(model)


# bfloat16.


def off(value: Tensor, right: Tensor) -> float:
    return ((value.double() - right.double()).norm() / right.double().norm()).item()


@pytest.mark.parametrize("name", QUICK)
def test_vmamba_under_autocast(name: str) -> None:
    model, images = golden_vmamba(name), vmamba_images(name)
    with torch.no_grad():
        right = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            assert off(model(images), right) <= 2e-2


@pytest.mark.long
def test_vim_under_autocast_is_as_near_as_plain_torch() -> None:
    """These weights amplify rounding: what a transcription in torch operators loses is the measure."""
    model, weights, images = golden_vim(), vim_weights(), vim_images()
    with torch.no_grad():
        plain, right = plain_vim(weights, images), model(images)
        assert off(right, plain) <= 1e-4
        with torch.autocast("cpu", torch.bfloat16):
            assert off(model(images), right) <= 1.2 * off(plain_vim(weights, images), plain)
