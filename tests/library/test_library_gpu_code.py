"""Every scan of the library compiled by Triton for sm_90, forward and backward, without a GPU: registers suffice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pytest
from library.library_checks import FIRST_LAYERS, program
from library.transcriptions import DESIGNS

from scanlang.codegen.driver import Job

pytestmark = [pytest.mark.triton, pytest.mark.long]

REGISTERS, SPILLED = 255, 16
"""Of a lane, and bytes of it: an assembler that aims at 80 or 128 registers puts a value or two aside."""


@dataclass(frozen=True)
class SmallJob(Job):
    """With few states, so that a kernel takes seconds to compile."""

    file: str = ""

    @cached_property
    def sizes(self) -> dict[str, int]:
        of_design = DESIGNS[self.file, self.scan].sizes
        return {label: of_design.get(label, size) for label, size in super().sizes.items()}


@pytest.mark.parametrize(("file", "scan"), FIRST_LAYERS)
def test_compiles_without_spills(file: str, scan: str) -> None:
    design = DESIGNS[file, scan]
    job = SmallJob(program(file), scan, "sm_90", design.grids[0], 16 * max(1, design.channels // 8), "bfloat16", file=file)
    for one in (job, *((job.before,) if job.before is not None else ())):
        assert {"forward", "backward"} <= {code.report.name for code in one.machine_code}
        for code in one.machine_code:
            assert code.report.spills <= SPILLED, f"{code.report.name} spills {code.report.spills} bytes"
            assert code.report.registers <= REGISTERS
