"""What the language has and this version does not read yet, and what to write instead."""

from __future__ import annotations

_IN_TORCH = "write it in torch, around `Scan2d`"
_UNITS = "write a scan of one unit, and call it on each group of channels"
_NAMED = "every equation names a value: `a = ...` above, then `a` where it is needed"

LATER_KEYWORDS = {
    "block": _IN_TORCH,
    "backbone": _IN_TORCH,
    "schedule": "leave it out: the compiler chooses the schedule",
    "head": _UNITS,
    "per": _UNITS,
    "scale": "only states that need no running scale can be written",
    "let": _NAMED,
}
"""Words that begin a construct: of a file, of a scan, of a recurrence."""

LATER_FUNCTIONS = {"prev": "an equation sees the values of its own step, and the update of a state its old value"}
