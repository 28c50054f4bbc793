"""What a published file of weights holds: its tensors under the names of `published_names.py`, whatever wraps or spells them.

In: a dictionary as it was loaded. Out: `PublishedFile`. Left out is what belongs to no backbone: training states, the necks and
heads of a detector, buffers of rotary embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

Family = Literal["VMamba", "Vim"]

WRAPPERS = ("model", "model_ema", "state_dict", "state_dict_ema")
"""Where training scripts keep the weights, the first one first."""

_MARKS: Mapping[Family, re.Pattern[str]] = {
    "VMamba": re.compile(r"layers\.\d+\.blocks\.\d+\.(op|self_attention)\."),
    "Vim": re.compile(r"layers\.\d+\.mixer\.(A_log|D|conv1d\.weight|x_proj\.weight|dt_proj\.weight)"),
}
_UNUSED: Mapping[Family, re.Pattern[str]] = {"VMamba": re.compile(r"(?!)"), "Vim": re.compile(r"rope\..*")}
_OF_DETECTORS = re.compile(r"outnorm\d+\.(weight|bias)")
"""The norms that a detector has behind every feature map."""


@dataclass(frozen=True)
class PublishedFile:
    """`tensors` by name; `written` says how a name stands in the file. `detector`: it was the backbone of one."""

    family: Family | None
    tensors: dict[str, Tensor]
    written: dict[str, str]
    detector: bool

    def shown(self, name: str) -> str:
        return self.written.get(name, name)

    def has(self, beginning: str) -> bool:
        return any(name.startswith(beginning) for name in self.tensors)


def read_file(published: Mapping[str, Any]) -> PublishedFile:
    names, detector = _of_backbone(_unwrapped(published))
    family: Family | None = next((one for one, mark in _MARKS.items() if any(map(mark.match, names))), None)
    tensors: dict[str, Tensor] = {}
    written: dict[str, str] = {}
    for name, (tensor, was) in names.items():
        if family is not None and _UNUSED[family].fullmatch(name):
            continue
        if detector and _OF_DETECTORS.fullmatch(name):
            continue
        spelt = _spelt(family, name, tensor, names)
        name = name if spelt in tensors else spelt
        tensors[name], written[name] = tensor, was
    return PublishedFile(family, tensors, written, detector)


def _unwrapped(published: Mapping[str, Any]) -> Mapping[str, Any]:
    for wrapper in WRAPPERS:
        inner = published.get(wrapper)
        if isinstance(inner, Mapping):
            return _unwrapped(inner)
    return published


def _of_backbone(published: Mapping[str, Any]) -> tuple[dict[str, tuple[Tensor, str]], bool]:
    """Tensors, without what distributed training and detectors put before their names; and whether a detector did."""
    bare = {name.removeprefix("module."): (value, name) for name, value in published.items() if isinstance(value, Tensor)}
    inner = {name.removeprefix("backbone."): value for name, value in bare.items() if name.startswith("backbone.")}
    return (inner, True) if inner else (bare, any(map(_OF_DETECTORS.fullmatch, bare)))


Names = Mapping[str, tuple[Tensor, str]]


@dataclass(frozen=True)
class _Spelling:
    """A name that older or newer code spells otherwise; `when` says of which tensors of which file."""

    pattern: str
    usual: str
    when: Callable[[Tensor, str, Names], bool] = lambda tensor, name, names: True


def _merges_patches(tensor: Tensor, name: str, names: Names) -> bool:
    """The layer between stages is a linear map, after a norm."""
    return f"{name.rpartition('downsample')[0]}downsample.2.weight" in names


_SPELLINGS: Mapping[Family, tuple[_Spelling, ...]] = {
    "VMamba": (
        # the first files of v0
        _Spelling(r"patch_embed\.proj\.(.*)", r"patch_embed.0.\1"),
        _Spelling(r"patch_embed\.norm\.(.*)", r"patch_embed.2.\1"),
        _Spelling(r"(.*\.blocks\.\d+)\.ln_1\.(.*)", r"\1.norm.\2"),
        _Spelling(r"(.*\.blocks\.\d+)\.self_attention\.(.*)", r"\1.op.\2"),
        _Spelling(r"norm\.(.*)", r"classifier.norm.\1"),
        _Spelling(r"head\.(.*)", r"classifier.head.\1"),
        # vmamba.py, the code in one file
        _Spelling(r"(.*\.op)\.x_proj\.weight", r"\1.x_proj_weight"),
        _Spelling(r"(.*\.op)\.dt_projs\.(weight|bias)", r"\1.dt_projs_\2"),
        _Spelling(r"(.*\.downsample)\.1\.(weight|bias)", r"\1.norm.\2", _merges_patches),
        _Spelling(r"(.*\.downsample)\.2\.weight", r"\1.reduction.weight"),
        # m0, with a layer of its own around the convolution; a convolution for a norm, with one or without
        _Spelling(r"(.*\.op\.conv2d)\.1\.(.*)", r"\1.\2"),
        _Spelling(r"(.*\.op\.out_norm)\.weight", r"\1.1.weight", lambda tensor, name, names: tensor.dim() == 4),
    ),
    "Vim": (),
}


def _spelt(family: Family | None, name: str, tensor: Tensor, names: Names) -> str:
    """The name that the tables have; older spellings may come together (`self_attention.x_proj`)."""
    found = name
    for spelling in _SPELLINGS[family] if family is not None else ():
        match = re.fullmatch(spelling.pattern, found)
        if match is not None and spelling.when(tensor, name, names):
            found = match.expand(spelling.usual)
    return found
