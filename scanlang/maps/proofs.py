"""Prove that a formula visits every cell exactly once, at every size. In: a `FormulaOrder`; out: a sentence, or None.

Rules, each complete in itself; every divisor must first be proved positive:
1. equal: the formula's normal form is that of one of the four plain walks (walk h, w; walk w, h; walk h, ~w;
   walk w, ~h), mirrored along any axes and possibly reversed. Walks are bijections by construction, mirrors too.
2. wrapped shear: where (R, C) is such a walk with 0 <= C < w, so is (R, (C + g(R)) % w) for any g in which t occurs
   only within R: for each R, C takes each of 0 … w-1 once, and adding g(R) modulo w permutes those. Rows likewise.
   `w - 1 - x % w` counts as `(-x - 1) % w`.
Evaluating both sides on three small grids first says which walk to try; it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from scanlang.check.program import FormulaOrder, WalkOrder, Whole
from scanlang.maps.bounds import SIZES, STEPS
from scanlang.maps.evaluate import IntArray, ZeroDivisor, evaluate
from scanlang.maps.formula import lower_formula
from scanlang.maps.index_map import Bijection, IndexMap, mirror
from scanlang.maps.integers import FloorDiv, FloorMod, Integer, Variable, free_variables, nodes, replace
from scanlang.maps.simplify import Simplifier, without_modulo
from scanlang.maps.walk import walk_levels, walk_map
from scanlang.source import Source, Span

MOST_NODES = 150
SAMPLES = ((3, 4), (4, 3), (5, 2))
NOWHERE = Span(Source("", ""), 0, 0)


@dataclass(frozen=True)
class KnownWalk:
    """A walk with mirrors around it; `{0}` and `{1}` in `text` stand for the names of the axes."""

    text: str
    map: IndexMap


def prove_formula(order: FormulaOrder) -> str | None:
    """`formula: equal to walk h, w`, or None."""
    return prove_map(lower_formula(order).map, order.axes)


def prove_map(map_: IndexMap, axes: tuple[str, ...]) -> str | None:
    outputs = map_.outputs
    if sum(len(nodes(output)) for output in outputs) > MOST_NODES:
        return None
    tables = sample(map_)
    simplifier = Simplifier(STEPS, canonical=True)
    if tables is None or not all(_divisors_are_positive(output, simplifier) for output in outputs):
        return None
    for known, expected in _known_walks():
        matches = [all(np.array_equal(a[i], b[i]) for a, b in zip(tables, expected, strict=True)) for i in (0, 1)]
        equal = [matches[i] and simplifier.is_zero(outputs[i] - known.map.outputs[i]) for i in (0, 1)]
        if all(equal):
            return f"formula: equal to {known.text.format(*axes)}"
        for axis in (0, 1):
            if equal[1 - axis] and _is_shear(outputs[axis], known.map, axis, simplifier):
                return f"formula: wrapped shear of {known.text.format(*axes)} along {axes[axis]}"
    return None


def sample(map_: IndexMap) -> list[tuple[IntArray, ...]] | None:
    """The map's tables on three small grids, None where it cannot be evaluated."""
    tables = []
    for h, w in SAMPLES:
        steps = np.arange(h * w, dtype=np.int64)
        try:
            cells = [np.asarray(evaluate(output, {"t": steps, "n0": h, "n1": w})) for output in map_.outputs]
        except (ZeroDivisor, OverflowError):
            return None
        tables.append(tuple(np.broadcast_to(cell, steps.shape) for cell in cells))
    return tables


def _divisors_are_positive(expression: Integer, simplifier: Simplifier) -> bool:
    divisions = [node for node in nodes(expression) if isinstance(node, FloorDiv | FloorMod)]
    return all(simplifier.is_nonnegative(division.right - 1) for division in divisions)


