"""Rows of VMamba-T's four stages (batch 128, 224²) and of a Vim-Ti layer: bfloat16 maps, float32 parameters.

`core`: the operator alone, from x, low, B and C in grid order to the merged output. `layer`: with the projections that
make low, B and C from x (`scanlang.Scan2d`), under autocast. `unfused`: the torch pipeline of unfused.py in float32,
launch-bound in its step loop, with a smaller batch where the row says so. `mamba_ssm`: the same copies and projections around
that package's kernel, under autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import Tensor

import scanlang
from scanlang.bench.clock import timed
from scanlang.bench.instructions import issued
from scanlang.bench.official import SCANS
from scanlang.bench.operands import PASSES, Size, gradients, measured_operator
from scanlang.bench.peers import has_mamba_ssm, mamba_ssm_scan
from scanlang.bench.row import Measurement, Row, Where
from scanlang.bench.unfused import ScanFunction, directional_scan, selective_scan_loop

CROSS = """import std.selective
grid h, w
order rows    = walk h, w
order columns = walk w, h
scan cross(dim, rank = ceil(dim / 16)) {
  directions rows, columns, reverse(rows), reverse(columns)
  recur      selective(state = 1, rank = rank)
  project    low, B, C from x
  merge      sum
}
"""
BIDIRECTIONAL = """import std.selective
grid h, w
scan bidirectional(dim, state = 16, rank = ceil(dim / 16)) {
  directions raster, reverse(raster)
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
  merge      mean
}
"""


@dataclass(frozen=True)
class Stage:
    """A layer as the networks have it."""

    name: str
    text: str
    directions: int
    channels: int
    height: int
    width: int
    states: int
    rank: int
    batch: int = 128

    @property
    def size(self) -> Size:
        return Size(self.batch, self.height, self.width, self.channels)

    @property
    def channel_steps(self) -> int:
        return self.size.elements * self.directions

    def bytes(self, backward: bool) -> int:
        """The least traffic: every map once in or out, in bfloat16; the backward reads dy too and writes the gradients."""
        cells = self.batch * self.height * self.width
        given = self.size.elements + cells * self.directions * (self.rank + 2 * self.states)
        forward = 2 * (given + self.size.elements)
        return forward + 2 * (2 * given + self.size.elements) if backward else forward

    def special(self, backward: bool) -> int:
        """exp and log: two for softplus and one per state; the backward computes them again."""
        return self.channel_steps * (2 + self.states) * (2 if backward else 1)

    def at(self, where: Where) -> Stage:
        tiny = replace(self, batch=2, height=min(self.height, 3), width=5, channels=8, rank=2)
        return tiny if where.tiny else self


STAGES = (
    Stage("stage1", CROSS, 4, 96, 56, 56, 1, 6),
    Stage("stage2", CROSS, 4, 192, 28, 28, 1, 12),
    Stage("stage3", CROSS, 4, 384, 14, 14, 1, 24),
    Stage("stage4", CROSS, 4, 768, 7, 7, 1, 48),
    Stage("vim", BIDIRECTIONAL, 2, 384, 1, 197, 16, 12),
)


@lru_cache(maxsize=2)
def module_of(stage: Stage, where: Where) -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(scanlang.loads(stage.text), channels=stage.channels, rank=stage.rank).to(where.device)


def core(name: str, stage: Stage, backward: bool, where: Where) -> Row:
    stage = stage.at(where)
    module = module_of(stage, where)
    found = measured_operator(
        module,
        stage.size,
        backward,
        where,
        stage.special(backward),
        lambda: issued(module.op, stage.channel_steps, backward, where),
        SCANS.get(name),
    )
    assert found.bytes == stage.bytes(backward)
    return found


def layer(name: str, stage: Stage, backward: bool, where: Where) -> Row:
    """A module; the gradients are those of x and of all parameters."""
    stage = stage.at(where)
    module, x = module_of(stage, where), features(stage, where)

    def call() -> Tensor:
        with where.autocast():
            result: Tensor = module(x)
        return result

    if backward:
        times = timed(where, gradients(call, [x.requires_grad_(), *module.parameters()]))
    else:
        with torch.no_grad():
            times = timed(where, call)
    return Row(times, bytes=stage.bytes(backward), special=stage.special(backward), official=SCANS.get(name))


def features(stage: Stage, where: Where, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(stage.batch, stage.height, stage.width, stage.channels, device=where.device, dtype=dtype)


def unfused(_: str, stage: Stage, backward: bool, where: Where) -> Row:
    """Its backward is quadratic in the steps: a small batch, and few repeats."""
    stage = stage.at(where)
    few = replace(stage, batch=min(stage.batch, 4)) if backward else stage
    run = copied(selective_scan_loop, few, backward, where, torch.float32)
    return Row(timed(where, run, 3, 1), note=f"batch {few.batch}" if few.batch != stage.batch else "")


def mamba_ssm(_: str, stage: Stage, backward: bool, where: Where) -> Row:
    stage = stage.at(where)
    call = copied(mamba_ssm_scan, stage, backward, where, torch.bfloat16)
    return Row(timed(where, call))


def copied(scan: ScanFunction, stage: Stage, backward: bool, where: Where, dtype: torch.dtype) -> Callable[[], object]:
    """The pipeline of copies around a scan, and its gradients; under autocast for maps in bfloat16."""
    named = module_of(stage, where).named_parameters()
    parameters = {name: value.detach().clone().requires_grad_(backward) for name, value in named}
    x = features(stage, where, dtype).requires_grad_(backward)

    def call() -> Tensor:
        with torch.autocast(where.device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            return directional_scan(scan, x, **parameters)

    return gradients(call, [x, *parameters.values()]) if backward else call


def measurements() -> Iterator[Measurement]:
    """`stage1-core-forward`, `vim-layer-both`, `stage3-unfused-forward` …"""
    kinds = {"core": core, "layer": layer, "unfused": unfused} | ({"mamba_ssm": mamba_ssm} if has_mamba_ssm() else {})
    for stage in STAGES:
        for kind, measure in kinds.items():
            for name, backward in PASSES.items():
                if kind != "unfused" or stage.directions == 4:
                    row = f"{stage.name}-{kind}-{name}"
                    yield Measurement(row, partial(measure, row, stage, backward))
