"""Published networks, small, under `torch.compile`: one graph, the same scores and gradients, no new graph for every batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import scanlang

SIDE = 32
SIZES: dict[str, dict[str, int]] = {
    "vim_tiny": {"dim": 16, "depth": 1, "img_height": SIDE, "img_width": SIDE, "num_classes": 3},
    "vmamba_tiny_s1l8": {"dim": 8, "depth1": 1, "depth2": 1, "depth3": 1, "depth4": 1, "num_classes": 3},
}
MOST_GRAPHS = 4
"""With gradients: of the first batch, of any batch, of a single image. Without: of the batch that comes."""


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    program = "backbones.vim" if name.startswith("vim") else "backbones.vmamba"
    return scanlang.Backbone(program, name, **SIZES[name])


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(batch))


def scores_and_gradients(call: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor, mixed: bool) -> list[Tensor]:
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        scores = call(x)
    return [scores, *torch.autograd.grad(scores.float().square().sum(), list(model.parameters()))]


def check(name: str, backend: str, mixed: bool, tolerance: float) -> None:
    model = made(name).eval()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    for batch in (2, 3):
        got, wanted = (scores_and_gradients(call, model, images(batch), mixed) for call in (compiled, model))
        for ours, theirs in zip(got, wanted, strict=True):
            assert ours.dtype == theirs.dtype
            assert mixed or (ours - theirs).norm() <= tolerance * theirs.norm()
        for part in (slice(1), slice(1, None)):  # the scores, all gradients together
            ours, theirs = (torch.cat([one.float().flatten() for one in found[part]]) for found in (got, wanted))
            assert (ours - theirs).norm() <= tolerance * theirs.norm()


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["vim_tiny", pytest.param("vmamba_tiny_s1l8", marks=pytest.mark.long)])
def test_one_graph(name: str, mixed: bool) -> None:
    check(name, "aot_eager", mixed, 1e-5)


@pytest.mark.long
@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SIZES)
def test_inductor(name: str, mixed: bool) -> None:
    """Where it fuses neighbours it keeps float32 between them, and torch rounds to bfloat16: that much lies between."""
    check(name, "inductor", mixed, 0.1 if mixed else 1e-4)


@pytest.mark.long
@pytest.mark.parametrize("name", SIZES)
def test_any_batch_without_new_graphs(name: str) -> None:
    model = made(name)
    compiled: Any = torch.compile(model, fullgraph=True, backend="aot_eager")
    for batch in (2, 3, 4, 5, 1, 7):
        compiled(images(batch)).sum().backward()
    with torch.no_grad():
        for batch in (2, 6):
            compiled(images(batch))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= MOST_GRAPHS
