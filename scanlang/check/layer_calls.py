"""How layers, blocks and scans are called: their arguments by name, and which argument of a call is which.

In: what is called, and the arguments as they stand. Out: a `Match`; nothing is reported here, since a call may come through a
formal whose value is known only later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, assert_never

from scanlang.check.expressions import names_in
from scanlang.check.program import Argument, CheckedBlock, CheckedScan, FormalCallee, Word
from scanlang.errors import listed
from scanlang.networks.vocabulary import LAYERS, Kind
from scanlang.source import Span
from scanlang.syntax.format_expression import format_expression
from scanlang.syntax.nodes import Expr, Formal

WEIGHT = "weight"
"""The keyword of the first weights, which every layer that learns some takes."""
CHANNELS = "channels"
"""The only argument of a scan without formals."""

Given = TypeVar("Given")
Thing = Word | CheckedScan | CheckedBlock


@dataclass(frozen=True)
class Slot:
    """An argument. `any` is a number or a flag: what a block's formal takes."""

    name: str
    kind: Kind | Literal["any", "scan", "block"]
    required: bool
    span: Span | None = None


@dataclass(frozen=True)
class Signature:
    """`positional` arguments may stand without their names."""

    thing: Thing
    kind: Literal["layer", "block", "scan"]
    slots: tuple[Slot, ...]
    positional: int
    learned: bool = False

    @property
    def name(self) -> str:
        return self.thing.name

    @property
    def usage(self) -> str:
        """How it is called: `linear(in, out, bias = true)`."""
        match self.thing:
            case Word(name=name):
                return LAYERS[name].usage(name)
            case CheckedScan():
                return scan_text(self.thing) if self.thing.formals else f"{self.name}({CHANNELS})"
            case CheckedBlock():
                return block_text(self.thing)
        assert_never(self.thing)

    @property
    def declared(self) -> Span | None:
        """Where it is defined, None for a word."""
        return None if isinstance(self.thing, Word) else self.thing.span

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(slot.name for slot in self.slots)

    def slot(self, name: str) -> Slot:
        return next(slot for slot in self.slots if slot.name == name)


@dataclass(frozen=True)
class Match(Generic[Given]):
    """The arguments by name, but for `weight`; what is no argument; and what else is wrong."""

    given: dict[str, Given]
    unknown: tuple[str, ...]
    problem: str | None
    weight: Given | None = None


def signature(thing: Thing) -> Signature:
    match thing:
        case Word(name=name):
            entry = LAYERS[name]
            slots = tuple(Slot(formal.name, formal.kind, formal.default is None) for formal in entry.formals)
            return Signature(thing, "layer", slots, len(slots), entry.learned)
        case CheckedScan(formals=formals):
            required = tuple(Slot(formal.label, "size", formal.default is None, formal.span) for formal in formals)
            slots = required or (Slot(CHANNELS, "size", True),)
            return Signature(thing, "scan", slots, 1)
        case CheckedBlock():
            slots = tuple(
                Slot(formal.name, "any" if formal.kind == "number" else formal.kind, formal.default is None, formal.span)
                for formal in thing.formals
            )
            return Signature(thing, "block", slots, len(slots))
    assert_never(thing)


def scan_text(scan: CheckedScan, more: Mapping[str, str | None] | None = None) -> str:
    """`cross(dim, rank = ceil(dim / 16))`, with more sizes behind its own."""
    shown = [formal_text(formal) for formal in scan.formals]
    shown += [name if value is None else f"{name} = {value}" for name, value in (more or {}).items()]
    return f"{scan.name}({', '.join(shown)})"


def only_names(expr: Expr, known: tuple[str, ...]) -> bool:
    """Whether a scan with these sizes could say the same."""
    return all(name.name in known for name in names_in(expr))


def formal_text(formal: Formal) -> str:
    return formal.label if formal.default is None else f"{formal.label} = {format_expression(formal.default)}"


def block_text(block: CheckedBlock) -> str:
    """`vss(dim, ratio = 1, scan core = cross2d)`."""
    shown: list[str] = []
    for formal in block.formals:
        name = formal.name if formal.kind == "number" else f"{formal.kind} {formal.name}"
        shown.append(name if formal.default is None else f"{name} = {argument_text(formal.default)}")
    return f"{block.name}({', '.join(shown)})"


def argument_text(argument: Argument) -> str:
    if isinstance(argument, Word | CheckedScan | CheckedBlock | FormalCallee):
        return argument.name
    return format_expression(argument)


def match(signature: Signature, arguments: Sequence[Given], keywords: Mapping[str, Given]) -> Match[Given]:
    """Which argument is which."""
    given = dict(zip(signature.names[: signature.positional], arguments, strict=False))
    twice = [name for name in keywords if name in given]
    has_own_weight = WEIGHT in signature.names
    known = {name: value for name, value in keywords.items() if name in signature.names}
    unknown = tuple(name for name in keywords if name not in known and (name != WEIGHT or signature.kind != "layer"))
    missing = [slot.name for slot in signature.slots if slot.required and slot.name not in given | known]
    problem = None
    if len(arguments) > signature.positional:
        problem = _too_many(len(arguments), signature)
    elif twice:
        problem = f"`{twice[0]}` is given twice"
    elif missing:
        problem = f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} not given"
    weight = None if has_own_weight or signature.kind != "layer" else keywords.get(WEIGHT)
    return Match({**known, **given}, unknown, problem, weight)


def _too_many(count: int, signature: Signature) -> str:
    without = "1 argument stands" if count == 1 else f"{count} arguments stand"
    most = "none may" if signature.positional == 0 else f"at most {signature.positional} may"
    return f"{without} without a name, {most}"


def inputs_of(thing: Thing) -> tuple[str, ...]:
    """The values that it is called with in `forward`."""
    return ("x",) if isinstance(thing, Word) else thing.inputs
