"""What a scan can say around a recurrence, in loops written by hand from the language's manual: `reference`, `interpret` and
the operator agree with them. Grids are not square, and no two directions, channels or images have the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from graph_checks import assert_alike, in_numpy, numpy_of
from numpy.typing import NDArray

import scanlang
from scanlang.graph.interpret import interpret
from scanlang.testing import draw_inputs, reference
from scanlang.testing.tensors import draw_layers

Array = NDArray[np.float64]
Arrays = dict[str, Any]
CHANNELS = 6

PROGRAM = """
{grid}
{orders}
recurrence leaky(state n) {{
  input  x
  shared B[n], Q[n]
  param  a[n], d
  h[n] = sigmoid(a[n]) * h[n] + B[n] * x
  y    = sum(n: Q[n] * h[n]) + d * x
}}
scan s(dim) {{ {clauses}  recur leaky(state = 2) }}
"""


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def leaky(x: Array, b: Array, q: Array, a: Array, d: Array) -> Array:
    """One sequence: x (T, C), b and q (T, N), a (C, N), d (C)."""
    state, outputs = np.zeros(a.shape), []
    for t in range(len(x)):
        state = sigmoid(a) * state + np.outer(x[t], b[t])
        outputs.append(state @ q[t] + d * x[t])
    return np.array(outputs).reshape(x.shape)


def convolved(x: Array, weight: Array, bias: Array) -> Array:
    """Causal, depthwise, then silu: x (T, C), weight (C, width)."""
    outputs, width = [], weight.shape[1]
    before = np.concatenate([np.zeros((width - 1, x.shape[1])), x])
    for t in range(len(x)):
        total = bias + (before[t : t + width].T * weight).sum(1)
        outputs.append(total * sigmoid(total))
    return np.array(outputs).reshape(x.shape)


class Case:
    """A program, arguments for a grid, and its images one by one with maps `(cells, …)`."""

    def __init__(self, clauses: str, grid: tuple[int, ...] = (3, 4), orders: str = "", axes: str = "h, w") -> None:
        text = PROGRAM.format(grid=f"grid {axes}", orders=orders, clauses=clauses)
        self.program, self.grid = scanlang.loads(text), grid
        self.op = scanlang.compile(self.program)
        self.tensors = draw_inputs(self.op, grid, channels=CHANNELS, dtype=torch.float64, seed=3)
        self.layers = draw_layers(self.program, channels=CHANNELS, dtype=torch.float64)

    def image(self, number: int) -> Arrays:
        """Maps and tokens of one image, cells in one axis; parameters as they are."""
        parameters = {"a", "d", "conv_weight", "conv_bias", "merge_weight"}
        own = {name: array if name in parameters else array[number] for name, array in numpy_of(self.tensors).items()}
        count = len(self.grid)
        return {
            name: array.reshape(-1, *array.shape[count:]) if name in ("x", "z", "B", "Q") else array
            for name, array in own.items()
        }

    def check(self, expected: Sequence[Any]) -> None:
        """`expected` has the result of every image: `(cells, C)`, or that and the tokens."""
        parts = [one if isinstance(one, tuple) else (one,) for one in expected]
        stacked = [np.stack([part[i] for part in parts]) for i in range(len(parts[0]))]
        stacked[0] = stacked[0].reshape(len(parts), *self.grid, -1)
        want = tuple(stacked) if len(stacked) > 1 else stacked[0]
        arrays, graph = numpy_of(self.tensors), self.program.operator_graph()
        assert_alike(reference(self.program, None, **self.tensors, **self.layers), want)
        assert_alike(interpret(graph, arrays, self.grid, {"state": 2}, in_numpy(self.layers)), want)
        assert_alike(self.op(**self.tensors, **self.layers), want)


def placed(outputs: Array, rows: Sequence[int], count: int) -> Array:
    """Outputs back on rows: visits add up, what is not visited is 0, rows from `count` on are dropped."""
    total = np.zeros((count, outputs.shape[1]))
    for output, row in zip(outputs, rows, strict=True):
        if row < count:
            total[row] += output
    return total


def along(m: Arrays, k: int, rows: Sequence[int], x: Array) -> Array:
    """Direction k over `rows` of its own B and Q, on a sequence x."""
    return leaky(x, m["B"][rows, k], m["Q"][rows, k], m["a"][k], m["d"][k])


RASTER = list(range(12))
COLUMNS = [r * 4 + c for c in range(4) for r in range(3)]
SNAKE = [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11]


def test_vim() -> None:
    """A class token in the middle of the raster, both ways, each with its own convolution; a gate."""
    orders = "order seq = insert(raster, cls at middle)"
    case = Case("input x, z  directions seq, reverse(seq)  conv 4  merge (y[0] + y[1]) * silu(z) / 2", orders=orders)
    results = []
    for image in range(2):
        m = case.image(image)
        rows = [*RASTER[:6], 12, *RASTER[6:]]
        x, z = np.concatenate([m["x"], m["cls"]]), np.concatenate([m["z"], m["z_cls"]])
        m |= {name: np.concatenate([m[name], m[f"{name}_cls"]]) for name in ("B", "Q")}
        total = np.zeros((13, CHANNELS))
        for k, visited in enumerate((rows, rows[::-1])):
            seen = convolved(x[visited], m["conv_weight"][k], m["conv_bias"][k])
            total += placed(along(m, k, visited, seen), visited, 13)
        total = total * z * sigmoid(z) / 2
        results.append((total[:12], total[12:]))
    case.check(results)


def test_tokens_of_several_names_and_places() -> None:
    """Numbers are given by `insert` and stay with reversal; the direction that has fewer leaves the others alone."""
    case = Case("directions insert(raster, reg at every 4, cls at 2), reverse(insert(columns, reg at tail, reg at head))")
    results = []
    for image in range(2):
        m = case.image(image)
        x = np.concatenate([m["x"], m["reg"], m["cls"]])
        m |= {name: np.concatenate([m[name], m[f"{name}_reg"], m[f"{name}_cls"]]) for name in ("B", "Q")}
        first = [0, 1, 15, 2, 3, 12, 4, 5, 6, 7, 13, 8, 9, 10, 11, 14]
        second = [12, *COLUMNS, 13][::-1]
        total = sum(placed(along(m, k, rows, x[rows]), rows, 16) for k, rows in enumerate((first, second)))
        results.append((total[:12], total[12:15], total[15:]))
    case.check(results)


def test_local_mamba_s_padded_windows() -> None:
    """2 × 2 windows of a 3 × 5 grid filled up with zeros: the steps run, the convolution sees them, outputs are dropped."""
    case = Case("directions window(raster, 2, 2, pad = decay), reverse(window(raster, 2, 2, pad = decay))  conv 3", (3, 5))
    cells = [(2 * i + r, 2 * j + c) for i in range(2) for j in range(3) for r in range(2) for c in range(2)]
    rows = [r * 5 + c if r < 3 and c < 5 else 15 for r, c in cells]
    results = []
    for image in range(2):
        m = case.image(image)
        x = np.concatenate([m["x"], np.zeros((1, CHANNELS))])
        m |= {name: np.concatenate([m[name], np.zeros((1, *m[name].shape[1:]))]) for name in ("B", "Q")}
        total = np.zeros((15, CHANNELS))
        for k, visited in enumerate((rows, rows[::-1])):
            seen = convolved(x[visited], m["conv_weight"][k], m["conv_bias"][k])
            total += placed(along(m, k, visited, seen), visited, 15)
        results.append(total)
    case.check(results)


def test_parts_and_repetitions() -> None:
    """A quarter of the cells alone; one sequence through all of them twice."""
    case = Case("directions dilate(raster, 2, phase = (1, 0)), concat(reverse(raster), columns)")
    results = []
    for image in range(2):
        m, quarter, twice = case.image(image), [4, 6], [*RASTER[::-1], *COLUMNS]
        results.append(sum(placed(along(m, k, r, m["x"][r]), r, 12) for k, r in enumerate((quarter, twice))))
    case.check(results)


def test_rows_that_start_anew() -> None:
    """State and convolution know nothing of the row before, also backwards."""
    case = Case("directions reset(raster, every h), reverse(reset(snake, every h))  conv 2")
    results = []
    for image in range(2):
        m, total = case.image(image), np.zeros((12, CHANNELS))
        for k, runs in enumerate(([RASTER[i : i + 4] for i in (0, 4, 8)], [SNAKE[::-1][i : i + 4] for i in (0, 4, 8)])):
            for run in runs:
                seen = convolved(m["x"][run], m["conv_weight"][k], m["conv_bias"][k])
                total += placed(along(m, k, run, seen), run, 12)
        results.append(total)
    case.check(results)


def test_operands_and_outputs_elsewhere() -> None:
    """PlainMamba's release: x along the snake, B along the raster; and outputs written where another order goes."""
    case = Case("directions back, raster  operands B along columns  back writes raster", orders="order back = reverse(snake)")
    results = []
    for image in range(2):
        m, total = case.image(image), np.zeros((12, CHANNELS))
        for k, rows in enumerate((SNAKE[::-1], RASTER)):
            made = leaky(m["x"][rows], m["B"][COLUMNS, k], m["Q"][rows, k], m["a"][k], m["d"][k])
            total += placed(made, RASTER, 12)
        results.append(total)
    case.check(results)


