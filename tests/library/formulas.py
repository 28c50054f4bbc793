"""Every recurrence of the library written a second time, from its paper's formula: plain torch, one sequence at a time.

In: streams and parameters of one direction by the names of the program, `(B, T, …)` and `(…)`, in float64. Out: `(B, T, C)`. A
channel c belongs to head c // (C / heads). Where a paper gives y as a sum over the steps before (attention under a mask), that
sum is computed here and no state; where a program carries a running scale, there is none here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Values = Mapping[str, Tensor]
Formula = Callable[[Values, Values], Tensor]
CHANNELS, HEADS, GROUPS = "channels", "heads", "groups"


@dataclass(frozen=True)
class Cell:
    """A recurrence: its formula, and what each stream and parameter has a value of, in words of the program's sizes.

    The first stream has a value for every channel. `groups` are so many consecutive heads as the size `group` says.
    """

    formula: Formula
    streams: Mapping[str, tuple[str, ...]]
    params: Mapping[str, tuple[str, ...]]


# Sums over the steps before.


def by_heads(x: Tensor, like: Tensor) -> Tensor:
    """`(B, T, C)` → `(B, heads, T, P)`; `like` has heads in the third place."""
    return x.unflatten(-1, (like.shape[2], -1)).transpose(1, 2)


def by_channels(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2)


def lags(steps: int) -> Tensor:
    """t - s in row t and column s."""
    return torch.arange(steps)[:, None] - torch.arange(steps)


def before(values: Tensor, least: int = 0) -> Tensor:
    """A matrix `(…, T, T)`, 0 where the column is not at least so many steps before the row."""
    return torch.where(lags(values.shape[-1]) >= least, values, torch.zeros((), dtype=values.dtype))


def decayed(log_decay: Tensor) -> Tensor:
    """exp of the decays of the steps s + 1 … t, in row t and column s; `log_decay` is `(…, T)`. 0 above the diagonal."""
    total = log_decay.cumsum(-1)
    return before(torch.exp((total[..., :, None] - total[..., None, :]).clamp(max=0)))


# The recurrences.


def selective(x: Values, of: Values) -> Tensor:
    """S6: h = exp(Δ A) h + Δ B u, y = C h + D u, with Δ = softplus(W low + b) and A = -exp(A_log)."""
    state, found = torch.zeros(*x["x"][:, 0].shape, of["A_log"].shape[-1], dtype=x["x"].dtype), []
    for t in range(x["x"].shape[1]):
        u = x["x"][:, t]
        dt = functional.softplus(x["low"][:, t] @ of["dt_weight"].T + of["dt_bias"])
        state = torch.exp(dt[..., None] * -torch.exp(of["A_log"])) * state + (dt * u)[..., None] * x["B"][:, t, None]
        found.append((state * x["C"][:, t, None]).sum(-1) + of["D"] * u)
    return torch.stack(found, 1)


def selective_one(x: Values, of: Values) -> Tensor:
    return selective({**x, "B": x["B"][..., None], "C": x["C"][..., None]}, {**of, "A_log": of["A_log"][..., None]})


def constant_c(x: Values, of: Values) -> Tensor:
    """V2M along one axis: S6 where C is 1, behind it the gate."""
    return selective({**x, "C": torch.ones_like(x["B"])}, of) * functional.silu(x["z"])


def constant_b(x: Values, of: Values) -> Tensor:
    return selective({**x, "B": torch.ones_like(x["C"])}, of) * functional.silu(x["z"])


def structured(x: Values, of: Values, least: int = 0) -> tuple[Tensor, Tensor]:
    """SSD's matrix, listing 1 of the paper: M = L ∘ C Bᵀ with L the decays from step to step, on Δ x; and x by heads."""
    dt = functional.softplus(x["dt"] + of["dt_bias"]).transpose(1, 2)
    matrix = decayed(-torch.exp(of["A_log"])[:, None] * dt) * torch.einsum("btn,bsn->bts", x["C"], x["B"])[:, None]
    values = by_heads(x["x"], x["dt"])
    return (before(matrix, least) * dt[:, :, None]) @ values, values


