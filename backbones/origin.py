"""Where a network comes from: a program, a name in it, and what was given for its formals.

In: what the caller says, `core=("mine.scan", "stripes")`. Out: an `Origin`, in which files are programs; and the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

from scanlang.check.program import CheckedBackbone, CheckedBlock, CheckedScan, Word
from scanlang.diagnostics import ScanError
from scanlang.errors import NotChosen
from scanlang.networks.instantiate import Given, instantiate, instantiate_block
from scanlang.networks.network import Block, Network, Number
from scanlang.networks.vocabulary import LAYERS
from scanlang.program import Program, load
from scanlang.source import Span

ProgramOrPath = Program | str | PathLike[str]
Thing = CheckedScan | CheckedBlock | Word


@dataclass(frozen=True)
class Chosen:
    """A scan, block or word that was given for a formal, and the program that it is from, where that is known."""

    thing: Thing = field(repr=False)
    program: Program | None
    name: str


@dataclass(frozen=True)
class Origin:
    """`given` by formal."""

    program: Program
    name: str
    given: Mapping[str, Number | Chosen] = field(default_factory=dict)

    def but(self, **numbers: Number) -> Origin:
        """With other numbers."""
        return replace(self, given={**self.given, **numbers})

    @property
    def axes(self) -> tuple[str, ...]:
        return self.program.axes

    @property
    def _values(self) -> dict[str, Given]:
        return {name: value.thing if isinstance(value, Chosen) else value for name, value in self.given.items()}

    def network(self) -> Network:
        return instantiate(self.program.backbones[self.name], self.axes, self._values)

    def block(self) -> Block:
        return instantiate_block(self.program.blocks[self.name], self._values)


def origin_of(program: ProgramOrPath, name: str | None, given: Mapping[str, Any], kind: Literal["backbone", "block"]) -> Origin:
    """Raises ScanError where there is no such thing in the program, OSError for a program that cannot be read."""
    program = program if isinstance(program, Program) else load(program)
    things: Mapping[str, CheckedBackbone | CheckedBlock] = program.backbones if kind == "backbone" else program.blocks
    chosen = _only(program, name, things, kind)
    kinds = {formal.name: formal.kind for formal in things[chosen].formals}
    return Origin(program, chosen, {key: _value(program, kinds.get(key), value) for key, value in given.items()})


def _only(program: Program, name: str | None, things: Mapping[str, Any], kind: Literal["backbone", "block", "scan"]) -> str:
    """The name, or that of the only thing of the kind that the file has itself, or there is."""
    names = tuple(things)
    own = tuple(one for one in names if things[one].span.source == program.source)
    for only in (own, names) if name is None else ():
        if len(only) == 1:
            return only[0]
    if name is None or name not in things:
        raise ScanError([NotChosen(Span(program.source, 0, 0), kind, name, own or names)])
    return name


def _value(program: Program, kind: Literal["number", "scan", "block"] | None, value: Any) -> Any:
    """What is given for a formal; what is nothing for it is left to those who know the formal."""
    if kind not in ("scan", "block") or isinstance(value, Chosen):
        return value
    if isinstance(value, CheckedScan | CheckedBlock | Word):
        return Chosen(value, None, value.name)
    if isinstance(value, str):
        own: Mapping[str, Thing] = program.scans if kind == "scan" else program.blocks
        if value in own:
            return Chosen(own[value], program, value)
        if kind == "block" and value in LAYERS:
            return Chosen(Word(value), program, value)
    where, name = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(where, Program | str | PathLike) or not isinstance(name, str | None):
        return value
    where = where if isinstance(where, Program) else load(where)
    things: Mapping[str, Thing] = where.scans if kind == "scan" else where.blocks
    chosen = _only(where, name, things, kind)
    return Chosen(things[chosen], where, chosen)


def shown(value: object) -> str:
    """A value in a message."""
    text = repr(value) if isinstance(value, str | int | float | tuple | list | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
