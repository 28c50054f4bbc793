"""A training run on disk: written whole or not at all, and read without running anything from it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scanlang.files import write_atomically

NAME = "checkpoint.pt"


def write_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """By a temporary file and a rename: whoever is killed on the way leaves the last checkpoint as it was."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_atomically(folder / NAME, buffer.getvalue())


def read_checkpoint(folder: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last checkpoint, None where there is none; SystemExit if it is of another run than what it is `about`."""
    path = folder / NAME
    if not path.exists():
        return None
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    other = [f"{name} was {was!r}, is {about.get(name)!r}" for name, was in content["about"].items() if was != about.get(name)]
    if other:
        raise SystemExit(f"{path} is of another run: {'; '.join(other)}. Without --resume it is begun anew.")
    return content


def forget_checkpoint(folder: Path) -> None:
    (folder / NAME).unlink(missing_ok=True)


def random_states() -> dict[str, Any]:
    """Of torch's generators, of the CPU and of every GPU."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def restore_random_states(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
