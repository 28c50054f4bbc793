"""What a file of weights holds, whoever wrote it: tensors by name, and what training scripts keep beside them.

In: a file of `torch.save` or safetensors. Out: a dictionary as it stands there, wrappers and foreign names left to
`convert.py`; or a ScanError (S535, S536). Nothing that a file says is run.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections import OrderedDict
from os import PathLike
from typing import Any

import torch

from scanlang.diagnostics import ScanError
from scanlang.errors import WeightsNeedCode, WeightsNotRead
from scanlang.source import Source, Span

_NO_WEIGHTS = {
    b"": "it is empty",
    b"<": "it is a web page",
    b"version https://git-lfs": "it says only where Git LFS has the file: `git lfs pull`",
}
"""How files begin that are often mistaken for weights."""

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


_HARMLESS: list[Any] = [argparse.Namespace, (OrderedDict, "yacs.config.CfgNode")]
"""Settings that training scripts keep beside the weights: data alone, the latter read as a dictionary."""


def read_published(path: str | PathLike[str]) -> dict[str, Any]:
    """`read_published("vim_tiny.pth")`; raises OSError for a file that cannot be opened."""
    with open(path, "rb") as file:
        start = file.read(64)
    for beginning, reason in _NO_WEIGHTS.items():
        if start == beginning or (beginning and start.lstrip().startswith(beginning)):
            raise ScanError([WeightsNotRead(place(path), os.fspath(path), reason)])
    return _read_safetensors(path) if is_safetensors(start) else _read_torch(path)


def is_safetensors(start: bytes) -> bool:
    """After the length of a table there is the table, as JSON."""
    return start[8:9] == b"{"


def _read_safetensors(path: str | PathLike[str]) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ScanError([damaged(path, str(error))]) from None


def _read_torch(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        with open(path, "rb") as file, torch.serialization.safe_globals(_HARMLESS):
            held = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        names = _needed_code(path, error)
        raise ScanError([WeightsNeedCode(place(path), os.fspath(path), names) if names else damaged(path)]) from None
    except Exception:  # torch raises many kinds at bytes that only look like its own, and says nothing of the file
        raise ScanError([damaged(path)]) from None
    if not isinstance(held, dict):
        reason = f"it holds a {type(held).__name__}, not tensors by name"
        raise ScanError([WeightsNotRead(place(path), os.fspath(path), reason)])
    return held


def _needed_code(path: str | PathLike[str], error: pickle.UnpicklingError) -> tuple[str, ...]:
    """The names that a file asks for beside tensors."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(os.fspath(path))
    except Exception:  # only the newer format of files has such a list
        names = []
    return tuple(sorted(set(names))) or tuple(_GLOBAL.findall(str(error)))


def damaged(path: str | PathLike[str], said: str = "") -> WeightsNotRead:
    reason = "it is damaged, cut off or no file of weights"
    return WeightsNotRead(place(path), os.fspath(path), f"{reason}: {said}" if said else reason)


def place(path: str | PathLike[str]) -> Span:
    """Where messages about a file point: at its name."""
    name = os.fspath(path)
    return Span(Source(name, name), 0, len(name))
