"""Effective receptive fields: which pixels move one cell of a feature map, over many images.

In: a model and images. Out: a map of the images' size from 0 to 1, and a picture of it. Luo et al., Understanding the Effective
Receptive Field in Deep Convolutional Neural Networks (arXiv 1701.04128); the measure is that of VMamba's `analyze/erf.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from scanlang.backbones.heatmaps import Heatmap
from scanlang.diagnostics import ScanError
from scanlang.errors import WrongView
from scanlang.source import Source, Span

POWER = 0.2
"""Fields fall off so fast that a small power of them is looked at."""


def erf(
    model: nn.Module,
    images: Tensor | Iterable[Tensor],
    *,
    feature: int = -1,
    cell: tuple[int, int] | None = None,
    path: str | PathLike[str] | None = None,
) -> Tensor:
    """The effective receptive field of a cell, the middle one if none is given, `(H, W)` from 0 to 1.

    >>> field = viz.erf(model, images, path="erf.png")      # images: (B, C, H, W), or batches of such
    >>> field = viz.erf(model, images, feature=0)           # of the first feature map

    `model` is a `Backbone`, or any module that gives a map `(B, C, H, W)` or a list of them; `feature` says which, as in
    `out_indices`. The field is the gradient of the cell's positive values, summed over channels, with respect to every pixel:
    its positive part, summed over the pixel's channels, the mean over all images, to the power of 0.2, relative to the largest.
    The model is in evaluation mode meanwhile, and its gradients are left alone. Raises ScanError for what is no image or map.
    """
    total, count = torch.zeros(()), 0
    with evaluating(model), torch.enable_grad():
        for batch in [images] if isinstance(images, Tensor) else images:
            leaf = checked_images(model, batch).detach().clone().requires_grad_()
            gradient = input_gradient(chosen_map(model, leaf, feature), leaf, cell, model)
            total = total + gradient.clamp(min=0).sum((0, 1)).double().cpu()
            count += len(leaf)
    if count == 0:
        raise ScanError([WrongView(span_of(model), "images", "empty", "at least one image is needed")])
    field = (total / count) ** POWER
    field = (field / field.max().clamp(min=torch.finfo(field.dtype).tiny)).float()
    if path is not None:
        Heatmap(field, "effective receptive field").write(path)
    return field


def input_gradient(made: Tensor, images: Tensor, cell: tuple[int, int] | None, model: nn.Module) -> Tensor:
    """Of a cell's positive values with respect to the images."""
    grid = made.shape[2], made.shape[3]
    row, column = (grid[0] // 2, grid[1] // 2) if cell is None else checked_cell(span_of(model), cell, grid)
    if not made.requires_grad:
        raise ScanError([WrongView(span_of(model), "model", "one without gradients", "its maps must depend on the images")])
    (gradient,) = torch.autograd.grad(made[:, :, row, column].relu().sum(), images, allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient


def chosen_map(model: nn.Module, images: Tensor, feature: int) -> Tensor:
    """`(B, C, H, W)`: a feature map of a model that has some, or what the model gives."""
    take: Any = getattr(model, "forward_intermediates", None)
    made: Any = model(images) if take is None else take(images, indices=[feature], intermediates_only=True)
    if isinstance(made, list | tuple):
        place = 0 if take is not None else feature
        if not -len(made) <= place < len(made):
            raise ScanError([WrongView(span_of(model), "feature", str(feature), f"the model gives {len(made)} maps")])
        made = made[place]
    if not isinstance(made, Tensor) or made.dim() != 4:
        was = f"of shape ({', '.join(map(str, made.shape))})" if isinstance(made, Tensor) else f"a {type(made).__name__}"
        wanted = "it takes one that gives maps (B, C, H, W), or a list of them"
        raise ScanError([WrongView(span_of(model), "model", f"one whose result is {was}", wanted)])
    return made


def checked_images(model: nn.Module, images: object) -> Tensor:
    if not isinstance(images, Tensor) or images.dim() != 4:
        was = f"of shape ({', '.join(map(str, images.shape))})" if isinstance(images, Tensor) else f"a {type(images).__name__}"
        raise ScanError([WrongView(span_of(model), "images", was, "they are (B, C, H, W), or batches of such")])
    return images


def checked_cell(span: Span, cell: object, grid: tuple[int, ...]) -> tuple[int, ...]:
    """The cell, if there is one of these numbers."""
    numbers = tuple(cell) if isinstance(cell, tuple | list) and all(type(number) is int for number in cell) else ()
    if len(numbers) == len(grid) and all(0 <= number < length for number, length in zip(numbers, grid, strict=True)):
        return numbers
    wanted = f"the grid has {' x '.join(map(str, grid))} cells, counted from 0"
    raise ScanError([WrongView(span, "cell", repr(cell), wanted)])


def span_of(model: nn.Module) -> Span:
    """Where messages about any model point: at its class's name."""
    name = type(model).__name__
    return Span(Source(name, name), 0, len(name))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode; afterwards every part of the model is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
