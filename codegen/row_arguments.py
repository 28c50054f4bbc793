"""What a scan's module takes on rows: its inputs, each `(B, R, C)`, with the tokens of its orders and nothing else.

In: a call's tensors and what they are said to be. Out: nothing, or a ScanError; a traced size is not made a number.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from scanlang.codegen.rows import Rows
from scanlang.codegen.signature import FLOATS, FLOATS_IN_WORDS, Signature
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import WrongArguments, WrongShape, WrongTokenCount, WrongType


class RowArguments:
    """Made once for a module; `signature` is that of its call with maps."""

    def __init__(self, signature: Signature, inputs: tuple[str, ...], channels: int, axes: tuple[str, ...]) -> None:
        self.span, self.inputs, self.channels, self.axes = signature.span, inputs, channels, axes
        own = (argument for argument in signature.arguments if argument.kind != "layer")
        self.others = tuple(argument.name for argument in own if argument.of not in inputs)

    def check(self, inputs: Sequence[Tensor], rows: Rows, tokens: Sequence[tuple[str, int]]) -> None:
        if self.others or len(inputs) != len(self.inputs):
            missing = (*self.inputs[len(inputs) :], *self.others)
            unknown = (f"{len(inputs)} inputs",) if len(inputs) > len(self.inputs) else ()
            raise ScanError([WrongArguments(self.span, missing, unknown, (*self.inputs, *self.others))])
        named = zip(self.inputs, inputs, strict=True)
        found = [finding for name, x in named for finding in self._of_input(name, x, rows, tokens)]
        if found:
            raise ScanError(found)

    def _of_input(self, name: str, x: Tensor, rows: Rows, tokens: Sequence[tuple[str, int]]) -> list[Diagnostic]:
        if x.dtype not in FLOATS:
            return [WrongType(self.span, name, str(x.dtype).removeprefix("torch."), FLOATS_IN_WORDS)]
        if not rows.has(tokens) and (wrong := self._wrong_tokens(name, rows, tokens)):
            return wrong
        if x.dim() != 3 or x.shape[2] != self.channels or x.shape[1] != rows.covered:
            return [WrongShape(self.span, name, tuple(x.shape), f"(B, {rows.covered}, {self.channels})")]
        return []

    def _wrong_tokens(self, name: str, rows: Rows, tokens: Sequence[tuple[str, int]]) -> list[Diagnostic]:
        """Those of which there are more or fewer than the orders insert."""
        there, wanted = dict(tokens), dict(rows.tokens)
        sizes = tuple(zip(self.axes, map(int, rows.grid), strict=True))
        return [
            WrongTokenCount(self.span, name, token, there.get(token, 0), wanted.get(token, 0), sizes)
            for token in dict.fromkeys((*there, *wanted))
            if there.get(token, 0) != wanted.get(token, 0)
        ]
