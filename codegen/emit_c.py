"""Kernels → one C file: forward, backward, the sums over channels that the backward leaves, and the merge of an expression.

    forward    for each block of channels and direction: parameters; for each chunk of steps: save the states; for each step:
               read, compute, advance, write
    backward   the same blocks, chunks from the last to the first: run the chunk forward keeping what is needed, then walk back
    collect    what each group of blocks summed over its channels -> the gradients of the shared streams
    merge, merge_adjoint    pointwise, when the merge is an expression

Lanes are channels. `p_cells[direction * steps + t]` is the cell of a step, so one text runs every order and size. Arguments
are the images, steps and channels of this call, then arrays in the order of `forward_arrays` and so on, which the caller
follows too. It does not choose: chunk and lanes come with the schedule.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import cast

from scanlang.codegen.c_math import FORMATS, Computing, number, prelude
from scanlang.codegen.c_text import Statements, Writer, comment, functions_of, names_in, require
from scanlang.codegen.kernel import Access, Atom, CellKernel, Gradient, Parameter, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule

KEPT_LIMIT = 4 << 20
_PARTIAL = re.compile(r"y\[(\d+)\]")


def sums_width(kernels: ScanKernels) -> int:
    """Values in a row of sums over channels: one per element of a shared stream, filled up to whole vectors."""
    return -(-sum(s.width for s in shared_streams(kernels)) // 16) * 16


def shared_streams(kernels: ScanKernels) -> tuple[Stream, ...]:
    """Streams without lanes, whose gradients are sums over the channels."""
    return tuple(stream for stream in kernels.streams if not stream.lanes)


def merge_name(stream: Stream) -> tuple[str, int | None]:
    """The array behind a stream of a merge, without its mark of a gradient, and the direction if it is `y[k]`."""
    name = re.sub(r"^(∂|d_)", "", stream.name)
    found = _PARTIAL.fullmatch(name)
    return ("y", int(found[1])) if found else (name, None)


def pointer(name: str) -> str:
    """What an array is called in the C file."""
    return "p_" + re.sub(r"\W", "_", name.replace("∂", "d_"))


def emit_c(kernels: ScanKernels, schedule: Schedule, computing: Computing) -> str:
    """The text of a scan; the same for the same input on every run."""
    writer = Writer()
    for line in _header(kernels, schedule, computing):
        writer.line(line)
    forward, backward = kernels.forward, kernels.backward
    merges = [kernel for kernel in (kernels.merge, kernels.merge_adjoint) if kernel is not None]
    bodies = [forward.prologue, forward.body, backward.prologue, backward.forward, backward.backward, backward.epilogue]
    wanted = functions_of(*bodies, *(kernel.body for kernel in merges)) | {"sums"} & ({"sums"} if sums_width(kernels) else set())
    writer.line(prelude(computing, schedule.lanes, sorted(wanted)))
    _constants(writer, kernels, schedule, computing)
    emitter = _Emitter(kernels, computing, writer)
    emitter.forward()
    emitter.backward()
    if sums_width(kernels):
        emitter.collect()
    if kernels.merge is not None and kernels.merge_adjoint is not None:
        emitter.cells("merge", kernels.merge)
        emitter.cells("merge_adjoint", kernels.merge_adjoint)
    return writer.text


def _header(kernels: ScanKernels, schedule: Schedule, computing: Computing) -> list[str]:
    choices = " ".join(f"{name}={value}" for name, value in dataclasses.asdict(schedule).items())
    return [
        f"// Scan `{comment(kernels.name)}` in {kernels.directions} directions, computed in {computing}. Made by scanlang.",
        f"// schedule: {choices}",
        "//",
        "// Lanes are channels. Arrays are contiguous, B images of L cells: streams with lanes (B, L, C), or (B, L, K, C) per",
        "// direction; without (B, L, K, width); parameters (K, C, width), or (C, width) if shared; p_cells (K, L).",
        "",
    ]


def _constants(writer: Writer, kernels: ScanKernels, schedule: Schedule, computing: Computing) -> None:
    kept = len(kernels.backward.keep)
    size = schedule.chunk * kept * 64
    require(size <= KEPT_LIMIT, f"a chunk of {schedule.chunk} steps keeps {size} bytes, more than a stack should hold")
    writer.line(f"enum {{ DIRECTIONS = {kernels.directions}, CHUNK = {schedule.chunk}, STATES = {len(kernels.forward.states)},")
    writer.line(f"       KEPT = {kept}, SUMS = {sums_width(kernels)} }};")
    writer.line()
    writer.line("INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }")
    writer.line("int64_t lanes(void) { return LANES; }")
    writer.line()
    require(computing in FORMATS, f"no computing type {computing}")


SIZES = ("int64_t image", "int64_t first", "int64_t last", "int64_t images", "int64_t steps", "int64_t channels")


class _Emitter:
    """Prints the functions of one scan."""

    def __init__(self, kernels: ScanKernels, computing: Computing, writer: Writer) -> None:
        self.kernels, self.computing, self.writer = kernels, computing, writer
        self.partials = kernels.merge_scale is None

    def statements(self) -> Statements:
        return Statements(self.writer, self.computing)

    def inputs(self) -> list[str]:
        names = [s.name for s in self.kernels.streams] + [p.name for p in self.kernels.parameters]
        return [f"const real *restrict {pointer(name)}" for name in names]

    def forward(self) -> None:
        """`p_y` is the output, or the partial outputs (K, B, L, C); `p_states` may be null."""
        kernel, writer, statements = self.kernels.forward, self.writer, self.statements()
        outputs = ["real *restrict p_y", "real *restrict p_states"]
        arguments = [*SIZES, "const int32_t *restrict p_cells", *self.inputs(), *outputs]
        with writer.function("forward", arguments), self.blocks(), self.directions():
            self.parameters(kernel.parameters)
            statements.run(kernel.prologue)
            self.declare(kernel.states)
            with writer.block("for (int64_t chunk = 0; chunk < chunks; ++chunk)"):
                with writer.block("if (p_states)"):
                    writer.line(self.chunk_states())
                    for i, state in enumerate(kernel.states):
                        writer.line(f"store(o_states + {i} * channels, {state}, width);")
                writer.line("const int64_t end = least((chunk + 1) * CHUNK, steps);")
                with writer.block("for (int64_t t = chunk * CHUNK; t < end; ++t)"):
                    self.place()
                    used = names_in(kernel.body, [a.value for a in kernel.advances], [kernel.output])
                    self.reads(kernel.reads, used)
                    statements.run(kernel.body)
                    self.write_output(statements.atom(kernel.output))
                    statements.advance(kernel.advances)
        writer.line()

    def blocks(self) -> object:
        return self.writer.block("for (int64_t channel = first * LANES; channel < least(last * LANES, channels); channel += LANES)")
