"""What runs here: versions, the C compiler, the GPU and the cache, as lines to paste into an issue report."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
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


def package_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def compiler() -> str:
    """The first line that the C compiler says of itself."""
    for name in (os.environ.get("SCANLANG_CC"), os.environ.get("CC"), "cc", "gcc", "clang"):
        path = shutil.which(name) if name else None
        if path is None:
            continue
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        return f"{path}: {answer.splitlines()[0] if answer else 'gives no version'}"
    return "none found: scans on the CPU run in torch, slowly"


def gpu() -> str:
    try:
        import torch
    except ModuleNotFoundError:
        return "unknown: torch is not installed"
    if not torch.cuda.is_available():
        return f"none seen by torch {torch.__version__}"
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()}, sm_{major}{minor}, CUDA {torch.version.cuda}"