def test_vim_s_first_version() -> None:
    """One convolution for all directions, forwards along the raster, whatever way the direction goes."""
    case = Case("directions raster, reverse(raster)  conv 3 along raster  share all except a")
    results = []
    for image in range(2):
        m = case.image(image)
        seen = convolved(m["x"], m["conv_weight"], m["conv_bias"])
        m["d"] = [m["d"], m["d"]]
        results.append(sum(placed(along(m, k, r, seen[r]), r, 12) for k, r in enumerate((RASTER, RASTER[::-1]))))
    case.check(results)


def test_channels_of_their_own() -> None:
    """GroupMamba: parameters `(C, ·)`; B and Q stay one per direction."""
    case = Case("directions raster, columns, reverse(snake)  channels split 1, 3, 2  conv 2")
    results = []
    for image in range(2):
        m, parts, first = case.image(image), [], 0
        for k, (rows, count) in enumerate(((RASTER, 1), (COLUMNS, 3), (SNAKE[::-1], 2))):
            own = slice(first, first + count)
            seen = convolved(m["x"][rows, own], m["conv_weight"][own], m["conv_bias"][own])
            made = leaky(seen, m["B"][rows, k], m["Q"][rows, k], m["a"][own], m["d"][own])
            parts.append(placed(made, rows, 12))
            first += count
        results.append(np.concatenate(parts, axis=1))
    case.check(results)


