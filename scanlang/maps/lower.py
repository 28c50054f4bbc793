"""Lower checked orders to maps. In: a `CheckedProgram`; out: an `Order` for each order, a `Traversal` for each layer of a scan.

What this does not do: check that the orders visit what they should (`verify.py`). Recurrences and merges stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.check.program import CheckedProgram
from scanlang.maps.order import Order
from scanlang.maps.routes import traversal_of
from scanlang.maps.traversal import Traversal


@dataclass(frozen=True)
class MappedProgram:
    """`traversals` gives what each layer of each scan visits; orders are named as the program writes them (`reverse(rows)`).

    `routes.py` says which route an operand and the output take.
    """

    checked: CheckedProgram
    orders: dict[str, Order]
    traversals: dict[str, tuple[Traversal, ...]]

    @property
    def scans(self) -> dict[str, tuple[Order, ...]]:
        """The orders of the directions of each scan, in its first layer."""
        return {name: layers[0].orders for name, layers in self.traversals.items()}

    def layers(self, scan: str) -> tuple[tuple[Order, ...], ...]:
        """The orders of the directions of a scan, layer by layer."""
        return tuple(layer.orders for layer in self.traversals[scan])


def lower_to_maps(program: CheckedProgram) -> MappedProgram:
    orders = {name: Order(name, program.axes, checked) for name, checked in program.orders.items()}
    traversals = {
        name: tuple(traversal_of(scan.at_layer(layer), program.axes) for layer in range(len(scan.layers)))
        for name, scan in program.scans.items()
    }
    return MappedProgram(program, orders, traversals)
