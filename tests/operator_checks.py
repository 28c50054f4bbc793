"""Checks that the operator tests of every backend share: a scan of `operator_programs.py` by name, its operator, comparisons.

Checks take a device, so that the same lines run on the CPU, in Triton's interpreter and on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from operator_programs import EXAMPLES, FEATURE_TEXTS, FILES, MODULE_TEXTS, TEXTS, VOLUMES
from operator_recurrences import RECURRENCE_TEXTS
from torch import Tensor

import scanlang
from scanlang.codegen.executable import Executable, Saved
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.on_rows import ScanOnRows
from scanlang.codegen.rows import Rows
from scanlang.testing import TOLERANCES, Tolerance, assert_close, assert_matches_reference, draw_inputs
from scanlang.testing.tensors import draw_layers, draw_states, fewest_channels

BACKWARD_CHECKS = ("test_schema", "test_faketensor")  # the backward has no derivative of its own


@cache
def program(name: str) -> scanlang.Program:
    if name in FILES:
        return scanlang.load(EXAMPLES / FILES[name])
    return scanlang.loads({**TEXTS, **FEATURE_TEXTS, **MODULE_TEXTS, **VOLUMES, **RECURRENCE_TEXTS}[name])


@cache
def operator(name: str) -> scanlang.CompiledScan:
    return scanlang.compile(program(name))


def program_with_name(name: str) -> scanlang.Program:
    """A shared input of this name, and a parameter called like its gradient."""
    return scanlang.loads(f"""grid h, w
    recurrence r(state n) {{
      input x
      shared {name}[n], y
      param d_{name}
      h[n] = sigmoid(d_{name} + {name}[n]) * h[n] + x
      out = y * sum(n: h[n])
    }}
    scan s(dim) {{ directions raster, columns recur r(state = 2) merge y[0] * x + y[1] }}""")


def channels_of(name: str, channels: int) -> int:
    """So many channels, or the next more that make whole units and groups in every direction."""
    fewest = fewest_channels(operator(name), {})
    return -(-channels // fewest) * fewest


def draw(name: str, grid: tuple[int, ...], channels: int = 3, **drawn: Any) -> dict[str, Any]:
    """Arguments for a scan: tensors, and the layers that its merge calls, of the computing type."""
    op, channels = operator(name), channels_of(name, channels)
    tensors = draw_inputs(op, grid, channels=channels, **drawn)
    maps = {argument.name for argument in op.signature.arguments if argument.is_map or argument.token is not None}
    wide = any(tensor.dtype == torch.float64 for key, tensor in tensors.items() if key in maps)
    device, dtype = str(tensors[op.signature.maps[0].name].device), torch.float64 if wide else torch.float32
    return {**tensors, **draw_layers(program(name), channels=channels, dtype=dtype, device=device)}


def check(
    name: str,
    grid: tuple[int, ...],
    channels: int = 3,
    backend: Callable[..., Executable] | None = None,
    with_states: bool = False,
    **drawn: Any,
) -> None:
    """Output and every gradient of a scan against the reference; with states to begin with, and the last ones."""
    op, channels = operator(name), channels_of(name, channels)
    tensors = draw_inputs(op, grid, channels=channels, **drawn)
    kind, tolerances = drawn.get("dtype", torch.float32), TOLERANCES
    if kind in (torch.bfloat16, torch.float16) and (op.convolves_before or op.graph.second is not None):
        rounding = TOLERANCES[kind].rounding  # what one pass hands to the next is of the maps' type
        tolerances = {torch.float32: Tolerance(rounding, 4 * rounding, 16 * rounding)}
    states = None
    if with_states:
        wide = torch.float64 if kind == torch.float64 else torch.float32
        of_call = {key: value for key, value in drawn.items() if key in ("batch", "sizes", "device")}
        states = draw_states(op, channels=channels, dtype=wide, **of_call)
    run = op if backend is None else through(backend, op)
    assert_matches_reference(run, program(name), tensors, states=states, tolerances=tolerances)


def results(op: Callable[..., Any], given: Mapping[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """The output and the gradient of every argument, by name (`""` is the output, `"1"` … are tokens)."""
    differentiable = {name: value for name, value in given.items() if isinstance(value, Tensor) and value.is_floating_point()}
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in differentiable.items()}
    made = op(**{**given, **leaves})
    parts = made if isinstance(made, tuple) else (made,)
    generator = torch.Generator().manual_seed(seed)
    cotangents = [torch.randn(part.shape, generator=generator).to(part) for part in parts]
    gradients = torch.autograd.grad(parts, list(leaves.values()), cotangents)
    outputs = {str(place or ""): part.detach() for place, part in enumerate(parts)}
    return {**outputs, **dict(zip(leaves, gradients, strict=True))}


def check_pads_of_a_merge(backend: Callable[..., Executable], device: str = "cpu") -> None:
    """A merge that is not finite where its inputs are 0, as they are in pads, is the one that is, on other inputs."""
    text = """import std.selective  grid h, w  order padded = window(columns, 2, 3, pad = decay)
    scan s(dim) {{ input x, z  directions padded, reverse(padded)  recur selective(state = 2, rank = 2)
    merge y[0] * {factor} + y[1] * x }}"""
    logarithm, plain = (scanlang.compile(scanlang.loads(text.format(factor=factor))) for factor in ("log(abs(z))", "z"))
    given = draw_inputs(logarithm, (3, 4), dtype=torch.float64, device=device)
    ours = results(through(backend, logarithm), given)
    theirs = results(through(backend, plain), {**given, "z": given["z"].abs().log()})
    for name in theirs.keys() - {"z"}:
        assert_close(name or "the output", ours[name], theirs[name], 1e-12)


def assert_same_bits(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    for name, value in first.items():
        assert torch.equal(value, second[name]), f"{name or 'the output'} differs"


@dataclass(frozen=True)
class Call:
    """What a call of an operator comes to on rows: `tensors` are what the registered operator takes."""

    op: scanlang.CompiledScan
    rows: Rows
    tensors: list[Tensor]

    @property
    def grid(self) -> tuple[int, ...]:
        return self.rows.grid

    @property
    def arrays(self) -> dict[str, Tensor]:
        """What an executable takes."""
        return self.op.on_rows.kernel_arrays(self.op.on_rows.split(self.tensors)[0], self.grid)

    @property
    def tables(self) -> Tensor | None:
        return self.op.on_rows.tables(self.op.on_rows.split(self.tensors)[1], self.grid)

    @property
    def kernels(self) -> ScanKernels:
        return lower_to_kernels(self.op.graph, self.op.signature.sizes(self.op.on_rows.split(self.tensors)[0]))

    def run(self, backend: Callable[..., Executable], save: bool = True) -> dict[str, Tensor]:
        """The output on rows (`""`) and the gradient of every array, by an executable called as the operator calls it."""
        kernels, traversal = self.kernels, self.op.graph.traversal
        executable, arrays, tables = backend(kernels, traversal), self.arrays, self.tables
        result, saved = executable.forward(arrays, self.grid, save, tables)
        covered, found = self.rows.covered, {"": result[:, : self.rows.covered]}
        if save:
            cotangent = torch.randn(result.shape, generator=torch.Generator().manual_seed(0)).to(result)
            cotangent[:, covered:] = 0
            found |= executable.backward(cotangent, saved, arrays, self.grid, tables)
        constant = {stream.name for stream in kernels.streams if stream.constant}
        assert set(found) - {""} == (set(arrays) - constant if save else set())
        check_saved(executable, saved, result, self.op.on_rows.visits(self.grid).steps, self.grid, save)
        return found


def check_saved(executable: Executable, saved: Saved, result: Tensor, steps: int, grid: tuple[int, ...], save: bool) -> None:
    """The saved states and partial outputs have the shapes that the operator promises to fake tensors."""
    kernels = executable.kernels
    channels = max(count for _, count in kernels.channels(result.shape[-1]))
    chunks = -(-steps // executable.chunk(grid))
    states = (result.shape[0], kernels.directions, chunks, len(kernels.forward.states), channels)
    partials = (0,) if kernels.merge is None else (kernels.directions, *result.shape)
    assert tuple(saved.states.shape) == (states if save else (0,))
    assert tuple(saved.partials.shape) == (partials if save else (0,))


def call(op: scanlang.CompiledScan, given: Mapping[str, Any]) -> Call:
    """A call of an operator, packed."""
    rows = op.rows(op.signature.grid(given))
    maps = op.signature.packed(rows, given)
    if op.convolves_before:
        maps |= op.convolved(rows, maps, given)
    return Call(op, rows, op.tensors(maps, given))


def opcheck(name: str, grid: tuple[int, ...] = (3, 5), device: str = "cpu", **drawn: object) -> None:
    """`torch.library.opcheck` on the operator, with and without saved states, every argument differentiable or none."""
    op = operator(name)
    called = call(op, draw(name, grid, device=device, **drawn))
    plain, size = tuple(tensor.detach() for tensor in called.tensors), list(called.grid)
    torch.library.opcheck(op.torch_op, (*plain, None), {"grid": size, "save": False})
    result, states, partials, final = op.torch_op(*plain, None, grid=size, save=True, last=True)
    entry = torch.ones_like(final)
    backward = getattr(torch.ops.scanlang, op.torch_op._schema.name.split("::")[1] + "_backward").default
    gradient = (torch.ones_like(result), None, states, partials, *plain, None)
    torch.library.opcheck(backward, gradient, {"grid": size}, test_utils=BACKWARD_CHECKS)
    gradient = (None, entry, states, partials, *plain, entry)
    torch.library.opcheck(backward, gradient, {"grid": size, "first": True}, test_utils=BACKWARD_CHECKS)
    learned = tuple(tensor.requires_grad_(tensor.is_floating_point()) for tensor in plain)
    torch.library.opcheck(op.torch_op, (*learned, None), {"grid": size, "save": True})
    torch.library.opcheck(op.torch_op, (*learned, entry.requires_grad_()), {"grid": size, "save": True, "last": True})


def check_torch_compile(name: str, backend: str, device: str = "cpu", dynamic: bool | None = None) -> None:
    """`torch.compile(fullgraph=True)` around the scan gives the same output and gradients, at several sizes."""
    op = operator(name)
    torch._dynamo.reset()

    def around(**given: Any) -> tuple[Tensor, ...]:
        made = op(**{key: value * 1.5 if is_float(value) else value for key, value in given.items()})
        return tuple(torch.tanh(part) + 1 for part in (made if isinstance(made, tuple) else (made,)))

    def is_float(value: Any) -> bool:
        return isinstance(value, Tensor) and value.is_floating_point()

    compiled = torch.compile(around, fullgraph=True, backend=backend, dynamic=dynamic)
    for grid in ((3, 5), (4, 7)) if dynamic else ((3, 5),):
        given = draw(name, grid, device=device, seed=grid[0])
        made = results(compiled, given)
        expected = results(around, given)
        for key, value in made.items():
            torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-6, msg=lambda m, key=key: f"{key}: {m}")
    torch._dynamo.reset()


class Through(torch.autograd.Function):
    """A scan on rows under autograd, without the registered operator between: equal scans share one of those."""

    @staticmethod
    def forward(ctx: Any, scan: ScanOnRows, grid: tuple[int, ...], last: bool, *tensors: Any) -> tuple[Tensor, Tensor]:
        *ctx.tensors, ctx.entry = tensors
        ctx.scan, ctx.grid, ctx.last = scan, grid, last
        result, *ctx.saved, final = scan.forward(ctx.tensors, grid, True, ctx.entry, last)
        return result, final

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, final: Tensor) -> tuple[Any, ...]:
        of_final, first = final if ctx.last else None, ctx.entry is not None
        found = ctx.scan.backward(gradient, *ctx.saved, ctx.tensors, ctx.grid, ctx.entry, of_final, first)
        of_entry = found.pop() if first else None
        return None, None, None, *found, *(None for _ in range(len(ctx.tensors) - len(found))), of_entry


def through(backend: Callable[..., Executable], op: scanlang.CompiledScan) -> scanlang.CompiledScan:
    """`op`, run by a backend of choice: `CpuScan`, `TorchScan`, `TritonScan`."""
    conv = None if op.conv is None else through(backend, op.conv)
    uncovered = op.on_rows.uncovered
    other = scanlang.CompiledScan(op.graph, op.signature.fixed, op.signature.span, conv, uncovered)
    scan = ScanOnRows(op.graph, op.signature, uncovered, lambda kernels, traversal, *_: backend(kernels, traversal))

    def run(*tensors: Any, grid: tuple[int, ...], save: bool, last: bool = False) -> tuple[Any, ...]:
        result, final = Through.apply(scan, grid, last, *tensors)
        return result, None, None, final

    other.on_rows, other.torch_op, other.eager = scan, run, run
    return other
