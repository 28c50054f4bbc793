"""The order of a kernel's statements in C. In: straight-line code and what is done with its values. Out: the same, reordered.

Compilers take vectors' statements nearly as they come, and a step of a few hundred values in program order keeps most of them
in memory. Two rewrites, neither changes a bit of the result:

    split_early         what every state waits for and no state is needed for (`dt`) → a loop of its own over the chunk, where
                        the long functions of several steps overlap
    shorten_lifetimes   statements → the next one is the one that frees most vectors, so that values die young
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_

from scanlang.codegen.kernel import Advance, Let

COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
LONG = frozenset(("exp", "exp2", "expm1", "log", "log1p", "tanh", "erf", "sqrt", "div"))


@dataclass(frozen=True)
class Act:
    """A statement that makes no new value: a store, or `state = value` (which `changes` the state)."""

    line: str
    reads: tuple[str, ...]
    changes: str | None = None


Item = Let | Act


def reads_of(item: Item) -> tuple[str, ...]:
    """The names an item reads, each once."""
    names = item.reads if isinstance(item, Act) else (a for a in item.arguments if isinstance(a, str))
    return tuple(dict.fromkeys(names))


def split_early(
    lets: Sequence[Let], states: Iterable[str], advances: Sequence[Advance]
) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """(early, late): early is what all states wait for and does not read them; none if it has no long function. States that
    wait for no long function (a convolution's) do not count.

    A comparison that both read is in both: what is kept from one to the other are numbers.
    """
    bits = {let.name: 1 << i for i, let in enumerate(lets)}
    long = sum(bits[let.name] for let in lets if let.function in LONG)
    needs: dict[str, int] = {}
    moving = set(states)
    for let in lets:
        names = reads_of(let)
        needs[let.name] = bits[let.name]
        for name in names:
            needs[let.name] |= needs.get(name, 0)
        if moving.intersection(names):
            moving.add(let.name)
    waiting = [need for advance in advances if (need := needs.get(str(advance.value), 0)) & long]
    common = reduce(and_, waiting, (1 << len(lets)) - 1) if waiting else 0
    early = tuple(let for let in lets if bits[let.name] & common and let.name not in moving)
    if not any(let.function in LONG for let in early):
        return (), tuple(lets)
    taken = {let.name for let in early}
    late = [let for let in lets if let.name not in taken]
    read = {name for let in late for name in reads_of(let)}
    masks = {let.name for let in early if let.function in COMPARISONS and let.name in read}
    return early, tuple(let for let in lets if let.name not in taken - masks)


@dataclass
class _Graph:
    """Who waits for whom."""

    items: Sequence[Item]
    waits: list[int] = field(default_factory=list)
    after: list[list[int]] = field(default_factory=list)
    readers: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = {item.name: i for i, item in enumerate(self.items) if isinstance(item, Let)}
        changed = {item.changes: i for i, item in enumerate(self.items) if isinstance(item, Act) and item.changes}
        before: list[set[int]] = [set() for _ in self.items]
        for i, item in enumerate(self.items):
            for name in reads_of(item):
                self.readers[name] = self.readers.get(name, 0) + 1
                if name in made:
                    before[i].add(made[name])
                if name in changed and changed[name] != i:
                    before[changed[name]].add(i)
        self.waits = [len(others) for others in before]
        self.after = [[] for _ in self.items]
        for i, others in enumerate(before):
            for other in others:
                self.after[other].append(i)


def shorten_lifetimes(items: Sequence[Item]) -> tuple[Item, ...]:
    """Greedy: of what can be done next, the item that leaves the fewest values alive; of equals, what reads the newest."""
    graph = _Graph(items)
    ready = [i for i, count in enumerate(graph.waits) if not count]
    alive: dict[str, int] = {}
    done: list[Item] = []

    def rank(i: int) -> tuple[int, int, int]:
        names = reads_of(items[i])
        freed = sum(name in alive and graph.readers[name] == 1 for name in names)
        begun = sum(name not in alive and graph.readers[name] > 1 for name in names)
        made = isinstance(items[i], Let)
        return freed - begun - made, max((alive.get(name, -1) for name in names), default=-1), -i

    while ready:
        chosen = max(ready, key=rank)
        ready.remove(chosen)
        item = items[chosen]
        done.append(item)
        for name in reads_of(item):
            graph.readers[name] -= 1
            alive.setdefault(name, len(done))
            if not graph.readers[name]:
                alive.pop(name)
        if isinstance(item, Let):
            alive[item.name] = len(done)
        for i in graph.after[chosen]:
            graph.waits[i] -= 1
            if not graph.waits[i]:
                ready.append(i)
    return tuple(done)
