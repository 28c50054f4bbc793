"""What `scanlang compile --emit` prints: the same mathematics as what is compiled, in a form a person reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scanlang
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.stages import adjoint_text, graph_text, kernels_text, maps_text, tree_text
from scanlang.maps.show import show

EXAMPLES = Path(__file__).parent.parent / "examples"
PROGRAMS = sorted(EXAMPLES.glob("*.scan"))


def shown_values(lines: list[str], texts: list[str], names: dict[str, object]) -> list[object]:
    """Run what was shown, as Python with NumPy's functions: the notation is Python's."""
    scope: dict[str, object] = {"where": np.where, "min": np.minimum, "max": np.maximum, "abs": np.abs, **names}
    for line in lines:
        name, text = line.split(" = ", 1)
        scope[name] = eval(text, scope)
    return [eval(text, scope) for text in texts]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_shown_maps_are_the_maps(path: Path) -> None:
    program = scanlang.load(path)
    h, w = 9, 13
    orders = [*program.orders.values(), *(order for scan in program.scans for order in program.directions(scan))]
    mapped = [order for order in orders if order.map is not None]  # those with tokens are tables
    assert mapped
    for order in mapped:
        assert order.map is not None
        steps = np.arange(h * w)
        row, column = shown_values(*show(*order.map.outputs), {"t": steps, "n0": h, "n1": w})
        assert np.array_equal(row * w + column, order.positions(h, w)), order.name  # type: ignore[operator]
        if order.inverse_map is not None:
            cells = {"c0": steps // w, "c1": steps % w, "n0": h, "n1": w}
            (ranks,) = shown_values(*show(*order.inverse_map.outputs), cells)
            assert np.array_equal(ranks, order.ranks(h, w)), order.name


def test_maps_text_says_how_each_order_was_verified() -> None:
    text = maps_text(scanlang.loads("grid h, w\norder rows = walk h, w\norder odd(t) = ((t // w + t % 1) % h, t % w)"))
    assert "order rows    # proved for every size" in text
    assert "t -> (t // n1, t % n1)" in text
    assert "(c0, c1) -> c0 * n1 + c1" in text
    assert "run of n0 * n1 cells from 0 by 1" in text


def test_adjoint_text_is_the_derivative() -> None:
    text = adjoint_text(scanlang.load(EXAMPLES / "cross_scan.scan").operator_graph().step)
    for line in (
        "∂h[n] = carry.h[n] + ∂y * C[n]",
        "carry.h[n] <- exp(dt * fixed.0[n]) * ∂h[n]",
        "∂x = ∂y * D + dt * sum(n: ∂h[n] * B[n])    # per cell and channel",
        "∂B[n] = dt * x * ∂h[n]    # summed over channels",
        "∂A_log[n] = (-∂fixed.0[n]) * min(exp(A_log[n]), 1e+36)",
    ):
        assert f"  {line}" in text


def test_graph_text_shows_the_projection_gone() -> None:
    written, operator = graph_text(scanlang.load(EXAMPLES / "cross_scan.scan"), "cross").split("as the operator computes it")
    assert "Project(" in written
    assert "Project(" not in operator


def test_kernels_text_and_tree_text_are_stable() -> None:
    program = scanlang.load(EXAMPLES / "cross_scan.scan")
    kernels = lower_to_kernels(program.operator_graph(), {"state": 2, "rank": 3})
    assert kernels_text(kernels) == kernels_text(lower_to_kernels(program.operator_graph(), {"state": 2, "rank": 3}))
    assert "b_h_1 <- b_next_h_1" in kernels_text(kernels)
    assert "WalkOrder" in tree_text(program.checked)
