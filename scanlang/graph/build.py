"""One layer of a checked scan and its traversal → scan graph."""

from __future__ import annotations

from dataclasses import dataclass

from scanlang.check.order_tree import has_resets
from scanlang.check.program import CheckedScan, Projection
from scanlang.diagnostics import InternalError
from scanlang.graph.build_merge import build_merge, called_layers, terms
from scanlang.graph.build_step import build_step, is_labelled
from scanlang.graph.scan_graph import (
    MERGE,
    OWN,
    TIME,
    Conv,
    Convolution,
    Gather,
    Input,
    Label,
    Merge,
    Node,
    Pick,
    Project,
    Recur,
    ScanGraph,
    Scatter,
    along,
    gather_key,
    output_name,
)
from scanlang.graph.step import Operand
from scanlang.graph.step_rewrites import conv_parameters, conv_step, convolved
from scanlang.graph.values import reads
from scanlang.maps.routes import Orders, conv_traversal, operand_orders, output_orders
from scanlang.maps.traversal import Traversal
from scanlang.syntax import nodes as syntax


def build_graph(scan: CheckedScan, traversal: Traversal) -> ScanGraph:
    """One layer of a scan as written: every direction gathers, convolves and projects in its own time, recurs and scatters.

    `traversal` is that of the layer.
    """
    graph = _without_nodes(scan, traversal)
    nodes: dict[str, Node] = {f"input {name}": node for name, node in _inputs(scan, graph).items()}
    edges: list[tuple[str, str, str]] = []
    for k in range(graph.directions):
        _Direction(scan, graph, k, nodes, edges).add()
    nodes[MERGE] = Merge()
    edges += [(f"scatter {k}", MERGE, output_name(k)) for k in range(graph.directions)]
    edges += [(f"input {name}", MERGE, name) for name in scan.inputs if name in _merge_reads(graph)]
    return graph.rewritten(nodes, edges)


def build_conv_graph(scan: CheckedScan, traversal: Traversal) -> ScanGraph:
    """The convolution of a scan alone: a scan that leaves the first input, convolved, in rows, as every direction sees it.

    For what needs it there: projections from the first input, and a scan around a convolution along an order of its own. With
    one direction, or channels of their own, the result is `(rows, C)`, else `(rows, K, C)`.
    """
    conv = _convolution(scan, traversal)
    if conv is None:
        raise InternalError(f"the scan {scan.name} has no convolution")
    runs = conv.along or traversal
    own = conv.along is None
    stacked = len(runs.orders) > 1 and scan.split is None
    step = conv_step(conv.source, conv.width, scan.span)
    graph = ScanGraph(
        name=f"{scan.name}_conv",
        traversal=runs,
        step=step,
        shared=frozenset(conv_parameters(conv.width)) if "conv" in scan.shared else frozenset(),
        merge="concat" if stacked else "sum",
        merge_span=scan.span,
        scan_inputs=(conv.source,),
        split=scan.split,
        restarts=any(has_resets(order.checked) for order in runs.orders),
        stream_routes=_stream_routes(scan, traversal, step.operands) if own else {},
        stacked=stacked,
    )
    nodes: dict[str, Node] = {f"input {conv.source}": Input(conv.source, "input", (), False), MERGE: Merge()}
    edges = []
    for k in range(graph.directions):
        route = graph.stream_routes.get(conv.source, OWN)
        key = gather_key(k, conv.source, route)
        nodes[key], nodes[f"recur {k}"], nodes[f"scatter {k}"] = Gather(k, route), Recur(k), Scatter(k)
        edges += [(f"input {conv.source}", key, conv.source), (key, f"recur {k}", conv.source)]
        edges += [(f"recur {k}", f"scatter {k}", graph.step.readout), (f"scatter {k}", MERGE, output_name(k))]
    return graph.rewritten(nodes, edges)


def _without_nodes(scan: CheckedScan, traversal: Traversal) -> ScanGraph:
    """What is said of the scan as a whole."""
    step = build_step(scan.recurrence)
    axes = traversal.orders[0].axes
    merge, second = build_merge(scan)
    constants = scan.recurrence.of_kind("shared param")
    labelled = frozenset(operand.name for operand in constants if is_labelled(operand))
    return ScanGraph(
        name=scan.name,
        traversal=traversal,
        step=step,
        shared=scan.shared,
        merge=merge,
        merge_span=scan.span if isinstance(scan.merge, str) else scan.merge.span,
        scan_inputs=scan.inputs,
        labelled=labelled,
        channelless=frozenset(operand.name for operand in constants) - labelled,
        split=scan.split,
        restarts=any(has_resets(order.checked) for order in traversal.orders),
        conv=_convolution(scan, traversal),
        stream_routes=_stream_routes(scan, traversal, step.operands) | dict.fromkeys(labelled, TIME),
        output_route=_route(traversal, output_orders(scan, axes)),
        stacked=merge == "concat",
        second=second,
        layers={} if second is None else called_layers(scan, second),
    )


def _merge_reads(graph: ScanGraph) -> frozenset[str]:
    if graph.second is not None:
        return frozenset(term.name for term in terms(graph.second) if isinstance(term, syntax.Name))
    return frozenset() if isinstance(graph.merge, str) else reads(graph.merge)


