"""What a backend gives the operator: a scan that runs. One class per backend implements `Executable`.

All arrays are contiguous and on one device. B is the batch, K the directions. R are the rows of a map: the cells in raster
order, then tokens, then pads (`Visits.rows`). J is the number of steps of the longest direction.

    stream with lanes          (B, R, C), or (B, R, K, C) if it is per direction
    uniform stream             (B, R, K, width), along TIME (K, J, width)
    stream of units            (B, R, K, C / every, width), or (B, R, C / every, width) where directions have own channels
    parameter                  (K, C / every, width), or (C / every, width) if shared, or where directions have own channels
    input of a merge           (B, R, C)
    entry, final               (B, K, states, C) in the computing type, C the largest number of channels of a direction
    output                     (B, R, C), or (B, R, K, C) if the kernels are `stacked`

Streams may be float64, float32, bfloat16 or float16, each its own; the computing type is float64 if any stream is, else
float32. Every array that an executable makes is written in full: rows that no direction visits are zero (of pads, anything).
Pads are inputs of steps, never outputs: what a merge makes of them, or of their gradients, reaches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scanlang.codegen.kernel import ScanKernels


@dataclass(frozen=True)
class Saved:
    """What the forward leaves for the backward: the states at the start of every chunk, `(B, K, chunks, states, C)` in the
    computing type (C the largest number of channels of a direction), and the partial outputs `(K, B, R, C)` if the merge is an
    expression (else an empty tensor)."""

    states: Tensor
    partials: Tensor


class Executable(Protocol):
    """A scan compiled for one device. `grid` is the length of every axis.

    `tables` is None, or, where an order is given at run time, `(B, routes, K, J)` int32 on the device: the row of every step,
    in place of the traversal's own tables.
    """

    kernels: ScanKernels

    def chunk(self, grid: tuple[int, ...], computing: torch.dtype = torch.float32) -> int:
        """Steps between saved states at this size and computing type; there are ceil(J / chunk) chunks."""

    def forward(
        self,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        save: bool,
        tables: Tensor | None = None,
        entry: Tensor | None = None,
        final: Tensor | None = None,
    ) -> tuple[Tensor, Saved]:
        """The output, in the type of the leading stream (`ScanKernels.leading`), and what to save (empty tensors if not).

        `entry` has the states before the first step; without it they are at their starts. The states after a direction's last
        step are written to `final`, where it is given (what is beyond a direction's channels is left alone).
        """

    def backward(
        self,
        gradient: Tensor,
        saved: Saved,
        arrays: Mapping[str, Tensor],
        grid: tuple[int, ...],
        tables: Tensor | None = None,
        final: Tensor | None = None,
        entry: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The gradient of every array but constant streams, by name, in its shape; the operator converts to its type.

        `final` is the gradient of the final states (zero without it). The gradient of the initial states is written to `entry`,
        where it is given: to the places of states that have one (`BackwardKernel.carried`).
        """
