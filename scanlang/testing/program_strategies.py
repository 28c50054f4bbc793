"""Strategies for whole programs, and for the arguments of a compiled scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from hypothesis import strategies as st
from torch import Tensor

from scanlang.testing.direction_strategies import Directions, directions_of_scan
from scanlang.testing.order_strategies import grids, orders
from scanlang.testing.recurrence_strategies import RandomRecurrence, random_recurrences
from scanlang.testing.tensors import draw_inputs, fewest_channels, open_sizes

if TYPE_CHECKING:
    from scanlang.codegen.op import CompiledScan

SCAN = "tested"
AXES = {1: (("l",),), 2: (("h", "w"), ("row", "column")), 3: (("t", "h", "w"),), 4: (("s", "t", "h", "w"),)}
SIDE_BY_SIDE = ("sum", "concat")
MERGES = (
    *SIDE_BY_SIDE, "mean", "max", "weighted", "sum(k: y[k]) * silu({input})", "tanh(y[0]) + sum(k: y[k] * y[k]) / 2",
    "max(y[0], {input}) + sum(k: y[k])", "where({input} > 0, sum(k: y[k]), y[0] / 2)",
    "sum(k: y[k] * sigmoid(mean(cells: y[k] * {input})))", "sum(k: y[k] * sigmoid(up(relu(down(mean(cells: y[k]))))))",
    "norm(1 + y[0] * y[0]) * {input} + sum(k: y[k])",
)  # fmt: skip
MOST = {1: 20, 2: 12, 3: 4, 4: 3}
"""How long axes are, by their number."""
LAYERS = {"down": "linear(dim, 2)", "up": "linear(2, dim, bias = false)", "norm": "rms_norm(dim)"}


@st.composite
def programs(draw: st.DrawFn, directions: int = 4, rank: int = 2) -> str:
    """A program with one scan, called `tested`, on a grid of `rank` axes: up to `directions` random orders with tokens, pads
    and resets, layers, split channels, convolution, streams along other orders, labels, projections, sharing, any merge.

    >>> @given(programs())
    ... def test_any(text): scanlang.compile(scanlang.loads(text))
    """
    axes = draw(st.sampled_from(AXES[rank]))
    defined = tuple(f"order_{number}" for number in range(draw(st.integers(0, 2))))
    lines = [f"grid {', '.join(axes)}", *(draw(orders(name, axes)) for name in defined)]
    way = draw(directions_of_scan(axes, defined, directions))
    recurrence = draw(random_recurrences(moves=not way.given))
    split = draw(_split(way.count))
    clauses = [*way.clauses, *split, *draw(_flow(recurrence, bool(split))), *draw(_elsewhere(recurrence, way))]
    clauses += ["label moves"] if recurrence.moves else []
    clauses += draw(_sharing(recurrence, clauses, equal=not split or split[0] == "channels split" or way.count == 1))
    formals, actuals = draw(_sizes(recurrence))
    clauses.append(f"recur {recurrence.name}({', '.join(actuals)})")
    lines += [*way.definitions, recurrence.text, f"scan {SCAN}({', '.join(formals)}) {{"]
    lines += [f"  {clause}" for clause in draw(st.permutations(clauses))]
    return "\n".join([*lines, "}", ""])


@st.composite
def _split(draw: st.DrawFn, count: int) -> list[str]:
    """Every direction its own channels in one of four programs; unequal parts in half of those."""
    if draw(st.integers(0, 3)):
        return []
    parts = [str(draw(st.integers(1, 3))) for _ in range(count)]
    return [f"channels split {', '.join(parts)}" if draw(st.booleans()) else "channels split"]


@st.composite
def _flow(draw: st.DrawFn, recurrence: RandomRecurrence, split: bool) -> list[str]:
    """Which inputs the scan takes, what it projects, how it merges."""
    some = [*recurrence.inputs[1:], *recurrence.units, *recurrence.groups]
    projectable = [*recurrence.shared, *(some if not split else ())]
    projected = draw(st.lists(st.sampled_from(projectable), unique=True)) if projectable else []
    inputs = [name for name in recurrence.inputs if name not in projected]
    units = [name for name in recurrence.units if name not in projected]
    merge = draw(st.sampled_from(SIDE_BY_SIDE if split else MERGES))
    if "{input}" in merge:
        read = draw(st.sampled_from((*inputs, "z")))
        inputs += [read] if read not in inputs else []
        merge = merge.format(input=read)
    clauses = [f"input {', '.join((*inputs, *units))}"]
    clauses += [f"use {name} = {layer}" for name, layer in LAYERS.items() if f"{name}(" in merge]
    if projected:
        clauses.append(f"project {', '.join(projected)} from x{draw(st.sampled_from(('', ' bias')))}")
    return clauses if merge == "sum" and draw(st.booleans()) else [*clauses, f"merge {merge}"]


@st.composite
def _elsewhere(draw: st.DrawFn, recurrence: RandomRecurrence, way: Directions) -> list[str]:
    """A convolution, in the time of the directions or along another order, and operands along others."""
    clauses, maps = [], (*recurrence.inputs, *recurrence.units, *recurrence.shared, *recurrence.groups)
    if draw(st.booleans()):
        along = draw(st.sampled_from(("", "", *(f" along {order}" for order in ("raster", "reverse(snake)", *way.like)))))
        clauses.append(f"conv {draw(st.integers(1, 4))}{along}")
    for order in way.like:
        names = draw(st.lists(st.sampled_from(maps), unique=True, max_size=2))
        if names and not any(clause.startswith("operands") for clause in clauses) and draw(st.booleans()):
            clauses.append(f"operands {', '.join(names)} along {order}")
    return clauses


@st.composite
def _sharing(draw: st.DrawFn, recurrence: RandomRecurrence, clauses: Sequence[str], equal: bool) -> list[str]:
    """What the directions have in common; of unequal parts only what has no channels."""
    shareable = list(recurrence.constants)
    if equal:
        shareable += [*recurrence.params, *(word for word in ("project", "conv") if any(c.startswith(word) for c in clauses))]
    some = ", ".join(draw(st.lists(st.sampled_from(shareable), unique=True, min_size=1))) if shareable else ""
    texts = ["", "nothing", *([some, some] if some else []), *(["all", f"all except {some}"] if some and equal else [])]
    text = draw(st.sampled_from(texts))
    return [f"share {text}"] if text else []


@st.composite
def _sizes(draw: st.DrawFn, recurrence: RandomRecurrence) -> tuple[list[str], list[str]]:
    """The formals of the scan and the actuals of its recurrence: a size is a number, or left open."""
    formals, actuals = ["dim"], []
    for label, size in zip(recurrence.labels, recurrence.sizes, strict=True):
        if draw(st.booleans()):
            formals.append(f"{label} = {size}")
            actuals.append(f"{label} = {label}")
        else:
            actuals.append(f"{label} = {size}")
    return formals, actuals


@st.composite
def inputs(
    draw: st.DrawFn,
    op: CompiledScan,
    grid: st.SearchStrategy[tuple[int, ...]] | None = None,
    *,
    batches: Sequence[int] = (1, 2, 3),
    channels: Sequence[int] = (1, 2, 5, 17),
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    sizes: Mapping[str, int] | None = None,
    low: float = -1.0,
    high: float = 1.0,
) -> dict[str, Tensor]:
    """Arguments for a compiled scan: any grid, batch, channels and type, contiguous or strided, different in every direction.

    >>> @given(inputs(op))
    ... def test_mine(tensors): assert_matches_reference(op, program, tensors)

    Sizes that the program leaves open are drawn unless `sizes` gives them. Values are uniform in `low` … `high`. Where channels
    are split, or stand in units, there are as many times `channels` as the parts and the units come to. Layers that a merge
    calls: see `draw_layers`.
    """
    known = {label: draw(st.integers(1, 3)) for label in open_sizes(op) if label not in (sizes or {})} | dict(sizes or {})
    rank = len(op.graph.orders[0].axes)
    return draw_inputs(
        op,
        draw(grid if grid is not None else grids(MOST[rank], rank)),
        batch=draw(st.sampled_from(batches)),
        channels=draw(st.sampled_from(channels)) * fewest_channels(op, known),
        sizes=known,
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 2**16)),
        contiguous=draw(st.booleans()),
        low=low,
        high=high,
    )
