"""`torch.ops.scanlang.<name>`: a scan on rows as one registered operator with fake tensors and autograd.

It takes the arrays of a `Signature`, the orders given at run time, the states to begin with (packed, see `states.py`, or None),
the grid, and whether to save and to give the last states; its backward is an operator of its own. Equal scans share one.
"""

from __future__ import annotations

import hashlib
import keyword
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from typing import Any

import networkx as nx
import torch
from torch import Tensor

from scanlang.codegen.on_rows import ScanOnRows
from scanlang.diagnostics import ScanError
from scanlang.errors import DifferentiatedTwice
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal

_LIBRARY = torch.library.Library("scanlang", "FRAGMENT")
_DEVICES = "CompositeExplicitAutograd"
_REGISTERED: set[str] = set()
_TAKEN = ("self", "save", "last", "first", "gradient", "states", "partials", "entry", "final", "grid")


def identity(*values: object) -> str:
    """A name for what values mean: equal for equal scans, whatever their file, and different otherwise."""
    return hashlib.sha256(repr(_meaning(values)).encode()).hexdigest()[:12]


def _meaning(value: Any) -> Any:
    """A value as nested tuples with everything that takes part in `==`, and nothing else."""
    if isinstance(value, Order):
        return _meaning(value.checked)
    if isinstance(value, Traversal):
        return type(value).__name__, _meaning((value.routes, value.numbered))
    if isinstance(value, nx.DiGraph):
        return sorted(map(repr, value.edges(data="operand")))
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if is_dataclass(value) and not isinstance(value, type):
        own = ((one.name, _meaning(getattr(value, one.name))) for one in fields(value) if one.compare)
        return type(value).__name__, tuple(own)
    if isinstance(value, Mapping):
        return "mapping", tuple((_meaning(key), _meaning(one)) for key, one in value.items())
    if isinstance(value, Set):
        return "set", tuple(sorted(repr(_meaning(one)) for one in value))
    return tuple(map(_meaning, value)) if isinstance(value, tuple | list) else value


def register(scan: ScanOnRows, name: str) -> Any:
    """Define the operator `name` and its backward, or give what has that name already."""
    if name in _REGISTERED:
        return getattr(torch.ops.scanlang, name).default
    _REGISTERED.add(name)
    tensors = ", ".join((*(f"Tensor {n}" for n in _schema_names(scan)), "Tensor? entry"))
    results, known = "(Tensor, Tensor, Tensor, Tensor)", "Tensor? gradient, Tensor? final, Tensor states, Tensor partials"
    _LIBRARY.define(f"{name}({tensors}, *, SymInt[] grid, bool save=False, bool last=False) -> {results}")
    _LIBRARY.define(f"{name}_backward({known}, {tensors}, *, SymInt[] grid, bool first=False) -> Tensor[]")

    def forward(
        *tensors: Any, grid: Sequence[int], save: bool = False, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return scan.forward(tensors[:-1], grid, save, tensors[-1], last)

    def backward(
        gradient: Tensor | None,
        final: Tensor | None,
        states: Tensor,
        partials: Tensor,
        *tensors: Any,
        grid: Sequence[int],
        first: bool = False,
    ) -> list[Tensor]:
        return scan.backward(gradient, states, partials, tensors[:-1], grid, tensors[-1], final, first)

    def fake_forward(
        *tensors: Any, grid: Sequence[Any], save: bool = False, last: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return scan.fake_forward(tensors[:-1], grid, save, last)

    def fake_backward(
        gradient: Tensor | None,
        final: Tensor | None,
        states: Tensor,
        partials: Tensor,
        *tensors: Any,
        grid: Sequence[Any],
        first: bool = False,
    ) -> list[Tensor]:
        arrays, _ = scan.split(tensors[:-1])
        return [array.new_empty(array.shape) for array in (*arrays, *([scan.zero_states(arrays)] if first else []))]

    def remember(ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(output[1], output[2], *inputs)
        ctx.grid = keyword_only_inputs["grid"]
        ctx.mark_non_differentiable(output[1], output[2], *(() if keyword_only_inputs["last"] else (output[3],)))
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Any, gradient: Tensor | None, states_: Any, partials_: Any, final: Tensor | None) -> tuple[Any, ...]:
        states, partials, *tensors = ctx.saved_tensors
        if gradient is None and final is None:
            return (None,) * len(tensors)
        first = ctx.needs_input_grad[len(tensors) - 1]
        found = getattr(torch.ops.scanlang, f"{name}_backward")(
            gradient, final, states, partials, *tensors, grid=ctx.grid, first=first
        )
        of_entry = [found[-1]] if first else []
        arrays = found[:-1] if first else found
        made = [*arrays, *(None for _ in range(len(tensors) - len(arrays) - len(of_entry))), *of_entry]
        return tuple(g if wanted else None for g, wanted in zip(made, ctx.needs_input_grad, strict=False))

    def differentiate_again(ctx: Any, gradients: Any) -> Any:
        raise ScanError([DifferentiatedTwice(scan.signature.span, scan.signature.scan)])

    _LIBRARY.impl(name, forward, _DEVICES)
    _LIBRARY.impl(f"{name}_backward", backward, _DEVICES)
    torch.library.register_fake(f"scanlang::{name}", fake_forward, lib=_LIBRARY)
    torch.library.register_fake(f"scanlang::{name}_backward", fake_backward, lib=_LIBRARY)
    torch.library.register_autograd(f"scanlang::{name}", differentiate, setup_context=remember, lib=_LIBRARY)
    torch.library.register_autograd(f"scanlang::{name}_backward", differentiate_again, lib=_LIBRARY)
    return getattr(torch.ops.scanlang, name).default


def _schema_names(scan: ScanOnRows) -> list[str]:
    """Names that an operator's schema takes, each once."""
    wanted = [array.name for array in scan.signature.arrays] + list(scan.graph.traversal.given_names)
    names: list[str] = []
    for name in (name.replace(".", "_") for name in wanted):
        reserved = keyword.iskeyword(name) or name in _TAKEN
        name = f"{name}_" if reserved else name
        while name in names:
            name += "_"
        names.append(name)
    return names
