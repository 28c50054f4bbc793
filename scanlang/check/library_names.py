"""Which program of the library has a scan, block or backbone of a name: for the advice to import it."""

from __future__ import annotations

import re
from functools import cache

from scanlang.library import backbone_programs, library, library_source

_DEFINITION = re.compile(r"^(scan|block|backbone)\s+(\w+)", re.MULTILINE)


def library_program_with(kinds: tuple[str, ...], name: str) -> str | None:
    """`std.vmamba` for the scan `cross2d`."""
    return next((key for kind in kinds if (key := _definitions().get((kind, name))) is not None), None)


@cache
def _definitions() -> dict[tuple[str, str], str]:
    """The first program with a definition, by its kind and name."""
    found: dict[tuple[str, str], str] = {}
    for key in (*library(), *backbone_programs()):
        for kind, name in _DEFINITION.findall(library_source(key).text):
            found.setdefault((kind, name), key)
    return found
