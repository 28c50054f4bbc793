"""What arguments a scan's operator takes and in what shape, as the program says it; mistakes become findings with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import WrongArguments, WrongDevice, WrongShape, WrongType
from scanlang.graph.scan_graph import ScanGraph
from scanlang.source import Span

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

Dimension = str | tuple[str]
"""A letter (`B`, `H`, `W`, `K`, `C`), or the label of a size in a tuple of its own: a program may call a size `C`."""


@dataclass(frozen=True)
class Argument:
    """`labels` are the sizes of the last dimensions (`("rank",)`), `per_direction` says whether K stands before them."""

    name: str
    kind: Literal["input", "shared", "param"]
    labels: tuple[str, ...]
    per_direction: bool
    span: Span

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        front = ("B", "H", "W") if self.kind != "param" else ()
        middle = ("K",) if self.per_direction else ()
        channel = ("C",) if self.kind != "shared" else ()
        return (*front, *middle, *channel, *((label,) for label in self.labels))

    @property
    def wanted(self) -> str:
        """The shape in words: `(B, H, W, K, rank)`."""
        return f"({', '.join(dimension[0] for dimension in self.dimensions)})"

    @property
    def rank(self) -> int:
        return len(self.dimensions)


@dataclass(frozen=True)
class Signature:
    """The arguments of a scan, in order; `fixed` are sizes that the program sets (`state = 16`), by label."""

    scan: str
    span: Span
    directions: int
    arguments: tuple[Argument, ...]
    fixed: Mapping[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.arguments)

    def in_order(self, given: Mapping[str, Any]) -> list[Tensor]:
        """The arguments in order, every one there and none too many."""
        missing = tuple(name for name in self.names if name not in given)
        unknown = tuple(name for name in given if name not in self.names)
        if missing or unknown:
            raise ScanError([WrongArguments(self.span, missing, unknown, self.names)])
        return [given[name] for name in self.names]

    def check(self, tensors: list[Tensor]) -> dict[str, int]:
        """The sizes by label, those fixed and those read off the shapes; a ScanError names every argument that does not fit."""
        found: list[Diagnostic] = []
        seen: dict[Dimension, tuple[Any, str]] = {"K": (self.directions, "the number of directions")}
        seen.update({(label,): (size, "as the program says") for label, size in self.fixed.items()})
        for argument, tensor in zip(self.arguments, tensors, strict=True):
            finding = self._check_type(argument, tensor, tensors[0]) or self._check_shape(argument, tensor, seen)
            if finding is not None:
                found.append(finding)
        if found:
            raise ScanError(found)
        shown = {label: seen[label,][0] for argument in self.arguments for label in argument.labels}
        return {**self.fixed, **shown}

    def _check_type(self, argument: Argument, tensor: Any, first: Any) -> Diagnostic | None:
        if not isinstance(tensor, Tensor):
            return WrongType(argument.span, argument.name, f"a {type(tensor).__name__}", "a tensor")
        if tensor.dtype not in FLOATS:
            wanted = "float32, bfloat16, float16 or float64"
            return WrongType(argument.span, argument.name, str(tensor.dtype).removeprefix("torch."), wanted)
        if isinstance(first, Tensor) and tensor.device != first.device:
            return WrongDevice(argument.span, argument.name, str(tensor.device), str(first.device))
        return None

    def _check_shape(self, argument: Argument, tensor: Tensor, seen: dict[Dimension, tuple[Any, str]]) -> Diagnostic | None:
        shape = tuple(tensor.shape)
        if len(shape) != argument.rank:
            return WrongShape(argument.span, argument.name, shape, argument.wanted)
        for dimension, size in zip(argument.dimensions, shape, strict=True):
            known, why = seen.setdefault(dimension, (size, f"as in `{argument.name}`"))
            if known != size:
                wanted = f"{argument.wanted} with {dimension[0]} = {known}, {why}"
                return WrongShape(argument.span, argument.name, shape, wanted)
            if size == 0 and dimension != "B":
                return WrongShape(argument.span, argument.name, shape, f"{argument.wanted} with {dimension[0]} at least 1")
        return None


def signature_of(graph: ScanGraph, fixed: Mapping[str, int], span: Span) -> Signature:
    """The signature of an operator graph (projections cut away): the recurrence's operands, then what only the merge reads."""
    inputs, arguments = graph.inputs(), []
    for operand in graph.step.operands:
        labels = tuple(graph.step.sizes[i] for i in operand.indices)
        if operand.kind == "param":
            per_direction = operand.name not in graph.shared
        else:
            per_direction = inputs[operand.name].per_direction
        arguments.append(Argument(operand.name, operand.kind, labels, per_direction, operand.span))
    own = {argument.name for argument in arguments}
    arguments += [Argument(n, "input", (), False, graph.merge_span) for n in graph.merge_inputs if n not in own]
    return Signature(graph.name, span, graph.directions, tuple(arguments), dict(fixed))


def flattened(argument: Argument, tensor: Tensor) -> Tensor:
    """An argument as an executable takes it: cells in one axis, the last dimensions in one, contiguous."""
    width = [math.prod(tensor.shape[argument.rank - len(argument.labels) :])] if argument.kind != "input" else []
    front = list(tensor.shape[: argument.rank - len(argument.labels)])
    if argument.kind != "param":
        front = [front[0], front[1] * front[2], *front[3:]]
    return tensor.reshape(*front, *width).contiguous()
