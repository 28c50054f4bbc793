"""Rows of whole networks: images a second, and memory at its peak.

On a GPU under bfloat16 autocast, at 224² with batch 128, and at 1248² with batch 8 and 1; `training` is a forward and a
backward pass, cross entropy and a step of AdamW. `eager`: as it stands; `compiled`: by torch.compile; `graph`: eager, replayed
as a CUDA graph; `compiled-graph`: both. Calls follow each other as in a user's loop. DeiT is there to compare with. On a CPU in
float32, eager, with batch 1 and 8.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanlang.bench.clock import timed
from scanlang.bench.official import MODELS
from scanlang.bench.row import Measurement, Official, Row, Where
from scanlang.bench.vit import ViT

USUAL_SIDE, LARGE_SIDE, BATCH, CLASSES = 224, 1248, 128, 1000
MODES = ("eager", "graph", "compiled", "compiled-graph")
TRAINING_MODES = ("eager", "compiled")
REPEATS, WARM_UP = 20, 5


@dataclass(frozen=True)
class Network:
    """`made` has `side` and `tiny` for arguments; a tiny one has images of `tiny_side`."""

    name: str
    made: Callable[[int, bool], nn.Module] = field(repr=False)
    tiny_side: int = 32

    def side(self, side: int, where: Where) -> int:
        return self.tiny_side if where.tiny else side


def published(name: str, tiny: dict[str, Any], side: int, is_tiny: bool) -> nn.Module:
    from scanlang.backbones import create_model

    return create_model(name, img_size=side, **(tiny if is_tiny else {}))


def deit(dim: int, heads: int, side: int, is_tiny: bool) -> nn.Module:
    return ViT(16, 2, side, 2, 10) if is_tiny else ViT(dim, heads, side)


TINY_VMAMBA = {"dim": 16, "depth1": 1, "depth2": 1, "depth3": 1, "depth4": 1, "num_classes": 10}
TINY_VIM = {"dim": 16, "depth": 2, "num_classes": 10}
VMAMBA = Network("vmamba_tiny_s1l8", partial(published, "vmamba_tiny_s1l8", TINY_VMAMBA), 64)
VIM, VIM_SMALL = (Network(name, partial(published, name, TINY_VIM)) for name in ("vim_tiny", "vim_small"))
DEIT, DEIT_SMALL = Network("deit_tiny", partial(deit, 192, 3)), Network("deit_small", partial(deit, 384, 6))
NETWORKS = (VMAMBA, VIM, VIM_SMALL)


_held: dict[tuple[Network, int, Where], nn.Module] = {}


def model_of(network: Network, side: int, where: Where) -> nn.Module:
    """On its device. There is one at a time: what was compiled of the one before, and its memory, are given back first."""
    key = network, side, where
    if key not in _held:
        _held.clear()
        torch.compiler.reset()
        gc.collect()
        torch.manual_seed(0)
        _held[key] = network.made(network.side(side, where), where.tiny).to(where.device)
    return _held[key]


def compiled(model: nn.Module, where: Where) -> Callable[[Tensor], Tensor]:
    """For this size alone."""
    made: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False, backend="eager" if where.tiny else "inductor")
    return made


def images_of(network: Network, side: int, batch: int, where: Where) -> Tensor:
    side = network.side(side, where)
    return torch.randn(batch, 3, side, side, device=where.device)


def inference(name: str, network: Network, side: int, batch: int, mode: str, half: bool, where: Where) -> Row:
    batch = min(batch, 2) if where.tiny else batch
    model = model_of(network, side, where).eval()
    images = images_of(network, side, batch, where)
    forward = compiled(model, where) if mode.startswith("compiled") else model

    def call() -> Tensor:
        with torch.no_grad(), precision(half, where):
            scores: Tensor = forward(images)
        return scores

    finite(call())  # compiles, and makes what is kept
    if mode.endswith("graph"):
        begin_peak(where)
        run = captured(call, where)
        memory = end_peak(where)
        finite(run())
    else:
        run, memory = call, peak(where, call)
    times = timed(where, run, REPEATS, WARM_UP, cold=False)
    return Row(times, images=batch, memory=memory, official=official_of(name, mode))


def training(name: str, network: Network, side: int, batch: int, mode: str, half: bool, where: Where) -> Row:
    batch = min(batch, 2) if where.tiny else batch
    model = model_of(network, side, where).train()
    images = images_of(network, side, batch, where)
    forward = compiled(model, where) if mode == "compiled" else model
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=where.device == "cuda")
    labels = torch.randint(10 if where.tiny else CLASSES, (batch,), device=where.device)

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with precision(half, where):
            loss = functional.cross_entropy(forward(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    finite(step())
    memory = peak(where, step)
    times = timed(where, step, REPEATS, WARM_UP, cold=False)
    optimizer.zero_grad(set_to_none=True)
    return Row(times, images=batch, memory=memory, official=official_of(name, mode))


def official_of(name: str, mode: str) -> Official | None:
    return MODELS.get(name.removeprefix("models-").removesuffix(f"-{mode}"))


def precision(half: bool, where: Where) -> AbstractContextManager[object]:
    return where.autocast() if half else nullcontext()


def finite(result: Tensor) -> None:
    if not bool(result.isfinite().all()):
        raise ArithmeticError("the network's output is not finite, so its time says nothing")


def peak(where: Where, run: Callable[[], object]) -> int | None:
    """Bytes of tensors while that runs, weights and images with them; of a CPU nobody counts them."""
    if where.device == "cpu":
        return None
    begin_peak(where)
    run()
    return end_peak(where)


def begin_peak(where: Where) -> None:
    if where.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()


def end_peak(where: Where) -> int | None:
    if where.device == "cpu":
        return None
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def captured(call: Callable[[], Tensor], where: Where) -> Callable[[], Tensor]:
    """The call as a CUDA graph; on a CPU, where there is none, the call."""
    if where.device == "cpu":
        return call
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def measurements() -> Iterator[Measurement]:
    """`models-vim_tiny-training-compiled`, `models-vim_tiny-1248-b8-graph`, `cpu-models-vim_small-b1-inference` …"""
    for network in (*NETWORKS, DEIT, DEIT_SMALL):
        for mode in MODES:
            row = f"models-{network.name}-inference-{mode}"
            yield Measurement(row, partial(inference, row, network, USUAL_SIDE, BATCH, mode, True), process="models")
        for mode in TRAINING_MODES if network in NETWORKS else ():
            row = f"models-{network.name}-training-{mode}"
            yield Measurement(row, partial(training, row, network, USUAL_SIDE, BATCH, mode, True), process="models")
    for network in (VIM, DEIT):
        for batch in (8, 1):
            for mode in MODES:
                row = f"models-{network.name}-1248-b{batch}-{mode}"
                yield Measurement(row, partial(inference, row, network, LARGE_SIDE, batch, mode, True), process="models")
    for network in NETWORKS:
        for batch in (1, 8):
            for what, measure in {"inference": inference, "training": training}.items():
                row = f"cpu-models-{network.name}-b{batch}-{what}"
                yield Measurement(row, partial(measure, row, network, USUAL_SIDE, batch, "eager", False), "cpu", "models")
