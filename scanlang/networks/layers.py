"""One layer with its sizes in numbers: a word of the vocabulary, a scan, or what a block's formals are given.

In: a `CheckedLayer`, what it calls, and what names stand for there. Out: a `Layer` or `ScanLayer`, or `NotMade`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from math import floor
from typing import Any, TypeVar, cast

from scanlang.check.layer_calls import CHANNELS, Match, Thing, match, only_names, scan_text, signature
from scanlang.check.open_scans import asks_for
from scanlang.check.program import Argument, CheckedBlock, CheckedLayer, CheckedScan, NetworkFormal, Word
from scanlang.diagnostics import Diagnostic, InternalError
from scanlang.errors import (
    ChannelsDoNotSplit,
    FirstWeights,
    NoSuchLayer,
    NoSuchSize,
    NotANumber,
    OpenScan,
    WrongLayerCall,
    WrongThing,
)
from scanlang.limits import LIMITS
from scanlang.networks.building import Building, Names, NotMade, Place, as_callee, as_number, fits, kind_of
from scanlang.networks.network import Initial, Layer, Number, ScanLayer
from scanlang.networks.numbers import NumberProblem, Numbers, Value, as_float, of_kind, shown, whole
from scanlang.networks.vocabulary import LAYERS
from scanlang.networks.vocabulary import Kind as WordKind
from scanlang.source import Source, Span
from scanlang.syntax.build import build_syntax
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import BlockDefinition, Call, Expr
from scanlang.syntax.parse import parse_text

Made = TypeVar("Made")


@dataclass(frozen=True)
class LayerCall:
    """A layer, made once; `thing` is what its statement calls."""

    building: Building
    layer: CheckedLayer
    thing: Thing
    names: Names
    place: Place

    def report(self, diagnostic: Diagnostic) -> None:
        self.building.report(diagnostic)

    @property
    def numbers(self) -> Numbers:
        return self.building.numbers(self.names.numbers, self.place.ramp)

    def arguments(self) -> Match[Argument]:
        """The arguments by name."""
        layer, described, calls = self.layer, signature(self.thing), self.place.calls
        found: Match[Argument] = match(described, layer.arguments, layer.keywords)
        problem = found.problem
        if found.unknown and isinstance(self.thing, CheckedScan):
            self.report(self._no_such_size(self.thing, found.unknown))
        elif found.unknown:
            problem = f"it has no `{found.unknown[0]}`"
        if problem is not None:
            self.report(WrongLayerCall(layer.span, described.name, problem, described.usage, described.declared, calls))
        elif found.weight is not None and not described.learned:
            self.report(FirstWeights(layer.span, f"`{described.name}` takes no first weights"))
        elif not found.unknown:
            return found
        raise NotMade

    def _no_such_size(self, scan: CheckedScan, unknown: tuple[str, ...]) -> NoSuchSize:
        """With the scan as it would be with all sizes that it is told."""
        known = tuple(formal.label for formal in scan.formals)
        wanted = scan_text(scan, {name: self._as_default(name, known) for name in unknown})
        return NoSuchSize(self.layer.span, scan.name, unknown[0], known, wanted, scan.span, self.place.calls)

    def _as_default(self, name: str, known: tuple[str, ...]) -> str | None:
        """What the layer says, if the scan can say the same: else what it comes to."""
        value = as_number(self.layer.keywords[name])
        if value is None:
            return None
        if only_names(value, known):
            return format_expression(value)
        try:
            return shown(self.numbers.value(value))
        except NumberProblem:
            return None

    def _of(self, formal: str) -> str:
        return f"`{formal}` of `{self.thing.name}`"

    def number(self, argument: Argument) -> tuple[Value, Span]:
        """The value of an argument, and where it stands."""
        expr = as_number(argument)
        if expr is not None:
            return self.numbers.value(expr), expr.span
        callee = as_callee(argument)
        thing = None if callee is None else self.names.thing(callee)
        if thing is not None:
            self.report(NotANumber(self.layer.span, thing.name, kind_of(thing)))
        raise NumberProblem(self.layer.span, "")

    # words of the vocabulary

    def word(self, word: Word) -> Layer:
        self.building.count_layer(self.layer.span)
        found = self.arguments()
        values: dict[str, Value | None] = {}
        numbers: dict[str, Number | None] = {}
        for formal in LAYERS[word.name].formals:
            default = None if formal.default is None else default_of(formal.default)
            one = self._formal(formal.name, formal.kind, default, found, values)
            values[formal.name], numbers[formal.name] = one or (None, None)
        weight = None if found.weight is None else self._initial(found.weight)
        layer = Layer(word.name, all_there(numbers), self.layer.span, weight)
        if word.name == "mlp":
            self._check_hidden(layer)
        return layer

    def _check_hidden(self, layer: Layer) -> None:
        """`dim` times `ratio` are the channels between the two maps of an `mlp`."""
        dim, ratio = layer.numbers["dim"], layer.numbers["ratio"]
        hidden = Fraction(floor(dim * ratio))
        what = f"the hidden channels of `mlp`, {dim} times {ratio:g},"
        if self.building.wanted(what, self.place.calls, lambda: whole(hidden, 1, self.layer.span)) is None:
            raise NotMade

    def _formal(
        self, name: str, kind: WordKind, default: Expr | None, found: Match[Argument], before: Mapping[str, Value | None]
    ) -> tuple[Value, Number] | None:
        """The value of a formal, and that as its kind wants it; None after findings."""

        def compute() -> tuple[Value, Number]:
            value, span = self._value(name, default, found, before)
            return value, of_kind(value, kind, span)

        return self.building.wanted(self._of(name), self.place.calls, compute)

    def _value(
        self, name: str, default: Expr | None, found: Match[Argument], before: Mapping[str, Value | None]
    ) -> tuple[Value, Span]:
        """What is given, or the default, and where that stands."""
        if name in found.given:
            return self.number(found.given[name])
        if default is None:
            raise InternalError(f"no value for {name}")
        return self.building.numbers(before).value(default), self.layer.span

    def _initial(self, argument: Argument) -> Initial:
        if not isinstance(argument, Call):
            raise InternalError("first weights are a call")
        number = self.building.wanted(f"`{argument.function}`", self.place.calls, lambda: self._size_of_weights(argument))
        if number is None:
            raise NotMade
        return Initial(cast(Any, argument.function), number)

    def _size_of_weights(self, call: Call) -> float:
        value = self.numbers.fraction(call.arguments[0])
        if value < 0 and call.function != "constant":
            raise NumberProblem(call.arguments[0].span, f"it comes to {shown(value)}; it is at least 0")
        return as_float(value, call.span)

    # scans

    def scan(self, scan: CheckedScan) -> ScanLayer:
        self.building.count_layer(self.layer.span)
        found = self.arguments()
        if names := asks_for(scan):
            self.report(OpenScan(self.layer.span, scan.name, names, scan.span, self.place.calls))
            raise NotMade
        sizes = self._sizes(scan, found)
        channels = sizes[scan.formals[0].label if scan.formals else CHANNELS]
        self._check_sizes(scan, sizes, channels)
        number = self.place.whole if scan.whole_backbone else self.place.number
        if scan.layer_rule == "list" and number >= len(scan.layers):
            self.report(NoSuchLayer(self.layer.span, scan.name, number, len(scan.layers)))
            raise NotMade
        return ScanLayer(scan, channels, sizes if scan.formals else {}, number, self.layer.span)

    def _sizes(self, scan: CheckedScan, found: Match[Argument]) -> dict[str, int]:
        values: dict[str, Value | None] = {}
        sizes: dict[str, Number | None] = {}
        for label, default in ({formal.label: formal.default for formal in scan.formals} or {CHANNELS: None}).items():
            one = self._formal(label, "size", default, found, values)
            values[label], sizes[label] = one or (None, None)
        return {label: int(size) for label, size in all_there(sizes).items()}

    def _check_sizes(self, scan: CheckedScan, sizes: dict[str, int], channels: int) -> None:
        """The sizes of its recurrence, and of the parts of its channels."""
        numbers = self.building.numbers({label: Fraction(size) for label, size in sizes.items()})
        calls = (self.layer.span, *self.place.calls)
        inner: dict[str, int | None] = {}
        for label, expr in scan.sizes.items():
            what = f"the size `{label}` of `{scan.recurrence.name}`"
            inner[label] = self.building.wanted(what, calls, partial(index_size, numbers, expr))
        if scan.split is not None and channels % sum(scan.split) != 0:
            self.report(ChannelsDoNotSplit(self.layer.span, channels, scan.split))
            raise NotMade
        all_there(inner)

    # blocks

    def given(self, block: CheckedBlock) -> dict[str, Value | Thing | None]:
        """What the block's formals are given; None for what was found wrong."""
        found = self.arguments().given
        given: dict[str, Value | Thing | None] = {}
        for formal in block.formals:
            if formal.name not in found:
                continue
            argument = found[formal.name]
            if formal.kind == "number":
                one = self.building.wanted(self._of(formal.name), self.place.calls, partial(self.number, argument))
                given[formal.name] = None if one is None else one[0]
            else:
                given[formal.name] = self._thing(formal, argument)
        return given

    def _thing(self, formal: NetworkFormal, argument: Argument) -> Thing | None:
        """What a formal of kind scan or block is given."""
        expr, callee = as_number(argument), as_callee(argument)
        if callee is None:
            span = self.layer.span if expr is None else expr.span
            self.report(WrongThing(span, formal.name, formal.kind, "a number", formal.span))
            return None
        thing = self.names.thing(callee)
        if thing is None or fits(thing, formal.kind):
            return thing
        found = f"the {kind_of(thing)} `{thing.name}`"
        self.report(WrongThing(self.layer.span, formal.name, formal.kind, found, formal.span))
        return None


def index_size(numbers: Numbers, expr: Expr) -> int:
    """A size of a recurrence."""
    return whole(numbers.fraction(expr), 1, expr.span, LIMITS.index_size)


def all_there(values: Mapping[str, Made | None]) -> dict[str, Made]:
    """With a value for every name, or `NotMade`."""
    there = {name: value for name, value in values.items() if value is not None}
    if len(there) < len(values):
        raise NotMade
    return there


@cache
def default_of(text: str) -> Expr:
    """The default of a formal of the vocabulary."""
    source = Source("vocabulary", f"block b() {{ value = {text} forward x = x }}")
    (item,) = build_syntax(parse_text(source), source).items
    if not isinstance(item, BlockDefinition):
        raise InternalError(f"no default: {text}")
    return item.statements[0].value
