"""What `scanlang tune` measures: scans with the arrays that a module or a network gives them.

In: modules and a call of them; out: a `Job` for each different call that they make of a registered operator. So types, sizes
and values are those of real use, whatever a program projects, convolves or merges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from scanlang.codegen.driver import Job as CompiledJob
from scanlang.codegen.gpu.triton_layout import Shape
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.module import Scan2d
from scanlang.codegen.op import CompiledScan
from scanlang.maps.traversal import Traversal
from scanlang.program import Program
from scanlang.testing.tensors import draw_inputs

HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, eq=False)
class Job:
    """One scan on rows: what an executable is called with."""

    scan: str
    kernels: ScanKernels
    traversal: Traversal
    grid: tuple[int, ...]
    arrays: Mapping[str, Tensor]
    tables: Tensor | None = None

    @property
    def batch(self) -> int:
        return len(self.arrays[self.kernels.leading.name])

    @property
    def shape(self) -> Shape:
        """What its modules are specialised to."""
        streams = {stream.name for stream in self.kernels.streams}
        double = any(array.dtype == torch.float64 for name, array in self.arrays.items() if name in streams)
        types = tuple((name, _written(array.dtype)) for name, array in self.arrays.items())
        return Shape(self.grid, self.kernels.channel_count(self.arrays), types, "float64" if double else "float32")

    def __str__(self) -> str:
        shape, grid = self.shape, "x".join(map(str, self.grid))
        maps = shape.dtype(self.kernels.leading.name)
        return f"{self.scan}, {grid}, {shape.channels} channels, batch {self.batch}, {maps}"


def jobs_of_scan(
    program: Program,
    scan: str,
    grid: tuple[int, ...],
    channels: int,
    batch: int,
    dtype: torch.dtype,
    device: str,
    layer: int = 0,
) -> list[Job]:
    """Those of the scan as a module: under autocast in types of 16 bits, with a convolution that is a pass of its own.

    Raises ScanError for sizes that do not fit.
    """
    compiled = CompiledJob(program, scan, "cpu", grid, channels, _written(dtype), layer)
    compiled.check_channels()
    module = Scan2d(program, scan, channels, layer=layer)
    maps = torch.float32 if dtype in HALVES else dtype
    module = module.to(device, maps)
    drawn = draw_inputs(module.op, grid, batch=batch, channels=channels, sizes=compiled.sizes, dtype=maps, device=device)
    drawn |= {name: torch.randn(batch, *grid, channels, device=device) for name in module.scan.inputs if name not in drawn}
    own = {name: drawn[name] for name in module._signature.names}
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in own.items()}
    return jobs_of([module], lambda: module(**given), dtype, device)


def jobs_of_network(model: nn.Module, image: tuple[int, ...], batch: int, dtype: torch.dtype, device: str) -> list[Job]:
    """Those of all scans of a network, at the sizes that they have there for images of that size."""
    kind = torch.float32 if dtype in HALVES else dtype
    model = model.to(device, kind).eval()
    images = torch.randn(batch, getattr(model, "in_chans", 3), *image, device=device, dtype=kind)
    return jobs_of(model.modules(), lambda: model(images), dtype, device)


def jobs_of(modules: Iterable[nn.Module], call: Callable[[], object], dtype: torch.dtype, device: str) -> list[Job]:
    """The different calls of scans that one call makes."""
    recorder = _Recorder([op for module in modules if isinstance(module, Scan2d) for op in _operators(module)])
    with torch.no_grad(), torch.autocast(device, dtype, enabled=dtype in HALVES), recorder:
        call()
    return list(recorder.found.values())


def _operators(module: Scan2d) -> Iterator[CompiledScan]:
    """Those that a module runs: its own, and what convolves before it."""
    yield from (op for op in (module.op, module.op.conv, module._summed) if op is not None)


class _Recorder(TorchDispatchMode):
    """Keeps what operators are called with, the first of equal calls."""

    def __init__(self, operators: Iterable[CompiledScan]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators = {op.torch_op: op for op in operators}
        self.found: dict[object, Job] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if (op := self.operators.get(func)) is not None:
            self._keep(op, [tensor.detach() for tensor in args[:-1]], tuple(kwargs["grid"]))
        return func(*args, **(kwargs or {}))

    def _keep(self, op: CompiledScan, tensors: list[Tensor], grid: tuple[int, ...]) -> None:
        key = op.torch_op, grid, tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)
        if key in self.found:
            return
        on_rows = op.on_rows
        arrays, orders = on_rows.split(tensors)
        made = on_rows.kernel_arrays(arrays, grid)
        tables, kernels = on_rows.tables(orders, grid), on_rows.executable(arrays).kernels
        self.found[key] = Job(op.graph.name, kernels, op.graph.traversal, grid, made, tables)


def _written(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
