"""Published weights into a network: `convert_weights` finds every weight by its published name, or says what does not fit.

In: a dictionary as `torch.load` or safetensors give it, wrappers and old spellings included. Out: a state dict for
`model.load_state_dict(…, strict=True)`; or a ScanError that names every missing, left-over and misshapen weight (S530 … S534).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from scanlang.backbones.backbone import Backbone
from scanlang.backbones.weights.model_positions import POSITIONS, places_of, published_position, unusable
from scanlang.backbones.weights.positions import How, grid_of, of_map, of_sequence
from scanlang.backbones.weights.published_file import Family, PublishedFile, read_file
from scanlang.backbones.weights.published_names import VIM, VMAMBA, Pair, Rule, fits, pairs, published_shape
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import LeftOverWeights, MisshapenWeights, MissingWeights, UnknownWeights, WrongOption

RULES: Mapping[Family, tuple[Rule, ...]] = {"VMamba": VMAMBA, "Vim": VIM}
MARKS: Mapping[Family, str] = {"VMamba": ".op.", "Vim": ".mixer."}
"""What names of the family's networks have in them."""
CLASSIFIERS: Mapping[Family, Mapping[str, str]] = {
    "VMamba": {"classifier.norm.": "norm.", "classifier.head.": "head."},
    "Vim": {"norm_f.": "norm.", "head.": "head."},
}
"""What detectors do not have, and networks without classes: how names begin, published and own."""


def convert_weights(published: Mapping[str, Any], model: Backbone, *, position: How = "resized") -> dict[str, Tensor]:
    """Weights under the model's own names, for `model.load_state_dict(…, strict=True)`.

    `published` is what the file holds: weights by name, under `model` or `state_dict`, with `module.` or `backbone.` before the
    names, as the first or the latest code calls them; or weights of the model itself. Every one is used and every one is there,
    but for the classifier: a detector has none, so the model's own stays (with a warning), and a model without one needs none.
    A position embedding for another grid is resized, the rows of tokens being those where the model's own scan has them;
    `position="published"` does as Vim's code, which takes the wrong row where the token is not the first.
    Raises ScanError for what is missing, left over, or of another shape.
    """
    if position not in ("resized", "published"):
        raise ScanError([WrongOption(model.network.span, "position", repr(position), '"resized" or "published"')])
    file, own = read_file(published), model.state_dict()
    if file.family is None:
        return _of_own_names(file, model, own)
    conversion = _Conversion(model, file, file.family, own)
    found = conversion.run(position)
    if conversion.kept:
        kept = ", ".join(conversion.kept)
        warnings.warn(f"these weights have no classifier; the model keeps its own: {kept}", stacklevel=2)
    return found


