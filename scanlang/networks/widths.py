"""Follows a value through a network without computing: its channels, its tokens, and its grid as a factor of the image's.

In: a `Network`. Out: a `Trace` with what every layer is given and makes, or a ScanError with every finding (S330 … S347).
After a finding nothing is said of what comes of it, and each place is said once, however often a block is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import assert_never

from scanlang.diagnostics import Diagnostic, InternalError, ScanError
from scanlang.errors import BadSplit, NetworkPlace, NoClassScores, NoFeatureMap, NoResult, TooMany
from scanlang.limits import LIMITS
from scanlang.networks import function_values as functions
from scanlang.networks.layer_values import layer_value
from scanlang.networks.meeting import Meeting, Misfit, Setting, written
from scanlang.networks.network import Block, Layer, Network, Number, Part, Repeat, ScanLayer, Section
from scanlang.networks.scan_values import scan_value
from scanlang.networks.trace import Call, FeatureInfo, SectionTrace, Trace, feature_info
from scanlang.networks.values import Map, Quantity, Several, Unknown, Value, Vector, counted
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Body, Expr, Let

IN_CHANNELS, CLASSES = "in_chans", "num_classes"
POOL, HEAD = "pool", "head"
PHOTOGRAPH = 3
"""The channels of images where the backbone has no formal `in_chans`."""


def trace(network: Network, in_chans: int | None = None, grid: tuple[int, ...] | None = None) -> Trace:
    """Of images with so many channels, those that the backbone says if left out; `grid` is the size of the image.

    Raises ScanError with every finding.
    """
    tracer = Tracer(Setting(network.axes, grid))
    made = tracer.network(network, in_channels(network) if in_chans is None else in_chans)
    if tracer.findings:
        raise ScanError(list(tracer.findings.values()))
    return made


def trace_block(
    block: Block, inputs: tuple[Map, ...], axes: tuple[str, ...], grid: tuple[int, ...] | None = None
) -> tuple[Value, tuple[Call, ...]]:
    """What a block makes of its inputs, and every call in it. Extents count from the inputs' own."""
    tracer = Tracer(Setting(axes, grid))
    at = Meeting(tracer.setting, block.name, block.span, block.span, NetworkPlace(""), block.inputs)
    output = tracer.part(block, "", inputs, at)
    if tracer.findings:
        raise ScanError(list(tracer.findings.values()))
    return output, tuple(tracer.calls)


def check_network(network: Network) -> int:
    """On images of `in_chans` channels; raises ScanError with every finding. How many calls and operations were followed."""
    return trace(network).work


def in_channels(network: Network) -> int:
    return int(network.numbers.get(IN_CHANNELS, PHOTOGRAPH))


def features(network: Network) -> tuple[FeatureInfo, ...]:
    """The feature maps, from the image on."""
    found: list[FeatureInfo] = []
    for section, traced in zip(network.sections, trace(network).sections, strict=True):
        if section.feature == "features":
            several = isinstance(section.part, Repeat)
            for number, value in enumerate(traced.repeats):
                if isinstance(value, Map):
                    found.append(feature_info(f"{section.name}.{number}" if several else section.name, value))
        elif section.feature and isinstance(traced.output, Map):
            found.append(feature_info(section.name, traced.output))
    return tuple(found)


def num_features(network: Network) -> int:
    """The channels before pool and head."""
    channels = in_channels(network)
    for section in trace(network).sections:
        if section.name not in (POOL, HEAD) and isinstance(section.output, Map | Vector):
            channels = section.output.channels
    return channels


