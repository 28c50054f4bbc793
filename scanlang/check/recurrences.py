"""One recurrence: names, indices, initial values; its equations become temporaries and split state updates.

In: the definition as written. Out: a `CheckedRecurrence`, or None after findings. What the equations compute is not
changed but for the split of `linearity.py`.
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field
from functools import cached_property

from scanlang.check.expressions import RECURRENCE, check_expression, mentions, names_in, parts
from scanlang.check.findings import Findings
from scanlang.check.initial_values import check_initial
from scanlang.check.linearity import split_update, written
from scanlang.check.offsets import refuse_offsets, refuse_old_value, undeclared
from scanlang.check.program import LABEL, CheckedOperand, CheckedRecurrence, StateUpdate, Temporary
from scanlang.check.sizes import check_formals
from scanlang.diagnostics import Diagnostic, Reporter
from scanlang.errors import (
    AssignsOperand,
    DuplicateName,
    GateReadsState,
    IndexMisused,
    IndexNotBound,
    IndexShadowed,
    MatrixTransition,
    NoChannelInput,
    NoEquations,
    NoState,
    NotSupportedYet,
    ReadoutIndexed,
    ReservedName,
    UnusedName,
    UsedBeforeDefined,
    WrongIndices,
)
from scanlang.source import Span
from scanlang.syntax.never import refusal_of_value
from scanlang.syntax.nodes import Call, Declaration, Equation, Expr, Name, Operand, RecurrenceDefinition, Sum

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


@dataclass(frozen=True)
class Declared:
    """A name that equations may use: an operand, or the left-hand side of an equation above."""

    kind: str
    name: str
    indices: tuple[str, ...]
    span: Span


@dataclass
class EquationNames:
    """The rules for names in equations: `table` grows from equation to equation, `equations` has all of them.

    `current` is the equation that is checked, `own` its name if it is a state. Of an equation in `refused` enough was said.
    """

    findings: Findings
    indices: dict[str, str]
    equations: dict[str, Equation]
    has_labels: bool
    table: dict[str, Declared] = field(default_factory=dict)
    current: Equation | None = None
    own: str = ""
    unbound: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def check_name(self, name: Name, bound: frozenset[str]) -> None:
        if name.name in self.refused:
            return
        declared = self.table.get(name.name)
        if declared is None:
            self.report_missing(name)
            return
        if len(name.indices) != len(declared.indices):
            text = written(declared.name, declared.indices)
            self.findings.report(WrongIndices(name.span, name.name, text, len(name.indices), declared.span))
            return
        for index, expected in zip(name.indices, declared.indices, strict=True):
            self.check_index(name, index, expected, bound)

    def report_missing(self, name: Name) -> None:
        if self.is_index(name.name):
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
        return name in self.indices or (name == LABEL and self.has_labels)

    def early(self, name: Name, definition: Equation) -> Diagnostic:
        """A name above its equation: the old value of a state, if that equation uses this one in turn."""
        current = self.current
        in_call = current is not None and mentioned_in_call(current.value, name.name)
        is_old = in_call or mentions(definition.value, name.name)
        if current is None or not is_old or not self.uses(definition, current.name):
            return UsedBeforeDefined(name.span, name.name, definition.span)
        if current.name == self.own and not in_call:
            return MatrixTransition(name.span, name.name, self.own, definition.span)
        return GateReadsState(name.span, current.name, name.name, definition.span)

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
            self.findings.unknown("index", index.name, tuple(self.indices), index.span)
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
        elif node.index not in self.indices:
            self.findings.unknown("index", node.index, tuple(self.indices), node.span)
        elif node.index in bound:
            self.findings.report(IndexShadowed(node.span, node.index))


@dataclass
class RecurrenceChecker:
    definition: RecurrenceDefinition
    findings: Findings
    names: EquationNames = field(init=False)
    operands: list[CheckedOperand] = field(default_factory=list)
    checked: list[Temporary | StateUpdate] = field(default_factory=list)
    """The state that a name is, or is made of."""

    def __post_init__(self) -> None:
        indices = {formal.index: formal.label for formal in self.definition.formals if formal.index is not None}
        first = {equation.name: equation for equation in reversed(self.equations)}
        self.names = EquationNames(self.findings, indices, first, self.has_labels)

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
        )

    def check_formals(self) -> None:
        check_formals(self.definition.formals, self.findings)
        for formal in self.definition.formals:
            if formal.label == "head" and formal.index is not None:
                self.findings.report(NotSupportedYet(formal.span, "heads"))
            if LABEL in (formal.label, formal.index):
                kind = "an index" if formal.index == LABEL else "a size"
                self.findings.report(ReservedName(formal.span, kind, LABEL, "`label` is the label of the step"))

    def declare(self, declaration: Declaration, operand: Operand) -> None:
        self.check_new_name(declaration.kind, operand.name, operand.span)
        self.check_own_indices(declaration.kind, operand.name, operand.indices, operand.span)
        if declaration.kind == "input" and operand.indices:
            self.findings.report(
                NotSupportedYet(operand.span, f"`{written(operand.name, operand.indices)}`, an input with an index")
            )
        if operand.initial is not None:
            check_initial(operand, self.findings)
        kind, span = declaration.kind, operand.span
        self.names.table.setdefault(operand.name, Declared(kind, operand.name, operand.indices, span))
        self.operands.append(CheckedOperand(operand.name, kind, operand.indices, operand.initial, span))

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
            elif index not in self.names.indices:
                self.findings.unknown("index", index, tuple(self.names.indices), span)
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
        left = Declared("equation", equation.name, equation.indices, equation.span)
        refused = refuse_offsets(equation, frozenset(self.names.indices))
        if refused is not None:
            self.findings.refuse(refused)
            unknown = undeclared(equation, frozenset(self.names.indices))
            self.findings.unknown_names |= {("index", index) for index in unknown}
            self.names.refused.add(equation.name)
            return
        is_new = self.check_left_side(equation)
        before = self.findings.count
        self.names.unbound.clear()
        self.names.current = equation
        is_state = mentions(equation.value, equation.name)
        if is_state:
            self.names.own = equation.name
            self.names.table.setdefault(equation.name, left)
        check_expression(equation.value, RECURRENCE, self.names, self.findings, frozenset(equation.indices))
        self.names.own = ""
        self.names.table.setdefault(equation.name, left)
        if is_new and self.findings.count == before:
            self.keep(equation, is_state)

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

    def keep(self, equation: Equation, is_state: bool) -> None:
        """Split a state's update and add the equation to the result."""
        if not is_state:
            self.checked.append(Temporary(equation.name, equation.indices, equation.value, equation.span))
            return
        split = split_update(equation.value, equation.name, equation.indices, self.findings)
        if split is not None:
            decay, drive = split
            self.checked.append(StateUpdate(equation.name, equation.indices, decay, drive, equation.span))

    def check_whole(self) -> None:
        """What can only be said of the recurrence as a whole; most of it only if all else is right."""
        if not self.equations:
            self.findings.report(NoEquations(self.definition.name_span, self.definition.name))
            return
        last = self.equations[-1]
        if last.indices:
            self.findings.report(ReadoutIndexed(last.span, written(last.name, last.indices)))
        if not self.findings.none:
            return
        if not any(isinstance(equation, StateUpdate) for equation in self.checked):
            self.findings.report(NoState(self.definition.name_span, self.definition.name))
        if not any(operand.kind == "input" for operand in self.operands):
            self.findings.report(NoChannelInput(self.definition.name_span, self.definition.name))
        self.check_all_used()

    def check_all_used(self) -> None:
        used = {self.equations[-1].name}
        for equation in self.equations:
            used |= {name.name for name in names_in(equation.value)} - {equation.name}
        for operand in self.operands:
            if operand.name not in used:
                self.findings.report(UnusedName(operand.span, KINDS[operand.kind], operand.name))
        for checked in self.checked:
            if checked.name not in used:
                kind = "state" if isinstance(checked, StateUpdate) else "value"
                self.findings.report(UnusedName(checked.span, kind, checked.name))


def mentioned_in_call(expr: Expr, name: str) -> bool:
    """Inside a function, so not as a term."""
    return any(mentions(part, name) if isinstance(expr, Call) else mentioned_in_call(part, name) for part in parts(expr))
