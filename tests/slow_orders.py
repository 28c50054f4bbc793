"""What orders mean, step by step in plain Python, and random orders of every construct: nothing here is the compiler's.

A step says what it visits (`("cell", (1, 2))`, `("token", "cls", 0)`, `("pad",)`), in which run of the state it is (a restart
lies between steps of different runs) and in which window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

import numpy as np
from hypothesis import strategies as st
from strategies_orders import NOWHERE

from scanlang.check.program import (
    AxisSize,
    CheckedOrder,
    ConcatOrder,
    CurveOrder,
    DilateOrder,
    FlipOrder,
    InsertOrder,
    InterleaveOrder,
    Loop,
    Phases,
    RandomOrder,
    ResetOrder,
    ReverseOrder,
    ShiftOrder,
    Size,
    TableOrder,
    Tiles,
    Token,
    TransposeOrder,
    WalkOrder,
    Whole,
    WindowOrder,
)

Grid = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    visit: tuple[object, ...]
    run: object = None
    window: object = None


def visits(order: CheckedOrder, grid: Grid) -> list[Step]:
    """The definition of every construct; raises ValueError where there is no such order."""
    match order:
        case WalkOrder():
            return walk(order, grid)
        case CurveOrder(name):
            return [Step(("cell", cell)) for cell in CURVES[name](*grid)] if prod(grid) else []
        case RandomOrder(seed):
            cells = list(product(*map(range, grid)))
            return [Step(("cell", cells[index])) for index in sorted(range(len(cells)), key=lambda i: (splitmix64(seed, i), i))]
        case TableOrder(_, shape, cells):
            if prod(grid) == 0:
                return []
            if shape not in (grid, (prod(grid),)):
                raise ValueError("S208")
            return [Step(("cell", place(int(index), grid))) for index in np.frombuffer(cells, "<i8")]
        case ReverseOrder(of):
            return visits(of, grid)[::-1]
        case TransposeOrder(of):
            return moved(visits(of, swapped(grid)), swapped)
        case FlipOrder(of, axis):
            return moved(visits(of, grid), lambda c: tuple(grid[a] - 1 - x if a == axis else x for a, x in enumerate(c)))
        case ShiftOrder(of, offsets):
            return moved(visits(of, grid), lambda c: tuple((x + o) % n for x, o, n in zip(c, offsets, grid, strict=True)))
        case DilateOrder():
            return dilated(order, grid)
        case WindowOrder():
            return windows(order, grid)
        case ConcatOrder(parts):
            return [
                replace(step, run=(number, step.run) if resets(order) else None)
                for number, part in enumerate(parts)
                for step in visits(part, grid)
            ]
        case InterleaveOrder(parts):
            made = [visits(part, grid) for part in parts]
            longest = max(len(part) for part in made)
            return [part[t] for t in range(longest) for part in made if t < len(part)]
        case ResetOrder(of, every):
            return restarted(visits(of, grid), every)
        case InsertOrder():
            return inserted(order, grid)
    raise TypeError(order)


def moved(steps: list[Step], to: Callable[[Grid], Grid]) -> list[Step]:
    return [replace(s, visit=("cell", to(s.visit[1]))) if s.visit[0] == "cell" else s for s in steps]


def swapped(pair: Grid) -> Grid:
    return (*pair[:-2], pair[-1], pair[-2])


def place(index: int, grid: Grid) -> Grid:
    return list(product(*map(range, grid)))[index]


def length(size: Size, grid: Grid) -> int:
    return grid[size.axis] if isinstance(size, AxisSize) else size


def resets(order: CheckedOrder) -> bool:
    match order:
        case ResetOrder():
            return True
        case ConcatOrder(parts) | InterleaveOrder(parts):
            return any(map(resets, parts))
        case WindowOrder():
            return resets(order.inner) or resets(order.outer)
        case _:
            return hasattr(order, "of") and resets(order.of)


def walk(order: WalkOrder, grid: Grid) -> list[Step]:
    """Lists of coordinates cut into parts, the parts taken in turn; directions by counting runs and iterations."""
    if prod(grid) == 0:
        return []
    found: list[Step] = []
    runs = [0] * len(order.loops)
    tiled = any(isinstance(loop, Tiles) for loop in order.loops)

    def run(depth: int, cells: tuple[list[int], ...], iteration_around: int, tiles: tuple[object, ...]) -> None:
        if depth == len(order.loops):
            found.append(Step(("cell", tuple(axis[0] for axis in cells)), None, tiles if tiled else None))
            return
        loop = order.loops[depth]
        parts = cut(loop, cells[loop.axis], grid)
        backward = {"": False, "-": True, "~": iteration_around % 2 == 1, "~~": runs[depth] % 2 == 1}[loop.direction]
        runs[depth] += 1
        numbered = list(enumerate(parts))
        for iteration, (number, part) in enumerate(numbered[::-1] if backward else numbered):
            inside = tuple(part if axis == loop.axis else cells[axis] for axis in range(len(cells)))
            run(depth + 1, inside, iteration, (*tiles, number) if isinstance(loop, Tiles) else tiles)

    run(0, tuple(list(range(n)) for n in grid), 0, ())
    return found


def cut(loop: Loop, cells: list[int], grid: Grid) -> list[list[int]]:
    match loop:
        case Whole():
            return [[cell] for cell in cells]
        case Phases(mod=mod):
            modulus = length(mod, grid)
            return [cells[phase::modulus] for phase in range(modulus) if cells[phase::modulus]]
        case Tiles(by=by, first=first):
            long = length(by, grid)
            lead = long if first is None else length(first, grid)
            return [cells[:lead], *(cells[start : start + long] for start in range(lead, len(cells), long))]


def dilated(order: DilateOrder, grid: Grid) -> list[Step]:
    if order.pad == "decay":
        counts = tuple(ceil(n / order.every) for n in grid)
    else:
        counts = tuple(len(range(phase, n, order.every)) for phase, n in zip(order.phase, grid, strict=True))
    steps = moved(visits(order.of, counts), lambda c: tuple(p + order.every * x for p, x in zip(order.phase, c, strict=True)))
    return within(steps, grid)


def within(steps: list[Step], grid: Grid) -> list[Step]:
    """Cells outside the grid are pads."""
    return [
        replace(s, visit=("pad",)) if s.visit[0] == "cell" and any(x >= n for x, n in zip(s.visit[1], grid, strict=True)) else s
        for s in steps
    ]


def windows(order: WindowOrder, grid: Grid) -> list[Step]:
    sizes = tuple(length(size, grid) for size in order.sizes)
    counts = tuple(ceil(n / max(s, 1)) for n, s in zip(grid, sizes, strict=True))
    found: list[Step] = []
    tokens: dict[object, int] = {}
    outer = visits(order.outer, counts)
    for number, around in enumerate(outer):
        window: tuple[object, ...] = around.visit
        if around.visit[0] == "token":
            steps = [Step(("outer", *around.visit))]
        elif around.visit[0] == "pad":
            window = ("pad", number)
            steps = [Step(("pad",)) for _ in visits(order.inner, sizes)] if order.pad == "decay" else []
        else:
            corner = tuple(x * s for x, s in zip(around.visit[1], sizes, strict=True))
            own = sizes if order.pad == "decay" else tuple(min(s, n - c) for s, n, c in zip(sizes, grid, corner, strict=True))
            steps = visits(order.inner, own)
            steps = within(moved(steps, lambda c, corner=corner: tuple(a + b for a, b in zip(corner, c, strict=True))), grid)
            steps = [
                replace(s, visit=("token", s.visit[1], s.visit[2] + tokens.get(s.visit[1], 0))) if s.visit[0] == "token" else s
                for s in steps
            ]
            for name in {s.visit[1] for s in steps if s.visit[0] == "token"}:
                tokens[name] = 1 + max(s.visit[2] for s in steps if s.visit[:2] == ("token", name))
        for step in steps:
            label = (around.run, number if resets(order.inner) else None, step.run)
            found.append(Step(step.visit, label if resets(order) else None, (window, step.window)))
    for t, like in enumerate(found):
        if like.visit[0] == "outer":
            first = next((step for step in found if step.visit[0] != "outer"), like)
            before = found[t - 1] if t else first
            found[t] = replace(like, run=before.run, window=before.window)
    return [
        replace(s, visit=("token", s.visit[2], s.visit[3] + tokens.get(s.visit[2], 0))) if s.visit[0] == "outer" else s
        for s in found
    ]


def restarted(steps: list[Step], every: int | str) -> list[Step]:
    known = [step.visit[1][every] if step.visit[0] == "cell" else None for step in steps] if every != "window" else []
    if every == "window":
        known = [step.window for step in steps]
    else:
        following = next((value for value in known if value is not None), None)
        for t, value in enumerate(known):
            known[t] = following = following if value is None else value
    runs, result = 0, []
    for t, step in enumerate(steps):
        runs += t > 0 and known[t] != known[t - 1]
        result.append(replace(step, run=(step.run, runs)))
    return result


def inserted(order: InsertOrder, grid: Grid) -> list[Step]:
    """The tokens go in one after the other, each list of those before a step in the order written."""
    inner = visits(order.of, grid)
    count = len(inner)
    before: list[list[str]] = [[] for _ in range(count + 1)]
    for token in order.tokens:
        number = length(token.number, grid)
        if token.place in ("index", "spread") and number > count:
            raise ValueError({"index": "S206", "spread": "S207"}[token.place])
        match token.place:
            case "head":
                at = [0]
            case "middle":
                at = [count // 2]
            case "tail":
                at = [count]
            case "index":
                at = [number]
            case "every":
                at = [t for t in range(1, count + 1) if number and t % number == 0]
            case "spread":
                at = [count // (number + 1) * (i + 1) for i in range(number)]
        for t in at:
            before[t].append(token.name)
    numbers = {
        name: 1 + max(s.visit[2] for s in inner if s.visit[:2] == ("token", name))
        for name in {s.visit[1] for s in inner if s.visit[0] == "token"}
    }
    found: list[Step] = []
    for t in range(count + 1):
        for name in before[t]:
            like = inner[max(t - 1, 0)] if inner else Step(())
            found.append(replace(like, visit=("token", name, numbers.get(name, 0))))
            numbers[name] = numbers.get(name, 0) + 1
        found += inner[t : t + 1]
    return found


# Curves, by their definitions.


def splitmix64(seed: int, number: int) -> int:
    mask = 2**64 - 1
    z = (seed + (number + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def all_cells(h: int, w: int) -> list[tuple[int, int]]:
    return [(r, c) for r in range(h) for c in range(w)]


def spiral(h: int, w: int) -> list[tuple[int, int]]:
    """Straight on until the border or a cell that was visited, then right."""
    r, c, turn = 0, 0, 0
    path, seen = [(0, 0)], {(0, 0)}
    while len(path) < h * w:
        dr, dc = ((0, 1), (1, 0), (0, -1), (-1, 0))[turn % 4]
        ahead = r + dr, c + dc
        if ahead in seen or not (0 <= ahead[0] < h and 0 <= ahead[1] < w):
            turn += 1
            continue
        r, c = ahead
        seen.add(ahead)
        path.append(ahead)
    return path


def interleaved_bits(r: int, c: int) -> int:
    return int("".join(a + b for a, b in zip(f"{r:016b}", f"{c:016b}", strict=True)), 2)


def hilbert(h: int, w: int) -> list[tuple[int, int]]:
    """Recursively: from the corner (r, c) along `u` for `m` cells, the other side `v` being `n` cells."""

    def go(r: int, c: int, u: tuple[int, int], m: int, v: tuple[int, int], n: int) -> list[tuple[int, int]]:
        if n == 1:
            return [(r + i * u[0], c + i * u[1]) for i in range(m)]
        if m == 1:
            return [(r + i * v[0], c + i * v[1]) for i in range(n)]
        if 2 * m > 3 * n:
            half = m // 2 + (m // 2 % 2 == 1 and m > 2)
            return go(r, c, u, half, v, n) + go(r + half * u[0], c + half * u[1], u, m - half, v, n)
        up = n // 2 + (n // 2 % 2 == 1 and n > 2)
        half = m - 1 if up == 1 else m // 2
        top = r + up * v[0], c + up * v[1]
        down = r + (m - 1) * u[0] + (up - 1) * v[0], c + (m - 1) * u[1] + (up - 1) * v[1]
        back = (-v[0], -v[1]), up, (-u[0], -u[1]), m - half
        return go(r, c, v, up, u, half) + go(*top, u, m, v, n - up) + go(*down, *back)

    return go(0, 0, (0, 1), w, (1, 0), h) if w >= h else go(0, 0, (1, 0), h, (0, 1), w)


CURVES: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
    "diagonal": lambda h, w: sorted(all_cells(h, w), key=lambda cell: (sum(cell), cell[0])),
    "zigzag": lambda h, w: sorted(all_cells(h, w), key=lambda cell: (sum(cell), cell[0] if sum(cell) % 2 else -cell[0])),
    "spiral": spiral,
    "hilbert": hilbert,
    "morton": lambda h, w: sorted(all_cells(h, w), key=lambda cell: interleaved_bits(*cell)),
}


# Random orders.


def lengths(rank: int, most: int = 4) -> st.SearchStrategy[Size]:
    return st.one_of(st.integers(1, most), st.integers(0, rank - 1).map(AxisSize))


@st.composite
def walks(draw: st.DrawFn, rank: int, most_splits: int = 2) -> WalkOrder:
    directions = st.sampled_from(("", "-", "~", "~~"))
    waiting: list[list[Loop]] = []
    for axis in range(rank):
        loops: list[Loop] = []
        for _ in range(draw(st.integers(0, most_splits))):
            by, direction = draw(lengths(rank)), draw(directions)
            if draw(st.booleans()):
                loops.append(Phases(axis, direction, by))
            else:
                first = draw(st.one_of(st.none(), st.integers(1, by) if isinstance(by, int) else st.just(by)))
                loops.append(Tiles(axis, direction, by, first))
        waiting.append([*loops, Whole(axis, draw(directions))])
    mixed: list[Loop] = []
    while any(waiting):
        mixed.append(draw(st.sampled_from([loops for loops in waiting if loops])).pop(0))
    return WalkOrder(tuple(mixed), NOWHERE)


def leaves(rank: int) -> st.SearchStrategy[CheckedOrder]:
    found: list[st.SearchStrategy[CheckedOrder]] = [
        walks(rank),
        st.builds(RandomOrder, st.integers(-5, 99), st.just(NOWHERE)),
    ]
    if rank == 2:
        found.append(st.sampled_from(list(CURVES)).map(lambda name: CurveOrder(name, NOWHERE)))
    return st.one_of(*found)


def tokens(rank: int) -> st.SearchStrategy[tuple[Token, ...]]:
    name = st.sampled_from(("cls", "reg", "dist"))
    places = st.one_of(
        st.tuples(st.sampled_from(("head", "middle", "tail")), st.just(0)),
        st.tuples(st.sampled_from(("index", "spread")), st.integers(0, 4)),
        st.tuples(st.just("every"), lengths(rank)),
    )
    one = st.tuples(name, places).map(lambda pair: Token(pair[0], *pair[1]))
    return st.lists(one, min_size=1, max_size=3).map(tuple)


@st.composite
def all_orders(draw: st.DrawFn, rank: int, depth: int = 3, with_resets: bool = True, joined: bool = True) -> CheckedOrder:
    """Any construct in any other, as the checker lets them through; `joined` with several in one sequence."""
    if depth == 0:
        return draw(leaves(rank))
    kinds = ["leaf", "reverse", "flip", "shift", "window", "dilate", "insert"]
    kinds += ["concat", "interleave"] if joined else []
    kinds += ["transpose"] if rank > 1 else []
    kinds += ["reset", "reset windows"] if with_resets else []
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        return draw(leaves(rank))
    joined = joined and kind != "reset windows"
    inner = draw(all_orders(rank, depth - 1, with_resets and kind != "interleave", joined))
    pad = draw(st.sampled_from(("skip", "decay")))
    sizes = draw(st.tuples(*[lengths(rank)] * rank))
    match kind:
        case "reverse":
            return ReverseOrder(inner, NOWHERE)
        case "transpose":
            return TransposeOrder(inner, NOWHERE)
        case "flip":
            return FlipOrder(inner, draw(st.integers(0, rank - 1)), NOWHERE)
        case "shift":
            return ShiftOrder(inner, draw(st.tuples(*[st.integers(-5, 5)] * rank)), NOWHERE)
        case "window":
            return WindowOrder(inner, sizes, draw(all_orders(rank, depth - 1, with_resets, joined)), pad, NOWHERE)
        case "dilate":
            every = draw(st.integers(1, 3))
            return DilateOrder(inner, every, draw(st.tuples(*[st.integers(0, every - 1)] * rank)), pad, NOWHERE)
        case "concat":
            return ConcatOrder((inner, draw(all_orders(rank, depth - 1, with_resets, joined))), NOWHERE)
        case "interleave":
            return InterleaveOrder((inner, draw(all_orders(rank, depth - 1, with_resets=False))), NOWHERE)
        case "insert":
            return InsertOrder(inner, draw(tokens(rank)), NOWHERE)
        case "reset":
            return ResetOrder(inner, draw(st.integers(0, rank - 1)), NOWHERE)
        case _:
            windows = WindowOrder(inner, sizes, draw(leaves(rank)), pad, NOWHERE)
            return ResetOrder(draw(st.sampled_from((windows, ReverseOrder(windows, NOWHERE)))), "window", NOWHERE)
