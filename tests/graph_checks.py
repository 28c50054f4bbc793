"""Random arrays for a scan as written, projections and all, and programs that use everything a scan can say."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import scanlang
from scanlang.check.program import LABELS
from scanlang.check.sizes import evaluate_size
from scanlang.graph.interpret import project_name, token_argument
from scanlang.testing.tensors import draw_layers

RECURRENCES = """
recurrence gated(state n) {
  input  x
  shared K[n], Q[n]
  param  a[n], c
  u    = tanh(c * x)
  h[n] = sigmoid(a[n] + K[n]) * h[n] + K[n] * u
  y    = sum(n: Q[n] * h[n]) + c * x
}
recurrence moved(state n) {
  input  x
  shared K[n]
  param  a[n]
  shared param T[n], dB[label, n]
  h[n] = sigmoid(a[n] + K[n]) * h[n] + (T[n] + dB[label, n]) * x
  y    = sum(n: K[n] * h[n]) * sum(n: T[n])
}
recurrence headed(state n, head p, group = 1) {
  input  x[p], g, q[n], f[p, n]
  shared K[n], Q[n] per group units
  shared s
  param  a[n], c[p], e
  gate    = -softplus(g + e)
  scale m = max(gate + m, tanh(s))
  S[n, p] = exp(gate + prev(m) - m) * S[n, p] + exp(tanh(s) - m) * K[n] * (x[p] + f[n, p])
  z[n]    = exp(gate + prev(m) - m) * z[n] + exp(tanh(s) - m) * a[n]
  own[p]  = sum(n: Q[n] * prev(x[p] * q[n])) + c[p] * x[p]
  y[p]    = sum(n: q[n] * S[n, p]) / max(abs(sum(n: q[n] * z[n])), exp(-m)) + own[p]
}
"""

CLAUSES = {
    "conv": "directions raster, reverse(columns)  conv 3",
    "conv of one tap": "directions raster, reverse(columns)  conv 1",
    "conv shared": "directions raster, reverse(columns)  conv 3  share conv, a",
    "conv along": "directions raster, reverse(columns)  conv 3 along snake",
    "conv along, shared": "directions raster, reverse(columns)  conv 3 along snake  share conv  merge y[0] * x + y[1]",
    "conv with resets": "directions reset(raster, every h), reverse(reset(columns, every w))  conv 3",
    "conv of a source of projections": "input u, x  directions raster, columns  conv 2  project K, Q from u",
    "tokens": "input x, z"
    "  directions insert(raster, cls at middle, reg at every 3), reverse(insert(columns, cls at 2, reg at 1))"
    "  conv 2  merge y[0] * silu(z) + y[1]",
    "tokens along": "input x, z  directions insert(raster, cls at middle), reverse(insert(columns, cls at 2))"
    "  conv 2 along insert(snake, cls at tail)  merge y[0] * silu(z) + y[1] * x",
    "tokens along in another order": "directions insert(raster, cls at 1, reg at 2)"
    "  conv 3 along insert(raster, reg at 1, cls at 2)",
    "pads": "directions window(raster, 2, 3, pad = decay), window(columns, 3, 2, pad = decay)  conv 2",
    "pads along": "directions window(raster, 2, 3, pad = decay), reverse(window(raster, 2, 3, pad = decay))"
    "  conv 2 along window(raster, 2, 3, pad = decay)",
    "parts": "directions dilate(raster, 2), reverse(dilate(raster, 2, phase = (1, 1)))  uncovered = 0",
    "twice": "directions concat(raster, columns), reverse(snake)  conv 3",
    "given": "directions o, reverse(o), insert(o, cls at 1)  conv 2",
    "split": "directions raster, columns, snake  channels split 2, 1, 1  conv 2",
    "split, shared": "directions raster, columns  channels split  conv 2  share all",
    "split, along, shared": "directions raster, columns  channels split  conv 2 along snake  share all",
    "split, along": "directions raster, columns  channels split 1, 2  conv 2 along snake  merge concat",
    "along": "directions raster, columns  operands K, x along snake",
    "along, conv": "directions raster, columns  operands K, x along snake  conv 3",
    "along given": "directions raster, columns  operands K, x along o  conv 3 along o",
    "writes": "directions back, columns  back writes raster",
    "max": "directions raster, columns, snake  merge max",
    "concat": "directions raster, columns, snake  merge concat",
    "concat, tokens": "directions insert(raster, cls at head), columns, snake  merge concat",
    "weighted": "directions raster, columns, snake  conv 2  merge weighted",
    "mean of a part": "directions raster, columns, dilate(raster, 2)  merge mean",
    "two phases": "directions insert(raster, cls at head), columns"
    "  use down = linear(dim, 2)  use up = linear(2, dim, bias = false)"
    "  merge sum(k: y[k] * sigmoid(up(relu(down(mean(cells: y[k])))))) + x",
    "norms": "directions raster, columns  use ln = layer_norm(dim)  use rn = rms_norm(dim)"
    "  merge ln(y[0]) + rn(y[1]) * mean(cells: x)",
    "projected": "directions raster, reverse(columns)  conv 3  project K, Q from x bias",
    "projected along": "directions raster, reverse(columns)  conv 3 along snake  project K, Q from x bias"
    "  operands K along columns",
    "projected in time, along": "directions raster, reverse(columns)  conv 3  project K, Q from x bias"
    "  operands K along columns",
    "routed projections": "directions raster, raster  project K, Q from x bias  operands K along columns",
    "projected, pads": "directions window(raster, 2, 3, pad = decay), raster  conv 3  project K, Q from x bias",
    "projected, split": "directions raster, columns  channels split 1, 2  project K, Q from x bias",
    "projected, split, shared": "directions raster, columns  channels split  project K, Q from x bias  share project",
    "layers": "layers cycle (raster, snake), (columns, reverse(zigzag))",
    "labels": "directions raster, reverse(snake), reset(columns, every w)  label moves  share T",
    "units": "input x, g, q, f  directions raster, reset(columns, every w)  recur headed(state = 2, head = 2, group = 3)",
    "units, conv, tokens": "input x, g, q, f  directions insert(raster, cls at middle), reverse(insert(raster, cls at middle))"
    "  conv 3  operands g along insert(columns, cls at 2)  share a, c  recur headed(state = 2, head = 2)",
    "units, projected": "input x, z  directions raster, snake  project g, K, q from x bias  project Q, f, s from z"
    "  recur headed(state = 2, head = 2, group = 2)",
    "units, split": "input x, g, q, f  directions raster, columns  channels split 1, 2  project s from x"
    "  recur headed(state = 2, head = 2, group = 2)",
    "units, split, shared": "input x, g, q, f  directions raster, columns  channels split  share all  conv 2  merge concat"
    "  recur headed(state = 2, head = 3)",
    "labels, split": "directions raster, reverse(snake)  channels split  label moves  share dB",
}
"""Clauses of a scan `s` around `gated`, `moved` where there are labels, or what they say."""


def program_of(clauses: str, axes: str = "h, w") -> scanlang.Program:
    recur = "" if "recur" in clauses else f"recur {'moved' if 'label' in clauses else 'gated'}(state = 2)"
    return scanlang.loads(
        f"grid {axes}\norder o = input\norder back = reverse(columns)\n{RECURRENCES}\nscan s(dim) {{ {clauses}  {recur} }}"
    )


def channels_of(loaded: scanlang.Program) -> int:
    """Two for every direction, or as many as a group of units has; sizes of these do not depend on the channels."""
    (scan,) = loaded.checked.scans.values()
    sizes = sizes_at(loaded, 2)
    units = math.lcm(*(operand.channels(sizes) for operand in loaded.graph().step.operands if operand.per != "all"))
    return max(2, units) * sum(scan.split or (1,))


def sizes_of(loaded: scanlang.Program) -> dict[str, int]:
    """The sizes of the recurrence by label: the scan's own have their defaults."""
    return sizes_at(loaded, channels_of(loaded))


