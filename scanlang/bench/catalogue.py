"""Every row by its name, and names by patterns."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from scanlang.bench import chunked, first_calls, models, on_cpu, orders, recurrences, schedules, stages, sweep
from scanlang.bench.row import Measurement

SOURCES = (stages, models, recurrences, on_cpu, first_calls, sweep, orders, schedules, chunked)


def catalogue() -> dict[str, Measurement]:
    """In the order in which they are measured."""
    return {one.name: one for source in SOURCES for one in source.measurements()}


def chosen(names: Iterable[str], patterns: str | None) -> list[str]:
    """Those like one of the comma-separated patterns; all without patterns.

    >>> chosen(["stage1-core-forward", "vim-core-forward", "vim-layer-both"], "stage1*,vim-layer-*")
    ['stage1-core-forward', 'vim-layer-both']
    """
    wanted = ["*"] if patterns is None else [pattern.strip() for pattern in patterns.split(",")]
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]
