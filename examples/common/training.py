"""Training a classifier: AdamW, a warm-up and a cosine, in float32.

What comes out depends on the seed alone: on how many processes share the batches only by rounding, and not on interruptions, as
a checkpoint after every epoch has the whole state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.checkpoints import random_states, read_checkpoint, restore_random_states, write_checkpoint
from common.data import DataSet, Part
from common.progress import TrainingLine
from common.workers import Workers

WARM_UP, LONGEST_GRADIENT, TESTED_AT_ONCE = 0.05, 1.0, 500


@dataclass(frozen=True)
class Recipe:
    epochs: int
    batch: int
    lr: float
    weight_decay: float = 0.05


@dataclass(frozen=True)
class Epoch:
    """`losses`: of every step, the mean over the whole batch; `accuracy`: of the test images, after the epoch."""

    losses: list[float]
    accuracy: float
    seconds: float

    @property
    def loss(self) -> float:
        return sum(self.losses) / len(self.losses)


@dataclass
class Training:
    """`Training(model, data, recipe, seed, workers, folder, about).run(resume=False)` is the list of its epochs.

    `about` says which run this is: a checkpoint of another one is refused.
    """

    model: nn.Module
    data: DataSet
    recipe: Recipe
    seed: int
    workers: Workers
    folder: Path
    about: dict[str, Any]
    epochs: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = len(self.data.train) // self.recipe.batch
        self.model.to(self.workers.device)
        self.optimizer = torch.optim.AdamW(weight_groups(self.model, self.recipe.weight_decay), self.recipe.lr)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Of the learning rate: a line up, half a cosine down."""
        total = self.steps * self.recipe.epochs
        warm = max(1, round(WARM_UP * total))
        return (step + 1) / warm if step < warm else (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2

    def run(self, resume: bool) -> list[Epoch]:
        if resume:
            self.restore()
        self.workers.wait()
        self.wrapped = self.workers.wrapped(self.model)
        line = TrainingLine(self.recipe.epochs, self.steps, self.recipe.batch, len(self.epochs)) if self.workers.leads else None
        for number in range(len(self.epochs), self.recipe.epochs):
            start = time.perf_counter()
            losses = [self.step(part, line) for part in self.batches(number)]
            accuracy = self.accuracy()
            self.epochs.append(Epoch(losses, accuracy, time.perf_counter() - start))
            if line is not None:
                self.save()
                line.epoch(self.epochs[-1].loss, accuracy)
        return self.epochs

    def batches(self, number: int) -> Iterator[Part]:
        """This process's share of every batch of an epoch. Order and moves are drawn for the whole of it, by all alike."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        count, shift = len(self.data.train), self.data.shift
        order = torch.randperm(count, generator=generator)
        moves = torch.randint(0, 2 * shift + 1, (count, 2), generator=generator)
        for step in range(self.steps):
            rows = self.workers.share(order[step * self.recipe.batch : (step + 1) * self.recipe.batch])
            yield self.data.batch(rows, moves[rows]).to(self.workers.device)

    def step(self, part: Part, line: TrainingLine | None) -> float:
        self.wrapped.train()
        loss = functional.cross_entropy(self.wrapped(part.images), part.labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), LONGEST_GRADIENT)
        self.optimizer.step()
        self.schedule.step()
        mean = float(self.workers.added(loss.detach()) / self.workers.count)
        if not math.isfinite(mean):
            raise SystemExit(f"the loss is {mean} at step {self.schedule.last_epoch}: try a smaller --lr")
        if line is not None:
            line.step(mean)
        return mean

    @torch.no_grad()
    def accuracy(self) -> float:
        """The share of the test images that are recognised."""
        self.model.eval()
        own = self.workers.share(torch.arange(len(self.data.test)))
        right = torch.zeros((), dtype=torch.int64, device=self.workers.device)
        for numbers in own.split(TESTED_AT_ONCE):
            part = self.data.test.rows(numbers).to(self.workers.device)
            scores: Tensor = self.model(part.images)
            right += (scores.argmax(1) == part.labels).sum()
        return int(self.workers.added(right)) / len(self.data.test)

    def save(self) -> None:
        write_checkpoint(
            self.folder,
            {
                "about": self.about,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": random_states(),
                "epochs": [asdict(epoch) for epoch in self.epochs],
            },
        )

    def restore(self) -> None:
        content = read_checkpoint(self.folder, self.about)
        if content is None:
            return
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
        restore_random_states(content["random"])
        self.epochs = [Epoch(**epoch) for epoch in content["epochs"]]


def weight_groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; vectors, and what the model names, do not."""
    spared: set[str] = getattr(model, "no_weight_decay", set)()
    named = list(model.named_parameters())
    kept = [weight for name, weight in named if weight.dim() < 2 or name in spared]
    decayed = [weight for name, weight in named if not (weight.dim() < 2 or name in spared)]
    return [{"params": decayed, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]
