"""What `scanlang show` draws. In: a verified program, the names asked for, a layer; out: orders by their titles, and a grid.

Without names that is every order of the program, and every direction of its scans that is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from scanlang.diagnostics import ScanError
from scanlang.errors import NoSuchLayer
from scanlang.maps.structure import table_grids

if TYPE_CHECKING:
    from scanlang.maps.order import Order
    from scanlang.maps.verify import VerifiedProgram

Grid = tuple[int, ...]

GRIDS: dict[int, Grid] = {1: (32,), 2: (8, 12), 3: (3, 5, 7), 4: (2, 2, 4, 6)}
"""What is drawn when no size is given, by the number of axes."""


def directions(program: VerifiedProgram, scan: str, layer: int) -> tuple[Order, ...]:
    """Those of a layer: `cycle` starts again after the last one, `list` has no more."""
    checked, layers = program.mapped.checked.scans[scan], program.traversals[scan]
    if checked.layer_rule == "list" and layer >= len(layers):
        raise ScanError([NoSuchLayer(checked.span, scan, layer, len(layers))])
    return layers[layer % len(layers)].orders


def chosen(program: VerifiedProgram, names: tuple[str, ...], layer: int) -> dict[str, Order]:
    """The orders to draw, by title; a name that there is not is wrong usage."""
    scans = {scan: directions(program, scan, layer) for scan in program.traversals}
    everything = titled(program, scans)
    known = [*program.orders, *scans, *everything]
    drawn: dict[str, Order] = {}
    for name in names:
        if name in everything:
            drawn[name] = everything[name]
        elif name in scans:
            drawn.update(titled(program, {name: scans[name]}, own=False))
        else:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f" (there are: {', '.join(dict.fromkeys(known)) or 'none'})"
            raise click.UsageError(f"the program has no order {name}{hint}")
    return drawn if names else everything


def titled(program: VerifiedProgram, scans: dict[str, tuple[Order, ...]], own: bool = True) -> dict[str, Order]:
    """Directions under their texts, once each; with the scan's name where the same text is another order before."""
    known = dict(program.orders) if own else {}
    for scan, orders in scans.items():
        for order in orders:
            other = known.setdefault(order.name, order)
            if other.checked != order.checked:
                known[f"{scan}: {order.name}"] = order
    return known


def grid_for(orders: dict[str, Order]) -> Grid:
    """The usual one; that of a table, where there are tables that the usual one does not fit."""
    first = next(iter(orders.values()))
    tables = (grid for order in orders.values() for grid in table_grids(order.checked, order.rank))
    for grid in (GRIDS[first.rank], *tables):
        if all(_exists(order, grid) for order in orders.values()):
            return grid
    return GRIDS[first.rank]


def _exists(order: Order, grid: Grid) -> bool:
    try:
        order.sequence(*grid)
    except ScanError:
        return False
    return True


def layer_notes(program: VerifiedProgram, orders: dict[str, Order]) -> Iterator[str]:
    """Which layers of the scans are drawn, where there are others that none was asked for and that are not all drawn anyway."""
    for scan, layers in program.traversals.items():
        drawn = [all(order.name in orders for order in layer.orders) for layer in layers]
        if drawn[0] and not all(drawn):
            yield f"{scan}: layer 0 of {len(layers)}; --layer 1 draws the next"
