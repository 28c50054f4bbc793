"""Lower checked orders to maps. In: a `CheckedProgram`; out: an `Order` for each of its orders and directions.

What this does not do: check that the maps are bijections (`verify.py`). Recurrences and merges stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.check.program import CheckedProgram
from scanlang.maps.order import Order


@dataclass(frozen=True)
class MappedProgram:
    """`scans` gives the order of each direction of each scan, named as the program writes it (`reverse(rows)`)."""

    checked: CheckedProgram
    orders: dict[str, Order]
    scans: dict[str, tuple[Order, ...]]


def lower_to_maps(program: CheckedProgram) -> MappedProgram:
    orders = {name: Order(name, program.axes, checked) for name, checked in program.orders.items()}
    scans = {
        name: tuple(Order(direction.text, program.axes, direction.order) for direction in scan.directions)
        for name, scan in program.scans.items()
    }
    return MappedProgram(program, orders, scans)
