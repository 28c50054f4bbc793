"""Words for what is no order, and what the language does instead: a message that says so helps more than "unknown".

In: a name that nothing defines. Out: the finding that refuses it, or None. Words in recurrences are not looked at here.
"""

from __future__ import annotations

from scanlang.diagnostics import Diagnostic
from scanlang.errors import NoOrder, SeveralPredecessors, TreeScan
from scanlang.source import Span
from scanlang.syntax.never import PREDECESSORS, TREES

TREE_WORDS = TREES | {"bfs", "dfs", "graph"}
PREDECESSOR_WORDS = PREDECESSORS | {"2d", "selective2d", "cross2d"}
GIVEN = "made in torch, and given at run time: `order sorted = input`"

REFUSED: tuple[tuple[frozenset[str], str, str], ...] = (
    (
        frozenset({"sort", "sorted", "argsort", "topk", "cluster", "gumbel", "learned", "dynamic", "select", "quadtree"}),
        "an order that depends on the data is not known when the program is compiled",
        f"the permutation of each image is {GIVEN}",
    ),
    (
        frozenset({"deform", "deformable", "bilinear", "offset", "offsets", "grid_sample", "interpolate"}),
        "an order visits cells, not points between them",
        "in torch, sample the map before the scan (`torch.nn.functional.grid_sample`), then scan it in an order of cells",
    ),
    (
        frozenset({"shuffle", "randperm", "permutation"}),
        "an order that is new at every call is not known when the program is compiled",
        f"`random(7)` is one permutation, always the same; one that is new is {GIVEN}",
    ),
    (
        frozenset({"downsample", "upsample", "pool", "resize"}),
        "an order visits the cells of one grid",
        "in torch, scan between a downsampling and an upsampling; `dilate(order, 2)` visits every second cell of each axis",
    ),
)


def refusal(name: str, span: Span) -> Diagnostic | None:
    """What to say of `mst`, `tree_scan`, `sort_by_norm`, `bilinear`; None for any other name."""
    if name == "input":
        return NoOrder(span, name, "an order that is given at run time has a name", "`order sorted = input`, then `sorted`")
    words = {name.lower(), *name.lower().split("_")}
    if words & TREE_WORDS:
        return TreeScan(span, name)
    if words & PREDECESSOR_WORDS:
        return SeveralPredecessors(span, name)
    for refused, reason, instead in REFUSED:
        if words & refused:
            return NoOrder(span, name, reason, instead)
    return None
