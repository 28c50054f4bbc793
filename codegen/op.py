"""The torch operator of a scan: shapes checked, maps and tokens packed into rows, one name for every device.

    op = scanlang.compile("cross.scan")
    y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

Around `torch.ops.scanlang.<name>`, which works on rows, there is plain torch only: packing, and the second phase of a merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from scanlang.codegen.along_time import MOST_SIZES
from scanlang.codegen.arguments import signature_of
from scanlang.codegen.on_rows import ScanOnRows
from scanlang.codegen.parameters import KernelParameters
from scanlang.codegen.register import compiler, identity, register
from scanlang.codegen.rows import Rows
from scanlang.codegen.second_pass import SecondPass
from scanlang.codegen.signature import Signature
from scanlang.codegen.states import Extent, States
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import NotByTransforms, WrongArguments, WrongTokenCount, WrongType
from scanlang.graph.scan_graph import ScanGraph
from scanlang.graph.step_rewrites import convolved
from scanlang.source import Span


class CompiledScan:
    """A scan as a function of tensors, differentiable in every argument.

    >>> y = op(x=x, low=low, B=B, C=C, dt_weight=w, dt_bias=b, A_log=A, D=D)

    Per-channel inputs are `(B, H, W, C)`, shared inputs `(B, H, W, K)` or `(B, H, W, K, ·)` in grid order, parameters
    `(K, C)` or `(K, C, ·)`, without K where the directions share them; a projected per-channel input is `(B, H, W, K, C)`.
    A grid has one to four axes (`(B, T, H, W, C)`). With `channels split` parameters are `(C)`, `(C, ·)`.
    With heads of P channels, what has one value for each is `(B, H, W, K, C / P)`, and a parameter `(K, C / P)`; what has
    more than a number for every channel is `(B, H, W, K, C, ·)`.
    Tokens that the orders insert are arguments of their own, `(B, T, C)`: `cls` for the scan's first input, `z_cls` for `z`.
    An order given at run time is `(B, L)`, int32 or int64; a layer that the merge calls any function of a tensor.
    The result is `(B, H, W, C)`, contiguous, in the type of the first per-channel input, `(B, H, W, K·C)` for `merge concat`;
    where there are tokens it is a tuple of that and the tokens of every name. float32, bfloat16, float16 and float64, mixed as
    they come; state and merge are float32, or float64 if any map is. Any H and W.
    `h0=` gives the states before the first step, by name (or the one there is): `(B, K, C, ·)`, per head `(B, K, C / P, ·)`,
    with `channels split` without K, in the type of the state. With `return_state=True` the result is `(y, states)`, tokens
    between them: the states after each direction's last step, as `h0=` takes them. Both are differentiable, but for scales.
    A convolution in a pass of its own, along another order, keeps no state.
    Raises ScanError naming the argument that is missing, unknown, or of a wrong shape, type or device.
    """

    def __init__(
        self,
        graph: ScanGraph,
        fixed: Mapping[str, int],
        span: Span,
        conv: CompiledScan | None = None,
        uncovered: bool = False,
        usual: Mapping[str, int] | None = None,
    ) -> None:
        """`conv` is the convolution of the first input in a pass of its own, for those who need it there.

        `uncovered`: there may be cells that no direction visits. `usual` are the sizes that the scan's defaults come to.
        """
        self.graph, traversal = graph, graph.traversal
        self.conv: CompiledScan | None = conv
        self.usual = dict(usual or {})
        self.convolves_before = graph.conv is not None and convolved(graph.conv.source) in graph.inputs()
        before = conv.signature if conv is not None and self.convolves_before else None
        self.signature: Signature = signature_of(graph, fixed, span, before)
        self.tokens, self._given, self._merged = traversal.token_names, traversal.given_names, graph.merge_inputs
        self._plain = traversal.plain  # tracing sees no cached properties
        self._names = tuple(array.name for array in self.signature.arrays)
        self._parameters = KernelParameters(graph, [array.name for array in self.signature.arrays if not array.is_map])
        self._leading = self.signature.leading
        self._rows: dict[tuple[int, ...], Rows] = {}
        self.states = States(graph, span)
        self.on_rows = ScanOnRows(graph, self.signature, uncovered)
        self.eager = register(self.on_rows, f"{graph.name}_{self.identity}")
        self.torch_op = self.eager.operator

    def __deepcopy__(self, memo: dict[int, Any]) -> CompiledScan:
        return self  # it never changes, and a copied module may share it

    def __reduce__(self) -> tuple[Any, ...]:
        signature = self.signature
        made = self.graph, dict(signature.fixed), signature.span, self.conv, self.on_rows.uncovered, self.usual
        return CompiledScan, made

    @property
    def identity(self) -> str:
        """A name for what the scan computes, and by which compiler: equal scans share one registered operator, unless it has
        findings at run time."""
        signature, findings = self.signature, str(self.signature.span) if self._given else ""
        meaning = str(self.graph), self.graph, signature.names, signature.fixed, self.on_rows.uncovered, findings
        return identity(compiler(), *meaning)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments."""
        return self.signature.names

    def __call__(self, /, *positional: Tensor, h0: Any = None, return_state: bool = False, **given: Any) -> Any:
        if positional:
            raise ScanError([WrongArguments(self.signature.span, (), (), self.signature.names, unnamed=len(positional))])
        self.signature.complete(given)
        self.signature.check(given)
        rows = self.rows(self.signature.grid(given))
        self.check_tokens(self.signature, given, rows)
        result, last = self.run(rows, self.signature.packed(rows, given), given, h0, return_state)
        return self.unpack(rows, result, last)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{a.name} {'layer' if a.kind == 'layer' else a.wanted}" for a in self.signature.arguments)
        channels = f"{self.graph.directions}·C" if self.graph.stacked and self.graph.second is None else "C"
        cells = f"(B, {', '.join(self.signature.axes)}, {channels})"
        result = f"({', '.join([cells, *(f'{token} (B, T, {channels})' for token in self.tokens)])})" if self.tokens else cells
        return f"<scan {self.signature.scan}: {arguments} -> {result}>"

    def rows(self, grid: tuple[int, ...]) -> Rows:
        """How maps of that size lie in rows. Where the orders decide, a traced size is fixed."""
        if torch.compiler.is_compiling():
            return self._made_rows(grid)
        found = self._rows.get(grid)
        if found is None:
            while len(self._rows) >= MOST_SIZES:
                self._rows.clear()
            found = self._rows[grid] = self._made_rows(grid)
        return found

    def _made_rows(self, grid: tuple[int, ...]) -> Rows:
        if self._plain:
            return Rows(grid)
        fixed = tuple(len(range(length)) for length in grid)
        return Rows(fixed, *self._beyond_cells(*fixed))

    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
    def _beyond_cells(self, *grid: int) -> tuple[tuple[tuple[str, int], ...], int]:
        """(tokens, pads) of a size."""
        visits = self.on_rows.visits(grid)
        return visits.tokens, visits.pads

    def check_tokens(self, signature: Signature, given: Mapping[str, Tensor], rows: Rows) -> None:
        """There are as many tokens as the orders insert."""
        counts = dict(rows.tokens)
        found: list[Diagnostic] = []
        for argument in signature.arguments:
            if argument.token is None:
                continue
            was, wanted = given[argument.name].shape[1], counts.get(argument.token, 0)
            if was != wanted:
                sizes = tuple(zip(self.graph.orders[0].axes, rows.grid, strict=True))
                found.append(WrongTokenCount(argument.span, argument.name, argument.token, int(was), wanted, sizes))
        if found:
            raise ScanError(found)

    def run(
        self, rows: Rows, maps: Mapping[str, Tensor], given: Mapping[str, Any], h0: Any = None, return_state: bool = False
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """The result on rows, `(B, R, C)`, and the last states where they are asked for.

        From packed maps, and parameters, orders and layers as the caller gives them.
        """
        if self.convolves_before and convolved(self.graph.scan_inputs[0]) not in maps:
            maps = {**maps, **self.convolved(rows, maps, given)}
        outputs, last = self.outputs(rows, maps, given, h0, return_state)
        return self.merged(rows, outputs, maps, given), last

    def merged(self, rows: Rows, outputs: Tensor, maps: Mapping[str, Tensor], given: Mapping[str, Any]) -> Tensor:
        """What the second phase of a merge, if there is one, makes of the outputs."""
        if self.graph.second is not None:
            layers = {argument.name: given[argument.name] for argument in self.signature.layers}
            read = {name: maps[name][:, : rows.covered] for name in self._merged}
            second = SecondPass(self.graph.second, rows.cells, layers)
            return second.result(outputs[:, : rows.covered], read).to(outputs.dtype)
        return outputs.flatten(2) if self.graph.stacked else outputs

    def convolved(self, rows: Rows, maps: Mapping[str, Tensor], given: Mapping[str, Any], h0: Any = None) -> dict[str, Tensor]:
        """The first input convolved in a pass of its own, `(B, R, C)` or `(B, R, K, C)`, under the kernels' name for it.

        Of the states in `h0` those of the convolution are for this pass too.
        """
        assert self.conv is not None
        assert self.graph.conv is not None
        own = None if h0 is None else self.conv.states.own(h0) or None
        return {convolved(self.graph.conv.source): self.conv.outputs(rows, maps, given, own)[0]}

    def outputs(
        self, rows: Rows, maps: Mapping[str, Tensor], given: Mapping[str, Any], h0: Any = None, return_state: bool = False
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        """What the registered operator makes: `(B, R, C)`, or `(B, R, K, C)` where the outputs stay side by side; and the last
        states where they are asked for."""
        if not isinstance(return_state, bool):
            raise ScanError([WrongType(self.signature.span, "return_state", repr(return_state), "True or False")])
        tensors = self.tensors(maps, given)
        extent = self.extent(tensors) if return_state or h0 is not None else None
        states = self.states.checked(h0, extent) if extent is not None and h0 is not None else {}
        entry = self.states.packed(states, extent) if extent is not None and states else None
        differentiable = tensors if entry is None else [*tensors, entry]
        save = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in differentiable)
        if torch.compiler.is_compiling():
            made, _, _, last = self.torch_op(*tensors, entry, grid=list(rows.grid), save=save, last=return_state)
        else:
            self.check_transforms(differentiable, save)
            made, _, _, last = self.eager(*tensors, entry, grid=rows.grid, save=save, last=return_state)
        return made, self.states.unpacked(last, extent) if extent is not None and return_state else None

    def check_transforms(self, tensors: Sequence[Tensor], save: bool) -> None:
        """What is differentiated is so backwards, by autograd itself: a tangent would be lost without a word."""
        is_dual = forward_ad._current_level >= 0
        forwards = is_dual and any(forward_ad.unpack_dual(one).tangent is not None for one in tensors)
        if forwards or (save and torch._C._are_functorch_transforms_active()):
            raise ScanError([NotByTransforms(self.signature.span, self.signature.scan, forwards)])

    def extent(self, tensors: list[Tensor]) -> Extent:
        """What the states of a call have in common."""
        arrays, _ = self.on_rows.split(tensors)
        like, channels = self.on_rows.output_like(arrays)
        sizes, computing = self.signature.sizes(arrays), self.on_rows.computing(arrays)
        return Extent(like.shape[0], channels, sizes, computing, like.device)

    def tensors(self, maps: Mapping[str, Tensor], given: Mapping[str, Any]) -> list[Tensor]:
        """What the registered operator takes: the arrays of the kernels, then the orders given at run time."""
        channels = self._leading.shown(maps[self._leading.name])
        learned = self._parameters.of(given, channels)
        arrays = [learned[name] if name in learned else maps[name] for name in self._names]
        return [*arrays, *(given[name] for name in self._given)]

    def unpack(self, rows: Rows, result: Tensor, last: dict[str, Tensor] | None = None) -> Any:
        """The map; with the tokens of every name and the last states, those that there are, a tuple."""
        cells, tokens = rows.unpack(result)
        none = result.new_zeros(result.shape[0], 0, *result.shape[2:]) if self.tokens else result
        made = (cells, *(tokens.get(name, none) for name in self.tokens), *([] if last is None else [last]))
        return made if len(made) > 1 else cells
