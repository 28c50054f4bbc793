"""The torch operator of a scan: shapes checked, autograd, fake tensors, one name for every device.

    op = scanlang.compile("cross.scan")
    y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

`torch.ops.scanlang.<name>` takes the same tensors in the same order (and `save`); its backward is an operator of its own.
Which backend runs is decided by the device of the arguments at each call.
"""

from __future__ import annotations

import hashlib
import keyword
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from scanlang.codegen.backend import choose_backend
from scanlang.codegen.executable import Executable, Saved
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.signature import flattened, signature_of
from scanlang.diagnostics import ScanError
from scanlang.errors import WrongArguments
from scanlang.graph.scan_graph import ScanGraph
from scanlang.maps.verify import verify_size
from scanlang.source import Span

_LIBRARY = torch.library.Library("scanlang", "FRAGMENT")
_DEVICES = "CompositeExplicitAutograd"
_REGISTERED: set[str] = set()


class CompiledScan:
    """A scan as a function of tensors, differentiable in every argument.

    >>> y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    Per-channel inputs are `(B, H, W, C)`, shared inputs `(B, H, W, K)` or `(B, H, W, K, ·)` in grid order, parameters
    `(K, C)` or `(K, C, ·)`, without K where the directions share them; a projected per-channel input is `(B, H, W, K, C)`.
    The result is `(B, H, W, C)`, contiguous, in the type of the first per-channel input. float32, bfloat16, float16 and
    float64, mixed as they come; state and merge are float32, or float64 if any map is. Any H and W.
    Raises ScanError naming the argument that is missing, unknown, or of a wrong shape, type or device.
    """

    def __init__(self, graph: ScanGraph, fixed: Mapping[str, int], span: Span) -> None:
        self.graph, self.signature = graph, signature_of(graph, fixed, span)
        self._executables: dict[tuple[object, ...], Executable] = {}
        self._lock = threading.Lock()
        self._verified: set[tuple[int, int]] = set()
        self.torch_op = _register(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledScan:
        return self  # it never changes, and a copied module may share it

    def __reduce__(self) -> tuple[Any, ...]:
        return CompiledScan, (self.graph, dict(self.signature.fixed), self.signature.span)

    @property
    def identity(self) -> str:
        """A name for what the scan computes: equal scans share one registered operator."""
        graph, orders = self.graph, [order.checked for order in self.graph.orders]
        said = (
            str(graph),
            graph.step,
            graph.merge,
            orders,
            sorted(graph.shared),
            self.signature.names,
            self.signature.fixed,
        )
        return hashlib.sha256(repr(said).encode()).hexdigest()[:12]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments, in the order of `torch_op`."""
        return self.signature.names

    def __call__(self, /, *positional: Tensor, **given: Tensor) -> Tensor:
        if positional:
            unknown = (f"an argument without a name{f' ({len(positional)} of them)' if len(positional) > 1 else ''}",)
            raise ScanError([WrongArguments(self.signature.span, (), unknown, self.signature.names)])
        tensors = self.signature.in_order(given)
        self.signature.check(tensors)
        save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        result: Tensor = self.torch_op(*tensors, save=save)[0]
        return result

    def __repr__(self) -> str:
        arguments = ", ".join(f"{a.name} {a.wanted}" for a in self.signature.arguments)
        return f"<scan {self.signature.scan}: {arguments} -> (B, H, W, C)>"

    def executable(self, tensors: Sequence[Tensor]) -> Executable:
        """The scan for the sizes and the device of `tensors`, made on first use."""
        sizes = {label: int(size) for label, size in self.signature.check(list(tensors)).items()}
        device = tensors[0].device.type
        key = (device, *sizes.items())
        with self._lock:
            if key not in self._executables:
                kernels = lower_to_kernels(self.graph, sizes)
                self._executables[key] = choose_backend(kernels, self.graph.orders, device, self.signature.span)
            return self._executables[key]

    def grid(self, tensors: Sequence[Tensor]) -> tuple[int, int]:
        """(H, W) of a call; a size is verified exhaustively the first time it is seen."""
        first = tensors[0] if self.signature.arguments[0].kind != "param" else self._a_map(tensors)
        size = (int(first.shape[1]), int(first.shape[2]))
        if size not in self._verified:
            for order in self.graph.orders:
                verify_size(order, *size)
            self._verified.add(size)
        return size

    def _a_map(self, tensors: Sequence[Tensor]) -> Tensor:
        return next(t for a, t in zip(self.signature.arguments, tensors, strict=True) if a.kind != "param")

    def flatten(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        return {a.name: flattened(a, t) for a, t in zip(self.signature.arguments, tensors, strict=True)}

    def output_like(self, tensors: Sequence[Tensor]) -> Tensor:
        """The argument that gives the output its shape `(B, H, W, C)` and type."""
        return next(t for a, t in zip(self.signature.arguments, tensors, strict=True) if a.kind == "input")

    def forward(self, tensors: Sequence[Tensor], save: bool) -> tuple[Tensor, Tensor, Tensor]:
        grid, arrays = self.grid(tensors), self.flatten(tensors)
        result, saved = self.executable(tensors).forward(arrays, grid, save)
        like = self.output_like(tensors)
        return result.view(like.shape[0], *grid, like.shape[-1]), saved.states, saved.partials

    def backward(self, gradient: Tensor, states: Tensor, partials: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
        grid, arrays, executable = self.grid(tensors), self.flatten(tensors), self.executable(tensors)
        saved = Saved(states, partials)
        if states.numel() == 0:
            saved = executable.forward(arrays, grid, True)[1]
        flat = gradient.flatten(1, 2).contiguous()
        found = executable.backward(flat, saved, arrays, grid)
        return [
            found[argument.name].to(tensor.dtype).reshape(tensor.shape).contiguous()
            for argument, tensor in zip(self.signature.arguments, tensors, strict=True)
        ]

    def saved_shapes(self, tensors: Sequence[Tensor], save: bool) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The shapes of the saved states and partial outputs, for tensors that may be fake."""
        if not save:
            return (0,), (0,)
        executable, (height, width) = self.executable(tensors), self._a_map(tensors).shape[1:3]
        like, length, directions = self.output_like(tensors), height * width, self.signature.directions
        chunk = executable.chunk((height, width))
        states = len(executable.kernels.forward.states)
        partials = (0,) if executable.kernels.merge_scale is not None else (directions, like.shape[0], length, like.shape[-1])
        return (like.shape[0], directions, (length + chunk - 1) // chunk, states, like.shape[-1]), partials


def _register(scan: CompiledScan) -> Any:
    """Define `torch.ops.scanlang.<name>` and its backward; the same scan is registered once."""
    name = f"{scan.signature.scan}_{scan.identity}"
    if name in _REGISTERED:
        return getattr(torch.ops.scanlang, name).default
    _REGISTERED.add(name)
    names = [_argument_name(n) for n in scan.arguments]
    tensors = ", ".join(f"Tensor {n}" for n in names)
    _LIBRARY.define(f"{name}({tensors}, *, bool save=False) -> (Tensor, Tensor, Tensor)")
    _LIBRARY.define(f"{name}_backward(Tensor gradient, Tensor states, Tensor partials, {tensors}) -> Tensor[]")

    def forward(*tensors: Tensor, save: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        return scan.forward(tensors, save)

    def backward(gradient: Tensor, states: Tensor, partials: Tensor, *tensors: Tensor) -> list[Tensor]:
        return scan.backward(gradient, states, partials, tensors)

    def fake_forward(*tensors: Tensor, save: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        like = scan.output_like(tensors)
        height, width = scan._a_map(tensors).shape[1:3]
        computing = torch.float64 if torch.float64 in (t.dtype for t in scan_streams(tensors)) else torch.float32
        states, partials = scan.saved_shapes(tensors, save)
        return (
            like.new_empty((like.shape[0], height, width, like.shape[-1])),
            like.new_empty(states, dtype=computing),
            like.new_empty(partials, dtype=computing),
        )

    def scan_streams(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [t for a, t in zip(scan.signature.arguments, tensors, strict=True) if a.kind != "param"]

    def fake_backward(gradient: Tensor, states: Tensor, partials: Tensor, *tensors: Tensor) -> list[Tensor]:
        return [tensor.new_empty(tensor.shape) for tensor in tensors]

    def remember(ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(output[1], output[2], *inputs)
        ctx.mark_non_differentiable(output[1], output[2])
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Any, gradient: Tensor | None, *_: Any) -> tuple[Any, ...]:
        states, partials, *tensors = ctx.saved_tensors
        if gradient is None:
            return (None,) * len(tensors)
        made = getattr(torch.ops.scanlang, f"{name}_backward")(gradient, states, partials, *tensors)
        return tuple(g if wanted else None for g, wanted in zip(made, ctx.needs_input_grad, strict=False))

    _LIBRARY.impl(name, forward, _DEVICES)
    _LIBRARY.impl(f"{name}_backward", backward, _DEVICES)
    torch.library.register_fake(f"scanlang::{name}", fake_forward, lib=_LIBRARY)
    torch.library.register_fake(f"scanlang::{name}_backward", fake_backward, lib=_LIBRARY)
    torch.library.register_autograd(f"scanlang::{name}", differentiate, setup_context=remember, lib=_LIBRARY)
    return getattr(torch.ops.scanlang, name).default


def _argument_name(name: str) -> str:
    """A name that an operator's schema takes."""
    return f"{name}_" if keyword.iskeyword(name) or name in ("self", "save", "gradient", "states", "partials") else name
