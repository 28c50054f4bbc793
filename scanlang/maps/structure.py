"""What an order is made of, and what follows at every size. In: a `CheckedOrder`; out: its parts, tokens, constants, cover.

Orders share parts, so everything here goes through each part once.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt

from scanlang.check.order_tree import parts
from scanlang.check.program import (
    CheckedOrder,
    ConcatOrder,
    DilateOrder,
    GivenOrder,
    InsertOrder,
    InterleaveOrder,
    ResetOrder,
    TableOrder,
    WindowOrder,
)
from scanlang.maps.bounds import Grid


def parts_of(order: CheckedOrder) -> Iterator[CheckedOrder]:
    """The order and every part of it, once, each after what it is made of."""
    seen: set[int] = set()
    waiting = [(order, False)]
    while waiting:
        part, made = waiting.pop()
        if made:
            yield part
        elif id(part) not in seen:
            seen.add(id(part))
            waiting.append((part, True))
            waiting.extend((each, False) for each in reversed(parts(part)))


def token_names(order: CheckedOrder) -> tuple[str, ...]:
    """In the order of their first use; how many there are of each depends on the size."""
    inserts = (part for part in parts_of(order) if isinstance(part, InsertOrder))
    return tuple(dict.fromkeys(token.name for insert in inserts for token in insert.tokens))


def given_name(order: CheckedOrder) -> str | None:
    """The name of the order given at run time that is inside."""
    return next((part.name for part in parts_of(order) if isinstance(part, GivenOrder)), None)


def mixed(order: CheckedOrder) -> CheckedOrder | None:
    """The part that makes one sequence of an order given at run time and of others: there is no such order."""
    for part in parts_of(order) if given_name(order) else ():
        leaves = [leaf for leaf in parts_of(part) if not parts(leaf)]
        if any(isinstance(leaf, GivenOrder) for leaf in leaves) and any(leaf != leaves[0] for leaf in leaves):
            return part
    return None


def visits_once(order: CheckedOrder) -> bool:
    """Whether, at every size, every cell is visited once, whatever else happens."""
    partial = (DilateOrder, ConcatOrder, InterleaveOrder)
    return not any(isinstance(part, partial) for part in parts_of(order))


def only_cells(order: CheckedOrder) -> bool:
    """Whether, at every size, there are neither tokens nor pads nor restarts, and all cells are known before the run."""
    return not any(
        isinstance(part, InsertOrder | ResetOrder | GivenOrder)
        or (isinstance(part, WindowOrder | DilateOrder) and part.pad == "decay")
        for part in parts_of(order)
    )


def as_many_steps_as_cells(order: CheckedOrder) -> bool:
    """Whether that is so at every size."""
    return visits_once(order) and not any(
        isinstance(part, InsertOrder) or (isinstance(part, WindowOrder) and part.pad == "decay") for part in parts_of(order)
    )


def table_grids(order: CheckedOrder, rank: int) -> tuple[Grid, ...]:
    """Grids of `rank` axes that the tables in an order are for."""
    shapes = [part.shape for part in parts_of(order) if isinstance(part, TableOrder)]
    grids = [shape for shape in shapes if len(shape) == rank]
    for shape in shapes:
        if len(shape) == 1 and rank > 1:
            sides = [side for side in range(isqrt(shape[0]), 0, -1) if shape[0] % side == 0]
            pairs = [pair for side in sides for pair in ((side, shape[0] // side), (shape[0] // side, side))]
            grids += [(*(1,) * (rank - 2), *pair) for pair in pairs]
    return tuple(dict.fromkeys(grids))
