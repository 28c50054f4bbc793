"""Weights of a file for a network with other classes or other images: the head is left out, the stem's channels are summed.

In: what `read_published` gives, and a backbone. Out: a state dict for `model.load_state_dict(…, strict=True)`, as
`convert_weights` makes it of files that fit.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from scanlang.backbones.backbone import Backbone
from scanlang.backbones.modules import PositionEmbedding
from scanlang.backbones.weights.convert import RULES, convert_weights
from scanlang.backbones.weights.positions import on_grid
from scanlang.backbones.weights.published_file import Family, PublishedFile, read_file
from scanlang.backbones.weights.published_names import pairs

HEAD = "head."


def fitted_weights(published: Mapping[str, Any], model: Backbone) -> dict[str, Tensor]:
    """As `convert_weights`, but a head for another number of classes gives way to the model's own, with a warning, and a stem
    for other images to the sum of its channels, or to its channels again and again, scaled."""
    ends = Ends(read_file(published), model)
    told = ends.told()
    if told is not None:
        warnings.warn(told, stacklevel=3)
    return convert_weights(ends.fitted(), model)


def named_weights(published: Mapping[str, Any], model: Backbone) -> dict[str, Tensor]:
    """Under the model's names, but with head and stem as the file has them: for those who fit these themselves."""
    ends = Ends(read_file(published), model)
    return {**convert_weights(ends.fitted(), model), **ends.as_in_file()}


class Ends:
    """The two ends of a network in which a file may differ from it: its head, and its stem. Weights are named as in the file,
    `own` has the model's names."""

    def __init__(self, file: PublishedFile, model: Backbone) -> None:
        self.file, self.model, weights = file, model, model.state_dict()
        self.own = own_names(file.family, weights)
        self.head = {name: weights[own] for name, own in self.own.items() if own.startswith(HEAD)}
        self.published_head = {name: file.tensors[name] for name in self.head if name in file.tensors}
        convolution = first_convolution(model)
        self.stem = next((name for name, own in self.own.items() if own == f"{convolution}.weight"), None)

    @property
    def same_head(self) -> bool:
        """A published detector has none, which `convert_weights` knows."""
        if not self.published_head:
            return not self.head or (self.file.detector and self.file.family is not None)
        return all(len(theirs) == len(self.head[name]) for name, theirs in self.published_head.items())

    def told(self) -> str | None:
        if self.same_head:
            return None
        theirs = f"a head for {classes(self.published_head)} classes" if self.published_head else "no head"
        return f"the file has {theirs}; the model's, for {classes(self.head)}, starts anew"

    def fitted(self) -> dict[str, Tensor]:
        """The tensors of the file, the ends as the model wants them."""
        tensors = dict(self.file.tensors) if self.same_head else {**self.file.tensors, **self.head}
        weight, channels = tensors.get(self.stem or ""), self.model.in_chans
        if self.stem is not None and weight is not None and weight.dim() == 4 and weight.shape[1] != channels:
            tensors[self.stem] = with_channels(weight, channels)
        if self.file.family is None:
            return self.own_fitted(tensors)
        return {self.file.written.get(name, name): tensor for name, tensor in tensors.items()}

    def own_fitted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `convert_weights` does to published files only: no head where the model has none, other grids of positions."""
        kept = {name: tensor for name, tensor in tensors.items() if self.head or not name.startswith(HEAD)}
        for path, module in self.model.named_modules():
            cells = kept.get(f"{path}.cells")
            if isinstance(module, PositionEmbedding) and cells is not None and cells.dim() == 3:
                kept[f"{path}.cells"] = on_grid(cells, (module.cells.shape[0], module.cells.shape[1]))
        return kept

    def as_in_file(self) -> dict[str, Tensor]:
        """The ends under the model's names."""
        found = {name: self.file.tensors[name] for name in (*self.head, self.stem or "") if name in self.file.tensors}
        return {
            self.own[name]: tensor.flatten(1) if tensor.dim() > 1 and name != self.stem else tensor
            for name, tensor in found.items()
        }


def own_names(family: Family | None, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """The model's name of every weight that a file has whole, by its name there."""
    if family is None:
        return {name: name for name in weights}
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    found = pairs(RULES[family], shapes)
    return {pair.published[0]: pair.own[0] for pair in found if len(pair.published) == len(pair.own) == 1}


def classes(head: Mapping[str, Tensor]) -> int:
    return len(next(iter(head.values())))


def first_convolution(model: Backbone) -> str | None:
    """The name of the layer that meets the image, if it is a convolution."""
    found = next(((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), None)
    return found[0] if found is not None and found[1].in_channels == model.in_chans else None


def with_channels(weight: Tensor, channels: int) -> Tensor:
    """The first convolution for images of so many channels: one sees the sum of what there was, others see it in turn, with the
    sum as it was."""
    was = weight.shape[1]
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight.repeat(1, math.ceil(channels / was), 1, 1)[:, :channels] * (was / channels)
