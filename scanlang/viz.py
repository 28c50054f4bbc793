"""What a network sees, in pictures: `scanlang.viz.erf(model, images, path="erf.png")`.

Pictures need matplotlib (`pip install 'scanlang[viz]'`), the numbers do not.
"""

from __future__ import annotations

from scanlang.backbones.erf import erf
from scanlang.backbones.influence import Influence, influence

__all__ = ["Influence", "erf", "influence"]
