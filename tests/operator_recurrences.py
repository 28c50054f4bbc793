"""Programs that the tests of every backend share: heads, groups, inputs with indices, `prev`, scales, matrix states."""

from __future__ import annotations

from collections.abc import Mapping

DEFINITIONS = """
grid h, w
order lines  = reset(raster, every h)
order padded = window(columns, 2, 3, pad = decay)
order coarse = dilate(raster, 2, phase = (1, 0))
order twice  = concat(raster, reverse(columns))
order vim    = insert(raster, cls at middle)
order many   = insert(snake, cls at head, reg at every 5, dist at 7)
order mine   = input

recurrence ssd(state n, head p, group = 1) {
  input  x[p], dt
  shared B[n], C[n] per group units
  param  A_log, dt_bias, D[p]
  d       = softplus(dt_bias + dt)
  S[n, p] = exp(-exp(A_log) * d) * S[n, p] + d * B[n] * x[p]
  y[p]    = sum(n: C[n] * S[n, p]) + D[p] * x[p]
}
recurrence gla(state n, head p) {
  input  x[p], q[n], k[n], f[n], g[n, p]
  param  w[n], u[n, p]
  shared s per 2 units
  S[n, p] = sigmoid(f[n] + w[n]) * S[n, p] + k[n] * x[p] * s
  y[p]    = sum(n: q[n] * S[n, p] + g[n, p] * u[n, p])
}
recurrence bare(state n) {
  input  x, f[n]
  shared B[n] per 2 units
  shared c per 1 units
  param  a
  h[n] = sigmoid(f[n] + a) * h[n] + B[n] * x
  y    = sum(n: h[n]) * c
}
recurrence indexed(state n, rank r) {
  input  f[n], x[r]
  shared M[n, r]
  H[n, r] = sigmoid(f[n]) * H[n, r] + M[n, r] * x[r]
  e[n]    = 0.5 * e[n] + sum(r: H[n, r])
  y       = sum(n: f[n] * e[n])
}
recurrence mlstm(state n, head p) {
  input v[p], q[n], k[n], i, f
  lf      = -softplus(-f)
  scale m = max(lf + m, i)
  c[n, p] = exp(lf + prev(m) - m) * c[n, p] + exp(i - m) * k[n] * v[p]
  a[n]    = exp(lf + prev(m) - m) * a[n] + exp(i - m) * k[n]
  y[p]    = sum(n: c[n, p] * q[n]) / max(abs(sum(n: a[n] * q[n])), exp(-m))
}
recurrence wkv {
  input k, v
  param w, u
  scale m = max(prev(m) - exp(w), k)
  a = exp(prev(m) - exp(w) - m) * a + exp(k - m) * v
  b = exp(prev(m) - exp(w) - m) * b + exp(k - m)
  scale q = max(prev(m), u + k)
  y = (exp(prev(m) - q) * prev(a) + exp(u + k - q) * v) / (exp(prev(m) - q) * prev(b) + exp(u + k - q))
}
recurrence looks_back(state n) {
  input  x, g
  shared K[n]
  h[n] = sigmoid(prev(g)) * h[n] + K[n] * prev(x * g)
  y    = sum(n: prev(h[n]) * K[n]) + prev(prev(x)) + x
}
"""

