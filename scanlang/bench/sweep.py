"""Rows of one size changed alone: how time grows with the side of the map, the batch, the states and the directions.

The operator alone, bfloat16 maps. `side`, `batch`, `states` and `directions` begin from VMamba's first stage, `patches` and
`patches1` (batch 8 and 1) are the tokens of Vim-Ti's layer from 224² to 1248². Work is counted in elements: a channel of a cell
in a direction is one, with more than one state (states + 2) / 3, as its exponentials are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch

import scanlang
from scanlang.bench.operands import PASSES, Size, measured_operator
from scanlang.bench.row import Measurement, Row, Step, Where

DIRECTIONS = (
    "raster",
    "columns",
    "reverse(raster)",
    "reverse(columns)",
    "snake",
    "reverse(snake)",
    "transpose(snake)",
    "reverse(transpose(snake))",
)
PROGRAM = """
import std.selective
grid h, w
scan swept(dim) {{
  directions {directions}
  recur      selective(state = {states}, rank = {rank})
  project    low, B, C from x
  merge      sum
}}
"""
REPEATS = 10


@dataclass(frozen=True)
class Point:
    series: str
    at: int
    side: int = 56
    batch: int = 8
    states: int = 1
    directions: int = 4
    channels: int = 96
    rank: int = 6

    @property
    def text(self) -> str:
        return PROGRAM.format(directions=", ".join(DIRECTIONS[: self.directions]), states=self.states, rank=self.rank)

    @property
    def size(self) -> Size:
        return Size(self.batch, self.side, self.side, self.channels)

    @property
    def channel_steps(self) -> int:
        return self.size.elements * self.directions

    @property
    def work(self) -> float:
        return self.channel_steps * (self.states + 2) / 3


POINTS = (
    *(Point("side", side, side=side) for side in (14, 20, 28, 40, 56, 78, 112, 156, 224, 312)),
    *(Point("batch", batch, batch=batch) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    *(Point("states", states, side=28, batch=64, states=states) for states in (1, 2, 4, 8, 16, 32, 64)),
    *(Point("directions", count, side=28, batch=64, directions=count) for count in range(1, 9)),
    *(Point("patches", side, side, 8, 16, 2, 384, 12) for side in (14, 20, 28, 40, 56, 78)),
    *(Point("patches1", side, side, 1, 16, 2, 384, 12) for side in (14, 20, 28, 40, 56, 78)),
)


@lru_cache(maxsize=2)
def module_of(point: Point, where: Where) -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(scanlang.loads(point.text), channels=point.channels).to(where.device)


def measure(which: str, point: Point, where: Where) -> Row:
    if where.tiny:
        point = replace(point, side=3, batch=1, channels=8)
    backward = PASSES[which]
    special = point.channel_steps * (2 + point.states) * (2 if backward else 1)
    step = Step(f"{point.series} {which}", point.at, point.work)
    module = module_of(point, where)
    return measured_operator(module, point.size, backward, where, special, step=step, repeats=REPEATS)


def measurements() -> Iterator[Measurement]:
    """`sweep-side-312-forward`, `sweep-states-64-both`, `sweep-patches-78-forward` …"""
    for point in POINTS:
        for which in PASSES:
            yield Measurement(f"sweep-{point.series}-{point.at}-{which}", partial(measure, which, point))
