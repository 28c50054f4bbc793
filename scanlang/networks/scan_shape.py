"""A scan with its sizes in numbers: the shapes of its parameters, and why it cannot have so many channels.

In: a `ScanLayer`. Out: what `scanlang.codegen.module` makes of it, shape by shape, without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from scanlang.check.program import HEAD, LABELS, CheckedOperand, CheckedScan, Projection, Use
from scanlang.check.sizes import evaluate_size, problem_at
from scanlang.check.widths import misfit
from scanlang.limits import LIMITS
from scanlang.networks.network import ScanLayer
from scanlang.syntax.nodes import Name

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ScanShape:
    """`scan` is one layer of a scan, `sizes` has the value of every formal."""

    scan: CheckedScan
    channels: int
    sizes: Mapping[str, int]

    @cached_property
    def labels(self) -> dict[str, int]:
        """The sizes of the recurrence by label, and that of a unit."""
        return {HEAD: 1, **{label: int(evaluate_size(value, self.sizes)) for label, value in self.scan.sizes.items()}}

    @property
    def directions(self) -> int:
        return len(self.scan.directions)

    @property
    def result_channels(self) -> int:
        side_by_side = self.scan.merge == "concat" and self.scan.split is None
        return self.channels * self.directions if side_by_side else self.channels

    @cached_property
    def parts(self) -> tuple[int, ...]:
        """The channels of every direction."""
        if self.scan.split is None:
            return (self.channels,) * self.directions
        unit = self.channels // sum(self.scan.split)
        return tuple(unit * part for part in self.scan.split)

    def channels_each(self, operand: CheckedOperand) -> int:
        """How many consecutive channels have one value, 0 for all of them."""
        match operand.per:
            case "channel":
                return 1
            case "unit":
                return self.labels[HEAD]
            case "group":
                units = operand.units
                return self.labels[HEAD] * (self.labels[units] if isinstance(units, str) else units)
            case _:
                return 0

    def extents(self, indices: tuple[str, ...]) -> Shape:
        """The sizes of indices of the recurrence."""
        labels = self.scan.recurrence.indices
        return tuple(len(LABELS) if index not in labels else self.labels[labels[index]] for index in indices)

    def rows(self, projection: Projection) -> int:
        """How many numbers a projection makes for one direction."""
        operands = {operand.name: operand for operand in self.scan.recurrence.operands}
        total = 0
        for operand in (operands[name] for name in projection.names):
            each = self.channels_each(operand)
            total += prod(self.extents(operand.indices)) * (self.channels // each if each else 1)
        return total

    def parameters(self) -> dict[str, Shape]:
        """The shape of everything learned, by the name that the module has for it."""
        shapes: dict[str, Shape] = {}
        for operand in self.scan.recurrence.operands:
            if operand.kind in ("param", "shared param"):
                shapes[operand.name] = (*self._front(operand), *self.extents(operand.indices))
        for number, projection in enumerate(self.scan.projections):
            shapes |= self._projection(f"project_{number}" if number else "project", projection)
        if self.scan.conv is not None:
            front = self._per_channel("conv" in self.scan.shared)
            shapes |= {"conv_weight": (*front, self.scan.conv.width), "conv_bias": front}
        if self.scan.merge == "weighted":
            shapes["merge_weight"] = (self.directions,)
        for use in self.scan.uses:
            shapes |= {f"{use.name}.{name}": shape for name, shape in used_shapes(use, self.used_sizes(use)).items()}
        return shapes

    def used_sizes(self, use: Use) -> tuple[int, ...]:
        return tuple(int(evaluate_size(argument, self.sizes)) for argument in use.arguments)

    def _front(self, operand: CheckedOperand) -> Shape:
        """The dimensions of a parameter before its indices."""
        shared = operand.name in self.scan.shared
        if operand.kind == "shared param":
            return () if shared else (self.directions,)
        return self._per_channel(shared, self.labels[HEAD] if operand.per == "unit" else 1)

    def _per_channel(self, shared: bool, every: int = 1) -> Shape:
        count = self.channels // every
        if self.scan.split is not None:
            return (count // self.directions,) if shared else (count,)
        return (count,) if shared else (self.directions, count)

    def _projection(self, name: str, projection: Projection) -> dict[str, Shape]:
        rows, shared = self.rows(projection), "project" in self.scan.shared
        front: Shape = () if shared else (self.directions,)
        weight = (*front, rows, self.channels)
        if self.scan.split is not None:
            weight = (rows, self.channels // self.directions if shared else self.channels)
        return {f"{name}_weight": weight, **({f"{name}_bias": (*front, rows)} if projection.bias else {})}


def used_shapes(use: Use, sizes: tuple[int, ...]) -> dict[str, Shape]:
    """Those of a layer that a merge calls."""
    match use.layer:
        case "linear":
            bias = use.keywords.get("bias")
            without = isinstance(bias, Name) and bias.name == "false"
            return {"weight": (sizes[1], sizes[0]), **({} if without else {"bias": (sizes[1],)})}
        case "layer_norm":
            return {"weight": sizes, "bias": sizes}
        case _:
            return {"weight": sizes}


def scan_shape(layer: ScanLayer) -> ScanShape:
    """Sizes that the layer does not name have the scan's defaults."""
    sizes = dict(layer.sizes)
    for number, formal in enumerate(layer.scan.formals):
        if formal.label not in sizes:
            given = number == 0 or formal.default is None
            sizes[formal.label] = layer.channels if given else int(evaluate_size(formal.default, sizes))  # type: ignore[arg-type]
    return ScanShape(layer.scan.at_layer(layer.layer), layer.channels, sizes)


def why_not(shape: ScanShape) -> str | None:
    """Why the scan cannot have so many channels with these sizes, or None."""
    for label, value in shape.scan.sizes.items():
        problem = problem_at(value, shape.sizes, LIMITS.index_size)
        if problem is not None:
            return f"`{label}`: {problem}"
    return _undivided(shape) or _misfit(shape)


def _undivided(shape: ScanShape) -> str | None:
    """Every direction's channels are whole heads, and these whole groups."""
    head = shape.labels[HEAD]
    for part in shape.parts:
        of = f"{part} channels of a direction" if len(set(shape.parts)) > 1 or part != shape.channels else f"{part}"
        if part % head:
            return f"{of} are no whole heads of {head} channels"
        for operand in shape.scan.recurrence.operands:
            each = shape.channels_each(operand)
            if operand.per == "group" and part % each:
                return f"{of} are no whole groups of {each} channels, which `{operand.name}` has a value for"
    return None


def _misfit(shape: ScanShape) -> str | None:
    if isinstance(shape.scan.merge, str):
        return None
    finding = misfit(shape.scan.merge, shape.scan.uses, shape.channels, shape.sizes)
    return None if finding is None else f"in its merge, {finding.label}"
