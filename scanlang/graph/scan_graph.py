"""The scan graph: what a scan computes, as a dataflow over named nodes (networkx), before anything is said of how.

    Input ─ Gather ─┬───────────────────────┬ Recur ─ Scatter ─┐        as written: a direction gathers x, then projects it
                    └─ Project ─ Pick ──────┘                  ├ Merge
    Input ───────────────── … one chain per direction … ───────┘

A grid value is a map in grid order; `Gather` turns it into a sequence in a direction's time, `Scatter` back.
Edges carry `operand`: the name under which the node at their end takes the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import networkx as nx

from scanlang.diagnostics import InternalError
from scanlang.graph.step import Assign, Operand, Step
from scanlang.graph.values import Value, reads
from scanlang.maps.order import Order
from scanlang.source import Span


@dataclass(frozen=True)
class Input:
    """A map the caller gives: per cell and channel, or (`shared`) per cell for all channels; `per_direction`: K of them."""

    name: str
    kind: Literal["input", "shared"]
    indices: tuple[str, ...]
    per_direction: bool


@dataclass(frozen=True)
class Project:
    """Learned linear maps of one value, stacked in the order of `names`. `number` and `direction` pick the weights."""

    number: int
    names: tuple[str, ...]
    direction: int
    bias: bool


@dataclass(frozen=True)
class Pick:
    """One of the values that a projection stacked."""

    name: str


@dataclass(frozen=True)
class Gather:
    """Grid → the time of a direction."""

    direction: int


@dataclass(frozen=True)
class Recur:
    """The recurrence along one direction, with its parameter set."""

    direction: int


@dataclass(frozen=True)
class Scatter:
    """The time of a direction → grid."""

    direction: int


@dataclass(frozen=True)
class Merge:
    """The directions' outputs (operands `y[k]`) and per-cell inputs to the result."""


Node = Input | Project | Pick | Gather | Recur | Scatter | Merge
MERGE = "merge"


def output_name(direction: int) -> str:
    """How a merge calls the output of a direction."""
    return f"y[{direction}]"


@dataclass(frozen=True)
class ScanGraph:
    """A scan as a graph. `nodes` maps a key to its node; `graph` holds keys and edges. A rewrite makes a new ScanGraph.

    `shared` names what the directions have in common (parameters, `project`); `merge` is `sum`, `mean`, or a value over
    `y[0]`, `y[1]`, … and the inputs named in `merge_inputs`.
    """

    name: str
    orders: tuple[Order, ...]
    step: Step
    shared: frozenset[str]
    merge: Literal["sum", "mean"] | Value
    merge_span: Span = field(compare=False, repr=False, kw_only=True)
    nodes: Mapping[str, Node]
    graph: nx.DiGraph

    @property
    def directions(self) -> int:
        return len(self.orders)

    @property
    def merge_inputs(self) -> tuple[str, ...]:
        """The inputs that the merge reads, in the order of their names' first use."""
        operands = [operand for _, operand in self.operands(MERGE)]
        return tuple(name for name in operands if not name.startswith("y["))

    def operands(self, key: str) -> Iterator[tuple[str, str]]:
        """(source key, operand) of every value a node takes, in the order they were connected."""
        for source, _, operand in self.graph.in_edges(key, data="operand"):
            yield source, operand

    def source(self, key: str) -> str:
        """The one node that `key` takes its value from."""
        sources = [source for source, _ in self.operands(key)]
        if len(sources) != 1:
            raise InternalError(f"node {key} has {len(sources)} sources")
        return sources[0]

    def in_order(self) -> list[str]:
        """Every key after those it depends on; the same list on every run."""
        return list(nx.lexicographical_topological_sort(self.graph))

    def inputs(self) -> dict[str, Input]:
        """The maps the caller gives, by name."""
        found = {key: node for key, node in self.nodes.items() if isinstance(node, Input)}
        return {node.name: node for node in found.values()}

    def rewritten(self, nodes: Mapping[str, Node], edges: list[tuple[str, str, str]]) -> ScanGraph:
        """The same scan over other nodes and edges (source, target, operand)."""
        graph = nx.DiGraph()
        graph.add_nodes_from(nodes)
        graph.add_edges_from((source, target, {"operand": operand}) for source, target, operand in edges)
        return ScanGraph(
            self.name, self.orders, self.step, self.shared, self.merge, dict(nodes), graph, merge_span=self.merge_span
        )

    def edges(self) -> list[tuple[str, str, str]]:
        return list(self.graph.edges(data="operand"))

    def merge_step(self) -> Step:
        """A merge expression as a step without states, over the operands `y[k]` and the merge's inputs."""
        if isinstance(self.merge, str):
            raise InternalError(f"merge {self.merge} is not an expression")
        names = (*(output_name(k) for k in range(self.directions)), *self.merge_inputs)
        operands = tuple(Operand(name, "input", (), self.merge_span) for name in names)
        unread = set(reads(self.merge)) - set(names)
        if unread:
            raise InternalError(f"the merge reads {sorted(unread)}, which nothing gives")
        return Step(f"{self.name} merge", {}, operands, (), (Assign("y", (), self.merge, self.merge_span),), "y")

    def __str__(self) -> str:
        """One line a node: `recur 0 <- x: gather 0 x, B: gather 0 B`."""
        lines = []
        for key in self.in_order():
            taken = ", ".join(f"{operand}: {source}" for source, operand in self.operands(key))
            lines.append(f"{key:<24}{self.nodes[key]!r}{'  <- ' + taken if taken else ''}")
        return "\n".join(lines)
