"""Tests here run generated kernels in Triton's interpreter, which must be chosen before triton is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collect_file(file_path: Path) -> None:
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise pytest.UsageError("tests/interpreter needs TRITON_INTERPRET=1 and a process of its own: see `make test`")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.triton)
            item.add_marker(pytest.mark.interpreter)
