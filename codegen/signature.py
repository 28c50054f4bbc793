"""What arguments a scan's operator takes and in what shape, as the program says it; mistakes become findings with its place.

`arguments.py` makes a `Signature` from a scan graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scanlang.check.program import HEAD
from scanlang.codegen.rows import Rows
from scanlang.codegen.units import Dimension, channels_each, length, of_units, read_off, undivided, units_in, word
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import ChannelsDoNotSplit, WrongArguments, WrongDevice, WrongShape, WrongType
from scanlang.source import Span

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
FLOATS_IN_WORDS = "float32, bfloat16, float16 or float64"
INTEGERS = (torch.int32, torch.int64)
OF_EVERY_SCAN = ("h0", "return_state")
"""What every scan takes beside its own arguments."""


@dataclass(frozen=True)
class Argument:
    """One argument. `labels` are the sizes of the last dimensions (`("rank",)`), `per_direction`: K stands before them.

    `of` is the name of what it gives the kernels, or of the map that the token `token` belongs to.
    """

    name: str
    kind: Literal["input", "shared", "param", "order", "layer"]
    dimensions: tuple[Dimension, ...]
    labels: tuple[str, ...]
    per_direction: bool
    span: Span
    of: str
    token: str | None = None

    @property
    def is_map(self) -> bool:
        return self.kind in ("input", "shared") and self.token is None

    @property
    def wanted(self) -> str:
        """The shape in words: `(B, H, W, K, rank)`."""
        return f"({', '.join(map(word, self.dimensions))})"

    @property
    def rank(self) -> int:
        return len(self.dimensions)


@dataclass(frozen=True)
class Array:
    """What the kernels take of one name, on rows: a map `(B, R, …)`, a parameter, or a table with a row for every label.

    `of` is the dimension before those of the labels, what there is a value of: `C`, heads, groups, or None (of all channels).
    """

    name: str
    kind: Literal["input", "shared", "param", "labelled"]
    labels: tuple[str, ...]
    of: Dimension | None

    @property
    def is_map(self) -> bool:
        return self.kind in ("input", "shared")

    def shown(self, tensor: Tensor) -> Any:
        """How long the dimension `of` is."""
        return tensor.shape[tensor.ndim - len(self.labels) - 1]

    def has_lanes(self, sizes: Mapping[str, int]) -> bool:
        """It is a map of one number for every channel."""
        if not self.is_map or self.of is None or channels_each(self.of, {HEAD: 1, **sizes}) != 1:
            return False
        return all(sizes[label] == 1 for label in self.labels)

    def flat(self, shape: Sequence[int], sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape in which an executable takes it: the last dimensions in one."""
        front = len(shape) - len(self.labels)
        return tuple(shape[:front]) if self.has_lanes(sizes) else (*shape[:front], math.prod(shape[front:]))


