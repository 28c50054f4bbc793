"""CPU times: batch 1, 192 channels, a 56 × 56 map (3136 steps), 16 states, float32; beside the torch loop that mamba,
VMamba and Vim fall back to without CUDA, and beside mambapy's parallel scan.

    python examples/bench_cpu.py --rows 'scanlang*' --json out/cpu.json

`one direction` computes what the loop and mambapy compute (dt given per channel); `cross-scan` is four directions with
the low-rank dt product (rank 12) and the merge inside, its time divided by four.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import click
import torch
from common.measure import Row, chosen, cpu_limits, median_cpu, table, write_json
from torch import Tensor
from torch.nn import functional
from unfused import selective_scan_loop

import scanlang

HERE = Path(__file__).parent
CHANNELS, SIDE, STATES, RANK = 192, 56, 16, 12
STEPS = SIDE * SIDE
SHORT = 784  # the loop's backward is quadratic in the steps: at 3136 it takes minutes

Arrays = Mapping[str, Tensor]
Measurement = Callable[[], Row]


def inputs(side: int = SIDE) -> dict[str, Tensor]:
    """The arguments of `bench.scan`'s operator, dt between 0.001 and 0.1 as Mamba starts."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    dt = torch.rand(1, CHANNELS, generator=generator) * 0.099 + 0.001
    return {
        "x": normal(1, side, side, CHANNELS),
        "delta": normal(1, side, side, CHANNELS) * 0.1,
        "B": normal(1, side, side, 1, STATES),
        "C": normal(1, side, side, 1, STATES),
        "dt_bias": dt + torch.log(-torch.expm1(-dt)),
        "A_log": torch.arange(1.0, STATES + 1).log().expand(1, CHANNELS, STATES).contiguous(),
        "D": torch.ones(1, CHANNELS),
    }


def cross_inputs() -> dict[str, Tensor]:
    """The arguments of `cross`, with 16 states: four directions, each with its parameters."""
    one, generator = inputs(), torch.Generator().manual_seed(1)
    arrays = {name: one[name].repeat_interleave(4, 0) for name in ("dt_bias", "A_log", "D")}
    arrays |= {name: one[name].repeat_interleave(4, 3) for name in ("B", "C")}
    arrays["low"] = torch.randn(1, SIDE, SIDE, 4, RANK, generator=generator) * 0.1
    arrays["dt_weight"] = torch.randn(4, CHANNELS, RANK, generator=generator) * 0.1
    return {"x": one["x"], **arrays}


def compiled(arrays: Arrays, text: str, directions: int) -> tuple[Measurement, Measurement]:
    op = scanlang.compile(scanlang.loads(text))
    name = "cross-scan, per direction" if directions > 1 else "one direction"
    wanted = {key: value.clone().requires_grad_() for key, value in arrays.items()}
    special = STEPS * CHANNELS * (2 + STATES)
    moved = 4 * (sum(value.numel() for value in arrays.values()) + arrays["x"].numel()) // directions
    gradient = torch.randn_like(arrays["x"])

    def forward() -> Row:
        with torch.no_grad():
            median, best = median_cpu(lambda: op(**arrays))
        title = f"scanlang: {name}, forward"
        return Row(title, median / directions, best / directions, bytes=moved, special=special)

    def backward() -> Row:
        with torch.no_grad():
            op(**arrays)
        result = op(**wanted)
        run = partial(torch.autograd.grad, result, list(wanted.values()), gradient, retain_graph=True)
        median, best = median_cpu(run)
        title, note = f"scanlang: {name}, backward", "all gradients"
        return Row(title, median / directions, best / directions, bytes=2 * moved, special=special, note=note)

    return forward, backward


def sequence(arrays: Arrays) -> tuple[Tensor, ...]:
    """The same inputs as `selective_scan_loop` takes them, with one direction: u, delta, A, B, C, D, delta_bias."""
    u, delta = (arrays[name].flatten(1, 2).transpose(1, 2)[:, None].contiguous() for name in ("x", "delta"))
    B, C = (arrays[name].flatten(1, 2).movedim(1, -1).contiguous() for name in ("B", "C"))
    return u, delta, -arrays["A_log"].exp(), B, C, arrays["D"], arrays["dt_bias"]


