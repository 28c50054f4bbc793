"""What a backend gives the operator: a scan that runs. One class per backend implements `Executable`.

All arrays are contiguous and on one device. B is the batch, L = H·W the cells in raster order, K the directions:

    stream with lanes          (B, L, C), or (B, L, K, C) if it is per direction
    stream without lanes       (B, L, K, width)
    parameter                  (K, C, width), or (C, width) if the directions share it
    input of a merge           (B, L, C)

Streams may be float64, float32, bfloat16 or float16, each its own; the computing type is float64 if any stream is, else
float32. Every array that an executable makes is written in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from scanlang.codegen.kernel import ScanKernels


@dataclass(frozen=True)
class Saved:
    """What the forward leaves for the backward: the states at the start of every chunk, `(B, K, chunks, states, C)` in the
    computing type, and the partial outputs `(K, B, L, C)` if the merge is an expression (else an empty tensor)."""

    states: Tensor
    partials: Tensor


class Executable(Protocol):
    """A scan compiled for one device. `grid` is (H, W)."""

    kernels: ScanKernels

    def chunk(self, grid: tuple[int, int]) -> int:
        """Steps between saved states at this size; there are ceil(L / chunk) chunks."""

    def forward(self, arrays: Mapping[str, Tensor], grid: tuple[int, int], save: bool) -> tuple[Tensor, Saved]:
        """The output `(B, L, C)`, in the type of the first stream with lanes, and what to save (empty tensors if not)."""

    def backward(
        self, gradient: Tensor, saved: Saved, arrays: Mapping[str, Tensor], grid: tuple[int, int]
    ) -> dict[str, Tensor]:
        """The gradient of every array, by name, in the array's shape; the operator converts to its type."""
