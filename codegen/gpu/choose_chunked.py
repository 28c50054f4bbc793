"""Whether a scan runs by matrix products over chunks of steps, and in which chunks: rules by the sizes of the recurrence.

In: kernels, a traversal, a grid and the computing type; out: a schedule, or why the steps are taken one by one.

A step of 64 channels costs about the same for 16 rows of the state as for 64. One by one it costs 5 machine instructions for
every row and 32 channels, so that matrix products pay from few rows on.
"""

from __future__ import annotations

import math
from typing import Literal

from scanlang.codegen.gpu.triton_layout import BYTES
from scanlang.codegen.kernel import TIME, ScanKernels
from scanlang.codegen.schedule import Schedule
from scanlang.maps.traversal import Traversal

CHUNK = 32
"""Steps: states are saved for each chunk, and its pairs of steps must fit into registers. 64 spill in the backward."""

MANY_ROWS = 64
"""Above them a program has 8 warps in place of 4, and multiplies halves of float32 numbers in place of TF32, which takes twice
the shared memory."""

FEWEST_ROWS, MOST_ROWS = 8, 128
FEWEST_CHANNELS, MOST_CHANNELS = 16, 64
FEWEST_STEPS = 16


def chunked_schedule(
    kernels: ScanKernels, dtype: str = "bfloat16", merge: Literal["turns", "partials"] = "partials"
) -> Schedule:
    """The schedule by matrix products, for kernels that have that form; `dtype` is that of the output."""
    assert kernels.matrix is not None
    warps = 4 if kernels.matrix.state <= MANY_ROWS else 8
    return Schedule("table", merge, channels_together(kernels, dtype), CHUNK, CHUNK, warps, "chunked")


def in_halves(kernels: ScanKernels, dtype: str) -> bool:
    """Whether factors are sums of two bfloat16 numbers; else TF32 is used three times."""
    assert kernels.matrix is not None
    return dtype == "bfloat16" or kernels.matrix.state > MANY_ROWS


def why_sequential(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...], computing: str = "float32") -> str | None:
    """Why the steps are taken one by one; None where they are not."""
    if kernels.matrix is None:
        return "the recurrence is no product of a key and a value"
    if BYTES[computing] == 8:
        return "matrix products are in float32"
    if not FEWEST_ROWS <= kernels.matrix.state <= MOST_ROWS:
        return f"a state of {kernels.matrix.state} rows"
    if channels_together(kernels) < FEWEST_CHANNELS:
        return f"units of {kernels.matrix.unit} channels"
    if (why := _why_not_plain(kernels, traversal, grid)) is not None:
        return why
    steps = traversal.at(grid).steps if not traversal.plain else math.prod(grid)
    return f"{steps} steps" if steps < FEWEST_STEPS else None


def channels_together(kernels: ScanKernels, dtype: str = "bfloat16") -> int:
    """The channels of a program: all in one unit, of which they are a whole part. Fewer where shared memory would not do."""
    assert kernels.matrix is not None
    unit, most = kernels.matrix.unit, MOST_CHANNELS
    if not in_halves(kernels, dtype) and kernels.matrix.state > MANY_ROWS // 2:
        most //= 2
    return max(part for part in range(1, most + 1) if unit % part == 0)


def _why_not_plain(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...]) -> str | None:
    lanes = channels_together(kernels)
    if any(not stream.lanes and stream.every % lanes for stream in kernels.streams):
        return "inputs with an index and a channel"
    if traversal.plain:
        return None
    visits, routes = traversal.at(grid), {stream.route for stream in kernels.streams} | {kernels.output_route}
    if any(visits.repeats(route, k) for route in routes - {TIME} for k in range(kernels.directions)):
        return "a direction visits a row twice"
    return None
