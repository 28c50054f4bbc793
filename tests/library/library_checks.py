"""What the tests of the library share: its files, a case for every layer of a scan, and a call of each with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import pytest
import torch
from library.formulas import CHANNELS
from library.slow import Slow, rows_of
from library.transcriptions import DESIGNS, Design
from torch import Tensor

import scanlang
from scanlang.library import library
from scanlang.testing import TOLERANCES, assert_close

FILES = tuple(name.removeprefix("std.") for name in library())


@cache
def program(file: str) -> scanlang.Program:
    return scanlang.load(f"std.{file}")


SCANS = tuple((file, scan) for file in FILES for scan in program(file).scans if f"scan {scan}(" in program(file).source.text)
CASES = [
    pytest.param(file, scan, layer, id=f"{scan}-{layer}" if len(program(file).scans[scan].layers) > 1 else scan)
    for file, scan in SCANS
    for layer in range(len(program(file).scans[scan].layers))
]
FIRST_LAYERS = [pytest.param(file, scan, id=scan) for file, scan in SCANS]


@dataclass
class Call:
    """A layer of a scan with random weights, and arguments of a size: `compare()` does what the name says."""

    file: str
    scan: str
    layer: int
    grid: tuple[int, ...]
    batch: int = 2
    channels: int | None = None
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    seed: int = 0
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.width = self.channels or self.design.channels

    @property
    def design(self) -> Design:
        return DESIGNS[self.file, self.scan]

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64) / 2

    def module(self) -> scanlang.Scan2d:
        """Every weight random: each direction's are its own."""
        core = scanlang.Scan2d(program(self.file), self.scan, self.width, layer=self.layer, **self.design.sizes).double()
        for parameter in core.parameters():
            parameter.data = self.draw(*parameter.shape)
        return core

    def arguments(self) -> dict[str, Tensor]:
        """Maps by name, tokens, what no projection makes, and the order that is given at run time."""
        design, count = self.design, math.prod(self.grid)
        order = self.permutations(count)
        walks = design.walks(self.layer, self.grid, None if order is None else order[0].tolist())
        shapes = {name: self.shape(name, len(walks)) for name in (*design.inputs, *design.left_to_the_caller)}
        found = {name: self.draw(self.batch, *self.grid, *shape) for name, shape in shapes.items()}
        tokens = [step for step in rows_of(walks, count) if isinstance(step, tuple)]
        for name in dict.fromkeys(token for token, _ in tokens):
            size = sum(token == name for token, _ in tokens)
            for of, shape in shapes.items():
                found[name if of == design.inputs[0] else f"{of}_{name}"] = self.draw(self.batch, size, *shape)
        return found if order is None else found | {design.given: order}

    def shape(self, name: str, directions: int) -> tuple[int, ...]:
        """Of one cell of a map: its channels, or what each direction has of its own."""
        axes = self.design.cell.streams.get(name, (CHANNELS,))
        own = self.design.shape(axes, self.width)
        return own if axes == (CHANNELS,) else (directions, *own)

    def permutations(self, count: int) -> Tensor | None:
        if self.design.given is None:
            return None
        return torch.stack([torch.randperm(count, generator=self.generator) for _ in range(self.batch)])

    def compare(self) -> None:
        """Outputs and every gradient, of the compiled module and of the transcription, from the same rounded numbers."""
        ours, given = self.module(), self.arguments()
        for name, parameter in ours.named_parameters():
            parameter.data = parameter.data.to(self.dtype if name.startswith("project") else computing(self.dtype))
        given = {name: t.to(self.dtype) if t.is_floating_point() else t for name, t in given.items()}
        theirs = self.module()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.data = mine.data.double()
        got = self.result(ours.to(self.device), {name: t.to(self.device) for name, t in given.items()})
        weights = dict(theirs.named_parameters())
        slow = Slow(self.design, self.layer, self.grid, weights, dict(theirs.named_children()))
        exact = {name: t.double().requires_grad_() if t.is_floating_point() else t for name, t in given.items()}
        want = slow(exact)
        self.compare_all(got, gradients(want, {**exact, **weights}, self.seed), want)

    def result(self, core: scanlang.Scan2d, given: Mapping[str, Tensor]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        leaves = {name: t.requires_grad_() if t.is_floating_point() else t for name, t in given.items()}
        inputs = [leaves.pop(name) for name in self.design.inputs]
        made = core(*inputs, **leaves)
        outputs = made if isinstance(made, tuple) else (made,)
        own = {**dict(zip(self.design.inputs, inputs, strict=True)), **leaves, **dict(core.named_parameters())}
        return outputs, gradients(outputs, own, self.seed)

    def compare_all(
        self, got: tuple[tuple[Tensor, ...], dict[str, Tensor]], wanted: Mapping[str, Tensor], want: Sequence[Tensor]
    ) -> None:
        outputs, found = got
        tolerance = TOLERANCES[computing(self.dtype)]
        assert len(outputs) == len(want)
        for number, (ours, theirs) in enumerate(zip(outputs, want, strict=True)):
            assert_close(f"output {number}", ours, theirs, tolerance.output)
        assert found.keys() == wanted.keys()
        for name, gradient in found.items():
            assert_close(f"gradient of {name}", gradient, wanted[name], tolerance.gradient)


def computing(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def gradients(outputs: Sequence[Tensor], of: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Of a random combination of the outputs, for everything that has a gradient."""
    generator = torch.Generator().manual_seed(seed + 1)
    cotangents = [torch.randn(o.shape, generator=generator, dtype=torch.float64).to(o) for o in outputs]
    leaves = {name: t for name, t in of.items() if t.requires_grad}
    found = torch.autograd.grad(list(outputs), list(leaves.values()), cotangents)
    return dict(zip(leaves, found, strict=True))
