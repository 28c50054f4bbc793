"""What the language has and this version does not read yet, and what to write instead."""

from __future__ import annotations

_IN_TORCH = "write it in torch, around `Scan2d`"
_NAMED = "every equation names a value: `a = ...` above, then `a` where it is needed"

LATER_KEYWORDS = {
    "block": _IN_TORCH,
    "backbone": _IN_TORCH,
    "schedule": "leave it out: the compiler chooses the schedule",
    "let": _NAMED,
}
"""Words that begin a construct: of a file, of a scan, of a recurrence."""
