"""Programs that the operator tests of every backend share, by name: what they are called with is in `operator_checks.py`."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FILES = {
    "cross": "cross_scan.scan",
    "bidirectional": "bidirectional.scan",
    "snakes": "snake.scan",
    "windows": "windows.scan",
    "gated": "gated.scan",
}

RENAMED = """
grid row, column
recurrence leaky(width m, inner q) {
  input  u
  shared p[m], reduced[q], o[m]
  param  skip, decay[m], shift, widen[q]
  step = softplus(sum(q: reduced[q] * widen[q]) + shift)
  s[m] = u * (p[m] * step) + s[m] * exp(step * -exp(decay[m]))
  out  = u * skip + sum(m: s[m] * o[m])
}
scan renamed(dim, width = 2, inner = 2) {
  input u
  directions raster, reverse(columns), snake
  recur leaky(width = width, inner = inner)
}
"""
"""The selective recurrence with all names changed and all factors in another order."""

SCAN = """
import std.selective
grid h, w
scan tested(dim, state = 2, rank = 2) {{
  directions raster, columns, reverse(raster)
  recur selective(state = state, rank = rank)
  {clauses}
}}
"""

GATED = """
grid h, w
order f(t) = (t % h, (t // h + t % h) % w)
recurrence gated(state n) {{
  input x, g
  shared K[n], Q[n]
  param lam[n]
  f[n] = sigmoid(lam[n] + g)
  h[n] = f[n] * h[n] + (1 - f[n]) * K[n] * x
  y    = tanh(sum(n: Q[n] * h[n])) * silu(g)
}}
scan tested(dim, state = 3) {{
  {clauses}
  recur gated(state = state)
}}
"""

TEXTS = {
    "renamed": RENAMED,
    "share-all": SCAN.format(clauses="share all"),
    "share-names": SCAN.format(clauses="share A_log, D"),
    "share-all-except": SCAN.format(clauses="share all except dt_bias  merge mean"),
    "merge-mean": SCAN.format(clauses="merge mean"),
    "merge-nonlinear": SCAN.format(clauses="merge tanh(y[0]) * y[1] + sum(k: y[k]) / 3"),
    "merge-x": SCAN.format(clauses="merge sum(k: y[k]) * silu(x) + x"),
    "merge-z": SCAN.format(clauses="input x, z  merge (y[0] + y[1] - y[2]) * silu(z) / 2"),
    "merge-drops-one": SCAN.format(clauses="merge y[2] - y[0] + 0 * y[1]"),
    "repeated-order": SCAN.format(clauses="merge sum").replace("raster, columns", "raster, raster"),
    "one-direction": SCAN.format(clauses="merge sum").replace("raster, columns, reverse(raster)", "reverse(columns)"),
    "formula": GATED.format(clauses="input x, g  directions f, reverse(f), flip(f, w)  merge mean"),
    "projected-channels": GATED.format(clauses="directions raster, reverse(columns)  project g, K, Q from x"),
    "projected-all": GATED.format(
        clauses="input u, z  directions raster, transpose(f)  project x from u bias  project K, g, Q from u"
        "  merge y[0] * z - y[1]"
    ),
    "tiles": GATED.format(clauses="input x, g  directions tiles, reverse(phases)").replace(
        "recurrence",
        "order tiles = walk h by 3 from 2, ~w by 4, ~~h, -w\norder phases = walk w mod 2, h mod 3, w, h\nrecurrence",
        1,
    ),
    "no-param": """grid h, w
recurrence fading(rank r) { input x  shared a[r]  h = sigmoid(sum(r: a[r])) * h + x  y = h }
scan fading(dim, rank = 2) { directions raster, reverse(raster)  recur fading(rank = rank) }""",
    "no-shared": """grid h, w
recurrence fading(state n) { input x  param a[n] = 1  h[n] = exp(-exp(a[n])) * h[n] + x  y = sum(n: h[n]) + tanh(x) }
scan fading(dim, state = 2) { directions raster, reverse(raster)  recur fading(state = state)  share all }""",
    "conditions": """grid h, w
recurrence choosing(state n) {
  input x  shared B[n]  param a
  e    = exp(a * x)
  h[n] = where(e + x + a + B[n] + 0.2 < 1, tanh(where(x < 0.1, 0.5, a)), 0.7) * h[n] + where(x < 0.1, B[n], x)
  y    = sum(n: where(x < 0.1, h[n], e)) + where(e * x * a + x - a + 0.3 > 0.2, x, a)
}
scan choosing(dim, state = 2) { directions raster, reverse(raster)  recur choosing(state = state) }""",
    "chained-states": """grid h, w
recurrence chained(state n) {
  input x
  shared B[n]
  param a[n], c
  h[n] = sigmoid(a[n]) * h[n] + B[n] * x
  u    = sum(n: h[n])
  s    = exp(-softplus(c + 0.3 * u)) * s + tanh(u) * x
  r[n] = sigmoid(s + h[n]) * r[n] + h[n] * s
  y    = sum(n: r[n] * B[n]) + s
}
scan chained(dim, state = 3) { directions raster, reverse(columns)  recur chained(state = state)  merge sum }""",
    "two-states": """grid h, w
recurrence both(state n, rank r) {
  input x
  shared B[n], low[r, n]
  param a[r], b[n, r]
  S[n, r] = sigmoid(a[r] + low[r, n]) * S[n, r] + B[n] * x * b[n, r]
  m       = sum(n: sum(r: tanh(S[n, r]) * b[n, r]))
  e       = where(x > 0.1, 0.5, 0.9) * e + max(x, sum(n: B[n]))
  y       = m * sqrt(1 + e * e) + min(m, x)
}
scan both(dim, state = 2, rank = 3) { directions raster, reverse(columns)
  recur both(state = state, rank = rank)  merge mean
}""",
}

LABELLED = """
grid h, w
recurrence labelled(state n) {{
  input x
  shared B[n]
  param a[n]
  shared param dB[label, n] = normal(0, 1), T[n], G
  h[n] = sigmoid(a[n] + T[n]) * h[n] + (B[n] + dB[label, n]) * x
  y    = sum(n: h[n]) * G
}}
scan tested(dim, state = 2) {{
  label moves
  recur labelled(state = state)
  {clauses}
}}
"""

ELSEWHERE = """
import std.selective
grid h, w
order lines   = reset(raster, every h)
order blocks  = reset(window(snake, 3, 2, outer = columns), every window)
order padded  = window(columns, 2, 3, pad = decay)
order coarse  = dilate(raster, 2, phase = (1, 0))
order fine    = dilate(columns, 3, phase = (2, 2), pad = decay)
order far     = dilate(raster, 9, phase = (8, 8))
order twice   = concat(raster, reverse(columns))
order woven2  = interleave(columns, raster)
order woven   = interleave(coarse, shift(snake, 1, 2))
order vim     = insert(raster, cls at middle)
order many    = insert(snake, cls at head, reg at every 5, cls at tail, dist at 7)
order mine    = input
order theirs  = input
order between = insert(interleave(mine, reverse(mine)), cls at middle)
scan tested(dim, state = 2, rank = 2) {{
  recur selective(state = state, rank = rank)
  {clauses}
}}
"""

FEATURE_CLAUSES = {
    "split": "directions raster, columns channels split",
    "split-parts": "directions raster, columns, reverse(raster) channels split 2, 1, 1 merge concat",
    "split-shared": "directions raster, columns channels split share all merge concat",
    "split-uneven": "directions coarse, columns, padded channels split 1, 2, 1 conv 3 uncovered = 0",
    "concat": "directions raster, columns merge concat",
    "concat-tokens": "directions vim, many merge concat",
    "max": "directions raster, columns, snake merge max",
    "weighted": "directions raster, columns, snake merge weighted",
    "weighted-uneven": "directions raster, coarse, vim merge weighted",
    "conv": "directions raster, columns conv 3",
    "conv-shared": "directions raster, columns conv 3 share conv",
    "conv-split": "directions raster, columns conv 2 channels split merge concat",
    "conv-one": "directions snake conv 1",
    "conv-along": "input x, z directions raster, columns conv 3 along snake merge (y[0] + y[1]) * silu(z) + x",
    "conv-along-shared": "directions vim, columns conv 3 along snake share conv",
    "conv-along-split": "directions raster, columns conv 3 along blocks channels split share conv merge concat",
    "conv-along-one": "directions raster, columns conv 1 along snake",
    "conv-along-own": "directions snake, snake conv 4 along snake",
    "conv-along-pads": "directions padded, reverse(padded) conv 3 along padded",
    "conv-tokens": "directions vim, reverse(vim) conv 3",
    "conv-pads": "directions padded, reverse(padded), raster conv 3",
    "reset": "directions lines, reverse(blocks), raster",
    "reset-conv": "directions lines, reverse(blocks) conv 3",
    "tokens": "input x, z directions many, reverse(many), vim merge (y[0] + y[1]) * silu(z) - y[2]",
    "pads": "directions padded, reverse(padded), columns merge mean",
    "pads-divided": "input x, z directions padded, reverse(padded) merge y[0] / (2 + z) + y[1] * x",
    "dilate": "directions coarse, fine, reverse(raster) merge mean",
    "dilate-max": "directions coarse, fine merge max uncovered = 0",
    "dilate-nothing": "directions far, far uncovered = 0",
    "dilate-and-nothing": "directions far, columns merge concat",
    "twice": "directions twice, woven, raster",
    "along": "directions raster, columns operands low, B along snake",
    "along-x": "directions vim, reverse(vim) operands x, C along vim merge max",
    "along-conv": "directions raster, columns conv 3 operands x along snake",
    "writes": "directions snake, columns snake writes raster merge sum(k: y[k]) * x",
    "given": "directions mine, reverse(mine), raster",
    "given-two": "directions mine, between, theirs conv 3 merge max",
    "given-along": "directions mine, columns conv 2 along mine operands B along theirs",
    "mean-of-cells": (
        "input x, z directions raster, vim use g = linear(dim, dim) use n = layer_norm(dim)"
        " merge sum(k: y[k] * sigmoid(g(mean(cells: y[k])))) + n(y[0]) * z"
    ),
    "two-phases": (
        "directions raster, padded use down = linear(dim, 3, bias = false) use up = linear(3, dim) use r = rms_norm(dim)"
        " merge r(y[0]) * x + up(silu(down(y[1] - mean(cells: max(y[0], y[1])))))"
    ),
}
FEATURE_TEXTS = {name: ELSEWHERE.format(clauses=clauses) for name, clauses in FEATURE_CLAUSES.items()}
FEATURE_TEXTS |= {
    "labels": LABELLED.format(clauses="directions raster, insert(snake, cls at middle), reset(columns, every w)"),
    "labels-shared": LABELLED.format(clauses="directions raster, snake share all"),
    "labels-split": LABELLED.format(clauses="directions raster, snake channels split 1, 3 share dB merge concat"),
    "projected-split": GATED.format(clauses="input x, g directions raster, columns channels split project K, Q from x bias"),
    "projected-tokens": GATED.format(
        clauses="input x directions insert(f, cls at 3), snake project g from x bias merge sum(k: y[k]) * x"
    ),
}
"""Everything that goes beyond one pass of the whole grid with all channels, on grids of two axes."""

MODULE_CLAUSES = {
    "plain": "directions raster, snake project low, B, C from x",
    "bias": "directions raster, snake project low, B from x bias project C from x share project",
    "conv": "directions raster, columns conv 3 project low, B, C from x bias",
    "conv-shared": "directions raster, columns conv 3 project low, B, C from x share all",
    "conv-not-projected": "input x, z directions raster, columns conv 3 project low, B, C from z merge (y[0] + y[1]) * x",
    "conv-along": "input x, z directions vim, columns conv 3 along raster project low, B, C from x merge (y[0] + y[1]) * z + x",
    "conv-along-shared": "directions vim, reverse(vim) conv 3 along vim share conv project low, B, C from x bias",
    "conv-along-pads": "directions padded, raster conv 2 along padded share conv project low, B, C from x bias",
    "conv-reset": "directions lines, reverse(blocks) conv 4 project low, B, C from x",
    "split": "directions raster, columns, snake channels split 2, 1, 1 project low, B, C from x bias merge concat",
    "split-shared": "directions raster, columns channels split project low, B, C from x bias share all",
    "split-conv": "directions raster, padded channels split conv 3 project low, B, C from x bias share conv",
    "split-conv-along": "directions raster, columns channels split conv 3 along snake project low, B, C from x bias share conv",
    "split-conv-along-own": "directions raster, columns channels split 3, 1 conv 2 along snake project low, B, C from x",
    "pads": "directions padded, reverse(padded), raster project low, B, C from x bias merge mean",
    "pads-conv": "directions padded, reverse(padded) conv 3 project low, B, C from x bias",
    "tokens": (
        "input x, z directions many, reverse(many), vim project low, B, C from x bias merge (y[0] + y[1]) * silu(z) - y[2]"
    ),
    "tokens-given": "directions vim, reverse(vim) project low, B from x",
    "tokens-conv": "directions vim, reverse(vim) conv 4 project low, B, C from x merge max",
    "weighted": "directions raster, columns project low, B, C from x merge weighted",
    "concat": "directions vim, coarse project low, B, C from x merge concat",
    "along": "directions raster, columns conv 3 project low, B, C from x operands low, B along snake",
    "twice-conv": "directions twice, woven, raster conv 3 project low, B, C from x bias",
    "twice-conv-one": "directions twice conv 3 project low, B, C from x bias operands C along woven2",
    "twice-conv-split": "directions twice, insert(twice, cls at 3) channels split conv 3 project low, B, C from x bias",
    "writes": "directions snake, columns snake writes raster project low, B, C from x",
    "given": "directions mine, reverse(between) project low, B, C from x conv 2 merge mean",
    "two-phases": (
        "directions raster, columns project low, B, C from x use g = linear(dim, dim)"
        " merge sum(k: y[k] * sigmoid(g(mean(cells: y[k])))) / 2"
    ),
    "mean-of-cells": (
        "directions raster, vim project low, B, C from x use g = linear(dim, dim) use n = layer_norm(dim) use r = rms_norm(dim)"
        " merge sum(k: y[k] * sigmoid(g(mean(cells: y[k])))) + n(y[0]) + r(x)"
    ),
}
MODULE_TEXTS = {f"module-{name}": ELSEWHERE.format(clauses=clauses) for name, clauses in MODULE_CLAUSES.items()}
MODULE_TEXTS["module-labels"] = LABELLED.format(clauses="directions raster, insert(snake, cls at middle) project B from x")
MODULE_TEXTS["module-sources"] = GATED.format(
    clauses="input u, z directions padded, vim project x from u bias project K, g, Q from z merge y[0] * z - y[1]"
).replace("order f", "order vim = insert(raster, cls at middle)\norder padded = window(raster, 2, 2, pad = decay)\norder f")
"""Scans whose module projects, convolves or calls what their operator does not."""

AXES = {
    "one-axis": "grid l  order way = insert(raster, cls at middle)",
    "three-axes": "grid t, h, w  order way = reset((walk t, w, ~h), every t)",
    "four-axes": "grid s, t, h, w  order way = window(snake, 1, 2, 2, 3, pad = decay)",
}
SIZES = {"one-axis": (7,), "three-axes": (3, 2, 4), "four-axes": (2, 1, 3, 4)}
VOLUMES = {
    name: f"import std.selective {text} scan tested(dim, state = 2, rank = 2) {{ directions way, reverse(way), raster "
    "conv 2 recur selective(state = state, rank = rank) merge mean }"
    for name, text in AXES.items()
}
"""Grids of other than two axes."""

HARD_NAMES = (
    "states", "save", "gradient", "self", "partials", "d_x", "cells", "sums", "width", "real", "double", "int", "vec", "tl",
    "p_x", "x_ptr", "y_", "K", "C", "H",
)  # fmt: skip
"""Names of a program that a generator may want for itself."""
SELECTIVE_NAMES = {
    "u": "x", "p": "B", "reduced": "low", "o": "C", "skip": "D", "decay": "A_log", "shift": "dt_bias", "widen": "dt_weight",
}  # fmt: skip
PROGRAMS = (*FILES, *TEXTS)
FEATURES = tuple(FEATURE_TEXTS)
