"""A small language for 2-D selective scans, compiled to fused forward and backward kernels.

    program = scanlang.load("cross.scan")
    program.orders["rows"].positions(4, 6)              # the cell visited at every step
    scanlang.order("window(snake, 7, 7)")               # an order from its text: it prints, compares and draws itself
    op = scanlang.compile(program, scan="cross")        # a torch operator, differentiable in every argument
    core = scanlang.Scan2d(program, "cross", 96)        # an nn.Module with the projections and parameters
    model = scanlang.Backbone("backbones.vmamba", "vmamba_tiny_s1l8")     # a whole network of them

Loading, checking and drawing need no torch; `compile`, `Scan2d`, `Block` and `Backbone` import it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scanlang.backbones.backbone import Backbone
    from scanlang.backbones.block import Block
    from scanlang.codegen.compile import compile_scan as compile
    from scanlang.codegen.module import Scan2d
    from scanlang.codegen.op import CompiledScan
    from scanlang.diagnostics import ScanError
    from scanlang.order_text import order
    from scanlang.program import Program, load, loads

__version__ = "0.1.0"

_PUBLIC = {
    "load": "scanlang.program",
    "loads": "scanlang.program",
    "Program": "scanlang.program",
    "order": "scanlang.order_text",
    "ScanError": "scanlang.diagnostics",
    "CompiledScan": "scanlang.codegen.op",
    "Scan2d": "scanlang.codegen.module",
    "Backbone": "scanlang.backbones.backbone",
    "Block": "scanlang.backbones.block",
}
_MODULES = ("backbones", "viz")
"""Packages that are there without an import of their own."""
__all__ = ["Backbone", "Block", "CompiledScan", "Program", "Scan2d", "ScanError", "compile", "load", "loads", "order"]


def __getattr__(name: str) -> Any:
    if name == "compile":
        return import_module("scanlang.codegen.compile").compile_scan
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _MODULES:
        return import_module(f"scanlang.{name}")
    raise AttributeError(f"module 'scanlang' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