def test_an_order_for_each_image() -> None:
    case = Case("directions o, reverse(o)", orders="order o = input")
    results = []
    for image in range(2):
        m = case.image(image)
        rows = [int(cell) for cell in m["o"]]
        results.append(sum(placed(along(m, k, r, m["x"][r]), r, 12) for k, r in enumerate((rows, rows[::-1]))))
    assert not np.array_equal(case.image(0)["o"], case.image(1)["o"])
    case.check(results)


def test_three_axes() -> None:
    case = Case("directions (walk w, -t, h), reverse(raster)", (2, 3, 2), axes="t, h, w")
    rows = [(1 - t) * 6 + h * 2 + w for w in range(2) for t in range(2) for h in range(3)]
    results = []
    for image in range(2):
        m = case.image(image)
        results.append(sum(placed(along(m, k, r, m["x"][r]), r, 12) for k, r in enumerate((rows, RASTER[::-1]))))
    case.check(results)


@pytest.mark.parametrize("rule", ["max", "concat", "weighted", "mean"])
def test_merges(rule: str) -> None:
    """Of a direction that visits some cells only: it is 0 at the others, and counts as one there too."""
    case = Case(f"directions raster, dilate(columns, 2), reverse(snake)  merge {rule}")
    results = []
    for image in range(2):
        m, parts = case.image(image), []
        for k, rows in enumerate((RASTER, [0, 8, 2, 10], SNAKE[::-1])):
            parts.append(placed(along(m, k, rows, m["x"][rows]), rows, 12))
        match rule:
            case "max":
                results.append(np.max(parts, axis=0))
            case "concat":
                results.append(np.concatenate(parts, axis=1))
            case "weighted":
                powers = np.exp(m["merge_weight"])
                results.append(sum(w * part for w, part in zip(powers / powers.sum(), parts, strict=True)))
            case _:
                results.append(np.sum(parts, axis=0) / 3)
    case.check(results)


