"""A scan on rows called at once, where nobody wants to see the operator: without torch's dispatcher, which goes to Python and
back twice for what is one call.

In: what `torch.ops.scanlang.<name>` takes. Out: what it gives. Whoever follows operators (fake tensors, modes, profilers,
transforms, tracers) gets the operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scanlang.codegen.on_rows import ScanOnRows

Results = tuple[Tensor, Tensor, Tensor, Tensor]
"""The output, the saved states, the partial outputs, the states after the last step."""


class Eager:
    """`call(*arrays, *orders, entry, grid=…, save=…, last=…)`."""

    def __init__(self, scan: ScanOnRows, operator: Any, backward: Any) -> None:
        self.scan, self.operator, self.backward = scan, operator, backward

    def __call__(self, *tensors: Any, grid: Sequence[int], save: bool, last: bool) -> Any:
        if not _unwatched(tensors):
            return self.operator(*tensors, grid=grid, save=save, last=last)
        if save:
            return _Straight.apply(self, grid, last, *tensors)  # type: ignore[no-untyped-call]
        return self.scan.forward(tensors[:-1], grid, False, tensors[-1], last)


KNOWN = all(
    hasattr(torch._C, name)
    for name in (
        "_len_torch_dispatch_stack",
        "_len_torch_function_stack",
        "_are_functorch_transforms_active",
        "_get_tracing_state",
    )
) and hasattr(torch.autograd.profiler, "_is_profiler_enabled")
"""Whether this torch says who follows operators in the way that is known here; if not, the operator is always called."""


def _unwatched(tensors: Sequence[Tensor | None]) -> bool:
    """Plain tensors with values, and nothing that follows what is done with them."""
    if not KNOWN:
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack():
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._get_tracing_state() is not None:
        return False
    if torch.autograd.profiler._is_profiler_enabled:
        return False
    for tensor in tensors:
        kind = type(tensor)
        if kind is not Tensor and kind is not nn.Parameter and tensor is not None:
            return False
    first = tensors[0]
    return first is not None and not first.is_meta


class _Straight(torch.autograd.Function):
    """The registered operator's gradient, without the operator."""

    @staticmethod
    def forward(ctx: Any, call: Eager, grid: Sequence[int], last: bool, *tensors: Any) -> Results:
        made = call.scan.forward(tensors[:-1], grid, True, tensors[-1], last)
        ctx.call = call
        remember(ctx, tensors, grid, last, made)
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return None, None, None, *gradients_of(ctx, ctx.call, gradients, ctx.needs_input_grad[3:])


def remember(ctx: Any, tensors: Sequence[Any], grid: Sequence[Any], last: bool, made: Results) -> None:
    """What the backward needs of a call. States and partial outputs have no gradient, last states only where asked for."""
    _, states, partials, final = made
    ctx.save_for_backward(states, partials, *tensors)
    ctx.grid = grid
    ctx.mark_non_differentiable(states, partials, *(() if last else (final,)))
    ctx.set_materialize_grads(False)


def gradients_of(ctx: Any, call: Eager, gradients: Sequence[Any], needed: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Of every tensor that needs one, from those of the output and the last states."""
    states, partials, *tensors = ctx.saved_tensors
    gradient, _, _, final = gradients
    if gradient is None and final is None:
        return (None,) * len(tensors)
    first = needed[len(tensors) - 1]
    if torch.is_grad_enabled() or not _unwatched((gradient if final is None else final, *tensors)):
        found = call.backward(gradient, final, states, partials, *tensors, grid=ctx.grid, first=first)
    else:
        found = call.scan.backward(gradient, states, partials, tensors[:-1], ctx.grid, tensors[-1], final, first)
    of_entry = [found[-1]] if first else []
    arrays = found[:-1] if first else found
    made = [*arrays, *(None for _ in range(len(tensors) - len(arrays) - len(of_entry))), *of_entry]
    return tuple(g if wanted else None for g, wanted in zip(made, needed, strict=False))
