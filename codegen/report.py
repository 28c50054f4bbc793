"""What `scanlang compile` tells of a compiled scan: proofs, schedule, bytes and operations against the ideal, and the machine
code of every kernel. As text for people, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from scanlang.codegen.account import ConvAccount, DirectionAccount, KeepAccount, MergeAccount
from scanlang.codegen.schedule import Schedule
from scanlang.codegen.traffic import Operations, Traffic


@dataclass(frozen=True)
class CodeReport:
    """Machine code of one kernel: per thread for a GPU (spills in bytes, shared in bytes per program). A C kernel has only its
    name: its compiler does not tell the rest."""

    name: str
    registers: int | None = None
    spills: int | None = None
    shared: int | None = None
    instructions_per_step: float | None = None
    exponentials_per_step: float | None = None
    channels_per_step: int | None = None


@dataclass(frozen=True)
class Report:
    program: str
    scan: str
    target: str
    layer: int
    grid: Mapping[str, int]
    channels: int
    dtype: str
    versions: Mapping[str, str]
    directions: tuple[DirectionAccount, ...]
    tokens: Mapping[str, int]
    pads: int
    conv: ConvAccount | None
    sizes: Mapping[str, int]
    schedule: Schedule
    why_sequential: str | None
    forward: Traffic
    backward: Traffic
    forward_operations: Operations | None
    backward_operations: Operations | None
    merge: MergeAccount
    keep: KeepAccount
    kernels: tuple[CodeReport, ...]

    def to_json(self) -> str:
        return json.dumps(_plain(asdict(self)), indent=2, ensure_ascii=False) + "\n"

    def to_text(self) -> str:
        cells = " × ".join(map(str, self.grid.values()))
        lines = [
            f"{self.program}: scan {self.scan} for {self.target}{f', layer {self.layer}' if self.layer else ''}",
            f"  {cells} cells, {self.channels} channels, {self.dtype}",
            "  " + ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            "directions",
            *(line for k, one in enumerate(self.directions) for line in _direction_lines(k, one)),
            *self._beyond_cells(),
            *([_conv_line(self.conv)] if self.conv is not None else []),
            f"sizes     {', '.join(f'{label} = {size}' for label, size in self.sizes.items()) or 'none'}",
            f"merge     {self.merge.rule}",
            f"          {'one pass' if self.merge.passes == 1 else 'two passes'}: {self.merge.why}",
            f"schedule  {', '.join(f'{name} {value}' for name, value in asdict(self.schedule).items())}",
            *([f"          step by step: {self.why_sequential}"] if self.why_sequential else []),
            f"{'per image':<26}{'ideal':>12}{'moved':>12}",
            *(_traffic_line(name, one) for name, one in (("forward", self.forward), ("backward", self.backward))),
            *self._operations_lines(),
            *_keep_lines(self.keep),
            *self._kernel_lines(),
        ]
        return "\n".join(lines) + "\n"

    def _beyond_cells(self) -> list[str]:
        """Rows of a map that are no cells."""
        found = [f"tokens    {', '.join(f'{count} {name}' for name, count in self.tokens.items())}"] if self.tokens else []
        return found + ([f"pads      {self.pads}"] if self.pads else [])

    def _operations_lines(self) -> list[str]:
        """Of chunks of steps they are not counted."""
        if self.forward_operations is None or self.backward_operations is None:
            return []
        return [
            f"{'per step and channel':<26}{'arithmetic':>12}{'divisions':>12}{'exp, log, …':>12}",
            _operations_line("forward", self.forward_operations),
            _operations_line("backward", self.backward_operations),
        ]

    def _kernel_lines(self) -> list[str]:
        if self.target == "cpu":
            names = ", ".join(kernel.name for kernel in self.kernels)
            return [f"functions {names} (registers and instructions: the C compiler does not tell them)"]
        head = f"{'kernels':<26}{'registers':>12}{'spills':>12}{'shared':>12}{'instructions per step':>24}"
        return [head, *(_kernel_line(kernel) for kernel in self.kernels)]


def _direction_lines(k: int, one: DirectionAccount) -> list[str]:
    addresses = "arithmetic addresses" if one.addresses == "arithmetic" else "addresses from a table"
    return [f"  y[{k}]  {one.order:<24}{one.proof}", f"        {one.steps} steps, {addresses}: {one.why}"]


def _conv_line(conv: ConvAccount) -> str:
    where = "inside the pass, and in one of its own before"
    if not (conv.inside and conv.before):
        where = "inside the pass" if conv.inside else "in a pass of its own before"
    return f"conv      {conv.width} steps of {conv.source}, {where}: {conv.why}"


def _keep_lines(keep: KeepAccount) -> list[str]:
    steps = "every step" if keep.every == 1 else f"every {keep.every} steps"
    saved = f"saved     the states {steps}, {_bytes(keep.saved_bytes)} per image"
    if keep.run_again is None or keep.again is None:
        return [f"{saved}; from them the matrix products of a chunk are made again"]
    kept = _abridged(keep.kept) or "nothing"
    return [
        f"{saved}; from them the forward is run again,",
        f"          {_counted(keep.run_again)} per step and channel: to save what it makes would take {_bytes(keep.all_bytes)}",
        f"kept      of each such step {kept}: {keep.kept_bytes} bytes a channel",
        f"again     what is cheaper to compute than to keep: {_counted(keep.again)} per step and channel",
    ]


def _abridged(names: tuple[str, ...]) -> str:
    """All of a few names, the first and the last of many."""
    return ", ".join(names if len(names) <= 8 else (*names[:6], "…", names[-1]))


def _counted(operations: Operations) -> str:
    total = operations.arithmetic + operations.divisions + operations.transcendental
    special = f"{operations.transcendental} of them exp, log, …" if operations.transcendental else "no exp, log, …"
    return f"{total} operation{'s' * (total != 1)} ({special})"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


def _traffic_line(name: str, traffic: Traffic) -> str:
    ratio = f"{traffic.moved / traffic.ideal:.1f}×"
    return f"  {name:<24}{_bytes(traffic.ideal):>12}{_bytes(traffic.moved):>12}  {ratio}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _operations_line(name: str, operations: Operations) -> str:
    return f"  {name:<24}{operations.arithmetic:>12}{operations.divisions:>12}{operations.transcendental:>12}"


def _kernel_line(kernel: CodeReport) -> str:
    cells = ["–" if value is None else str(value) for value in (kernel.registers, kernel.spills, kernel.shared)]
    steps = "–"
    if kernel.instructions_per_step:
        steps = f"{kernel.instructions_per_step:.1f} for {kernel.channels_per_step} channels"
    return f"  {kernel.name:<24}{cells[0]:>12}{cells[1]:>12}{cells[2]:>12}{steps:>24}"
