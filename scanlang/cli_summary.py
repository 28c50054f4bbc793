"""What `scanlang check` says of a program without findings, on one line. In: a verified program; out: the line.

Of scans it says what their directions do not show at a glance: several layers, tokens, orders that come with the call, cells
that are left out or visited again, a merge in two passes. Blocks and backbones are counted, and in a file without scans the
recurrences. What is imported is said of its own file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeVar

from scanlang.check.expressions import parts
from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedProgram, CheckedRecurrence, CheckedScan
from scanlang.diagnostics import ScanError
from scanlang.syntax.nodes import CellMean, Expr

if TYPE_CHECKING:
    from scanlang.maps.order import Order
    from scanlang.maps.traversal import Traversal
    from scanlang.maps.verify import VerifiedProgram

Thing = TypeVar("Thing", CheckedRecurrence, CheckedScan, CheckedBlock, CheckedBackbone)

SAMPLE: dict[int, tuple[int, ...]] = {1: (35,), 2: (5, 7), 3: (3, 4, 5), 4: (2, 3, 4, 5)}
"""The grid on which it is looked how often cells are visited, by the number of axes."""


def summary(program: VerifiedProgram) -> str:
    """`8 orders proved for every size; scan vim_v2: token cls`; scans with the same traits are named together."""
    scans: dict[str, list[str]] = {}
    for name, scan in own(program.mapped.checked, program.mapped.checked.scans).items():
        found = ", ".join(traits(scan, program.traversals[name]))
        if found:
            scans.setdefault(found, []).append(name)
    told = [f"scan{'' if len(names) == 1 else 's'} {', '.join(names)}: {found}" for found, names in scans.items()]
    return "; ".join([program.summary(), *told, *networks(program.mapped.checked)])


def networks(program: CheckedProgram) -> Iterator[str]:
    """`2 blocks, 3 backbones`, and which of these are followed with no numbers."""
    backbones, recurrences = own(program, program.backbones), own(program, program.recurrences)
    counts = {
        "recurrence": 0 if own(program, program.scans) else len(recurrences),
        "block": len(own(program, program.blocks)),
        "backbone": len(backbones),
    }
    shown = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count]
    if shown:
        yield ", ".join(shown)
    for backbone in backbones.values():
        left = [formal.name for formal in backbone.formals if formal.default is None]
        if left:
            without = "has no default" if len(left) == 1 else "have no defaults"
            yield f"backbone {backbone.name}: channels not followed, {', '.join(left)} {without}"


def own(program: CheckedProgram, things: Mapping[str, Thing]) -> dict[str, Thing]:
    """Those that the file defines itself."""
    return {name: thing for name, thing in things.items() if program.source in (None, thing.span.source)}


def traits(scan: CheckedScan, layers: tuple[Traversal, ...]) -> Iterator[str]:
    orders = tuple({order.name: order for layer in layers for order in layer.orders}.values())
    if len(layers) > 1:
        yield f"{len(layers)} layers" + (" (cycle global)" if scan.whole_backbone else "")
    tokens = tuple(dict.fromkeys(name for layer in layers for name in layer.token_names))
    if tokens:
        yield f"token{'' if len(tokens) == 1 else 's'} {', '.join(tokens)}"
    given = tuple(dict.fromkeys(name for layer in layers for name in layer.given_names))
    if given:
        yield f"given with the call: {', '.join(given)}"
    yield from _cover(scan, orders)
    if in_two_passes(scan):
        yield "merge in two passes"


def _cover(scan: CheckedScan, orders: tuple[Order, ...]) -> Iterator[str]:
    visits = [_visits(order) for order in orders if not order.covers]
    partial, again = sum(least == 0 for least, _ in visits), sum(most > 1 for _, most in visits)
    if partial:
        left = ", cells that none visits are 0" if scan.uncovered else ""
        yield f"{_of_orders(partial, len(orders), 'leave')} out cells{left}"
    if again:
        yield f"{_of_orders(again, len(orders), 'visit')} cells again"


def _of_orders(count: int, total: int, verb: str) -> str:
    if count == total:
        return f"{'its order' if total == 1 else f'each of {total} orders'} {verb}s"
    return f"{count} of {total} orders {verb}{'s' if count == 1 else ''}"


def _visits(order: Order) -> tuple[int, int]:
    """How often the cells of a small grid are visited, at least and at most."""
    try:
        visits = order.visits(*SAMPLE[order.rank])
    except ScanError:
        return 1, 1
    return int(visits.min()), int(visits.max())


def in_two_passes(scan: CheckedScan) -> bool:
    """Whether the merge needs all outputs of an image first: it takes means over cells, or calls layers."""
    return bool(scan.uses) or (not isinstance(scan.merge, str) and _has_mean(scan.merge))


def _has_mean(expression: Expr) -> bool:
    return isinstance(expression, CellMean) or any(map(_has_mean, parts(expression)))
