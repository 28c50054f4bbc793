"""Random orders and integer expressions for property tests, and `run_loops`: what a walk means, by running it."""

from __future__ import annotations

from hypothesis import strategies as st

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    FlipOrder,
    Loop,
    Phases,
    ReverseOrder,
    Size,
    Tiles,
    TransposeOrder,
    WalkOrder,
    Whole,
)
from scanlang.maps.integers import (
    Absolute,
    Add,
    Compare,
    Constant,
    FloorDiv,
    FloorMod,
    Integer,
    Maximum,
    Minimum,
    Multiply,
    Select,
    Variable,
)
from scanlang.source import Source, Span

NOWHERE = Span(Source("", ""), 0, 0)
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
DIRECTIONS = ("", "-", "~", "~~")


def sizes_of_walks() -> st.SearchStrategy[Size]:
    return st.one_of(st.integers(1, 5), st.sampled_from([AxisSize(0), AxisSize(1)]))


@st.composite
def walks(draw: st.DrawFn, most_splits: int = 2) -> WalkOrder:
    """Each axis cut up to `most_splits` times, its loops mixed with the other's, in any directions."""
    waiting: list[list[Loop]] = []
    for axis in (0, 1):
        loops = [draw(splits(axis)) for _ in range(draw(st.integers(0, most_splits)))]
        waiting.append([*loops, Whole(axis, draw(st.sampled_from(DIRECTIONS)))])
    mixed: list[Loop] = []
    while waiting[0] or waiting[1]:
        axis = draw(st.sampled_from([axis for axis in (0, 1) if waiting[axis]]))
        mixed.append(waiting[axis].pop(0))
    return WalkOrder(tuple(mixed), NOWHERE)


@st.composite
def splits(draw: st.DrawFn, axis: int) -> Loop:
    direction = draw(st.sampled_from(DIRECTIONS))
    by = draw(sizes_of_walks())
    if draw(st.booleans()):
        return Phases(axis, direction, by)
    first = draw(st.one_of(st.none(), st.integers(1, by) if isinstance(by, int) else sizes_of_walks()))
    return Tiles(axis, direction, by, first)


def orders() -> st.SearchStrategy[CheckedOrder]:
    """Walks with reversals, transpositions and flips around them."""
    return st.recursive(
        walks(),
        lambda inner: st.one_of(
            st.builds(ReverseOrder, inner, st.just(NOWHERE)),
            st.builds(TransposeOrder, inner, st.just(NOWHERE)),
            st.builds(FlipOrder, inner, st.sampled_from([0, 1]), st.just(NOWHERE)),
        ),
        max_leaves=5,
    )


def run_order(order: CheckedOrder, h: int, w: int) -> list[tuple[int, int]]:
    """The cells in the order of the visits, from the definitions."""
    match order:
        case WalkOrder():
            return run_loops(order, h, w)
        case ReverseOrder(of):
            return run_order(of, h, w)[::-1]
        case TransposeOrder(of):
            return [(column, row) for row, column in run_order(of, w, h)]
        case FlipOrder(of, 0):
            return [(h - 1 - row, column) for row, column in run_order(of, h, w)]
        case FlipOrder(of, 1):
            return [(row, w - 1 - column) for row, column in run_order(of, h, w)]
    raise ValueError(f"not made of walks: {order}")


def run_loops(walk: WalkOrder, h: int, w: int) -> list[tuple[int, int]]:
    """Lists of coordinates cut into parts, the parts taken in turn; directions by counting runs and iterations."""
    visited: list[tuple[int, int]] = []
    runs = [0] * len(walk.loops)

    def run(depth: int, cells: tuple[list[int], list[int]], iteration_around: int) -> None:
        if depth == len(walk.loops):
            visited.append((cells[0][0], cells[1][0]))
            return
        loop = walk.loops[depth]
        parts = _cut(loop, cells[loop.axis], (h, w))
        backward = {"": False, "-": True, "~": iteration_around % 2 == 1, "~~": runs[depth] % 2 == 1}[loop.direction]
        runs[depth] += 1
        for iteration, part in enumerate(parts[::-1] if backward else parts):
            run(depth + 1, (part, cells[1]) if loop.axis == 0 else (cells[0], part), iteration)

    run(0, (list(range(h)), list(range(w))), 0)
    return visited


def _cut(loop: Loop, cells: list[int], sizes: tuple[int, int]) -> list[list[int]]:
    match loop:
        case Whole():
            return [[cell] for cell in cells]
        case Phases(mod=mod):
            modulus = sizes[mod.axis] if isinstance(mod, AxisSize) else mod
            return [cells[phase::modulus] for phase in range(modulus) if cells[phase::modulus]]
        case Tiles(by=by, first=first):
            length = sizes[by.axis] if isinstance(by, AxisSize) else by
            lead = length if first is None else sizes[first.axis] if isinstance(first, AxisSize) else first
            later = [cells[start : start + length] for start in range(lead, len(cells), length)]
            return [cells[:lead], *later]


def integers_of(*names: str) -> st.SearchStrategy[Integer]:
    """Expressions whose divisors are positive whatever the names stand for (n0, n1 >= 1)."""
    leaves: st.SearchStrategy[Integer] = st.one_of(
        st.builds(Constant, st.integers(-6, 6)), st.sampled_from([Variable(name) for name in names])
    )
    divisors: st.SearchStrategy[Integer] = st.one_of(
        st.builds(Constant, st.integers(1, 6)), st.sampled_from([Variable("n0"), Variable("n1")])
    )

    def larger(inner: st.SearchStrategy[Integer]) -> st.SearchStrategy[Integer]:
        comparisons = st.builds(Compare, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), inner, inner)
        products = st.builds(Multiply, divisors, divisors)
        return st.one_of(
            *(st.builds(node, inner, inner) for node in (Add, Multiply, Minimum, Maximum)),
            *(st.builds(node, inner, st.one_of(divisors, products)) for node in (FloorDiv, FloorMod)),
            st.builds(Absolute, inner),
            st.builds(Select, comparisons, inner, inner),
        )

    return st.recursive(leaves, larger, max_leaves=10)
