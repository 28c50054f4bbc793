"""Products of a parameter and what all channels share, taken out of a step: they depend on no state, so that a matrix product
can make them of all steps at once.

    Before:  dt = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))
    After:   dt = softplus(dt_bias + low.times.dt_weight)             one value for every channel, an input

In: a step; out: a step, and what its new inputs are products of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from scanlang.graph.step import Assign, Operand, Step, Update
from scanlang.graph.values import Apply, Read, Total, Value, reads

TIMES = ".times."


@dataclass(frozen=True)
class Product:
    """`name[row, direction, channel] = sum(r: stream[row, direction, r] * parameter[direction, channel, r])`."""

    stream: str
    parameter: str

    @property
    def name(self) -> str:
        return self.stream + TIMES + self.parameter


def stream_of(name: str) -> str:
    """The stream that an input called `name` is a product of; empty if it is none."""
    stream, times, _ = name.partition(TIMES)
    return stream if times else ""


def take_products(step: Step, streams: Collection[str]) -> tuple[Step, tuple[Product, ...]]:
    """The step with an input for every product of a parameter and one of `streams`, and the products. What is then read no
    more is no operand."""
    operands = {o.name: o for o in step.operands if o.kind == "param" or o.name in streams}
    found: dict[Product, Operand] = {}
    body = tuple(_taken(equation, operands, found) for equation in step.body)
    if not found:
        return step, ()
    read = frozenset[str]().union(*(_reads(equation) for equation in (*step.prologue, *body)))
    gone = {name for product in found for name in (product.stream, product.parameter)} - read
    kept = tuple(operand for operand in step.operands if operand.name not in gone)
    return replace(step, operands=(*kept, *found.values()), body=body), tuple(found)


def _taken(equation: Assign | Update, operands: Mapping[str, Operand], found: dict[Product, Operand]) -> Assign | Update:
    def taken(value: Value) -> Value:
        match value:
            case Total(index, Apply("mul", (Read(left, (i,)), Read(right, (j,))))) if i == j == index:
                product = _product(operands, left, right) or _product(operands, right, left)
                if product is None:
                    return value
                stream = operands[product.stream]
                found[product] = Operand(product.name, "input", (), stream.span)
                return Read(product.name, ())
            case Total(index, body):
                return Total(index, taken(body))
            case Apply(function, arguments):
                return Apply(function, tuple(taken(argument) for argument in arguments))
            case _:
                return value

    if isinstance(equation, Update):
        return replace(equation, decay=taken(equation.decay), drive=taken(equation.drive))
    return replace(equation, value=taken(equation.value))


def _product(operands: Mapping[str, Operand], stream: str, parameter: str) -> Product | None:
    """The product of the two, if the one is shared by all channels and the other a parameter of every channel."""
    first, second = operands.get(stream), operands.get(parameter)
    if first is None or second is None or first.constant or second.constant:
        return None
    fits = first.kind == "shared" and first.per == "all" and second.kind == "param" and second.per == "channel"
    return Product(stream, parameter) if fits and len(first.indices) == len(second.indices) == 1 else None


def _reads(equation: Assign | Update) -> frozenset[str]:
    values = (equation.decay, equation.drive) if isinstance(equation, Update) else (equation.value,)
    return frozenset[str]().union(*map(reads, values))