@dataclass
class Tracer:
    """`findings` by kind and place; `work` counts what was followed."""

    setting: Setting
    work: int = 0
    findings: dict[tuple[type[Diagnostic], Span], Diagnostic] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def report(self, *found: Diagnostic) -> None:
        for finding in found:
            self.findings.setdefault((type(finding), finding.span), finding)

    def spend(self, span: Span) -> None:
        """One more call or operation; too many end it."""
        self.work += 1
        if self.work > LIMITS.network_calls:
            raise ScanError([TooMany(span, "calls and operations in the blocks of one network", LIMITS.network_calls)])

    # The chain.

    def network(self, network: Network, in_chans: int) -> Trace:
        value: Value = Map(in_chans)
        sections, source = [], "the image"
        for section in network.sections:
            place = NetworkPlace("", section.span, section.name, str(value))
            at = Meeting(self.setting, section.name, section.span, section.span, place, (), source)
            repeats = self.section(section, value, at)
            value = repeats[-1]
            sections.append(SectionTrace(section.name, value, repeats, tuple(self.calls)))
            self.calls = []
            source = f"what `{section.name}` makes"
        self.check_head(network, value)
        return Trace(self.setting.image, tuple(sections), self.work)

    def section(self, section: Section, value: Value, at: Meeting) -> tuple[Value, ...]:
        """What every repeat makes."""
        made = self.repeated(section.part, section.name, value, at) if isinstance(section.part, Repeat) else None
        repeats = made or (self.part(section.part, section.name, (value,), at),)
        for each in repeats if section.feature == "features" else repeats[-1:] if section.feature else ():
            if not isinstance(each, Map | Unknown):
                self.report(NoFeatureMap(at.call, at.place, section.name, str(each)))
        return repeats

    def check_head(self, network: Network, value: Value) -> None:
        """`head` gives a number for every class."""
        last = network.sections[-1] if network.sections else None
        if last is None or last.name != HEAD or isinstance(value, Unknown):
            return
        classes = int(network.numbers[CLASSES]) if network.numbers.get(CLASSES) else None
        if not isinstance(value, Vector) or classes not in (None, value.channels):
            self.report(NoClassScores(last.span, NetworkPlace(""), str(value), classes))

    # Layers.

    def part(self, part: Part, path: str, values: tuple[Value, ...], at: Meeting) -> Value:
        """What a part of the network makes of its inputs; unknown after a finding, in it or before."""
        if any(isinstance(value, Unknown) for value in values):
            return Unknown()
        try:
            return self.called(part, path, values, at)
        except Misfit as misfit:
            self.report(*misfit.findings)
            return Unknown()

    def called(self, part: Part, path: str, values: tuple[Value, ...], at: Meeting) -> Value:
        functions.check_single(values, at)
        match part:
            case Layer():
                return self.recorded(path, part, values, layer_value(part, one(values, at), at))
            case ScanLayer():
                return self.recorded(path, part, values, scan_value(part, values, at))
            case Repeat():
                return self.repeated(part, path, one(values, at), at)[-1]
            case Block():
                return self.block(part, path, values, at)
            case _:
                assert_never(part)

    def recorded(self, path: str, callee: Layer | ScanLayer | str, values: tuple[Value, ...], output: Value) -> Value:
        self.calls.append(Call(path, callee, values, output))
        return output

    def repeated(self, repeat: Repeat, path: str, value: Value, at: Meeting) -> tuple[Value, ...]:
        """What every repeat makes."""
        made: list[Value] = []
        for number, part in enumerate(repeat.parts):
            value = self.part(part, f"{path}.{number}" if path else str(number), (value,), at)
            made.append(value)
            at = replace(at, arguments=(), source=f"what `{path}.{number}` makes")
        return tuple(made)

    def block(self, block: Block, path: str, values: tuple[Value, ...], at: Meeting) -> Value:
        for number, value in enumerate(values):
            at.features(value, number)
        inside = Inside(self, block, path, replace(at.place, path=path))
        result = inside.body(block.body, dict(zip(block.inputs, values, strict=True)))
        if not isinstance(result, Map | Vector | Unknown):
            raise Misfit(NoResult(block.body.span, inside.place, block.name, str(result)))
        return result


def one(values: tuple[Value, ...], at: Meeting) -> Value:
    if len(values) != 1:
        raise InternalError(f"{at.name} is called with {len(values)} values")
    return values[0]


Names = Mapping[str, Value]


