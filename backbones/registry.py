"""Networks by name: those of `backbones/programs/*.scan`, and of a program of one's own.

In: a name, and values for the backbone's formals. Out: a `Backbone`, with the weights of a file if one is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from os import PathLike
from typing import Any

from torch import nn

from scanlang.backbones.backbone import Backbone
from scanlang.backbones.features import FeatureMaps
from scanlang.backbones.names import backbone_names
from scanlang.backbones.options import image_size
from scanlang.backbones.weights.fit import fitted_weights
from scanlang.backbones.weights.read import read_published
from scanlang.diagnostics import ScanError
from scanlang.errors import NoSuchBackbone
from scanlang.program import Program
from scanlang.program import load as load_program
from scanlang.source import Source, Span


def create_model(
    name: str,
    *,
    weights: str | PathLike[str] | None = None,
    program: Program | str | PathLike[str] | None = None,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    img_size: int | tuple[int, int] | None = None,
    **given: Any,
) -> nn.Module:
    """`create_model("vmamba_tiny_s1l8", num_classes=10, weights="vssm1_tiny_0230s.pth")`; `list_models()` has the names.

    `program` has other backbones: a file, or a `Program`. `weights` are those of a file as published, or as `save` writes it; a
    head for other classes starts anew then, and a stem for other images sees the sum of its channels. `img_size` is for
    networks with a position embedding, others take any size. With `features_only` the model gives a list of feature maps,
    `(B, C, H, W)` each: those of `out_indices`. Other arguments are values of the backbone's formals (`in_chans`,
    `drop_path_rate`, `depth1` …); those that are None are left out.
    Raises ScanError for names, values and weights that do not fit, OSError for files that cannot be opened.
    """
    source = published_program(name) if program is None else own_program(name, program)
    formals = {formal.name for formal in source.backbones[name].formals}
    if img_size is not None:
        height, width = image_size(img_size, source.backbones[name].span)
        sizes = {"img_height": height, "img_width": width}
        given = {**{formal: length for formal, length in sizes.items() if formal in formals}, **given}
    if features_only and "num_classes" in formals:
        given["num_classes"] = 0
    model = Backbone(source, name, **{formal: value for formal, value in given.items() if value is not None})
    if weights is not None:
        model.load_state_dict(fitted_weights(read_published(weights), model))
    return FeatureMaps(model, out_indices) if features_only else model


def list_models(filter: str = "") -> list[str]:
    """The names that `create_model` knows, in order: all, or those like `vmamba*`."""
    return sorted(name for name in backbone_names() if fnmatchcase(name, filter or "*"))


def published_program(name: str) -> Program:
    """The program of the library that has the backbone."""
    where = backbone_names().get(name)
    if where is None:
        raise no_such_backbone(name, tuple(backbone_names()), "the library")
    return library_program(where)


@cache
def library_program(name: str) -> Program:
    return load_program(name)


def own_program(name: str, program: Program | str | PathLike[str]) -> Program:
    program = program if isinstance(program, Program) else load_program(program)
    if name not in program.backbones:
        raise no_such_backbone(name, tuple(program.backbones), program.source.name)
    return program


def no_such_backbone(name: str, known: tuple[str, ...], where: str) -> ScanError:
    return ScanError([NoSuchBackbone(Span(Source(name, name), 0, len(name)), name, known, where)])
