"""The formals of blocks and backbones: `dim`, `ratio = 1`, `scan core = cross2d`, `block norm = layer_norm`.

In: formals as written. Out: `NetworkFormal`s, None for those with findings; the scope knows all of them.
"""

from __future__ import annotations

from scanlang.check.network_arguments import Arguments
from scanlang.check.network_scope import Scope
from scanlang.check.program import NetworkFormal
from scanlang.syntax import nodes
from scanlang.syntax.nodes import Expr


def check_formals(formals: tuple[nodes.NetworkFormal, ...], scope: Scope) -> list[NetworkFormal | None]:
    """A default uses the formals before it."""
    checked: list[NetworkFormal | None] = []
    for formal in formals:
        checked.append(check_default(NetworkFormal(formal.name, formal.kind, None, formal.span), formal.default, scope))
        scope.declare_formal(formal.name, formal.kind, formal.span)
    return checked


def check_default(formal: NetworkFormal, default: Expr | None, scope: Scope) -> NetworkFormal | None:
    """The formal with this default; None after findings."""
    if default is None:
        return formal
    arguments = Arguments(scope)
    if formal.kind == "number":
        value = arguments.number(default)
        return None if value is None else NetworkFormal(formal.name, formal.kind, value, formal.span)
    thing = arguments.thing(formal.name, formal.kind, default)
    return None if thing is None else NetworkFormal(formal.name, formal.kind, thing, formal.span)