@dataclass(frozen=True)
class Inside:
    """The body of a block, `path` being its place in the network."""

    tracer: Tracer
    block: Block
    path: str
    place: NetworkPlace

    def body(self, body: Body, names: Names) -> Value:
        while isinstance(body, Let):
            names = {**names, **self.bound(body, self.value(body.value, names))}
            body = body.body
        return self.value(body, names)

    def bound(self, let: Let, value: Value) -> Names:
        """The names of a `let`, each with its value."""
        written_names = [name.name for name in let.names]
        if len(written_names) == 1 and not isinstance(value, Several):
            return {written_names[0]: value}
        parts = value.parts if isinstance(value, Several) else ()
        if len(parts) == len(written_names):
            return dict(zip(written_names, parts, strict=True))
        if not isinstance(value, Unknown):
            problem = f"makes {value} for {counted(len(written_names), 'name')}"
            self.tracer.report(BadSplit(let.value.span, self.place, written(let.value.span), problem))
        return dict.fromkeys(written_names, Unknown())

    def value(self, expr: Expr, names: Names) -> Value:
        self.tracer.spend(expr.span)
        match expr:
            case nodes.Number():
                return Quantity(Fraction(str(expr.value)))
            case nodes.Name():
                return names[expr.name] if expr.name in names else self.number(expr)
            case nodes.Negative():
                return self.negated(expr, self.value(expr.operand, names))
            case nodes.Binary():
                return self.met(expr, (self.value(expr.left, names), self.value(expr.right, names)))
            case nodes.Call():
                return self.call(expr, names)
            case nodes.CellMean():
                return self.over_cells(expr, self.value(expr.body, names))
            case nodes.Sum():
                raise InternalError(f"a sum over an index in block {self.block.name}")
            case _:
                assert_never(expr)

    def number(self, name: nodes.Name) -> Value:
        """A formal or number of the block, or a truth value."""
        if name.name in ("true", "false"):
            return Quantity(Fraction(name.name == "true"))
        if name.name not in self.block.numbers:
            raise InternalError(f"block {self.block.name} has no {name.name}")
        return Quantity(fraction(self.block.numbers[name.name]))

    def negated(self, expr: nodes.Negative, value: Value) -> Value:
        at = self.meeting(written(expr.span), expr, (expr.operand,))
        return self.tried((value,), lambda: functions.negated(value, at))

    def met(self, expr: nodes.Binary, values: tuple[Value, Value]) -> Value:
        at = self.meeting(written(expr.span), expr, (expr.left, expr.right))
        return self.tried(values, lambda: functions.met(expr.operator, values, at))

    def over_cells(self, expr: nodes.CellMean, value: Value) -> Value:
        at = self.meeting(f"{expr.function}(cells: ...)", expr, (expr.body,))
        made = self.tried((value,), lambda: functions.over_cells(expr.function, value, at))
        return self.recorded(expr.function, (value,), made)

    def call(self, call: nodes.Call, names: Names) -> Value:
        part = self.block.parts.get(call.function)
        if call.function == "token" and part is None:
            return self.token(call, names)
        values = tuple(self.value(argument, names) for argument in call.arguments)
        if part is not None:
            at = self.meeting(call.function, call, call.arguments, part.span)
            return self.tracer.part(part, f"{self.path}.{call.function}" if self.path else call.function, values, at)
        if call.function == "split":
            at = self.meeting(written(call.span), call, call.arguments)
            return self.tried(values, lambda: functions.split(values[0], values[1:], at))
        at = self.meeting(call.function, call, call.arguments)
        made = self.tried(values, lambda: functions.applied(call.function, values, at))
        return self.recorded(call.function, values, made)

    def token(self, call: nodes.Call, names: Names) -> Value:
        """`token(x, cls)`: the second argument is a name of its own kind."""
        value, name = self.value(call.arguments[0], names), call.arguments[1]
        if not isinstance(name, nodes.Name):
            raise InternalError(f"the token of {call.span.text} is no name")
        at = self.meeting(call.function, call, call.arguments)
        return self.tried((value,), lambda: functions.token(value, name.name, at))

    def meeting(self, name: str, expr: Expr, arguments: tuple[Expr, ...], made: Span | None = None) -> Meeting:
        texts = tuple(written(argument.span) for argument in arguments)
        return Meeting(self.tracer.setting, name, expr.span, made or expr.span, self.place, texts)

    def tried(self, values: tuple[Value, ...], make: Callable[[], Value]) -> Value:
        """What a function makes; unknown after a finding."""
        if any(isinstance(value, Unknown) for value in values):
            return Unknown()
        try:
            return make()
        except Misfit as misfit:
            self.tracer.report(*misfit.findings)
            return Unknown()

    def recorded(self, function: str, values: tuple[Value, ...], made: Value) -> Value:
        """Calls of functions that counts know."""
        if function in COUNTED and not isinstance(made, Unknown):
            self.tracer.recorded(self.path, function, values, made)
        return made


COUNTED = ("mean", "max", "softmax", "resize")


def fraction(number: Number) -> Fraction:
    """Exactly what is written: 0.2 is a fifth."""
    return Fraction(number) if isinstance(number, int) else Fraction(str(number))
