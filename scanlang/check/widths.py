"""How many channels meet in a merge that uses layers: `linear(dim, 4)` takes `dim` of them and gives 4.

In: a merge expression, the used layers, the values of the scan's sizes. Out: the finding where channels do not fit. Before
the sizes are known they are tried at some values, and what fits at none of them is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from scanlang.check.expressions import names_in, parts
from scanlang.check.program import Use
from scanlang.check.sizes import evaluate_size, problem_at
from scanlang.diagnostics import Diagnostic
from scanlang.errors import BadSize, WidthsDiffer
from scanlang.limits import LIMITS
from scanlang.syntax.nodes import Call, Expr, Formal, Name, Number

TRIED = (5040, 55_440, 720_720)
"""Numbers that most others divide."""
OTHERS = (1, 2, 3, 4, 8, 16)


@dataclass(frozen=True)
class Unfit(Exception):
    """Unwinds the walk with its finding."""

    finding: WidthsDiffer


@dataclass(frozen=True)
class Widths:
    """`channels` are those of the scan, `layers` the layers' `in` and `out`."""

    channels: int
    layers: Mapping[str, tuple[int, int]]

    def of(self, expr: Expr) -> int:
        """The channels of an expression: 0 of a number, 1 where one value is for all channels."""
        match expr:
            case Number():
                return 0
            case Name():
                return self.channels
            case Call() if expr.function in self.layers:
                return self.of_layer(expr)
            case _:
                return self.of_parts(expr)

    def of_layer(self, call: Call) -> int:
        wanted, given = self.layers[call.function]
        width = self.of(call.arguments[0])
        if width != wanted:
            has = str(width) if width else "a number, which has none"
            raise self.unfit(call, call.function, f"`{call.function}` takes {wanted} and is given {has}")
        return given

    def of_parts(self, expr: Expr) -> int:
        widths = [self.of(part) for part in parts(expr)]
        several = sorted({width for width in widths if width > 1})
        if len(several) > 1:
            raise self.unfit(expr, expr.span.text, f"{' and '.join(map(str, several))} meet")
        return max(widths)

    def unfit(self, expr: Expr, what: str, reason: str) -> Unfit:
        return Unfit(WidthsDiffer(expr.span, what, f"where the scan has {self.channels} channels, {reason}"))


def misfit(merge: Expr, uses: tuple[Use, ...], channels: int, sizes: Mapping[str, int]) -> Diagnostic | None:
    """Where the channels of a merge do not fit at these sizes, or a layer cannot be made."""
    layers: dict[str, tuple[int, int]] = {}
    for use in uses:
        for argument in use.arguments:
            problem = problem_at(argument, sizes, LIMITS.integer)
            if problem is not None:
                return BadSize(argument.span, use.name, problem)
        numbers = [int(evaluate_size(argument, sizes)) for argument in use.arguments]
        layers[use.name] = (numbers[0], numbers[-1])
    widths = Widths(channels, layers)
    try:
        result = widths.of(merge)
        if result != channels:
            raise widths.unfit(merge, merge.span.text, f"the result has {result}")
    except Unfit as unfit:
        return unfit.finding
    return None


def never_fits(merge: Expr, uses: tuple[Use, ...], formals: tuple[Formal, ...]) -> Diagnostic | None:
    """The first finding, if there is one at all of the sizes that are tried."""
    first: Diagnostic | None = None
    for channels, sizes in tried(uses, formals):
        found = misfit(merge, uses, channels, sizes)
        if found is None:
            return None
        first = first or found
    return first


def tried(uses: tuple[Use, ...], formals: tuple[Formal, ...]) -> Iterator[tuple[int, dict[str, int]]]:
    """Channels, and sizes of a scan at which all used layers can be made; numbers of the program are among them."""
    written = [argument for use in uses for argument in use.arguments if not any(True for _ in names_in(argument))]
    numbers = dict.fromkeys((*TRIED, *(int(evaluate_size(argument, {})) for argument in written)))
    for channels in numbers:
        for other in OTHERS:
            sizes = sizes_at(formals, channels, other)
            if sizes is not None and all(is_size(argument, sizes) for use in uses for argument in use.arguments):
                yield channels, sizes


def sizes_at(formals: tuple[Formal, ...], channels: int, other: int) -> dict[str, int] | None:
    """The first formal is the channels; others have their defaults, or `other`."""
    sizes: dict[str, int] = {}
    for number, formal in enumerate(formals):
        if number == 0:
            sizes[formal.label] = channels
        elif formal.default is None:
            sizes[formal.label] = other
        elif is_size(formal.default, sizes):
            sizes[formal.label] = int(evaluate_size(formal.default, sizes))
        else:
            return None
    return sizes


def is_size(expr: Expr, sizes: Mapping[str, int]) -> bool:
    return problem_at(expr, sizes, LIMITS.integer) is None