def _stream_routes(scan: CheckedScan, traversal: Traversal, operands: tuple[Operand, ...]) -> dict[str, int]:
    """The routes of the operands that run along another order than the direction's."""
    elsewhere = operand_orders(scan, traversal.orders[0].axes)
    routes = {o.name: _route(traversal, elsewhere[o.name]) for o in operands if o.name in elsewhere}
    return {name: route for name, route in routes.items() if route != OWN}


def _route(traversal: Traversal, orders: Orders) -> int:
    if orders not in traversal.routes:
        raise InternalError(f"the traversal has no route along {', '.join(order.name for order in orders)}")
    return traversal.routes.index(orders)


def _convolution(scan: CheckedScan, traversal: Traversal) -> Convolution | None:
    """A convolution along what every direction goes along anyway runs in its time."""
    if scan.conv is None:
        return None
    source, own = scan.inputs[0], traversal.orders
    if scan.conv.along is None:
        return Convolution(source, scan.conv.width, None)
    if source not in scan.along and all(scan.conv.along.order == order.checked for order in own):
        return Convolution(source, scan.conv.width, None)
    return Convolution(source, scan.conv.width, conv_traversal(scan, scan.conv.along, traversal))


def _inputs(scan: CheckedScan, graph: ScanGraph) -> dict[str, Input]:
    """The maps the caller gives: the scan's inputs, and operands that nothing makes."""
    made = scan.projected | graph.labelled
    inputs = {name: Input(name, "input", (), False) for name in scan.inputs}
    for operand in graph.step.operands:
        if operand.kind != "param" and operand.name not in made:
            inputs[operand.name] = Input(operand.name, operand.kind, operand.indices, graph.has_own(operand), operand.per)
    return inputs


@dataclass
class _Direction:
    """Adds the chain of one direction to `nodes` and `edges`."""

    scan: CheckedScan
    graph: ScanGraph
    k: int
    nodes: dict[str, Node]
    edges: list[tuple[str, str, str]]

    def add(self) -> None:
        scan, k = self.scan, self.k
        self.nodes[f"recur {k}"], self.nodes[f"scatter {k}"] = Recur(k), Scatter(k, self.graph.output_route)
        for number, projection in enumerate(scan.projections):
            for name in projection.names:
                self.add_projected(number, projection, name)
        for operand in self.graph.step.operands:
            if operand.kind != "param" and operand.name not in scan.projected:
                self.edges.append((self.sequence(operand.name), f"recur {k}", operand.name))
        self.edges.append((f"recur {k}", f"scatter {k}", self.graph.step.readout))

    def add_projected(self, number: int, projection: Projection, name: str) -> None:
        """An operand that a projection makes, of its source in the time of the route along which the operand is read."""
        route = self.route_of(name)
        key = f"project {self.k}.{number}{along(route)}"
        if key not in self.nodes:
            self.nodes[key] = Project(number, projection.names, self.k, projection.bias)
            self.edges.append((self.projectable(projection.source, route), key, projection.source))
        pick = f"pick {self.k} {name}"
        self.nodes[pick] = Pick(name)
        self.edges += [(key, pick, name), (pick, f"recur {self.k}", name)]

    def projectable(self, name: str, route: int) -> str:
        """A map in the time of a route; one that is convolved in this direction's time is put on the grid for other routes."""
        conv = self.graph.conv
        if conv is None or name != conv.source or conv.along is not None:
            return self.gathered(self.on_grid(name), name, route)
        if route == OWN:
            return self.convolved(name)
        return self.gathered(self.scattered(self.convolved(name), convolved(name)), convolved(name), route)

    def sequence(self, name: str) -> str:
        """An operand in the time of this direction."""
        if name in self.graph.labelled:
            self.nodes[f"label {self.k} {name}"] = Label(name, self.k)
            return f"label {self.k} {name}"
        conv = self.graph.conv
        if conv is not None and name == conv.source and conv.along is None:
            return self.convolved(name)
        return self.gathered(self.on_grid(name), name, self.route_of(name))

    def convolved(self, name: str) -> str:
        """The first input, convolved in this direction's time."""
        key = f"conv {self.k}"
        if key not in self.nodes:
            self.nodes[key] = Conv(self.k)
            self.edges.append((self.gathered(f"input {name}", name, self.route_of(name)), key, name))
        return key

    def on_grid(self, name: str) -> str:
        """An input of the scan; the first one may have been convolved along another order, for all directions or for each."""
        conv = self.graph.conv
        if conv is None or conv.along is None or name != conv.source:
            return f"input {name}"
        own = self.k if len(conv.along.orders) > 1 else 0
        key = f"conv {own}"
        if key not in self.nodes:
            self.nodes[key] = Conv(own, along=True)
            self.edges.append((f"input {name}", key, name))
        return key

    def gathered(self, source: str, name: str, route: int) -> str:
        key = gather_key(self.k, name, route)
        if key not in self.nodes:
            self.nodes[key] = Gather(self.k, route)
            self.edges.append((source, key, name))
        return key

    def scattered(self, source: str, name: str) -> str:
        key = f"scatter {self.k} {name}"
        if key not in self.nodes:
            self.nodes[key] = Scatter(self.k)
            self.edges.append((source, key, name))
        return key

    def route_of(self, name: str) -> int:
        return self.graph.stream_routes.get(name, OWN)
