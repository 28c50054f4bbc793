"""Kernels → one C file: forward, backward, the sums over channels that the backward leaves, and the merge of an expression.

    forward    for each block of channels and direction: parameters; for each chunk of steps: save the states; for each step:
               read, compute, write, advance
    backward   the same blocks, chunks from the last to the first: run the chunk forward keeping what is needed, then walk back
    collect    what each group of blocks summed over its channels → the gradients of streams with one value for several of them
    merge, merge_adjoint    pointwise, when the merge is an expression

Lanes are channels. `p_table[direction * steps + t]` is the row of a step, so one text runs every order and size. It does not
choose: chunk and lanes come with the schedule. The step functions are printed by `c_scan.py`; `run_c.py` calls them.
"""

from __future__ import annotations

import dataclasses
import re
from itertools import accumulate

from scanlang.codegen.cpu.c_math import Computing, prelude
from scanlang.codegen.cpu.c_powers import with_powers
from scanlang.codegen.cpu.c_scan import ScanWriter, kept_columns
from scanlang.codegen.cpu.c_streams import (
    Sums,
    gradient_pointer,
    is_columns,
    per_unit,
    pointer,
    row_name,
    stream_place,
    summed,
    table_row,
)
from scanlang.codegen.cpu.c_text import Statements, Writer, comment, functions_of, names_in
from scanlang.codegen.kernel import TIME, CellKernel, Parameter, ScanKernels, Stream
from scanlang.codegen.schedule import Schedule
from scanlang.diagnostics import InternalError

KEPT_LIMIT = 4 << 20
_PARTIAL = re.compile(r"y\[(\d+)\]")


def emit_c(kernels: ScanKernels, schedule: Schedule, computing: Computing) -> str:
    """The text of a scan; the same for the same input on every run."""
    kernels = with_powers(kernels)
    kept_bytes = (schedule.chunk + 1) * kept_columns(kernels) * 64
    if kept_bytes > KEPT_LIMIT:
        raise InternalError(f"a chunk of {schedule.chunk} steps keeps {kept_bytes} bytes, more than a stack should hold")
    writer = Writer()
    writer.lines += _header(kernels, schedule, computing)
    writer.line(prelude(computing, schedule.lanes, sorted(_functions(kernels))))
    writer.lines += _constants(kernels, schedule)
    scan = ScanWriter(kernels, computing, writer)
    scan.forward()
    scan.backward()
    if summed(kernels):
        _collect(kernels, writer)
    if kernels.merge is not None and kernels.merge_adjoint is not None:
        _cells("merge", kernels.merge, computing, writer)
        _cells("merge_adjoint", kernels.merge_adjoint, computing, writer)
    return writer.text


def merge_name(stream: Stream | Parameter) -> tuple[str, int | None]:
    """The array behind a stream of a merge, without the mark of a gradient; the direction if it is `y[k]`."""
    name = stream.name.removeprefix("∂")
    found = _PARTIAL.fullmatch(name)
    return ("y", int(found[1])) if found else (name, None)


def _functions(kernels: ScanKernels) -> set[str]:
    forward, backward = kernels.forward, kernels.backward
    merges = [kernel.body for kernel in (kernels.merge, kernels.merge_adjoint) if kernel is not None]
    bodies = (forward.prologue, forward.body, backward.prologue, backward.forward, backward.backward, backward.epilogue)
    found = functions_of(*bodies, *merges) | ({"sums"} if summed(kernels) else set())
    units = max([*(of.every for of in kernels.streams), *(of.every for of in kernels.parameters)]) > 1
    columns = any(map(is_columns, kernels.streams))
    return found | ({"units"} if units else set()) | ({"columns"} if columns else set())


def _header(kernels: ScanKernels, schedule: Schedule, computing: Computing) -> list[str]:
    choices = " ".join(f"{name}={value}" for name, value in dataclasses.asdict(schedule).items())
    return [
        f"// Scan `{comment(kernels.name)}` in {kernels.directions} directions, computed in {computing}. Made by scanlang.",
        f"// schedule: {choices}",
        "//",
        "// Lanes are channels. Arrays are contiguous, B images of R rows. Streams with lanes: (B, R, C), or (B, R, K, C) per",
        f"// direction; without: (B, R, K, width), or (K, J, width) along time. {_parameters(kernels)}",
        *_units(kernels),
        "// p_table: the row of every step, (routes, K, J). p_lengths: the steps of every direction, at most J.",
    ]


def _units(kernels: ScanKernels) -> list[str]:
    """What has its numbers for other than one channel or all of them."""
    every = {of.name: of.every for of in kernels.streams if of.units}
    every |= {of.name: of.every for of in kernels.parameters if of.every > 1}
    if not every:
        return []
    shape = "(B, R, C / n, width)" if kernels.split is not None else "(B, R, K, C / n, width)"
    return [f"// For every n channels, a stream {shape}: {', '.join(f'{name} {n}' for name, n in every.items())}."]


def _parameters(kernels: ScanKernels) -> str:
    if kernels.split is not None:
        return "Parameters: (C, width), or (C / K, width) if shared."
    return "Parameters: (K, C, width), or (C, width) if shared."


def _constants(kernels: ScanKernels, schedule: Schedule) -> list[str]:
    states, kept = len(kernels.forward.states), kept_columns(kernels)
    sums = [f"{s.label} = {s.values}, {s.row_label} = {s.row}" for s in summed(kernels)]
    return [
        f"enum {{ DIRECTIONS = {kernels.directions}, CHUNK = {schedule.chunk}, STATES = {states}, KEPT = {kept},",
        f"       {', '.join(sums or ['SUMS = 0, SUMS_ROW = 0'])} }};",
        *_parts(kernels.split),
        "",
        "INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }",
        "int64_t lanes(void) { return LANES; }",
        "",
    ]


