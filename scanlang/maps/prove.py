"""Why an order visits what it should at every size. In: a `CheckedOrder`; out: the reasons in words, or None.

Should means: every cell exactly once; what `dilate` leaves out, and what `concat` and `interleave` visit again, is as they say.
Orders that exist at some sizes only (tables, tokens before step 98) are proved for those. Formulas are proved in `proofs.py`.
"""

from __future__ import annotations

from scanlang.check.program import (
    CheckedOrder,
    ConcatOrder,
    CurveOrder,
    DilateOrder,
    FormulaOrder,
    GivenOrder,
    InterleaveOrder,
    RandomOrder,
    ShiftOrder,
    TableOrder,
    WalkOrder,
    WindowOrder,
)
from scanlang.maps.proofs import prove_formula
from scanlang.maps.structure import parts_of


def prove(order: CheckedOrder, axes: tuple[str, ...]) -> str | None:
    """`walk: every axis whole, by construction`, and the reasons of all that is around it."""
    reasons: dict[str, None] = {}
    for part in parts_of(order):
        reason = _reason(part, axes)
        if reason is None:
            return None
        if reason:
            reasons[reason] = None
    return "; ".join(reasons)


def _reason(part: CheckedOrder, axes: tuple[str, ...]) -> str | None:
    """Why, if what is inside does; empty where nothing has to be said."""
    match part:
        case WalkOrder():
            return "walk: every axis whole, by construction"
        case FormulaOrder():
            return prove_formula(part) if len(axes) == 2 else None
        case CurveOrder(name=name):
            return f"{name}: by construction"
        case RandomOrder():
            return "random: the cells sorted, by construction"
        case TableOrder(shape=shape):
            cells = f"{shape[0]} cells" if len(shape) == 1 else f"{' × '.join(map(str, shape))} cells"
            return f"table: each of its {cells} once, by check"
        case GivenOrder():
            return "input: a permutation, checked when it is given"
        case ShiftOrder():
            return "shift: a roll is a bijection"
        case WindowOrder():
            return "window: every cell in one window, every window once"
        case DilateOrder():
            return "dilate: each cell of its phase once"
        case ConcatOrder() | InterleaveOrder():
            return "concat: what its parts visit" if isinstance(part, ConcatOrder) else "interleave: what its parts visit"
        case _:
            return ""
