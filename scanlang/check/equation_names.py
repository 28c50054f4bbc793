"""The rules for names in the equations of a recurrence: what is declared above, with which indices, and what is not there.

In: a name of an expression, the indices bound around it. Out: findings. `per` is the reach of a value: one with the index of
the head is of a channel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from scanlang.check.expressions import PREV, mentions, names_in, parts
from scanlang.check.findings import Findings
from scanlang.check.linearity import written
from scanlang.check.offsets import refuse_old_value, refuse_step
from scanlang.check.program import LABEL, Per
from scanlang.diagnostics import Diagnostic
from scanlang.errors import (
    GateReadsState,
    HeadMisused,
    IndexMisused,
    IndexNotBound,
    IndexShadowed,
    MatrixTransition,
    NotDiagonal,
    UnitReadsChannel,
    UsedBeforeDefined,
    WrongIndices,
)
from scanlang.source import Span
from scanlang.syntax.never import refusal_of_value
from scanlang.syntax.nodes import Call, Equation, Expr, Name, Sum

OTHER_CHANNELS = "a step of a channel does not know the values of other channels"


@dataclass(frozen=True)
class Declared:
    """A name that equations may use: an operand, or the left-hand side of an equation above.

    `written` is as it was declared, `indices` those without the head's.
    """

    kind: str
    name: str
    indices: tuple[str, ...]
    written: str
    per: Per
    span: Span


@dataclass
class EquationNames:
    """`table` grows from equation to equation, `equations` has all of them; `head` is the index of the head, `sizes` are those
    without an index.

    `current` is the equation that is checked, `own` its name if it is a state. Of an equation in `refused` enough was said.
    """

    findings: Findings
    indices: dict[str, str]
    head: str | None
    equations: dict[str, Equation]
    has_labels: bool
    table: dict[str, Declared] = field(default_factory=dict)
    sizes: frozenset[str] = frozenset()
    current: Equation | None = None
    own: str = ""
    unbound: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    @property
    def known_indices(self) -> tuple[str, ...]:
        return (*self.indices, *(() if self.head is None else (self.head,)))

    def declare(self, kind: str, name: str, indices: tuple[str, ...], per: Per, span: Span) -> Declared:
        """The entry for a name; a name that is there keeps its own."""
        own = tuple(index for index in indices if index != self.head)
        return self.table.setdefault(name, Declared(kind, name, own, written(name, indices), per, span))

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name in self.refused:
            return
        declared = self.table.get(name.name)
        if declared is None:
            self.report_missing(name)
            return
        indices = tuple(index for index in name.indices if not self.is_head(index))
        heads = len(name.indices) - len(indices)
        has_head = self.head is not None and declared.per == "channel"
        if len(indices) != len(declared.indices) or heads != has_head:
            self.report_count(name, declared, bound)
            return
        if has_head and self.head not in bound:
            self.report_channel(name)
        for index, expected in zip(indices, declared.indices, strict=True):
            self.check_index(name, index, expected, bound)

    def report_count(self, name: Name, declared: Declared, bound: frozenset[str]) -> None:
        """Too many indices or too few: those of the declaration where they have values here, or a step by its number."""
        offset = refuse_step(name, frozenset(self.known_indices))
        if offset is not None:
            self.findings.report(offset)
            return
        wanted = (*declared.indices, *((self.head,) if self.head is not None and declared.per == "channel" else ()))
        given = {index.name for index in name.indices if isinstance(index, Name)}
        instead = declared.written if len(given) == len(name.indices) and given < set(wanted) <= bound else None
        count = len(name.indices)
        self.findings.report(WrongIndices(name.span, name.name, declared.written, count, declared.span, instead))

    def report_unknown_index(self, index: str, span: Span) -> None:
        """With what it takes to be one, where it is the name of a size."""
        hint = None
        if index in self.sizes:
            hint = (
                f"`{index}` is a size without an index: `head {index}` gives the channels of a head one, `size {index}` others"
            )
        self.findings.unknown("index", index, self.known_indices, span, hint=hint)

    def is_head(self, index: Expr) -> bool:
        return self.head is not None and isinstance(index, Name) and not index.indices and index.name == self.head

    def report_channel(self, name: Name) -> None:
        if self.current is not None and self.head is not None:
            left = written(self.current.name, (*self.current.indices, self.head))
            self.findings.report(UnitReadsChannel(name.span, name.span.text, self.current.name, left, self.current.span))

    def report_missing(self, name: Name) -> None:
        if name.name == self.head:
            reason = "it stands for the channel that is computed, and is no number"
            self.findings.report(HeadMisused(name.span, name.name, "is an index, not a value", reason))
        elif self.is_index(name.name):
            reason = "an index only selects an entry"
            self.findings.report(IndexMisused(name.span, name.name, "is an index, not a value", reason))
        elif name.name in self.equations:
            self.findings.report(self.early(name, self.equations[name.name]))
        else:
            equations = frozenset(self.equations)
            refused = refuse_old_value(name, equations) or refusal_of_value(name.name, name.span, equations)
            if refused is not None:
                self.findings.refuse(refused)
            else:
                self.findings.unknown("name", name.name, tuple(self.table), name.span)

    def is_index(self, name: str) -> bool:
        return name in self.known_indices or (name == LABEL and self.has_labels)

    def early(self, name: Name, definition: Equation) -> Diagnostic:
        """A name above its equation: the old value of a state, if that equation uses this one in turn."""
        current = self.current
        in_call = current is not None and mentioned_in_call(current.value, name.name)
        is_old = in_call or mentions(definition.value, name.name)
        if current is None or not is_old or not self.uses(definition, current.name):
            return UsedBeforeDefined(name.span, name.name, definition.span)
        if current.name == self.own and not in_call:
            return MatrixTransition(name.span, name.name, self.own, definition.span)
        is_state = mentions(definition.value, name.name)
        return GateReadsState(name.span, current.name, name.name, definition.span, is_state)

    def uses(self, equation: Equation, name: str) -> bool:
        """Whether the equation needs the value of `name`, itself or by what it reads."""
        waiting, seen = [equation.name], {equation.name}
        while waiting:
            read = self.reads[waiting.pop()]
            if name in read:
                return True
            waiting += read - seen
            seen |= read
        return False

    @cached_property
    def reads(self) -> dict[str, set[str]]:
        """The equations whose values each equation needs."""
        return {
            name: {found.name for found in names_in(equation.value)} & self.equations.keys()
            for name, equation in self.equations.items()
        }

    def check_index(self, name: Name, index: Expr, expected: str, bound: frozenset[str]) -> None:
        if not isinstance(index, Name) or index.indices:
            problem, reason = "is no index", f"an index is a bare name, here `{expected}`"
            self.findings.report(IndexMisused(index.span, index.span.text, problem, reason))
        elif LABEL in (index.name, expected) and self.has_labels:
            self.check_label(name, index, expected)
        elif index.name not in self.indices:
            self.report_unknown_index(index.name, index.span)
        elif index.name not in bound:
            self.report_unbound(index)
        elif index.name != expected and name.name != self.own:
            sizes = f"it was declared with `{expected}`, and `{index.name}` has a size of its own"
            problem = f"is the wrong index for `{name.name}`"
            self.findings.report(IndexMisused(index.span, index.name, problem, sizes))

    def check_label(self, name: Name, index: Name, expected: str) -> None:
        if index.name == expected:
            return
        reason = "only a `shared param` with that index is read by the label of the step"
        if expected == LABEL:
            reason = "it is read by the label of the step, written `label`"
        self.findings.report(IndexMisused(index.span, index.name, f"is the wrong index for `{name.name}`", reason))

    def report_unbound(self, index: Name) -> None:
        """Said once in an equation: one `sum` around it all is most often what is missing."""
        if index.name not in self.unbound:
            self.findings.report(IndexNotBound(index.span, index.name))
        self.unbound.add(index.name)

    def check_binder(self, node: Sum, bound: frozenset[str]) -> None:
        if node.index == LABEL and self.has_labels:
            problem, reason = "cannot be summed over", "a step has one label"
            self.findings.report(IndexMisused(node.span, node.index, problem, reason))
        elif node.index == self.head:
            self.findings.report(HeadMisused(node.span, node.index, "cannot be summed over", OTHER_CHANNELS))
        elif node.index not in self.indices:
            self.report_unknown_index(node.index, node.span)
        elif node.index in bound and self.own and mentions(node.body, self.own):
            assert self.current is not None
            state = written(self.own, self.current.indices)
            self.findings.report(NotDiagonal(node.span, state, node.span.text, summed=True))
        elif node.index in bound:
            self.findings.report(IndexShadowed(node.span, node.index))


def mentioned_in_call(expr: Expr, name: str) -> bool:
    """Inside a function other than `prev`, so not as a term."""
    is_function = isinstance(expr, Call) and expr.function != PREV
    return any(mentions(part, name) if is_function else mentioned_in_call(part, name) for part in parts(expr))
