"""The second phase of a merge: a program's expression over the outputs of all directions, in torch; gradients by autograd.

In: the outputs side by side, `(B, rows, K, C)`, maps `(B, rows, C)`, layers it calls. Out: the result, `(B, rows, C)`.
Computed in float32, or float64 where the outputs are. Rows are cells, then tokens; `mean(cells: …)` is over the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanlang.diagnostics import InternalError, ScanError
from scanlang.errors import WrongLayerResult
from scanlang.source import Span
from scanlang.syntax.nodes import Binary, Call, CellMean, Expr, Name, Negative, Number, Sum

Layer = Callable[[Tensor], Tensor]

OPERATORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div,
    "<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge, "==": torch.eq, "!=": torch.ne,
}  # fmt: skip


def sqrt(x: Tensor) -> Tensor:
    """With slope 0 at 0, as in the kernels."""
    return torch.where(x == 0, 0.0, torch.sqrt(torch.where(x == 0, 1.0, x)))


FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": sqrt, "tanh": torch.tanh,
    "abs": torch.abs, "relu": torch.relu, "sigmoid": torch.sigmoid, "silu": functional.silu, "gelu": functional.gelu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "min": torch.minimum, "max": torch.maximum, "where": torch.where,
}  # fmt: skip


@dataclass(frozen=True)
class SecondPass:
    """`SecondPass(expression, cells, layers).result(outputs, maps)`."""

    expression: Expr
    cells: int
    layers: Mapping[str, Layer]

    def result(self, outputs: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        """The result in the computing type."""
        wide = any(tensor.dtype == torch.float64 for tensor in (outputs, *maps.values()))
        computing = torch.float64 if wide else torch.float32
        values = {f"y[{k}]": one for k, one in enumerate(outputs.to(computing).unbind(2))}
        values |= {name: tensor.to(computing) for name, tensor in maps.items()}
        found = self.value(self.expression, values, {})
        channels = outputs.shape[-1]
        if found.ndim and found.shape[-1] not in (1, channels):
            why = f"the result has {found.shape[-1]} channels, the scan {channels}"
            raise ScanError([WrongLayerResult(self.expression.span, why)])
        return found.expand(*outputs.shape[:2], channels)

    def value(self, expression: Expr, values: Mapping[str, Tensor], bound: Mapping[str, int]) -> Tensor:
        def value(inner: Expr) -> Tensor:
            return self.value(inner, values, bound)

        match expression:
            case Number(number):
                return values["y[0]"].new_full((), float(number))
            case Name("y", (Number(direction),)):
                return values[f"y[{int(direction)}]"]
            case Name("y", (Name(counter),)):
                return values[f"y[{bound[counter]}]"]
            case Name(name, ()) if name in bound:
                return values["y[0]"].new_full((), float(bound[name]))
            case Name(name, ()):
                return values[name]
            case Negative(operand):
                return -value(operand)
            case Binary(sign, left, right):
                return self._together(expression.span, OPERATORS[sign], value(left), value(right))
            case Call(name, (argument,)) if name in self.layers:
                return self._called(expression.span, name, value(argument))
            case Call(function, arguments):
                return self._together(expression.span, FUNCTIONS[function], *map(value, arguments))
            case CellMean(body):
                return self._mean(value(body))
            case Sum(index, body):
                count = sum(name.startswith("y[") for name in values)
                terms = [self.value(body, values, {**bound, index: k}) for k in range(count)]
                return torch.stack(terms).sum(0)
        raise InternalError(f"merge term {expression} was not checked")

    def _mean(self, value: Tensor) -> Tensor:
        """Over the cells of every image; what is the same for all of them is its own mean."""
        return value[:, : self.cells].mean(1, keepdim=True) if value.ndim > 1 else value

    def _called(self, span: Span, name: str, value: Tensor) -> Tensor:
        """A layer's result in the computing type; a module gets what its own weights are."""
        layer, own = self.layers[name], value.dtype
        if isinstance(layer, nn.Module):
            own = next((parameter.dtype for parameter in layer.parameters()), own)
        made: object = layer(value.to(own))
        if not isinstance(made, Tensor) or made.shape[:-1] != value.shape[:-1]:
            was = f"shape ({', '.join(map(str, made.shape))})" if isinstance(made, Tensor) else f"a {type(made).__name__}"
            wanted = f"({', '.join(map(str, value.shape[:-1]))}, channels)"
            raise ScanError([WrongLayerResult(span, f"`{name}` gives {was}, not {wanted}")])
        return made.to(value.dtype)

    def _together(self, span: Span, function: Callable[..., Tensor], *values: Tensor) -> Tensor:
        for value in values[1:]:
            pairs = zip(reversed(value.shape), reversed(values[0].shape), strict=False)
            if not all(a == b or 1 in (a, b) for a, b in pairs):
                shapes = " and ".join(f"({', '.join(map(str, one.shape))})" for one in (values[0], value))
                raise ScanError([WrongLayerResult(span, f"shapes {shapes} do not go together")])
        return function(*values)
