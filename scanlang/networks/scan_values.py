"""What a scan makes of the features that a block calls it with, or why they do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scanlang.check.program import (
    CheckedOrder,
    CheckedScan,
    ConcatOrder,
    Direction,
    InsertOrder,
    InterleaveOrder,
    Token,
    WindowOrder,
)
from scanlang.diagnostics import InternalError, ScanError
from scanlang.errors import NoFeatureInput, ScanMisfit, ScanTokens
from scanlang.errors.words import listed
from scanlang.maps.routes import traversal_of
from scanlang.maps.structure import parts_of, token_names
from scanlang.networks.meeting import Meeting, Misfit
from scanlang.networks.network import ScanLayer
from scanlang.networks.scan_shape import scan_shape, why_not
from scanlang.networks.values import Map, Value, counted

UNCOUNTED = (WindowOrder, ConcatOrder, InterleaveOrder)
"""Orders in which a token that is inserted once may be there several times."""


def scan_value(layer: ScanLayer, values: tuple[Value, ...], at: Meeting) -> Value:
    """Raises Misfit."""
    if len(values) != len(layer.scan.inputs):
        raise InternalError(f"{at.name} is called with {len(values)} values")
    maps = [at.a_map(value, number) for number, value in enumerate(values)]
    for number, value in enumerate(maps):
        at.check_channels(value, layer.channels, number)
    for number, value in enumerate(maps[1:], 1):
        at.check_alike((at.arguments[0], maps[0]), (at.arguments[number], value))
    _check_inputs(layer, at)
    shape = scan_shape(layer)
    reason = why_not(shape)
    if reason is not None:
        raise Misfit(ScanMisfit(at.call, at.place, at.name, layer.scan.name, layer.channels, reason, layer.scan.span))
    _check_tokens(layer, shape.scan, maps[0], at)
    return replace(maps[0], channels=shape.result_channels)


def _check_inputs(layer: ScanLayer, at: Meeting) -> None:
    """They are features."""
    for operand in layer.scan.recurrence.operands:
        if operand.name in layer.scan.inputs and not operand.is_map:
            raise Misfit(NoFeatureInput(at.call, at.place, layer.scan.name, operand.name, operand.span))


def _directions(scan: CheckedScan) -> Iterator[Direction]:
    """Those of one layer, and all that its streams run along."""
    for direction in scan.directions:
        yield direction
        if direction.writes is not None:
            yield direction.writes
    yield from scan.along.values()
    if scan.conv is not None and scan.conv.along is not None:
        yield scan.conv.along


def _check_tokens(layer: ScanLayer, scan: CheckedScan, value: Map, at: Meeting) -> None:
    """The orders insert what the feature has."""
    inserted = {name: each for each in reversed(list(_directions(scan))) for name in token_names(each.order)}
    missing = [name for name in inserted if name not in value.token_names]
    if missing:
        problem = f"scans the token{'' if len(missing) == 1 else 's'} {listed(missing)}, which the feature does not have"
        instead = f"the statement `{missing[0]} = token(dim)` adds {'it' if len(missing) == 1 else f'`{missing[0]}`'}"
        raise Misfit(_tokens(at, problem, value, inserted[missing[0]], instead))
    left = [name for name in value.token_names if name not in inserted]
    if left:
        problem = f"does not scan the token{'' if len(left) == 1 else 's'} {listed(left)} of the feature"
        instead = f"an order of the scan says where: `insert(raster, {left[0]} at middle)`"
        raise Misfit(_tokens(at, problem, value, next(iter(inserted.values()), None), instead))
    counts = _counts(scan, value, at)
    for name, count in value.tokens:
        if counts.get(name, count) != count:
            problem = f"scans {counted(counts[name], 'token')} `{name}` and is given {count}"
            raise Misfit(_tokens(at, problem, value, inserted[name], None))


def _tokens(at: Meeting, problem: str, value: Map, direction: Direction | None, instead: str | None) -> ScanTokens:
    span = None if direction is None else direction.span
    return ScanTokens(at.call, at.place, at.name, problem, value.token_names, at.what(), span, instead)


def _counts(scan: CheckedScan, value: Map, at: Meeting) -> dict[str, int]:
    """How many tokens of a name are scanned, as far as that is known: on a grid of numbers always."""
    if not value.tokens:
        return {}
    if at.setting.image is not None:
        try:
            return dict(traversal_of(scan, at.setting.axes).at(value.grid(at.setting.image)).tokens)
        except ScanError as error:
            raise Misfit(*error.diagnostics) from None
    counts: dict[str, int] = {}
    for each in _directions(scan):
        for name, count in _fixed_counts(each.order).items():
            counts[name] = max(counts.get(name, 0), count)
    unknown = {name for each in _directions(scan) for name in _uncounted(each.order)}
    return {name: count for name, count in counts.items() if name not in unknown}


def _inserted(order: CheckedOrder) -> Iterator[Token]:
    for part in parts_of(order):
        if isinstance(part, InsertOrder):
            yield from part.tokens


def _fixed_counts(order: CheckedOrder) -> dict[str, int]:
    """Of places that are one step each, and of so many spread out."""
    counts: dict[str, int] = {}
    for token in _inserted(order):
        number = token.number if token.place == "spread" and isinstance(token.number, int) else 1
        counts[token.name] = counts.get(token.name, 0) + number
    return counts


def _uncounted(order: CheckedOrder) -> Iterator[str]:
    """The names of tokens whose number depends on the grid, or on how the order is made."""
    made_of_others = any(isinstance(part, UNCOUNTED) for part in parts_of(order))
    for token in _inserted(order):
        if made_of_others or token.place == "every" or not isinstance(token.number, int):
            yield token.name
