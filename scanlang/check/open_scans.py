"""What a scan wants from its caller beside its inputs, which no block can give: `B`, where nothing projects it."""

from __future__ import annotations

from collections.abc import Iterator

from scanlang.check.order_tree import within
from scanlang.check.program import LEARNED, CheckedScan, Direction, GivenOrder


def asks_for(scan: CheckedScan) -> tuple[str, ...]:
    """Inputs of the recurrence that nothing makes, and orders that come with the call."""
    fed = {*scan.inputs, *scan.projected}
    inputs = (o.name for o in scan.recurrence.operands if o.kind not in LEARNED and o.name not in fed)
    given = (
        order.name for direction in _directions(scan) for order in within(direction.order) if isinstance(order, GivenOrder)
    )
    return tuple(dict.fromkeys((*inputs, *given)))


def _directions(scan: CheckedScan) -> Iterator[Direction]:
    for layer in scan.layers:
        yield from layer
        yield from (direction.writes for direction in layer if direction.writes is not None)
    yield from scan.along.values()
    if scan.conv is not None and scan.conv.along is not None:
        yield scan.conv.along
