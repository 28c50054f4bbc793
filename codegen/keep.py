"""What the backward keeps of the forward's values, and what it computes again: the choice that costs least, all told.

In: the lets of a step, the names that the backward reads, the states. Out: what is kept, and the lets that are run again.

    computing again costs   the operations of a value, once however many read it, and of what it needs in turn (`COSTS`)
    keeping costs           a store, a load and the room of one number for every step of a chunk (`KEEPING`)
    for nothing             what a step reads anyway, and parameters

The cheapest choice is a minimum cut: with every value as an edge of the weight of keeping, behind an edge from the source of
the weight of computing it again, the cut edges are what is paid. Of equal choices, the one that keeps less.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence

from scanlang.codegen.kernel import Advance, Let

COMPARISONS = frozenset(["lt", "le", "gt", "ge", "eq", "ne"])
COSTS: Mapping[str, float] = {
    "div": 8.0, "sqrt": 8.0, "exp": 12.0, "expm1": 16.0, "log": 16.0, "log1p": 20.0, "tanh": 24.0, "erf": 40.0,
}  # fmt: skip
"""Of one operation, in multiplications: about what the vectors of a CPU take. A GPU's exp and reciprocal cost less, its
registers more, and there the compiler has the last word: it sees both."""

KEEPING = 4.0
LOADING = 1.0
"""Of a state after a step, where the state before it is kept: it is that of the step after."""

SOURCE, SINK = "source", "sink"
NOTHING = deque[str]()
Flow = dict[str, dict[str, float]]


def choose_kept(
    forward: Sequence[Let], used: Collection[str], states: Sequence[str], advances: Sequence[Advance]
) -> tuple[tuple[str, ...], tuple[Let, ...]]:
    """(kept names, lets to run again in order) so that `used` are at hand; conditions are never kept: they are no numbers."""
    capacity: Flow = defaultdict(lambda: defaultdict(float))
    needed, after = set(used), {str(a.value) for a in advances if a.state in used}
    for let in reversed(forward):
        if let.name not in needed:
            continue
        inside = f"{let.name}?"
        keeping = math.inf if let.function in COMPARISONS else LOADING if let.name in after else KEEPING
        capacity[SOURCE][inside] = COSTS.get(let.function, 1.0)
        capacity[inside][let.name] = keeping
        for argument in let.arguments:
            if isinstance(argument, str):
                capacity[argument][inside] = math.inf
                needed.add(argument)
    for state in states:
        if state in needed:
            capacity[SOURCE][state] = KEEPING
    made = {let.name for let in forward}
    for name in used:
        if name in made or name in states:
            capacity[name][SINK] = math.inf
    ahead = _before_the_cut(capacity)
    again = tuple(let for let in forward if let.name in needed and f"{let.name}?" not in ahead)
    read = set(used) | {a for let in again for a in let.arguments if isinstance(a, str)}
    repeated = {let.name for let in again}
    kept = [state for state in states if state in read]
    kept += [let.name for let in forward if let.name in read and let.name not in repeated]
    return tuple(kept), again


def _before_the_cut(capacity: Flow) -> set[str]:
    """The source's side of the minimum cut that lies nearest to it (Dinic's algorithm); `capacity` is used up."""
    while True:
        level = _levels(capacity)
        if SINK not in level:
            return set(level)
        turns = {node: deque(edges) for node, edges in capacity.items()}
        while path := _path(capacity, level, turns):
            amount = min(capacity[a][b] for a, b in path)
            for a, b in path:
                capacity[a][b] -= amount
                capacity[b][a] += amount


def _levels(capacity: Flow) -> dict[str, int]:
    """How many edges with room lie between the source and every node that it reaches."""
    level, waiting = {SOURCE: 0}, deque([SOURCE])
    while waiting:
        node = waiting.popleft()
        for other, room in capacity[node].items():
            if room > 0 and other not in level:
                level[other] = level[node] + 1
                waiting.append(other)
    return level


def _path(capacity: Flow, level: Mapping[str, int], turns: Mapping[str, deque[str]]) -> list[tuple[str, str]]:
    """Edges with room from the source to the sink, each one level on; none if there are no more. `turns` has the edges that
    may still lead there."""
    path: list[tuple[str, str]] = []
    node = SOURCE
    while node != SINK:
        others = turns.get(node, NOTHING)
        while others and not (capacity[node][others[0]] > 0 and level.get(others[0]) == level[node] + 1):
            others.popleft()
        if others:
            path.append((node, others[0]))
            node = others[0]
        elif path:
            node, _ = path.pop()
            turns[node].popleft()
        else:
            return []
    return path
