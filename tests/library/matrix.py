"""Order × merge × recurrence: programs that put any order, any merge and any recurrence together, sampled without chance.

`combinations(count)` are so many of them, the same each time: of `count` that follow each other every recurrence comes in turn,
the merges in turn too, and orders from all over the list. Tests of every backend take the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count, islice

from hypothesis import HealthCheck, Phase, given, seed, settings
from library.library_checks import SCANS, program

import scanlang
from scanlang.check.named_orders import NAMED
from scanlang.check.program import CheckedRecurrence
from scanlang.testing.program_strategies import LAYERS, MERGES, SCAN
from scanlang.testing.recurrence_strategies import RandomRecurrence, random_recurrences

RANDOM_RECURRENCES = 4
STRIDE = 29
"""From one order to the next: neighbours in the list come from one design."""
SIZES = {"state": 2, "rank": 2, "head": 2, "group": 2}
CELLS = {1: (14,), 2: (4, 5), 3: (2, 3, 4), 4: (2, 2, 2, 3)}
"""A grid for every number of axes: enough cells for Mamba-R's registers."""
NOT_ALONE = {"directional", "vim_selective"}
"""One that asks for labels of moves, and `selective` with other initial values."""


@dataclass(frozen=True)
class Directions:
    """What a scan visits: directions as text, the file that defines their orders, and the axes."""

    name: str
    texts: tuple[str, ...]
    axes: tuple[str, ...]
    file: str | None = None


@dataclass(frozen=True)
class Recurrence:
    """Its name and text, what a scan says of its sizes, and what it reads, an input with a value for every channel first."""

    name: str
    text: str
    actuals: str
    inputs: tuple[str, ...]
    shared: tuple[str, ...]


@dataclass(frozen=True)
class Combination:
    number: int
    directions: Directions
    merge: str
    recurrence: Recurrence

    def __str__(self) -> str:
        return f"{self.number}-{self.directions.name}-{self.recurrence.name}"

    @property
    def split(self) -> bool:
        """Every second concatenation: of channels that each direction has of its own."""
        return self.merge == "concat" and self.number % 2 == 0

    @property
    def text(self) -> str:
        lines = [f"grid {', '.join(self.directions.axes)}", self.recurrence.text]
        lines += [] if self.directions.file is None else [f"import std.{self.directions.file}"]
        return "\n".join([*lines, f"scan {SCAN}(dim) {{", *(f"  {clause}" for clause in self.clauses()), "}", ""])

    def clauses(self) -> Iterator[str]:
        """Every third program projects what can be projected from its first input."""
        first, *others = self.recurrence.inputs
        project = self.number % 3 == 0 and not self.split
        inputs = [first] if project else [first, *others]
        merge = self.merge.replace("k:", "way:").replace("[k]", "[way]").format(input=first)
        yield f"input {', '.join(inputs)}"
        yield f"directions {', '.join(self.directions.texts)}"
        yield f"recur {self.recurrence.name}({self.recurrence.actuals})"
        yield f"merge {merge}"
        yield from (f"use {name} = {layer}" for name, layer in LAYERS.items() if f"{name}(" in merge)
        made = (*others, *self.recurrence.shared)
        if project and made:
            yield f"project {', '.join(made)} from {first} bias"
        if self.split:
            yield "channels split"

    def program(self) -> scanlang.Program:
        return scanlang.loads(self.text, str(self))


@cache
def all_directions() -> tuple[Directions, ...]:
    """Each named order both ways, and every layer of every design of the library."""
    named = [Directions(name, (order, f"reverse({order})"), ("h", "w")) for name in NAMED for order in [called(name)]]
    designs = []
    for file, scan in SCANS:
        checked = program(file).checked
        for number, layer in enumerate(checked.scans[scan].layers):
            texts = tuple(direction.text for direction in layer)
            designs.append(Directions(f"{scan}-{number}", texts, checked.axes, file))
    alike = {(one.texts, one.file): one for one in designs}
    return (*named, *alike.values())


def called(name: str) -> str:
    return "random(7)" if name == "random" else name


@cache
def all_recurrences() -> tuple[Recurrence, ...]:
    """Those of the library, each once, and some random ones."""
    own = [(file, name) for file in dict.fromkeys(file for file, _ in [*SCANS, ("selective", "")]) for name in defined(file)]
    found = [of_library(file, name) for file, name in own if name not in NOT_ALONE]
    return (*found, *(of_text(one) for one in drawn(RANDOM_RECURRENCES)))


def defined(file: str) -> list[str]:
    checked = program(file)
    return [name for name in checked.checked.recurrences if f"recurrence {name}(" in checked.source.text]


def of_library(file: str, name: str) -> Recurrence:
    recurrence, source = program(file).checked.recurrences[name], program(file).source.text
    start = source.index(f"recurrence {name}(")
    return carried(recurrence, source[start : source.index("}", start) + 1], SIZES)


def of_text(random: RandomRecurrence) -> Recurrence:
    sizes = dict(zip(random.labels, random.sizes, strict=True))
    return carried(scanlang.loads(random.text).checked.recurrences[random.name], random.text, sizes)


def carried(recurrence: CheckedRecurrence, text: str, sizes: Mapping[str, int]) -> Recurrence:
    actuals = ", ".join(f"{formal.label} = {sizes[formal.label]}" for formal in recurrence.formals)
    inputs = [operand for operand in recurrence.operands if operand.kind == "input"]
    inputs.sort(key=lambda operand: operand.per != "channel" or operand.indices != ())
    shared = tuple(operand.name for operand in recurrence.operands if operand.kind == "shared")
    return Recurrence(recurrence.name, text, actuals, tuple(operand.name for operand in inputs), shared)


@cache
def drawn(number: int) -> tuple[RandomRecurrence, ...]:
    """The same ones on every run."""
    found: list[RandomRecurrence] = []

    @seed(0)
    @settings(max_examples=number, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(random_recurrences())
    def collect(one: RandomRecurrence) -> None:
        found.append(one)

    collect()
    return tuple(found[-number:])


@cache
def combinations(number: int) -> tuple[Combination, ...]:
    return tuple(islice(in_turn(), number))


def in_turn() -> Iterator[Combination]:
    """Round after round of all recurrences, the merges moved on by one in every round."""
    orders, recurrences = all_directions(), all_recurrences()
    for i in count():
        merge = MERGES[(i + i // len(recurrences)) % len(MERGES)]
        yield Combination(i, orders[i * STRIDE % len(orders)], merge, recurrences[i % len(recurrences)])
