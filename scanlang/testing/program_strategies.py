"""Strategies for whole programs, and for the arguments of a compiled scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from hypothesis import strategies as st
from torch import Tensor

from scanlang.testing.order_strategies import grids, orders
from scanlang.testing.recurrence_strategies import RandomRecurrence, random_recurrences
from scanlang.testing.tensors import draw_inputs, open_sizes

if TYPE_CHECKING:
    from scanlang.codegen.op import CompiledScan

SCAN = "tested"
MERGES = (
    "sum", "mean", "sum(k: y[k]) * silu({input})", "tanh(y[0]) + sum(k: y[k] * y[k]) / 2", "max(y[0], {input}) + sum(k: y[k])",
    "where({input} > 0, sum(k: y[k]), y[0] / 2)",
)  # fmt: skip


@st.composite
def programs(draw: st.DrawFn, directions: int = 4) -> str:
    """A program with one scan, called `tested`: random orders, up to `directions` of them, sharing, projections and merge.

    >>> @given(programs())
    ... def test_any(text): scanlang.compile(scanlang.loads(text))
    """
    axes = draw(st.sampled_from((("h", "w"), ("row", "column"))))
    defined = [f"order_{number}" for number in range(draw(st.integers(0, 2)))]
    lines = [f"grid {', '.join(axes)}", *(draw(orders(name, axes)) for name in defined)]
    recurrence = draw(random_recurrences())
    choice = st.sampled_from(("raster", "columns", "snake", *defined, *defined))
    names = draw(st.lists(st.tuples(choice, st.booleans()), min_size=1, max_size=directions))
    clauses = {
        "directions": ", ".join(f"reverse({name})" if backwards else name for name, backwards in names),
        "recur": "",
        **draw(_flow(recurrence)),
        **draw(_sharing(recurrence)),
    }
    formals, actuals = draw(_sizes(recurrence))
    clauses["recur"] = f"{recurrence.name}({', '.join(actuals)})"
    clauses = {key: clauses[key] for key in draw(st.permutations(sorted(clauses)))}
    lines += [recurrence.text, f"scan {SCAN}({', '.join(formals)}) {{"]
    lines += [f"  {key} {value}" for key, value in clauses.items()]
    return "\n".join([*lines, "}", ""])


@st.composite
def _flow(draw: st.DrawFn, recurrence: RandomRecurrence) -> Mapping[str, str]:
    """Which inputs the scan takes, what it projects, how it merges."""
    projectable = [*recurrence.shared, *(name for name in recurrence.inputs if name != "x")]
    projected = draw(st.lists(st.sampled_from(projectable), unique=True))
    inputs = [name for name in recurrence.inputs if name not in projected]
    merge = draw(st.sampled_from(MERGES))
    if "{input}" in merge:
        read = draw(st.sampled_from((*inputs, "z")))
        inputs += [read] if read not in inputs else []
        merge = merge.format(input=read)
    flow = {"input": ", ".join(inputs), "merge": merge}
    if projected:
        flow["project"] = f"{', '.join(projected)} from x{draw(st.sampled_from(('', ' bias')))}"
    if merge == "sum" and draw(st.booleans()):
        del flow["merge"]
    return flow


@st.composite
def _sharing(draw: st.DrawFn, recurrence: RandomRecurrence) -> Mapping[str, str]:
    shareable = (*recurrence.params, "project")
    some = ", ".join(draw(st.lists(st.sampled_from(shareable), unique=True, min_size=1)))
    text = draw(st.sampled_from(("", "nothing", "all", some, f"all except {some}")))
    return {"share": text} if text else {}


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
    grid: st.SearchStrategy[tuple[int, int]] | None = None,
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

    Sizes that the program leaves open are drawn unless `sizes` gives them. Values are uniform in `low` … `high`.
    """
    drawn = {label: draw(st.integers(1, 3)) for label in open_sizes(op) if label not in (sizes or {})}
    return draw_inputs(
        op,
        draw(grid if grid is not None else grids()),
        batch=draw(st.sampled_from(batches)),
        channels=draw(st.sampled_from(channels)),
        sizes={**drawn, **(sizes or {})},
        dtype=draw(st.sampled_from(dtypes)),
        seed=draw(st.integers(0, 2**16)),
        contiguous=draw(st.booleans()),
        low=low,
        high=high,
    )
