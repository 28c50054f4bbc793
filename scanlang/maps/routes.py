"""Where the streams of a scan run. In: one layer of a checked scan and the grid's axes; out: its traversal.

Route 0 are the directions' own orders. There is one more for every other tuple of orders, one per direction, along which an
operand is read (`operands low along raster`) or outputs are written (`back writes rows`).
"""

from __future__ import annotations

from scanlang.check.program import CheckedScan, Direction
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal

Orders = tuple[Order, ...]


def traversal_of(scan: CheckedScan, axes: tuple[str, ...]) -> Traversal:
    """What a scan visits. Rows are numbered for the order of its convolution too, which may run in a pass before."""
    routes = [tuple(order_of(direction, axes) for direction in scan.directions)]
    for other in (*operand_orders(scan, axes).values(), output_orders(scan, axes)):
        if other not in routes:
            routes.append(other)
    numbered = tuple(order for route in routes for order in route)
    if scan.conv is not None and scan.conv.along is not None:
        numbered += (order_of(scan.conv.along, axes),)
    return Traversal(tuple(routes), numbered)


def conv_traversal(scan: CheckedScan, along: Direction, traversal: Traversal) -> Traversal:
    """Of a convolution along an order of its own, on the rows of the scan: by every direction, or by one if all are alike."""
    count = 1 if "conv" in scan.shared and scan.split is None else len(scan.directions)
    return Traversal(((order_of(along, traversal.orders[0].axes),) * count,), traversal.numbered)


def operand_orders(scan: CheckedScan, axes: tuple[str, ...]) -> dict[str, Orders]:
    """The orders of every operand that runs along another order."""
    count = len(scan.directions)
    return {name: (order_of(along, axes),) * count for name, along in scan.along.items()}


def output_orders(scan: CheckedScan, axes: tuple[str, ...]) -> Orders:
    """Where every direction writes."""
    return tuple(order_of(direction.writes or direction, axes) for direction in scan.directions)


def order_of(direction: Direction, axes: tuple[str, ...]) -> Order:
    return Order(direction.text, axes, direction.order)
