"""The published networks on an NVIDIA GPU against the numbers of the published code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from golden_checks import (
    NETWORKS,
    check_vim,
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

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """No TF32, neither in matrix products nor in convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", NETWORKS)
def test_vmamba(name: str) -> None:
    check_vmamba(name, golden_vmamba(name).cuda(), device="cuda")


def test_gradients_of_vmamba() -> None:
    check_vmamba_gradients("micro_v05_noz", golden_vmamba("micro_v05_noz").cuda(), device="cuda")


def test_vim() -> None:
    check_vim(golden_vim().cuda(), device="cuda")


def off(value: Tensor, right: Tensor) -> float:
    return ((value.double() - right.double()).norm() / right.double().norm()).item()


@pytest.mark.parametrize("name", NETWORKS)
def test_vmamba_under_autocast(name: str) -> None:
    model, images = golden_vmamba(name).cuda(), vmamba_images(name).cuda()
    with torch.no_grad():
        right = model(images)
        with torch.autocast("cuda", torch.bfloat16):
            assert off(model(images), right) <= 2e-2


def test_vim_under_autocast_is_as_near_as_plain_torch() -> None:
    model, images = golden_vim().cuda(), vim_images().cuda()
    weights = {name: weight.cuda() for name, weight in vim_weights().items()}
    with torch.no_grad():
        plain, right = plain_vim(weights, images), model(images)
        assert off(right, plain) <= 1e-4
        with torch.autocast("cuda", torch.bfloat16):
            assert off(model(images), right) <= 1.2 * off(plain_vim(weights, images), plain)
