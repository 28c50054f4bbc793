"""From the scan graph to kernels that run: schedules, kernel IR, C and Triton text, the torch operator."""
