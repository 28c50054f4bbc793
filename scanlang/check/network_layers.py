"""Statements of blocks and backbones: `inner = dim * 2` is a number, `norm = layer_norm(dim)` a layer.

In: an assignment and the scope above it. Out: a `CheckedStatement`, or None after findings.
"""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.check.expressions import MATHEMATICS, WHERE
from scanlang.check.findings import Findings
from scanlang.check.layer_calls import inputs_of, signature
from scanlang.check.library_names import library_program_with
from scanlang.check.network_arguments import NUMBERS, Arguments, calls_in, name_span
from scanlang.check.network_calls import Calling
from scanlang.check.network_scope import CALLED, Scope, kind_of
from scanlang.check.open_scans import asks_for
from scanlang.check.program import Callee, CheckedLayer, CheckedNumber, CheckedScan, CheckedStatement, FormalCallee
from scanlang.errors import MisplacedFeature, MisplacedLayer, NotAllowedHere, NotInAChain, OpenScan
from scanlang.networks.vocabulary import INITIALS, NUMBER_FUNCTIONS, RAMP
from scanlang.source import Span
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import Assignment, Binary, Call, Expr, Name


@dataclass(frozen=True)
class Written:
    """`call`, or `call * repeat`."""

    call: Call
    repeat: Expr | None


def as_layer(value: Expr) -> Written | None:
    """What makes a layer, or what was to be one: a call of something that is no function of numbers."""
    call, repeat = value, None
    if isinstance(value, Binary) and value.operator == "*" and isinstance(value.left, Call):
        call, repeat = value.left, value.right
    if not isinstance(call, Call) or call.function in (*NUMBER_FUNCTIONS, RAMP):
        return None
    return Written(call, repeat)


