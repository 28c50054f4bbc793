"""Initial values of parameters: the expression a program gives, drawn or computed as a tensor."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from scanlang.check.program import DIRECTION, UNIT, UNITS
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

_BINARY: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div,
    "<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge, "==": torch.eq, "!=": torch.ne,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt, "tanh": torch.tanh,
    "abs": torch.abs,
    "sigmoid": torch.sigmoid, "silu": functional.silu, "softplus": functional.softplus, "relu": torch.relu,
    "gelu": functional.gelu, "min": torch.minimum, "max": torch.maximum, "where": torch.where,
}  # fmt: skip


Numbers = Mapping[str, float | Tensor]
"""Values of names: of indices a number, of `direction`, `unit` and `units` what spreads over the dimensions of `front`."""


def initial_value(
    expression: Expr | None,
    indices: tuple[str, ...],
    sizes: Mapping[str, int],
    front: tuple[int, ...],
    numbers: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """A parameter of shape `(*front, *sizes of indices)`, in torch's default type; draws are made per element.

    Without an expression: U(-1/√n, 1/√n) where n is the product of the index sizes, as `nn.Linear`; zeros without indices.
    `numbers` are those of directions and units, as `direction_numbers` and `unit_numbers` say them.
    """
    extents = tuple(sizes[index] for index in indices)
    if expression is None:
        if not indices:
            return torch.zeros(front)
        bound = 1.0 / math.sqrt(math.prod(extents))
        return torch.empty(*front, *extents).uniform_(-bound, bound)
    result = torch.empty((*front, *extents), dtype=torch.float64)
    for element in itertools.product(*map(range, extents)):
        place: tuple[Any, ...] = (..., *element)
        result[place] = _evaluate(expression, {**(numbers or {}), **dict(zip(indices, element, strict=True))}, front)
    return result.to(torch.get_default_dtype())


def direction_numbers(entries: Sequence[int], front: tuple[int, ...]) -> dict[str, Tensor]:
    """`direction` over the dimensions `front`, so many `entries` of the first of them being each direction's."""
    numbers = [torch.full((count, *(1 for _ in front[1:])), float(direction)) for direction, count in enumerate(entries)]
    return {DIRECTION: torch.cat(numbers) if front else torch.zeros(())}


def unit_numbers(counts: Sequence[int], channels: int = 1) -> dict[str, Tensor]:
    """`unit` and `units` of the units of each part, one after the other, `channels` times each."""
    numbers = [torch.arange(count).repeat_interleave(channels) for count in counts]
    totals = [torch.full((count * channels,), count) for count in counts]
    return {UNIT: torch.cat(numbers).double(), UNITS: torch.cat(totals).double()}


def _evaluate(expression: Expr, bound: Numbers, front: tuple[int, ...]) -> Tensor:
    def number(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=torch.float64).expand(front)

    match expression:
        case Number(value):
            return number(float(value))
        case Name(name):
            return number(bound[name])
        case Negative(operand):
            return -_evaluate(operand, bound, front)
        case Binary(operator, left, right):
            return _BINARY[operator](_evaluate(left, bound, front), _evaluate(right, bound, front))
        case Call(function, arguments):
            return _call(function, [_evaluate(argument, bound, front) for argument in arguments])
        case Sum() | CellMean():
            raise ValueError("an initial value has no sum")
        case _:
            assert_never(expression)


def _call(function: str, values: list[Tensor]) -> Tensor:
    match function:
        case "uniform":
            return values[0] + (values[1] - values[0]) * torch.rand_like(values[0])
        case "loguniform":
            low, high = values[0].log(), values[1].log()
            return torch.exp(low + (high - low) * torch.rand_like(low))
        case "normal":
            return values[0] + values[1] * torch.randn_like(values[0])
        case "inv_softplus":
            return values[0] + torch.log(-torch.expm1(-values[0]))
        case _:
            return _FUNCTIONS[function](*values)
