"""A scan as an `nn.Module`: the operator with its projections and parameters, initialised as the program says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional

from scanlang.check.program import CheckedScan
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.codegen.compile import compile_scan
from scanlang.codegen.initial import initial_value
from scanlang.codegen.signature import FLOATS
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import BadSize, MissingSize, ReservedName, WrongArguments, WrongDevice, WrongShape, WrongType
from scanlang.graph.interpret import project_name
from scanlang.limits import LIMITS
from scanlang.program import Program

MAP_DIMENSIONS = 4


class Scan2d(nn.Module):
    """A scan with its learned maps and parameters.

    >>> core = scanlang.Scan2d("cross.scan", "cross", 96)
    >>> y = core(x)                          # x and y: (B, H, W, 96)

    `channels` is the scan's first formal (`dim`); other formals may be given by name, and have their defaults otherwise.
    Inputs are taken in the order of the scan's `input` clause. Parameters carry the recurrence's names, `(K, C, ·)` or
    `(C, ·)` where shared; a projection is `project_weight` `(K, rows, C)` (and `project_bias`), initialised as `nn.Linear`.
    A recurrence input that no projection makes and that is not a scan input is a keyword of the call.
    Raises ScanError for a scan, size or argument that does not fit.
    """

    def __init__(self, program: Program | str, scan: str | None = None, channels: int | None = None, **sizes: int) -> None:
        super().__init__()
        from scanlang import load

        program = program if isinstance(program, Program) else load(program)
        self.scan = program.checked.scans[program.scan_name(scan)]
        self.sizes = _sizes(self.scan, channels, sizes)
        self.channels = _channels(self.scan, channels, self.sizes)
        self.op = compile_scan(program, self.scan.name)
        self._labels = {
            label: _size(self.scan, label, evaluate_size(value, self.sizes), LIMITS.index_size)
            for label, value in self.scan.sizes.items()
        }
        self._make_parameters()
        self._make_projections()

    def _make_parameters(self) -> None:
        recurrence, directions = self.scan.recurrence, len(self.scan.directions)
        extents = {index: self._labels[label] for index, label in recurrence.indices.items()}
        for operand in recurrence.of_kind("param"):
            front = (self.channels,) if operand.name in self.scan.shared else (directions, self.channels)
            if hasattr(self, operand.name) or operand.name.startswith("project_"):
                reason = "torch.nn.Module or Scan2d has an attribute of that name"
                raise ScanError([ReservedName(operand.span, "a parameter of a module", operand.name, reason)])
            value = initial_value(operand.initial, operand.indices, extents, front)
            self.register_parameter(operand.name, nn.Parameter(value))

    def _make_projections(self) -> None:
        front = () if "project" in self.scan.shared else (len(self.scan.directions),)
        for number, projection in enumerate(self.scan.projections):
            rows = sum(math.prod(self._shape(name)) for name in projection.names)
            bound = 1.0 / math.sqrt(self.channels)
            weight = torch.empty(*front, rows, self.channels).uniform_(-bound, bound)
            self.register_parameter(f"{project_name(number)}_weight", nn.Parameter(weight))
            if projection.bias:
                bias = torch.empty(*front, rows).uniform_(-bound, bound)
                self.register_parameter(f"{project_name(number)}_bias", nn.Parameter(bias))

    def _shape(self, name: str) -> tuple[int, ...]:
        """What a projection makes for one direction: index sizes, or the channels."""
        operand = next(o for o in self.scan.recurrence.operands if o.name == name)
        if operand.kind == "input":
            return (self.channels,)
        return tuple(self._labels[self.scan.recurrence.indices[i]] for i in operand.indices)

    def forward(self, /, *inputs: Tensor, **keywords: Tensor) -> Tensor:
        names = self.scan.inputs
        if len(inputs) > len(names):
            raise ScanError([WrongArguments(self.scan.span, (), (f"{len(inputs)} inputs",), names)])
        given = {**dict(zip(names, inputs, strict=False)), **keywords}
        if len(given) < len(inputs) + len(keywords):
            twice = tuple(f"a second {name}" for name in names[: len(inputs)] if name in keywords)
            raise ScanError([WrongArguments(self.scan.span, (), twice, names)])
        missing = tuple(name for name in names if name not in given)
        if missing:
            raise ScanError([WrongArguments(self.scan.span, missing, (), names)])
        own = {*self.scan.projected, *(operand.name for operand in self.scan.recurrence.of_kind("param"))}
        taken = tuple(dict.fromkeys((*names, *(name for name in self.op.arguments if name not in own))))
        unknown = tuple(name for name in given if name not in taken)
        if unknown:
            raise ScanError([WrongArguments(self.scan.span, (), unknown, taken)])
        arguments = {name: given[name] for name in given if name in self.op.arguments}
        for operand in self.scan.recurrence.of_kind("param"):
            arguments[operand.name] = getattr(self, operand.name)
        for number in range(len(self.scan.projections)):
            arguments.update(self._project(number, given))
        return self.op(**arguments)

    def _project(self, number: int, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One linear map for all directions, in grid order, and its slices by name."""
        projection, directions = self.scan.projections[number], len(self.scan.directions)
        weight: Tensor = getattr(self, f"{project_name(number)}_weight")
        bias: Tensor | None = getattr(self, f"{project_name(number)}_bias", None)
        x = self._projectable(projection.source, given[projection.source], weight)
        rows = functional.linear(x, weight.flatten(0, -2), None if bias is None else bias.flatten())
        rows = rows.unflatten(-1, (-1, weight.shape[-2])).expand(*x.shape[:-1], directions, weight.shape[-2])
        shapes = [self._shape(name) for name in projection.names]
        parts = rows.split([math.prod(shape) for shape in shapes], -1)
        return {
            name: part.unflatten(-1, shape) if shape else part.squeeze(-1)
            for name, part, shape in zip(projection.names, parts, shapes, strict=True)
        }

    def _projectable(self, name: str, x: object, weight: Tensor) -> Tensor:
        """`x`, which a projection with that weight takes; else a ScanError that names it."""
        if not isinstance(x, Tensor):
            raise ScanError([WrongType(self.scan.span, name, f"a {type(x).__name__}", "a tensor")])
        finding: Diagnostic | None = None
        if x.dim() != MAP_DIMENSIONS or x.shape[-1] != self.channels:
            finding = WrongShape(self.scan.span, name, tuple(x.shape), f"(B, H, W, {self.channels})")
        elif x.device != weight.device:
            finding = WrongDevice(self.scan.span, name, str(x.device), str(weight.device))
        elif x.dtype != weight.dtype and not (x.dtype in FLOATS and torch.is_autocast_enabled(x.device.type)):
            was, wanted = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, weight.dtype))
            finding = WrongType(self.scan.span, name, was, f"{wanted}, as the module's weights are")
        if finding is not None:
            raise ScanError([finding])
        return x

    def extra_repr(self) -> str:
        sizes = ", ".join(f"{label}={size}" for label, size in self.sizes.items())
        return f"{self.scan.name}, {sizes}, {len(self.scan.directions)} directions"


