"""What a scan visits: `directions`, or `layers` by their index, and where directions write.

In: the clauses, and the orders that they can name. Out: the directions of each layer; whether they visit every cell is
not decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scanlang.check.order_tree import token_names
from scanlang.check.orders import OrderResolver
from scanlang.check.program import Direction
from scanlang.check.scan_clauses import Clauses
from scanlang.errors import DuplicateName, TokenOfNoDirection, TooMany, WritesOfNoDirection
from scanlang.limits import LIMITS
from scanlang.source import Span
from scanlang.syntax.nodes import Directions, Layers, OrderExpr, OrderName, Writes

Layer = tuple[Direction, ...]


@dataclass(frozen=True)
class ScanDirections:
    """`orders` is None if the file has no grid, which was reported."""

    clauses: Clauses
    orders: OrderResolver | None

    def layers(self) -> tuple[Layer, ...] | None:
        """The directions of every layer; None after a finding."""
        choices = self.written()
        if choices is None or self.orders is None:
            return None
        targets = self.writes({expr.name for choice in choices for expr in choice if isinstance(expr, OrderName)})
        layers = [self.directions(choice, targets) for choice in choices]
        complete = tuple(layer for layer in layers if layer is not None)
        return complete if len(complete) == len(layers) else None

    def written(self) -> tuple[tuple[OrderExpr, ...], ...] | None:
        """The orders of each layer as they are written; None if there are none, or too many."""
        directions, layers = self.clauses.one(Directions), self.clauses.one(Layers)
        if directions is not None:
            choices: tuple[tuple[OrderExpr, ...], ...] = (directions.orders,)
        elif layers is not None:
            choices = layers.choices
        else:
            return None
        if len(choices) > LIMITS.layers:
            self.clauses.findings.report(TooMany(choices[LIMITS.layers][0].span, "layers", LIMITS.layers))
            return None
        for choice in choices:
            if len(choice) > LIMITS.directions:
                self.clauses.findings.report(TooMany(choice[LIMITS.directions].span, "directions", LIMITS.directions))
                return None
        return choices

    def directions(self, exprs: tuple[OrderExpr, ...], targets: Mapping[str, Direction]) -> Layer | None:
        found = [self.direction(expr) for expr in exprs]
        layer = tuple(
            replace(direction, writes=targets.get(expr.name)) if isinstance(expr, OrderName) else direction
            for expr, direction in zip(exprs, found, strict=True)
            if direction is not None
        )
        return layer if len(layer) == len(exprs) else None

    def direction(self, expr: OrderExpr) -> Direction | None:
        """An order and how it is written; None after a finding."""
        order = None if self.orders is None else self.orders.order(expr)
        return None if order is None else Direction(order_text(expr), order, expr.span)

    def writes(self, names: set[str]) -> dict[str, Direction]:
        """Where the directions write whose order is a name, if elsewhere."""
        first: dict[str, Span] = {}
        targets: dict[str, Direction] = {}
        for clause in self.clauses.all(Writes):
            name = clause.direction.name
            if name in first:
                self.clauses.findings.report(DuplicateName(clause.span, "the target of", name, first[name]))
            elif name not in names:
                self.clauses.findings.report(WritesOfNoDirection(clause.direction.span, name, tuple(sorted(names))))
            first.setdefault(name, clause.span)
            target = self.direction(clause.order)
            if target is not None:
                targets.setdefault(name, target)
        return targets

    def check_tokens(self, layers: tuple[Layer, ...], elsewhere: tuple[Direction, ...]) -> None:
        """Streams that run elsewhere meet no token but those of the directions, in any layer."""
        for number, layer in enumerate(layers):
            tokens = frozenset[str]().union(*(token_names(direction.order) for direction in layer))
            targets = tuple(direction.writes for direction in layer if direction.writes is not None)
            for target in (*elsewhere, *targets):
                for token in sorted(token_names(target.order) - tokens):
                    where = number if len(layers) > 1 else None
                    self.clauses.findings.report(TokenOfNoDirection(target.span, token, where))


def order_text(expr: OrderExpr) -> str:
    """How the program writes an order, on one line and without comments."""
    lines = (line.split("#")[0] for line in expr.span.text.split("\n"))
    return " ".join(" ".join(lines).split())
