"""Text of a generated Triton module → the imported module, from a file that stays readable in the cache.

A real file, so that tracebacks show its lines and Triton finds its source. Imports triton only when a module is built.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from types import ModuleType

from scanlang.codegen.cache import cache_folder, write_once

_MODULES: dict[str, ModuleType] = {}


def build_triton(text: str, name: str = "scan") -> ModuleType:
    """The module of `text`, imported once per process. Raises ModuleNotFoundError with what to do if triton is missing."""
    if importlib.util.find_spec("triton") is None:
        raise ModuleNotFoundError("Triton is not installed: pip install 'scanlang[triton]' (Linux only)", name="triton")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    module_name = f"scanlang_generated_{name}_{digest}"
    if module_name not in _MODULES:
        path = cache_folder() / "triton" / f"{name}_{digest}.py"
        write_once(path, text)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        _MODULES[module_name] = module
    return _MODULES[module_name]
