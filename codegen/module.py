"""A scan as an `nn.Module`: the operator with projections, convolution, parameters and layers, initialised as the program says.

Maps and tokens are packed into rows once; everything between is on rows: convolution, projections, the operator, the merge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from scanlang.check.program import HEAD, LABELS, CheckedOperand, CheckedScan
from scanlang.check.widths import misfit
from scanlang.codegen.arguments import CONV_WEIGHT, map_argument, token_argument
from scanlang.codegen.compile import layer_of
from scanlang.codegen.for_module import compile_for_module
from scanlang.codegen.initial import direction_numbers, initial_value, unit_numbers
from scanlang.codegen.module_sizes import channel_count, formal_sizes, index_sizes
from scanlang.codegen.parameters import TAPS, taps
from scanlang.codegen.projections import ProjectionShape
from scanlang.codegen.row_arguments import RowArguments
from scanlang.codegen.rows import Rows
from scanlang.codegen.signature import FLOATS, Signature
from scanlang.codegen.units import undivided
from scanlang.codegen.used_layers import used_layer
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import ReservedName, WrongArguments, WrongDevice, WrongShape, WrongType
from scanlang.graph.interpret import project_name
from scanlang.graph.step_rewrites import convolved
from scanlang.program import Program
from scanlang.source import Span

MOST_CALLS = 256
"""Kinds of calls that are remembered."""

SUMMED = "summed."
"""What a convolution makes of cells that are visited several times, summed over the visits."""


@dataclass(frozen=True)
class _Projection:
    """One linear map for all directions: the names of its weight and bias, and what it makes, by name in its order; `counts`
    are the numbers that each part has."""

    shape: ProjectionShape
    weight: str
    bias: str | None
    parts: Mapping[str, tuple[int, ...]]
    counts: list[int]


class Scan2d(nn.Module):
    """A scan with its learned maps and parameters.

    >>> core = scanlang.Scan2d("cross.scan", "cross", 96)
    >>> y = core(x)                          # x and y: (B, H, W, 96)

    `channels` is the scan's first formal (`dim`); other formals may be given by name, and have their defaults otherwise. With
    heads there are whole heads of channels. `layer` picks the directions of a scan with `layers`. A grid has one to four axes:
    `(B, T, H, W, C)` for three.
    Inputs are taken in the order of the scan's `input` clause. Parameters carry the recurrence's names, `(K, C, ·)` (of heads
    `(K, heads, ·)`), or without K where shared; a projection is `project_weight` `(K, rows, C)` (and `project_bias`),
    initialised as `nn.Linear`.
    Tokens are keywords, `core(x, z, cls=cls, z_cls=z_cls)`, each `(B, T, C)`; the result is then a tuple of the map and the
    tokens. So are orders given at run time, `(B, L)`, and a recurrence input that no projection makes and that is not a scan
    input. `h0=` and `return_state=True` are as of the operator. States of a convolution in the directions' own time are among
    them, each once; one along an order of its own keeps none.
    Raises ScanError for a scan, size or argument that does not fit.
    """

    def __init__(
        self,
        program: Program | str,
        scan: str | None = None,
        channels: int | None = None,
        *,
        layer: int = 0,
        **sizes: int,
    ) -> None:
        super().__init__()
        from scanlang import load

        program = program if isinstance(program, Program) else load(program)
        self._make(program.scans[program.scan_name(scan)], program.checked.axes, channels, layer, sizes)

    @classmethod
    def of_checked(
        cls, scan: CheckedScan, axes: tuple[str, ...], channels: int, layer: int = 0, sizes: Mapping[str, int] | None = None
    ) -> Scan2d:
        """The module of a scan that was found already, on a grid of these axes."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._make(scan, axes, channels, layer, sizes or {})
        return made

    def _make(
        self, scan: CheckedScan, axes: tuple[str, ...], channels: int | None, layer: int, sizes: Mapping[str, int]
    ) -> None:
        self.sizes = formal_sizes(layer_of(scan, layer), channels, sizes)
        compiled = compile_for_module(scan, axes, layer)
        self.scan, self.op, self._summed, self._elsewhere = compiled.scan, compiled.op, compiled.summed, compiled.elsewhere
        self.channels = channel_count(self.scan, channels, self.sizes)
        self._labels = index_sizes(self.scan, self.sizes)
        self._check_units()
        self._signature = self._call_signature()
        self._row_arguments = RowArguments(self._signature, self.scan.inputs, self.channels, axes)
        self._checked: set[tuple[object, ...]] = set()
        self._learned: list[str] = []
        self._make_parameters()
        self._make_projections()
        self._make_weights()
        self._make_layers()

    @property
    def _directions(self) -> int:
        return len(self.scan.directions)

    def _call_signature(self) -> Signature:
        """What a call takes: the scan's inputs in order, what nothing makes, tokens, orders."""
        scan, op = self.scan, self.op.signature
        own = {argument.name: argument for argument in op.maps}
        inputs = [own.get(name) or map_argument(name, op.axes, scan.span) for name in scan.inputs]
        others = [one for one in op.maps if one.name not in scan.inputs and one.name not in scan.projected]
        maps = (*inputs, *others)
        tokens = [token_argument(token, one, scan.inputs[0], op.axes) for token in self.op.tokens for one in maps]
        known = {**op.known, "C": (self.channels, "as the module has")}
        fixed = {**op.fixed, **self._labels}
        return replace(op, arguments=(*maps, *tokens, *op.orders), known=known, fixed=fixed)

    def _check_units(self) -> None:
        """Channels are whole heads, and these whole groups."""
        op = self.op.signature
        dimensions = [dimension for argument in op.arguments for dimension in argument.dimensions]
        wrong = undivided(self.scan.span, op.own_channels(self.channels), dimensions, self._unit_sizes)
        if wrong is not None:
            raise ScanError([wrong])

    @property
    def _unit_sizes(self) -> dict[str, int]:
        """The sizes of the recurrence by label, and that of a unit."""
        return {HEAD: 1, **self._labels}

    def _register(self, span: Span, name: str, value: Tensor) -> None:
        self._check_name(span, "a parameter of a module", name)
        self.register_parameter(name, nn.Parameter(value))
        self._learned.append(name)

    def _check_name(self, span: Span, kind: str, name: str) -> None:
        if hasattr(self, name) or name.startswith("project_"):
            reason = "torch.nn.Module or Scan2d has an attribute of that name"
            raise ScanError([ReservedName(span, kind, name, reason)])

    def _make_parameters(self) -> None:
        """Those of the recurrence."""
        extents = {index: self._labels[label] for index, label in self.scan.recurrence.indices.items()}
        extents["label"] = len(LABELS)
        for operand in self.scan.recurrence.operands:
            if operand.kind in ("param", "shared param"):
                numbers = {**self._direction(operand), **self._units(operand)}
                value = initial_value(operand.initial, operand.indices, extents, self._front(operand), numbers)
                self._register(operand.span, operand.name, value)

    def _front(self, operand: CheckedOperand) -> tuple[int, ...]:
        """The dimensions of a parameter before its indices."""
        shared = operand.name in self.scan.shared
        if operand.kind == "shared param":
            return () if shared else (self._directions,)
        return self._per_channel(shared, self._unit_sizes[HEAD] if operand.per == "unit" else 1)

    def _direction(self, operand: CheckedOperand) -> dict[str, Tensor]:
        """The number of the direction for the first dimension before the indices."""
        front, split = self._front(operand), self.scan.split is not None and operand.kind == "param"
        if operand.name in self.scan.shared:
            return direction_numbers(front[:1], front)
        every = self._unit_sizes[HEAD] if operand.per == "unit" else 1
        own = self.op.signature.own_channels(self.channels) if split else (every,) * self._directions
        return direction_numbers([part // every for part in own], front)

    def _units(self, operand: CheckedOperand) -> dict[str, Tensor]:
        """The numbers of units for the last dimension before the indices."""
        if operand.kind == "shared param":
            return {}
        head, parts = self._unit_sizes[HEAD], self.op.signature.own_channels(self.channels)
        own = parts[:1] if operand.name in self.scan.shared else parts
        return unit_numbers([part // head for part in own], 1 if operand.per == "unit" else head)

    def _per_channel(self, shared: bool, every: int = 1) -> tuple[int, ...]:
        """With an entry for so many channels."""
        count = self.channels // every
        if self.scan.split is not None:
            return (count // self._directions,) if shared else (count,)
        return (count,) if shared else (self._directions, count)

    def _make_projections(self) -> None:
        self._projections: list[_Projection] = []
        for number, projection in enumerate(self.scan.projections):
            stem, shape = project_name(number), self._projection(number)
            names = f"{stem}_weight", f"{stem}_bias" if projection.bias else None
            parts = {name: self._shape(name) for name in projection.names}
            self._projections.append(_Projection(shape, *names, parts, list(map(math.prod, parts.values()))))
            for name, value in zip(names, shape.initial(projection.bias), strict=True):
                if name is not None and value is not None:
                    self.register_parameter(name, nn.Parameter(value))

    def _projection(self, number: int) -> ProjectionShape:
        rows = sum(math.prod(self._shape(name)) for name in self.scan.projections[number].names)
        parts = [self.op.graph.channels(k, self.channels) for k in range(self._directions)]
        starts = tuple((part.start, part.stop - part.start) for part in parts)
        return ProjectionShape(rows, self.channels, starts, self.scan.split is not None, "project" in self.scan.shared)

    def _shape(self, name: str) -> tuple[int, ...]:
        """What a projection makes for one direction: index sizes, for every channel, head or group if there is one for each."""
        step = self.op.graph.step
        operand = next(o for o in step.operands if o.name == name)
        every = operand.channels(self._unit_sizes)
        extents = tuple(self._labels[step.sizes[index]] for index in operand.indices)
        return extents if every == 0 else (self.channels // every, *extents)

    def _make_weights(self) -> None:
        """Those of the convolution, and of the merge."""
        if self.scan.conv is not None:
            front, bound = self._per_channel("conv" in self.scan.shared), 1.0 / math.sqrt(self.scan.conv.width)
            weight = torch.empty(*front, self.scan.conv.width).uniform_(-bound, bound)
            self._register(self.scan.conv.span, "conv_weight", weight)
            self._register(self.scan.conv.span, "conv_bias", torch.empty(front).uniform_(-bound, bound))
        if self.scan.merge == "weighted":
            self._register(self.scan.span, "merge_weight", torch.zeros(self._directions))

    def _make_layers(self) -> None:
        if not isinstance(self.scan.merge, str):
            finding = misfit(self.scan.merge, self.scan.uses, self.channels, self.sizes)
            if finding is not None:
                raise ScanError([finding])
        for use in self.scan.uses:
            self._check_name(use.span, "a layer of a module", use.name)
            self.add_module(use.name, used_layer(self.scan, use, self.sizes))
            self._learned.append(use.name)

    def forward(self, /, *inputs: Tensor, h0: Any = None, return_state: bool = False, **keywords: Tensor) -> Any:
        given = self._given(inputs, keywords)
        for number, projection in enumerate(self.scan.projections):
            self._check_projectable(number, projection.source, given[projection.source])
        self._signature.check(given)
        rows = self.op.rows(self._signature.grid(given))
        self.op.check_tokens(self._signature, given, rows)
        result, last = self._run(rows, self._signature.packed(rows, given), given, h0, return_state)
        return self.op.unpack(rows, result, last)

    def on_rows(self, inputs: Sequence[Tensor], grid: Sequence[int], tokens: Sequence[tuple[str, int]] = ()) -> Tensor:
        """The scan of maps that lie in rows `(B, R, C)` already, as is the result: cells in raster order, then `tokens`, so
        many of every name. Nothing is packed or copied but where the orders have pads, or other orders of tokens.

        Of a scan that takes nothing beside its inputs.
        """
        rows = self.op.rows(tuple(grid))
        self._check_rows(inputs, rows, tuple(tokens))
        maps = {name: rows.take(x, tokens) for name, x in zip(self.scan.inputs, inputs, strict=True)}
        return rows.give(self._run(rows, maps, {}, None, False)[0], tokens)

    def _run(
        self, rows: Rows, packed: Mapping[str, Tensor], given: Mapping[str, Tensor], h0: Any, return_state: bool
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The result on rows, and the last states where they are asked for."""
        values: dict[str, Any] = {**given, **{name: self._value(name) for name in self._learned}}
        maps = dict(packed)
        if self.op.conv is not None:
            values[TAPS] = taps(values[CONV_WEIGHT])  # for both passes
            maps |= self.op.convolved(rows, maps, values, h0)
        if self._summed is not None:
            maps[SUMMED] = self._summed.outputs(rows, maps, values, self._summed.states.own(h0) or None)[0]
        for number in range(len(self.scan.projections)):
            maps |= self._project(number, maps)
        return self.op.run(rows, maps, values, h0, return_state)

    def _check_rows(self, inputs: Sequence[Tensor], rows: Rows, tokens: tuple[tuple[str, int], ...]) -> None:
        """Raise a ScanError for what does not fit; what did is not looked at again where it is called in the same way."""
        if torch.compiler.is_compiling():
            self._check_on_rows(inputs, rows, tokens)
            return
        weights = [(weight.dtype, weight.device) for weight in (self._value(one.weight) for one in self._projections)]
        key = rows.grid, tokens, *weights, *[(x.shape, x.dtype, x.device, _is_mixed(x)) for x in inputs]
        if key not in self._checked:
            self._check_on_rows(inputs, rows, tokens)
            while len(self._checked) >= MOST_CALLS:
                self._checked.clear()
            self._checked.add(key)

    def _check_on_rows(self, inputs: Sequence[Tensor], rows: Rows, tokens: tuple[tuple[str, int], ...]) -> None:
        self._row_arguments.check(inputs, rows, tokens)
        for number, projection in enumerate(self.scan.projections):
            self._check_weight(number, projection.source, inputs[self.scan.inputs.index(projection.source)])

    def _value(self, name: str) -> Any:
        """What is learned of that name; one of `torch.nn.utils.parametrize` is no parameter of the module's own."""
        found = self._parameters.get(name)
        return getattr(self, name) if found is None else found

    def _given(self, inputs: tuple[Tensor, ...], keywords: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The arguments by name, every one there and none too many."""
        names = self.scan.inputs
        if len(inputs) > len(names):
            raise ScanError([WrongArguments(self.scan.span, (), (), names, unnamed=len(inputs), inputs=len(names))])
        given = {**dict(zip(names, inputs, strict=False)), **keywords}
        if len(given) < len(inputs) + len(keywords):
            twice = tuple(f"a second {name}" for name in names[: len(inputs)] if name in keywords)
            raise ScanError([WrongArguments(self.scan.span, (), twice, names)])
        self._signature.complete(given)
        return given

    def _project(self, number: int, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a projection makes, on rows, by name."""
        source = self.scan.projections[number].source
        made = self._projected(number, maps.get(convolved(source), maps[source]))
        if SUMMED in maps and convolved(source) in maps:
            made |= {name: one for name, one in self._projected(number, maps[SUMMED]).items() if name in self._elsewhere}
        return made

    def _projected(self, number: int, x: Tensor) -> dict[str, Tensor]:
        """One linear map for all directions, and its slices."""
        one = self._projections[number]
        bias = None if one.bias is None else self._value(one.bias)
        parts = torch.split_with_sizes(one.shape.project(x, self._value(one.weight), bias), one.counts, -1)
        return {
            name: part if len(own) == 1 else part.unflatten(-1, own) if own else part.squeeze(-1)
            for (name, own), part in zip(one.parts.items(), parts, strict=True)
        }

    def _check_projectable(self, number: int, name: str, x: object) -> None:
        """Raise a ScanError where a projection cannot take `x`."""
        if not isinstance(x, Tensor):
            raise ScanError([WrongType(self.scan.span, name, f"a {type(x).__name__}", "a tensor")])
        if x.dim() != 2 + len(self._signature.axes) or x.shape[-1] != self.channels:
            wanted = f"(B, {', '.join(self._signature.axes)}, {self.channels})"
            raise ScanError([WrongShape(self.scan.span, name, tuple(x.shape), wanted)])
        self._check_weight(number, name, x)

    def _check_weight(self, number: int, name: str, x: Tensor) -> None:
        """Raise a ScanError where `x` is elsewhere or of another type than the weights of a projection."""
        weight: Tensor = getattr(self, f"{project_name(number)}_weight")
        finding: Diagnostic | None = None
        if x.device != weight.device:
            finding = WrongDevice(self.scan.span, name, str(x.device), str(weight.device))
        elif x.dtype != weight.dtype and not _is_cast(x, weight):
            was, wanted = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, weight.dtype))
            finding = WrongType(self.scan.span, name, was, f"{wanted}, as the module's weights are")
        if finding is not None:
            raise ScanError([finding])

    def extra_repr(self) -> str:
        sizes = ", ".join(f"{label}={size}" for label, size in self.sizes.items())
        return f"{self.scan.name}, {sizes}, {self._directions} directions"


def _is_mixed(x: object) -> bool:
    return isinstance(x, Tensor) and torch.is_autocast_enabled(x.device.type)


def _is_cast(*tensors: Tensor) -> bool:
    """Autocast makes one type of them; float64 it leaves as it is."""
    floats = all(tensor.dtype in FLOATS and tensor.dtype != torch.float64 for tensor in tensors)
    return floats and torch.is_autocast_enabled(tensors[0].device.type)
