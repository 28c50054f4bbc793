"""The formals of a block or backbone, each with a value.

In: what the caller gives, in Python or in a layer. Out: `Names`; defaults use the formals before them.
"""

from __future__ import annotations

from collections.abc import Mapping

from scanlang.check.layer_calls import Thing
from scanlang.check.program import CheckedBlock, CheckedScan, NetworkFormal, Word
from scanlang.diagnostics import InternalError, ScanError
from scanlang.errors import WrongFormals, WrongThing
from scanlang.networks.building import Building, Names, as_callee, as_number, fits, kind_of
from scanlang.networks.network import Number
from scanlang.networks.numbers import Value
from scanlang.networks.numbers import given as given_number
from scanlang.source import Span

Given = Number | CheckedScan | CheckedBlock | Word
"""What the caller gives for a formal: a number, or a scan, block or layer."""
Known = Mapping[str, Value | Thing | None]


def from_python(
    building: Building, name: str, formals: tuple[NetworkFormal, ...], given: Mapping[str, Given], span: Span
) -> Names:
    """Raises ScanError for names that are no formals, and for formals without a value."""
    known = tuple(formal.name for formal in formals)
    unknown = tuple(other for other in given if other not in known)
    missing = tuple(formal.name for formal in formals if formal.default is None and formal.name not in given)
    if unknown or missing:
        raise ScanError([WrongFormals(span, name, missing, unknown, known)])
    values = {formal.name: _from_python(building, formal, given[formal.name]) for formal in formals if formal.name in given}
    return bind(building, formals, values, ())


def _from_python(building: Building, formal: NetworkFormal, value: Given) -> Value | Thing | None:
    if formal.kind == "number":
        return building.wanted(f"`{formal.name}`", (), lambda: given_number(value, formal.span))
    if not isinstance(value, Word | CheckedScan | CheckedBlock):
        building.report(WrongThing(formal.span, formal.name, formal.kind, f"{value!r}"))
        return None
    if fits(value, formal.kind):
        return value
    building.report(WrongThing(formal.span, formal.name, formal.kind, f"the {kind_of(value)} `{value.name}`"))
    return None


def bind(building: Building, formals: tuple[NetworkFormal, ...], given: Known, calls: tuple[Span, ...]) -> Names:
    """A value for every formal."""
    names = Names()
    for formal in formals:
        if formal.kind == "number":
            names.numbers[formal.name] = _number(building, formal, given, names, calls)
        else:
            names.things[formal.name] = _thing(formal, given, names)
    return names


def _number(building: Building, formal: NetworkFormal, given: Known, names: Names, calls: tuple[Span, ...]) -> Value | None:
    if formal.name in given:
        value = given[formal.name]
        return None if isinstance(value, Word | CheckedScan | CheckedBlock) else value
    default = None if formal.default is None else as_number(formal.default)
    if default is None:
        raise InternalError(f"no value for {formal.name}")
    return building.wanted(f"`{formal.name}`", calls, lambda: building.numbers(names.numbers).value(default))


def _thing(formal: NetworkFormal, given: Known, names: Names) -> Thing | None:
    if formal.name in given:
        value = given[formal.name]
        return value if isinstance(value, Word | CheckedScan | CheckedBlock) else None
    default = as_callee(formal.default)
    if default is None:
        raise InternalError(f"no value for {formal.name}")
    return names.thing(default)
