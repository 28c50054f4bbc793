"""What the authors' own code and CUDA kernels took, as measured on one H200: torch 2.11, bfloat16, batch 128, 224² unless said.

VMamba's core is timed as it is there, from (B, C, H, W) through projections, scan and merge; Vim's scans without projections.
DeiT is plain PyTorch with flash attention, of which there is no other.
"""

from __future__ import annotations

from scanlang.bench.row import Official

GIB = 2**30

SCANS = {
    "stage1-layer-forward": Official(3.26),
    "stage2-layer-forward": Official(1.50),
    "stage3-layer-forward": Official(0.85),
    "stage4-layer-forward": Official(1.28),
    "stage1-layer-both": Official(9.02),
    "stage2-layer-both": Official(4.41),
    "stage3-layer-both": Official(3.11),
    "stage4-layer-both": Official(3.14),
    "vim-core-forward": Official(0.79),
    "vim-core-both": Official(0.79 + 2.43),
}


def images(per_second: float, batch: int = 128, gib: float | None = None) -> Official:
    return Official(batch / per_second * 1e3, None if gib is None else int(gib * GIB))


MODELS = {
    "vmamba_tiny_s1l8-inference": images(3057),
    "vmamba_tiny_s1l8-training": images(1161, gib=12.0),
    "vim_tiny-inference": images(4378),
    "vim_tiny-training": images(1093, gib=4.5),
    "vim_small-inference": images(2312),
    "vim_small-training": images(594, gib=8.9),
    "deit_tiny-inference": images(21193),
    "deit_small-inference": images(13864),
    "vim_tiny-1248-b8": images(198, 8, 0.80),
    "vim_tiny-1248-b1": images(22, 1),
    "deit_tiny-1248-b8": images(517, 8, 0.53),
    "deit_tiny-1248-b1": images(139, 1),
}
