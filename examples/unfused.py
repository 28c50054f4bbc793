"""The cross-scan as written in torch without a kernel (scanlang/bench/unfused.py), beside the compiled one."""

from __future__ import annotations

from pathlib import Path

import torch

import scanlang
from scanlang.bench.unfused import unfused_cross_scan

HERE = Path(__file__).parent


def main() -> None:
    torch.manual_seed(0)
    core = scanlang.Scan2d(scanlang.load(HERE / "cross_scan.scan"), "cross", 96)
    x = torch.randn(1, 12, 20, 96)
    with torch.no_grad():
        ours, theirs = core(x), unfused_cross_scan(x, **dict(core.named_parameters()))
    print(f"largest |y|: {theirs.abs().max():.3f}; largest difference: {(ours - theirs).abs().max():.1e}")


if __name__ == "__main__":
    main()