def ssd(x: Values, of: Values) -> Tensor:
    y, values = structured(x, of)
    return by_channels(y + of["D"][:, None, None] * values)


def ssd_m0(x: Values, of: Values) -> Tensor:
    return by_channels(structured(x, of)[0]) + of["D"] * x["x"]


def ssd_grouped(x: Values, of: Values) -> Tensor:
    """Every group is an SSD of its own heads."""
    count = x["B"].shape[2]
    found = []
    for group in range(count):
        own = {"x": x["x"].unflatten(-1, (count, -1))[:, :, group], "dt": x["dt"].unflatten(-1, (count, -1))[:, :, group]}
        heads = {name: value.unflatten(0, (count, -1))[group] for name, value in of.items()}
        found.append(ssd({**own, "B": x["B"][:, :, group], "C": x["C"][:, :, group]}, heads))
    return torch.cat(found, -1)


def exclusive_ssd(x: Values, of: Values) -> Tensor:
    """Hydra: the rows of SSD's matrix, one step later."""
    y = by_channels(structured(x, of)[0])
    return torch.cat((torch.zeros_like(y[:, :1]), y[:, :-1]), 1)


def retention(x: Values, of: Values) -> Tensor:
    """Equation 5: (Q Kᵀ ∘ D) V with D = γ^(t - s)."""
    q, k = x["q"].transpose(1, 2), x["k"].transpose(1, 2)
    weights = before(of["gamma"][:, None, None] ** lags(q.shape[2]).clamp(min=0))
    return by_channels((q @ k.mT * weights) @ by_heads(x["v"], x["q"]))


def gla(x: Values, of: Values) -> Tensor:
    """Equation 3, unrolled: what step s wrote is multiplied by the α of every step behind it, entry by entry."""
    alpha = torch.sigmoid(x["g"]) ** (1 / 16)
    values = x["v"].unflatten(-1, (alpha.shape[2], -1))
    found = []
    for t in range(alpha.shape[1]):
        y = torch.zeros_like(values[:, t])
        for s in range(t + 1):
            kept = alpha[:, s + 1 : t + 1].prod(1)
            y = y + (x["q"][:, t] * kept * x["k"][:, s]).sum(-1, keepdim=True) * values[:, s]
        found.append(y.flatten(1))
    return torch.stack(found, 1)


def linear_attention(x: Values, of: Values) -> Tensor:
    """Equation 9 under a causal mask, with φ = elu + 1, and the code's ε."""
    q, k = (functional.elu(x[name]).transpose(1, 2) + 1 for name in ("q", "k"))
    weights = before(q @ k.mT)
    return by_channels(weights @ by_heads(x["v"], x["q"]) / (weights.sum(-1, keepdim=True) + 1e-6))


def step_by_step(x: Tensor, step: Callable[[int, Tensor], Tensor]) -> Tensor:
    h, found = torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        h = step(t, h)
        found.append(h)
    return torch.stack(found, 1)


def rg_lru(x: Values, of: Values) -> Tensor:
    """Equations 1 to 4: a_t = a^(c r_t) with c = 8 and log a = -softplus(Λ)."""
    a = torch.exp(-functional.softplus(of["Lambda"])) ** (8 * torch.sigmoid(x["r"]))
    u = torch.sqrt(1 - a**2) * (torch.sigmoid(x["i"]) * x["x"])
    return step_by_step(u, lambda t, h: a[:, t] * h + u[:, t])


def mingru(x: Values, of: Values) -> Tensor:
    z = torch.sigmoid(x["z"])
    return step_by_step(z, lambda t, h: (1 - z[:, t]) * h + z[:, t] * x["c"][:, t])


def hgrn(x: Values, of: Values) -> Tensor:
    """f = γ + (1 - γ) μ, where μ is the gate; the input gate is 1 - f."""
    f = of["gamma"] + (1 - of["gamma"]) * torch.sigmoid(x["f"])
    return step_by_step(f, lambda t, h: f[:, t] * h + (1 - f[:, t]) * functional.silu(x["i"][:, t]))


