"""Random arguments for a compiled scan: plain numbers from a seed, different for every direction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from scanlang.check.program import HEAD, LABELS, CheckedScan, Use
from scanlang.check.sizes import evaluate_size
from scanlang.graph.interpret import token_argument
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import Operand
from scanlang.graph.step_rewrites import CONV_BIAS, MERGE_WEIGHT, RESTART, conv_parameters, convolved, is_weighted
from scanlang.program import Program
from scanlang.syntax.nodes import Name

if TYPE_CHECKING:
    from scanlang.codegen.op import CompiledScan

Shape = tuple[int, ...]
Grid = tuple[int, ...]


def open_sizes(op: CompiledScan) -> tuple[str, ...]:
    """The sizes that a scan leaves open: read off its arguments at each call."""
    step = op.graph.step
    labels = dict.fromkeys(step.sizes[index] for operand in step.operands for index in operand.indices)
    groups = [operand.units for operand in step.operands if operand.per == "group"]
    labels |= dict.fromkeys(units for units in groups if isinstance(units, str))
    labels |= {HEAD: None} if step.head and (groups or any(operand.per == "unit" for operand in step.operands)) else {}
    return tuple(label for label in labels if label not in op.signature.fixed)


def _sizes(op: CompiledScan, sizes: Mapping[str, int]) -> dict[str, int]:
    """All sizes: the scan's, those given, and for the others one each."""
    return {label: 2 + place for place, label in enumerate(open_sizes(op))} | dict(sizes) | dict(op.signature.fixed)


def fewest_channels(op: CompiledScan, sizes: Mapping[str, int]) -> int:
    """Channels come in multiples of this: every direction has whole units and whole groups of them."""
    known, step = _sizes(op, sizes), op.graph.step
    every = [operand.channels(known) for operand in step.operands if operand.per != "all"]
    return math.lcm(*every, known.get(HEAD, 1)) * sum(op.graph.split or (1,))


def _whole_units(op: CompiledScan, channels: int, sizes: Mapping[str, int]) -> Mapping[str, int]:
    """`sizes`, with units and groups as the scan's defaults have them where so many channels are not made of those drawn."""
    if channels % fewest_channels(op, sizes) == 0:
        return sizes
    groups = {operand.units for operand in op.graph.step.operands if operand.per == "group"}
    return {label: size for label, size in op.usual.items() if label in {HEAD, *groups}} | dict(sizes)


