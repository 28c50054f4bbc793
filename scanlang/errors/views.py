"""What cannot be looked at with `scanlang.viz` (S540)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic


@dataclass(frozen=True)
class WrongView(Diagnostic):
    """`name` is an argument of a function of `scanlang.viz`, which cannot be `was`; `wanted` says what it can be."""

    code: ClassVar[str] = "S540"
    name: str
    was: str
    wanted: str
    explanation: ClassVar[str] = """\
`viz.erf` takes images `(B, C, H, W)` and a model that makes maps of them; `viz.influence` a scan with its inputs
`(B, H, W, C)`, or a model, images, and the name of one of its scans. A cell is `(row, column)`, counted from 0, a token its
name; a direction is the number of one of the scan's.

```
viz.influence(core, x, (14, 14))    # wrong, where x is (1, 14, 14, 96)
```
```
viz.influence(core, x, (13, 13))    # right: the last cell
```"""

    @property
    def title(self) -> str:
        return f"`{self.name}` cannot be {self.was}"

    @property
    def label(self) -> str:
        return self.wanted
