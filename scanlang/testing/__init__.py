"""Property tests for scan programs: random grids, orders, recurrences, programs and inputs, and a reference to compare with.

    from hypothesis import given
    from scanlang.testing import assert_bijection, assert_matches_reference, grids, inputs

    program = scanlang.load("mine.scan")
    op = scanlang.compile(program)

    @given(grids())
    def test_order(grid):
        assert_bijection(program.orders["stripes"], *grid)

    @given(inputs(op))
    def test_outputs_and_gradients(tensors):
        assert_matches_reference(op, program, tensors)

Strategies: `grids`, `orders`, `recurrences`, `programs`, `inputs`. They need hypothesis (`pip install hypothesis`); the rest
does not: `reference`, `draw_inputs`, `draw_states`, `draw_layers`, `assert_bijection`, `assert_matches_reference`,
`assert_close` and `TOLERANCES`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from scanlang.testing.compare import TOLERANCES, Tolerance, assert_bijection, assert_close, assert_matches_reference
from scanlang.testing.reference import reference
from scanlang.testing.tensors import draw_inputs, draw_layers, draw_states

if TYPE_CHECKING:
    from scanlang.testing.order_strategies import grids, orders
    from scanlang.testing.program_strategies import inputs, programs
    from scanlang.testing.recurrence_strategies import recurrences

_STRATEGIES = {
    "grids": "order_strategies",
    "orders": "order_strategies",
    "recurrences": "recurrence_strategies",
    "programs": "program_strategies",
    "inputs": "program_strategies",
}

__all__ = [
    "TOLERANCES",
    "Tolerance",
    "assert_bijection",
    "assert_close",
    "assert_matches_reference",
    "draw_inputs",
    "draw_layers",
    "draw_states",
    "grids",
    "inputs",
    "orders",
    "programs",
    "recurrences",
    "reference",
]


def __getattr__(name: str) -> Any:
    if name not in _STRATEGIES:
        raise AttributeError(f"module 'scanlang.testing' has no attribute {name!r}")
    if find_spec("hypothesis") is None:
        raise ImportError(f"scanlang.testing.{name} is a strategy of hypothesis, which is missing: pip install hypothesis")
    return getattr(import_module(f"scanlang.testing.{_STRATEGIES[name]}"), name)
