"""Several chunks of a direction at once, a warp each: all make what they can of a state of zero, and once it is known what
comes to each, they go through their steps. In: a chunk under construction; out: the names of what goes from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from scanlang.codegen.gpu.triton_text import Statement
from scanlang.codegen.kernel import BackwardKernel, ForwardKernel, Let
from scanlang.codegen.segments import backward_summary, forward_summary

if TYPE_CHECKING:
    from scanlang.codegen.gpu.triton_chunks import Chunk


def sum_up_forward(chunk: Chunk, kernel: ForwardKernel) -> list[tuple[str, str]]:
    """What every one of the chunks abreast makes of the state, and from that the states with which it begins. Gives the names
    of what comes to the first of them, and leaves the last."""
    summary, steps = forward_summary(kernel), chunk.steps
    chunk.apart = _depending(summary.body, summary.states)
    for state, start in zip(summary.states, summary.starts, strict=True):
        chunk.work.append(Statement(chunk.named(state, 0), chunk.full(start), frozenset()))
    for step in range(steps):
        for access in kernel.reads:
            chunk.read(access, step)
        for let in summary.body:
            chunk.let(let, step)
        for advance in summary.advances:
            chunk.assign(chunk.named(advance.state, step + 1), advance.value, step)
    made = [chunk.named(state, steps) for state in summary.states]
    return chunk.join(made, [(state, 0) for state in kernel.states])


def sum_up_backward(chunk: Chunk, kernel: BackwardKernel) -> list[tuple[str, str]]:
    """The same of the carries, which go from a chunk to the one before it."""
    summary, last = backward_summary(chunk.layout.kernels.forward, kernel), chunk.steps - 1
    chunk.apart = _depending(summary.backward, summary.carries)
    for carry, start in zip(summary.carries, summary.carry_starts, strict=True):
        chunk.work.append(Statement(chunk.named(carry, last), chunk.full(start), frozenset()))
    for step in reversed(range(chunk.steps)):
        for let in summary.backward:
            chunk.let(let, step)
        for advance in summary.carry_advances:
            chunk.assign(chunk.named(advance.state, step - 1), advance.value, step)
    made = [chunk.named(carry, -1) for carry in summary.carries]
    return chunk.join(made, [(carry, last) for carry in kernel.carries])


def _depending(lets: Iterable[Let], names: Iterable[str]) -> frozenset[str]:
    """These names, and those of all lets that depend on them."""
    found = set(names)
    for let in lets:
        if found.intersection(a for a in let.arguments if isinstance(a, str)):
            found.add(let.name)
    return frozenset(found)