def sizes_at(loaded: scanlang.Program, channels: int) -> dict[str, int]:
    (scan,) = loaded.checked.scans.values()
    sizes: dict[str, int] = {}
    for place, formal in enumerate(scan.formals):
        known = formal.default is not None and place > 0
        sizes[formal.label] = int(evaluate_size(formal.default, sizes)) if known else channels  # type: ignore[arg-type]
    return {label: int(evaluate_size(value, sizes)) for label, value in scan.sizes.items()}


def written_arrays(loaded: scanlang.Program, grid: tuple[int, ...], seed: int = 0, layer: int = 0) -> dict[str, Tensor]:
    """What the graph of a program's only scan takes before projections are cut away, uniform in -1 … 1."""
    (scan,), graph = loaded.checked.scans.values(), loaded.graph(layer=layer)
    channels, count, extents = channels_of(loaded), graph.directions, sizes_of(loaded)
    generator, batch = torch.Generator().manual_seed(seed), 2

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1

    def front(name: str, every: int = 1) -> tuple[int, ...]:
        if scan.split is not None:
            return (channels // count // every,) if name in scan.shared else (channels // every,)
        return (channels // every,) if name in scan.shared else (count, channels // every)

    def own(name: str) -> tuple[int, ...]:
        return () if name in scan.shared else (count,)

    arrays: dict[str, Tensor] = {}
    operands = {operand.name: operand for operand in graph.step.operands}
    last = {
        o.name: tuple(extents[scan.recurrence.indices[i]] for i in o.indices if i != "label") for o in scan.recurrence.operands
    }

    def of(name: str) -> tuple[int, ...]:
        """The last dimensions of a map."""
        every = operands[name].channels(extents) if name in operands else 1
        return (*((channels // every,) if every else ()), *last.get(name, ()))

    for name, node in graph.inputs().items():
        tail = (*((count,) if node.per_direction else ()), *of(name))
        arrays[name] = draw(batch, *grid, *tail)
        for token, number in graph.traversal.at(grid).tokens:
            arrays[token_argument(graph, name, token)] = draw(batch, number, *tail)
    for operand in scan.recurrence.operands:
        if operand.kind == "param":
            arrays[operand.name] = draw(*front(operand.name, operands[operand.name].channels(extents)), *last[operand.name])
        elif operand.kind == "shared param":
            labels = (len(LABELS),) if "label" in operand.indices else ()
            arrays[operand.name] = draw(*own(operand.name), *labels, *last[operand.name])
    if scan.conv is not None:
        arrays |= {"conv_weight": draw(*front("conv"), scan.conv.width), "conv_bias": draw(*front("conv"))}
    if scan.merge == "weighted":
        arrays["merge_weight"] = draw(count)
    for number, projection in enumerate(scan.projections):
        rows = sum(math.prod(of(name)) for name in projection.names)
        weight = (rows, *front("project")) if scan.split is not None else (*own("project"), rows, channels)
        arrays[f"{project_name(number)}_weight"] = draw(*weight)
        if projection.bias:
            arrays[f"{project_name(number)}_bias"] = draw(*own("project"), rows)
    for name in graph.traversal.given_names:
        arrays[name] = torch.rand(batch, math.prod(grid), generator=generator).argsort(1)
    return arrays


def layers_of(loaded: scanlang.Program) -> dict[str, nn.Module]:
    return draw_layers(loaded, channels=channels_of(loaded), dtype=torch.float64)


def in_numpy(layers: Mapping[str, nn.Module]) -> dict[str, Callable[[Any], Any]]:
    """Layers as `interpret` takes them."""

    def called(layer: nn.Module) -> Callable[[Any], Any]:
        return lambda x: layer(torch.from_numpy(np.array(x))).detach().numpy()

    return {name: called(layer) for name, layer in layers.items()}


def numpy_of(arrays: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: array.numpy() for name, array in arrays.items()}


def assert_alike(got: Any, want: Any, rtol: float = 1e-10, atol: float = 1e-11) -> None:
    """Two results, with tokens or without, of NumPy or torch."""
    parts, wanted = [[_numbers(part) for part in (one if isinstance(one, tuple) else (one,))] for one in (got, want)]
    assert len(parts) == len(wanted)
    for part, exact in zip(parts, wanted, strict=True):
        np.testing.assert_allclose(part, exact, rtol=rtol, atol=atol)


def _numbers(result: Any) -> Any:
    return result.detach().numpy() if isinstance(result, Tensor) else result
