"""`make bench`: bench_gpu.py where torch sees a CUDA device, else bench_cpu.py; options are handed on."""

from __future__ import annotations

import bench_cpu
import bench_gpu
import torch


def main() -> None:
    (bench_gpu if torch.cuda.is_available() else bench_cpu).main()


if __name__ == "__main__":
    main()
