"""The functions on orders. In: the arguments of a call; out: the order that it makes, or None after findings.

A quarter turn is an exchange of the axes and a flip; windows of walks are walks where that visits alike (`windows.py`).
What the orders visit, and whether they cover the grid, is not looked at here.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scanlang.check.named_orders import TWO_AXES, walk_named
from scanlang.check.order_arguments import Arguments
from scanlang.check.order_tree import has_resets, has_windows
from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    ConcatOrder,
    DilateOrder,
    FlipOrder,
    InsertOrder,
    InterleaveOrder,
    RandomOrder,
    ResetOrder,
    ReverseOrder,
    ShiftOrder,
    Token,
    TransposeOrder,
    WindowOrder,
)
from scanlang.check.windows import walk_of_windows
from scanlang.errors import InterleavedResets, NoWindows, OrderNeedsAxes, ReservedName
from scanlang.syntax.nodes import Every, Name, OrderArgument, Text, TokenAt

WINDOW: Literal["window"] = "window"
LEAST = {"index": 0, "every": 1, "spread": 1}


@dataclass(frozen=True)
class OrderFunction:
    """`arguments` are those before the ones of each axis (`per_axis` of them), `more` says that there may be more."""

    usage: str
    arguments: int
    build: Callable[[Arguments], CheckedOrder | None]
    per_axis: int = 0
    more: bool = False

    def shown(self, axes: tuple[str, ...]) -> str:
        """How it is called on this grid."""
        filled = {"sizes": ", ".join("7" for _ in axes), "steps": ", ".join("1" for _ in axes)}
        return self.usage.format(**filled, zeros=", ".join("0" for _ in axes), axis=axes[0])

    def call(self, arguments: Arguments) -> CheckedOrder | None:
        least = self.arguments + self.per_axis * len(arguments.axes)
        return self.build(arguments) if arguments.count_is(least, None if self.more else least) else None


def reverse(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    inner = arguments.order(arguments.positional[0])
    return None if inner is None else ReverseOrder(inner, arguments.call.span)


def transpose(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    inner = arguments.order_of_cells(arguments.positional[0])
    return TransposeOrder(inner, arguments.call.span) if has_two_axes(arguments) and inner is not None else None


def flip(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    inner = arguments.order_of_cells(arguments.positional[0])
    axis = arguments.axis(arguments.positional[1])
    return None if inner is None or axis is None else FlipOrder(inner, axis, arguments.call.span)


def rotate(arguments: Arguments) -> CheckedOrder | None:
    """Clockwise, in the plane of the last two axes."""
    arguments.keywords(())
    span, inner = arguments.call.span, arguments.order_of_cells(arguments.positional[0])
    degrees = arguments.integer(arguments.positional[1])
    if degrees not in (None, 90, 180, 270):
        arguments.wrong(arguments.positional[1].span, "turns are by 90, 180 or 270 degrees")
    if not has_two_axes(arguments) or inner is None:
        return None
    row, column = len(arguments.axes) - 2, len(arguments.axes) - 1
    match degrees:
        case 90:
            return FlipOrder(TransposeOrder(inner, span), column, span)
        case 180:
            return FlipOrder(FlipOrder(inner, row, span), column, span)
        case 270:
            return FlipOrder(TransposeOrder(inner, span), row, span)
        case _:
            return None


def has_two_axes(arguments: Arguments) -> bool:
    if len(arguments.axes) >= TWO_AXES:
        return True
    finding = OrderNeedsAxes(arguments.call.span, arguments.call.function, "two axes or more", arguments.axes)
    arguments.findings.report(finding)
    return False


def window(arguments: Arguments) -> CheckedOrder | None:
    keywords = arguments.keywords(("outer", "pad"))
    inner = arguments.order_of_cells(arguments.positional[0])
    found = [arguments.size(argument) for argument in arguments.positional[1:]]
    sizes = tuple(size for size in found if size is not None)
    outer: CheckedOrder | None = walk_named("raster", len(arguments.axes), arguments.call.span)
    if "outer" in keywords:
        outer = arguments.order_of_cells(keywords["outer"].value)
    pad = arguments.pad(keywords.get("pad"))
    if inner is None or outer is None or pad is None or len(sizes) < len(found):
        return None
    windows = WindowOrder(inner, sizes, outer, pad, arguments.call.span)
    return walk_of_windows(windows) or windows


def dilate(arguments: Arguments) -> CheckedOrder | None:
    keywords = arguments.keywords(("phase", "pad"))
    inner = arguments.order_of_cells(arguments.positional[0])
    every = arguments.integer(arguments.positional[1], 1)
    phase = arguments.phase(keywords.get("phase"), every)
    pad = arguments.pad(keywords.get("pad"))
    if inner is None or every is None or phase is None or pad is None:
        return None
    return DilateOrder(inner, every, phase, pad, arguments.call.span)


def shift(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    inner = arguments.order_of_cells(arguments.positional[0])
    found = [arguments.integer(argument) for argument in arguments.positional[1:]]
    offsets = tuple(offset for offset in found if offset is not None)
    return None if inner is None or len(offsets) < len(found) else ShiftOrder(inner, offsets, arguments.call.span)


def concat(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    found = [arguments.order(argument) for argument in arguments.positional]
    parts = tuple(part for part in found if part is not None)
    return ConcatOrder(parts, arguments.call.span) if len(parts) == len(found) else None


def interleave(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    found = [arguments.order(argument) for argument in arguments.positional]
    for argument, part in zip(arguments.positional, found, strict=True):
        if part is not None and has_resets(part):
            arguments.findings.report(InterleavedResets(argument.span))
            return None
    parts = tuple(part for part in found if part is not None)
    return InterleaveOrder(parts, arguments.call.span) if len(parts) == len(found) else None


def reset(arguments: Arguments) -> CheckedOrder | None:
    """An axis of the name `window` is the axis."""
    arguments.keywords(())
    inner = arguments.order_of_cells(arguments.positional[0])
    every = arguments.positional[1]
    if not isinstance(every, Every):
        arguments.wrong(every.span, "this does not say where: `every` and an axis, or `every window`")
        return None
    if every.what == WINDOW and WINDOW not in arguments.axes:
        if inner is not None and not has_windows(inner):
            arguments.findings.report(NoWindows(arguments.positional[0].span))
            return None
        return None if inner is None else ResetOrder(inner, WINDOW, arguments.call.span)
    axis = arguments.axis_named(every.what, every.span)
    return None if inner is None or axis is None else ResetOrder(inner, axis, arguments.call.span)


def insert(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    inner = arguments.order(arguments.positional[0])
    found = [token(arguments, argument) for argument in arguments.positional[1:]]
    tokens = tuple(place for place in found if place is not None)
    return None if inner is None or len(tokens) < len(found) else InsertOrder(inner, tokens, arguments.call.span)


def token(arguments: Arguments, argument: OrderArgument) -> Token | None:
    if not isinstance(argument, TokenAt):
        arguments.wrong(argument.span, "this is not a token and its place, such as `cls at middle`")
        return None
    if keyword.iskeyword(argument.name):
        arguments.findings.report(ReservedName(argument.span, "a token", argument.name, "Python reserves this word"))
        return None
    if argument.number is None:
        return Token(argument.name, argument.place)
    if isinstance(argument.number, Name):
        axis = arguments.axis_named(argument.number.name, argument.number.span)
        return None if axis is None else Token(argument.name, argument.place, AxisSize(axis))
    number = arguments.integer(argument.number, LEAST.get(argument.place))
    return None if number is None else Token(argument.name, argument.place, number)


def random(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    seed = arguments.integer(arguments.positional[0], 0)
    return None if seed is None else RandomOrder(seed, arguments.call.span)


def table(arguments: Arguments) -> CheckedOrder | None:
    arguments.keywords(())
    file = arguments.positional[0]
    if isinstance(file, Text):
        return arguments.tables.order(file, arguments.axes, arguments.findings)
    arguments.wrong(file.span, "this is not the name of a file, in double quotes")
    return None


FUNCTIONS: dict[str, OrderFunction] = {
    "reverse": OrderFunction("reverse(order)", 1, reverse),
    "flip": OrderFunction("flip(order, {axis})", 2, flip),
    "transpose": OrderFunction("transpose(order)", 1, transpose),
    "rotate": OrderFunction("rotate(order, 90)", 2, rotate),
    "window": OrderFunction("window(order, {sizes}, outer = order, pad = skip)", 1, window, per_axis=1),
    "dilate": OrderFunction("dilate(order, 2, phase = ({zeros}), pad = skip)", 2, dilate),
    "shift": OrderFunction("shift(order, {steps})", 1, shift, per_axis=1),
    "concat": OrderFunction("concat(order, order)", 2, concat, more=True),
    "interleave": OrderFunction("interleave(order, order)", 2, interleave, more=True),
    "reset": OrderFunction("reset(order, every {axis})", 2, reset),
    "insert": OrderFunction("insert(order, cls at middle)", 2, insert, more=True),
    "random": OrderFunction("random(7)", 1, random),
    "table": OrderFunction('table("mine.npy")', 1, table),
}
