"""The names under which a scan's operator takes its arguments and its module keeps its weights: none is there twice.

In: what the scan reads, learns, uses and inserts. Out: findings.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field

from scanlang.check.findings import Findings
from scanlang.check.order_tree import token_names, within
from scanlang.check.program import LEARNED, CheckedRecurrence, Direction, GivenOrder
from scanlang.errors import ReservedName
from scanlang.source import Span
from scanlang.syntax.nodes import Name

MADE_BY = {"project": ("project_weight", "project_bias"), "conv": ("conv_weight", "conv_bias"), "weighted": ("merge_weight",)}
"""The weights that a clause, or the merge of that name, brings."""
ALWAYS = {"h0": "what gives the initial states", "return_state": "what asks for the final states"}
KINDS = {"input": "an input", "shared": "a shared input", "param": "a parameter", "shared param": "a shared parameter"}


@dataclass
class Arguments:
    """`taken` says of every name what it is."""

    inputs: Mapping[str, Span]
    recurrence: CheckedRecurrence
    findings: Findings
    taken: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        operands = {operand.name: f"{KINDS[operand.kind]} of the recurrence" for operand in self.recurrence.operands}
        self.taken = operands | dict.fromkeys(self.inputs, "an input of the scan")

    def check_weights(self, made_by: tuple[str, ...]) -> None:
        """Nothing is called like the weights of the scan's clauses, keys of `MADE_BY`, or what every operator takes."""
        spans = {operand.name: operand.span for operand in self.recurrence.operands} | dict(self.inputs)
        kinds = {operand.name: KINDS[operand.kind] for operand in self.recurrence.operands}
        made = dict(ALWAYS)
        for clause in made_by:
            what = f"a weight that `{'merge ' if clause == 'weighted' else ''}{clause}` makes"
            made |= dict.fromkeys(MADE_BY[clause], what)
        for name, what in made.items():
            if name in spans:
                self.findings.report(ReservedName(spans[name], kinds.get(name, "an input"), name, f"it is {what}"))
            self.taken[name] = what

    def check_layers(self, names: tuple[Name, ...]) -> None:
        for name in names:
            self.add(name.span, "a layer", name.name)

    def check_given(self, directions: tuple[Direction, ...]) -> None:
        """An order that is given at run time is an argument under its name."""
        for direction in directions:
            for order in within(direction.order):
                if isinstance(order, GivenOrder):
                    self.add(direction.span, "an order given at run time", order.name)

    def check_tokens(self, directions: tuple[Direction, ...]) -> None:
        """Tokens of the first input have their own name, those of another map `map_token`."""
        first = next(iter(self.inputs), None)
        maps = dict.fromkeys((*self.inputs, *(o.name for o in self.recurrence.operands if o.kind not in LEARNED)))
        for direction in directions:
            for token in sorted(token_names(direction.order)):
                self.add(direction.span, "a token", token)
                for name in maps:
                    if name != first:
                        self.add(direction.span, "a token", token, f"{name}_{token}")

    def add(self, span: Span, kind: str, name: str, argument: str | None = None) -> None:
        """Take a name, or the name of the `argument` that goes with it; the same thing may be met again."""
        argument = argument or name
        what = kind if argument == name else f"an argument for the token `{name}`"
        taken = self.taken.setdefault(argument, what)
        if taken != what:
            reason = f"it is {taken}" if argument == name else f"its argument `{argument}` is {taken}"
            self.findings.report(ReservedName(span, kind, name, reason))
        elif keyword.iskeyword(argument):
            self.findings.report(ReservedName(span, kind, name, "Python reserves this word"))
