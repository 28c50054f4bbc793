"""The GPU backend: kernels → Triton text for one shape, its machine code without a GPU, and how it is launched on one."""
