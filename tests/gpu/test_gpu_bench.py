"""The benchmark's own process, clocks and limits on an NVIDIA GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scanlang.bench import document

pytestmark = pytest.mark.gpu


def test_rows_are_measured(tmp_path: Path) -> None:
    rows = "stage4-core-forward,models-deit_tiny-inference-graph"
    command = [sys.executable, "-m", "scanlang.cli", "bench", "--rows", rows, "--json", "rows.json"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    found = document.read(tmp_path / "rows.json")
    core, deit = found.rows.values()
    assert core.issued is not None
    assert deit.memory is not None
    assert found.limits.issued is not None
    assert "img/s" in result.stdout
