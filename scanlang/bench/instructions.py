"""How many instructions the walking loops of a scan issue, read off the machine code that Triton launched.

What lies outside these loops is not counted, so the number is a bound from below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from scanlang.bench.row import Where
from scanlang.codegen.op import CompiledScan


def issued(op: CompiledScan, channel_steps: int, backward: bool, where: Where) -> int | None:
    """Instructions of a warp for so many steps of a channel, all directions counted, of a scan that was called at one size.
    None where the machine code does not say: on a CPU, of matrix products, where Triton keeps it elsewhere."""
    return issued_by(lambda: built_of(op), channel_steps, backward, where)


def issued_by(find: Callable[[], Any], channel_steps: int, backward: bool, where: Where) -> int | None:
    """The same of the module that `find` gives."""
    if where.device != "cuda":
        return None
    major, minor = torch.cuda.get_device_capability()
    try:
        counts = per_channel_step(find(), backward, major * 10 + minor)
    except Exception:  # a limit that is not known is no reason to lose the row's time
        return None
    return None if counts is None else round(counts * channel_steps)


def built_of(op: CompiledScan) -> Any:
    """The module of generated kernels, where there is just one."""
    (scan,) = op.on_rows._executables.values()
    (built,) = scan._built.values()  # type: ignore[attr-defined]
    return built


def per_channel_step(built: Any, backward: bool, capability: int) -> float | None:
    """Instructions of a warp for one step of one channel: forward as inference runs it, or as training does and backward."""
    from scanlang.codegen.gpu.machine_code import disassemble, smallest_walk_loop

    layout, schedule = built.layout, built.layout.schedule
    if schedule.kind != "sequential":
        return None
    steps = {"forward": schedule.chunk, **({"backward": schedule.backward_chunk} if backward else {})}
    warps = {entry.name: entry.warps // schedule.abreast for entry in layout.entries}  # for all channels of a step
    total = 0.0
    for name, chunk in steps.items():
        loops = [len(smallest_walk_loop(disassemble(code, capability))) for code in launched(getattr(built.module, name))]
        if not loops or min(loops) == 0:
            return None
        total += (max(loops) if backward else min(loops)) * warps[name] / chunk / schedule.lanes
    return total


def launched(kernel: Any) -> Iterator[bytes]:
    """The machine code of a kernel's variants (saving states for a backward pass or not)."""
    for kept in kernel.device_caches.values():
        for variant in kept[0].values():
            yield variant.asm["cubin"]