def shown_by(op: CompiledScan, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What `draw_inputs` had been told of batch, channels and sizes, read off what it made: for `draw_states`."""
    step, sizes = op.graph.step, dict(op.signature.fixed)
    given = [operand for operand in step.operands if operand.name in tensors]
    for operand in given:
        shape = tensors[operand.name].shape
        sizes |= {step.sizes[index]: shape[place - len(operand.indices)] for place, index in enumerate(operand.indices)}
    maps = [*(operand.name for operand in given if operand.kind == "input"), *op.graph.scan_inputs]
    first = next(tensors[name] for name in maps if name in tensors)
    counts = [tensors[o.name].shape[-1 - len(o.indices)] for o in given if o.kind == "input" and o.per == "channel"]
    channels = counts[0] if counts else first.shape[-1]
    for operand in given:
        if operand.per == "unit":
            count = tensors[operand.name].shape[-1 - len(operand.indices)]
            parts = op.graph.directions if op.graph.split is not None and operand.name in op.graph.shared else 1
            sizes[HEAD] = channels // parts // count
    return {"batch": len(first), "channels": channels, "sizes": sizes}


def argument_shapes(op: CompiledScan, grid: Grid, batch: int, channels: int, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """The shape of every argument of a scan, orders given at run time apart."""
    fewest = fewest_channels(op, sizes)
    if channels % fewest:
        raise ValueError(f"{channels} channels are not a multiple of {fewest}, what whole units and groups of them come to")
    return _Shapes(op.graph, grid, batch, channels, _sizes(op, sizes)).all()


def state_shapes(op: CompiledScan, batch: int, channels: int, sizes: Mapping[str, int]) -> dict[str, Shape]:
    """The shape of every state of a scan, before the first step and after the last."""
    return _Shapes(op.graph, (), batch, channels, _sizes(op, sizes)).of_states()


class _Shapes:
    """Read off the scan graph, so that a mistake in the operator's own account of its arguments is seen."""

    def __init__(self, graph: ScanGraph, grid: Grid, batch: int, channels: int, sizes: Mapping[str, int]) -> None:
        self.graph, self.grid, self.batch, self.channels, self.sizes = graph, grid, batch, channels, sizes

    def all(self) -> dict[str, Shape]:
        maps, shapes = dict[str, Shape](), dict[str, Shape]()
        for operand in self.graph.step.operands:
            name = self.before_conv(operand.name)
            if name in self.graph.inputs() or name != operand.name:
                maps[name] = shapes[name] = self.of_map(operand, name)
            else:
                shapes |= self.of_parameter(operand)
        if any(operand.name == convolved(self.graph.scan_inputs[0]) for operand in self.graph.step.operands):
            shapes |= self.of_conv()
        for name in self.graph.merge_inputs:
            maps[name] = shapes[name] = (*self.grid, self.channels)
        shapes |= {name: (self.batch, *shape) for name, shape in maps.items()}
        for token, count in self.graph.traversal.at(self.grid).tokens:
            for name, shape in maps.items():
                shapes[token_argument(self.graph, name, token)] = (self.batch, count, *shape[len(self.grid) :])
        return shapes

    def before_conv(self, name: str) -> str:
        """The input that the caller gives for one that is convolved before the scan."""
        first = self.graph.scan_inputs[0]
        return first if name == convolved(first) else name

    def of_map(self, operand: Operand, name: str) -> Shape:
        own = name == operand.name and self.graph.inputs()[name].per_direction
        every = operand.channels(self.sizes)
        units = (self.channels // every,) if every else ()
        return (*self.grid, *((self.graph.directions,) if own else ()), *units, *self.extents(operand.indices))

    def of_states(self) -> dict[str, Shape]:
        shapes = {}
        for state in self.graph.step.states:
            units = self.channels // (self.sizes[HEAD] if state.per == "unit" and self.graph.step.head else 1)
            front = (self.batch,) if self.graph.split is not None else (self.batch, self.graph.directions)
            shapes[state.name] = (*front, units, *self.extents(state.indices))
        return shapes

    def of_parameter(self, operand: Operand) -> dict[str, Shape]:
        graph, name, last = self.graph, operand.name, self.extents(operand.indices)
        front = () if name in graph.shared else (graph.directions,)
        if name == RESTART:
            return {}
        if name == MERGE_WEIGHT and is_weighted(graph.step):
            return {name: front}
        if graph.conv is not None and name in conv_parameters(graph.conv.width):
            return self.of_conv()
        if name in graph.labelled:
            return {name: (*front, len(LABELS), *last)}
        if name in graph.channelless:
            return {name: (*front, *last)}
        *before, channels = self.of_channels(name in graph.shared)
        return {name: (*before, channels // operand.channels(self.sizes), *last)}

    def of_conv(self) -> dict[str, Shape]:
        assert self.graph.conv is not None
        front = self.of_channels("conv" in self.graph.shared)
        return {"conv_weight": (*front, self.graph.conv.width), CONV_BIAS: front}

    def of_channels(self, shared: bool) -> Shape:
        """The first dimensions of a parameter of every channel."""
        if self.graph.split is not None:
            return (self.channels // self.graph.directions,) if shared else (self.channels,)
        return (self.channels,) if shared else (self.graph.directions, self.channels)

    def extents(self, indices: tuple[str, ...]) -> Shape:
        return tuple(self.sizes[self.graph.step.sizes[index]] for index in indices)


def given_orders(graph: ScanGraph) -> tuple[str, ...]:
    """The names of the orders that are given at run time."""
    return tuple(dict.fromkeys(order.given for order in graph.traversal.numbered if order.given is not None))


def draw_inputs(
    op: CompiledScan,
    grid: Grid,
    *,
    batch: int = 2,
    channels: int | None = None,
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

    There are `channels` of them, or three times the fewest there can be. `sizes` gives sizes that the program leaves open
    (`{"rank": 2}`, `{"head": 4}` for the channels of a unit; units are the scan's own where `channels` do not make others);
    `dtype` may be per name; without `contiguous`, every tensor is a strided view into a larger one with its dimensions stored
    in another order. Orders given at run time are permutations at random, one for each image. What a merge calls is not among
    them: see `draw_layers`.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = 3 * fewest_channels(op, sizes or {}) if channels is None else channels
    shapes = argument_shapes(op, grid, batch, channels, _whole_units(op, channels, sizes or {}))
    made = {}
    for name, shape in shapes.items():
        value = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
        wanted = dtype if isinstance(dtype, torch.dtype) else dtype.get(name, torch.float32)
        value = value.to(wanted).to(device)
        made[name] = value if contiguous else _strided(value)
    cells = torch.Size(grid).numel()
    for name in given_orders(op.graph):
        keys = torch.rand(batch, cells, generator=generator, dtype=torch.float64)
        made[name] = keys.argsort(1).to(device)
    return made


def draw_states(
    op: CompiledScan,
    *,
    batch: int = 2,
    channels: int | None = None,
    sizes: Mapping[str, int] | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: str = "cpu",
    low: float = 0.0,
    high: float = 1.0,
) -> dict[str, Tensor]:
    """States for `h0=`, by name, uniform in `low` … `high`: positive, since some are divided by; the rest as for `draw_inputs`.

    >>> y, last = op(**draw_inputs(op, (5, 7)), h0=draw_states(op), return_state=True)

    For tensors that were drawn elsewhere: `draw_states(op, **shown_by(op, tensors))`.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = 3 * fewest_channels(op, sizes or {}) if channels is None else channels
    shapes = state_shapes(op, batch, channels, _whole_units(op, channels, sizes or {}))
    drawn = {name: torch.rand(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: (value * (high - low) + low).to(dtype).to(device) for name, value in drawn.items()}


def draw_layers(
    program: Program,
    scan: str | None = None,
    layer: int = 0,
    *,
    channels: int = 3,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, nn.Module]:
    """The layers that a scan's merge calls, by name, with weights from a seed.

    >>> y = op(**draw_inputs(op, (5, 7)), **draw_layers(program))
    """
    checked = program.checked.scans[program.scan_name(scan)].at_layer(layer)
    generator, sizes, made = torch.Generator().manual_seed(seed), _formals(checked, channels), dict[str, nn.Module]()
    for use in checked.uses:
        module = _layer(use, sizes)
        for parameter in module.parameters():
            nn.init.uniform_(parameter, -1.0, 1.0, generator=generator)
        made[use.name] = module.to(dtype).to(device)
    return made


def _formals(scan: CheckedScan, channels: int) -> dict[str, int]:
    """The sizes of a scan: the first one are the channels, the others have their defaults, or are 2."""
    sizes: dict[str, int] = {}
    for place, formal in enumerate(scan.formals):
        default = 2 if formal.default is None else int(evaluate_size(formal.default, sizes))
        sizes[formal.label] = channels if place == 0 else default
    return sizes


def _layer(use: Use, sizes: Mapping[str, int]) -> nn.Module:
    arguments = [int(evaluate_size(argument, sizes)) for argument in use.arguments]
    bias = use.keywords.get("bias")
    match use.layer:
        case "linear":
            return nn.Linear(arguments[0], arguments[1], bias=not (isinstance(bias, Name) and bias.name == "false"))
        case "layer_norm":
            return nn.LayerNorm(arguments)
        case "rms_norm":
            return nn.RMSNorm(arguments, eps=1e-6)
        case _:
            raise ValueError(f"no layer {use.layer}")


def _strided(value: Tensor) -> Tensor:
    """The same values in every other element of a larger tensor, dimensions stored the other way round."""
    if value.ndim == 0:
        return value
    backwards: Sequence[int] = range(value.ndim - 1, -1, -1)
    shape = [value.shape[axis] for axis in backwards]
    room = torch.full((*shape[:-1], 2 * shape[-1] + 1), float("nan"), dtype=value.dtype, device=value.device)
    view = room[..., 1::2]
    view.copy_(value.permute(*backwards))
    return view.permute(*backwards)
