"""Straight-line code in torch: numbers beside conditions, in whatever order the values are given."""

from __future__ import annotations

from itertools import permutations

import torch

from scanlang.codegen.kernel import Advance, Let
from scanlang.codegen.torch_steps import evaluate, sequence

START = Let("s", "where", ("first", -0.25, "h"))


def test_numbers_are_of_the_computing_type_whatever_stands_first() -> None:
    values = {"first": torch.tensor([True, False]), "h": torch.tensor([3.0, 3.0], dtype=torch.float64)}
    for names in permutations(values):
        scope = {name: values[name] for name in names}
        evaluate([START], scope, torch.empty(0, dtype=torch.float64))
        assert scope["s"].dtype == torch.float64
        assert scope["s"].tolist() == [-0.25, 3.0]


def test_states_start_anew_whatever_stands_first() -> None:
    """A step that needs a condition and a number beside its state."""
    body = [START, Let("k", "mul", ("s", 0.5)), Let("next", "add", ("k", "x"))]
    x = torch.arange(6, dtype=torch.float64).view(1, 1, 6, 1)
    first = (torch.arange(6) % 3 == 0).view(1, 1, 6, 1)
    wanted = torch.tensor([-0.125, 0.9375, 2.46875, 2.875, 5.4375, 7.71875], dtype=torch.float64)
    for names in permutations(("first", "x")):
        given = {name: {"first": first, "x": x}[name] for name in names}
        states = {"h": torch.zeros(1, 1, 1, dtype=torch.float64)}
        states = sequence(body, [Advance("h", "next")], states, given, x.new_empty(0), range(6))
        assert torch.equal(given["next"].flatten(), wanted)
        assert states["h"].item() == wanted[-1]
