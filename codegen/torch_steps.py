"""Straight-line code of a kernel in torch, for a chunk of steps: what does not depend on the states is computed for all steps
at once, the states step by step in between. In and out: values `(images, directions, steps, channels)` by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from scanlang.codegen.kernel import Advance, Atom, Let

FUNCTIONS: Mapping[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg,
    "exp": torch.exp, "expm1": torch.expm1, "log": torch.log, "log1p": torch.log1p, "sqrt": torch.sqrt, "tanh": torch.tanh,
    "erf": torch.erf, "abs": torch.abs, "min": torch.minimum, "max": torch.maximum, "where": torch.where,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge, "eq": torch.eq, "ne": torch.ne,
}  # fmt: skip


def value_of(values: Mapping[Atom, Tensor], atom: Atom, like: Tensor) -> Tensor:
    return values[atom] if isinstance(atom, str) else torch.tensor(atom, dtype=like.dtype, device=like.device)


def evaluate(lets: Iterable[Let], values: dict[Atom, Tensor], like: Tensor) -> None:
    """Adds the lets to `values`; numbers in their arguments are of the type of `like`, since a value may be of conditions."""
    for let in lets:
        values[let.name] = FUNCTIONS[let.function](*(value_of(values, a, like) for a in let.arguments))


def sequence(
    body: Sequence[Let],
    advances: Sequence[Advance],
    states: dict[str, Tensor],
    values: dict[Atom, Tensor],
    like: Tensor,
    steps: range,
    backwards: bool = False,
) -> dict[str, Tensor]:
    """Evaluate `body` for all steps of a chunk; only what hands a state from step to step is evaluated one by one.

    Leaves every let in `values`, and every state as it was before its step; returns the states after the last one.
    """
    carried = _carried(body, states)
    chain = [let for let in _needed_for(body, advances) if let.name in carried]
    evaluate([let for let in body if let.name not in carried], values, like)
    if not states:
        return states
    history: dict[str, list[Tensor]] = {name: [] for name in states}
    inputs = {a for let in chain for a in let.arguments if isinstance(a, str)} | {a.value for a in advances}
    for t in reversed(range(len(steps))) if backwards else range(len(steps)):
        for name, state in states.items():
            history[name].append(state)
        now: dict[Atom, Tensor] = {a: _at(values[a], t) for a in inputs if a in values}
        now.update(states)
        evaluate(chain, now, like)
        shape = next(iter(states.values())).shape
        states = {**states, **{a.state: value_of(now, a.value, like).expand(shape) for a in advances}}
    for name, seen in history.items():
        values[name] = torch.stack(seen[::-1] if backwards else seen, 2)
    evaluate([let for let in body if let.name in carried], values, like)
    return states


def _at(value: Tensor, t: int) -> Tensor:
    return value if value.ndim == 0 else value[:, :, t if value.shape[2] > 1 else 0]


def _carried(body: Sequence[Let], states: Mapping[str, Tensor]) -> set[str]:
    """The lets that depend on a state."""
    found: set[str] = set()
    for let in body:
        if any(a in states or a in found for a in let.arguments):
            found.add(let.name)
    return found


def _needed_for(body: Sequence[Let], advances: Sequence[Advance]) -> list[Let]:
    wanted, kept = {a.value for a in advances}, []
    for let in reversed(body):
        if let.name in wanted:
            kept.append(let)
            wanted |= set(let.arguments)
    return kept[::-1]