def test_local_mamba_s_gate() -> None:
    """Made of the mean over all cells, the token not among them, and applied to the token too."""
    case = Case(
        "directions insert(raster, cls at head), columns  use down = linear(dim, 2)  use up = linear(2, dim, bias = false)"
        "  merge sum(k: y[k] * sigmoid(up(relu(down(mean(cells: y[k]))))))"
    )
    down, up = case.layers["down"], case.layers["up"]
    weights = [w.detach().numpy() for w in (down.weight, down.bias, up.weight)]  # type: ignore[operator]
    results = []
    for image in range(2):
        m, total = case.image(image), np.zeros((13, CHANNELS))
        x = np.concatenate([m["x"], m["cls"]])
        m |= {name: np.concatenate([m[name], m[f"{name}_cls"]]) for name in ("B", "Q")}
        for k, rows in enumerate(([12, *RASTER], COLUMNS)):
            y = placed(along(m, k, rows, x[rows]), rows, 13)
            inner = np.maximum(weights[0] @ y[:12].mean(0) + weights[1], 0)
            total += y * sigmoid(weights[2] @ inner)
        results.append((total[:12], total[12:]))
    case.check(results)


def test_plain_mamba_s_labels() -> None:
    """The move that led to a step is an index into a table without channels."""
    text = """grid h, w
    recurrence r(state n) {
      input x  shared B[n]  param a[n]  shared param dB[label, n]
      h[n] = sigmoid(a[n]) * h[n] + (B[n] + dB[label, n]) * x  y = sum(n: h[n])
    }
    scan s(dim) { directions snake, insert(reverse(columns), cls at 2)  label moves  recur r(state = 2) }"""
    program, op = scanlang.loads(text), scanlang.compile(scanlang.loads(text))
    tensors = draw_inputs(op, (2, 3), batch=1, dtype=torch.float64, seed=5)
    m = {name: array[0] if array.ndim > 3 or "cls" in name else array for name, array in numpy_of(tensors).items()}
    start, right, left, up, down, jump = range(6)
    runs = (
        ([0, 1, 2, 5, 4, 3], [start, right, right, down, left, left]),
        ([5, 2, 6, 4, 1, 3, 0], [start, up, jump, jump, up, jump, up]),
    )
    del down, left
    total = np.zeros((7, 3))
    x, b = np.concatenate([m["x"].reshape(6, 3), m["cls"]]), np.concatenate([m["B"].reshape(6, 2, 2), m["B_cls"]])
    for k, (rows, labels) in enumerate(runs):
        ones = np.ones((len(rows), 2))
        total += placed(leaky(x[rows], b[rows, k] + m["dB"][k, labels], ones, m["a"][k], np.zeros(3)), rows, 7)
    want = total[:6].reshape(1, 2, 3, 3), total[6:][None]
    assert_alike(reference(program, None, **tensors), want)
    assert_alike(interpret(program.operator_graph(), numpy_of(tensors), (2, 3)), want)
    assert_alike(op(**tensors), want)
