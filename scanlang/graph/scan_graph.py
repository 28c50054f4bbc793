"""The scan graph: what a scan computes, as a dataflow over named nodes (networkx), before anything is said of how.

    Input ─ Gather ─┬ Conv ┬────────────────┬ Recur ─ Scatter ─┐     as written: a direction gathers x, convolves, projects it
                    └──────┴ Project ─ Pick ┤                  ├ Merge
    Label ──────────────────────────────────┘                  │
    Input ───────────────── … one chain per direction … ───────┘

A grid value is a map, with a row for every cell, token and pad; `Gather` turns it into a sequence in a direction's time,
`Scatter` back. Edges carry `operand`: the name under which the node at their end takes the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import networkx as nx

from scanlang.check.program import Per
from scanlang.diagnostics import InternalError
from scanlang.graph.step import Assign, Operand, Step
from scanlang.graph.values import Value, reads
from scanlang.maps.order import Order
from scanlang.maps.traversal import Traversal
from scanlang.source import Span
from scanlang.syntax.nodes import Expr

OWN, TIME = 0, -1
"""Routes: the direction's own order; the number of the step itself. Others are numbered from 1, as in `Traversal.routes`."""


@dataclass(frozen=True)
class Input:
    """A map the caller gives: `(B, rows, C)`, with indices `(B, rows, C, ·)`; `per` says what has one value (`unit`: C / P of
    them, `all`: none). `per_direction`: K of them, `(B, rows, K, C, ·)`."""

    name: str
    kind: Literal["input", "shared"]
    indices: tuple[str, ...]
    per_direction: bool
    per: Per = "channel"


@dataclass(frozen=True)
class Label:
    """A learned table, looked up by the label of every step of a direction: a sequence."""

    name: str
    direction: int


@dataclass(frozen=True)
class Restarts:
    """A sequence: 1 at the steps where a direction starts anew, else 0."""

    direction: int


@dataclass(frozen=True)
class Conv:
    """A causal depthwise convolution and SiLU, with a direction's weights.

    In the direction's time it takes a sequence and gives one; `along` an order of its own it takes a grid value and gives one.
    """

    direction: int
    along: bool = False


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
    """Grid → the time of a direction: at every step the row that `route` visits."""

    direction: int
    route: int = OWN


@dataclass(frozen=True)
class Recur:
    """The recurrence along one direction, with its parameter set; it starts anew where the direction's order says so."""

    direction: int


@dataclass(frozen=True)
class Scatter:
    """The time of a direction → grid: every step is added to the row that `route` visits; others are 0."""

    direction: int
    route: int = OWN


@dataclass(frozen=True)
class Merge:
    """The directions' outputs (operands `y[k]`) and per-cell inputs to the result."""


Node = Input | Label | Restarts | Conv | Project | Pick | Gather | Recur | Scatter | Merge
MERGE = "merge"


def output_name(direction: int) -> str:
    """How a merge calls the output of a direction."""
    return f"y[{direction}]"


def gather_key(direction: int, name: str, route: int = OWN) -> str:
    """What a graph calls the node that brings a value into a direction's time."""
    return f"gather {direction} {name}{along(route)}"


def along(route: int) -> str:
    """What the key of a node says of its route."""
    return f" along {route}" if route != OWN else ""


@dataclass(frozen=True)
class Convolution:
    """What `conv` says: `width` taps on the scan's first input, `source`.

    `along`: the traversal of the order it runs along, in a pass of its own; None: in every direction's time.
    """

    source: str
    width: int
    along: Traversal | None


@dataclass(frozen=True)
class ScanGraph:
    """A scan as a graph. `nodes` maps a key to its node; `graph` holds keys and edges. A rewrite makes a new ScanGraph.

    What there is:
      scan_inputs      the names of the scan's inputs, in order
      shared           what the directions have in common: names of the step's parameters, `project`, `conv`
      labelled         operands (kind `shared`) that are tables `(K, labels, ·)`, gathered by the label of every step
      channelless      parameters `(K, ·)` without channels
      split            every direction has its own channels, in these proportions; else all have all
      restarts         some direction starts anew in between
      conv             the convolution of the first input
    Where it runs:
      stream_routes    the route along which a direction reads an operand; those that are not here, its own
      output_route     the route along which it writes
    How the outputs come together:
      merge            `sum`, `mean`, `weighted` (with softmax of the parameter `merge_weight`), `concat`, or a value over
                       `y[0]`, `y[1]`, … and the inputs named in `merge_inputs`
      stacked          the outputs are left side by side, `(rows, K, C)`: `merge` is `concat`
      second           then made to the result by this expression of the program, which takes means over cells or calls `layers`
      layers           what the second phase calls: name → `linear`, `layer_norm` or `rms_norm`
    """

    name: str
    traversal: Traversal
    step: Step
    shared: frozenset[str]
    merge: Literal["sum", "mean", "weighted", "concat"] | Value
    merge_span: Span = field(compare=False, repr=False, kw_only=True)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    graph: nx.DiGraph = field(default_factory=nx.DiGraph)
    scan_inputs: tuple[str, ...] = ()
    labelled: frozenset[str] = frozenset()
    channelless: frozenset[str] = frozenset()
    split: tuple[int, ...] | None = None
    restarts: bool = False
    conv: Convolution | None = None
    stream_routes: Mapping[str, int] = field(default_factory=dict)
    output_route: int = OWN
    stacked: bool = False
    second: Expr | None = None
    layers: Mapping[str, str] = field(default_factory=dict)

    @property
    def orders(self) -> tuple[Order, ...]:
        return self.traversal.orders

    @property
    def directions(self) -> int:
        return len(self.orders)

    @property
    def merge_inputs(self) -> tuple[str, ...]:
        """The inputs that the merge reads, in the order of their names' first use."""
        operands = [operand for _, operand in self.operands(MERGE)]
        return tuple(name for name in operands if not name.startswith("y["))

    def channels(self, direction: int, total: int) -> slice:
        """The channels of a direction, of `total`."""
        if self.split is None:
            return slice(0, total)
        unit = total // sum(self.split)
        first = unit * sum(self.split[:direction])
        return slice(first, first + unit * self.split[direction])

    def in_common(self, parameter: str) -> bool:
        """Whether the directions have one array for a parameter of the step: one without channels is there for all of them, so
        not where each direction has its own."""
        return parameter in self.shared and not (parameter in self.channelless and self.split is not None)

    def has_own(self, operand: Operand) -> bool:
        """Whether every direction has a map of its own for an operand that no projection makes: one without channels, and what
        is more than a number per channel (unless directions have channels of their own, and so their part of it)."""
        if operand.kind == "shared" and operand.per != "group":
            return True
        return self.split is None and (operand.per != "channel" or operand.indices != ())

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
        return replace(self, nodes=dict(nodes), graph=graph)

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
            lines.append(f"{key:<24}{_shown(self.nodes[key])}{'  <- ' + taken if taken else ''}")
        return "\n".join(lines)


def _shown(node: Any) -> str:
    """A node without what it does not say: `Gather(direction=0)`."""
    said = [(one.name, getattr(node, one.name)) for one in fields(node) if getattr(node, one.name) != one.default]
    return f"{type(node).__name__}({', '.join(f'{name}={value!r}' for name, value in said)})"
