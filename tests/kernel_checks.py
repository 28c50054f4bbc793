"""The executable contract, for any backend: kernels run step by step in float64 and differentiated by autograd.

Nothing here but the kernels' forward code is the compiler's: rows, routes, restarts and channels come from tables drawn at
random, so that a backend sees directions of different length, rows visited twice or never, tokens and pads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from operator_checks import operator
from torch import Tensor

from scanlang.codegen.executable import Executable
from scanlang.codegen.kernel import TIME, Access, Atom, CellKernel, Let, ScanKernels, Stream
from scanlang.codegen.lower_to_kernels import lower_to_kernels
from scanlang.codegen.torch_steps import FUNCTIONS
from scanlang.maps.traversal import Visits
from scanlang.testing import assert_close
from scanlang.testing.tensors import open_sizes


@dataclass(frozen=True)
class Tables:
    """Stands for a `Traversal` at the one size it is used at."""

    visits: Visits
    given_names: tuple[str, ...] = ()

    plain = False

    @property
    def orders(self) -> tuple[SimpleNamespace, ...]:
        return tuple(SimpleNamespace(name="at random") for _ in self.visits.lengths)

    def at(self, grid: tuple[int, ...]) -> Visits:
        assert int(np.prod(grid)) == self.visits.cells
        return self.visits


def draw_visits(
    cells: int, lengths: tuple[int, ...], *, routes: int = 1, tokens: int = 0, pads: int = 0, once: bool = False, seed: int = 0
) -> Visits:
    """Tables at random. Rows come up any number of times, or at most once per direction and route."""
    draw = np.random.default_rng(seed)
    rows = cells + tokens + pads
    tables = tuple(
        tuple(draw.permutation(rows)[:length] if once else draw.integers(0, rows, length) for length in lengths)
        for _ in range(routes)
    )
    restarts = tuple(np.arange(length) % 5 == 4 for length in lengths)
    labels = tuple(draw.integers(0, 6, length) for length in lengths)
    return Visits(cells, (("cls", tokens),) if tokens else (), pads, lengths, tables, restarts, labels, (None,) * len(lengths))


def rerouted(kernels: ScanKernels, along: Mapping[str, int], constant: tuple[str, ...] = (), **changed: Any) -> ScanKernels:
    """The same kernels with streams that run elsewhere, or have no gradient."""

    def stream(of: Any) -> Any:
        if not isinstance(of, Stream):
            return of
        return replace(of, route=along.get(of.name, of.route), constant=of.name in constant)

    def accesses(found: tuple[Access, ...]) -> tuple[Access, ...]:
        return tuple(replace(access, of=stream(access.of)) for access in found)

    backward = replace(
        kernels.backward,
        reads=accesses(kernels.backward.reads),
        gradients=tuple(replace(g, of=stream(g.of)) for g in kernels.backward.gradients if g.of.name not in constant),
    )
    forward = replace(kernels.forward, reads=accesses(kernels.forward.reads))
    return replace(kernels, forward=forward, backward=backward, **changed)


def draw_arrays(
    kernels: ScanKernels, visits: Visits, batch: int, channels: int, dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> dict[str, Tensor]:
    """Random arrays for every stream, parameter and input of the merge, in the shapes of `Executable`."""
    generator, own = torch.Generator().manual_seed(channels), kernels.directions
    shapes: dict[str, tuple[int, ...]] = {}
    for stream in kernels.streams:
        row = (channels,) if stream.lanes else (stream.width,)
        row = (channels // stream.every, *row) if stream.units else row
        row = (own, *row) if stream.per_direction or stream.uniform else row
        shapes[stream.name] = (own, visits.steps, stream.width) if stream.route == TIME else (batch, visits.rows, *row)
    for parameter in kernels.parameters:
        count = channels // parameter.every
        if kernels.split is None:
            front = (count,) if parameter.shared else (own, count)
        else:
            front = (count // own,) if parameter.shared else (count,)
        shapes[parameter.name] = (*front, parameter.width)
    for name in merge_inputs(kernels):
        shapes.setdefault(name, (batch, visits.rows, channels))
    wide = torch.promote_types(dtype, torch.float32)
    learned = {parameter.name for parameter in kernels.parameters}
    return {
        name: (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1)
        .to(wide if name in learned else dtype)
        .to(device)
        for name, shape in shapes.items()
    }


def merge_inputs(kernels: ScanKernels) -> tuple[str, ...]:
    reads = kernels.merge.reads if kernels.merge else ()
    return tuple(access.of.name for access in reads if not access.of.name.startswith("y["))


def result_shape(kernels: ScanKernels, visits: Visits, batch: int, channels: int) -> tuple[int, ...]:
    return (batch, visits.rows, *((kernels.directions,) if kernels.stacked else ()), channels)


def expected_output(
    kernels: ScanKernels, arrays: Mapping[str, Tensor], visits: Visits, tables: Tensor | None, entry: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The output in float64, one step of one direction of one image after another; and the last states of each image and
    direction after the other, `(states, its channels)`."""
    first, channels = arrays[kernels.leading.name], kernels.channel_count(arrays)
    images: list[list[Tensor]] = []
    last: list[Tensor] = []
    for b in range(first.shape[0]):
        own = [_direction(kernels, arrays, visits, tables, b, k, entry) for k in range(kernels.directions)]
        images.append([output for output, _ in own])
        last += [states for _, states in own]
    if not images:
        return first.new_zeros(result_shape(kernels, visits, 0, channels)), last
    if kernels.split is not None:
        return torch.stack([torch.cat(one, -1) for one in images]) * (kernels.merge_scale or 1.0), last
    partials = torch.stack([torch.stack(one) for one in images], 1)
    if kernels.stacked:
        return partials.permute(1, 2, 0, 3), last
    if kernels.merge is not None:
        return _merged(kernels.merge, partials, arrays), last
    return partials.sum(0) * (kernels.merge_scale or 1.0), last


