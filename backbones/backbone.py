"""A backbone of a program as an `nn.Module`, with the methods that timm's models have.

In: a program, and values for the backbone's formals. Out: images `(B, C, H, W)` → class scores, features, or feature maps.
Between the first layer and the last everything lies in rows, channels last (`feature.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from scanlang.backbones.classifier import AFTER, HEAD, POOL, POOLS, grid_reader
from scanlang.backbones.feature import Feature, Tokens, Value, feature_of_image, feature_of_map
from scanlang.backbones.layers import How, call_layer
from scanlang.backbones.learned_positions import learn_positions
from scanlang.backbones.modules import PositionEmbedding, Token
from scanlang.backbones.options import chosen_features, class_count, image_size, word_of
from scanlang.backbones.origin import Origin, origin_of
from scanlang.backbones.parts import RepeatModule, make
from scanlang.codegen.module import Scan2d
from scanlang.codegen.signature import FLOATS
from scanlang.diagnostics import ScanError
from scanlang.errors import NoClassifier, PoolReadsGrid, WrongImages
from scanlang.networks.network import Layer, Network, Repeat
from scanlang.networks.values import Map, Vector
from scanlang.networks.widths import features, in_channels, num_features, trace
from scanlang.program import Program

FORMATS = ("NCHW", "NHWC")
UNDECAYED = ("A_log", "D")
CLASSES, HEIGHT, WIDTH = "num_classes", "img_height", "img_width"


class Backbone(nn.Module):
    """A backbone with its weights, drawn as the program says.

    >>> model = scanlang.Backbone("backbones.vmamba", "vmamba_tiny_s1l8", num_classes=10)
    >>> scores = model(torch.rand(2, 3, 224, 224))

    `program` is a `Program`, a file, or the name of one that comes along; `name` may be left out where it has one backbone. The
    backbone's formals are given by name: numbers, and for a formal `scan core` a scan, a program that has one, or a program and
    the scan's name: `core=("mine.scan", "stripes")`. Images are `(B, in_chans, H, W)`, of any size that leaves a cell.

    `network` has its layers with their sizes in numbers, `origin` the program, the name and what was given. Methods are those
    of timm's models. Features are `(B, H, W, C)`, or `(B, T + H · W, C)` with T tokens first, where there are tokens.
    `num_classes=0` leaves the head out: the model then gives what is pooled.
    """

    def __init__(self, program: Program | str | PathLike[str], name: str | None = None, **given: Any) -> None:
        super().__init__()
        self._make(origin_of(program, name, given, "backbone"))

    @classmethod
    def of_origin(cls, origin: Origin) -> Backbone:
        """Of a program, a name and values that were found already."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made._make(origin)
        return made

    def _make(self, origin: Origin) -> None:
        self.origin = origin
        self.network = _network(origin)
        self.in_chans = in_channels(self.network)
        self._how: dict[str, How] = {}
        for section in self.network.sections:
            self._add(section.name)
        learn_positions(self, trace(self.network).calls)
        self._is_cut = False
        self.grad_checkpointing = False
        self._describe()
        self.num_classes = int(self.network.numbers.get(CLASSES, 0)) if HEAD in self._modules else 0
        if origin.given.get(CLASSES) == 0:
            self._no_head()

    def _add(self, name: str) -> None:
        section = next(section for section in self.network.sections if section.name == name)
        made = make(section.part, name, self.network.axes)
        self.add_module(name, made.module)
        self._how[name] = made.how

    def _describe(self) -> None:
        """What follows from the chain as it is now."""
        traced = {section.name: section for section in trace(self.network).sections}
        self._body = [section.name for section in self.network.sections if section.name not in AFTER]
        self._marks = {section.name: section.feature for section in self.network.sections if section.feature}
        last = traced[self._body[-1]].output if self._body else Map(self.in_chans)
        self._tokens: Tokens = last.tokens if isinstance(last, Map) else ()
        self._reader = grid_reader(traced[POOL].calls) if POOL in traced else None
        self._sizes: set[tuple[int, ...]] = set()
        self.num_features = num_features(self.network)
        pooled = traced[POOL].output if POOL in traced else last
        self.head_hidden_size = pooled.channels if isinstance(pooled, Map | Vector) else self.num_features
        self.num_prefix_tokens = sum(count for _, count in self._tokens)
        self.feature_info = [
            {"num_chs": one.channels, "reduction": _plain(one.reduction), "module": one.name} for one in features(self.network)
        ]

    # Forward.

    def forward(self, x: Tensor) -> Tensor:
        value: Value = self._entry(x)
        for name in self._body:
            value = self._call(name, value)
        for name in AFTER:
            if name in self._modules:
                value = self._call(name, value)
        return _shown(value)

    def forward_features(self, x: Tensor) -> Tensor:
        """What is there before `pool` and `head`: `(B, H, W, C)`; with tokens `(B, T + H · W, C)`, tokens first."""
        value: Value = self._entry(x)
        for name in self._body:
            value = self._call(name, value)
        return _shown(value)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """From what `forward_features` gives to class scores, or to what is pooled.

        Features with tokens do not say what grid the cells lie on; a pool that asks for it is refused.
        """
        value = self._features_again(x)
        for name in AFTER[:1] if pre_logits else AFTER:
            if name in self._modules:
                value = self._call(name, value)
        return _shown(value)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps, cells alone; and, unless they are all that is wanted, what `forward_features` gives.

        `norm`: what follows the last feature map (its norm) is applied to those that have as many channels.
        """
        span, last = self.network.span, len(self.feature_info)
        chosen = chosen_features("indices", indices, last, span)
        word_of("output_fmt", output_fmt, FORMATS, span)
        end, found = self._through(self._entry(x), chosen, stop_early and intermediates_only)
        maps = [self._normed(found[number]) if norm else found[number] for number in chosen]
        images = [one.image if output_fmt == "NCHW" else one.map for one in maps]
        return images if intermediates_only else (_shown(end), images)

    def _call(self, name: str, value: Value) -> Value:
        return call_layer(self._how[name], self._modules[name], value)  # type: ignore[arg-type]

    def _through(self, value: Value, wanted: Collection[int], stop: bool) -> tuple[Value, dict[int, Feature]]:
        """The end of the chain before the pool, and the features that are `wanted`; behind the last of them it may `stop`."""
        found: dict[int, Feature] = {}
        number = 0
        for name in self._body:
            for made in self._made(name, value):
                value = made
                if name not in self._marks:
                    continue
                if number in wanted:
                    assert isinstance(value, Feature)
                    found[number] = value
                number += 1
                if stop and number > max(wanted):
                    return value, found
        return value, found

    def _made(self, name: str, value: Value) -> Any:
        """What a link makes, one by one where each repeat is a feature map."""
        module = self._modules[name]
        if self._marks.get(name) == "features" and isinstance(module, RepeatModule):
            for number in range(len(module)):
                value = module.step(number, value)
                yield value
        else:
            yield self._call(name, value)

    def _normed(self, feature: Feature) -> Feature:
        if feature.rows.shape[-1] != self.feature_info[-1]["num_chs"]:
            return feature
        value: Value = feature
        for name in self._tail:
            value = self._call(name, value)
        return value if isinstance(value, Feature) else feature

    @property
    def _tail(self) -> list[str]:
        """The links behind the last feature map."""
        marked = [place for place, name in enumerate(self._body) if name in self._marks]
        return self._body[marked[-1] + 1 :] if marked else []

    def _entry(self, x: Tensor) -> Feature:
        self._check(x)
        feature = feature_of_image(x)
        if not torch.compiler.is_compiling() and feature.grid not in self._sizes:
            trace(self.network, self.in_chans, feature.grid)
            self._sizes.add(feature.grid)
        return feature

    def _check(self, x: Tensor) -> None:
        axes = self.network.axes
        lengths = ", ".join(axis.upper() for axis in axes)
        wanted = f"images (B, {self.in_chans}, {lengths})"
        was = _wrong_kind(x)
        if was is not None:
            wanted += " in floating point"
        weight = next(self.parameters(), None)
        if was is None and (x.dim() != 2 + len(axes) or x.shape[1] != self.in_chans):
            was = f"a tensor of shape ({', '.join(map(str, x.shape))})"
        elif was is None and 0 in x.shape[2:]:
            was, wanted = f"images of {' × '.join(map(str, x.shape[2:]))}", f"{wanted} with at least one cell"
        elif was is None and weight is not None and x.device != weight.device:
            was, wanted = f"images on {x.device}", f"images on {weight.device}, where its weights are"
        elif was is None and weight is not None and x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type):
            was, wanted = f"images of {_type(x)}", f"{_type(weight)}, as its weights are"
        if was is not None:
            raise ScanError([WrongImages(self.network.span, was, wanted)])

    def _features_again(self, x: Tensor) -> Value:
        """What `_shown` was given; where that is forgotten, cells lie in one line."""
        axes = len(self.network.axes)
        if x.dim() == 2:
            return x
        if x.dim() == 2 + axes and not self._tokens:
            return feature_of_map(x)
        if x.dim() != 3 or x.shape[1] <= self.num_prefix_tokens or not self._tokens:
            wanted = "features as `forward_features` gives them"
            raise ScanError([WrongImages(self.network.span, f"a tensor of shape ({', '.join(map(str, x.shape))})", wanted)])
        if self._reader is not None:
            raise ScanError([PoolReadsGrid(self.network.span, self.network.name, self._reader)])
        tokens, cells = x.tensor_split((self.num_prefix_tokens,), 1)
        return Feature(torch.cat((cells, tokens), 1), (*(1,) * (axes - 1), cells.shape[1]), self._tokens)

    # What timm's users call.

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] | None = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Keep what these feature maps need, and give their numbers. What follows the last feature map (its norm) stays only if
        it fits the last that is kept; of a pruned network the head is of no use."""
        chosen = chosen_features("indices", indices, len(self.feature_info), self.network.span)
        tail = [] if prune_norm else self._tail
        fits = self.feature_info[max(chosen)]["num_chs"] == self.feature_info[-1]["num_chs"]
        kept = [*self._links_until(max(chosen)), *(tail if fits else [])]
        self._keep([*kept, *(() if prune_head else AFTER)])
        if prune_head:
            self.num_classes = 0
        self._is_cut = self._is_cut or not fits
        self._describe()
        return chosen

    def _links_until(self, last: int) -> list[str]:
        """The links up to a feature map; of one whose repeats are feature maps, the repeats behind it go."""
        number, kept = -1, []
        for name in self._body:
            kept.append(name)
            module = self._modules[name]
            if self._marks.get(name) == "features" and isinstance(module, RepeatModule):
                if number + len(module) >= last:
                    self._shorten(name, module, last - number)
                    return kept
                number += len(module)
            elif name in self._marks:
                number += 1
            if number == last:
                return kept
        return kept

    def _shorten(self, name: str, module: RepeatModule, count: int) -> None:
        module.keep(count)
        sections = tuple(
            replace(section, part=replace(section.part, parts=section.part.parts[:count]))
            if section.name == name and isinstance(section.part, Repeat)
            else section
            for section in self.network.sections
        )
        self.network = replace(self.network, sections=sections)

    def _keep(self, names: Collection[str]) -> None:
        for section in self.network.sections:
            if section.name not in names:
                delattr(self, section.name)
        sections = tuple(section for section in self.network.sections if section.name in names)
        self.network = replace(self.network, sections=sections)

    def get_classifier(self) -> nn.Module:
        return self._modules.get(HEAD) or nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new `head` for so many classes, none for 0; `global_pool` is `avg`, `max`, `token`, or empty for no pool."""
        span, count = self.network.span, class_count(num_classes, self.network.span)
        if global_pool is not None:
            self._pool(word_of("global_pool", global_pool, tuple(POOLS), span))
        if count == 0:
            self._no_head()
            return
        if CLASSES not in {formal.name for formal in self.origin.program.backbones[self.origin.name].formals}:
            raise self._no_classifier("it has no formal `num_classes`")
        if self._is_cut:
            raise self._no_classifier("what its head was made for was pruned")
        self.origin = self.origin.but(num_classes=count)
        head = next((section for section in _network(self.origin).sections if section.name == HEAD), None)
        if head is None:
            raise self._no_classifier("it has no layer `head`")
        weight = next(self.parameters())
        made = make(head.part, HEAD, self.network.axes)
        self.add_module(HEAD, made.module.to(weight.device, weight.dtype))
        self._how[HEAD], self.num_classes = made.how, count

    def _pool(self, name: str) -> None:
        if name == "token" and not self._tokens:
            raise self._no_classifier("there is no token to pool")
        self.add_module(POOL, POOLS[name]())
        self._how[POOL], self._reader = "feature", None
        self.head_hidden_size = self.num_features

    def _no_head(self) -> None:
        self.origin = self.origin.but(num_classes=0)
        self.add_module(HEAD, nn.Identity())
        self._how[HEAD], self.num_classes = "feature", 0

    def _no_classifier(self, problem: str) -> ScanError:
        return ScanError([NoClassifier(self.network.span, self.network.name, problem)])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Every repeat of a layer is computed again in the backward pass, instead of being kept."""
        self.grad_checkpointing = enable
        for module in self.children():
            if isinstance(module, RepeatModule):
                module.checkpointed = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """The parameters in groups for rates that grow with depth: `stem` before the first repeats, then each repeat, or
        (`coarse`) each layer of the chain."""
        repeated = [name for name in self._body if isinstance(self._modules[name], RepeatModule)]
        first = self._body.index(repeated[0]) if repeated else len(self._body)
        places = [place for name in self._body[first:] for place in self._places(name, coarse)]
        tail = set(self._tail)
        blocks = [(rf"^{place}\.", (99999,) if place in tail else (number,)) for number, place in enumerate(places)]
        return {"stem": rf"^(?:{'|'.join(self._body[:first])})\.", "blocks": blocks}

    def _places(self, name: str, coarse: bool) -> list[str]:
        module = self._modules[name]
        if coarse or not isinstance(module, RepeatModule):
            return [name]
        return [rf"{name}\.{number}" for number in range(len(module))]

    def no_weight_decay(self) -> set[str]:
        """Position embeddings, tokens, and `A_log` and `D` of the scans.

        The published code marks the latter, but its optimizers never look at the mark, so there they decay as matrices do.
        """
        found = set()
        for path, module in self.named_modules():
            own = [name for name, _ in module.named_parameters(path, recurse=False)]
            if isinstance(module, PositionEmbedding | Token):
                found.update(own)
            elif isinstance(module, Scan2d):
                found.update(name for name in own if name.rpartition(".")[2] in UNDECAYED)
        return found

    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Position embeddings for images of this size, from those there are. Other layers take any size."""
        height, width = image_size(img_size, self.network.span)
        formals = {formal.name for formal in self.origin.program.backbones[self.origin.name].formals}
        sizes = {name: length for name, length in ((HEIGHT, height), (WIDTH, width)) if name in formals}
        self.origin = self.origin.but(**sizes)
        fresh = _network(self.origin)
        for call in trace(fresh).calls:
            if isinstance(call.callee, Layer) and call.callee.word == "position_embedding":
                self._resize(call.path, int(call.callee.numbers["rows"]), int(call.callee.numbers["columns"]))

    def _resize(self, path: str, rows: int, columns: int) -> None:
        module = dict(self.named_modules()).get(path)
        if isinstance(module, PositionEmbedding):
            module.resize(rows, columns)

    def init_weights(self, needs_reset: bool = True) -> None:
        """All weights anew, drawn as when the model was made. Without a need to, nothing changes: they were drawn then."""
        if not needs_reset:
            return
        with torch.device("cpu"):
            fresh = Backbone.of_origin(self.origin).state_dict()
        with torch.no_grad():
            for name, tensor in self.state_dict(keep_vars=True).items():
                if name in fresh and fresh[name].shape == tensor.shape:
                    tensor.copy_(fresh[name])

    def extra_repr(self) -> str:
        given = (f"{name}={getattr(value, 'name', value)}" for name, value in self.origin.given.items())
        return ", ".join((self.origin.name, *given))


def _network(origin: Origin) -> Network:
    """Without classes it is made for the usual number of them, and the head taken away."""
    if origin.given.get(CLASSES) != 0:
        return origin.network()
    others = {name: value for name, value in origin.given.items() if name != CLASSES}
    formal = next((f for f in origin.program.backbones[origin.name].formals if f.name == CLASSES), None)
    return replace(origin, given=others if formal is None or formal.default is not None else {**others, CLASSES: 1}).network()


def _shown(value: Value) -> Tensor:
    """A map without tokens as a map; else rows, tokens first."""
    if isinstance(value, Feature):
        return torch.cat((value.token_rows, value.cell_rows), 1) if value.tokens else value.map
    assert isinstance(value, Tensor)
    return value


def _wrong_kind(x: object) -> str | None:
    if not isinstance(x, Tensor):
        return f"a {type(x).__name__}"
    return None if x.dtype in FLOATS else f"a tensor of {_type(x)}"


def _type(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _plain(number: Any) -> int | float:
    return int(number) if number.denominator == 1 else float(number)