@dataclass(frozen=True)
class Signature:
    """The arguments of a scan, in order: operands of the recurrence, what only the merge reads, tokens, orders, layers.

    `fixed` are sizes that the program sets (`state = 16`), by label; `known` further dimensions that it sets. `arrays` are what
    the registered operator takes, in order. Without `heads` a unit is a channel.
    """

    scan: str
    span: Span
    directions: int
    axes: tuple[str, ...]
    arguments: tuple[Argument, ...]
    arrays: tuple[Array, ...]
    fixed: Mapping[str, int]
    known: Mapping[Dimension, tuple[int, str]]
    split: tuple[int, ...] | None
    heads: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(argument.name for argument in self.arguments)

    @property
    def maps(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if argument.is_map)

    @property
    def orders(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if argument.kind == "order")

    @property
    def layers(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if argument.kind == "layer")

    @property
    def leading(self) -> Array:
        """A map with values for every channel, one number each where there is such a map."""
        maps = [array for array in self.arrays if array.is_map and array.of == "C"]
        return next((array for array in maps if not array.labels), maps[0])

    def like(self, sizes: Mapping[str, int]) -> Array:
        """What gives the output its type: the first map of one number for every channel."""
        return next((array for array in self.arrays if array.has_lanes(sizes)), self.leading)

    def packed(self, rows: Rows, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every map with its tokens, on rows."""
        tokens: dict[str, dict[str, Tensor]] = {argument.of: {} for argument in self.maps}
        for argument in self.arguments:
            if argument.token is not None:
                tokens[argument.of][argument.token] = given[argument.name]
        return {argument.of: rows.pack(given[argument.name], tokens[argument.of]) for argument in self.maps}

    def complete(self, given: Mapping[str, Any]) -> None:
        """Every argument is there and none too many."""
        missing = tuple(name for name in self.names if name not in given)
        unknown = tuple(name for name in given if name not in self.names)
        if missing or unknown:
            raise ScanError([WrongArguments(self.span, missing, unknown, self.names, OF_EVERY_SCAN)])

    def grid(self, given: Mapping[str, Any]) -> tuple[int, ...]:
        """The length of every axis, as the first map has it."""
        first = next(given[argument.name] for argument in self.maps if argument.name in given)
        return tuple(first.shape[1 : 1 + len(self.axes)])

    def check(self, given: Mapping[str, Any]) -> None:
        """Whatever is given fits together, but for the number of tokens; a ScanError names every argument that does not."""
        found: list[Diagnostic] = []
        seen: dict[Dimension, tuple[Any, str]] = {"K": (self.directions, "the number of directions"), **self.known}
        seen.update({(label,): (size, "as the program says") for label, size in self.fixed.items()})
        present = [argument for argument in self.arguments if argument.name in given]
        channels = self._channels(present, given, seen)
        seen.update(self._known_units(channels))
        first = next((given[a.name] for a in present if isinstance(given[a.name], Tensor)), None)
        for argument in present:
            value = given[argument.name]
            finding = _check_type(argument, value, first)
            if finding is None and argument.kind != "layer":
                finding = self._check_shape(argument, value, seen)
            if finding is not None:
                found.append(finding)
        if not found and self.split is not None and "C" in seen:
            found += self._check_split(given, seen)
        if not found and channels:
            found += self._check_units(channels, present, given)
        if found:
            raise ScanError(found)

    def _channels(self, present: list[Argument], given: Mapping[str, Any], seen: Mapping[Dimension, tuple[Any, str]]) -> int:
        """The number of channels, 0 where nothing shows it."""
        if "C" in seen:
            return int(seen["C"][0])
        for argument in present:
            value = given[argument.name]
            if "C" in argument.dimensions and isinstance(value, Tensor) and value.ndim == argument.rank:
                return int(value.shape[argument.dimensions.index("C")])
        return 0

    def own_channels(self, channels: int) -> tuple[int, ...]:
        """The channels of every direction that has its own; else all."""
        return (channels,) if self.split is None else tuple(channels // sum(self.split) * part for part in self.split)

    @property
    def _unit_sizes(self) -> dict[str, int]:
        return dict(self.fixed) if self.heads else {**self.fixed, HEAD: 1}

    def _known_units(self, channels: int) -> dict[Dimension, tuple[int, str]]:
        """How many units and groups there must be, as far as the program says their sizes."""
        found: dict[Dimension, tuple[int, str]] = {}
        for dimension in of_units(d for argument in self.arguments for d in argument.dimensions):
            each, count = (
                channels_each(dimension, self._unit_sizes),
                length(dimension, channels, self.directions, self._unit_sizes),
            )
            if each and count and channels % each == 0:
                whole = "C / K" if isinstance(dimension, str) and dimension.endswith("/K") else "C"
                found[dimension] = count, f"{whole} / {each}"
        return found

    def _check_units(self, channels: int, present: list[Argument], given: Mapping[str, Any]) -> list[Diagnostic]:
        """Channels are whole units, and units whole groups."""
        where = [(argument, d) for argument in present for d in of_units(argument.dimensions)]
        shown = {d: int(given[argument.name].shape[argument.dimensions.index(d)]) for argument, d in where}
        sizes = read_off(shown, channels, self.directions, self._unit_sizes)
        wrong = undivided(self.span, self.own_channels(channels), shown, sizes)
        if wrong is not None:
            return [wrong]
        for argument, dimension in where:
            count = length(dimension, channels, self.directions, sizes)
            if count != shown[dimension]:
                wanted = f"{argument.wanted} with {word(dimension)} that divide C = {channels}"
                if units_in(dimension) is not None:
                    wanted = f"{argument.wanted} with groups = {count}, as the heads of the other arguments say"
                return [WrongShape(argument.span, argument.name, tuple(given[argument.name].shape), wanted)]
        return []

    def _check_shape(self, argument: Argument, tensor: Tensor, seen: dict[Dimension, tuple[Any, str]]) -> Diagnostic | None:
        shape = tuple(tensor.shape)
        if len(shape) != argument.rank:
            return WrongShape(argument.span, argument.name, shape, argument.wanted)
        for dimension, size in zip(argument.dimensions, shape, strict=True):
            if dimension == "L" and all(axis in seen for axis in self.axes):
                seen.setdefault("L", (math.prod([seen[axis][0] for axis in self.axes]), "the number of cells"))
            if dimension == "C/K" and "C" in seen:
                seen.setdefault("C/K", (seen["C"][0] // self.directions, "the channels of one direction"))
            if dimension == ("T", argument.token):
                continue  # the orders say how many
            known, why = seen.setdefault(dimension, (size, f"as in `{argument.name}`"))
            if known != size:
                wanted = f"{argument.wanted} with {word(dimension)} = {known}, {why}"
                return WrongShape(argument.span, argument.name, shape, wanted)
            if size == 0 and dimension != "B":
                wanted = f"{argument.wanted} with {word(dimension)} at least 1"
                return WrongShape(argument.span, argument.name, shape, wanted)
        return None

    def _check_split(self, given: Mapping[str, Any], seen: Mapping[Dimension, tuple[Any, str]]) -> list[Diagnostic]:
        assert self.split is not None
        channels, _ = seen["C"]
        if channels % sum(self.split) != 0:
            return [ChannelsDoNotSplit(self.span, int(channels), self.split)]
        own = channels // self.directions
        if seen.get("C/K", (own, ""))[0] == own:
            return []
        wrong = next(a for a in self.arguments if a.name in given and "C/K" in a.dimensions)
        wanted = f"{wrong.wanted} with C/K = {own}, the channels of one direction"
        return [WrongShape(wrong.span, wrong.name, tuple(given[wrong.name].shape), wanted)]

    def sizes(self, arrays: list[Tensor]) -> dict[str, int]:
        """The sizes of the recurrence by label: those fixed, and those read off what the kernels take."""
        shown = {
            label: int(size)
            for array, tensor in zip(self.arrays, arrays, strict=True)
            for label, size in zip(array.labels, tensor.shape[tensor.ndim - len(array.labels) :], strict=True)
        }
        return {**self.fixed, **shown, **self._units_shown(arrays)}

    def _units_shown(self, arrays: list[Tensor]) -> dict[str, int]:
        """The sizes of units and groups that the program leaves open."""
        if not of_units(array.of for array in self.arrays if array.of is not None):
            return {}
        pairs = list(zip(self.arrays, arrays, strict=True))
        shown = {array.of: int(array.shown(tensor)) for array, tensor in pairs if array.of is not None}
        channels = next(int(array.shown(tensor)) for array, tensor in pairs if array is self.leading)
        known = read_off(shown, channels, self.directions, self._unit_sizes)
        return {label: size for label, size in known.items() if label not in self._unit_sizes}

    def shapes(
        self, grid: tuple[int, ...], batch: int, channels: int, sizes: Mapping[str, int], tokens: Mapping[str, int]
    ) -> dict[str, tuple[int, ...]]:
        """The shape of every argument that is a tensor; `tokens` says how many there are of each name."""
        letters: dict[Dimension, int] = dict(zip(self.axes, grid, strict=True))
        letters |= {"B": batch, "K": self.directions, "C": channels, "C/K": channels // self.directions, "L": math.prod(grid)}
        letters |= {dimension: size for dimension, (size, _) in self.known.items()}
        known = {**sizes, **self.fixed}
        letters |= {(label,): size for label, size in known.items()}
        for dimension in of_units(d for argument in self.arguments for d in argument.dimensions):
            letters[dimension] = length(dimension, channels, self.directions, known if self.heads else {**known, HEAD: 1}) or 0
        letters |= {("T", name): count for name, count in tokens.items()}
        return {a.name: tuple(letters[d] for d in a.dimensions) for a in self.arguments if a.kind != "layer"}


def _check_type(argument: Argument, value: Any, first: Tensor | None) -> Diagnostic | None:
    if argument.kind == "layer":
        was = f"a {type(value).__name__}"
        return None if callable(value) else WrongType(argument.span, argument.name, was, "a module or function")
    if not isinstance(value, Tensor):
        return WrongType(argument.span, argument.name, f"a {type(value).__name__}", "a tensor")
    wanted, words = (INTEGERS, "int32 or int64") if argument.kind == "order" else (FLOATS, FLOATS_IN_WORDS)
    if value.dtype not in wanted:
        return WrongType(argument.span, argument.name, str(value.dtype).removeprefix("torch."), words)
    if first is not None and value.device != first.device:
        return WrongDevice(argument.span, argument.name, str(value.device), str(first.device))
    return None
