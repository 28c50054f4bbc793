"""The forward that walks in chunks: states are saved before every chunk, then the core gives what the readout reads.

In: the layout; out: the lines of the kernel before, in and after its loop, and what the loop carries.
"""

from __future__ import annotations

from scanlang.codegen.gpu.chunked_tiles import Place, Tile
from scanlang.codegen.gpu.chunked_values import Values
from scanlang.codegen.gpu.triton_layout import Layout
from scanlang.graph.matrix_form import CHANNEL, READ, SUM


class Forward(Values):
    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.make()

    def make(self) -> None:
        form, layout, ends = self.form, self.layout, self.layout.shape
        second = form.normaliser
        start = self.load_state(self.ends_base("entry"), form.state) if ends.entry else self.zeros(self.rows, self.channels)
        state, sums = self.carried("b_state", start), None
        if second is not None:
            sums = self.carried(
                "b_sums", self.load_sums(self.ends_base("entry"), second) if ends.entry else self.zeros(self.rows)
            )
        saved = self.saved_base("i_chunk")
        stores = [self.store_state(saved, form.state, state)]
        stores += [self.store_state(saved, second, self.across(sums))] if second is not None and sums is not None else []
        self.inside("if SAVE:")
        for store in stores:
            self.inside(f"    {store}")
        core = self.core(state, sums)
        self.tiles.given[READ] = lambda: core.read(Tile(True, CHANNEL, Place.INSIDE))
        self.tiles.given[SUM] = core.read_sums
        scale = layout.kernels.merge_scale if layout.mode != "partials" else None
        value = self.tiles.read(form.step.readout)
        place = (layout.kernels.output_route, layout.output_row)
        self.store_merged("output", "running", place, value, 1.0 if scale is None else scale)
        self.loop_ends[state], after = core.next_state()
        if sums is not None and after is not None:
            self.loop_ends[sums] = after
        if ends.final:
            final = self.ends_base("final")
            self.block.line(Place.AFTER, self.store_state(final, form.state, state))
            if second is not None and sums is not None:
                self.block.line(Place.AFTER, self.store_state(final, second, self.across(sums)))

    def across(self, sums: str) -> str:
        """The normaliser in every channel."""
        return f"tl.broadcast_to({sums}[:, None], [{self.rows}, {self.channels}])"
