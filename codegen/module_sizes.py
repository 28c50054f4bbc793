"""The sizes of a scan's module: what the caller gives, and the program's defaults. In: a scan and numbers; out: numbers."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from numbers import Integral

from scanlang.check.program import CheckedScan
from scanlang.check.sizes import evaluate_size, size_problem
from scanlang.diagnostics import ScanError
from scanlang.errors import BadSize, ChannelsDoNotSplit, MissingSize, ReservedName, WrongArguments
from scanlang.limits import LIMITS


def formal_sizes(scan: CheckedScan, channels: int | None, given: Mapping[str, int]) -> dict[str, int]:
    """The value of every formal of a scan: the first is the number of channels."""
    labels = tuple(formal.label for formal in scan.formals)
    unknown = tuple(name for name in given if name not in labels)
    if unknown:
        raise ScanError([WrongArguments(scan.span, (), unknown, labels, ("channels", "layer"))])
    if "layer" in labels:
        raise ScanError([ReservedName(scan.span, "a size of a module", "layer", "`layer=` picks the directions")])
    sizes = dict(given) if channels is None or not labels else {labels[0]: channels, **given}
    for label, value in sizes.items():
        _given_size(scan, label, value)
        if label == labels[0] and channels not in (None, value):
            raise ScanError([BadSize(scan.span, label, f"it is given twice, as {channels} and {value}")])
    for formal in scan.formals:
        if formal.label in sizes:
            continue
        if formal.default is None:
            called = "channels" if formal.label == labels[0] else formal.label
            raise ScanError([MissingSize(scan.span, scan.name, formal.label, formal.span, called)])
        sizes[formal.label] = _size(scan, formal.label, evaluate_size(formal.default, sizes))
    return sizes


def channel_count(scan: CheckedScan, channels: int | None, sizes: Mapping[str, int]) -> int:
    """What was given, or the first formal's value."""
    if channels is None and not scan.formals:
        raise ScanError([WrongArguments(scan.span, ("channels",), (), ("channels",))])
    count = _given_size(scan, "channels", sizes[scan.formals[0].label] if channels is None else channels)
    if scan.split is not None and count % sum(scan.split) != 0:
        raise ScanError([ChannelsDoNotSplit(scan.span, count, scan.split)])
    return count


def index_sizes(scan: CheckedScan, sizes: Mapping[str, int]) -> dict[str, int]:
    """The sizes of the recurrence by label."""
    return {label: _size(scan, label, evaluate_size(value, sizes), LIMITS.index_size) for label, value in scan.sizes.items()}


def _given_size(scan: CheckedScan, label: str, value: object) -> int:
    """A size that the caller gives: an integer, of any library."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ScanError([BadSize(scan.span, label, f"it is {value!r}, which is not an integer")])
    return _size(scan, label, Fraction(int(value)))


def _size(scan: CheckedScan, label: str, value: Fraction, limit: int = LIMITS.integer) -> int:
    if (problem := size_problem(value, limit)) is not None:
        raise ScanError([BadSize(scan.span, label, problem)])
    return int(value)
