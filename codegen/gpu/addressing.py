"""How the rows that a direction visits are found on a GPU, for reports: computed by loops, or read from a table, and why.

In: kernels, a traversal and a grid; out: a kind and a reason per direction. The choice itself is `choose_chunks`.
"""

from __future__ import annotations

import numpy as np

from scanlang.codegen.gpu.choose_chunked import why_sequential
from scanlang.codegen.gpu.choose_gpu_schedule import candidates, choose_chunks, why_a_table
from scanlang.codegen.gpu.triton_layout import Walk, walk_of
from scanlang.codegen.kernel import OWN, ScanKernels
from scanlang.maps.traversal import Traversal


def addressing(kernels: ScanKernels, traversal: Traversal, grid: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """How the rows of every direction are found, and why: `("arithmetic", "runs of 56 steps")`, `("table", "a formula …")`."""
    if why_sequential(kernels, traversal, grid) is None:
        return (("table", "matrix products take the rows of a chunk together"),) * kernels.directions
    if not traversal.plain:
        return tuple(("table", _why_not_plain(traversal, grid, k)) for k in range(kernels.directions))
    walks = [walk_of(order, grid) for order in traversal.orders]
    if choose_chunks(kernels, traversal, grid)[2]:
        return tuple(("arithmetic", _runs(walk)) for walk in walks)
    return tuple(("table", _why_no_loops(walk, kernels)) for walk in walks)


def _runs(walk: Walk | str) -> str:
    assert isinstance(walk, Walk)
    return f"runs of {walk.length} steps"


def _why_no_loops(walk: Walk | str, kernels: ScanKernels) -> str:
    if (reason := why_a_table(walk)) is not None:
        return reason
    assert isinstance(walk, Walk)
    if all(walk.length % chunk for chunk, _ in candidates(kernels)):
        return f"{_runs(walk)} are no whole chunks"
    return "loops for all directions or for none"


def _why_not_plain(traversal: Traversal, grid: tuple[int, ...], k: int) -> str:
    """What direction k does that loops over the cells do not."""
    visits = traversal.at(grid)
    rows = visits.tables[OWN][k]
    if visits.given[k] is not None:
        return "the order is given at run time"
    if len(visits.tables) > 1:
        return "streams along another order"
    if np.any(rows >= visits.cells):
        return "steps at tokens or pads"
    if len(rows) != visits.cells or len(np.unique(rows)) != visits.cells:
        return "not every cell once"
    if np.any(visits.restarts[k]):
        return "restarts on the way"
    return "loops for all directions or for none"