CLAUSES = {
    "ssd": "input x, dt directions raster, reverse(columns) recur ssd(state = 3, head = head, group = 2)",
    "ssd-open": "input x, dt directions raster, snake recur ssd(state = state, head = head, group = group) share A_log, D",
    "ssd-one": "input x, dt directions raster recur ssd(state = 2, head = 1)",
    "ssd-merged": (
        "input x, dt, z directions vim, twice recur ssd(state = 2, head = 2, group = 3) merge y[0] * silu(z) - y[1] * x"
    ),
    "ssd-split": "input x, dt directions raster, columns channels split recur ssd(state = 2, head = 2, group = 2) merge concat",
    "ssd-split-shared": "input x, dt directions lines, columns channels split recur ssd(state = 2, head = 3) share all",
    "ssd-split-uneven": (
        "input x, dt directions coarse, padded channels split 1, 2 conv 3 uncovered = 0 recur ssd(state = 2, head = 2)"
    ),
    "ssd-conv": "input x, dt directions raster, padded conv 3 recur ssd(state = 2, head = 2) merge max",
    "ssd-conv-along": "input x, dt directions raster, columns conv 2 along snake recur ssd(state = 2, head = 2)",
    "ssd-tokens": (
        "input x, dt directions many, reverse(many) operands dt, B along many recur ssd(state = 2, head = 2, group = 2)"
    ),
    "ssd-given": "input x, dt directions mine, reverse(mine) recur ssd(state = 2, head = 2) merge weighted",
    "ssd-two-phases": (
        "input x, dt directions raster, twice recur ssd(state = 2, head = 2) use g = linear(dim, dim)"
        " merge sum(k: y[k] * sigmoid(g(mean(cells: y[k]))))"
    ),
    "gla": "input x, q, k, f, g directions raster, reverse(lines) recur gla(state = 2, head = 3)",
    "gla-split": "input x, q, k, f, g directions snake, columns channels split recur gla(state = 2, head = 2) share u",
    "bare": "input x, f directions raster, padded recur bare(state = 2)",
    "bare-split": "input x, f directions raster, vim channels split recur bare(state = 2) merge concat",
    "indexed": "input x, f directions raster, columns recur indexed(state = 2, rank = 3)",
    "mlstm": "input v, q, k, i, f directions raster, reverse(lines) recur mlstm(state = 2, head = 2)",
    "mlstm-split": "input v, q, k, i, f directions vim, columns channels split recur mlstm(state = 2, head = 2)",
    "wkv": "input k, v directions raster, reverse(raster) recur wkv()",
    "wkv-reset": "input k, v directions lines, padded conv 2 recur wkv() share w",
    "looks-back": "input x, g directions raster, lines recur looks_back(state = 2)",
    "looks-back-conv": "input x, g directions twice, snake conv 3 recur looks_back(state = 2) merge mean",
}
MODULE_CLAUSES = {
    "ssd": "directions raster, reverse(columns) project dt, B, C from x bias recur ssd(state = 3, head = head, group = group)",
    "ssd-shared": "directions raster, snake project B, C, dt from x share all recur ssd(state = 2, head = 4)",
    "ssd-conv": "directions padded, vim conv 3 project dt, B, C from x recur ssd(state = 2, head = 2) merge weighted",
    "ssd-twice": "directions twice conv 3 project dt, B, C from x recur ssd(state = 2, head = 2) share project",
    "ssd-split": "input x, dt directions raster, columns channels split recur ssd(state = 2, head = 2, group = 2) share all",
    "ssd-split-conv": "input x, dt directions raster, lines channels split conv 3 recur ssd(state = 2, head = 2) merge concat",
    "gla": "directions snake, columns project q, k, f, g from x bias recur gla(state = 2, head = 2) merge (y[0] + y[1]) * x",
    "indexed": "input u directions raster, snake project f, x, M from u recur indexed(state = 2, rank = 3)",
    "mlstm": "input v, u directions lines, many project q, k from u project i, f from v bias recur mlstm(state = 2, head = 2)",
    "looks-back": "input x directions vim, snake conv 2 project g, K from x recur looks_back(state = 2)",
}
"""Scans whose module projects what has a value for every head, group or channel."""


def _texts(clauses: Mapping[str, str], stem: str = "") -> dict[str, str]:
    head = "scan tested(dim, head = 2, state = 2, group = 2)"
    return {stem + name: f"{DEFINITIONS} {head} {{ {text} }}" for name, text in clauses.items()}


MODULE_RECURRENCES = tuple(f"module-{name}" for name in MODULE_CLAUSES)
RECURRENCE_TEXTS = _texts(CLAUSES) | _texts(MODULE_CLAUSES, "module-")
RECURRENCES = tuple(CLAUSES)
