"""One recurrence: names, indices, initial values; its equations become temporaries and split state updates.

In: the definition as written. Out: a `CheckedRecurrence`, or None after findings. What the equations compute is not
changed but for the split of `linearity.py`.
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field
from typing import Literal

from scanlang.check.equation_names import EquationNames
from scanlang.check.expressions import RECURRENCE, check_expression, mentions, names_in
from scanlang.check.findings import Findings
from scanlang.check.initial_values import check_initial
from scanlang.check.linearity import StateEntry, split_update, written
from scanlang.check.offsets import refuse_offsets, undeclared
from scanlang.check.previous import check_previous, check_reads_of_scale, previous_in
from scanlang.check.program import (
    DIRECTION,
    HEAD,
    LABEL,
    UNIT,
    UNITS,
    CheckedOperand,
    CheckedRecurrence,
    Per,
    Scale,
    StateUpdate,
    Temporary,
)
from scanlang.check.rewrites import with_old_value, without_head
from scanlang.check.scales import check_scales
from scanlang.check.sizes import check_formals
from scanlang.diagnostics import Reporter
from scanlang.errors import (
    AssignsOperand,
    DuplicateName,
    HeadMisused,
    HeadWithoutIndex,
    IndexMisused,
    NoChannelInput,
    NoEquations,
    NoInputOfHead,
    NoState,
    PerMisused,
    ReadoutIndexed,
    ReadoutOfHead,
    ReservedName,
    UnusedName,
)
from scanlang.source import Span
from scanlang.syntax.nodes import Declaration, Equation, Name, Number, Operand, RecurrenceDefinition

KINDS = {
    "input": "input",
    "shared": "shared input",
    "param": "parameter",
    "shared param": "shared parameter",
    "equation": "equation",
}
WITH_ARTICLE = {
    "input": "an input",
    "shared": "a shared input",
    "param": "a parameter",
    "shared param": "a shared parameter",
    "equation": "a value",
}
SHAREABLE = {"project": "`share project` means the projections", "conv": "`share conv` means the convolution"}


def check_recurrence(definition: RecurrenceDefinition, reporter: Reporter) -> CheckedRecurrence | None:
    """Check one recurrence; findings go to the reporter."""
    return RecurrenceChecker(definition, Findings(reporter)).check()


@dataclass
class RecurrenceChecker:
    definition: RecurrenceDefinition
    findings: Findings
    names: EquationNames = field(init=False)
    operands: list[CheckedOperand] = field(default_factory=list)
    checked: list[Temporary | StateUpdate | Scale] = field(default_factory=list)
    stateful: set[str] = field(default_factory=set)
    """States, and values that are made of them."""
    of_one_step: set[str] = field(default_factory=set)
    """Scales that do not read their own old value."""

    def __post_init__(self) -> None:
        indexed = [(formal.index, formal.label) for formal in self.definition.formals if formal.index is not None]
        head = next((index for index, label in indexed if label == HEAD), None)
        indices = {index: label for index, label in indexed if label != HEAD}
        first = {equation.name: equation for equation in reversed(self.equations)}
        sizes = frozenset(formal.label for formal in self.definition.formals if formal.index is None)
        self.names = EquationNames(self.findings, indices, head, first, self.has_labels, sizes=sizes)

    @property
    def has_labels(self) -> bool:
        declarations = [statement for statement in self.definition.body if isinstance(statement, Declaration)]
        return any(LABEL in operand.indices for declaration in declarations for operand in declaration.operands)

    @property
    def equations(self) -> tuple[Equation, ...]:
        return tuple(statement for statement in self.definition.body if isinstance(statement, Equation))

    def check(self) -> CheckedRecurrence | None:
        self.check_formals()
        for statement in self.definition.body:
            if isinstance(statement, Declaration):
                self.check_per(statement)
                for operand in statement.operands:
                    self.declare(statement, operand)
        for equation in self.equations:
            self.check_equation(equation)
        self.check_whole()
        if not self.findings.none:
            return None
        return CheckedRecurrence(
            name=self.definition.name,
            formals=self.definition.formals,
            indices=self.names.indices,
            operands=tuple(self.operands),
            equations=tuple(self.checked),
            readout=self.checked[-1].name,
            span=self.definition.name_span,
            head=self.names.head,
        )

    def check_formals(self) -> None:
        check_formals(self.definition.formals, self.findings)
        for formal in self.definition.formals:
            if formal.label == HEAD and formal.index is None:
                self.findings.report(HeadWithoutIndex(formal.span))
            if LABEL in (formal.label, formal.index):
                kind = "an index" if formal.index == LABEL else "a size"
                self.findings.report(ReservedName(formal.span, kind, LABEL, "`label` is the label of the step"))

    def declare(self, declaration: Declaration, operand: Operand) -> None:
        self.check_new_name(declaration.kind, operand.name, operand.span)
        self.check_own_indices(declaration.kind, operand.name, operand.indices, operand.span)
        if operand.initial is not None:
            numbers = (DIRECTION, UNIT, UNITS) if declaration.kind == "param" else (DIRECTION,)
            check_initial(operand, self.names.head, numbers, self.findings)
        kind, span, units = declaration.kind, operand.span, units_of(declaration)
        per: Per = "all" if kind == "shared param" else self.reach(operand.indices)
        if kind == "shared":
            per = "all" if declaration.per is None else "group"
        declared = self.names.declare(kind, operand.name, operand.indices, per, span)
        self.operands.append(CheckedOperand(operand.name, kind, declared.indices, operand.initial, span, per, units))

    def reach(self, indices: tuple[str, ...]) -> Literal["channel", "unit"]:
        """What a name with these indices has one value for."""
        return "channel" if self.names.head is None or self.names.head in indices else "unit"

    def check_per(self, declaration: Declaration) -> None:
        """`per 4 units` stands behind `shared` operands, with a number or a size of the recurrence."""
        size = declaration.per
        if size is None:
            return
        labels = tuple(formal.label for formal in self.definition.formals)
        if declaration.kind != "shared":
            reason = f"it is for `shared` declarations: every {KINDS[declaration.kind]} has its own channels"
            if declaration.kind == "shared param":
                reason = "it is for `shared` declarations: a `shared param` is one for all channels"
            self.findings.report(PerMisused(size.span, f"per {size.span.text}", reason))
        elif isinstance(size, Number) and size.value < 1:
            self.findings.report(PerMisused(size.span, f"per {size.span.text}", "a group has at least 1 unit"))
        elif isinstance(size, Name) and size.name not in labels:
            self.findings.unknown("size", size.name, labels, size.span)

    def check_new_name(self, kind: str, name: str, span: Span) -> None:
        declared = self.names.table.get(name)
        if declared is not None:
            self.findings.report(DuplicateName(span, "name", name, declared.span))
        elif self.names.is_index(name):
            self.findings.report(ReservedName(span, WITH_ARTICLE[kind], name, "it is an index of this recurrence"))
        elif keyword.iskeyword(name):
            self.findings.report(ReservedName(span, WITH_ARTICLE[kind], name, "Python reserves this word"))
        elif kind in ("param", "shared param") and name in SHAREABLE:
            self.findings.report(ReservedName(span, WITH_ARTICLE[kind], name, SHAREABLE[name]))

    def check_own_indices(self, kind: str, name: str, indices: tuple[str, ...], span: Span) -> None:
        for place, index in enumerate(indices):
            if index == LABEL and self.has_labels:
                self.check_place_of_label(kind, name, place, span)
            elif index not in self.names.known_indices:
                self.names.report_unknown_index(index, span)
            elif index == self.names.head and "shared" in kind:
                reason = "what is shared has no value for each channel; `input` and `param` have"
                self.findings.report(HeadMisused(span, index, f"is no index of `{name}`", reason))
                self.names.refused.add(name)
            elif index in indices[:place]:
                problem = f"is an index of `{name}` twice"
                self.findings.report(IndexMisused(span, index, problem, "each index stands once"))

    def check_place_of_label(self, kind: str, name: str, place: int, span: Span) -> None:
        if kind != "shared param":
            problem, reason = f"is no index of `{name}`", "only a `shared param` has a value for each label"
            self.findings.report(IndexMisused(span, LABEL, problem, reason))
        elif place > 0:
            problem, reason = f"is not the first index of `{name}`", "the label of the step comes first"
            self.findings.report(IndexMisused(span, LABEL, problem, reason))

    def check_equation(self, equation: Equation) -> None:
        refused = refuse_offsets(equation, frozenset(self.names.known_indices))
        if refused is not None:
            self.findings.refuse(refused)
            unknown = undeclared(equation, frozenset(self.names.known_indices))
            self.findings.unknown_names |= {("index", index) for index in unknown}
            self.names.refused.add(equation.name)
            return
        is_new = self.check_left_side(equation)
        before = self.findings.count
        self.names.unbound.clear()
        self.names.current = equation
        reads_itself = mentions(equation.value, equation.name)
        left = (equation.name, equation.indices, self.reach(equation.indices), equation.span)
        if reads_itself:
            self.names.own = "" if equation.scale else equation.name
            self.names.declare("equation", *left)
        check_expression(equation.value, RECURRENCE, self.names, self.findings, frozenset(equation.indices))
        self.names.own = ""
        self.names.declare("equation", *left)
        if is_new and self.findings.count == before:
            self.keep(equation, reads_itself)

    def check_left_side(self, equation: Equation) -> bool:
        """The name is new and its indices are known."""
        before = self.findings.count
        declared = self.names.table.get(equation.name)
        if declared is not None and declared.kind != "equation":
            kind = KINDS[declared.kind]
            self.findings.report(AssignsOperand(equation.span, kind, equation.name, declared.span))
        else:
            self.check_new_name("equation", equation.name, equation.span)
        self.check_own_indices("equation", equation.name, equation.indices, equation.span)
        return self.findings.count == before

    def keep(self, equation: Equation, reads_itself: bool) -> None:
        """Split a state's update and add the equation to the result."""
        name, span, per = equation.name, equation.span, self.reach(equation.indices)
        before = self.findings.count
        check_previous(equation, self.of_one_step, self.findings)
        if equation.scale and not reads_itself:
            self.of_one_step.add(name)
        if equation.scale:
            check_reads_of_scale(equation, self.stateful, self.findings)
        elif reads_itself or any(name.name in self.stateful for name in names_in(equation.value)):
            self.stateful.add(name)
        if self.findings.count > before:
            return
        indices = tuple(index for index in equation.indices if index != self.names.head)
        value = with_old_value(without_head(equation.value, self.names.head), name)
        if equation.scale:
            self.checked.append(Scale(name, indices, value, reads_itself, span, per))
        elif not reads_itself:
            self.checked.append(Temporary(name, indices, value, span, per))
        else:
            split = split_update(value, StateEntry(name, indices, written(name, equation.indices), self.findings))
            if split is not None:
                self.checked.append(StateUpdate(name, indices, *split, span, per))

    def check_whole(self) -> None:
        """What can only be said of the recurrence as a whole; most of it only if all else is right."""
        if not self.equations:
            self.findings.report(NoEquations(self.definition.name_span, self.definition.name))
            return
        last = self.equations[-1]
        self.check_readout(last)
        if not self.findings.none:
            return
        check_scales(tuple(self.checked), self.findings, self.names.head)
        if not any(isinstance(checked, StateUpdate) for checked in self.checked) and not any(map(keeps, self.equations)):
            self.findings.report(NoState(self.definition.name_span, self.definition.name))
        if not any(operand.kind == "input" for operand in self.operands):
            self.findings.report(NoChannelInput(self.definition.name_span, self.definition.name))
        elif self.names.head is not None and not any(o.kind == "input" and o.per == "channel" for o in self.operands):
            self.findings.report(NoInputOfHead(self.definition.name_span, self.definition.name, self.names.head))
        self.check_all_used()

    def check_readout(self, last: Equation) -> None:
        """One value per channel: without an index, or with that of the head."""
        text, head = written(last.name, last.indices), self.names.head
        if head is not None and last.indices != (head,):
            self.findings.report(ReadoutOfHead(last.span, text, written(last.name, (head,))))
        elif head is None and any(index in self.names.indices for index in last.indices):
            like_head = [(label, index) for index, label in self.names.indices.items() if label.lower().startswith(HEAD)]
            meant = next((pair for pair in like_head if last.indices == (pair[1],)), None)
            self.findings.report(ReadoutIndexed(last.span, text, meant))

    def check_all_used(self) -> None:
        used = {self.equations[-1].name}
        for equation in self.equations:
            used |= {name.name for name in names_in(equation.value)} - {equation.name}
        for operand in self.operands:
            if operand.name not in used:
                self.findings.report(UnusedName(operand.span, KINDS[operand.kind], operand.name))
        for checked in self.checked:
            if checked.name not in used:
                kind = {StateUpdate: "state", Scale: "scale", Temporary: "value"}[type(checked)]
                self.findings.report(UnusedName(checked.span, kind, checked.name))


def units_of(declaration: Declaration) -> int | str:
    match declaration.per:
        case Number(value):
            return int(value)
        case Name(name):
            return name
        case None:
            return 1


def keeps(equation: Equation) -> bool:
    """It reads a value of the step before by `prev`, which makes a state for it."""
    return not equation.scale and any(True for _ in previous_in(equation.value))
