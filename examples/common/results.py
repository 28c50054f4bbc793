"""What a training run leaves: numbers as JSON, a curve, a table of several."""

from __future__ import annotations

import importlib.util
import json
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import scanlang
from common.training import Epoch
from scanlang.files import write_atomically


@dataclass(frozen=True)
class Result:
    """The run of one seed; `accuracy`: of the test images, after the last epoch; `seconds`: of training and testing."""

    seed: int
    parameters: int
    epochs: Sequence[Epoch]

    @property
    def accuracy(self) -> float:
        return self.epochs[-1].accuracy

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.epochs)

    @property
    def numbers(self) -> dict[str, Any]:
        each = [{"loss": epoch.loss, "accuracy": epoch.accuracy, "seconds": round(epoch.seconds, 3)} for epoch in self.epochs]
        whole = {"accuracy": self.accuracy, "seconds": round(self.seconds, 3), "epochs": each}
        return {"seed": self.seed, "parameters": self.parameters, **whole}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Of several seeds: mean and standard deviation."""
    found = [result.accuracy for result in results]
    deviation = statistics.stdev(found) if len(found) > 1 else 0.0
    seconds = statistics.mean(result.seconds for result in results)
    spread = {"least": min(found), "deviation": deviation}
    return {"accuracy": statistics.mean(found), **spread, "seconds": round(seconds, 3), "parameters": results[0].parameters}


def said(results: Sequence[Result]) -> str:
    """A line for each seed, and their mean."""
    lines = [f"seed {one.seed}: accuracy {one.accuracy:.2%} in {one.seconds:.0f} s" for one in results]
    whole = summary(results)
    if len(results) > 1:
        lines.append(f"mean of {len(results)} seeds: accuracy {whole['accuracy']:.2%}, {whole['seconds']:.0f} s for each")
    return "\n".join(lines)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps({**content, "versions": versions()}, indent=2) + "\n")


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), "scanlang": scanlang.__version__, "torch": torch.__version__}


def table(found: Mapping[str, Sequence[Result]]) -> str:
    """Markdown: a row for each pattern."""
    lines = ["| pattern | accuracy | lowest seed | epochs to 90 % | parameters | s per seed |", "|---|---|---|---|---|---|"]
    for name, results in found.items():
        one = summary(results)
        cells = (f"{one['accuracy']:.1%}", f"{one['least']:.1%}", reached(results), one["parameters"], f"{one['seconds']:.0f}")
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def reached(results: Sequence[Result], accuracy: float = 0.9) -> str:
    """The epoch after which the mean over the seeds first was as good."""
    by_epoch = zip(*(one.epochs for one in results), strict=True)
    means = [statistics.mean(epoch.accuracy for epoch in same) for same in by_epoch]
    return next((str(number) for number, mean in enumerate(means, 1) if mean >= accuracy), "never")


def draw(path: Path, title: str, found: Mapping[str, Sequence[Result]]) -> None:
    """Losses and accuracies by epoch, a colour for each name, a line for each seed."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no curve: matplotlib is not installed (pip install 'scanlang[viz]')", file=sys.stderr)
        return
    from common.pictures import draw_curves

    draw_curves(path, title, {name: [curve(one) for one in results] for name, results in found.items()})


def curve(result: Result) -> list[tuple[float, float]]:
    return [(epoch.loss, epoch.accuracy) for epoch in result.epochs]
