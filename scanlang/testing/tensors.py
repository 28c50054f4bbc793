"""Random arguments for a compiled scan: plain numbers from a seed, different for every direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scanlang.codegen.op import CompiledScan


def open_sizes(op: CompiledScan) -> tuple[str, ...]:
    """The sizes that a scan leaves open: read off its arguments at each call."""
    labels = dict.fromkeys(label for argument in op.signature.arguments for label in argument.labels)
    return tuple(label for label in labels if label not in op.signature.fixed)


def argument_shapes(
    op: CompiledScan, grid: tuple[int, int], batch: int, channels: int, sizes: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The shape of every argument of a scan."""
    letters = {"B": batch, "H": grid[0], "W": grid[1], "K": op.signature.directions, "C": channels}
    known = {label: 2 + place for place, label in enumerate(open_sizes(op))} | dict(sizes) | dict(op.signature.fixed)
    return {
        argument.name: tuple(letters[d] if isinstance(d, str) else known[d[0]] for d in argument.dimensions)
        for argument in op.signature.arguments
    }


def draw_inputs(
    op: CompiledScan,
    grid: tuple[int, int],
    *,
    batch: int = 2,
    channels: int = 3,
    sizes: Mapping[str, int] | None = None,
    dtype: torch.dtype | Mapping[str, torch.dtype] = torch.float32,
    seed: int = 0,
    contiguous: bool = True,
    device: str = "cpu",
    low: float = -1.0,
    high: float = 1.0,
) -> dict[str, Tensor]:
    """Arguments for a scan, uniform in `low` … `high`: the same for the same seed, on every device.

    >>> y = op(**draw_inputs(op, (5, 7), batch=2, channels=3, seed=1))

    `sizes` gives sizes that the program leaves open (`{"rank": 2}`); `dtype` may be per name; without `contiguous`, every
    tensor is a strided view into a larger one with its dimensions stored in another order.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = argument_shapes(op, grid, batch, channels, sizes or {})
    made = {}
    for name, shape in shapes.items():
        value = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
        wanted = dtype if isinstance(dtype, torch.dtype) else dtype.get(name, torch.float32)
        value = value.to(wanted).to(device)
        made[name] = value if contiguous else _strided(value)
    return made


def _strided(value: Tensor) -> Tensor:
    """The same values in every other element of a larger tensor, dimensions stored the other way round."""
    backwards: Sequence[int] = range(value.ndim - 1, -1, -1)
    shape = [value.shape[axis] for axis in backwards]
    room = torch.full((*shape[:-1], 2 * shape[-1] + 1), float("nan"), dtype=value.dtype, device=value.device)
    view = room[..., 1::2]
    view.copy_(value.permute(*backwards))
    return view.permute(*backwards)
