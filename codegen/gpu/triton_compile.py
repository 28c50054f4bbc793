"""Triton's compiler without the one pass that long straight-line kernels cannot afford.

Triton's coalescing pass chooses a layout for every load by walking everything that depends on the same values: its time grows
with the cube of a kernel's length (a backward of 7 steps with rank 12: 40 of 45 seconds). In the kernels that walk, lanes are
channels, and the layout that tensors begin with is as good: with 32 lanes the machine code is the same to the instruction. So
the pass is left out while this thread compiles such a kernel, and runs for everything else. Where a version of Triton keeps
the pass elsewhere, nothing is changed and compiling takes longer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_here = threading.local()


@contextmanager
def without_coalescing() -> Iterator[None]:
    """Kernels that this thread compiles inside keep the layouts that they begin with."""
    _install()
    before, _here.active = getattr(_here, "active", False), True
    try:
        yield
    finally:
        _here.active = before


@functools.cache
def _install() -> None:
    """Make the pass heed `without_coalescing`, once per process."""
    try:
        from triton._C.libtriton import passes

        original = passes.ttgpuir.add_coalesce
    except (ImportError, AttributeError):
        return

    def add_coalesce(manager: Any) -> None:
        if not getattr(_here, "active", False):
            original(manager)

    passes.ttgpuir.add_coalesce = add_coalesce