def _direction(
    kernels: ScanKernels,
    arrays: Mapping[str, Tensor],
    visits: Visits,
    tables: Tensor | None,
    b: int,
    k: int,
    entry: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The output of one direction on one image, `(R, C)` of its own channels, and its last states."""
    first = arrays[kernels.leading.name]
    start, count = kernels.channels(kernels.channel_count(arrays))[k]
    fixed: dict[Atom, Tensor] = {}
    for access in kernels.forward.parameters:
        array = arrays[access.of.name].repeat_interleave(access.of.every, -2)
        if kernels.split is None:
            array = array if access.of.shared else array[k]  # type: ignore[union-attr]
        else:
            array = array if access.of.shared else array[start : start + count]  # type: ignore[union-attr]
        fixed.update(zip(access.names, array.unbind(-1), strict=True))
    run(kernels.forward.prologue, fixed)
    begun = zip(kernels.forward.states, kernels.forward.starts, strict=True)
    states = {name: first.new_full((count,), begin) for name, begin in begun}
    if entry is not None:
        states = dict(zip(kernels.forward.states, entry[b, k, :, :count], strict=True))
    output = [first.new_zeros(count) for _ in range(visits.rows)]
    for t in range(visits.lengths[k]):
        values = {**fixed, **states}
        for access in kernels.forward.reads:
            stream = access.of
            assert isinstance(stream, Stream)
            array = arrays[stream.name]
            if stream.route == TIME:
                values.update(zip(access.names, array[k, t].unbind(-1), strict=True))
                continue
            at = array[b, row(visits, tables, stream.route, b, k, t)]
            at = at[k] if stream.per_direction or stream.uniform else at
            at = at[..., None] if stream.lanes else at
            if not stream.uniform:
                at = at.repeat_interleave(stream.every, 0)
                at = at if stream.per_direction else at[start : start + count]
            values.update(zip(access.names, at.unbind(-1), strict=True))
        run(kernels.forward.body, values)
        states = {a.state: number(values, a.value, first).expand(count) for a in kernels.forward.advances}
        place = row(visits, tables, kernels.output_route, b, k, t)
        output[place] = output[place] + number(values, kernels.forward.output, first)
    return torch.stack(output), torch.stack(list(states.values())) if states else first.new_zeros(0, count)


def row(visits: Visits, tables: Tensor | None, route: int, b: int, k: int, t: int) -> int:
    return int(visits.tables[route][k][t]) if tables is None else int(tables[b, route, k, t])


def _merged(kernel: CellKernel, partials: Tensor, arrays: Mapping[str, Tensor]) -> Tensor:
    values: dict[Atom, Tensor] = {}
    for access in kernel.reads:
        name = access.of.name
        values[access.names[0]] = partials[int(name[2:-1])] if name.startswith("y[") else arrays[name]
    run(kernel.body, values)
    return number(values, kernel.writes[0].atoms[0], partials).expand_as(partials[0])


def number(values: Mapping[Atom, Tensor], atom: Atom, like: Tensor) -> Tensor:
    return values[atom] if isinstance(atom, str) else like.new_tensor(atom)


def run(lets: tuple[Let, ...], values: dict[Atom, Tensor]) -> None:
    like = next(iter(values.values()), torch.zeros((), dtype=torch.float64))
    for let in lets:
        values[let.name] = FUNCTIONS[let.function](*(number(values, a, like) for a in let.arguments))


def check_executable(
    backend: Callable[..., Executable],
    kernels: ScanKernels,
    visits: Visits,
    *,
    batch: int = 2,
    channels: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    tables: Tensor | None = None,
    tolerance: float = 1e-10,
) -> None:
    """Output, saved shapes and every gradient of a backend against the kernels run step by step."""
    grid = (1, visits.cells)
    arrays = draw_arrays(kernels, visits, batch, channels, dtype, device)
    exact = {name: array.cpu().double().requires_grad_() for name, array in arrays.items()}
    wanted, _ = expected_output(kernels, exact, visits, tables)
    executable = backend(kernels, Tables(visits, () if tables is None else ("given",)))
    given = None if tables is None else tables.to(device)
    result, saved = executable.forward(arrays, grid, True, given)
    alone, nothing = executable.forward(arrays, grid, False, given)
    covered = visits.rows - visits.pads
    assert_close("the output", result[:, :covered], wanted[:, :covered], tolerance)
    assert torch.equal(alone[:, :covered], result[:, :covered]), "what is saved changes the output"
    assert nothing.states.numel() == nothing.partials.numel() == 0
    most = max(count for _, count in kernels.channels(channels))
    chunks = -(-visits.steps // executable.chunk(grid))
    assert tuple(saved.states.shape) == (batch, kernels.directions, chunks, len(kernels.forward.states), most)
    assert tuple(saved.partials.shape) == ((0,) if kernels.merge is None else (kernels.directions, *wanted.shape))
    cotangent = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    cotangent[:, covered:] = 0  # nobody reads what a pad gives
    if kernels.stacked:
        cotangent = _also_of_visited_pads(cotangent, kernels, visits, tables, result, wanted, tolerance)
    found = executable.backward(cotangent.to(device).contiguous(), saved, arrays, grid, given)
    learned = [s.name for s in kernels.streams if not s.constant] + [p.name for p in kernels.parameters]
    learned += [name for name in merge_inputs(kernels) if name not in learned]
    assert set(found) == set(learned)
    if not wanted.requires_grad:
        return
    gradients = torch.autograd.grad(wanted, [exact[n] for n in learned], cotangent.double(), allow_unused=True)
    for name, gradient in zip(learned, gradients, strict=True):
        exactly = torch.zeros_like(exact[name]) if gradient is None else gradient
        got = found[name].reshape(exactly.shape)
        seen = _seen(kernels, visits, tables, name, exactly)
        assert_close(f"the gradient of {name}", got.cpu()[seen], exactly[seen], tolerance * 10)


def check_states(
    backend: Callable[..., Executable],
    kernels: ScanKernels,
    visits: Visits,
    *,
    batch: int = 2,
    channels: int = 4,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    tables: Tensor | None = None,
    tolerance: float = 1e-10,
) -> None:
    """States before the first step and after the last, and all gradients through them; of scales the contract says nothing else
    than that they are handed on, so with them the last states have no gradient here."""
    grid, computing = (1, visits.cells), torch.float64 if dtype == torch.float64 else torch.float32
    arrays = draw_arrays(kernels, visits, batch, channels, dtype, device)
    executable = backend(kernels, Tables(visits, () if tables is None else ("given",)))
    most, states = max(count for _, count in kernels.channels(channels)), len(kernels.forward.states)
    shape, generator = (batch, kernels.directions, states, most), torch.Generator().manual_seed(3)
    entry = torch.rand(shape, generator=generator, dtype=torch.float64).to(computing)
    there = own_states(kernels, shape, channels)
    poisoned = torch.where(there, entry, float("nan")).to(device)
    exact = {name: array.cpu().double().requires_grad_() for name, array in {**arrays, "entry.": entry}.items()}
    wanted, last = expected_output(kernels, exact, visits, tables, exact["entry."])
    given, final = (
        None if tables is None else tables.to(device),
        torch.full(shape, float("nan"), dtype=computing, device=device),
    )
    result, saved = executable.forward(arrays, grid, True, given, poisoned, final)
    covered = visits.rows - visits.pads
    assert_close("the output", result[:, :covered], wanted[:, :covered], tolerance)
    ends = iter(last)
    for b, k in itertools.product(range(batch), range(kernels.directions)):
        _, count = kernels.channels(channels)[k]
        assert_close(f"the last states of {b}, {k}", final[b, k, :, :count].cpu(), next(ends), tolerance)
    assert final.isnan().cpu().equal(~there.expand(shape)), "more than a direction's channels is written"
    cotangent = torch.randn(wanted.shape, generator=generator, dtype=torch.float64).to(dtype)
    cotangent[:, covered:] = 0
    of_last = torch.randn(shape, generator=generator, dtype=torch.float64).to(computing)
    if len(kernels.backward.carried) < states:
        of_last.zero_()
    of_entry = torch.zeros(shape, dtype=computing, device=device)
    poisoned = torch.where(there, of_last, float("nan")).to(device)
    found = executable.backward(cotangent.to(device), saved, arrays, grid, given, poisoned, of_entry)
    places = [
        of_last[b, k, :, :count].double() for b in range(batch) for k, (_, count) in enumerate(kernels.channels(channels))
    ]
    learned = [name for name in exact if name in found or name == "entry."]
    outputs = [wanted, *last]
    smooth = [(o, c) for o, c in zip(outputs, [cotangent.double(), *places], strict=True) if o.requires_grad]
    gradients = torch.autograd.grad(
        [o for o, _ in smooth], [exact[name] for name in learned], [c for _, c in smooth], materialize_grads=True
    )
    for name, exactly in zip(learned, gradients, strict=True):
        if name == "entry.":
            carried = list(kernels.backward.carried)
            assert_close("the gradient of the entry", of_entry.cpu()[:, :, carried], exactly[:, :, carried], tolerance * 10)
            continue
        seen = _seen(kernels, visits, tables, name, exactly)
        assert_close(f"the gradient of {name}", found[name].reshape(exactly.shape).cpu()[seen], exactly[seen], tolerance * 10)


def own_states(kernels: ScanKernels, shape: tuple[int, ...], channels: int) -> Tensor:
    """Where a direction has channels, `(B, K, states, C)`."""
    counts = torch.tensor([count for _, count in kernels.channels(channels)])
    return (torch.arange(shape[-1]) < counts[:, None, None]).expand(shape)


def _also_of_visited_pads(
    cotangent: Tensor,
    kernels: ScanKernels,
    visits: Visits,
    tables: Tensor | None,
    result: Tensor,
    wanted: Tensor,
    tolerance: float,
) -> Tensor:
    """Stacked outputs are read at the pads that a direction visits: a pre-pass hands them on."""
    mask = _visited(kernels, visits, tables, kernels.output_route, cotangent.shape[0])
    assert_close("the output", result.cpu()[mask], wanted[mask], tolerance)
    drawn = torch.randn(cotangent.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(cotangent.dtype)
    return torch.where(mask[..., None], drawn, cotangent)


def _visited(kernels: ScanKernels, visits: Visits, tables: Tensor | None, route: int, batch: int) -> Tensor:
    """Rows that a direction visits or that are no pads, `(B, R, K)`."""
    mask = torch.zeros(batch, visits.rows, kernels.directions, dtype=torch.bool)
    mask[:, : visits.rows - visits.pads] = True
    for b in range(batch):
        for k, length in enumerate(visits.lengths):
            mask[b, [row(visits, tables, route, b, k, t) for t in range(length)], k] = True
    return mask


def _seen(kernels: ScanKernels, visits: Visits, tables: Tensor | None, name: str, like: Tensor) -> Any:
    """The elements of a gradient that the contract says: no pads that no direction visits, no steps that there are not."""
    stream = next((s for s in kernels.streams if s.name == name), None)
    if stream is None:
        return slice(None, visits.rows - visits.pads) if name not in {p.name for p in kernels.parameters} else ...
    if stream.route == TIME:
        return torch.arange(visits.steps)[None] < torch.tensor(visits.lengths)[:, None]
    mask = _visited(kernels, visits, tables, stream.route, like.shape[0])
    return mask if stream.per_direction or stream.uniform else mask.any(-1)


def kernels_of(name: str, **sizes: int) -> ScanKernels:
    """The kernels of a program of `operator_checks`."""
    op = operator(name)
    labels = dict.fromkeys(open_sizes(op), 2)
    return lower_to_kernels(op.graph, {**labels, **op.signature.fixed, **sizes})


SELECTIVE, MERGED = "share-names", "merge-z"
TABLES: dict[str, tuple[ScanKernels, Visits]] = {
    "uneven": (kernels_of(SELECTIVE), draw_visits(12, (7, 0, 70), tokens=2, pads=3)),
    "nothing": (kernels_of(SELECTIVE), draw_visits(12, (0, 0, 0), pads=1)),
    "once": (kernels_of(SELECTIVE), draw_visits(12, (17, 17, 17), tokens=2, pads=3, once=True)),
    "routes": (
        rerouted(kernels_of(SELECTIVE), {"B": 1, "low": 2, "x": 2}, output_route=1, routes=3),
        draw_visits(12, (9, 3, 66), routes=3, tokens=1, pads=2),
    ),
    "along-time": (
        rerouted(kernels_of(SELECTIVE), {"B": TIME, "low": TIME}, ("low",), output_route=1, routes=2),
        draw_visits(12, (9, 3, 66), routes=2, tokens=1, pads=2),
    ),
    "merge": (kernels_of(MERGED), draw_visits(12, (7, 0, 70), tokens=2, pads=3)),
    "merge-routes": (
        rerouted(kernels_of(MERGED), {"C": 1}, output_route=2, routes=3), draw_visits(12, (9, 3, 20), routes=3, pads=2),
    ),
    "merge-reads-a-stream": (kernels_of("merge-x"), draw_visits(12, (9, 3, 20), tokens=1, pads=2)),
    "projected": (kernels_of("projected-channels"), draw_visits(12, (9, 30), tokens=1, pads=2)),
    "stacked": (
        rerouted(kernels_of(SELECTIVE), {}, merge_scale=None, stacked=True), draw_visits(12, (9, 0, 66), tokens=1, pads=2),
    ),
    "split": (rerouted(kernels_of(SELECTIVE), {}, split=(1, 1, 1)), draw_visits(12, (9, 3, 66), tokens=1, pads=2)),
    "split-parts": (
        rerouted(kernels_of("merge-mean"), {"B": 1}, merge_scale=1.0, split=(3, 1, 2), output_route=1, routes=2),
        draw_visits(12, (9, 3, 66), routes=2, tokens=1, pads=2),
    ),
    "heads": (kernels_of("ssd", head=3, group=1), draw_visits(12, (70, 9), tokens=2, pads=3)),
    "heads-shared": (kernels_of("ssd-open", head=6, group=1), draw_visits(12, (9, 0), tokens=1)),
    "heads-split": (kernels_of("mlstm-split", head=3), draw_visits(12, (9, 20), tokens=1, pads=2)),
    "groups-routes": (
        rerouted(kernels_of("ssd", head=3), {"B": 1, "dt": 2}, output_route=1, routes=3),
        draw_visits(12, (9, 20), routes=3, pads=2),
    ),
    "groups-split": (
        rerouted(kernels_of("bare-split"), {"B": 1}, split=(2, 1), routes=2), draw_visits(12, (9, 20), routes=2, pads=2),
    ),
    "indexed": (kernels_of("indexed"), draw_visits(12, (9, 20), pads=2)),
    "scales": (kernels_of("wkv"), draw_visits(12, (70, 9), tokens=1, pads=2)),
    "looks-back": (kernels_of("looks-back"), draw_visits(12, (20, 9), tokens=1, pads=2)),
}  # fmt: skip

PER_IMAGE = ("uneven", "routes", "merge-routes", "split-parts")
"""Those that are checked with tables of every image, too."""


def draw_tables(kernels: ScanKernels, visits: Visits, batch: int) -> Tensor:
    """Rows at random for every image, `(B, routes, K, J)`."""
    generator = torch.Generator().manual_seed(2)
    shape = (batch, kernels.routes, kernels.directions, visits.steps)
    return torch.randint(0, visits.rows, shape, generator=generator, dtype=torch.int32)
