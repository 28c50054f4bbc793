"""What the language has and this version does not read yet, and what to write instead."""

from __future__ import annotations

LATER_KEYWORDS = {"schedule": "leave it out: the compiler chooses the schedule"}
"""Words that begin a construct of a scan."""
