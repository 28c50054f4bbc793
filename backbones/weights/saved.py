"""A network and its program in one file: safetensors, with what makes the network again beside the weights.

In: a backbone. Out: a file that any reader of safetensors takes for weights alone, and `load` for the network: the program's
text with those of the user's files that it imports, the backbone's name, and what was given for its formals, programs again
where these are scans and blocks. What the file says is data, checked as any program is; nothing in it is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import scanlang
from scanlang.backbones.backbone import Backbone
from scanlang.backbones.classifier import POOL, POOLS
from scanlang.backbones.origin import Chosen, Origin
from scanlang.backbones.weights.fit import fitted_weights
from scanlang.backbones.weights.read import damaged, is_safetensors, place
from scanlang.bundle import Bundle, NoBundle, pack, unpack
from scanlang.check.program import Word
from scanlang.diagnostics import ScanError
from scanlang.errors import NotSaved, NotSavedHere
from scanlang.files import write_atomically
from scanlang.networks.network import Number

KEY, FORM = "scanlang", 1
"""Where the file has our part, and which form that has."""


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """`save(model, "mine.safetensors")`; an existing file is replaced as a whole. What wraps the model (`torch.compile`, DDP)
    is left out.

    Raises ScanError for what `load` could not make again.
    """
    from safetensors.torch import save as to_bytes

    backbone = unwrapped(model)
    if not isinstance(backbone, Backbone):
        raise ScanError([NotSaved(place(path), f"a {type(backbone).__name__}", "`save` takes a `scanlang.Backbone`")])
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    described = {**describe(backbone.origin, path), "pool": pool_name(backbone)}
    check_made_again(backbone, weights, path)
    write_atomically(Path(path), to_bytes(weights, {KEY: json.dumps(described)}))


def load(path: str | PathLike[str], **given: Any) -> Backbone:
    """The network that was saved, with other values for some of its formals if they are `given` (`num_classes=10`).

    Raises ScanError for files that are not as `save` writes them, OSError for what cannot be opened.
    """
    described = read_description(path)
    try:
        origin_values = {name: made(value) for name, value in part(described, "given").items()}
        model = Backbone(unpack(described.get("program")), word(described, "backbone"), **{**origin_values, **given})
        pool = described.get("pool")
        if isinstance(pool, str):
            model.reset_classifier(model.num_classes, pool)
    except NoBundle as reason:
        raise not_saved_here(path, str(reason)) from None
    except ScanError as error:
        error.add_note(f"in {fspath(path)}, saved by scanlang {described.get('version')}; this is {scanlang.__version__}")
        raise
    model.load_state_dict(fitted_weights(read_tensors(path), model))
    return model


def unwrapped(model: nn.Module) -> nn.Module:
    """The module that wrappers hold."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        if isinstance(inner, nn.Module) and not isinstance(model, Backbone):
            return unwrapped(inner)
    return model


def describe(origin: Origin, path: str | PathLike[str]) -> dict[str, Any]:
    given = {name: described_value(origin, name, value, path) for name, value in origin.given.items()}
    kept = {"program": pack(origin.program), "backbone": origin.name, "given": given}
    return {"form": FORM, "version": scanlang.__version__, **kept}


def described_value(origin: Origin, formal: str, value: Number | Chosen, path: str | PathLike[str]) -> Number | Bundle:
    if not isinstance(value, Chosen):
        return value
    if value.program is origin.program or isinstance(value.thing, Word):
        return {"name": value.name}
    if value.program is not None:
        return {"name": value.name, "program": pack(value.program)}
    if value.thing in (origin.program.scans.get(value.name), origin.program.blocks.get(value.name)):
        return {"name": value.name}
    reason = f"`{formal}` was given without the program that it is from: `{formal}=(program, name)` says it"
    raise ScanError([NotSaved(place(path), f"`{origin.name}`", reason)])


def pool_name(model: Backbone) -> str | None:
    """The pool that took the place of the program's."""
    return next((name for name, kind in POOLS.items() if type(model._modules.get(POOL)) is kind), None)


def check_made_again(model: Backbone, weights: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """That its program makes a network of these weights: not so once it was cut or other layers were put in."""
    with torch.device("meta"):
        again = {name: tensor.shape for name, tensor in Backbone.of_origin(model.origin).state_dict().items()}
    if again == {name: tensor.shape for name, tensor in weights.items()}:
        return
    reshaped = {name for name in again.keys() & weights.keys() if again[name] != weights[name].shape}
    changed = min(again.keys() ^ weights.keys() or reshaped)
    reason = f"it is no longer as its program says: `{changed}`"
    raise ScanError([NotSaved(place(path), f"`{model.origin.name}`", reason)])


def read_description(path: str | PathLike[str]) -> Mapping[str, Any]:
    from safetensors import SafetensorError, safe_open

    with open(path, "rb") as file:
        start = file.read(16)
    if not is_safetensors(start):
        raise not_saved_here(path, "it is no file of safetensors")
    try:
        with safe_open(path, framework="pt") as weights:
            text = (weights.metadata() or {}).get(KEY)
    except SafetensorError as error:
        raise ScanError([damaged(path, str(error))]) from None
    if text is None:
        raise not_saved_here(path, "it holds weights without a program")
    try:
        described = json.loads(text)
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise not_saved_here(path, "what it says of its program is damaged")
    if described.get("form") != FORM:
        version, own = described.get("version"), scanlang.__version__
        raise not_saved_here(path, f"scanlang {version} saved it in another form than that of {own}")
    return described


def read_tensors(path: str | PathLike[str]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(path))


def made(value: object) -> object:
    """What `describe` wrote for a formal, as `Backbone` takes it."""
    if isinstance(value, bool | int | float):
        return value
    if not isinstance(value, dict):
        raise NoBundle("a value that was given for the network is damaged")
    name = word(value, "name")
    return (unpack(value["program"]), name) if "program" in value else name


def part(described: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = described.get(key, {})
    if not isinstance(value, dict):
        raise NoBundle(f"its `{key}` is damaged")
    return value


def word(described: Mapping[str, Any], key: str) -> str:
    value = described.get(key)
    if not isinstance(value, str):
        raise NoBundle(f"the name of its {key} is missing" if key != "name" else "a name is missing")
    return value


def not_saved_here(path: str | PathLike[str], reason: str) -> ScanError:
    return ScanError([NotSavedHere(place(path), fspath(path), reason)])
