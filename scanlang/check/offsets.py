"""States read at another place or step: `h[i - 1, j]`, `h[t - 1]`, `h[n - 1]`, `h_prev`. An index is a bare name.

In: an equation or a name, and the indices of its recurrence. Out: the finding that says which idea this is, or None.
"""

from __future__ import annotations

from scanlang.check.expressions import names_in
from scanlang.check.linearity import written
from scanlang.diagnostics import Diagnostic
from scanlang.errors import IndexMisused, NotDiagonal, SeveralPredecessors
from scanlang.syntax.nodes import Binary, Equation, Expr, Name, Number

OLD = ("_prev", "_previous", "_old", "_last")


def refuse_offsets(equation: Equation, indices: frozenset[str]) -> Diagnostic | None:
    """Two places of a grid, the step before by its number, or another entry of the state."""
    reads = [name for name in names_in(equation.value) if name.name == equation.name and any(map(offset, name.indices))]
    if not reads:
        return None
    first = reads[0]
    moved = {shifted for read in reads for index in read.indices if (shifted := offset(index)) is not None}
    if len(moved) > 1 or len(undeclared(equation, indices)) > 1:
        return SeveralPredecessors(first.span, first.span.text)
    if moved <= indices:
        left = f"{equation.name}[{', '.join(equation.indices)}]" if equation.indices else equation.name
        return NotDiagonal(first.span, left, first.span.text)
    return IndexMisused(first.span, first.span.text, "reads a step by its number", at_the_step_before(equation.name))


def refuse_step(name: Name, indices: frozenset[str]) -> Diagnostic | None:
    """`x[t - 1]`, where `t` is no index: a value of another step by its number."""
    moved = [index for index in name.indices if offset(index) not in (None, *indices)]
    if len(moved) != 1:
        return None
    own = tuple(index.name for index in name.indices if isinstance(index, Name))
    reason = "steps have no number; the value at the step before is `prev(...)`"
    if isinstance(moved[0], Binary) and moved[0].operator == "-" and is_one(moved[0].right):
        reason = at_the_step_before(written(name.name, own))
    return IndexMisused(name.span, name.span.text, "reads a step by its number", reason)


def is_one(expr: Expr) -> bool:
    return isinstance(expr, Number) and expr.value == 1


def refuse_old_value(name: Name, equations: frozenset[str]) -> Diagnostic | None:
    """`h_prev`, where `h` is the name of an equation."""
    states = [name.name.removesuffix(ending) for ending in OLD if name.name.endswith(ending)]
    if not states or states[0] not in equations:
        return None
    return IndexMisused(name.span, name.name, "has no equation", at_the_step_before(states[0]))


def at_the_step_before(state: str) -> str:
    return f"the value at the step before is `prev({state})`"


def undeclared(equation: Equation, indices: frozenset[str]) -> frozenset[str]:
    """The indices that the equation writes at its name and the recurrence does not have."""
    own = [name for name in names_in(equation.value) if name.name == equation.name]
    plain = {index.name for name in own for index in name.indices if isinstance(index, Name)}
    moved = {shifted for name in own for index in name.indices if (shifted := offset(index)) is not None}
    return frozenset(plain | moved | set(equation.indices)) - indices


def offset(index: Expr) -> str | None:
    """`i` of `i - 1`."""
    if not isinstance(index, Binary) or index.operator not in ("+", "-"):
        return None
    if isinstance(index.left, Name) and isinstance(index.right, Number):
        return index.left.name
    return None
