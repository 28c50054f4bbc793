"""What the options of the command line may be: `8x12`, `sm_90`, … In: their text; out: values, or how to write them."""

from __future__ import annotations

import re

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
CPU_EMITS, GPU_EMITS = ("c",), ("triton", "ptx", "cubin")
OLDEST_ARCHITECTURE = 70
DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}
MOST_CELLS = 2**31
FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)
PROGRAM = click.Path(exists=True, dir_okay=False)


def parse_size(_context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """`8x12`: rows and columns of a grid."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", text)
    if match is None or not int(match[1]) or not int(match[2]):
        raise click.BadParameter(f"{text!r} is no grid size such as 8x12 (rows x columns)", param=parameter)
    height, width = int(match[1]), int(match[2])
    if height * width > MOST_CELLS:
        raise click.BadParameter(f"{text!r} has {height * width:,} cells; there may be {MOST_CELLS:,}", param=parameter)
    return height, width


def parse_sizes(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> list[tuple[int, int]]:
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
