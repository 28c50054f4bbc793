"""A photograph that comes inside an installed package, and feature maps made of it; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def load_photograph() -> tuple[str, Tensor]:
    """What it is, and the picture `(H, W, 3)` in 0 … 1; SystemExit says what to install if neither package is there."""
    pixels: Any
    if importlib.util.find_spec("skimage") is not None:
        from skimage import data

        name, pixels = "scikit-image's coffee", data.coffee()
    elif importlib.util.find_spec("sklearn") is not None:
        from sklearn.datasets import load_sample_image

        name, pixels = "scikit-learn's china.jpg", load_sample_image("china.jpg")
    else:
        raise SystemExit("no photograph: scikit-image and scikit-learn ship one each (pip install scikit-image)")
    return name, torch.from_numpy(pixels.copy()).float() / 255


def features(photograph: Tensor, channels: int) -> Tensor:
    """`(H, W, 3)` → `(1, H, W, channels)`: fixed random projections of 3 × 3 patches, of mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(1)
    filters = torch.randn(channels, 3, 3, 3, generator=generator)
    planes = functional.pad(photograph.movedim(-1, 0)[None], (1, 1, 1, 1), mode="replicate")
    maps = functional.conv2d(planes, filters).movedim(1, -1)
    return ((maps - maps.mean((1, 2))) / maps.std((1, 2))).contiguous()


def crop(maps: Tensor, height: int, width: int) -> Tensor:
    """The middle of `(B, H, W, C)`."""
    top, left = (maps.shape[1] - height) // 2, (maps.shape[2] - width) // 2
    return maps[:, top : top + height, left : left + width].contiguous()
