"""What runs here: versions, the C compiler, the GPU and the cache, as lines to paste into an issue report."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("scanlang", "torch", "triton", "numpy", "sympy", "networkx", "lark", "click")


def report() -> str:
    entries = list(lines())
    width = max(len(name) for name, _ in entries)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in entries)


def lines() -> Iterator[tuple[str, str]]:
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    for package in PACKAGES:
        yield package, package_version(package)
    yield "compiler", compiler()
    yield "gpu", gpu()
    yield "cache", cache()


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def compiler() -> str:
    from scanlang.codegen.cpu.build_c import compiler_version, find_compiler

    command = find_compiler()
    if command is None:
        return "none found: scans on the CPU run in torch, slowly"
    return f"{command}: {compiler_version(command)}"


def gpu() -> str:
    try:
        import torch
    except ModuleNotFoundError:
        return "unknown: torch is not installed"
    if not torch.cuda.is_available():
        return f"none seen by torch {torch.__version__}"
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()}, sm_{major}{minor}, CUDA {torch.version.cuda}"


def cache() -> str:
    from scanlang.codegen.cache import cache_folder

    return str(cache_folder())
