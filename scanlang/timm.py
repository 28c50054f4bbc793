"""`import scanlang.timm` registers the networks of the library with timm: `timm.create_model("vmamba_tiny_s1l8")`."""

from __future__ import annotations

try:
    from scanlang.backbones import timm as registration
except ModuleNotFoundError as error:
    if error.name != "timm":
        raise
    raise ModuleNotFoundError("timm is not installed: pip install 'scanlang[timm]'", name="timm") from None

__all__ = ["checkpoint_filter_fn"]

checkpoint_filter_fn = registration.checkpoint_filter_fn
