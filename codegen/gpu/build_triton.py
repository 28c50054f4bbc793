"""Text of a generated Triton module → the imported module, from a file that stays readable in the cache.

A real file, so that tracebacks show its lines and Triton finds its source. Imports triton only when a module is built.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import sys
import warnings
from types import ModuleType

from scanlang.codegen.cache import keep_text

TESTED_VERSIONS = ("3.6", "3.9")
"""The Triton versions that the tests run with."""

_MODULES: dict[str, ModuleType] = {}


def build_triton(text: str, name: str = "scan") -> ModuleType:
    """The module of `text`, imported once per process. Raises ModuleNotFoundError with what to do if triton is missing."""
    if importlib.util.find_spec("triton") is None:
        raise ModuleNotFoundError("Triton is not installed: pip install 'scanlang[triton]' (Linux only)", name="triton")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    module_name = f"scanlang_generated_{name}_{digest}"
    if module_name not in _MODULES:
        _warn_of_untested_version()
        path = keep_text(f"triton/{name}_{digest}.py", text)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        _MODULES[module_name] = module
    return _MODULES[module_name]


@functools.cache
def _warn_of_untested_version() -> None:
    """Once per process: other versions may spill registers, or generate slower or different code."""
    found = importlib.metadata.version("triton")
    if found.rpartition(".")[0] not in TESTED_VERSIONS:
        known = " and ".join(TESTED_VERSIONS)
        warnings.warn(f"scanlang is tested with Triton {known}; this is {found}", stacklevel=3)
