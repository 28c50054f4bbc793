"""Influence maps of a scan: how much every cell moves the output of one, exactly.

In: a scan with its inputs, or a model, images and the name of one of its scans. Out: for every cell and token the sum of the
absolute derivatives between its channels and those of the query, and a picture of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from scanlang.backbones.erf import checked_cell, evaluating, span_of
from scanlang.backbones.feature import Feature
from scanlang.backbones.heatmaps import Heatmap
from scanlang.backbones.one_direction import one_direction
from scanlang.codegen.module import Scan2d
from scanlang.diagnostics import ScanError
from scanlang.errors import WrongView, listed

MOST_ELEMENTS = 1 << 24
"""Of the inputs of one call: so many channels of the query are differentiated at once."""

Query = tuple[int, ...] | str | tuple[str, int]
"""A cell, a token, or one of several tokens of a name."""


@dataclass(frozen=True)
class Influence:
    """What moves the query: `map` `(H, W)`, and `tokens` `(T,)` by name where the scan has some."""

    map: Tensor
    tokens: dict[str, Tensor]

    @property
    def total(self) -> float:
        return float(self.map.sum() + sum(token.sum() for token in self.tokens.values()))


@dataclass(frozen=True)
class Call:
    """What a scan is called with: maps `(B, H, W, C)` in the order of its inputs, and keywords, tokens among them."""

    inputs: tuple[Tensor, ...]
    keywords: Mapping[str, Tensor]

    def image(self, number: int) -> Call:
        """That of one image of the batch."""
        own = slice(number, number + 1)
        return Call(tuple(each[own] for each in self.inputs), {name: each[own] for name, each in self.keywords.items()})


def influence(
    model: nn.Module,
    x: Tensor | Sequence[Tensor],
    cell: Query,
    *,
    scan: str | None = None,
    direction: int | None = None,
    path: str | PathLike[str] | None = None,
    **keywords: Tensor,
) -> Influence:
    """How much every cell moves the output of a scan at `cell`: `(row, column)`, or the name of a token.

    >>> viz.influence(core, x, (3, 4), path="cell.png").map                  # core: a Scan2d; x: (B, H, W, C); map: (H, W)
    >>> viz.influence(core, (x, z), "cls", direction=1, cls=cls, z_cls=z_cls).tokens["cls"]
    >>> viz.influence(model, images, (3, 4), scan="stage1.0.op.scan")        # where the model's scan stands in its chain

    The sum over all pairs of channels of |∂ y(cell) / ∂ u(other)|, u being the scan's first input, other inputs held fixed; the
    mean over the batch. What u does by way of gates and projections counts. `direction` is the number of one of the scan's
    directions: its output alone, before the merge. Raises ScanError for what the scan does not take.
    """
    core, call = the_scan(model, x, scan, keywords)
    span, count = core.scan.span, len(core.scan.directions)
    if direction is not None and (type(direction) is not int or not 0 <= direction < count):
        raise ScanError([WrongView(span, "direction", repr(direction), f"the scan has {count}, counted from 0")])
    with evaluating(core), torch.enable_grad():
        found = of_direction(core, call, cell, direction)
    if path is not None:
        what = "merged" if direction is None else f"direction {direction}: {core.scan.directions[direction].text}"
        framed = None if isinstance(cell, str) or isinstance(cell[0], str) else (int(cell[0]), int(cell[1]))
        Heatmap(found.map, f"{core.scan.name} at {cell}, {what}", framed, found.tokens, logarithmic=True).write(path)
    return found


def of_direction(core: Scan2d, call: Call, cell: Query, direction: int | None) -> Influence:
    if direction is None:
        return measured(core, call, cell, None)
    if core.scan.split is not None:  # outputs stand side by side: a direction's are some of the channels
        return measured(core, call, cell, core.op.graph.channels(direction, core.channels))
    alone = one_direction(core, direction)
    tokens = {name: token for name, token in call.keywords.items() if taken(alone, core, name)}
    return measured(alone, Call(call.inputs, tokens), cell, None)


def taken(alone: Scan2d, core: Scan2d, keyword: str) -> bool:
    """Whether a direction takes a keyword of the scan's: not so for tokens that it does not visit."""
    gone = [token for token in core.op.tokens if token not in alone.op.tokens]
    names = [name for token in gone for name in (token, *(f"{one}_{token}" for one in core.scan.inputs))]
    return keyword not in names