def s4d(x: Values, of: Values) -> Tensor:
    """The convolution with K_t = C Āᵗ B̄, Ā = exp(Δ A) and B̄ = (Δ A)⁻¹ (exp(Δ A) - 1) Δ B."""
    dt, a = torch.exp(of["log_dt"])[:, None], -torch.exp(of["A_log"])
    into = torch.expm1(dt * a) / (dt * a) * dt * of["B"]
    kernel = torch.stack([(of["C"] * torch.exp(dt * a * t) * into).sum(-1) for t in range(x["x"].shape[1])])
    found = [sum(kernel[t - s] * x["x"][:, s] for s in range(t + 1)) + of["D"] * x["x"][:, t] for t in range(len(kernel))]
    return torch.stack(found, 1)


def ema(x: Values, of: Values) -> Tensor:
    """Σ α (1 - α)^(t - s) x_s."""
    alpha = torch.sigmoid(of["alpha"])
    weights = before(alpha[:, None, None] * (1 - alpha[:, None, None]) ** lags(x["x"].shape[1]).clamp(min=0))
    return torch.einsum("cts,bsc->btc", weights, x["x"])


def damped_ema(x: Values, of: Values) -> Tensor:
    """Mega's kernel: η (1 - α δ)^(t - s) α β, summed over the entries."""
    alpha, delta = torch.sigmoid(of["alpha"]), torch.sigmoid(of["delta"])
    powers = (1 - alpha * delta)[..., None, None] ** lags(x["x"].shape[1]).clamp(min=0)
    weights = before(((of["eta"] * alpha * of["beta"])[..., None, None] * powers).sum(1))
    return torch.einsum("cts,bsc->btc", weights, x["x"])


def mlstm(x: Values, of: Values) -> Tensor:
    """Equations 19 to 27 without a stabiliser: C = f C + i v kᵀ, n = f n + i k, h = C q / max(|n q|, 1)."""
    i = torch.exp(x["i"] + of["i_bias"])[..., None]
    f = torch.sigmoid(x["f"] + of["f_bias"])[..., None]
    values = x["v"].unflatten(-1, (i.shape[2], -1))
    memory = torch.zeros(*values[:, 0].shape, x["k"].shape[-1], dtype=values.dtype)
    norm, found = torch.zeros_like(x["k"][:, 0]), []
    for t in range(values.shape[1]):
        memory = f[:, t, ..., None] * memory + (i * values)[:, t, ..., None] * x["k"][:, t, :, None]
        norm = f[:, t] * norm + i[:, t] * x["k"][:, t]
        q = x["q"][:, t]
        scale = (norm * q).sum(-1, keepdim=True).abs().clamp(min=1)
        found.append(((memory * q[:, :, None]).sum(-1) / scale).flatten(1))
    return torch.stack(found, 1)


def weighed(k: Tensor, bonus: Tensor, decay: Tensor) -> Tensor:
    """The weights of RWKV's average `(B, C, T, T)`: exp(k_s), less the decays of the steps between s and t; exp(bonus + k_t)
    of the step itself."""
    total, keys = decay.cumsum(1).transpose(1, 2), k.transpose(1, 2)
    until = torch.cat((torch.zeros_like(total[..., :1]), total[..., :-1]), -1)
    between = before(until[..., :, None] - total[..., None, :], least=1)
    past = before(torch.exp(keys[:, :, None] - between), least=1)
    return past + torch.diag_embed(torch.exp(keys + bonus.transpose(1, 2)))


def wkv(x: Values, of: Values) -> Tensor:
    """Equation 16; the code's decay is exp(w)."""
    weights = weighed(x["k"], of["u"].expand_as(x["k"]), torch.exp(of["w"]).expand_as(x["k"]))
    return (torch.einsum("bcts,bsc->bct", weights, x["v"]) / weights.sum(-1)).transpose(1, 2)


def bi_wkv_weights(x: Values, of: Values) -> Tensor:
    """Of one way of Vision-RWKV, with half of the cell's own weight."""
    step = x["step"][..., None]
    return weighed(x["k"], of["u"] * step - math.log(2), of["w"] * step)