def _is_shear(output: Integer, known: IndexMap, axis: int, simplifier: Simplifier) -> bool:
    """output == (C + g(R)) % n, where C and R are the known walk's coordinates along `axis` and along the other one."""
    length = SIZES[axis]
    shifted = _dividend(simplifier.simplify(output), length, simplifier)
    if shifted is None:
        return False
    other = known.outputs[1 - axis]
    difference = shifted - known.outputs[axis]
    for form in (simplifier.simplify(difference), simplifier.simplify(without_modulo(difference))):
        if _depends_only_on(form, simplifier.simplify(other), simplifier):
            return True
    return False


def _dividend(output: Integer, length: Integer, simplifier: Simplifier) -> Integer | None:
    """x, where `output` is x % length or length - 1 - x' % length with x = -x' - 1."""
    if isinstance(output, FloorMod) and output.right == length:
        return output.left
    mirrored = simplifier.simplify(length - 1 - output)
    if isinstance(mirrored, FloorMod) and mirrored.right == length:
        return -mirrored.left - 1
    return None


def _depends_only_on(expression: Integer, other: Integer, simplifier: Simplifier) -> bool:
    """`t` occurs in `expression` only inside a part that `other`, itself that part up to sign and sizes, determines."""
    atoms = [atom for atom in simplifier.normal(other).atoms if "t" in free_variables(atom)]
    if len(atoms) != 1:
        return False
    slope = simplifier.normal(other).coefficients(atoms[0]).get(1)
    if slope is None or slope.value not in (1, -1) or len(simplifier.normal(other).coefficients(atoms[0])) > 2:
        return False
    return "t" not in free_variables(replace(expression, {atoms[0]: Variable("r")}))


@lru_cache(maxsize=1)
def _known_walks() -> tuple[tuple[KnownWalk, list[tuple[IntArray, ...]]], ...]:
    return tuple((known, tables) for known in _candidates() if (tables := sample(known.map)) is not None)


def _candidates() -> Iterator[KnownWalk]:
    """The plainest first: rule 1 names the first one that fits."""
    around = sorted(product((False, True), repeat=3), key=lambda choice: (sum(choice), not choice[0]))
    for (reversed_, *flips), snake, outer in product(around, ("", "~"), (0, 1)):
        walk = WalkOrder((Whole(outer, ""), Whole(1 - outer, "~" if snake else "")), NOWHERE)
        total: Bijection = walk_map(walk_levels(walk))
        text = f"walk {{{outer}}}, {snake}{{{1 - outer}}}"
        text = f"({text})" if any(flips) else text
        for axis in (0, 1):
            if flips[axis]:
                total = total.then(mirror(total.names, f"c{axis}", SIZES[axis]))
                text = f"flip({text}, {{{axis}}})"
        if reversed_:
            total = mirror(("t",), "t", SIZES[0] * SIZES[1]).then(total)
            text = f"reverse({text})"
        yield KnownWalk(text, total.forward)


# Help: the one wrong axis.


def misplaced_axis(order: FormulaOrder) -> str | None:
    """What to write instead, where exchanging one axis name makes the formula a proved raster or column order."""
    map_ = lower_formula(order).map
    if sum(len(nodes(output)) for output in map_.outputs) > MOST_NODES:
        return None
    for repaired in _repairs(map_):
        for outer, word in ((1, "column-major"), (0, "row-major")):
            inner = order.axes[1 - outer]
            if prove_map(repaired, order.axes) == f"formula: equal to walk {order.axes[outer]}, {inner}":
                return f"a {word} order divides by `{inner}`, the length of the axis it walks first"
    return None


def _repairs(map_: IndexMap) -> Iterator[IndexMap]:
    """One division at a time by the other axis."""
    for place, output in enumerate(map_.outputs):
        for node in nodes(output):
            if isinstance(node, FloorDiv | FloorMod) and node.right in SIZES:
                other = SIZES[1] if node.right == SIZES[0] else SIZES[0]
                repaired = replace(output, {node: type(node)(node.left, other)})
                yield IndexMap(map_.inputs, (*map_.outputs[:place], repaired, *map_.outputs[place + 1 :]))
