"""Vision backbones built from scan programs: networks by name, their weights, and files that hold both.

    model = scanlang.backbones.create_model("vmamba_tiny_s1l8", num_classes=10)
    scanlang.backbones.save(model, "mine.safetensors")
    model = scanlang.backbones.load("mine.safetensors")

Importing this needs no torch; what it names does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanlang.backbones.registry import create_model, list_models
    from scanlang.backbones.weights.convert import convert_weights
    from scanlang.backbones.weights.read import read_published
    from scanlang.backbones.weights.saved import load, save

_PUBLIC = {
    "convert_weights": "weights.convert",
    "create_model": "registry",
    "list_models": "registry",
    "load": "weights.saved",
    "read_published": "weights.read",
    "save": "weights.saved",
}
__all__ = ["convert_weights", "create_model", "list_models", "load", "read_published", "save"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