def _sizes(scan: CheckedScan, channels: int | None, given: Mapping[str, int]) -> dict[str, int]:
    """The value of every formal of a scan: the first is the number of channels."""
    labels = tuple(formal.label for formal in scan.formals)
    unknown = tuple(name for name in given if name not in labels)
    if unknown:
        raise ScanError([WrongArguments(scan.span, (), unknown, labels)])
    sizes = dict(given) if channels is None or not labels else {labels[0]: channels, **given}
    for label, value in sizes.items():
        _given_size(scan, label, value)
        if label == labels[0] and channels not in (None, value):
            raise ScanError([BadSize(scan.span, label, f"it is given twice, as {channels} and {value}")])
    for formal in scan.formals:
        if formal.label in sizes:
            continue
        if formal.default is None:
            raise ScanError([MissingSize(scan.span, scan.name, formal.label, formal.span)])
        sizes[formal.label] = _size(scan, formal.label, evaluate_size(formal.default, sizes))
    return sizes


def _channels(scan: CheckedScan, channels: int | None, sizes: Mapping[str, int]) -> int:
    """What was given, or the first formal's value."""
    if channels is None and not scan.formals:
        raise ScanError([WrongArguments(scan.span, ("channels",), (), ("channels",))])
    return _given_size(scan, "channels", sizes[scan.formals[0].label] if channels is None else channels)


def _given_size(scan: CheckedScan, label: str, value: object) -> int:
    """A size that the caller gives: an integer, of any library."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ScanError([BadSize(scan.span, label, f"it is {value!r}, which is not an integer")])
    return _size(scan, label, Fraction(int(value)))


def _size(scan: CheckedScan, label: str, value: Fraction, limit: int = LIMITS.integer) -> int:
    if (problem := size_problem(value, limit)) is not None:
        raise ScanError([BadSize(scan.span, label, problem)])
    return int(value)
