"""What a segment of a direction makes of the state that it begins with, and of the adjoint that comes to it from behind: both
are `decay * what comes + something`, so that a walk from zero says all that is needed to begin behind the segment.

    forward     state  ←  decay * state + drive       the states after the segment, begun at 0, and the product of the decays
    backward    carry  ←  decay * (carry + …)         the carries before it, begun at 0, and the same product

In: the kernels of a scan whose states are diagonal (`ForwardKernel.decays`). Out: kernels of twice the states, or carries: the
products are the second half, and begin at 1. They give no output and no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from scanlang.codegen.kernel import Access, Advance, Atom, BackwardKernel, ForwardKernel, Let, needed_lets

PRODUCT = "b_0"
"""No name of a program begins with a digit."""


def can_be_cut(forward: ForwardKernel) -> bool:
    return bool(forward.states) and len(forward.decays) == len(forward.states)


def forward_summary(forward: ForwardKernel) -> ForwardKernel:
    """Gives the states after a segment that begins at 0, and the product of its decays."""
    names, lets, advances = _products(forward.states, forward.decays)
    wanted = [a.value for a in (*forward.advances, *advances)]
    body = needed_lets((*forward.body, *lets), wanted)
    states = len(forward.states)
    return replace(
        forward,
        states=(*forward.states, *names),
        starts=(0.0,) * states + (1.0,) * states,
        reads=_read(forward.reads, body, wanted),
        body=body,
        advances=(*forward.advances, *advances),
        output=0.0,
        decays=(),
    )


def backward_summary(forward: ForwardKernel, backward: BackwardKernel) -> BackwardKernel:
    """Gives the carries before a segment behind which they are 0, and the product of its decays."""
    decays = tuple(forward.decays[place] for place in backward.carried)
    names, lets, advances = _products(backward.carries, decays)
    wanted = [a.value for a in (*backward.carry_advances, *advances)]
    body = needed_lets((*backward.backward, *lets), wanted)
    read = {a for let in body for a in let.arguments} | set(wanted)
    own = {let.name for let in body}
    before = needed_lets(backward.forward, read - own)
    wants = read.union(*(let.arguments for let in before))
    runs = bool(wants.intersection(backward.states)) or any(a.value in wants for a in backward.advances)
    before = backward.forward if runs else before
    made = {let.name for let in before}
    carries = len(backward.carries)
    return replace(
        backward,
        states=backward.states if runs else (),
        forward=before,
        advances=backward.advances if runs else (),
        keep=tuple(name for name in (*backward.states, *made) if name in read - own),
        reads=_read(backward.reads, (*before, *body), wanted),
        carries=(*backward.carries, *names),
        backward=body,
        carry_advances=(*backward.carry_advances, *advances),
        gradients=(),
        accumulates=(),
        epilogue=(),
        parameter_gradients=(),
        carried=tuple(range(2 * carries)),
        again=0,
        carry_starts=(0.0,) * carries + (1.0,) * carries,
    )


def _products(of: Iterable[str], decays: Iterable[Atom]) -> tuple[list[str], list[Let], list[Advance]]:
    """A running product for each of these, what it is after a step, and how it gets there."""
    names, lets, advances = [], [], []
    for name, decay in zip(of, decays, strict=True):
        whole = f"{PRODUCT}{name.removeprefix('b_')}"
        names.append(whole)
        lets.append(Let(f"{whole}_next", "mul", (whole, decay)))
        advances.append(Advance(whole, f"{whole}_next"))
    return names, lets, advances


def _read(reads: Iterable[Access], body: Iterable[Let], results: Iterable[Atom]) -> tuple[Access, ...]:
    """The streams that something still needs."""
    wanted = {a for let in body for a in let.arguments} | set(results)
    return tuple(access for access in reads if wanted.intersection(access.names))
