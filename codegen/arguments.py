"""What a scan graph takes → the signature of its operator. In: an operator graph (projections cut away). Out: a `Signature`.

The caller's names: those of the recurrence, `conv_weight` and `conv_bias`, `merge_weight`. What the kernels take convolved
(`x.conv`) is given as it is (`x`). The tokens `cls` of the scan's first input are called `cls`, those of another map `z_cls`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scanlang.check.program import LABELS
from scanlang.codegen.signature import Argument, Array, Signature
from scanlang.codegen.units import Dimension
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step import Operand
from scanlang.graph.step_rewrites import conv_weight, convolved
from scanlang.source import Span

AXES = {1: ("L",), 2: ("H", "W"), 3: ("T", "H", "W"), 4: ("S", "T", "H", "W")}
"""How shapes call the axes of a grid, whatever the program calls them."""

CONV_WEIGHT, _, _ = conv_weight(0).rpartition(".")
"""All taps of a convolution, as the caller gives them: their number is the last dimension."""


def signature_of(graph: ScanGraph, fixed: Mapping[str, int], span: Span, before: Signature | None = None) -> Signature:
    """The signature of an operator graph: the recurrence's operands, what only the merge reads, tokens, orders, layers.

    `before` is that of a convolution in a pass of its own.
    """
    return _Writer(graph, span).signature(fixed, before)


def map_argument(name: str, axes: tuple[str, ...], span: Span, per_direction: bool = False) -> Argument:
    """A map with channels: `(B, <axes>, C)`, or `(B, <axes>, K, C)` with one for each direction."""
    dimensions = ("B", *axes, *(("K",) if per_direction else ()), "C")
    return Argument(name, "input", dimensions, (), per_direction, span, name)


def dimension_of(operand: Operand) -> Dimension | None:
    """What an operand has a value of; None of all channels."""
    match operand.per:
        case "channel":
            return "C"
        case "unit":
            return "heads"
        case "group":
            return "groups", operand.units
        case _:
            return None


def token_argument(token: str, of: Argument, first: str, axes: tuple[str, ...]) -> Argument:
    """The tokens of a map, shaped as it is with as many tokens in place of the axes; `first` is the scan's first input."""
    rest = of.dimensions[1 + len(axes) :]
    dimensions = ("B", ("T", token), *rest)
    return replace(of, name=token if of.of == first else f"{of.name}_{token}", dimensions=dimensions, token=token)


class _Writer:
    """Collects the arguments of a graph."""

    def __init__(self, graph: ScanGraph, span: Span) -> None:
        self.graph, self.span, self.inputs = graph, span, graph.inputs()
        self.axes = AXES[len(graph.orders[0].axes)]
        self.known: dict[Dimension, tuple[int, str]] = {}
        self.before_conv = {convolved(name): name for name in graph.scan_inputs[:1]}
        self.operands = [operand for operand in graph.step.operands if not operand.constant]
        self.taps = [operand.name for operand in self.operands if operand.name.startswith(f"{CONV_WEIGHT}.")]

    def signature(self, fixed: Mapping[str, int], before: Signature | None) -> Signature:
        traversal = self.graph.traversal
        arguments = [self.of_operand(operand) for operand in self.operands if operand.name not in self.taps[1:]]
        own = {argument.of for argument in arguments}
        merged = [name for name in self.graph.merge_inputs if name not in own]
        arguments += [map_argument(name, self.axes, self.graph.merge_span) for name in merged]
        if before is not None:
            arguments += [argument for argument in before.arguments if argument.kind == "param"]
            self.known |= before.known
        maps = [argument for argument in arguments if argument.is_map]
        first = self.graph.scan_inputs[0]
        arguments += [token_argument(token, of, first, self.axes) for token in traversal.token_names for of in maps]
        given = (*traversal.given_names, *(() if before is None else (argument.name for argument in before.orders)))
        arguments += [Argument(name, "order", ("B", "L"), (), False, self.span, name) for name in dict.fromkeys(given)]
        arguments += [Argument(name, "layer", (), (), False, self.graph.merge_span, name) for name in self.graph.layers]
        return Signature(
            self.graph.name, self.span, self.graph.directions, self.axes, tuple(arguments), self.arrays(), dict(fixed),
            self.known, self.graph.split, self.graph.step.head,
        )  # fmt: skip

    def arrays(self) -> tuple[Array, ...]:
        """One per operand; a merge of one pass may read further maps."""
        found = [
            Array(operand.name, "labelled", self.labels(operand), None)
            if operand.name in self.graph.labelled
            else Array(operand.name, operand.kind, self.labels(operand), self.of(operand))
            for operand in self.operands
        ]
        own = {array.name for array in found}
        read = () if self.graph.second is not None else self.graph.merge_inputs
        return (*found, *(Array(name, "input", (), "C") for name in read if name not in own))

    def of(self, operand: Operand) -> Dimension | None:
        """What the kernels have a value of: what the caller gives without channels they take for every channel."""
        if operand.kind != "param":
            return dimension_of(operand)
        dimension = "C" if operand.name in self.graph.channelless else dimension_of(operand)
        if isinstance(dimension, str) and self.graph.split is not None and self.graph.in_common(operand.name):
            return f"{dimension}/K"
        return dimension

    def labels(self, operand: Operand) -> tuple[str, ...]:
        return tuple(self.graph.step.sizes[index] for index in operand.indices)

    def of_operand(self, operand: Operand) -> Argument:
        if operand.kind == "param" or operand.name in self.graph.labelled:
            return self.parameter(operand)
        name = self.before_conv.get(operand.name, operand.name)
        per_direction = name == operand.name and self.inputs[name].per_direction
        labels, of = self.labels(operand), dimension_of(operand)
        rest: tuple[Dimension, ...] = (*(("K",) if per_direction else ()), *(() if of is None else (of,)))
        dimensions = ("B", *self.axes, *rest, *((label,) for label in labels))
        return Argument(
            name, "shared" if operand.kind == "shared" else "input", dimensions, labels, per_direction, operand.span, name
        )

    def parameter(self, operand: Operand) -> Argument:
        """With a value for every channel, or a row for every label, or neither."""
        graph, name, labels = self.graph, operand.name, self.labels(operand)
        own, bare = name not in graph.shared, name in graph.labelled or name in graph.channelless
        sizes: tuple[Dimension, ...] = tuple((label,) for label in labels)
        if name in graph.labelled:
            self.known["label",] = len(LABELS), "one for every label of a step"
            sizes = (("label",), *sizes)
        if name in self.taps:
            self.known["width",] = len(self.taps), "as the program says"
            name, sizes = CONV_WEIGHT, (("width",),)
        of = dimension_of(operand)
        if bare or graph.split is None:
            front: tuple[Dimension, ...] = (*(("K",) if own else ()), *(() if bare or of is None else (of,)))
        else:
            front = (f"{of}" if own else f"{of}/K",)
        return Argument(name, "param", (*front, *sizes), labels, own and front[:1] == ("K",), operand.span, name)
