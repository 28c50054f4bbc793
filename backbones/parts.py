"""A part of a network as a module: a block, a repeat, a layer of the vocabulary, a scan.

In: a `Part` with its numbers. Out: a module, and how it is called. Submodules have the names of the text, so that
parameters are called `stage1.0.op.in_proj.weight`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from scanlang.backbones.feature import Value
from scanlang.backbones.layers import TAKES, How, call_layer, call_split, module_of
from scanlang.backbones.steps import Step, steps_of
from scanlang.codegen.module import Scan2d
from scanlang.networks.network import Block, Layer, Part, Repeat, ScanLayer


@dataclass(frozen=True)
class Made:
    module: nn.Module
    how: How


def make(part: Part, name: str, axes: tuple[str, ...]) -> Made:
    """`name` is that of the statement."""
    match part:
        case Layer():
            return Made(module_of(part, name, len(axes)), TAKES.get(part.word, "channels"))
        case ScanLayer():
            return Made(Scan2d.of_checked(part.scan, axes, part.channels, part.layer, part.sizes), "scan")
        case Repeat():
            return Made(RepeatModule(part, name, axes), "feature")
        case Block():
            return Made(BlockModule(part, axes), "feature")
        case _:
            assert_never(part)


class BlockModule(nn.Module):
    """Its layers under their names, and its body as steps."""

    def __init__(self, block: Block, axes: tuple[str, ...]) -> None:
        super().__init__()
        self._title = block.name
        self._how: dict[str, How] = {}
        for name, part in block.parts.items():
            made = make(part, name, axes)
            self.add_module(name, made.module)
            self._how[name] = made.how
        self._steps = steps_of(block)

    def forward(self, *inputs: Value) -> Value:
        return self._steps.run(self._call, inputs)

    def _call(self, step: Step, values: list[Value]) -> Value | tuple[Value, ...]:
        module = self._modules[step.layer]
        assert module is not None
        if step.parts:
            return call_split(module, values[0], step.parts)
        return call_layer(self._how[step.layer], module, *values)

    def _get_name(self) -> str:
        return self._title


class RepeatModule(nn.Module):
    """One after the other, under their numbers; with `checkpointed` each is computed again in the backward pass."""

    def __init__(self, repeat: Repeat, name: str, axes: tuple[str, ...]) -> None:
        super().__init__()
        self.checkpointed = False
        self._how: list[How] = []
        for number, part in enumerate(repeat.parts):
            made = make(part, name, axes)
            self.add_module(str(number), made.module)
            self._how.append(made.how)

    def __len__(self) -> int:
        return len(self._how)

    def keep(self, count: int) -> None:
        """The first ones alone."""
        for number in range(count, len(self._how)):
            delattr(self, str(number))
        del self._how[count:]

    def step(self, number: int, value: Value) -> Value:
        """What one of them makes."""
        module, how = self._modules[str(number)], self._how[number]
        assert module is not None
        if self.checkpointed and torch.is_grad_enabled():
            return _checkpointed(how, module, value)
        return call_layer(how, module, value)

    def forward(self, value: Value) -> Value:
        for number in range(len(self._how)):
            value = self.step(number, value)
        return value

    def _get_name(self) -> str:
        return "Repeat"


def _checkpointed(how: How, module: nn.Module, value: Value) -> Value:
    made: Value = checkpoint(call_layer, how, module, value, use_reentrant=False)
    return made
