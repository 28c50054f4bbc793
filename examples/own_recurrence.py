"""A recurrence of no library, from a paper to a trained layer: `own_recurrence.scan` holds RWKV-6's step, and nothing else.

Its gradients are compared with finite differences, its outputs with the reference; then a small network of it learns to
remember: at every cell, the number that stood at the last marked one before it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import scanlang
from scanlang.testing import assert_matches_reference, draw_inputs

PROGRAM = Path(__file__).with_suffix(".scan")
SIZES = {"state": 2, "head": 2}
CHANNELS, STEPS = 16, 150


def check(program: scanlang.Program) -> None:
    """Every gradient by finite differences in float64; outputs and gradients against a loop over the steps."""
    op = scanlang.compile(program)
    given = draw_inputs(op, (2, 3), batch=1, channels=4, sizes=SIZES, dtype=torch.float64)

    def result(*values: Tensor) -> Tensor:
        made: Tensor = op(**dict(zip(given, values, strict=True)))
        return made

    torch.autograd.gradcheck(result, tuple(value.requires_grad_() for value in given.values()))
    assert_matches_reference(op, program, draw_inputs(op, (5, 7), channels=6, sizes=SIZES))


class Network(nn.Module):
    """Linear, scan, linear."""

    def __init__(self, program: scanlang.Program) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(2, CHANNELS), nn.Linear(CHANNELS, 1)
        self.scan = scanlang.Scan2d(program, channels=CHANNELS)

    def forward(self, maps: Tensor) -> Tensor:
        made: Tensor = self.out(self.scan(self.into(maps)))
        return made[..., 0]


def task(batch: int, height: int, width: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Maps of numbers and marks, and at every cell the number at the last mark, 0 before the first."""
    numbers = torch.randn(batch, height * width, generator=generator)
    marked = torch.rand(batch, height * width, generator=generator) < 0.3
    steps = torch.arange(height * width)
    last = torch.where(marked, steps, -1).cummax(-1).values
    wanted = torch.where(last >= 0, numbers.gather(-1, last.clamp(min=0)), torch.zeros(()))
    maps = torch.stack([numbers, marked.to(numbers.dtype)], -1)
    return maps.unflatten(1, (height, width)), wanted.unflatten(1, (height, width))


def train(program: scanlang.Program, steps: int = STEPS) -> list[float]:
    """The loss of every step."""
    torch.manual_seed(0)
    network, generator = Network(program), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(steps):
        maps, wanted = task(16, 5, 6, generator)
        loss = nn.functional.mse_loss(network(maps), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    program = scanlang.load(PROGRAM)
    check(program)
    print("gradients agree with finite differences, outputs and gradients with the reference")
    losses = train(program)
    for step in range(0, STEPS, STEPS // 5):
        print(f"step {step:4}: loss {losses[step]:.3f}")
    print(f"step {STEPS:4}: loss {losses[-1]:.3f}")


if __name__ == "__main__":
    main()
