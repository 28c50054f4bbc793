"""Sizes in numbers: a checked block or backbone, and what the caller gives for its formals, to a `Network`. No torch.

In: `CheckedBackbone`. Out: `Network`, or a ScanError (S3xx) with every finding. Names were checked before; what is found here
are values, and calls of what a formal stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import TypeVar, assert_never

from scanlang.check.expressions import counted, parts
from scanlang.check.layer_calls import Thing, inputs_of
from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedLayer, CheckedNumber, CheckedScan, FormalCallee, Word
from scanlang.diagnostics import ScanError
from scanlang.errors import NotInAChain, TooMany, WrongCall
from scanlang.limits import LIMITS
from scanlang.networks.building import Building, Names, NotMade, Place, kind_of
from scanlang.networks.formals import Given as Given
from scanlang.networks.formals import bind, from_python
from scanlang.networks.layers import LayerCall
from scanlang.networks.network import Block, Network, Number, Part, Repeat, Section
from scanlang.networks.numbers import Numbers, TooMuchWork, plain, whole
from scanlang.source import Span
from scanlang.syntax.nodes import Body, Call, Expr, Let

Made = TypeVar("Made")


def instantiate(backbone: CheckedBackbone, axes: tuple[str, ...], given: Mapping[str, Given] | None = None) -> Network:
    """`instantiate(program.backbones["vim_tiny"], program.axes, {"num_classes": 10})`."""
    builder = _Builder(Building(given=bool(given)))

    def network() -> Network:
        names = from_python(builder.building, backbone.name, backbone.formals, given or {}, backbone.span)
        formals = {formal.name: formal.span for formal in backbone.formals}
        numbers = builder.plain_numbers(names, formals)
        return Network(backbone.name, builder.chain(backbone, names), numbers, axes, backbone.span)

    return builder.run(network)


def instantiate_block(block: CheckedBlock, given: Mapping[str, Given] | None = None) -> Block:
    """The same of one block."""
    builder = _Builder(Building(given=bool(given)))

    def made() -> Block:
        names = from_python(builder.building, block.name, block.formals, given or {}, block.span)
        return builder.block(block, names, Place())

    return builder.run(made)


@dataclass
class _Builder:
    """Blocks in blocks, and chains of them."""

    building: Building = field(default_factory=Building)

    def run(self, make: Callable[[], Made]) -> Made:
        """What it makes, or a ScanError with what was found; too much work ends at once."""
        reporter = self.building.reporter
        try:
            made = make()
        except TooMuchWork as error:
            finding = TooMany(error.span, "operations in the numbers of one network", LIMITS.network_work)
            raise ScanError([finding]) from None
        except NotMade:
            reporter.check()
            raise
        reporter.check()
        return made

    def block(self, block: CheckedBlock, names: Names, place: Place) -> Block:
        """`names` are its formals; its numbers are added."""
        if len(place.calls) > LIMITS.block_depth:
            raise ScanError([TooMany(place.calls[0], "blocks inside each other", LIMITS.block_depth)])
        self.building.count_layer(block.span)
        made: dict[str, Part] = {}
        layers = 0
        for statement in block.statements:
            if isinstance(statement, CheckedNumber):
                self._number(statement, names, place.calls)
                continue
            layers += 1
            part = self._tried(partial(self._part, statement, names, place))
            if part is not None:
                made[statement.name] = part
        if len(made) < layers:
            raise NotMade
        self._check_calls(block, names)
        spans = {part.name: part.span for part in (*block.formals, *block.statements)}
        return Block(block.name, made, block.inputs, block.body, self.plain_numbers(names, spans), block.span)

    def _tried(self, make: Callable[[], Made]) -> Made | None:
        """None where it is not made: the next layers may have findings too."""
        try:
            return make()
        except NotMade:
            return None

    def _number(self, statement: CheckedNumber, names: Names, calls: tuple[Span, ...]) -> None:
        numbers = self.building.numbers(names.numbers)
        names.numbers[statement.name] = self.building.wanted(
            f"`{statement.name}`", calls, lambda: numbers.value(statement.value)
        )

    def plain_numbers(self, names: Names, spans: Mapping[str, Span]) -> dict[str, Number]:
        """The numbers of these names, as Python has them."""
        values = ((name, span, names.numbers.get(name)) for name, span in spans.items())
        plainly = {
            name: self.building.wanted(f"`{name}`", (), partial(plain, value, span))
            for name, span, value in values
            if value is not None
        }
        return {name: number for name, number in plainly.items() if number is not None}

    def _part(self, layer: CheckedLayer, names: Names, place: Place) -> Part:
        """A layer of a block."""
        if layer.repeat is None:
            return self._one(layer, names, place)
        self._check_single(layer, names, "a repeated layer", place.calls)
        count = self._repeats(layer, names, place.calls)
        return Repeat(tuple(self._one(layer, names, place.repeated(k, count)) for k in range(count)), layer.span)

    def _repeats(self, layer: CheckedLayer, names: Names, calls: tuple[Span, ...]) -> int:
        numbers = self.building.numbers(names.numbers)
        count = self.building.wanted(f"the number of repeats of `{layer.name}`", calls, lambda: repeats(numbers, layer.repeat))
        if count is None:
            raise NotMade
        return count

    def chain(self, backbone: CheckedBackbone, names: Names) -> tuple[Section, ...]:
        """Numbers and repeats first: a ramp goes over all of them."""
        counts: dict[str, int | None] = {}
        layers: list[CheckedLayer] = []
        for statement in backbone.statements:
            if isinstance(statement, CheckedNumber):
                self._number(statement, names, ())
                continue
            layers.append(statement)
            if statement.repeat is not None:
                counts[statement.name] = self._tried(partial(self._repeats, statement, names, ()))
        before, total = 0, sum(count or 0 for count in counts.values())
        made: list[Section] = []
        for layer in layers:
            count = counts.get(layer.name) or 0
            if count == 0 and layer.name in counts:
                continue
            steps = range(before, before + count) if count else None
            part = self._tried(partial(self._link, layer, names, steps, total))
            made += [] if part is None else [Section(layer.name, part, layer.feature, layer.span)]
            before += count
        if len(made) < len(layers):
            raise NotMade
        return tuple(made)

    def _link(self, layer: CheckedLayer, names: Names, steps: range | None, total: int) -> Part:
        """`steps` are the numbers of its repeats among all `total` of the backbone."""
        self._check_single(layer, names, "a layer of a backbone", ())
        if steps is None:
            return self._one(layer, names, Place())
        last = max(total - 1, 1)
        places = (Place((), number, step, Fraction(step, last)) for number, step in enumerate(steps))
        return Repeat(tuple(self._one(layer, names, place) for place in places), layer.span)

    def _one(self, layer: CheckedLayer, names: Names, place: Place) -> Part:
        thing = names.thing(layer.callee)
        if thing is None:
            raise NotMade
        call = LayerCall(self.building, layer, thing, names, place)
        match thing:
            case Word():
                return call.word(thing)
            case CheckedScan():
                return call.scan(thing)
            case CheckedBlock():
                inner = place.inside(layer.span)
                return self.block(thing, bind(self.building, thing.formals, call.given(thing), inner.calls), inner)
        assert_never(thing)

    def _check_single(self, layer: CheckedLayer, names: Names, place: str, calls: tuple[Span, ...]) -> None:
        """What a formal stands for takes one value where one is handed on."""
        thing = names.thing(layer.callee)
        if thing is not None and len(inputs_of(thing)) != 1:
            self.building.report(NotInAChain(layer.span, thing.name, inputs_of(thing), place, calls))
            raise NotMade

    def _check_calls(self, block: CheckedBlock, names: Names) -> None:
        """What a formal stands for is called with as many values as it takes."""
        called: dict[str, Thing] = {}
        for statement in block.statements:
            if isinstance(statement, CheckedLayer) and isinstance(statement.callee, FormalCallee):
                thing = names.thing(statement.callee)
                called |= {} if thing is None else {statement.name: thing}
        for call in calls_of(block.body):
            thing = called.get(call.function)
            if thing is not None and len(call.arguments) != len(inputs_of(thing)):
                usage = f"{call.function}({', '.join(inputs_of(thing))})"
                problem = f"{counted(len(call.arguments))}, and it is the {kind_of(thing)} `{thing.name}`"
                self.building.report(WrongCall(call.span, call.function, usage, problem))


def repeats(numbers: Numbers, expr: Expr | None) -> int:
    """How often a layer is repeated."""
    return 1 if expr is None else whole(numbers.fraction(expr), 1, expr.span, LIMITS.repeats)


def calls_of(body: Body) -> Iterator[Call]:
    """The calls in `forward`."""
    waiting: list[Expr] = []
    while isinstance(body, Let):
        waiting.append(body.value)
        body = body.body
    waiting.append(body)
    while waiting:
        expr = waiting.pop()
        waiting += parts(expr)
        if isinstance(expr, Call):
            yield expr