def measured(core: Scan2d, call: Call, cell: Query, part: slice | None) -> Influence:
    """The mean over the images; of the query, all channels or a part of them."""
    first, batch = call.inputs[0], len(call.inputs[0])
    names = [name for name in core.op.tokens if name in call.keywords]
    total = [torch.zeros(leaf.shape[1:-1], dtype=torch.float64) for leaf in (first, *(call.keywords[name] for name in names))]
    for image in range(batch):
        one = call.image(image)
        with torch.no_grad():
            channels = range(query_of(core, core(*one.inputs, **one.keywords), cell).shape[-1])
        chosen = list(channels[part] if part is not None else channels)
        at_once = max(1, MOST_ELEMENTS // first[:1].numel())
        for start in range(0, len(chosen), at_once):
            found = derivatives(core, one, cell, names, chosen[start : start + at_once])
            total = [sum_so_far + more for sum_so_far, more in zip(total, found, strict=True)]
    whole = [(each / batch).float() for each in total]
    return Influence(whole[0], dict(zip(names, whole[1:], strict=True)))


def derivatives(core: Scan2d, one: Call, cell: Query, names: Sequence[str], channels: Sequence[int]) -> list[Tensor]:
    """|∂ y / ∂ u| for these channels of the query, summed over them and the channels of u: of the map, then of every token. A
    batch of copies of the image, each with another channel of the query."""
    copies = {name: repeated(value, len(channels)) for name, value in one.keywords.items()}
    inputs = [repeated(value, len(channels)) for value in one.inputs]
    leaves = [inputs[0].requires_grad_(), *(copies[name].requires_grad_() for name in names)]
    query = query_of(core, core(*inputs, **copies), cell)
    picked = query[torch.arange(len(channels)), torch.tensor(channels)].sum()
    gradients = torch.autograd.grad(picked, leaves, allow_unused=True)
    return [
        torch.zeros(leaf.shape[1:-1], dtype=torch.float64) if found is None else found.abs().sum((0, -1)).double().cpu()
        for leaf, found in zip(leaves, gradients, strict=True)
    ]


def repeated(value: Tensor, count: int) -> Tensor:
    return value.detach().expand(count, *value.shape[1:]).clone()


def query_of(core: Scan2d, result: Any, cell: Query) -> Tensor:
    """`(B, C)`: a cell of the result, or a token."""
    made, *tokens = result if isinstance(result, tuple) else (result,)
    name, number = (cell, 0) if isinstance(cell, str) else cell if isinstance(cell[0], str) else (None, 0)
    if name is None:
        row, *others = checked_cell(core.scan.span, cell, tuple(made.shape[1:-1]))
        query: Tensor = made[(slice(None), row, *others)]
        return query
    by_name = dict(zip(core.op.tokens, tokens, strict=True))
    if name not in by_name or not 0 <= int(number) < by_name[str(name)].shape[1]:
        has = f"the scan has {listed(by_name)}" if by_name else "the scan has no tokens"
        raise ScanError([WrongView(core.scan.span, "cell", repr(cell), has)])
    token: Tensor = by_name[str(name)][:, int(number)]
    return token


# A scan inside a model.


def the_scan(
    model: nn.Module, x: Tensor | Sequence[Tensor], name: str | None, keywords: Mapping[str, Tensor]
) -> tuple[Scan2d, Call]:
    """The scan and what it is called with: `x`, or what a model of which it is a part makes of `x`."""
    inputs = (x,) if isinstance(x, Tensor) else tuple(x)
    if isinstance(model, Scan2d):
        return model, Call(inputs, keywords)
    scans = {place: module for place, module in model.named_modules() if isinstance(module, Scan2d)}
    if name is None and len(scans) == 1:
        name = next(iter(scans))
    if name is None or name not in scans:
        has = f"the model has {listed(list(scans)[:12])}{' …' if len(scans) > 12 else ''}" if scans else "the model has no scan"
        raise ScanError([WrongView(span_of(model), "scan", repr(name), has)])
    call = overheard(model, scans[name], inputs, keywords)
    if call is None:
        raise ScanError([WrongView(span_of(model), "scan", repr(name), "the model does not call it")])
    return scans[name], call


def overheard(model: nn.Module, core: Scan2d, inputs: tuple[Tensor, ...], keywords: Mapping[str, Tensor]) -> Call | None:
    """What the model first calls its scan with: as a module, or as backbones do, on rows."""
    heard: list[Call] = []
    on_rows = core.on_rows

    def listen(rows: Sequence[Tensor], grid: Sequence[int], tokens: Sequence[tuple[str, int]] = ()) -> Tensor:
        heard.append(call_of_rows(core, [Feature(each, tuple(grid), tuple(tokens)) for each in rows]))
        return on_rows(rows, grid, tokens)

    handle = core.register_forward_pre_hook(lambda _, given, named: heard.append(Call(given, named)), with_kwargs=True)
    core.on_rows = listen  # type: ignore[method-assign, assignment]
    try:
        with evaluating(model), torch.no_grad():
            model(*inputs, **keywords)
    finally:
        handle.remove()
        del core.on_rows
    return heard[0] if heard else None


def call_of_rows(core: Scan2d, features: Sequence[Feature]) -> Call:
    """Tokens of the first input go by their names, those of another input `z` by `z_cls`."""
    named: dict[str, Tensor] = {}
    for number, (name, feature) in enumerate(zip(core.scan.inputs, features, strict=True)):
        named |= {f"{name}_{token}" if number else token: rows for token, rows in feature.by_token.items()}
    return Call(tuple(feature.map for feature in features), named)
