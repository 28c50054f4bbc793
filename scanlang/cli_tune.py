"""`scanlang tune`: measured schedules for a scan, or for every scan of a network. In: what the user names; out: lines.

Needs an NVIDIA GPU, torch and Triton.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scanlang.cli_options import TUNED_TYPES

if TYPE_CHECKING:
    from scanlang.codegen.schedule import Schedule
    from scanlang.codegen.tune import Tuned
    from scanlang.codegen.tune_jobs import Job
    from scanlang.codegen.tune_search import Progress

BAR = 16
INTERRUPTED = 130
FEWEST_AXES_OF_IMAGES = 2
USUAL_IMAGE = (224, 224)


class Stopped(Exception):
    """The GPU or its memory gave out; what was stored until then stays."""


@dataclass(frozen=True)
class Asked:
    """What is tuned: `backbone` is a network of the library, or of `file`; otherwise a scan of `file`."""

    file: str | None
    backbone: str | None
    scan: str | None
    layer: int
    size: tuple[int, ...] | None
    channels: int | None
    batch: int
    dtype: str
    backward: bool
    budget: float
    out: str | None
    anew: bool


def check(asked: Asked) -> None:
    """Raises UsageError for options that do not go together."""
    if asked.file is None and asked.backbone is None:
        raise click.UsageError("give a program, or a network with --backbone")
    if asked.backbone is not None:
        given = {"--scan": asked.scan, "--channels": asked.channels, "--layer": asked.layer or None}
        for option, value in given.items():
            if value is not None:
                raise click.UsageError(
                    f"{option} is for a scan; with --backbone every scan of the network is tuned as it is there"
                )
    if not isfinite(asked.budget) or asked.budget <= 0:
        raise click.UsageError("--budget: seconds for each scan, more than 0")
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise click.UsageError("TRITON_INTERPRET=1 makes Triton interpret kernels; unset it to measure them")


def why_not_here() -> str | None:
    """Why nothing can be measured on this machine."""
    import torch

    if not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device; scanlang tune measures on an NVIDIA GPU"
    return None


def run(asked: Asked, show: Callable[[str], None]) -> Iterator[str]:
    """Tunes scan after scan and says what came of each; `show` replaces what it showed before.

    Raises Stopped, and SystemExit after Ctrl-C.
    """
    import torch

    from scanlang.codegen.gpu.compile_ahead import CompileAhead
    from scanlang.codegen.tune import forget, tune
    from scanlang.codegen.tune_trial import DeviceLost
    from scanlang.codegen.tuned import machine

    path, here = writable(asked.out), machine()
    if here is None:
        raise Stopped("the GPU cannot be asked for its name")
    show("finding the scans")
    major, minor = torch.cuda.get_device_capability()
    try:
        with CompileAhead(10 * major + minor) as ahead:
            jobs = jobs_of(asked, "cuda")
            if asked.anew:
                forget(jobs, path, here)
            for number, job in enumerate(jobs):
                title = f"{job} ({number + 1} of {len(jobs)})"
                show(f"{title}: compiling")
                report = progress_of(title, show)
                options: dict[str, Any] = {"backward": asked.backward, "seconds": asked.budget}
                made = tune(job, path, here, ahead=ahead, report=report, **options)
                show("")
                yield from lines_of(job, made)
                if made.outcome.interrupted:
                    yield f"interrupted; what was chosen until then is in {click.format_filename(path)}"
                    raise SystemExit(INTERRUPTED)
    except torch.OutOfMemoryError:
        show("")
        raise Stopped(f"the GPU has not enough memory for batch {asked.batch}; --batch takes fewer") from None
    except DeviceLost as error:
        show("")
        raise Stopped(f"the GPU has failed ({str(error).partition(chr(10))[0]}); what was chosen before is stored") from None
    yield stored_in(path)


def stored_in(path: Path) -> str:
    """Where choices are, and how scans come to use them."""
    from scanlang.codegen.tuned import VARIABLE, files

    used = path.absolute() in (one.absolute() for one in files())
    shown = click.format_filename(path)
    return f"stored in {shown}" if used else f"stored in {shown}, which {VARIABLE}={shown} has scans use"


def writable(out: str | None) -> Path:
    """Where choices go; raises OSError where they cannot, before anything is measured."""
    from scanlang.codegen.tuned import files, usual_file

    path = Path(out) if out is not None else next(iter(files()), None) or usual_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(21, "is a folder; --out names a file", str(path))
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        raise PermissionError(13, "cannot be written; --out names another file", str(path))
    return path


def jobs_of(asked: Asked, device: str) -> list[Job]:
    """Raises ScanError for a program or sizes that are wrong."""
    import torch

    from scanlang.codegen.driver import CHANNELS, SIZES
    from scanlang.codegen.tune_jobs import jobs_of_network, jobs_of_scan
    from scanlang.program import load

    dtype: torch.dtype = getattr(torch, TUNED_TYPES[asked.dtype])
    if asked.backbone is not None:
        from scanlang.backbones import create_model

        size = asked.size or USUAL_IMAGE
        two = len(size) == FEWEST_AXES_OF_IMAGES
        model = create_model(asked.backbone, program=asked.file, img_size=size if two else None)  # type: ignore[arg-type]
        return jobs_of_network(model, size, asked.batch, dtype, device)
    assert asked.file is not None
    program = load(asked.file, None if asked.size is None else [asked.size])
    name, size = program.scan_name(asked.scan), asked.size or SIZES[len(program.checked.axes)]
    channels = CHANNELS if asked.channels is None else asked.channels
    return jobs_of_scan(program, name, size, channels, asked.batch, dtype, device, asked.layer)


# What is shown.


def progress_of(title: str, show: Callable[[str], None]) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        full = BAR * progress.measured // max(progress.planned, 1)
        bar = f"[{'█' * full}{'·' * (BAR - full)}] {progress.measured}/{progress.planned}"
        best = "" if progress.best is None else f", best {progress.best.own:.3f} ms, before {progress.best.first:.3f} ms"
        show(f"{bar} {title}{best}")

    return report


def lines_of(job: Job, made: Tuned) -> Iterator[str]:
    outcome, first = made.outcome, made.plan.first
    yield str(job)
    if outcome.times is None:
        yield "  nothing was chosen"
    elif outcome.schedule == first:
        how = "the rule's choice" if not made.plan.agreed else "the choice of the other entries"
        yield f"  {how} stays: {outcome.times.own:.3f} ms"
    else:
        less = 1 - outcome.times.share
        yield f"  {outcome.times.own:.3f} ms, {less:.0%} less than before ({outcome.times.first:.3f} ms)"
        yield f"  {changes(first, outcome.schedule)}"
    yield f"  {measured(outcome.measured, outcome.refused)}{'' if outcome.done else '; not all: the time was over'}"
    if made.plan.agreed:
        yield "  states are saved at the steps that other entries of this program and grid have fixed; --anew measures others"
    if made.dropped:
        yield f"  {made.dropped} entries that save states at other steps are gone: tune them again"
    if made.aside is not None:
        yield f"  the file could not be read; it is now {click.format_filename(made.aside)}"


def changes(first: Schedule, chosen: Schedule) -> str:
    """`chunk 8 → 4, lanes 32 → 64`."""
    pairs = [(one.name, getattr(first, one.name), getattr(chosen, one.name)) for one in fields(first)]
    return ", ".join(f"{name.replace('_', ' ')} {was} → {now}" for name, was, now in pairs if was != now)


def measured(count: int, refused: Mapping[str, int]) -> str:
    whole = f"{count} other schedule{'' if count == 1 else 's'} measured"
    why = ", ".join(f"{number} {reason}" for reason, number in sorted(refused.items()))
    return f"{whole}, {sum(refused.values())} of them refused ({why})" if why else whole
