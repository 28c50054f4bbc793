"""Assertions: an order visits every cell once; an operator and its gradients agree with the reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scanlang.check.program import LEARNED, CheckedScan
from scanlang.maps.order import Order
from scanlang.program import Program
from scanlang.testing.reference import reference
from scanlang.testing.tensors import draw_layers


@dataclass(frozen=True)
class Tolerance:
    """`rounding`: the relative error of one rounding to this type. `output` and `gradient`: what computing in this type may
    add, relative to the norm of the whole result."""

    rounding: float
    output: float
    gradient: float


TOLERANCES: Mapping[torch.dtype, Tolerance] = {
    torch.float64: Tolerance(2.0**-53, 1e-11, 1e-9),
    torch.float32: Tolerance(2.0**-24, 1e-5, 1e-4),
    torch.bfloat16: Tolerance(2.0**-8, 1e-5, 1e-4),
    torch.float16: Tolerance(2.0**-11, 1e-5, 1e-4),
}
"""By type. A scan reads bfloat16 and float16 exactly, computes in float32 and rounds each result once, so beside that
rounding it may be no further off than float32. A sum of n terms of like size errs by about n^½ u: 1e-5 is 170 u, and
gradients are sums over cells, channels and batch whose terms cancel in part, hence ten times as much; for float64 more room
is left than needed, and both are far below what one missed or misplaced cell would make."""

STATE = "the state"
SMALLEST_RMS = 1e-2
"""Results of a smaller root mean square are held to this one: all of them may have cancelled."""


def assert_bijection(order: Order, *grid: int) -> None:
    """`order` visits every cell of a grid exactly once, and `ranks` is the inverse of `positions`.

    >>> assert_bijection(program.orders["rows"], 5, 7)
    """
    positions, ranks, cells = order.positions(*grid), order.ranks(*grid), np.arange(math.prod(grid))
    assert positions.dtype == ranks.dtype == np.int64
    seen, counts = np.unique(positions, return_counts=True)
    missed = np.setdiff1d(cells, positions)
    at = f"{order.name} at {' × '.join(map(str, grid))}"
    assert not len(missed), f"{at} misses cell {tuple(map(int, np.unravel_index(missed[0], grid)))}"
    assert np.array_equal(seen, cells), f"{at} leaves the grid at cell {int(seen.max())}"
    assert (counts == 1).all()
    assert np.array_equal(positions[ranks], cells)
    assert np.array_equal(ranks[positions], cells)


def error(got: Tensor, want: Tensor) -> float:
    """How far `got` is off beyond one rounding to its type, relative to the norm of `want`."""
    got64, want64 = got.detach().cpu().double(), want.detach().cpu().double()
    if want64.numel() == 0:
        return 0.0
    beyond = ((got64 - want64).abs() - TOLERANCES[got.dtype].rounding * want64.abs()).clamp(min=0)
    scale = max(want64.norm().item(), SMALLEST_RMS * math.sqrt(want64.numel()))
    return float(torch.nan_to_num(beyond, nan=math.inf).norm().item() / scale)


def assert_close(name: str, got: Tensor, want: Tensor, tolerance: float) -> None:
    """`got` has the shape of `want` and is off by no more than `tolerance`, see `TOLERANCES`; says where it is furthest off."""
    assert got.shape == want.shape, f"{name} has shape {tuple(got.shape)}, not {tuple(want.shape)}"
    found = error(got, want)
    if found <= tolerance:
        return
    difference = torch.nan_to_num((got.detach().cpu().double() - want.detach().cpu().double()).abs(), nan=math.inf)
    place = np.unravel_index(int(difference.argmax()), difference.shape)
    values = f"{got[tuple(place)].item():.9g}, not {want[tuple(place)].item():.9g}"
    raise AssertionError(f"{name} is off by {found:.2e}, more than {tolerance:.0e}; at {tuple(map(int, place))} it is {values}")


def assert_matches_reference(
    op: Callable[..., Any],
    program: Program,
    tensors: Mapping[str, Tensor],
    scan: str | None = None,
    layer: int = 0,
    *,
    layers: Mapping[str, nn.Module] | None = None,
    states: Mapping[str, Tensor] | None = None,
    tolerances: Mapping[torch.dtype, Tolerance] = TOLERANCES,
    seed: int = 0,
) -> None:
    """The output and the gradient of every argument agree with `reference`, for a random gradient of the output.

    >>> assert_matches_reference(op, program, draw_inputs(op, (5, 7)))

    `op` may be any function of the scan's arguments. Nothing may be NaN; types, shapes and layout are compared too, and tokens.
    `layers` are the modules that the merge calls; they are drawn (`draw_layers`) where they are not given. With `states`, by
    name (`draw_states`), the scan starts from these; the states it ends with are compared too, and the gradients of both.
    """
    checked = program.checked.scans[program.scan_name(scan)].at_layer(layer)
    if not tensors:
        raise ValueError(f"the scan {checked.name} was given no tensors: `draw_inputs(op, (5, 7))` draws some")
    wide = any(tensor.dtype == torch.float64 for name, tensor in tensors.items() if name not in _parameters(checked))
    computing = torch.float64 if wide else torch.float32
    if layers is None:
        device = str(next(iter(tensors.values())).device)
        layers = draw_layers(program, scan, layer, channels=_channels(checked, tensors), dtype=computing, device=device)
    given, exact = _Leaves.of(tensors, layers, states), _Leaves.exactly(tensors, layers, states)
    got, want = _parts(op(**given.arguments)), _parts(reference(program, scan, layer, **exact.arguments))
    assert list(got) == list(want), f"the output has {len(got)} parts, not {len(want)}"
    generator, cotangents = torch.Generator().manual_seed(seed), []
    for name, part in got.items():
        assert part.is_contiguous() or name.startswith(STATE), f"{name} is not contiguous"
        assert_close(name, part, want[name], tolerances[computing].output)
        cotangents.append(torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part.dtype))
    expected = _gradients(list(want.values()), exact.leaves, [one.double() for one in cotangents], some_unused=True)
    gradients = _gradients(list(got.values()), given.leaves, cotangents, some_unused=states is not None)
    for name, gradient in gradients.items():
        assert gradient.dtype == given.leaves[name].dtype, f"the gradient of {name} is {gradient.dtype}"
        assert_close(f"the gradient of {name}", gradient, expected[name], tolerances[computing].gradient)


def _gradients(
    parts: list[Tensor], leaves: Mapping[str, Tensor], cotangents: list[Tensor], some_unused: bool
) -> dict[str, Tensor]:
    """By the names of the leaves; a scale that a scan ends with has none."""
    smooth = [(part, one.to(part.device)) for part, one in zip(parts, cotangents, strict=True) if part.requires_grad]
    outputs, given = [part for part, _ in smooth], [one for _, one in smooth]
    found = torch.autograd.grad(outputs, list(leaves.values()), given, materialize_grads=some_unused)
    return dict(zip(leaves, found, strict=True))


@dataclass(frozen=True)
class _Leaves:
    """Arguments of a scan, and what of them has a gradient: tensors by name, the weights of a layer as `down.weight`."""

    arguments: dict[str, Any]
    leaves: dict[str, Tensor]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Module], states: Mapping[str, Tensor] | None) -> _Leaves:
        given = {name: tensor.detach().requires_grad_(tensor.is_floating_point()) for name, tensor in tensors.items()}
        leaves = {name: tensor for name, tensor in given.items() if tensor.requires_grad}
        for name, layer in layers.items():
            leaves |= {f"{name}.{weight}": parameter for weight, parameter in layer.named_parameters()}
        if states is None:
            return cls({**given, **layers}, leaves)
        first = {name: state.detach().requires_grad_() for name, state in states.items()}
        leaves |= {f"h0[{name}]": state for name, state in first.items()}
        return cls({**given, **layers, "h0": first, "return_state": True}, leaves)

    @classmethod
    def exactly(
        cls, tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Module], states: Mapping[str, Tensor] | None
    ) -> _Leaves:
        """The same values in float64, on the CPU."""
        values = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        exact = {name: value.double() if value.is_floating_point() else value for name, value in values.items()}
        first = None if states is None else {name: state.detach().cpu().double() for name, state in states.items()}
        return cls.of(exact, {name: deepcopy(layer).cpu().double() for name, layer in layers.items()}, first)


def _parts(result: Any) -> dict[str, Tensor]:
    """The parts of a result, by what they are called: the map, tokens, and states by name."""
    parts = result if isinstance(result, tuple) else (result,)
    states = parts[-1] if isinstance(parts[-1], dict) else {}
    tensors = [part for part in parts if isinstance(part, Tensor)]
    names = ["the output", *(f"output {number}, of tokens," for number in range(1, len(tensors)))]
    return dict(zip(names, tensors, strict=True)) | {f"{STATE} {name}": states[name] for name in sorted(states)}


def _parameters(scan: CheckedScan) -> set[str]:
    """The names of what is no map."""
    own = {operand.name for operand in scan.recurrence.operands if operand.kind in LEARNED}
    return {*own, "conv_weight", "conv_bias", "merge_weight"}


def _channels(scan: CheckedScan, tensors: Mapping[str, Tensor]) -> int:
    """All channels, as a map with values for each of them shows."""
    operands = {operand.name: operand for operand in scan.recurrence.operands}
    for name in (*operands, *scan.inputs):
        operand = operands.get(name)
        if name in tensors and (operand is None or (operand.kind == "input" and operand.per == "channel")):
            return tensors[name].shape[-1 - (0 if operand is None else len(operand.indices))]
    raise ValueError(f"no argument of {scan.name} has channels")
