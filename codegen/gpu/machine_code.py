"""Machine code of a generated Triton module without a GPU: PTX, cubin, and what the assembler says of them.

In: the module's text and its `Layout`; out: a `KernelCode` per kernel, with registers, spills, shared memory and
instructions per step. Needs triton and no driver; TRITON_INTERPRET must not be set.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from scanlang.codegen.gpu.build_triton import build_triton
from scanlang.codegen.gpu.emit_triton import emit_triton
from scanlang.codegen.gpu.triton_compile import without_coalescing
from scanlang.codegen.gpu.triton_layout import Entry, Layout

SPECIAL_FUNCTIONS = "MUFU"


@dataclass(frozen=True)
class KernelReport:
    """What the assembler made of one kernel.

    `instructions_per_step`: machine instructions that a program issues per step, in the loop over chunks of one direction
    (the smallest over the directions), by all its warps, for `channels_per_step` channels. `exponentials_per_step`
    counts those of them for the special function unit (exp, log, reciprocals). Both are 0 for kernels that do not walk.
    """

    name: str
    registers: int
    spills: int
    shared: int
    instructions_per_step: float
    exponentials_per_step: float
    channels_per_step: int


@dataclass(frozen=True)
class KernelCode:
    """`sass` is the disassembled cubin."""

    report: KernelReport
    ptx: str
    cubin: bytes
    sass: str


def compile_module(layout: Layout, capability: int, text: str | None = None) -> tuple[KernelCode, ...]:
    """Every kernel of the module for `sm_<capability>` (80, 90, 120 …). The forward is compiled as training runs it."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise RuntimeError("TRITON_INTERPRET is set: kernels are interpreted in this process, not compiled")
    made = emit_triton(layout.kernels, layout.traversal, layout.schedule, layout.shape) if text is None else text
    module = build_triton(made)
    return tuple(compile_kernel(module, layout, entry, capability) for entry in layout.entries)


def assembler_knows(capability: int) -> bool:
    """Whether there is an `sm_<capability>`; LLVM, which is asked first, ends the process where there is none."""
    from triton.backends.nvidia.compiler import get_ptxas

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing.ptx"
        path.write_text(".version 7.0\n.target sm_50\n.address_size 64\n")
        name = f"--gpu-name=sm_{capability}" + "a" * (capability >= 90)
        command = [get_ptxas(capability).path, name, str(path), "-o", os.devnull]
        return "gpu-name" not in subprocess.run(command, capture_output=True, text=True, check=False).stderr


def compile_kernel(module: ModuleType, layout: Layout, entry: Entry, capability: int, save: bool = True) -> KernelCode:
    """One kernel, its pointers aligned to 16 bytes as `run_triton` gives them."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {a.name: save for a in entry.arguments if a.type == "constexpr"}
    attributes = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(entry.arguments) if a.type.startswith("*")}
    if not triton.__version__.startswith("3.6."):  # so that a launch finds it in the cache
        attributes |= {(i,): [] for i, a in enumerate(entry.arguments) if a.type == "constexpr"}
    source = ASTSource(
        fn=getattr(module, entry.name),
        signature={a.name: a.type for a in entry.arguments},
        constexprs=constants,
        attrs=attributes,
    )
    options = {"num_warps": entry.warps, "enable_fp_fusion": True}
    with without_coalescing() if entry.walks and layout.schedule.kind == "sequential" else nullcontext():
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return _examine(compiled, layout, entry, capability)


def _examine(compiled: Any, layout: Layout, entry: Entry, capability: int) -> KernelCode:
    ptx, cubin = compiled.asm["ptx"], compiled.asm["cubin"]
    registers, spills = _assembler_report(ptx, capability)
    sass = disassemble(cubin, capability)
    steps = {"forward": layout.schedule.chunk, "backward": layout.schedule.backward_chunk}.get(entry.name.split("_")[0], 0)
    steps = steps if entry.walks else 0
    loop = smallest_walk_loop(sass) if steps else []
    warps = entry.warps // layout.schedule.abreast  # for all channels of a step
    specials = sum(instruction.startswith(SPECIAL_FUNCTIONS) for instruction in loop)
    per_step, specials_per_step = (len(loop) * warps / steps, specials * warps / steps) if steps else (0.0, 0.0)
    report = KernelReport(
        entry.name,
        registers,
        spills,
        compiled.metadata.shared,
        round(per_step, 1),
        round(specials_per_step, 1),
        layout.schedule.lanes,
    )
    return KernelCode(report, ptx, cubin, sass)


def _assembler_report(ptx: str, capability: int) -> tuple[int, int]:
    """Registers, and bytes of spill stores of the kernel and the functions it calls, as `ptxas -v` prints them."""
    from triton.backends.nvidia.compiler import get_ptxas

    found = re.search(r"\.target\s+(sm_\w+)", ptx)
    assert found is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.ptx"
        path.write_text(ptx)
        command = [get_ptxas(capability).path, "-v", f"--gpu-name={found[1]}", str(path), "-o", os.devnull]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spills = re.search(r"Used (\d+) registers", log), re.findall(r"(\d+) bytes spill stores", log)
    assert registers is not None
    assert spills
    return int(registers[1]), sum(map(int, spills))


def disassemble(cubin: bytes, capability: int) -> str:
    """The machine instructions, one a line behind its address, by the `nvdisasm` that comes with triton."""
    from triton.backends.nvidia.compiler import get_ptxas

    tool = Path(get_ptxas(capability).path).parent / "nvdisasm"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        return subprocess.run([str(tool), "-c", str(path)], capture_output=True, text=True, check=True).stdout


def smallest_walk_loop(sass: str) -> list[str]:
    """The instructions of the loop over chunks with the fewest of them among the directions.

    The rule: a loop is what lies between a label and a later branch back to it; it is innermost if no loop lies inside. The
    innermost loops that load from memory are the directions' walks, by nest or by table alike. Every instruction of such a
    loop, predicated ones included, is issued once per chunk: their number over the steps of a chunk is instructions per step.
    """
    loops = [body for body in innermost_loops(sass) if any(i.startswith("LDG") for i in body)]
    return min(loops, key=len, default=[])


def innermost_loops(sass: str) -> list[list[str]]:
    """The instructions (mnemonics and operands) of every loop that has no other loop inside."""
    labels: dict[str, int] = {}
    instructions: list[str] = []
    for line in sass.splitlines():
        if label := re.match(r"\s*(\.L\w+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][^;]*);", line):
            instructions.append(found[1].strip())
    spans = []
    for place, instruction in enumerate(instructions):
        target = re.search(r"BRA.*`\((\.L\w+)\)", instruction)
        if target and labels.get(target[1], place + 1) <= place:
            spans.append((labels[target[1]], place + 1))
    inner = [s for s in spans if not any(s != o and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [_real(instructions[start:end]) for start, end in sorted(set(inner))]


def _real(instructions: Iterable[str]) -> list[str]:
    return [instruction for instruction in instructions if not instruction.startswith("NOP")]
