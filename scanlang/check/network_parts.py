"""What checked blocks and backbones are made of: the scans and blocks in them, and how deep. Nothing is reported here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scanlang.check.program import Argument, CheckedBackbone, CheckedBlock, CheckedLayer, CheckedScan

Network = CheckedBlock | CheckedBackbone


def called(network: Network) -> Iterator[Argument]:
    """What is called in it, or handed on to what is called."""
    for formal in network.formals:
        if formal.default is not None:
            yield formal.default
    for statement in network.statements:
        if isinstance(statement, CheckedLayer):
            yield statement.callee
            yield from statement.arguments
            yield from statement.keywords.values()


def blocks_in(networks: Iterable[Network]) -> list[Network]:
    """The networks, and every block in them, each once."""
    seen: dict[int, Network] = {}
    waiting = list(networks)
    while waiting:
        network = waiting.pop()
        if id(network) not in seen:
            seen[id(network)] = network
            waiting += [part for part in called(network) if isinstance(part, CheckedBlock)]
    return list(seen.values())


def scans_in(networks: Iterable[Network]) -> list[CheckedScan]:
    """The scans that they bring along, each once."""
    found = {id(part): part for network in blocks_in(networks) for part in called(network) if isinstance(part, CheckedScan)}
    return list(found.values())


def nesting(network: Network, known: dict[int, int] | None = None) -> int:
    """How many blocks lie inside each other, the network itself counted."""
    known = {} if known is None else known
    if id(network) not in known:
        inner = (nesting(part, known) for part in called(network) if isinstance(part, CheckedBlock))
        known[id(network)] = 1 + max(inner, default=0)
    return known[id(network)]
