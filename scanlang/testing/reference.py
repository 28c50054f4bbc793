"""The meaning of a scan in float64 torch, straight from the checked program: a loop over time, gradients by autograd.

In: a program and the tensors of a call. Out: the result, differentiable in every tensor. Shares the parser, the checker
and `Order.positions` with the compiler, but neither its scan graph nor its adjoint, kernels or backends.

A value of a step is a tensor `(K, B, C, one dimension per index of the recurrence)` with 1 where it does not depend.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional

from scanlang.check.program import CheckedOperand, CheckedScan, Projection, StateUpdate
from scanlang.program import Program
from scanlang.syntax.nodes import Binary, Call, Expr, Name, Negative, Number, Sum

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "tanh": torch.tanh, "abs": torch.abs, "relu": torch.relu,
    "sigmoid": torch.sigmoid, "silu": functional.silu, "gelu": functional.gelu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "min": torch.minimum, "max": torch.maximum, "where": torch.where,
}  # fmt: skip
LEADING = 3


def reference(program: Program, scan: str | None = None, /, **tensors: Tensor) -> Tensor:
    """The result `(B, H, W, C)` in float64 of a scan called with `tensors`, the arguments of its operator.

    >>> y = reference(program, "cross", x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    What the scan projects may be left out if the weights are given instead, as `Scan2d` names them: `project_weight`
    `(K, rows, C)`, `project_bias` `(K, rows)`, `project_1_weight` …, without K where the directions share them.
    """
    name = program.scan_name(scan)
    checked, orders = program.checked.scans[name], program.directions(name)
    given = {argument: tensor.double() for argument, tensor in tensors.items()}
    height, width = next(given[name].shape[1:3] for name in _maps(checked) if name in given)
    for number, projection in enumerate(checked.projections):
        if not all(made in given for made in projection.names):
            given.update(_project(checked, projection, number, given))
    positions = torch.stack([torch.from_numpy(order.positions(height, width)) for order in orders])
    positions = positions.to(next(iter(given.values())).device)
    outputs = _scan(checked, given, positions)
    ranks = torch.argsort(positions, dim=1)
    placed = torch.stack([output[:, rank] for output, rank in zip(outputs, ranks, strict=True)])
    maps = {name: value.flatten(1, 2) for name, value in given.items() if name in checked.inputs}
    merged = merge(checked.merge, placed, maps)
    return merged.reshape(merged.shape[0], height, width, merged.shape[-1])


def _maps(scan: CheckedScan) -> tuple[str, ...]:
    """The names of arguments that are maps; the others are parameters."""
    return (*(o.name for o in scan.recurrence.operands if o.kind != "param"), *scan.inputs)


def index_sizes(scan: CheckedScan, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """The size of every index of a recurrence: as the scan says, or read off the tensors that have it as a last dimension."""
    recurrence, formals = scan.recurrence, {f.label: f.default for f in scan.formals}
    sizes: dict[str, int] = {}
    for index, label in recurrence.indices.items():
        size = scan.sizes[label]
        size = (isinstance(size, Name) and formals[size.name]) or size
        if isinstance(size, Number):
            sizes[index] = int(size.value)
    for operand in recurrence.operands:
        if operand.indices and operand.name in tensors:
            shape = tensors[operand.name].shape[-len(operand.indices) :]
            sizes.update(zip(operand.indices, shape, strict=True))
    return sizes


def _project(scan: CheckedScan, projection: Projection, number: int, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stem = "project" if number == 0 else f"project_{number}"
    source, weight = given[projection.source], given[f"{stem}_weight"]
    rows = torch.einsum("bhwc,krc->bhwkr", source, weight if weight.ndim == 3 else weight[None])
    if f"{stem}_bias" in given:
        rows = rows + given[f"{stem}_bias"]
    rows = rows.expand(*rows.shape[:3], len(scan.directions), -1)
    sizes = index_sizes(scan, given)
    made, start = {}, 0
    for name in projection.names:
        operand = next(o for o in scan.recurrence.operands if o.name == name)
        shape = [source.shape[-1]] if operand.kind == "input" else [sizes[i] for i in operand.indices]
        made[name] = rows[..., start : start + math.prod(shape)].reshape(*rows.shape[:4], *shape)
        start += math.prod(shape)
    return made


def _scan(scan: CheckedScan, given: Mapping[str, Tensor], positions: Tensor) -> Tensor:
    """The output of every direction in its own time, `(K, B, L, C)`."""
    recurrence, indices = scan.recurrence, tuple(scan.recurrence.indices)
    sizes = index_sizes(scan, given)
    fixed: dict[str, Tensor] = {}
    streams: dict[str, Sequence[Tensor]] = {}
    for operand in recurrence.operands:
        if operand.kind == "param":
            value = given[operand.name] if operand.name not in scan.shared else given[operand.name][None]
            fixed[operand.name] = _with_indices(value[:, None], operand.indices, indices)
        else:
            streams[operand.name] = _sequence(scan, operand, given[operand.name], positions, indices).unbind(0)
    batch = next(given[name] for name in _maps(scan) if name in given).shape[0]
    channels = _channels(scan, given)
    states = {
        equation.name: torch.zeros(1, dtype=torch.float64, device=positions.device).expand((1,) * (LEADING + len(indices)))
        for equation in recurrence.equations
        if isinstance(equation, StateUpdate)
    }
    outputs = []
    for t in range(positions.shape[1]):
        values = {**fixed, **{name: stream[t] for name, stream in streams.items()}, **states}
        for equation in recurrence.equations:
            if isinstance(equation, StateUpdate):
                kept = evaluate(equation.decay, values, indices, sizes) * states[equation.name]
                values[equation.name] = kept + evaluate(equation.drive, values, indices, sizes)
                states[equation.name] = values[equation.name]
            else:
                values[equation.name] = evaluate(equation.value, values, indices, sizes)
        readout = values[recurrence.readout].reshape(values[recurrence.readout].shape[:LEADING])
        outputs.append(readout.expand(positions.shape[0], batch, channels))
    return torch.stack(outputs, 2)


def _channels(scan: CheckedScan, given: Mapping[str, Tensor]) -> int:
    for operand in scan.recurrence.operands:
        if operand.kind == "input":
            return given[operand.name].shape[-1]
        if operand.kind == "param":
            return given[operand.name].shape[0 if operand.name in scan.shared else 1]
    raise ValueError("nothing says how many channels there are")


def _own(scan: CheckedScan, operand: CheckedOperand) -> bool:
    """Whether each direction has its own of a map."""
    return operand.kind == "shared" or operand.name in scan.projected


def _sequence(scan: CheckedScan, operand: CheckedOperand, value: Tensor, positions: Tensor, indices: tuple[str, ...]) -> Tensor:
    """A map in the time of every direction, `(L, K, B, C, indices …)`."""
    cells = value.flatten(1, 2)
    if _own(scan, operand):
        gathered = torch.stack([cells[:, steps, k] for k, steps in enumerate(positions)])
    else:
        gathered = torch.stack([cells[:, steps] for steps in positions])
    if operand.kind == "shared":
        gathered = gathered.unsqueeze(3)
    return _with_indices(gathered.movedim(2, 0), operand.indices, indices)


def _with_indices(value: Tensor, own: tuple[str, ...], indices: tuple[str, ...]) -> Tensor:
    """The last dimensions of `value`, which run over `own`, in the order of `indices`, with 1 for those it lacks."""
    front = value.ndim - len(own)
    value = value.permute(*range(front), *(front + own.index(i) for i in indices if i in own))
    for place, index in enumerate(indices):
        if index not in own:
            value = value.unsqueeze(front + place)
    return value


def evaluate(expr: Expr, values: Mapping[str, Tensor], indices: tuple[str, ...], sizes: Mapping[str, int]) -> Tensor:
    """An expression of a recurrence; `values` and the result have one last dimension for each of `indices`."""

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
            case Call(function, arguments):
                return FUNCTIONS[function](*(value_of(argument) for argument in arguments))
            case Sum(index, body):
                place = LEADING + indices.index(index)
                total = value_of(body)
                count = sizes[index] if total.shape[place] == 1 else 1
                return total.sum(place, keepdim=True) * count
            case _:
                assert_never(expr)

    return value_of(expr)


def merge(rule: Expr | str, outputs: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
    """The merge of the directions' outputs `(K, B, L, C)` in grid order; `maps` are the inputs it may read."""

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
                return FUNCTIONS[function](*(value_of(argument, bound) for argument in arguments))
            case Sum(index, body):
                return torch.stack([value_of(body, {**bound, index: k}) for k in range(len(outputs))]).sum(0)
            case _:
                assert_never(expr)

    match rule:
        case "sum":
            return outputs.sum(0)
        case "mean":
            return outputs.mean(0)
        case str():
            raise ValueError(f"no merge {rule}")
        case _:
            return value_of(rule, {}).expand(outputs.shape[1:])
