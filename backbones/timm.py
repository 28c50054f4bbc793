"""The networks of the library under their names in timm: `timm.create_model("vmamba_tiny_s1l8")`.

In: timm, and what its functions ask of a model. Out: an entry of its registry for every name of `list_models()`, with the
configuration of images and head, and the filter by which it takes published files. There are no weights to download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from scanlang.backbones.backbone import Backbone
from scanlang.backbones.names import backbone_names
from scanlang.backbones.registry import create_model
from scanlang.backbones.weights.fit import named_weights

if int(timm.__version__.partition(".")[0]) < 1:
    raise ImportError(f"timm {timm.__version__} is too old: pip install 'timm>=1.0'", name="timm")

__all__ = ["checkpoint_filter_fn", "default_cfgs"]

FEATURES = 4
"""How many feature maps `features_only` gives where none are chosen: all of VMamba's, the last ones of Vim's."""

SOURCES: Mapping[str, Mapping[str, Any]] = {
    "backbones.vmamba": {
        "license": "mit",
        "origin_url": "https://github.com/MzeroMiko/VMamba",
        "paper_name": "VMamba: Visual State Space Model",
        "paper_ids": "arXiv:2401.10166",
        "pool_size": (7, 7),
    },
    "backbones.vim": {
        "license": "apache-2.0",
        "origin_url": "https://github.com/hustvl/Vim",
        "paper_name": "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model",
        "paper_ids": "arXiv:2401.09417",
    },
}

FIRST_LAYERS = {
    "vmamba_tiny_s1l8_position": "stem.stem.conv1",
    "vmamba": "stem.conv1",
    "vanilla_vmamba": "stem.conv",
    "vim": "patch_embed",
}
"""The layer that meets the image, by the beginning of a network's name."""

HEADS = {"vim_tiny_max": "head.linear"}
"""Where it is not `head` itself."""


def configuration(name: str) -> dict[str, Any]:
    """Images as in ImageNet, as the published code takes them."""
    return {
        "url": "",
        "input_size": (3, 224, 224),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "num_classes": 1000,
        "first_conv": next(layer for beginning, layer in FIRST_LAYERS.items() if name.startswith(beginning)),
        "classifier": HEADS.get(name, "head"),
        **SOURCES[backbone_names()[name]],
    }


default_cfgs = generate_default_cfgs({name: configuration(name) for name in backbone_names()})


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: Backbone) -> dict[str, Tensor]:
    """Weights as published, or the model's own, for timm to load: it fits head and stem itself."""
    return named_weights(state_dict, model)


def model_of(name: str, **arguments: Any) -> nn.Module:
    """`drop_rate`, a dropout before the head, these networks do not have; timm's scripts pass it as 0."""
    pool = arguments.pop("global_pool", None)
    where = {key: arguments.pop(key) for key in ("device", "dtype") if key in arguments}
    if not arguments.get("drop_rate"):
        arguments.pop("drop_rate", None)
    model = create_model(name, **arguments)
    assert isinstance(model, Backbone)
    if pool is not None:
        model.reset_classifier(model.num_classes, pool)
    return model.to(**where) if where else model


def entry(name: str) -> Callable[..., nn.Module]:
    """The function that timm calls to make a network."""

    def make(pretrained: bool = False, **arguments: Any) -> nn.Module:
        features = {"out_indices": FEATURES, "feature_cls": "getter"}
        made: nn.Module = build_model_with_cfg(
            partial(model_of, name),
            name,
            pretrained,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg=features,
            **arguments,
        )
        return made

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`{name}` of {backbone_names()[name]}."
    return make


for _name in backbone_names():
    globals()[_name] = register_model(entry(_name))
