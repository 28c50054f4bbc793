"""The body of a block as a list of steps that nothing needs to be looked up for, and what runs them.

In: a block, `let x, z = split(y, 2) in …` and the numbers it may name. Out: `Steps`, in which every value has a place of its
own, is made by one step, and is let go behind the last that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from scanlang.backbones.feature import Value
from scanlang.backbones.functions import (
    NEGATIVE,
    OF_TWO,
    OPERATORS,
    OVER_CELLS,
    cells,
    concat,
    nearest,
    pointwise,
    resize,
    split,
    token,
)
from scanlang.diagnostics import InternalError
from scanlang.networks.network import Block, Layer, Number, Part
from scanlang.networks.vocabulary import POINTWISE
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Body, Expr, Let


@dataclass(frozen=True)
class Step:
    """`layer` is called, or `function`, with the values at `takes`; the results go to `gives`; `ended` are not read again.

    `parts`: the layer is a linear one, and what it gives is split into these.
    """

    layer: str
    function: Callable[..., Any] | None
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    parts: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()


@dataclass(frozen=True)
class Steps:
    """`places` of all values: first the inputs, then numbers and what the steps give."""

    places: tuple[float | None, ...]
    steps: tuple[Step, ...]
    result: int

    def run(self, call: Callable[[Step, list[Any]], Any], inputs: Sequence[Value]) -> Value:
        """`call` calls the layer of a step."""
        values: list[Any] = [*inputs, *self.places[len(inputs) :]]
        for step in self.steps:
            taken = [values[place] for place in step.takes]
            made = call(step, taken) if step.function is None else step.function(*taken)
            if len(step.gives) == 1:
                values[step.gives[0]] = made
            else:
                for place, part in zip(step.gives, made, strict=True):
                    values[place] = part
            del taken, made
            for place in step.ended:
                values[place] = None
        result: Value = values[self.result]
        return result


def steps_of(block: Block) -> Steps:
    writer = _Writer(block.parts, block.numbers, [None] * len(block.inputs))
    result = writer.body(block.body, {name: place for place, name in enumerate(block.inputs)})
    if writer.places[result] is not None:
        raise InternalError("the body of a block is a number")
    return Steps(tuple(writer.places), _with_ends(writer.steps, result), result)


def _with_ends(steps: list[Step], result: int) -> tuple[Step, ...]:
    found: list[Step] = []
    read = {result}
    for step in reversed(steps):
        ended = tuple(dict.fromkeys(place for place in (*step.takes, *step.gives) if place not in read))
        read.update(step.takes)
        found.append(replace(step, ended=ended))
    return tuple(reversed(found))


@dataclass
class _Writer:
    """`places` holds the number of a place that has one."""

    layers: Mapping[str, Part]
    numbers: Mapping[str, Number]
    places: list[float | None]
    steps: list[Step] = field(default_factory=list)

    def body(self, body: Body, names: Mapping[str, int]) -> int:
        while isinstance(body, Let):
            names = {**names, **self.bound(body, names)}
            body = body.body
        return self.value(body, names)

    def bound(self, let: Let, names: Mapping[str, int]) -> dict[str, int]:
        value = let.value
        if isinstance(value, nodes.Call) and value.function == "split" and "split" not in self.layers:
            return dict(zip((name.name for name in let.names), self.split(value, names, len(let.names)), strict=True))
        return {let.names[0].name: self.value(value, names)}

    def split(self, call: nodes.Call, names: Mapping[str, int], count: int) -> tuple[int, ...]:
        value, *counts = call.arguments
        if count == 1:
            return (self.value(value, names),)
        parts = tuple(int(self.number(self.value(number, names))) for number in counts)
        if isinstance(value, nodes.Call) and _is_linear(self.layers.get(value.function)):
            return self.add(value.function, (self.value(value.arguments[0], names),), count, parts)
        return self.add(partial(split, parts=parts), (self.value(value, names),), count)

    def value(self, expr: Expr, names: Mapping[str, int]) -> int:
        match expr:
            case nodes.Number(number):
                return self.constant(number)
            case nodes.Name(name):
                return names[name] if name in names else self.constant(self.named(name))
            case nodes.Negative(operand):
                return self.apply(NEGATIVE, self.value(operand, names))
            case nodes.Binary(sign, left, right):
                return self.apply(OPERATORS[sign], self.value(left, names), self.value(right, names))
            case nodes.CellMean(body, function):
                return self.apply(OVER_CELLS[function], self.value(body, names))
            case nodes.Call():
                return self.call(expr, names)
        raise InternalError(f"no value of a block: {expr.span.text}")

    def named(self, name: str) -> float:
        return {"true": 1.0, "false": 0.0}[name] if name in ("true", "false") else self.numbers[name]

    def call(self, call: nodes.Call, names: Mapping[str, int]) -> int:
        name, arguments = call.function, call.arguments
        if name == "token" and name not in self.layers:
            (taken, chosen) = arguments
            assert isinstance(chosen, nodes.Name)
            return self.apply(partial(token, name=chosen.name), self.value(taken, names))
        places = tuple(self.value(argument, names) for argument in arguments)
        if name in self.layers:
            return self.add(name, places, 1)[0]
        return self.apply(_function(name), *places)

    def apply(self, function: Callable[..., Any], *places: int) -> int:
        """A step, or what comes of numbers at once."""
        known = [self.places[place] for place in places]
        if all(number is not None for number in known):
            return self.constant(function(*known))
        return self.add(function, places, 1)[0]

    def add(
        self, what: str | Callable[..., Any], takes: tuple[int, ...], count: int, parts: tuple[int, ...] = ()
    ) -> tuple[int, ...]:
        gives = tuple(range(len(self.places), len(self.places) + count))
        self.places += [None] * count
        layer, function = (what, None) if isinstance(what, str) else ("", what)
        self.steps.append(Step(layer, function, takes, gives, parts))
        return gives

    def constant(self, number: float) -> int:
        self.places.append(number)
        return len(self.places) - 1

    def number(self, place: int) -> float:
        number = self.places[place]
        if number is None:
            raise InternalError("a number that is none")
        return number


def _is_linear(part: Part | None) -> bool:
    return isinstance(part, Layer) and part.word == "linear"


def _function(name: str) -> Callable[..., Any]:
    if name in POINTWISE:
        return partial(pointwise, name)
    others: Mapping[str, Callable[..., Any]] = {
        **OF_TWO,
        "concat": concat,
        "cells": cells,
        "resize": resize,
        "nearest": nearest,
    }
    return others[name]
