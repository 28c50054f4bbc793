"""`scanlang tune` on an NVIDIA GPU: small scans, from the command to a process that uses what was stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from operator_programs import EXAMPLES, FILES

import scanlang
from scanlang.codegen.gpu.choose_gpu_schedule import choose_gpu_schedule
from scanlang.codegen.tune import tune
from scanlang.codegen.tune_jobs import jobs_of_scan
from scanlang.codegen.tuned import machine
from scanlang.codegen.tuned_file import Entry, read_entries, store

pytestmark = pytest.mark.gpu

CROSS = EXAMPLES / FILES["cross"]


def test_a_scan_is_tuned_and_the_choice_is_used(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    size = ("--size", "8x16", "--channels", "64", "--batch", "4", "--budget", "60", "--out", str(path))
    command = [sys.executable, "-m", "scanlang.cli", "tune", str(CROSS), *size]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "other results" not in made.stdout
    (entry,) = read_entries(path)[0]
    assert entry.key.machine == machine()
    assert 0 < entry.measured["milliseconds"] <= entry.measured["before"]


def test_every_kind_of_schedule_gives_the_same_results(tmp_path: Path) -> None:
    """Of those that are compiled within the time."""
    here = machine()
    assert here is not None
    (job,) = jobs_of_scan(scanlang.load(CROSS), "cross", (8, 16), 64, 4, torch.bfloat16, "cuda")
    made = tune(job, tmp_path / "tuned.json", here, seconds=60.0)
    assert made.outcome.refused.get("other results", 0) == 0
    assert made.stored is not None


def test_another_process_runs_by_what_is_stored(tmp_path: Path) -> None:
    """And torch.compile with it: shapes of saved states that are traced are those that are made."""
    here, path = machine(), tmp_path / "tuned.json"
    assert here is not None
    (job,) = jobs_of_scan(scanlang.load(CROSS), "cross", (8, 16), 64, 4, torch.bfloat16, "cuda")
    made = tune(job, path, here, seconds=0.0)
    rule = choose_gpu_schedule(job.kernels, job.traversal, job.shape, job.batch)
    other = next(one for one in made.plan.legal if one.backward_chunk == 2 != rule.backward_chunk)
    store(path, [Entry(made.plan.key, other, "cross")])
    script = f"""if True:
        import torch, scanlang
        from scanlang.codegen.gpu import run_triton
        seen, built = [], run_triton.TritonScan.built
        run_triton.TritonScan.built = lambda *given: seen.append(built(*given).layout.schedule.backward_chunk) or built(*given)
        layer = scanlang.Scan2d({str(CROSS)!r}, "cross", 64).cuda()
        x = torch.randn(4, 8, 16, 64, device="cuda", requires_grad=True)
        for run in (layer, torch.compile(layer, fullgraph=True)):
            for batch in (4, 1):
                with torch.autocast("cuda", torch.bfloat16):
                    run(x[:batch]).sum().backward()
        print(set(seen))
    """
    environment = {**os.environ, "SCANLANG_TUNED": str(path)}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "{2}"
