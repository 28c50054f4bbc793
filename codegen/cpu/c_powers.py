"""exp of a product with what is the same at every step, as a power of two: `exp(dt * A)` is `exp2(dt * A2)`, A2 made once.

In: the kernels of a scan. Out: the same with `exp2` in them, which only C has: three of the thirteen instructions of exp go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from scanlang.codegen.kernel import Atom, Let, ScanKernels

LOG2_E = 1.4426950408889634


def with_powers(kernels: ScanKernels) -> ScanKernels:
    forward, backward = kernels.forward, kernels.backward
    read = {forward.output, *(advance.value for advance in forward.advances)}
    made, body = _powers(forward.prologue, forward.body, read)
    again, steps = _powers(backward.prologue, backward.forward, {*backward.keep, *(a.value for a in backward.advances)})
    return replace(
        kernels,
        forward=replace(forward, prologue=made, body=body),
        backward=replace(backward, prologue=again, forward=steps),
    )


def _powers(prologue: Sequence[Let], body: Sequence[Let], read: set[Atom]) -> tuple[tuple[Let, ...], tuple[Let, ...]]:
    """Prologue and body; `read` is what is read of the body elsewhere."""
    fixed = {let.name for let in prologue}
    readers: dict[Atom, list[str]] = {}
    for let in body:
        for name in let.arguments:
            readers.setdefault(name, []).append(let.function)
    turned: dict[str, Let] = {}
    factors: dict[str, Let] = {}
    for let in body:
        known = [a for a in let.arguments if a in fixed]
        if let.function == "mul" and known and readers.get(let.name) == ["exp"] and let.name not in read:
            factor = str(known[0])
            factors[factor] = Let(f"two_{factor}", "mul", (factor, LOG2_E), let.origin)
            others = list(let.arguments)
            others[others.index(factor)] = f"two_{factor}"
            turned[let.name] = replace(let, arguments=tuple(others))
    made = [
        replace(let, function="exp2") if let.function == "exp" and let.arguments[0] in turned else turned.get(let.name, let)
        for let in body
    ]
    return (*prologue, *factors.values()), tuple(made)