def loop_forward() -> Row:
    arguments = sequence(inputs())
    with torch.no_grad():
        return Row("torch loop (selective_scan_ref), forward", *median_cpu(lambda: selective_scan_loop(*arguments)))


def loop_backward() -> Row:
    arguments = [value.requires_grad_() for value in sequence(inputs(28))]
    result = selective_scan_loop(*arguments)
    gradient = torch.randn_like(result)
    time, best = median_cpu(lambda: torch.autograd.grad(result, arguments, gradient, retain_graph=True))
    full = time * (STEPS // SHORT) ** 2 / 1e3
    return Row(f"torch loop, backward at {SHORT} steps", time, best, note=f"quadratic: about {full:.0f} s at {STEPS}")


def mambapy_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor) -> Tensor:
    """mambapy's `selective_scan`: u, delta (B, L, C), B, C (B, L, N), A (C, N)."""
    from mambapy.pscan import pscan

    dt = functional.softplus(delta + delta_bias)
    decay = torch.exp(dt[..., None] * A)
    drive = dt[..., None] * B[:, :, None] * u[..., None]
    states = pscan(decay, drive)
    result: Tensor = (states @ C[..., None]).squeeze(3) + D * u
    return result


def mambapy_arguments(arrays: Arrays) -> list[Tensor]:
    """The same inputs as mambapy takes them."""
    u, delta = (arrays[name].flatten(1, 2) for name in ("x", "delta"))
    B, C = (arrays[name].flatten(1, 2)[:, :, 0] for name in ("B", "C"))
    return [u, delta, -arrays["A_log"][0].exp(), B, C, arrays["D"][0], arrays["dt_bias"][0]]


def mambapy_forward() -> Row:
    arguments = mambapy_arguments(inputs())
    with torch.no_grad():
        return Row("mambapy pscan, forward", *median_cpu(lambda: mambapy_scan(*arguments)))


def mambapy_backward() -> Row:
    arguments = [value.detach().clone().requires_grad_() for value in mambapy_arguments(inputs())]
    result = mambapy_scan(*arguments)
    gradient = torch.randn_like(result)
    times = median_cpu(lambda: torch.autograd.grad(result, arguments, gradient, retain_graph=True))
    return Row("mambapy pscan, backward", *times)


def measurements() -> dict[str, Measurement]:
    """Every row by the name that `--rows` takes."""
    one = (HERE / "bench.scan").read_text()
    cross = (HERE / "cross_scan.scan").read_text().replace("state = 1", f"state = {STATES}")
    one_forward, one_backward = compiled(inputs(), one, 1)
    cross_forward, cross_backward = compiled(cross_inputs(), cross, 4)
    rows = {
        "scanlang-one-forward": one_forward,
        "scanlang-one-backward": one_backward,
        "scanlang-cross-forward": cross_forward,
        "scanlang-cross-backward": cross_backward,
        "loop-forward": loop_forward,
        "loop-backward": loop_backward,
    }
    if importlib.util.find_spec("mambapy") is None:
        print("mambapy is not installed (pip install mambapy): its rows are left out", file=sys.stderr)
        return rows
    return {**rows, "mambapy-forward": mambapy_forward, "mambapy-backward": mambapy_backward}


@click.command(help=__doc__)
@click.option("--rows", help="Patterns of rows, separated by commas: 'scanlang*,loop-forward'. All without it.")
@click.option("--threads", default=2, show_default=True)
@click.option("--json", "path", type=click.Path(dir_okay=False), help="Write the rows there as well.")
def main(rows: str | None, threads: int, path: str | None) -> None:
    torch.set_num_threads(threads)
    available = measurements()
    names = chosen(list(available), rows)
    found = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        found.append(available[name]())
    limits = cpu_limits(threads)
    print(f"batch 1, {CHANNELS} channels, {SIDE} × {SIDE} = {STEPS} steps, {STATES} states, float32; medians")
    print(table(found, limits))
    if path is not None:
        write_json(path, found, limits)


if __name__ == "__main__":
    main()
