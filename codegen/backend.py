"""Which backend runs a scan on a device: Triton on CUDA, generated C on the CPU, torch where there is neither."""

from __future__ import annotations

import importlib.util
import warnings

from scanlang.codegen.cpu.build_c import find_compiler
from scanlang.codegen.executable import Executable
from scanlang.codegen.kernel import ScanKernels
from scanlang.codegen.run_torch import TorchScan
from scanlang.diagnostics import ScanError
from scanlang.errors import NoBackend
from scanlang.maps.traversal import Traversal
from scanlang.source import Span

_warned: set[str] = set()


def choose_backend(kernels: ScanKernels, traversal: Traversal, device: str, span: Span) -> Executable:
    """The executable of a scan for a device type (`cpu`, `cuda`, …)."""
    if device == "cuda":
        if importlib.util.find_spec("triton") is None:
            raise ScanError([NoBackend(span, device, "Triton is not installed: pip install scanlang[triton]")])
        from scanlang.codegen.gpu.run_triton import TritonScan
        from scanlang.codegen.tuned import TunedChoice

        return TritonScan(kernels, traversal, TunedChoice(kernels, traversal))
    if device == "cpu" and find_compiler() is not None:
        from scanlang.codegen.cpu.run_c import CpuScan

        return CpuScan(kernels, traversal)
    if device not in _warned:
        _warned.add(device)
        why = "no C compiler was found (set CC, or install gcc or clang)" if device == "cpu" else f"no kernels for {device}"
        warnings.warn(f"scanlang runs in plain torch, about 25 times slower than compiled: {why}", stacklevel=2)
    return TorchScan(kernels, traversal)
