"""The layers that a merge calls: `use down = linear(dim, dim // 4, bias = false)`.

In: the clauses. Out: a `Use` each; findings. Whether their channels fit is checked in `widths.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scanlang.check.expressions import MERGE, counted
from scanlang.check.program import Use
from scanlang.check.scan_clauses import Clauses
from scanlang.check.sizes import check_size
from scanlang.errors import DuplicateName, LayerOption, ReservedName, TooMany, WrongCall
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Actual, Expr, Name

LAYERS: Mapping[str, tuple[str, ...]] = {"linear": ("in", "out"), "layer_norm": ("dim",), "rms_norm": ("dim",)}
OPTIONS: Mapping[str, Mapping[str, str]] = {"linear": {"bias": "true"}, "layer_norm": {}, "rms_norm": {}}
"""The keywords of a layer, with their defaults."""
WORDS = ("true", "false")
FUNCTIONS = frozenset(MERGE.functions) | {"sum", "mean"}
OUTPUTS = "y"


@dataclass(frozen=True)
class Uses:
    clauses: Clauses

    def check(self) -> tuple[Use, ...]:
        first: dict[str, Span] = {}
        written = self.clauses.all(nodes.Use)
        if len(written) > LIMITS.uses:
            self.clauses.findings.report(TooMany(written[LIMITS.uses].span, "used layers", LIMITS.uses))
        for use in written[: LIMITS.uses]:
            if use.name.name in first:
                self.clauses.findings.report(DuplicateName(use.name.span, "layer", use.name.name, first[use.name.name]))
            first.setdefault(use.name.name, use.name.span)
            self.check_name(use.name)
        return tuple(checked for use in written[: LIMITS.uses] if (checked := self.use(use)) is not None)

    def check_name(self, name: Name) -> None:
        if name.name in FUNCTIONS or name.name == OUTPUTS:
            reason = "it is a function" if name.name in FUNCTIONS else "`y` in a merge is the outputs of the directions"
            self.clauses.findings.report(ReservedName(name.span, "a layer", name.name, reason))

    def use(self, use: nodes.Use) -> Use | None:
        """The layer with its sizes; None after a finding."""
        before = self.clauses.findings.count
        if use.layer not in LAYERS:
            self.clauses.findings.unknown("layer", use.layer, tuple(LAYERS), layer_span(use))
            return None
        sizes = tuple(argument for argument in use.arguments if not isinstance(argument, Actual))
        wanted = LAYERS[use.layer]
        if len(sizes) != len(wanted):
            self.clauses.findings.report(WrongCall(layer_span(use), use.layer, usage(use.layer), counted(len(sizes))))
            return None
        for label, size in zip(wanted, sizes, strict=True):
            check_size(label, size, self.clauses.labels, LIMITS.integer, self.clauses.findings)
        keywords = self.keywords(use)
        if self.clauses.findings.count > before:
            return None
        return Use(use.name.name, use.layer, sizes, keywords, use.span)

    def keywords(self, use: nodes.Use) -> dict[str, Expr]:
        options = OPTIONS[use.layer]
        given: dict[str, Actual] = {}
        for argument in use.arguments:
            if not isinstance(argument, Actual):
                continue
            if argument.label not in options:
                self.clauses.findings.unknown("keyword", argument.label, tuple(options), argument.span, owner=use.layer)
            elif argument.label in given:
                first = given[argument.label].span
                self.clauses.findings.report(DuplicateName(argument.span, "keyword", argument.label, first))
            elif not (isinstance(argument.value, Name) and not argument.value.indices and argument.value.name in WORDS):
                self.clauses.findings.report(LayerOption(argument.value.span, argument.label))
            given.setdefault(argument.label, argument)
        return {label: actual.value for label, actual in given.items()}


def usage(layer: str) -> str:
    """`linear(in, out, bias = true)`."""
    return f"{layer}({', '.join((*LAYERS[layer], *(f'{label} = {value}' for label, value in OPTIONS[layer].items())))})"


def layer_span(use: nodes.Use) -> Span:
    """Where the layer is named, right of `=`."""
    source = use.span.source
    equals = source.text.find("=", use.name.span.end, use.span.end)
    found = source.text.find(use.layer, equals + 1, use.span.end)
    return Span(source, found, found + len(use.layer)) if min(equals, found) >= 0 else use.span
