"""When two orders are equal: when they visit alike. In: two `Order`s; out: yes or no, and a digest to hash them by.

Equal normal forms visit alike at every size. Others count as alike if their sequences (cells, tokens, pads, restarts) are the
same on all usual sizes, and on sizes beyond the largest constants in both, where `walk w by 32, h, w` and `walk w by 64, h, w`
differ. Where such a size has more than `MOST_COMPARED` cells, only the normal forms count. A size at which neither is an order
tells nothing.
"""

from __future__ import annotations

import hashlib
from itertools import combinations
from math import isqrt, prod
from typing import TYPE_CHECKING

import numpy as np

from scanlang.check.order_tree import parts
from scanlang.check.program import (
    CheckedOrder,
    DilateOrder,
    FormulaOrder,
    InsertOrder,
    Phases,
    ShiftOrder,
    Size,
    Tiles,
    WalkOrder,
    WindowOrder,
)
from scanlang.diagnostics import ScanError
from scanlang.maps.bounds import Grid
from scanlang.maps.formula import lower_formula
from scanlang.maps.integers import Constant, nodes
from scanlang.maps.structure import parts_of, table_grids
from scanlang.maps.usual_sizes import usual_sizes

if TYPE_CHECKING:
    from scanlang.maps.order import Order

MOST_COMPARED = 2**20
FEW_SIZES: dict[int, tuple[Grid, ...]] = {
    1: ((1,), (5,), (12,)),
    2: ((2, 3), (3, 2), (5, 7)),
    3: ((2, 3, 2), (3, 2, 4)),
    4: ((2, 2, 3, 2), (3, 2, 2, 3)),
}
"""By the number of axes: the sizes that hashes come from."""


def alike(left: Order, right: Order) -> bool:
    if left.rank != right.rank or left.given != right.given or left.token_names != right.token_names:
        return False
    if left.normal == right.normal:
        return True
    if left.digest != right.digest:
        return False
    beyond = _beyond(max(_reach(left.checked), _reach(right.checked)), left.rank)
    if beyond is None:
        return False
    sizes = (*usual_sizes(left.rank), *table_grids(left.checked, left.rank), *table_grids(right.checked, right.rank), *beyond)
    return all(_visits(left, size) == _visits(right, size) for size in sizes)


def digest(order: Order) -> bytes:
    """The same for orders that are alike."""
    total = hashlib.sha256(repr((order.rank, order.given, order.token_names)).encode())
    for size in FEW_SIZES[order.rank]:
        total.update(_visits(order, size))
    return total.digest()


def _visits(order: Order, size: Grid) -> bytes:
    """What happens at a size, or that there is no such order."""
    try:
        sequence = order.sequence(*size)
    except ScanError as error:
        return error.diagnostics[0].code.encode()
    rows = np.maximum(sequence.rows, -1)
    return repr(sequence.tokens).encode() + rows.tobytes() + np.flatnonzero(sequence.restarts).tobytes()


def _beyond(reach: int, rank: int) -> list[Grid] | None:
    """Grids with one, two and all sides beyond `reach`; None where those with two have too many cells."""
    long, sizes = reach + 1, []
    for count in {1, 2, rank} & set(range(1, rank + 1)):
        for axes in combinations(range(rank), count):
            lengths = [2 * reach + 1] if count == 1 else [long + place for place in range(count)]
            sizes += [_sides(axes, lengths, rank), _sides(axes, lengths[::-1], rank)]
    if any(prod(size) > MOST_COMPARED for size in sizes if sum(side > 3 for side in size) <= 2):
        return None
    return [size for size in dict.fromkeys(sizes) if prod(size) <= MOST_COMPARED]


def _sides(axes: tuple[int, ...], lengths: list[int], rank: int) -> Grid:
    sides = [3] * rank
    for axis, length in zip(axes, lengths, strict=True):
        sides[axis] = max(length, 3)
    return tuple(sides)


def _reach(order: CheckedOrder) -> int:
    """A length of axes beyond which no constant of the order can first show."""
    reaches: dict[int, int] = {}
    for part in parts_of(order):
        reaches[id(part)] = _reach_of(part, [reaches[id(each)] for each in parts(part)])
    return reaches[id(order)]


def _reach_of(part: CheckedOrder, of_inside: list[int]) -> int:
    match part:
        case WalkOrder(loops=loops):
            return max(_number(size) for loop in loops for size in _loop_sizes(loop))
        case FormulaOrder():
            outputs = lower_formula(part).map.outputs
            return max([abs(node.value) for each in outputs for node in nodes(each) if isinstance(node, Constant)], default=1)
        case ShiftOrder(offsets=offsets):
            return max(*of_inside, *map(abs, offsets))
        case WindowOrder(sizes=sizes):
            inner, outer = of_inside
            return max(inner, outer * max(_number(size) for size in sizes))
        case DilateOrder(every=every):
            return every * of_inside[0]
        case InsertOrder(tokens=tokens):
            return max(*of_inside, *(isqrt(_number(token.number)) + 1 for token in tokens))
        case _:
            return max(of_inside, default=1)


def _loop_sizes(loop: object) -> tuple[Size | None, ...]:
    match loop:
        case Tiles(by=by, first=first):
            return by, first
        case Phases(mod=mod):
            return (mod,)
        case _:
            return (None,)


def _number(size: Size | None) -> int:
    return size if isinstance(size, int) else 1