def _parts(split: tuple[int, ...] | None) -> list[str]:
    """Where the channels of every direction begin, and end at last."""
    if split is None:
        return []
    ends = ", ".join(map(str, accumulate(split, initial=0)))
    return [f"static const int64_t PARTS[DIRECTIONS + 1] = {{{ends}}}, MOST_PARTS = {max(split)};"]


def _collect(kernels: ScanKernels, writer: Writer) -> None:
    """Steps `first` to `last` of a direction, added to what is in their rows; groups of `size` blocks are added in their order.

    A gradient along time is made for every image, (B, K, J, width).
    """
    found = summed(kernels)
    streams = [stream for sums in found for stream in sums.streams]
    sizes = ("image", "direction", "first", "last", "groups", "size", "images", "rows", "steps", "channels")
    tables = ["const int32_t *restrict p_table", *(f"const real *restrict {sums.pointer}" for sums in found)]
    outputs = [f"real *restrict {gradient_pointer(stream.name)}" for stream in streams]
    with (
        writer.function("collect", [*(f"int64_t {size}" for size in sizes), *tables, *outputs]),
        writer.block("for (int64_t t = first; t < last; ++t)"),
    ):
        writer.line("const int64_t step = (image * DIRECTIONS + direction) * steps + t;")
        for route in sorted({stream.route for stream in streams} - {TIME}):
            writer.line(f"const int64_t {row_name(route)} = image * rows + p_table[{table_row(route)} * steps + t];")
        if kernels.split is not None:
            writer.line("const int64_t part = channels / PARTS[DIRECTIONS], begin = part * PARTS[direction];")
        for sums in found:
            if sums.every:
                _collect_units(sums, kernels.split is not None, writer)
            else:
                _collect_all(sums, writer)
    writer.line()


def _collect_all(sums: Sums, writer: Writer) -> None:
    """What is summed over all channels."""
    _total(sums, "int64_t group = 0; group < groups", "group", writer)
    offset = 0
    for stream in sums.streams:
        place = f"step * {stream.width}" if stream.route == TIME else stream_place(stream, split=False)
        _add_total(stream, place, offset, writer)
        offset += stream.width


def _collect_units(sums: Sums, split: bool, writer: Writer) -> None:
    """What is summed over the channels of units. A unit may be of several groups; each has rows for the unit of its own."""
    every = sums.every
    units = "part * (PARTS[direction + 1] - PARTS[direction])" if split else "channels"
    with writer.block(f"for (int64_t unit = 0; unit < {units} / {every}; ++unit)"):
        writer.line(
            f"const int64_t begins = unit * {every} / (size * LANES), ends = (unit * {every} + {every - 1}) / (size * LANES);"
        )
        _total(sums, "int64_t group = begins; group <= ends", "(unit + group)", writer)
        offset = 0
        for stream in sums.streams:
            place = stream_place(stream, split, f"{per_unit('begin', every)} + unit" if split else "unit")
            _add_total(stream, place, offset, writer)
            offset += stream.width


def _total(sums: Sums, loop: str, place: str, writer: Writer) -> None:
    writer.line(f"real total[{sums.row_label}] = {{0}};")
    with writer.block(f"for ({loop}; ++group)"):
        writer.line(f"const real *sums = {sums.pointer} + ({place} * images * DIRECTIONS * steps + step) * {sums.row_label};")
        writer.line(f"for (int i = 0; i < {sums.label}; ++i) total[i] += sums[i];")


def _add_total(stream: Stream, place: str, offset: int, writer: Writer) -> None:
    to = f"{gradient_pointer(stream.name)}[{place} + i]"
    writer.line(f"for (int i = 0; i < {stream.width}; ++i) {to} += total[{offset} + i];")


def _cells(function: str, kernel: CellKernel, computing: Computing, writer: Writer) -> None:
    """Elements `first` to `last` of maps of `size` elements; the partial outputs are (K, size)."""
    arguments = [f"const real *restrict {name}" for name in dict.fromkeys(map(_source, (a.of for a in kernel.reads)))]
    arguments += [f"real *restrict {name}" for name in dict.fromkeys(_target(w.of, function) for w in kernel.writes)]
    statements = Statements(writer, computing)
    used = names_in(kernel.body, *(write.atoms for write in kernel.writes))
    with (
        writer.function(function, ["int64_t first", "int64_t last", "int64_t size", *arguments]),
        writer.block("for (int64_t i = first; i < last; i += LANES)"),
    ):
        writer.line("const int64_t width = least(LANES, last - i);")
        for access in kernel.reads:
            if access.names[0] in used:
                writer.line(f"const vec {access.names[0]} = load({_source(access.of)} + {_element(access.of)}, width);")
        statements.run(kernel.body)
        for write in kernel.writes:
            place = f"{_target(write.of, function)} + {_element(write.of)}"
            writer.line(f"store({place}, {statements.atom(write.atoms[0])}, width);")
    writer.line()


def _source(stream: Stream | Parameter) -> str:
    """What a merge reads: the partial outputs, an input, or (`∂y.out`) the gradient of the output."""
    name, direction = merge_name(stream)
    if direction is not None:
        return "p_partials"
    return "p_d_y" if name != stream.name else pointer(name)


def _target(stream: Stream, function: str) -> str:
    name, direction = merge_name(stream)
    if function == "merge":
        return "p_y"
    return "p_d_partials" if direction is not None else gradient_pointer(name)


def _element(stream: Stream | Parameter) -> str:
    _, direction = merge_name(stream)
    return "i" if not direction else f"{direction} * size + i"
