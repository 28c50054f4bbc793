"""One block of a program as a module of its own: maps and tokens in, as with `Scan2d`; inside it is a block like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from scanlang.backbones.feature import Feature, Value, feature_of_map
from scanlang.backbones.learned_positions import learn_positions, positions_met
from scanlang.backbones.origin import origin_of
from scanlang.backbones.parts import BlockModule
from scanlang.codegen.signature import FLOATS
from scanlang.diagnostics import ScanError
from scanlang.errors import WrongBlockInputs, listed
from scanlang.networks.network import Block as SizedBlock
from scanlang.networks.network import Layer, Part, Repeat, ScanLayer
from scanlang.networks.trace import Call
from scanlang.networks.values import Map
from scanlang.networks.widths import trace_block
from scanlang.program import Program


class Block(BlockModule):
    """A block with its weights, drawn as the program says.

    >>> layer = scanlang.Block("backbones.vmamba", "merge_down", dim=96)
    >>> y = layer(x)                         # x: (B, H, W, 96), y: (B, H / 2, W / 2, 192)

    Called with as many maps as its `forward` names, `(B, H, W, C)`, on a grid of the program's axes. Tokens are keywords,
    `(B, T, C)`: `cls` for the first input, `z_cls` for `z`. Gives a map, `(map, cls, …)` with its tokens, or a vector `(B, C)`.
    """

    def __init__(self, program: Program | str | PathLike[str], name: str | None = None, **given: Any) -> None:
        origin = origin_of(program, name, given, "block")
        block = origin.block()
        super().__init__(block, origin.axes)
        self._origin, self._block = origin, block
        self._calls: set[tuple[object, ...]] = set()
        learn_positions(self, self._calls_inside())

    def forward(self, *maps: Tensor, **tokens: Tensor) -> Any:  # type: ignore[override]
        inputs = self._inputs(maps, tokens)
        if not torch.compiler.is_compiling():
            self._check(inputs)
        return _shown(super().forward(*inputs))

    def _inputs(self, maps: tuple[Tensor, ...], tokens: dict[str, Tensor]) -> list[Feature]:
        names = self._block.inputs
        if len(maps) != len(names):
            raise self._wrong(f"{len(maps)} map{'' if len(maps) == 1 else 's'}", f"{len(names)}: {listed(names)}")
        by_input: list[dict[str, Tensor]] = [{} for _ in names]
        for key, value in tokens.items():
            number = next((n for n, name in enumerate(names) if n and key.startswith(f"{name}_")), 0)
            by_input[number][key.removeprefix(f"{names[number]}_") if number else key] = value
        return [self._feature(name, cells, own) for name, cells, own in zip(names, maps, by_input, strict=True)]

    def _feature(self, name: str, cells: Tensor, tokens: dict[str, Tensor]) -> Feature:
        lengths = ", ".join(axis.upper() for axis in self._origin.axes)
        for what, value, rank, wanted in (
            (f"`{name}`", cells, 2 + len(self._origin.axes), f"(B, {lengths}, C)"),
            *((f"`{token}`", value, 3, "(B, T, C)") for token, value in tokens.items()),
        ):
            if not isinstance(value, Tensor) or value.dtype not in FLOATS:
                kind = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else f"a {type(value).__name__}"
                raise self._wrong(f"{what} as {kind}", "tensors in floating point")
            if value.dim() != rank or value.shape[0] != cells.shape[0] or value.shape[-1] != cells.shape[-1]:
                raise self._wrong(f"{what} of shape ({', '.join(map(str, value.shape))})", wanted)
        return feature_of_map(cells, tokens)

    def _check(self, inputs: list[Feature]) -> None:
        """Once for sizes and tokens: that everything fits, and positions are learned for the tokens there are."""
        key = tuple((one.rows.shape[-1], one.grid, one.tokens) for one in inputs)
        if key in self._calls:
            return
        grids = {one.grid for one in inputs}
        if len(grids) > 1:
            sizes = " and ".join(" × ".join(map(str, grid)) for grid in grids)
            raise self._wrong(f"maps of {sizes} cells", "maps on one grid")
        values = tuple(Map(one.rows.shape[-1], tokens=one.tokens) for one in inputs)
        _, calls = trace_block(self._block, values, self._origin.axes, inputs[0].grid)
        for call in calls:
            for module, tokens in positions_met(self, (call,)):
                without = [name for name, _ in tokens if name not in module._parameters]
                if without:
                    raise self._wrong(f"the token {listed(without)}", f"no token where `{call.path}` has learned none")
        self._calls.add(key)

    def _calls_inside(self) -> tuple[Call, ...]:
        """The calls of its layers, where some number of channels goes through all of them: that tells the tokens it adds."""
        for channels in sorted(set(_channels(self._block))):
            with suppress(ScanError):
                return trace_block(self._block, (Map(channels),) * len(self._block.inputs), self._origin.axes)[1]
        return ()

    def _wrong(self, was: str, wanted: str) -> ScanError:
        return ScanError([WrongBlockInputs(self._block.span, self._block.name, was, wanted)])

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(value, 'name', value)}" for name, value in self._origin.given.items())


def _channels(part: Part) -> Iterator[int]:
    """What the layers in it are made for."""
    match part:
        case Layer():
            yield from (int(part.numbers[name]) for name in ("in", "dim") if name in part.numbers)
        case ScanLayer():
            yield part.channels
        case SizedBlock() | Repeat():
            for inner in part.parts.values() if isinstance(part, SizedBlock) else part.parts:
                yield from _channels(inner)


def _shown(value: Value) -> Any:
    if not isinstance(value, Feature):
        return value
    return (value.map, *value.by_token.values()) if value.tokens else value.map
