"""GPU times of VMamba-T's four stages (batch 128, 224²) and of a Vim-Ti layer: bfloat16 maps, float32 parameters.

    python examples/bench_gpu.py --rows 'stage1*,rec-s6*' --json out/gpu.json

`core`: the operator alone, from x, low, B and C in grid order to the merged output. `layer`: with the projections that
make low, B and C from x (`scanlang.Scan2d`), under autocast. `unfused`: the torch pipeline of unfused.py in float32,
launch-bound in its step loop, with a smaller batch where the row says so. `rec`: the operator of a recurrence, of the library
or typed in, at the first stage's size, with S6 beside it (common/recurrences.py). Forward + backward takes all gradients. Times
are medians of CUDA events with the L2 flushed and the queue kept full; `call ms` is the wall clock of a loop of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import click
import torch
from common import recurrences
from common.measure import Row, measure_on_gpu, median_cuda
from torch import Tensor
from unfused import unfused_cross_scan

import scanlang

HERE = Path(__file__).parent
DEVICE = "cuda"


@dataclass(frozen=True)
class Shape:
    """A layer as the networks have it; `file` holds the scan."""

    name: str
    file: str
    directions: int
    channels: int
    height: int
    width: int
    states: int
    rank: int
    batch: int = 128

    @property
    def elements(self) -> int:
        return self.batch * self.height * self.width * self.channels

    def bytes(self, backward: bool) -> int:
        """The least traffic: every map once in or out, in bfloat16; the backward reads dy too and writes the gradients."""
        cells = self.batch * self.height * self.width
        given = self.elements + cells * self.directions * (self.rank + 2 * self.states)
        forward = 2 * (given + self.elements)
        return forward + 2 * (2 * given + self.elements) if backward else forward

    def special(self, backward: bool) -> int:
        """exp and log: two for softplus and one per state; the backward computes them again."""
        return self.elements * self.directions * (2 + self.states) * (2 if backward else 1)


SHAPES = (
    Shape("stage1", "cross_scan.scan", 4, 96, 56, 56, 1, 6),
    Shape("stage2", "cross_scan.scan", 4, 192, 28, 28, 1, 12),
    Shape("stage3", "cross_scan.scan", 4, 384, 14, 14, 1, 24),
    Shape("stage4", "cross_scan.scan", 4, 768, 7, 7, 1, 48),
    Shape("vim", "bidirectional.scan", 2, 384, 1, 197, 16, 12),
)


@cache
def layer_of(shape: Shape) -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(scanlang.load(HERE / shape.file), channels=shape.channels, rank=shape.rank).to(DEVICE)


def core_arguments(shape: Shape) -> dict[str, Tensor]:
    """The operator's arguments: maps drawn from N(0, 1), parameters as the program says."""
    maps = (shape.batch, shape.height, shape.width)
    rest = {"low": shape.rank, "B": shape.states, "C": shape.states}
    arrays = {"x": torch.randn(*maps, shape.channels, device=DEVICE, dtype=torch.bfloat16)}
    for name, width in rest.items():
        arrays[name] = torch.randn(*maps, shape.directions, width, device=DEVICE, dtype=torch.bfloat16)
    parameters = {name: value for name, value in layer_of(shape).named_parameters() if not name.startswith("project")}
    return {**arrays, **{name: value.detach().clone() for name, value in parameters.items()}}


def core(shape: Shape, backward: bool) -> Row:
    arguments = core_arguments(shape)
    op = layer_of(shape).op
    if not backward:
        with torch.no_grad():
            return row(shape, "core", backward, lambda: op(**arguments))
    wanted = {name: value.requires_grad_() for name, value in arguments.items()}
    return row(shape, "core", backward, gradients(lambda: op(**wanted), list(wanted.values())))


def layer(shape: Shape, backward: bool) -> Row:
    module = layer_of(shape)
    x = torch.randn(shape.batch, shape.height, shape.width, shape.channels, device=DEVICE, dtype=torch.bfloat16)

    def call() -> Tensor:
        with torch.autocast(DEVICE, torch.bfloat16):
            result: Tensor = module(x)
        return result

    if not backward:
        with torch.no_grad():
            return row(shape, "layer", backward, call)
    x.requires_grad_()
    return row(shape, "layer", backward, gradients(call, [x, *module.parameters()]))


def unfused(shape: Shape, backward: bool) -> Row:
    """Its backward is quadratic in the steps: a small batch, and few repeats."""
    batch = 4 if backward else shape.batch
    parameters = {name: value.detach().clone().requires_grad_(backward) for name, value in layer_of(shape).named_parameters()}
    x = torch.randn(batch, shape.height, shape.width, shape.channels, device=DEVICE).requires_grad_(backward)

    def call() -> Tensor:
        return unfused_cross_scan(x, **parameters)

    run = gradients(call, [x, *parameters.values()]) if backward else call
    times = median_cuda(run, 3, warm_up=1)
    name = f"{shape.name} unfused float32, {'forward + backward' if backward else 'forward'}"
    return Row(name, *times, note=f"batch {batch}" if batch != shape.batch else "")


def gradients(call: Callable[[], Tensor], wanted: Sequence[Tensor]) -> Callable[[], object]:
    seed = torch.randn_like(call())
    return lambda: torch.autograd.grad(call(), wanted, seed)


def row(shape: Shape, what: str, backward: bool, run: Callable[[], object]) -> Row:
    times = median_cuda(run)
    name = f"{shape.name} {what}, {'forward + backward' if backward else 'forward'}"
    return Row(name, *times, bytes=shape.bytes(backward), special=shape.special(backward))


def measurements() -> dict[str, Callable[[], Row]]:
    """Every row by the name that `--rows` takes: `stage1-core-forward`, `vim-layer-both`, `rec-mlstm-stage1-both` …"""
    kinds = {"core": core, "layer": layer, "unfused": unfused}
    networks = {
        f"{shape.name}-{kind}-{'both' if backward else 'forward'}": partial(measure, shape, backward)
        for kind, measure in kinds.items()
        for shape in SHAPES
        for backward in (False, True)
        if kind != "unfused" or shape.directions == 4
    }
    return networks | recurrences.measurements()


@click.command(help=__doc__)
@click.option("--rows", help="Patterns of rows, separated by commas: 'stage1-core*,vim*'. All without it.")
@click.option("--json", "path", type=click.Path(dir_okay=False), help="Write the rows there as well.")
def main(rows: str | None, path: str | None) -> None:
    measure_on_gpu(measurements(), rows, path)


if __name__ == "__main__":
    main()
