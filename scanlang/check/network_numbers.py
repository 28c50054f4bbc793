"""The numbers of blocks and backbones whose formals all have defaults: their findings show without a call from Python.

In: checked blocks and backbones. Out: findings, each once, however many variants of a backbone have it.
"""

from __future__ import annotations

from collections.abc import Iterable

from scanlang.check.program import CheckedBackbone, CheckedBlock
from scanlang.diagnostics import Reporter, ScanError
from scanlang.errors import TooMany
from scanlang.limits import LIMITS
from scanlang.source import Span


def check_numbers(networks: Iterable[CheckedBlock | CheckedBackbone | None], axes: tuple[str, ...], reporter: Reporter) -> None:
    """What is too large ends it: the others may be as large."""
    seen: set[tuple[str, Span]] = set()
    layers = calls = 0
    for network in networks:
        if network is None or any(formal.default is None for formal in network.formals):
            continue
        try:
            more_layers, more_calls = check_one(network, axes)
            layers, calls = layers + more_layers, calls + more_calls
        except ScanError as error:
            for diagnostic in error.diagnostics:
                if (diagnostic.code, diagnostic.span) not in seen:
                    reporter.report(diagnostic)
                seen.add((diagnostic.code, diagnostic.span))
            if any(isinstance(diagnostic, TooMany) for diagnostic in error.diagnostics):
                return
        if layers > LIMITS.file_layers:
            reporter.report(TooMany(network.span, "layers in the blocks and backbones of one file", LIMITS.file_layers))
            return
        if calls > LIMITS.file_calls:
            reporter.report(TooMany(network.span, "calls and operations in the backbones of one file", LIMITS.file_calls))
            return


def check_one(network: CheckedBlock | CheckedBackbone, axes: tuple[str, ...]) -> tuple[int, int]:
    """How many layers it has, and how many calls and operations in them. Raises ScanError."""
    from scanlang.networks.instantiate import instantiate, instantiate_block
    from scanlang.networks.network import size_of
    from scanlang.networks.widths import check_network

    if isinstance(network, CheckedBlock):
        return size_of(instantiate_block(network)), 0
    made = instantiate(network, axes)
    return sum(size_of(section.part) for section in made.sections), check_network(made)
