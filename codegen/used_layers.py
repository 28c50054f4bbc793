"""`use down = linear(dim, dim // 4, bias = false)` → the module of `torch.nn` that a merge calls. In: the clause and sizes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from scanlang.check.program import CheckedScan, Use
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.diagnostics import InternalError, ScanError
from scanlang.errors import BadSize
from scanlang.limits import LIMITS
from scanlang.syntax.nodes import Name

RMS_EPSILON = 1e-6


def used_layer(scan: CheckedScan, use: Use, sizes: Mapping[str, int]) -> nn.Module:
    """The layer, with torch's own initial weights."""
    numbers = []
    for argument in use.arguments:
        value = evaluate_size(argument, sizes)
        if (problem := size_problem(value, LIMITS.integer)) is not None:
            raise ScanError([BadSize(scan.span, use.name, problem)])
        numbers.append(int(value))
    bias = use.keywords.get("bias")
    match use.layer:
        case "linear":
            return nn.Linear(numbers[0], numbers[1], bias=not (isinstance(bias, Name) and bias.name == "false"))
        case "layer_norm":
            return nn.LayerNorm(numbers)
        case "rms_norm":
            return nn.RMSNorm(numbers, eps=RMS_EPSILON)
    raise InternalError(f"no layer {use.layer}")
