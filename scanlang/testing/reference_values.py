"""Expressions of recurrences and merges in torch, straight from the syntax tree."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


def sqrt(x: Tensor) -> Tensor:
    """The root, with slope 0 at 0."""
    return torch.where(x == 0, 0.0, torch.sqrt(torch.where(x == 0, 1.0, x)))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": sqrt, "tanh": torch.tanh,
    "abs": torch.abs, "relu": torch.relu, "sigmoid": torch.sigmoid, "silu": functional.silu, "gelu": functional.gelu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "min": torch.minimum, "max": torch.maximum, "where": torch.where,
}  # fmt: skip
LEADING = 3


def evaluate(
    expr: Expr,
    values: Mapping[str, Tensor],
    indices: tuple[str, ...],
    sizes: Mapping[str, int],
    previous: Callable[[Expr], Tensor] | None = None,
) -> Tensor:
    """An expression of a recurrence; `values` and the result have one last dimension for each of `indices`.

    `previous` gives what an expression was at the step before, for `prev(…)`.
    """

    def value_of(expr: Expr) -> Tensor:
        match expr:
            case Number(value):
                like = next(iter(values.values()))
                return torch.full((1,) * (LEADING + len(indices)), float(value), dtype=like.dtype, device=like.device)
            case Name(name):
                return values[name]
            case Negative(operand):
                return -value_of(operand)
            case Binary(sign, left, right):
                return OPERATORS[sign](value_of(left), value_of(right))  # type: ignore[no-any-return]
            case Call("prev", (inner,)) if previous is not None:
                return previous(inner)
            case Call(function, arguments):
                return FUNCTIONS[function](*(value_of(argument) for argument in arguments))
            case Sum(index, body):
                place = LEADING + indices.index(index)
                total = value_of(body)
                count = sizes[index] if total.shape[place] == 1 else 1
                return total.sum(place, keepdim=True) * count
            case CellMean():
                raise ValueError("a recurrence has no mean over cells")
            case _:
                assert_never(expr)

    return value_of(expr)


def merge(
    rule: Expr | str,
    outputs: Tensor,
    maps: Mapping[str, Tensor],
    layers: Mapping[str, Callable[[Tensor], Tensor]],
    cells: int,
    weight: Tensor | None,
) -> Tensor:
    """The merge of the directions' outputs `(K, B, rows, C)`, the first `cells` rows being cells.

    `maps` are the inputs it may read, `layers` what it may call, `weight` is `merge_weight`.
    """

    def value_of(expr: Expr, bound: Mapping[str, int]) -> Tensor:
        match expr:
            case Number(value):
                return outputs.new_tensor(float(value))
            case Name("y", (Number(direction),)):
                return outputs[int(direction)]
            case Name("y", (Name(counter),)):
                return outputs[bound[counter]]
            case Name(name):
                return maps[name]
            case Negative(operand):
                return -value_of(operand, bound)
            case Binary(sign, left, right):
                return OPERATORS[sign](value_of(left, bound), value_of(right, bound))  # type: ignore[no-any-return]
            case Call(function, arguments):
                return {**FUNCTIONS, **layers}[function](*(value_of(argument, bound) for argument in arguments))
            case Sum(index, body):
                return torch.stack([value_of(body, {**bound, index: k}) for k in range(len(outputs))]).sum(0)
            case CellMean(body):
                inner = value_of(body, bound)
                return inner[:, :cells].mean(1, keepdim=True) if inner.ndim > 1 else inner
            case _:
                assert_never(expr)

    match rule:
        case "sum":
            return outputs.sum(0)
        case "mean":
            return outputs.mean(0)
        case "max":
            return reduce(torch.maximum, outputs.unbind(0))
        case "concat":
            return torch.cat(outputs.unbind(0), -1)
        case "weighted":
            assert weight is not None
            return torch.einsum("k,kbrc->brc", weight.softmax(0), outputs)
        case str():
            raise ValueError(f"no merge {rule}")
        case _:
            made = value_of(rule, {})
            return made.expand(*outputs.shape[1:3], made.shape[-1] if made.ndim else outputs.shape[-1])
