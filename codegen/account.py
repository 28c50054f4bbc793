"""What a report says of a scan in words: how rows are found, in how many passes, what is kept, and why. In: graphs, kernels, a
size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scanlang.check.program import CheckedScan
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.stages import graph_summary
from scanlang.codegen.traffic import Operations, Sizes, count_operations
from scanlang.graph.build_merge import terms
from scanlang.graph.scan_graph import ScanGraph
from scanlang.maps.traversal import Traversal
from scanlang.syntax.nodes import CellMean


@dataclass(frozen=True)
class DirectionAccount:
    """One direction: `y[k]` in a merge. The rows of its steps are computed, or come from a table, and `why`."""

    order: str
    proof: str
    steps: int
    addresses: str
    why: str


@dataclass(frozen=True)
class MergeAccount:
    rule: str
    passes: int
    why: str


@dataclass(frozen=True)
class ConvAccount:
    """`width` steps of the scan's input `source`; `inside` the scan's own pass, `before` in a pass of its own, or both."""

    source: str
    width: int
    inside: bool
    before: bool
    why: str


@dataclass(frozen=True)
class KeepAccount:
    """What the backward has of the forward. Between two saved states it runs the forward again, and of every step of that
    it keeps `kept` (`kept_bytes` per channel); `again` it computes from them a second time.

    `saved_bytes` are an image's states, saved `every` so many steps, `all_bytes` what keeping `kept` of all steps would take.
    Where chunks of steps are matrix products, no single step is run again, and nothing of it is kept (`run_again` is None).
    """

    every: int
    saved_bytes: int
    all_bytes: int = 0
    run_again: Operations | None = None
    kept: tuple[str, ...] = ()
    kept_bytes: int = 0
    again: Operations | None = None


def direction_accounts(
    kernels: ScanKernels,
    traversal: Traversal,
    grid: tuple[int, ...],
    target: str,
    schedule: Schedule,
    proofs: Mapping[str, str],
) -> tuple[DirectionAccount, ...]:
    """`proofs` says of every order, by name, why it visits what it should.

    Where the schedule goes step by step, as it does in float64, rows are found so whatever form the recurrence has.
    """
    orders, lengths = traversal.orders, traversal.at(grid).lengths
    found = (("table", "on the CPU always"),) * len(orders)
    if target != "cpu":
        from scanlang.codegen.gpu.addressing import addressing

        taken = kernels if schedule.kind == "chunked" else replace(kernels, matrix=None)
        found = addressing(taken, traversal, grid)
    return tuple(
        DirectionAccount(order.name, proofs[order.name], length, addresses, why)
        for order, length, (addresses, why) in zip(orders, lengths, found, strict=True)
    )


def keep_account(kernels: ScanKernels, schedule: Schedule, sizes: Sizes) -> KeepAccount:
    backward, lengths = kernels.backward, sizes.visits.lengths
    channels = [count for _, count in kernels.channels(sizes.channels)]
    chunks = [-(-length // schedule.backward_chunk) for length in lengths]
    states = sum(count * own for count, own in zip(chunks, channels, strict=True)) * len(kernels.forward.states)
    if schedule.kind == "chunked":
        return KeepAccount(schedule.backward_chunk, states * sizes.computing)
    after = {advance.value for advance in backward.advances if advance.state in backward.keep}
    kept = [name for name in backward.keep if name not in after]  # a state after a step is the one before the next
    steps = sum(length * own for length, own in zip(lengths, channels, strict=True)) * len(kept)
    return KeepAccount(
        schedule.backward_chunk,
        states * sizes.computing,
        steps * sizes.computing,
        count_operations(backward.forward),
        tuple(name.removeprefix("b_") for name in kept),
        len(kept) * sizes.computing,
        count_operations(backward.backward[: backward.again]),
    )


def merge_account(scan: CheckedScan, graph: ScanGraph) -> MergeAccount:
    rule = scan.merge if isinstance(scan.merge, str) else graph_summary(graph)
    if graph.second is not None:
        reasons = ["takes means over all cells"] if any(isinstance(t, CellMean) for t in terms(graph.second)) else []
        reasons += [f"calls {', '.join(graph.layers)}"] if graph.layers else []
        return MergeAccount(rule, 2, f"it {' and '.join(reasons)}, with all outputs of an image at hand")
    if graph.directions == 1:
        return MergeAccount(rule, 1, "there is one direction")
    if graph.split is not None:
        return MergeAccount(rule, 1, "every direction writes channels of its own")
    if graph.stacked:
        return MergeAccount(rule, 1, "every direction writes its outputs beside the others'")
    if isinstance(graph.merge, str):
        return MergeAccount(rule, 1, "the outputs of a cell are added up")
    return MergeAccount(rule, 1, "the outputs of a cell are all it needs")


def conv_account(scan: CheckedScan, graph: ScanGraph) -> ConvAccount | None:
    """Where the convolution is computed."""
    conv = graph.conv
    if conv is None:
        return None
    if conv.along is not None:
        return ConvAccount(conv.source, conv.width, False, True, f"it runs along {conv.along.orders[0].name}")
    projected = [name for one in scan.projections if one.source == conv.source for name in one.names]
    why = "it runs in every direction's own time"
    if projected:
        why += f"; {', '.join(projected)} {'is' if len(projected) == 1 else 'are'} projected from what it makes"
    return ConvAccount(conv.source, conv.width, True, bool(projected), why)
