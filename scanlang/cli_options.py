"""What arguments and options of the command line may be: `std.vmamba`, `8x12`, `sm_90`, …

In: their text; out: values, or how to write them.
"""

from __future__ import annotations

import re
from math import prod
from typing import Any

import click

EMITS = (
    "syntax",
    "checked",
    "maps",
    "graph",
    "schedule",
    "kernels",
    "adjoint",
    "triton",
    "c",
    "ptx",
    "cubin",
    "report",
)
PRINTED = frozenset(("syntax", "checked", "maps", "graph", "schedule", "kernels", "adjoint", "triton", "c"))
"""Text that is printed where no folder is given to write it into."""
CPU_EMITS, GPU_EMITS = ("c",), ("triton", "ptx", "cubin")
OLDEST_ARCHITECTURE = 70
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
TUNED_TYPES = {**DTYPES, **{name: name for name in DTYPES.values()}}
"""`bf16`, or `bfloat16`."""
MOST_CELLS = 2**31


class ProgramFile(click.Path):
    """A file, or the name of a program of the library."""

    def __init__(self, allow_dash: bool = False) -> None:
        super().__init__(exists=True, dir_okay=False, allow_dash=allow_dash)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from scanlang.library import names_library_program

        if isinstance(value, str) and names_library_program(value):
            return value
        return super().convert(value, parameter, context)


FILE = ProgramFile(allow_dash=True)
PROGRAM = ProgramFile()


def parse_size(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """`8x12`: the length of every axis of a grid, as many as it has."""
    if text is None:
        return None
    match = re.fullmatch(r"[0-9]{1,9}(?:[x×][0-9]{1,9}){0,3}", text)
    size = tuple(map(int, re.split("[x×]", text))) if match else ()
    if not size or min(size) == 0:
        raise click.BadParameter(f"{text!r} is no grid size such as 8x12 (rows x columns) or 4x8x12", param=parameter)
    if prod(size) > MOST_CELLS:
        raise click.BadParameter(f"{text!r} has {prod(size):,} cells; there may be {MOST_CELLS:,}", param=parameter)
    return size


def parse_sizes(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[int, ...]]:
    parsed = (parse_size(context, parameter, text) for text in texts)
    return [size for size in parsed if size is not None]


def parse_target(_context: click.Context, parameter: click.Parameter, text: str) -> str:
    """`cpu`, or an NVIDIA architecture: `sm_80`, `sm_90`."""
    if not re.fullmatch(r"cpu|sm_[1-9][0-9]{1,2}", text):
        message = f"{text!r} is no target: cpu, or an NVIDIA architecture such as sm_80 or sm_90"
        raise click.BadParameter(message, param=parameter)
    if text != "cpu" and int(text.removeprefix("sm_")) < OLDEST_ARCHITECTURE:
        raise click.BadParameter(f"{text!r} is too old: sm_{OLDEST_ARCHITECTURE} is the first that works", param=parameter)
    return text