def bi_wkv_mean(x: Values, of: Values) -> Tensor:
    weights = bi_wkv_weights(x, of)
    return (torch.einsum("bcts,bsc->bct", weights, x["v"]) / weights.sum(-1)).transpose(1, 2)


def bi_wkv_log(x: Values, of: Values) -> Tensor:
    return torch.log(bi_wkv_weights(x, of).sum(-1)).transpose(1, 2)


LANES, UNITS = (CHANNELS,), (HEADS,)
ATTENTION = {"v": LANES, "q": (HEADS, "state"), "k": (HEADS, "state")}
STEP = {"low": ("rank",), "B": ("state",), "C": ("state",)}
OF_STEP = {"dt_weight": (CHANNELS, "rank"), "dt_bias": LANES, "A_log": (CHANNELS, "state"), "D": LANES}
OF_SSD = {"A_log": UNITS, "dt_bias": UNITS}
BOTH = {"w": LANES, "u": LANES}

CELLS: Mapping[str, Cell] = {
    "selective": Cell(selective, {"x": LANES, **STEP}, OF_STEP),
    "selective_one": Cell(selective_one, {"x": LANES, "low": ("rank",), "B": (), "C": ()}, {**OF_STEP, "A_log": LANES}),
    "constant_c": Cell(constant_c, {"x": LANES, "z": LANES, "low": ("rank",), "B": ("state",)}, OF_STEP),
    "constant_b": Cell(constant_b, {"x": LANES, "z": LANES, "low": ("rank",), "C": ("state",)}, OF_STEP),
    "ssd": Cell(ssd, {"x": LANES, "dt": UNITS, "B": ("state",), "C": ("state",)}, {**OF_SSD, "D": UNITS}),
    "ssd_m0": Cell(ssd_m0, {"x": LANES, "dt": UNITS, "B": ("state",), "C": ("state",)}, {**OF_SSD, "D": LANES}),
    "ssd_grouped": Cell(
        ssd_grouped, {"x": LANES, "dt": UNITS, "B": (GROUPS, "state"), "C": (GROUPS, "state")}, {**OF_SSD, "D": UNITS}
    ),
    "exclusive_ssd": Cell(exclusive_ssd, {"x": LANES, "dt": UNITS, "B": ("state",), "C": ("state",)}, OF_SSD),
    "retention": Cell(retention, ATTENTION, {"gamma": UNITS}),
    "gla": Cell(gla, {**ATTENTION, "g": (HEADS, "state")}, {}),
    "linear_attention": Cell(linear_attention, ATTENTION, {}),
    "rg_lru": Cell(rg_lru, {"x": LANES, "r": LANES, "i": LANES}, {"Lambda": LANES}),
    "mingru": Cell(mingru, {"c": LANES, "z": LANES}, {}),
    "hgrn": Cell(hgrn, {"i": LANES, "f": LANES}, {"gamma": LANES}),
    "s4d": Cell(
        s4d,
        {"x": LANES},
        {"log_dt": LANES, "A_log": (CHANNELS, "state"), "B": (CHANNELS, "state"), "C": (CHANNELS, "state"), "D": LANES},
    ),
    "ema": Cell(ema, {"x": LANES}, {"alpha": LANES}),
    "damped_ema": Cell(damped_ema, {"x": LANES}, dict.fromkeys(("alpha", "delta", "beta", "eta"), (CHANNELS, "state"))),
    "mlstm": Cell(mlstm, {**ATTENTION, "i": UNITS, "f": UNITS}, {"i_bias": UNITS, "f_bias": UNITS}),
    "wkv": Cell(wkv, {"k": LANES, "v": LANES}, BOTH),
    "bi_wkv_mean": Cell(bi_wkv_mean, {"k": LANES, "v": LANES, "step": ()}, BOTH),
    "bi_wkv_log": Cell(bi_wkv_log, {"k": LANES, "step": ()}, BOTH),
}
"""By the names of the recurrences."""
