"""Texts read into syntax trees, for tests, and one text with every construct."""

from __future__ import annotations

from scanlang.source import Source
from scanlang.syntax import nodes
from scanlang.syntax.build import build_syntax
from scanlang.syntax.parse import parse_text

WHOLE = """\
# VMamba's four-corner cross-scan
grid h, w
import std.selective
import "mine.scan"

order rows    = walk h, w          # outer loop first: row-major
order tiles   = walk -h by 7, ~w by 4 from 2, ~~h, w
order phases  = walk h mod 2, w mod k, h, w
order cols(t) = (t % h, t // h)
order both    = flip((walk h, w), h)
order given   = input
order mine    = table("mine.npy")
order shifted = shift(random(7), -1, 2)
order windows = reset(window(hilbert, 7, h, outer = (walk w, ~h), pad = decay), every window)
order dilated = dilate(rows, 2, phase = (1, 0), pad = skip)
order twice   = reset(concat(rows, interleave(rows, rotate(tiles, 90))), every h)
order tokens  = insert(rows, cls at middle, reg at every 16, line_end at every w, a at head, b at tail, c at 7, d at spread 3)
order back    = reverse(rows)

block vss(dim, ratio = 2, scan core = cross, block norm = layer_norm) {
  inner = ceil(dim * ratio / 8) * 8
  fc    = linear(dim, 2 * inner, bias = false, weight = truncated_normal(0.02))
  op    = core(inner, state = 1)
  forward x, z =
    let u, v = split(fc(x), 2) in let w = op(u) / mean(cells: v) in softmax(cells: w) - norm(z)
}
backbone small(in_chans = 3, dim = 96) {
  stem            = conv2d(in_chans, dim, 4)
  feature stage   = vss(dim, core = cross) * 2
  features layers = vss(dim, drop = ramp(0.1)) * (dim // 48)
}
backbone large from small { dim = 192 }
backbone same from small

recurrence selective(state n = 16, rank r) {
  input  x
  shared low[r], B[n], C[n]
  param  dt_weight[r], dt_bias = inv_softplus(loguniform(1e-3, 1e-1)), A_log[n] = log(n + 1), D = 1
  shared param T[n], dB[label, n] = 0
  dt   = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))
  h[n] = exp(-exp(A_log[n]) * dt) * h[n] + dt * B[n] * x
  y    = sum(n: C[n] * h[n]) + where(x >= 0, D * x, 0)
}
recurrence stabilised(state n, head p = 64, group = 1) {
  input  v[p], k[n], i, f
  shared q[n] per group units
  shared g per 2 units
  param  D[p] = 1
  scale m = max(prev(m) + f, i)
  C[n, p] = exp(f + prev(m) - m) * C[n, p] + exp(i - m) * k[n] * v[p]
  y[p]    = prev(g) * sum(n: q[n] * C[n, p]) / exp(-m) + D[p] * v[p]
}
scan cross(dim, rank = ceil(dim / 16)) {
  input x, z
  directions rows, (walk h, w), reverse(rows), reverse(walk w, h)
  recur      selective(state = 1, rank = rank)
  project    low, B from x bias
  project    C from z
  share      all except A_log
  merge      (y[0] + y[1]) * silu(z) / 2
}
scan layered(dim) {
  input      x, z
  layers     cycle global (rows, back), (tiles, (walk w, h)), rows
  channels   split 2, 1
  recur      selective(state = 1)
  conv       4 along rows
  operands   low, B along (walk h, w)
  back       writes rows
  label      moves
  share      conv, T
  use        down = linear(dim, dim // 4, bias = false)
  use        norm = layer_norm(dim)
  uncovered  = 0
  merge      sum(k: y[k] * down(norm(mean(cells: y[k] + z))))
}
"""


def parsed(text: str) -> nodes.Program:
    source = Source("t.scan", text)
    return build_syntax(parse_text(source), source)
