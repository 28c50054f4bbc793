"""The whole of scanlang on one page: VMamba's cross-scan, from its text to fused kernels running over a real photograph.

    python examples/demo.py                       # or: make demo

Compiles `cross_scan.scan` for the CPU and for sm_90, runs it forward and backward over a photograph at full resolution,
checks a crop against the reference, times it beside the usual torch pipeline, and draws into out/demo. About a minute on
two cores.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from common.photograph import crop, features, load_photograph
from common.progress import Progress
from common.receptive_field import receptive_fields
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.bench.clock import median_cpu
from scanlang.bench.unfused import unfused_cross_scan
from scanlang.draw import orders_svg
from scanlang.testing import reference

HERE = Path(os.path.relpath(Path(__file__).parent))
CHANNELS = 96
CHECKED = (24, 40)
TIMED = (56, 56)
DRAWN = (9, 12)
TOLERANCE = 1e-4
SMALLER = 8
STAGES = 9


def compile_for(target: str, dtype: str, out: Path, size: tuple[int, int]) -> str:
    """The report of the scan compiled for a target; its modules and machine code are left in a folder of that name."""
    from scanlang.codegen.driver import compile_to_folder

    if target != "cpu" and importlib.util.find_spec("triton") is None:
        return f"{target}: left out, because Triton is not installed (wheels are for Linux only: pip install scanlang[triton])"
    folder = out / target
    compile_to_folder(HERE / "cross_scan.scan", folder, target=target, size=size, channels=CHANNELS, dtype=dtype)
    return f"{(folder / 'report.txt').read_text()}written to {folder}: {', '.join(sorted(p.name for p in folder.iterdir()))}"


def errors(program: scanlang.Program, core: scanlang.Scan2d, maps: Tensor) -> dict[str, float]:
    """How far the output and every gradient are off the reference in float64, each relative to its norm."""
    ours = {"x": maps.clone(), **{name: value.detach().clone() for name, value in core.named_parameters()}}
    exact = {name: value.double().requires_grad_() for name, value in ours.items()}
    x = ours["x"].requires_grad_()
    output, wanted = core(x), reference(program, "cross", **exact)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(3))
    gradients = torch.autograd.grad(output, [x, *core.parameters()], cotangent)
    correct = torch.autograd.grad(wanted, list(exact.values()), cotangent.double())
    found = {"output": distance(output, wanted)}
    return found | {f"gradient of {name}": distance(a, b) for name, a, b in zip(ours, gradients, correct, strict=True)}


def distance(got: Tensor, wanted: Tensor) -> float:
    return float((got.detach().double() - wanted.detach()).norm() / wanted.detach().norm())


def timings(core: scanlang.Scan2d, maps: Tensor) -> list[tuple[str, float, float]]:
    """(what, scanlang's milliseconds, the unfused pipeline's): forward, and backward with all gradients."""
    x, parameters = maps.clone().requires_grad_(), dict(core.named_parameters())
    pipelines = (lambda: core(x), lambda: unfused_cross_scan(x, **parameters))
    with torch.no_grad():
        forward = [median_cpu(run, 1.0).median for run in pipelines]
    backward = [median_cpu(gradients(run(), [x, *parameters.values()]), 1.0).median for run in pipelines]
    return [("forward", forward[0], forward[1]), ("backward", backward[0], backward[1])]


def gradients(output: Tensor, wanted: list[Tensor]) -> Callable[[], object]:
    cotangent = torch.randn_like(output)
    return lambda: torch.autograd.grad(output, wanted, cotangent, retain_graph=True)


def draw_orders(program: scanlang.Program, out: Path) -> list[Path]:
    """The four orders as SVG, which needs no other package."""
    orders = [(order.name, order.positions(*DRAWN)) for order in program.directions("cross")]
    (out / "orders.svg").write_text(orders_svg(orders, *DRAWN))
    return [out / "orders.svg"]


def draw_pictures(
    program: scanlang.Program, out: Path, name: str, photograph: Tensor, response: Tensor, fields: dict[str, Tensor]
) -> list[Path]:
    from common import pictures

    orders = [(order.name, order.positions(*DRAWN)) for order in program.directions("cross")]
    return [
        pictures.draw_orders(out / "orders.png", orders, *DRAWN),
        pictures.draw_photograph(out / "input.png", photograph, name),
        pictures.draw_response(out / "response.png", photograph, response),
        pictures.draw_receptive_fields(out / "receptive_fields.png", fields),
    ]


def shrink(photograph: Tensor, factor: int) -> Tensor:
    """`(H, W, 3)` by averages of `factor` × `factor` cells."""
    return functional.avg_pool2d(photograph.movedim(-1, 0), factor).movedim(0, -1)


def heading(text: str) -> None:
    print(f"\n{text}\n{'─' * len(text)}", flush=True)


def compile_stage(progress: Progress, out: Path, size: tuple[int, int]) -> None:
    for target, dtype in (("cpu", "float32"), ("sm_90", "bfloat16")):
        with progress.stage(f"compile for {target}"):
            report = compile_for(target, dtype, out, size)
        heading(f"compiled for {target}")
        print(report)


def photograph_stage(progress: Progress, core: scanlang.Scan2d, name: str, maps: Tensor) -> Tensor:
    """What the scan brings every cell from elsewhere: its output without the skip term."""
    x = maps.clone().requires_grad_()
    start = time.perf_counter()
    with progress.stage("forward over the photograph"):
        output = core(x)
    between = time.perf_counter()
    with progress.stage("backward over the photograph"):
        found = torch.autograd.grad(output.square().mean(), [x, *core.parameters()])
    heading(f"{name}, {maps.shape[1]} × {maps.shape[2]} cells, {CHANNELS} channels, four directions")
    end = time.perf_counter()
    print(f"forward {between - start:.2f} s, backward with all {len(found)} gradients {end - between:.2f} s (first calls)")
    skipped: Tensor = core.D.sum(0) * x
    brought: Tensor = output.detach() - skipped.detach()
    return brought


def check_stage(progress: Progress, program: scanlang.Program, core: scanlang.Scan2d, maps: Tensor) -> bool:
    with progress.stage("check against the reference"):
        found = errors(program, core, crop(maps, *CHECKED))
    heading("against the reference (float64 loops) on the middle {} × {} cells".format(*CHECKED))
    for name, error in found.items():
        print(f"  {name:<28}{error:.1e}  {'' if error <= TOLERANCE else 'TOO LARGE'}".rstrip())
    right = max(found.values()) <= TOLERANCE
    print(f"relative errors, float32: {'all' if right else 'NOT all'} below {TOLERANCE:.0e}")
    return right


def time_stage(progress: Progress, core: scanlang.Scan2d, maps: Tensor) -> None:
    with progress.stage("time beside the unfused pipeline"):
        rows = timings(core, crop(maps, *TIMED))
    heading("times on the middle {} × {} cells, {} threads".format(*TIMED, torch.get_num_threads()))
    print(f"  {'':<12}{'scanlang':>12}{'unfused':>14}")
    for what, ours, theirs in rows:
        print(f"  {what:<12}{ours:>9.1f} ms{theirs:>11.0f} ms{theirs / ours:>9.0f}×")
    print("unfused: permuted copies, projections, mamba's step loop in torch, merge (examples/unfused.py).")
    cells, timed = maps.shape[1] * maps.shape[2], TIMED[0] * TIMED[1]
    hours = rows[-1][2] / 3.6e6 * (cells / timed) ** 2
    print(f"Its backward is quadratic in the number of cells: on the whole photograph it would take about {hours:.0f} hours.")


def draw_stage(
    progress: Progress, program: scanlang.Program, out: Path, name: str, photograph: Tensor, response: Tensor
) -> None:
    with progress.stage("receptive fields"):
        small = features(shrink(photograph, SMALLER), CHANNELS)
        fields = receptive_fields(scanlang.load(HERE / "receptive_field.scan"), small)
    with progress.stage("pictures"):
        written = draw_orders(program, out)
        if importlib.util.find_spec("matplotlib") is not None:
            written += draw_pictures(program, out, name, photograph, response, fields)
    heading("pictures")
    print("\n".join(f"  {path}" for path in written))
    if len(written) == 1:
        print("The other pictures need matplotlib, which is not installed: pip install scanlang[viz]")


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/demo"), show_default=True)
def main(out: Path) -> None:
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    progress = Progress(STAGES)
    with progress.stage("program and photograph"):
        program = scanlang.load(HERE / "cross_scan.scan")
        name, photograph = load_photograph()
        maps = features(photograph, CHANNELS)
        core = scanlang.Scan2d(program, "cross", CHANNELS)
    compile_stage(progress, out, (photograph.shape[0], photograph.shape[1]))
    response = photograph_stage(progress, core, name, maps)
    right = check_stage(progress, program, core, maps)
    time_stage(progress, core, maps)
    draw_stage(progress, program, out, name, photograph, response)
    print(f"\nthe whole demo took {time.perf_counter() - start:.0f} s; look at {out}")
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
