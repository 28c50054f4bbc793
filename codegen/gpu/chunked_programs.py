"""The kernels that walk in chunks of T steps: a program takes an image, a direction (or all in turn) and a block of the
channels of one unit, and carries the state `[N, P]` from chunk to chunk.

In: a layout whose kernels have a matrix form; out: the text of `forward` and `backward`, as `Layout.entries` has them. Rows
always come from a table. This is their frame; `chunked_forward` and `chunked_backward` make the lines that stand in it.
"""

from __future__ import annotations

from scanlang.codegen.gpu.choose_chunked import MANY_ROWS
from scanlang.codegen.gpu.chunked_backward import Backward
from scanlang.codegen.gpu.chunked_forward import Forward
from scanlang.codegen.gpu.chunked_tiles import Place
from scanlang.codegen.gpu.chunked_values import Values
from scanlang.codegen.gpu.triton_layout import Entry, Layout
from scanlang.codegen.gpu.triton_text import Writer
from scanlang.graph.matrix_form import CHANNEL


def write_chunked(writer: Writer, layout: Layout, entry: Entry) -> None:
    """The kernel behind an entry that walks."""
    made = Forward(layout) if entry.name == "forward" else Backward(layout)
    typed = [f"{a.name}: tl.constexpr" if a.type == "constexpr" else a.name for a in entry.arguments]
    writer.line('@triton.jit(do_not_specialize=["batch", "first"])')
    writer.wrapped(f"def {entry.name}(", typed, "):")
    depth = writer.depth
    writer.depth += 1
    _write_program(writer, made)
    _write_direction(writer, made)
    _write_loop(writer, made, entry)
    for line in made.block.lines[Place.AFTER]:
        writer.line(line)
    writer.depth = depth
    writer.line()
    writer.line()


def _write_program(writer: Writer, made: Values) -> None:
    """What the program takes; all that follows is in the loop over directions where they take turns."""
    layout, turns = made.layout, made.layout.mode == "turns"
    writer.line("i_program = tl.program_id(0)")
    writer.line("i_block = i_program % BLOCKS")
    writer.line(f"i_b = first + (i_program // {'BLOCKS' if turns else '(BLOCKS * K)'}).to(tl.int64)")
    if layout.per_image:
        writer.line(f"table = table + i_b * {layout.kernels.routes * layout.directions * layout.steps}")
    writer.line(f"o_s = tl.arange(0, {made.steps})")
    for label, axis in made.tiles.axes.items():
        if label != CHANNEL:
            writer.line(f"{axis.numbers} = tl.arange(0, {axis.padded})")
            if axis.mask:
                writer.line(f"{axis.mask} = {axis.numbers} < {axis.size}")
    if turns:
        writer.line("for i_k in range(K):")
        writer.depth += 1
        writer.line("tl.debug_barrier()")
    else:
        writer.line("i_k = i_program // BLOCKS % K")


def _write_direction(writer: Writer, made: Values) -> None:
    """The channels and steps of the direction, and what is computed before its loop."""
    layout, groups = made.layout, made.layout.groups
    writer.line(f"o_first = {made.by_direction([first for first, _ in groups])}")
    writer.line(f"n_channels = {made.by_direction([count for _, count in groups])}")
    writer.line(f"n_steps = {made.by_direction(layout.lengths)}")
    writer.line(f"o_lane = tl.arange(0, {made.channels})")
    writer.line("o_c = i_block * LANES + o_lane")
    if made.tiles.axes[CHANNEL].mask:
        tests = ["(o_lane < LANES)"] * (made.lanes != made.channels) + ["(o_c < n_channels)"] * layout.tail
        writer.line(f"m_c = {' & '.join(tests)}")
    if not layout.even:
        writer.line("if i_block * LANES < n_channels:")
        writer.depth += 1
    for line in made.block.lines[Place.BEFORE]:
        writer.line(line)


def _write_loop(writer: Writer, made: Values, entry: Entry) -> None:
    """The loop over chunks, with what it carries."""
    for name, start in made.loop_starts.items():
        writer.line(f"{name} = {start}")
    writer.line(f"n_chunks = (n_steps + {made.steps - 1}) // {made.steps}")
    chunks = "range(n_chunks)" if _loads_ahead(made, entry) else "tl.range(n_chunks, num_stages=1)"
    with writer.block(f"for i in {chunks}:"):
        writer.line(f"i_chunk = {'n_chunks - 1 - i' if entry.name == 'backward' else 'i'}")
        writer.line(f"o_t = i_chunk * {made.steps} + o_s")
        writer.line("m_t = o_t < n_steps")
        for name, sign in _pair_masks(made).items():
            writer.line(f"{name} = o_t[:, None] {sign} o_t[None, :]")
        for line in made.block.lines[Place.INSIDE]:
            writer.line(line)
        for name, end in made.loop_ends.items():
            writer.line(f"{name} = {end}")


def _pair_masks(made: Values) -> dict[str, str]:
    """Which steps of a chunk see which others. They are made anew in every chunk: kept, they would fill registers."""
    masks = {"m_pair": ">" if made.form.exclusive else ">="}
    return masks | ({"m_own": "=="} if made.form.by_row else {})


def _loads_ahead(made: Values, entry: Entry) -> bool:
    """Whether shared memory has room for the next chunk's loads."""
    layout, few = made.layout, made.matrix.state <= MANY_ROWS
    return layout.shape.dtype(layout.kernels.leading.name) == "bfloat16" and (few or entry.name == "forward")
