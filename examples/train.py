"""Train a network from a program of the language, on real digits that come inside installed packages; nothing is downloaded.

    python examples/train.py                                     # a small VMamba, scikit-learn's digits, three seeds
    python examples/train.py --model small_vim
    python examples/train.py --data mnist                        # 4000 digits of MNIST to learn from, 1000 to test
    python examples/train.py --pattern mine.scan                 # with a scan of your own in the place of the network's
    python examples/train.py --program mine.scan --model mine    # a network of your own
    python examples/train.py --compare raster,bidirectional,cross,snake
    torchrun --nproc-per-node 2 examples/train.py                # the same losses, shared by two processes

DIR gets metrics.json and curve.png, and for each seed a checkpoint after every epoch, metrics.json, and model.safetensors: the
trained network together with its program (`scanlang.backbones.load`). After an interruption --resume goes on from the last
checkpoint, with the losses that there would have been without; under torchrun, --max-restarts 3 does so by itself.

--compare trains the same network with several patterns, by default on a made-up task where order matters: a bright and a dark
mark, far apart; is the bright one above the dark one, is it left of it?
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from common.checkpoints import forget_checkpoint
from common.data import DATA, DataSet
from common.networks import NetworkChoice
from common.results import Result, draw, said, summary, table, write_json
from common.training import Recipe, Training
from common.workers import Workers, joined, restarts

import scanlang
from scanlang.backbones import save
from scanlang.files import write_atomically

HERE = Path(os.path.relpath(Path(__file__).parent))
PROGRAM, PATTERNS = HERE / "small.scan", HERE / "patterns.scan"
RECIPES: Mapping[str, Recipe] = {
    "digits": Recipe(epochs=20, batch=64, lr=5e-3),
    "mnist": Recipe(epochs=20, batch=64, lr=4e-3),
    "order": Recipe(epochs=6, batch=32, lr=1e-2),
}


@dataclass(frozen=True)
class Runs:
    """A network to be trained once for each seed; results are by seed in `out`."""

    choice: NetworkChoice
    data: DataSet
    recipe: Recipe
    seeds: tuple[int, ...]
    out: Path

    @property
    def about(self) -> dict[str, Any]:
        return {"data": self.data.name, **asdict(self.choice), **asdict(self.recipe)}

    def folder(self, seed: int) -> Path:
        return self.out / f"seed{seed}"

    def run(self, workers: Workers, resume: bool) -> list[Result]:
        if not resume and workers.leads:
            for seed in self.seeds:
                forget_checkpoint(self.folder(seed))
        workers.wait()
        return [self.run_seed(seed, workers, resume) for seed in self.seeds]

    def run_seed(self, seed: int, workers: Workers, resume: bool) -> Result:
        torch.manual_seed(seed)
        model, folder = self.choice.made(self.data), self.folder(seed)
        about = {"data": self.data.name, **self.choice.about(model), **asdict(self.recipe), "seed": seed}
        epochs = Training(model, self.data, self.recipe, seed, workers, folder, about).run(resume)
        result = Result(seed, sum(weight.numel() for weight in model.parameters()), epochs)
        if workers.leads:
            losses = [epoch.losses for epoch in epochs]
            write_json(folder / "metrics.json", {**about, **result.numbers, "losses": losses})
            save(model, folder / "model.safetensors")
        return result


def train(runs: Runs, workers: Workers, resume: bool) -> None:
    results = runs.run(workers, resume)
    if not workers.leads:
        return
    write_json(runs.out / "metrics.json", {**runs.about, **summary(results), "seeds": [result.numbers for result in results]})
    name = runs.choice.model or runs.choice.program
    draw(runs.out / "curve.png", f"{name} on {runs.data.name}", {name: results})
    print(f"{name} on {runs.data.name}, {results[0].parameters} parameters\n{said(results)}\nwritten to {runs.out}")


def compare(runs: Runs, patterns: tuple[str, ...], workers: Workers, resume: bool) -> None:
    """The same network with each of the patterns, and a table."""
    choices = {pattern: replace(runs.choice, pattern=pattern) for pattern in patterns}
    for choice in choices.values():
        choice.made(runs.data)  # a pattern that does not fit is said before the others have trained for hours
    found = {}
    for pattern, choice in choices.items():
        if workers.leads:
            click.echo(f"{pattern}:", err=True)
        out = runs.out / "".join(letter if letter.isalnum() else "-" for letter in pattern)
        found[pattern] = replace(runs, choice=choice, out=out).run(workers, resume)
    if not workers.leads:
        return
    rows = {name: {**summary(results), "seeds": [result.numbers for result in results]} for name, results in found.items()}
    write_json(runs.out / "compare.json", {**runs.about, "patterns": rows})
    write_atomically(runs.out / "compare.md", table(found))
    draw(runs.out / "compare.png", f"Patterns on {runs.data.name}", found)
    print(f"{table(found)}\nmeans of {len(runs.seeds)} seeds, written to {runs.out}")


def words(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip()) if value else ()


def numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    found = words(context, parameter, value)
    if not found or not all(word.isdecimal() for word in found) or len(set(found)) < len(found):
        raise click.BadParameter(f"{value!r} is not a list of different numbers, such as 0,1,2")
    return tuple(map(int, found))


@click.command(help=__doc__.replace("\n\n    python", "\n\n\b\n    python"))
@click.option("--program", help="A program with a backbone, a file or a name of the library.  [default: small.scan]")
@click.option("--model", help="Which backbone of the program.  [default: small_vmamba; of your own program, the only one]")
@click.option("--pattern", metavar="FILE[:SCAN]", help="A scan for the backbone's `core`.")
@click.option("--compare", "patterns", metavar="SCAN,…", callback=words, help="Several; patterns.scan has some.")
@click.option("--data", "data_name", type=click.Choice(list(DATA)), help="[default: digits; order for --compare]")
@click.option("--epochs", type=click.IntRange(1), help="[default: depends on the data, as do --batch and --lr]")
@click.option("--batch", type=click.IntRange(1), help="Images of a step, of all processes together.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="The highest learning rate.")
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N,…", callback=numbers, help="A run for each.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="[default: out/train/MODEL-DATA]")
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint, where there is one.")
def main(
    program: str | None,
    model: str | None,
    pattern: str | None,
    patterns: tuple[str, ...],
    data_name: str | None,
    epochs: int | None,
    batch: int | None,
    lr: float | None,
    seeds: tuple[int, ...],
    device: str,
    out: Path | None,
    resume: bool,
) -> None:
    if pattern and patterns:
        raise click.UsageError("--pattern is one scan, --compare several: give one of the two")
    if program is None:
        program, model = (str(PATTERNS), model or "scans_alone") if patterns else (str(PROGRAM), model or "small_vmamba")
    data = DATA[data_name or ("order" if patterns else "digits")]()
    given: dict[str, Any] = {
        name: value for name, value in {"epochs": epochs, "batch": batch, "lr": lr}.items() if value is not None
    }
    recipe = replace(RECIPES[data.name], **given)
    place = out or Path("out/train") / f"{model or Path(program).stem}-{data.name}"
    runs = Runs(NetworkChoice(program, model, pattern), data, recipe, seeds, place)
    try:
        with joined(device) as workers:
            check_batch(recipe.batch, len(data.train), workers.count)
            if patterns:
                compare(runs, patterns, workers, resume or restarts() > 0)
            else:
                train(runs, workers, resume or restarts() > 0)
    except scanlang.ScanError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        raise SystemExit(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None


def check_batch(batch: int, images: int, workers: int) -> None:
    if batch % workers:
        raise click.UsageError(f"--batch {batch}: {workers} processes cannot share it equally")
    if batch > images:
        raise click.UsageError(f"--batch {batch}: there are {images} images to learn from")


if __name__ == "__main__":
    main()
