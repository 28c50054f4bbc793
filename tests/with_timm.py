"""timm, also beside a CPU build of torch: what tests import it from.

torchvision on PyPI is built for CUDA. Beside a CPU build of torch its library does not load, and its import stops at two
operators that the library would bring. They are declared here then, and never called.
"""

from __future__ import annotations

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    LIBRARY = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        LIBRARY.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm
import timm.data
import timm.optim

__all__ = ["timm"]