def published_weights(model: Backbone, values: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The model's weights under their published names and in the published shapes, where they have some.

    `values` are others by the model's own names, such as gradients.
    """
    values = model.state_dict() if values is None else values
    family: Family = "Vim" if any(MARKS["Vim"] in name for name in values) else "VMamba"
    shapes = {name: tuple(tensor.shape) for name, tensor in values.items()}
    found: dict[str, Tensor] = {}
    for pair in pairs(RULES[family], shapes):
        shape = published_shape(pair, shapes)
        parts = torch.cat([values[name].flatten() for name in pair.own]).chunk(len(pair.published))
        found |= {name: part.reshape(shape) for name, part in zip(pair.published, parts, strict=True)}
    return found | published_position(model, family, values)


def _of_own_names(file: PublishedFile, model: Backbone, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that have the model's own names already."""
    findings = _Findings(model)
    if not any(name in own for name in file.tensors):
        raise ScanError([findings.unknown(file, None)])
    findings.missing += [name for name in own if name not in file.tensors]
    findings.left += [name for name in file.tensors if name not in own]
    for name in (name for name in own if name in file.tensors):
        if file.tensors[name].shape != own[name].shape:
            findings.shapes.append((name, tuple(file.tensors[name].shape), tuple(own[name].shape)))
    findings.check()
    return dict(file.tensors)


@dataclass
class _Findings:
    """What does not fit, raised together."""

    model: Backbone
    missing: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    others: list[Diagnostic] = field(default_factory=list)

    def check(self) -> None:
        span, name, found = self.model.network.span, self.model.network.name, list(self.others)
        if self.missing or self.strange:
            found.append(MissingWeights(span, name, tuple(self.missing), tuple(self.strange)))
        if self.left:
            found.append(LeftOverWeights(span, name, tuple(self.left)))
        if self.shapes:
            found.append(MisshapenWeights(span, name, tuple(self.shapes)))
        if found:
            raise ScanError(found)

    def unknown(self, file: PublishedFile, family: Family | None) -> UnknownWeights:
        return UnknownWeights(self.model.network.span, self.model.network.name, tuple(file.written.values())[:3], family)


@dataclass
class _Conversion:
    """One call: `found` by the model's own names; `kept` are those of its own that stay."""

    model: Backbone
    file: PublishedFile
    family: Family
    own: Mapping[str, Tensor]
    found: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    kept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.findings = _Findings(self.model)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in self.own.items()}

    def run(self, how: How) -> dict[str, Tensor]:
        position = POSITIONS[self.family]
        known = tuple(pairs(RULES[self.family], self.shapes))
        if not any(MARKS[self.family] in name for name in self.own):
            raise ScanError([self.findings.unknown(self.file, self.family)])
        for pair in known:
            self.take(pair)
        if f"{position}.cells" in self.own:
            self.take_position(position, how)
        paired = {name for pair in known for name in pair.own}
        self.findings.strange += [name for name in self.own if name not in paired and not name.startswith(f"{position}.")]
        self.findings.left += [self.file.shown(name) for name in self.file.tensors if not self.is_used(name)]
        self.findings.check()
        return {name: self.found[name] for name in self.own}

    def take(self, pair: Pair) -> None:
        missing = [name for name in pair.published if name not in self.file.tensors]
        if missing and self.has_no_classifier(pair):
            self.found |= {name: self.own[name] for name in pair.own}
            self.kept += pair.own
            return
        self.used.update(pair.published)
        self.findings.missing += missing
        wrong = [name for name in pair.published if name not in missing and not self.fits(name, pair)]
        if not missing and not wrong:
            numbers = torch.cat([self.file.tensors[name].flatten() for name in pair.published])
            parts = numbers.split([self.own[name].numel() for name in pair.own])
            self.found |= {name: part.reshape(self.own[name].shape) for name, part in zip(pair.own, parts, strict=True)}

    def fits(self, name: str, pair: Pair) -> bool:
        given = tuple(self.file.tensors[name].shape)
        if fits(given, pair, self.shapes):
            return True
        self.findings.shapes.append((self.file.shown(name), given, published_shape(pair, self.shapes)))
        return False

    def has_no_classifier(self, pair: Pair) -> bool:
        """Whether this is of a classifier, and the file of a detector, without one."""
        beginnings = [one for one in CLASSIFIERS[self.family] if pair.published[0].startswith(one)]
        return self.file.detector and any(not self.file.has(one) for one in beginnings)

    def is_used(self, name: str) -> bool:
        """Or is of a classifier that the model does not have."""
        return name in self.used or any(
            name.startswith(published) and not any(one.startswith(own) for one in self.own)
            for published, own in CLASSIFIERS[self.family].items()
        )

    def take_position(self, own: str, how: How) -> None:
        name, cells = "pos_embed", self.own[f"{own}.cells"]
        tensor = self.file.tensors.get(name)
        self.used.add(name)
        if tensor is None:
            self.findings.missing.append(name)
            return
        grid, places = (cells.shape[0], cells.shape[1]), places_of(self.model, own)
        is_map = self.family == "VMamba"
        wanted = (1, cells.shape[-1], *grid) if is_map else (1, cells[..., 0].numel() + places.count, cells.shape[-1])
        if tensor.dim() != len(wanted) or tensor.shape[1 if is_map else -1] != cells.shape[-1]:
            self.findings.shapes.append((self.file.shown(name), tuple(tensor.shape), wanted))
        elif is_map:
            self.found[f"{own}.cells"] = of_map(tensor, grid)
        else:
            was = grid_of(tensor.shape[1], places.count, grid)
            problem = unusable(self.model, self.file.shown(name), tensor, places, was, grid)
            if problem is not None or was is None:
                self.findings.others += [problem] if problem is not None else []
                return
            self.found |= {f"{own}.{row}": value for row, value in of_sequence(tensor, places, was, grid, how).items()}
