"""`torch.ops.scanlang.<name>`: a scan on rows as one registered operator with fake tensors and autograd.

It takes the arrays of a `Signature`, the orders given at run time, the states to begin with (packed, see `states.py`, or None),
the grid, and whether to save and to give the last states; its backward is an operator of its own. Equal scans share one.
"""

from __future__ import annotations

import functools
import hashlib
import keyword
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import torch
from torch import Tensor

import scanlang.graph
from scanlang.codegen.eager import Eager, Results, gradients_of, remember
from scanlang.codegen.on_rows import ScanOnRows
from scanlang.diagnostics import ScanError
from scanlang.errors import DifferentiatedTwice
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal

_LIBRARY = torch.library.Library("scanlang", "FRAGMENT")
_DEVICES = "CompositeExplicitAutograd"
_REGISTERED: dict[str, Eager] = {}
_TAKEN = ("self", "save", "last", "first", "gradient", "states", "partials", "entry", "final", "grid")


def identity(*values: object) -> str:
    """A name for what values mean: equal for equal scans, whatever their file, and different otherwise."""
    return hashlib.sha256(repr(_meaning(values)).encode()).hexdigest()[:12]


@functools.cache
def compiler() -> str:
    """A name for the compiler itself, by its text: part of what an operator is called.

    Graphs that torch.compile keeps on disk have the shapes of saved states in them, and find operators by name. How many steps
    lie between saved states is a rule of the compiler's: with another compiler they call other operators, and are made anew.
    """
    found = hashlib.sha256()
    for folder in (Path(scanlang.graph.__file__).parent, Path(__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            found.update(path.read_bytes())
    return found.hexdigest()[:12]


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


def register(scan: ScanOnRows, name: str) -> Eager:
    """Define the operator `name` and its backward, or find what has that name already; gives what calls it."""
    if name not in _REGISTERED:
        _define(scan, name)
        forward, backward = (getattr(torch.ops.scanlang, full).default for full in (name, f"{name}_backward"))
        _REGISTERED[name] = Eager(scan, forward, backward)
        _implement(scan, name)
        _implement_for_fake_tensors(scan, name)
        _differentiate(scan, name)
    return _REGISTERED[name]


def _define(scan: ScanOnRows, name: str) -> None:
    """The schemas: what the operators take and give."""
    tensors = ", ".join((*(f"Tensor {n}" for n in _schema_names(scan)), "Tensor? entry"))
    results, known = "(Tensor, Tensor, Tensor, Tensor)", "Tensor? gradient, Tensor? final, Tensor states, Tensor partials"
    _LIBRARY.define(f"{name}({tensors}, *, SymInt[] grid, bool save=False, bool last=False) -> {results}")
    _LIBRARY.define(f"{name}_backward({known}, {tensors}, *, SymInt[] grid, bool first=False) -> Tensor[]")


def _implement(scan: ScanOnRows, name: str) -> None:
    def forward(*tensors: Any, grid: Sequence[int], save: bool = False, last: bool = False) -> Results:
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

    _LIBRARY.impl(name, forward, _DEVICES)
    _LIBRARY.impl(f"{name}_backward", backward, _DEVICES)


def _implement_for_fake_tensors(scan: ScanOnRows, name: str) -> None:
    """Shapes and types without values."""

    def forward(*tensors: Any, grid: Sequence[Any], save: bool = False, last: bool = False) -> Results:
        return scan.fake_forward(tensors[:-1], grid, save, last)

    def backward(
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

    torch.library.register_fake(f"scanlang::{name}", forward, lib=_LIBRARY)
    torch.library.register_fake(f"scanlang::{name}_backward", backward, lib=_LIBRARY)


def _differentiate(scan: ScanOnRows, name: str) -> None:
    """The operator by its backward; that has no derivative."""
    call = _REGISTERED[name]

    def remembered(ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: Results) -> None:
        remember(ctx, inputs, keyword_only_inputs["grid"], keyword_only_inputs["last"], output)

    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        return gradients_of(ctx, call, gradients, ctx.needs_input_grad)

    def again(ctx: Any, gradients: Any) -> Any:
        raise ScanError([DifferentiatedTwice(scan.signature.span, scan.signature.scan)])

    torch.library.register_autograd(f"scanlang::{name}", backward, setup_context=remembered, lib=_LIBRARY)
    torch.library.register_autograd(f"scanlang::{name}_backward", again, lib=_LIBRARY)


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