@dataclass(frozen=True)
class Statements:
    """`defaults` are those of the formals of kind scan and block, where they have one."""

    scope: Scope
    defaults: dict[str, Callee]

    @property
    def findings(self) -> Findings:
        return self.scope.findings

    def check(self, item: Assignment) -> CheckedStatement | None:
        """Declares the name, whatever is found."""
        written, uncalled = as_layer(item.value), self.uncalled(item.value)
        if uncalled is not None:
            self._call_is_missing(item, uncalled)
            self.scope.declare_layer(item.name, item.name_span)
            return None
        if written is None:
            value = None if self._repeats_before(item) else Arguments(self.scope).number(item.value)
            if value is None and any(self.scope.is_callee(call.function) for call in calls_in(item.value)):
                self.scope.declare_layer(item.name, item.name_span)
                return None
            self.scope.declare_number(item.name, item.name_span)
            if item.feature:
                self._feature(item, "it is a number")
            return None if value is None else CheckedNumber(item.name, value, item.span)
        layer = self.layer(item, written)
        self.scope.declare_layer(item.name, item.name_span)
        return layer

    def uncalled(self, value: Expr) -> Name | None:
        """The scan, block or word of `norm = layer_norm` and `stage = vss * 2`, which makes no layer without its arguments."""
        name = value.left if isinstance(value, Binary) and value.operator == "*" else value
        if not isinstance(name, Name) or name.indices or self.scope.kinds.get(name.name) in ("number", "layer"):
            return None
        return name if self.scope.is_callee(name.name) else None

    def _call_is_missing(self, item: Assignment, name: Name) -> None:
        thing = self.scope.callee(name.name)
        if thing is None:
            self.findings.count += 1
            return
        usage = f"{name.name}(...)" if isinstance(thing, FormalCallee) else signature(thing).usage
        repeat = f" * {format_expression(item.value.right)}" if isinstance(item.value, Binary) else ""
        kind, advice = kind_of(self.scope, name.name) or "layer", f"write `{item.name} = {usage}{repeat}`"
        self.findings.report(MisplacedLayer(name.span, name.name, kind, "a layer is made by calling it", advice))

    def _repeats_before(self, item: Assignment) -> bool:
        """`2 * vss(dim)`: the number of repeats stands behind."""
        value = item.value
        if not (isinstance(value, Binary) and value.operator == "*" and isinstance(value.right, Call)):
            return False
        call = value.right
        if call.function in (*NUMBER_FUNCTIONS, RAMP) or not self.scope.is_callee(call.function):
            return False
        kind = kind_of(self.scope, call.function) or "layer"
        advice = f"write `{item.name} = {format_expression(Binary('*', call, value.left, span=value.span))}`"
        problem = "the number of repeats comes after it"
        self.findings.report(MisplacedLayer(name_span(call), call.function, kind, problem, advice))
        return True

    def layer(self, item: Assignment, written: Written) -> CheckedLayer | None:
        before = self.findings.count
        call = written.call
        no_ramp = "only a repeated layer of a backbone has a ramp"
        arguments = Arguments(self.scope, None if self.scope.in_backbone and written.repeat is not None else no_ramp)
        repeat = None if written.repeat is None else Arguments(self.scope).number(written.repeat)
        self._check_feature(item, repeated=written.repeat is not None)
        if not self.scope.is_callee(call.function):
            self._unknown(call)
            return None
        callee = self.scope.callee(call.function)
        if callee is None:
            self.findings.count += 1
            return None
        checked = Calling(arguments, call, callee, self.defaults).check()
        if not isinstance(callee, FormalCallee):
            self._check_inputs(call, inputs_of(callee), repeated=written.repeat is not None)
            self._check_closed(call, callee)
        if checked is None or self.findings.count > before:
            return None
        return CheckedLayer(item.name, callee, checked[0], checked[1], repeat, item.span, item.feature)

    def _unknown(self, call: Call) -> None:
        name, span = call.function, name_span(call)
        if name in self.scope.things.backbones:
            advice = f"a variant of it is written `backbone mine from {name} {{ ... }}`; a block is what several share"
            self.findings.report(MisplacedLayer(span, name, "backbone", "a backbone is no layer", advice))
        elif name in MATHEMATICS or name in CALLED or name in WHERE:
            shown = format_expression(Call(name, call.arguments or (Name("x", span=span),), span=span))
            instead = f"what changes a feature stands in `forward`: `{shown}`" if name in CALLED else None
            self.findings.report(NotAllowedHere(span, name, NUMBERS.place, instead))
        elif not self.scope.things.complete:
            self.findings.count += 1
        elif name in INITIALS:
            advice = f"write it in a layer's arguments: `linear(dim, dim, weight = {format_expression(call)})`"
            self.findings.report(MisplacedLayer(span, name, "function", "first weights are given to a layer", advice))
        else:
            library = library_program_with(("scan", "block"), name)
            self.findings.unknown("layer", name, self.scope.callable_names, span, library=library)

    def _check_inputs(self, call: Call, inputs: tuple[str, ...], repeated: bool) -> None:
        if len(inputs) != 1 and (repeated or self.scope.in_backbone):
            place = "a layer of a backbone" if self.scope.in_backbone else "a repeated layer"
            self.findings.report(NotInAChain(name_span(call), call.function, inputs, place))

    def _check_closed(self, call: Call, callee: Callee) -> None:
        if isinstance(callee, CheckedScan) and (names := asks_for(callee)):
            self.findings.report(OpenScan(name_span(call), callee.name, names, callee.span))

    def _check_feature(self, item: Assignment, repeated: bool) -> None:
        if item.feature and item.name in ("pool", "head"):
            self._feature(item, "features are what is there before `pool` and `head`")
        elif item.feature == "features" and not repeated:
            self._feature(item, "it is not repeated: `feature` marks a single layer")

    def _feature(self, item: Assignment, reason: str) -> None:
        """A variant may have the word from its base."""
        word = Span(item.span.source, item.span.start, item.span.start + len(item.feature))
        span = word if word.text == item.feature else item.name_span
        self.findings.report(MisplacedFeature(span, item.feature, item.name, reason))
