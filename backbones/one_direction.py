"""One direction of a scan, with the weights that it has in the scan.

In: a `Scan2d` and the number of a direction. Out: a `Scan2d` of that direction alone, whose result is the direction's output
before the merge.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from scanlang.codegen.module import Scan2d


def one_direction(core: Scan2d, number: int) -> Scan2d:
    """For scans whose directions all see all channels. Weights are copied."""
    alone = replace(core.scan, layers=((core.scan.directions[number],),), merge="sum", uses=(), uncovered=True)
    first = core.scan.formals[0].label
    sizes = {label: size for label, size in core.sizes.items() if label != first}
    with torch.random.fork_rng(devices=[]):
        made = Scan2d.of_checked(alone, core.op.signature.axes, core.channels, sizes=sizes)
    reference = next(core.parameters(), None)
    if reference is not None:
        made.to(reference.device, reference.dtype)
    of_core = dict(core.named_parameters())
    with torch.no_grad():
        for name, own in made.named_parameters():
            whole = of_core[name]
            own.copy_(whole if whole.shape == own.shape else whole[number : number + 1])
    return made.eval()
