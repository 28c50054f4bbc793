"""Every scan of the library written a second time, from its catalogue row and the published code, by hand.

`DESIGNS[file, scan]` says what the directions of each layer visit (`walks.py`), which recurrence they carry (`formulas.py`),
what they share, where streams run and how outputs come together. `slow.py` computes it; `test_library.py` compares both with
the programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from library import walks
from library.formulas import CELLS, CHANNELS, GROUPS, HEADS, Cell
from library.walks import Map, Walk, Walks, apart, backwards, cells, mirrored, padded, raster, turned, walk, with_tokens
from torch import Tensor, nn
from torch.nn import functional

Maps = Mapping[str, Tensor]
Layers = Mapping[str, nn.Module]
Merge = Callable[[Sequence[Tensor], Maps, Layers, int], Tensor]
"""Of the directions' outputs, the scan's inputs (both `(B, cells and tokens, C)`), the layers, and the number of cells."""

SMALL = ((3, 4), (5, 3), (1, 6), (7, 1), (6, 6))
VOLUMES = ((2, 3, 4), (3, 2, 5), (1, 4, 3))


@dataclass(frozen=True)
class Design:
    """What a scan is, in words of its paper.

    `layers[i](*grid)` is what the directions of layer i visit. `grids` are sizes to try, the first of them for outputs and
    gradients. `sizes` are the scan's own. `recurrence` is one of `CELLS`, and `projected` are its streams that linear maps of
    the first input make, map by map. `conv` is the width of the convolution, in the time of each direction or `along` the
    sequence of one. `operands` and `outputs` are the sequences in which what is projected is read and y is written, if not
    the direction's. `given` makes the permutation that the scan is called with, from a generator.
    """

    layers: tuple[Callable[..., Walks], ...]
    merge: Merge
    sizes: Mapping[str, int]
    grids: tuple[tuple[int, ...], ...] = ((4, 6), (5, 7), *SMALL)
    channels: int = 3
    inputs: tuple[str, ...] = ("x",)
    recurrence: str = "selective"
    projected: tuple[tuple[str, ...], ...] = (("low", "B", "C"),)
    conv: int = 0
    along: Callable[..., Walk] | None = None
    shared: frozenset[str] = frozenset()
    split: bool = False
    operands: Callable[..., Walks] | None = None
    outputs: Callable[..., Walks] | None = None
    labelled: bool = False
    given: str | None = None

    def walks(self, layer: int, grid: Sequence[int], order: Sequence[int] | None = None) -> Walks:
        """Of one layer; `order` is the permutation given at run time."""
        made = self.layers[layer]
        return made(*grid, order=order) if self.given else made(*grid)

    @property
    def cell(self) -> Cell:
        return CELLS[self.recurrence]

    @property
    def left_to_the_caller(self) -> tuple[str, ...]:
        """Streams that are neither the scan's inputs nor projected."""
        made = {*self.inputs, *(name for names in self.projected for name in names)}
        return tuple(name for name in self.cell.streams if name not in made)

    def shape(self, axes: tuple[str, ...], channels: int) -> tuple[int, ...]:
        """Of a stream or parameter of one direction with so many channels."""
        sizes = {"state": 1, "head": 1, "group": 1, **self.sizes}
        counts = {CHANNELS: channels, HEADS: channels // sizes["head"], GROUPS: channels // (sizes["head"] * sizes["group"])}
        return tuple({**sizes, **counts}[axis] for axis in axes)


# Merges.


def total(y: Sequence[Tensor], *_: object) -> Tensor:
    return torch.stack(tuple(y)).sum(0)


def side_by_side(y: Sequence[Tensor], *_: object) -> Tensor:
    return torch.cat(tuple(y), -1)


def gated(y: Sequence[Tensor], maps: Maps, *_: object, over: int = 1) -> Tensor:
    """Mamba's own gate, after each direction or after their sum alike."""
    return torch.stack([one * functional.silu(maps["z"]) for one in y]).sum(0) / over


def average(y: Sequence[Tensor], *_: object) -> Tensor:
    return torch.stack(tuple(y)).mean(0)


def received(y: Sequence[Tensor], maps: Maps, *_: object, over: int) -> Tensor:
    """RWKV's receptance."""
    return torch.stack([one * torch.sigmoid(maps["r"]) for one in y]).sum(0) / over


def with_diagonal(y: Sequence[Tensor], maps: Maps, *_: object) -> Tensor:
    """Hydra: the matrix's diagonal beside the shifted outputs."""
    return torch.stack(tuple(y)).sum(0) + maps["skip"] * maps["x"]


def fusion(y: Sequence[Tensor], *_: object) -> Tensor:
    """MHS-VM's gated fusion unit with its threshold at 0.5."""
    stacked = torch.stack(tuple(y), 1)
    deviation = torch.std(stacked, dim=1)
    mean = torch.mean(stacked - torch.min(stacked, dim=1, keepdim=True)[0], dim=1)
    return stacked.sum(1) * torch.relu(deviation / (mean + 1e-5) - 0.5)


def bi_attention(y: Sequence[Tensor], maps: Maps, layers: Layers, count: int) -> Tensor:
    """LocalMamba's: a gate for every direction and channel from the mean of the direction's normed output over the cells."""
    found = []
    for one in y:
        mean = layers["norm"](one)[:, :count].mean(1, keepdim=True)
        found.append(one * torch.sigmoid(layers["up"](functional.gelu(layers["down"](mean)))))
    return torch.stack(found).sum(0)


def bi_attention_gated(y: Sequence[Tensor], maps: Maps, layers: Layers, count: int) -> Tensor:
    return bi_attention([one * functional.silu(maps["z"]) for one in y], maps, layers, count)


# What directions visit.


def each_way(*forward: Walk) -> Walks:
    """All of them, then all of them backwards: VMamba's arrangement."""
    return (*forward, *map(backwards, forward))


def in_pairs(*forward: Walk) -> Walks:
    """Each of them followed by its reverse."""
    return tuple(one for pair in ((a, backwards(a)) for a in forward) for one in pair)


def cross(h: int, w: int) -> Walks:
    return each_way(raster(h, w), walks.columns(h, w))


def both_ways(*grid: int) -> Walks:
    return each_way(raster(*grid))


def rows_apart(h: int, w: int) -> Walks:
    """VMamba's cascade, batch B·H: the backward sequence of every row."""
    return apart(list(cells(h, w))), apart([row[::-1] for row in cells(h, w)])


def columns_apart(h: int, w: int) -> Walks:
    return apart(list(cells(h, w).T)), apart([column[::-1] for column in cells(h, w).T])


def four_copies(h: int, w: int) -> Walks:
    """V2M's first scan: the rows of the map and of its transpose, then those of both mirrored."""
    x = cells(h, w)
    return tuple(apart(list(image)) for image in (x, x.T, mirrored(x, 1), mirrored(x.T, 1)))


def across(h: int, w: int) -> Walks:
    """V2M's second scan: the columns of each of the four; in which order makes no difference."""
    x = cells(h, w)
    return tuple(apart(list(image)) for image in (x.T, x, x.T, x))


def turned_not_mirrored(h: int, w: int) -> Walks:
    """Where V2M's outputs go: what belongs to a mirrored map comes back by flipping the whole sequence."""
    x = cells(h, w)
    mirror, transposed = mirrored(x, 1), mirrored(x.T, 1)
    goes = {int(mirror[r, c]): int(turned(x)[r, c]) for r, c in np.ndindex(h, w)}
    goes_transposed = {int(transposed[c, r]): int(turned(x)[r, c]) for r, c in np.ndindex(h, w)}
    found = list(across(h, w))
    for number, target in ((2, goes), (3, goes_transposed)):
        found[number] = walk(target[step] for step in found[number].steps if isinstance(step, int))
    return tuple(found)


def vim_middle(h: int, w: int) -> Walk:
    return with_tokens(raster(h, w), cls=h * w // 2)


def vim_head(h: int, w: int) -> Walk:
    return with_tokens(raster(h, w), cls=0)


def vim_double(h: int, w: int) -> Walk:
    return with_tokens(raster(h, w), cls=0, dist=h * w + 1)


def registers(h: int, w: int, count: int = 12) -> Walk:
    """Mamba-R: M patches cut into pieces of M // (count + 1), a register behind each; the rest stands at the end."""
    piece = h * w // (count + 1)
    return with_tokens(raster(h, w), reg=[piece * (i + 1) + i for i in range(count)])


def line_ends(lines: Map) -> Walk:
    """DiM: a token behind every line of the map."""
    count, length = lines.shape
    return with_tokens(walk(lines), line_end=[(length + 1) * i + length for i in range(count)])


def adventurer(sequence: Walk) -> Walks:
    """The mean in front, the class token behind."""
    return (with_tokens(sequence, avg=0, cls=len(sequence) + 1),)


def localmamba(direction: str, h: int, w: int) -> Walk:
    """LocalMamba's names of directions: h, v, w2, w7, and _flip; of windows on the padded map."""
    name, _, flip = direction.partition("_")
    forward = {"h": raster, "v": walks.columns}.get(name)
    size = 0 if forward else int(name[1:])
    found = forward(h, w) if forward else walks.windows(padded(h, w, size), size)
    return backwards(found) if flip else found


def localvim(direction: str, h: int, w: int) -> Walk:
    """The class token goes in at step h·w // 2 of every direction; windows are cut off where the map ends."""
    name, _, flip = direction.partition("_")
    if name.startswith("w"):
        pieces = walks.ragged_windows(h, w, int(name[1:]))
        found = walk(np.concatenate([piece.ravel() for piece in pieces]))
    else:
        found = raster(h, w) if name == "h" else walks.columns(h, w)
    return with_tokens(backwards(found) if flip else found, cls=h * w // 2)


def efficient(h: int, w: int) -> Walks:
    """EfficientVMamba: four slices with step 2 of the padded map, two of them of its transpose."""
    x = padded(h, w, 2)
    return walk(x[::2, ::2]), walk(x.T[::2, 1::2]), walk(x[::2, 1::2]), walk(x.T[1::2, 1::2])


def eamamba(of: Callable[[Map], Walk], h: int, w: int) -> Walks:
    """EAMamba turns and mirrors the map, then takes the cells of the curve's table."""
    x = cells(h, w)
    return tuple(of(image) for image in (x, turned(x), mirrored(x, 1), turned(mirrored(x, 1))))


def eamamba_split(h: int, w: int) -> Walks:
    return (*eamamba(walks.hilbert, h, w), *in_pairs(raster(h, w), walks.columns(h, w)))


def mambaad(of: Callable[[Map], Walk], h: int, w: int) -> Walks:
    """The curve on x, its transpose, its quarter turn, and the transpose of that."""
    x = cells(h, w)
    return each_way(*(of(image) for image in (x, x.T, np.rot90(x), np.rot90(x).T)))


def mair(first: int, h: int, w: int) -> Walks:
    x = cells(h, w)
    return tuple(walks.stripes(image, 4, first) for image in (x, turned(x), x.T, turned(x).T))


def eight_snakes(h: int, w: int) -> Walks:
    """Mamba-in-Mamba's directions 1 to 8: rows or columns, from which end, and which way the first of them goes."""
    rows, poles = cells(h, w), cells(h, w).T
    images = (
        rows, poles, turned(rows), turned(poles), mirrored(rows, 1), mirrored(poles, 0), mirrored(rows, 0), mirrored(poles, 1),
    )  # fmt: skip
    return tuple(walks.snake(image) for image in images)


def zigma(layer: int, h: int, w: int) -> Walks:
    """Corners in the order top left, top right, bottom left, bottom right; along rows, along columns."""
    corner, along_columns = divmod(layer, 2)
    x = cells(h, w)
    x = mirrored(x, 0) if corner >= 2 else x
    x = mirrored(x, 1) if corner % 2 else x
    return (with_tokens(walks.snake(x.T if along_columns else x), extra=0),)


def plainmamba(h: int, w: int) -> Walks:
    return in_pairs(walks.snake(cells(h, w)), walks.snake(cells(h, w).T))


def rs_mamba(h: int, w: int) -> Walks:
    return (*cross(h, w), *each_way(walks.wrapped(h, w, 1), walks.wrapped(h, w, -1)))


def mhs_vm(first: Walk, second: Walk) -> Walks:
    return in_pairs(first, second)


def evssm(layer: int, h: int, w: int) -> Walks:
    """Every even layer transposes the map first, every odd one turns it; a layer finds it as the last one left it."""
    x = cells(h, w)
    for number in range(layer + 1):
        x = turned(x) if number % 2 else x.T
    return (walk(x),)


def images_in_turn(s: int, h: int, w: int) -> Walks:
    """ChangeMamba: a map of w·s columns, those of the images in turn."""
    x = np.empty((h, w * s), dtype=np.int64)
    for image in range(s):
        x[:, image::s] = cells(s, h, w)[image]
    return each_way(walk(x), walk(x.T))


def images_side_by_side(s: int, h: int, w: int) -> Walks:
    x = np.concatenate(list(cells(s, h, w)), 1)
    return each_way(walk(x), walk(x.T))


def mamba_nd(layer: int, t: int, h: int, w: int) -> Walks:
    """The axes by (layer // 2) % 3: t h w, t w h, w h t; odd layers backwards."""
    found = walk(cells(t, h, w).transpose(((0, 1, 2), (0, 2, 1), (2, 1, 0))[(layer // 2) % 3]))
    return (backwards(found) if layer % 2 else found,)


def segmamba(d: int, h: int, w: int) -> Walks:
    """The third order: t goes to (t % d) slices of h·w, and t // d in it."""
    return (*both_ways(d, h, w), walk((t % d) * (h * w) + t // d for t in range(d * h * w)))


def videomamba(time_first: bool, t: int, h: int, w: int) -> Walks:
    x = cells(t, h, w)
    return each_way(with_tokens(walk(x.transpose(1, 2, 0) if time_first else x), cls=0))


def freqmamba(p: int, h: int, q: int, w: int) -> Walks:
    """Windows of the map of p·h × q·w cells, rows of windows first and rows in them; columns first and columns in them."""
    x = cells(p, h, q, w)
    return each_way(walk(x.transpose(0, 2, 1, 3)), walk(x.transpose(2, 0, 3, 1)))


def spectral(h: int, w: int, g: int) -> Walks:
    return (apart(list(cells(h * w, g))),)


def motion_time(t: int, s: int) -> Walks:
    """Along time for every place: all frames; the even ones, then the odd ones."""
    x = cells(t, s).T
    return walk(x), walk(np.concatenate([np.concatenate((line[::2], line[1::2])) for line in x]))


def msvmamba(h: int, w: int) -> Walks:
    """Three flattened maps in one sequence."""
    parts = (*backwards(raster(h, w)).steps, *walks.columns(h, w).steps, *backwards(walks.columns(h, w)).steps)
    return (Walk(parts),)


def pointmamba(h: int, w: int) -> Walks:
    """The curve, then the curve of the transposed map."""
    return (Walk((*walks.hilbert(cells(h, w)).steps, *walks.hilbert(cells(h, w).T).steps)),)


def fractal(h: int, w: int) -> Walks:
    forward, other = walks.hilbert(cells(h, w)), walks.hilbert(cells(h, w).T)
    return forward, backwards(forward), other, backwards(other)


def as_given(*_: int, order: Sequence[int]) -> Walks:
    return (walk(order),)


def against_given(*_: int, order: Sequence[int]) -> Walks:
    return (backwards(walk(order)),)


def three_ways(h: int, w: int, order: Sequence[int]) -> Walks:
    return (*both_ways(h, w), walk(order))


# The library.

EVERYTHING = frozenset({"dt_weight", "dt_bias", "A_log", "D", "dB", "project", "conv"})
MAMBA = {"inputs": ("x", "z"), "conv": 4}
MANY = ((4, 6), (3, 5), (8, 8), (9, 14))
LARGE = ((6, 9), (14, 14), (15, 8), *SMALL)


def one(*layers: Callable[..., Walks], merge: Merge = total, **said: object) -> Design:
    """Sizes are small: kernels with many states take long to build."""
    return Design(layers, merge, **{"sizes": {"state": 2, "rank": 2}, **said})  # type: ignore[arg-type]


def single(of: Callable[..., Walk]) -> Callable[..., Walks]:
    return lambda *grid: (of(*grid),)


def pair(of: Callable[..., Walk]) -> Callable[..., Walks]:
    return lambda *grid: each_way(of(*grid))


def flipped(of: Callable[..., Walk]) -> Callable[..., Walks]:
    return lambda *grid: (backwards(of(*grid)),)


def layers_of_localvim(*names: str) -> Callable[..., Walks]:
    return lambda h, w: tuple(localvim(name, h, w) for name in names)


def layers_of_localmamba(*names: str) -> Callable[..., Walks]:
    return lambda h, w: tuple(localmamba(name, h, w) for name in names)


def lines_of(h: int, w: int) -> Walk:
    return line_ends(cells(h, w))


def poles_of(h: int, w: int) -> Walk:
    return line_ends(cells(h, w).T)


HALVED = {**MAMBA, "merge": partial(gated, over=2)}
GATED = {**MAMBA, "merge": gated}
PLAIN = {"merge": gated, "inputs": ("x", "z"), "shared": EVERYTHING, "labelled": True}
FOUR_LINES = (single(raster), flipped(raster), single(walks.columns), flipped(walks.columns))

SSD = {"sizes": {"state": 2, "head": 2}, "channels": 4, "recurrence": "ssd", "projected": (("dt", "B", "C"),)}
HYDRA = {**SSD, "recurrence": "exclusive_ssd", "merge": with_diagonal}
ATTENTION = {"sizes": {"state": 2, "head": 2}, "channels": 4, "inputs": ("v",), "projected": (("q", "k"),)}
VIL = {**ATTENTION, "inputs": ("v", "q", "k", "i", "f"), "projected": (), "recurrence": "mlstm"}
BI_WKV = {"sizes": {}, "merge": side_by_side, "shared": frozenset({"w", "u"}), "projected": ()}
V2M = {"inputs": ("x", "z"), "conv": 4, "merge": side_by_side, "shared": EVERYTHING}
V2M_SECOND = {**V2M, "split": True, "channels": 8, "recurrence": "constant_b", "projected": (("low", "C"),)}

RECURRENCES: dict[tuple[str, str], Design] = {
    ("selective_one", "selective_one2d"): one(cross, recurrence="selective_one", sizes={"rank": 2}),
    ("ssd", "ssd2d"): one(cross, **SSD),
    ("ssd", "ssd_grouped2d"): one(
        cross, **{**SSD, "recurrence": "ssd_grouped", "sizes": {"state": 2, "head": 2, "group": 2}, "channels": 8}
    ),
    ("retention", "retention2d"): one(cross, **ATTENTION, recurrence="retention"),
    ("gla", "gla2d"): one(cross, **{**ATTENTION, "projected": (("q", "k"), ("g",))}, recurrence="gla"),
    ("linear_attention", "linear_attention2d"): one(cross, **ATTENTION, recurrence="linear_attention", merge=average),
    ("rg_lru", "rg_lru2d"): one(cross, recurrence="rg_lru", sizes={}, projected=(("r", "i"),)),
    ("mingru", "mingru2d"): one(cross, recurrence="mingru", sizes={}, projected=(("c", "z"),)),
    ("hgrn", "hgrn2d"): one(cross, recurrence="hgrn", sizes={}, projected=(("i", "f"),)),
    ("s4d", "s4d2d"): one(cross, recurrence="s4d", sizes={"state": 2}, projected=()),
    ("ema", "ema2d"): one(cross, recurrence="ema", sizes={}, projected=(), merge=average),
    ("ema", "damped_ema2d"): one(cross, recurrence="damped_ema", sizes={"state": 2}, projected=()),
    ("mlstm", "mlstm2d"): one(cross, **{**ATTENTION, "projected": (("q", "k", "i", "f"),)}, recurrence="mlstm", merge=average),
    ("wkv", "wkv2d"): one(
        cross, recurrence="wkv", sizes={}, inputs=("x", "r"), projected=(("k", "v"),), merge=partial(received, over=4)
    ),
    ("hydra", "hydra"): one(
        both_ways, **{**HYDRA, "inputs": ("x", "dt", "skip"), "projected": (), "shared": frozenset({"A_log", "dt_bias"})}
    ),
    ("hydra", "hydra2d"): one(cross, **HYDRA, inputs=("x", "skip")),
}
"""The files of recurrences: each with a cross-scan that carries it."""

DESIGNS: dict[tuple[str, str], Design] = {
    **RECURRENCES,
    ("adventurer", "adventurer"): one(
        lambda h, w: adventurer(raster(h, w)),
        lambda h, w: adventurer(backwards(raster(h, w))),
        **{**GATED, **SSD, "inputs": ("x", "z", "dt"), "projected": ()},
    ),
    ("changemamba", "changemamba_cross"): one(images_in_turn, grids=VOLUMES),
    ("changemamba", "changemamba_parallel"): one(images_side_by_side, grids=VOLUMES),
    ("dim", "dim_line_ends"): one(single(lines_of), flipped(lines_of), single(poles_of), flipped(poles_of), **GATED),
    ("dim", "dim_widened"): one(*FOUR_LINES, **GATED),
    ("eamamba", "eamamba_diagonal"): one(partial(eamamba, walks.diagonal)),
    ("eamamba", "eamamba_morton"): one(partial(eamamba, walks.zorder)),
    ("eamamba", "eamamba_zigzag"): one(partial(eamamba, walks.zigzag)),
    ("eamamba", "eamamba_hilbert"): one(partial(eamamba, walks.hilbert), grids=(*MANY, *SMALL)),
    ("eamamba", "eamamba_split"): one(eamamba_split, merge=side_by_side, split=True, channels=16),
    ("efficientvmamba", "es2d"): one(efficient, grids=((3, 5), (4, 6), *SMALL)),
    ("evssm", "evssm"): one(*(partial(evssm, layer) for layer in range(4))),
    ("evssm", "evssm_released"): one(single(raster), projected=()),
    ("fractal", "fractalmamba"): one(fractal, grids=(*MANY, *SMALL)),
    ("fractal", "pointmamba"): one(pointmamba, **GATED),
    ("fractal", "pointmamba_serialised"): one(single(raster), **GATED),
    ("freqmamba", "freqmamba"): one(freqmamba, grids=((2, 3, 2, 2), (4, 1, 4, 2), (1, 2, 3, 2))),
    ("groupmamba", "groupmamba"): one(cross, merge=side_by_side, split=True, channels=8, sizes={"rank": 2}),
    ("localvim", "localvim"): one(
        layers_of_localvim("h", "v_flip", "w7", "w7_flip"),
        layers_of_localvim("h_flip", "w2_flip", "w7", "w7_flip"),
        layers_of_localvim("h", "h_flip", "v", "w7"),
        **{**GATED, "merge": bi_attention_gated, "channels": 8, "grids": ((5, 9), *LARGE)},
    ),
    ("localvmamba", "localvmamba"): one(
        layers_of_localmamba("h", "h_flip", "w7", "w7_flip"),
        layers_of_localmamba("h_flip", "v_flip", "w2", "w2_flip"),
        merge=bi_attention,
        channels=8,
        grids=((5, 9), *LARGE),
    ),
    ("mair", "mair"): one(partial(mair, 4), partial(mair, 2), grids=((5, 7), (4, 6), (3, 10), *SMALL)),
    ("mair", "mair_apart"): one(partial(mair, 4), partial(mair, 2), merge=side_by_side, grids=((5, 7), (4, 6), *SMALL)),
    ("mamba_in_mamba", "mamba_in_mamba"): one(eight_snakes, merge=side_by_side),
    ("mamba_in_mamba", "mamba_in_mamba_centre"): one(as_given, given="centre_out"),
    ("mamba_nd", "mamba_nd"): one(*(partial(mamba_nd, layer) for layer in range(6)), **GATED, grids=VOLUMES),
    ("mamba_reg", "mamba_reg"): one(pair(registers), **HALVED, grids=((4, 7), (3, 9), (5, 8), (1, 13))),
    ("mambaad", "mambaad_sweep"): one(partial(mambaad, walk)),
    ("mambaad", "mambaad_scan"): one(partial(mambaad, walks.snake)),
    ("mambaad", "mambaad_zorder"): one(partial(mambaad, walks.zorder)),
    ("mambaad", "mambaad_zigzag"): one(partial(mambaad, walks.zigzag)),
    ("mambaad", "mambaad_hilbert"): one(partial(mambaad, walks.hilbert)),
    ("mambahsi_spatial", "mambahsi_spatial"): one(single(raster), **GATED),
    ("mambahsi_spectral", "mambahsi_spectral"): one(spectral, **GATED, grids=((2, 3, 6), (3, 2, 5), (1, 2, 3))),
    ("mambairv2", "mambairv2"): one(as_given, given="by_prompt", projected=()),
    ("mambavision", "mambavision"): one(
        lambda h, w: (apart(walks.ragged_windows(h, w, 14)),), grids=((3, 15), (14, 28), (15, 29), *SMALL)
    ),
    ("mhs_vm", "mhs_vm_c"): one(lambda h, w: mhs_vm(walks.snake(cells(h, w)), walks.snake(cells(h, w).T)), merge=fusion),
    ("mhs_vm", "mhs_vm_x"): one(
        lambda h, w: mhs_vm(walks.zigzag(cells(h, w)), walks.zigzag(mirrored(cells(h, w), 1))), merge=fusion
    ),
    ("mhs_vm", "mhs_vm_s"): one(
        lambda h, w: mhs_vm(walks.spiral(cells(h, w)), walks.spiral(mirrored(cells(h, w), 0))), merge=fusion
    ),
    ("mhs_vm", "mhs_vm_z"): one(lambda h, w: mhs_vm(raster(h, w), walks.columns(h, w)), merge=fusion),
    ("motionmamba", "motionmamba_temporal"): one(motion_time),
    ("motionmamba", "motionmamba_spatial"): one(both_ways),
    ("msvmamba", "msvmamba_full"): one(single(raster)),
    ("msvmamba", "msvmamba_half"): one(msvmamba),
    ("plainmamba", "plainmamba"): one(plainmamba, **PLAIN),
    ("plainmamba", "plainmamba_released"): one(plainmamba, **PLAIN, operands=lambda h, w: (raster(h, w),) * 4),
    ("rs_mamba", "rs_mamba"): one(rs_mamba),
    ("rsmamba", "rsmamba"): one(three_ways, **{**MAMBA, "merge": partial(gated, over=3)}, shared=EVERYTHING, given="shuffled"),
    ("rsmamba", "rsmamba_apart"): one(three_ways, merge=side_by_side, conv=4, shared=EVERYTHING, given="shuffled"),
    ("segmamba", "segmamba"): one(segmamba, **GATED, grids=VOLUMES),
    ("tinyvim", "tinyvim"): one(cross, sizes={"rank": 2}),
    ("videomamba", "videomamba"): one(partial(videomamba, False), **GATED, grids=VOLUMES),
    ("videomamba", "videomamba_time_first"): one(partial(videomamba, True), **GATED, grids=VOLUMES),
    ("v2m", "v2m_first"): one(four_copies, **V2M, recurrence="constant_c", projected=(("low", "B"),)),
    ("v2m", "v2m_second"): one(across, **V2M_SECOND),
    ("v2m", "v2m_second_released"): one(across, **V2M_SECOND, outputs=turned_not_mirrored),
    ("vil", "vil"): one(single(raster), flipped(raster), **VIL),
    ("vil", "vil_quad"): one(*FOUR_LINES, **VIL),
    ("vim", "vim_v2"): one(pair(vim_middle), **HALVED),
    ("vim", "vim_v1"): one(pair(vim_middle), **GATED, along=vim_middle, shared=EVERYTHING - {"A_log"}),
    ("vim", "vim_head_token"): one(pair(vim_head), **HALVED),
    ("vim", "vim_double_token"): one(pair(vim_double), **HALVED),
    ("vim", "vim_no_token"): one(both_ways, **HALVED),
    ("vim", "vim_alternating"): one(single(vim_middle), flipped(vim_middle), **GATED),
    ("vision_rwkv", "vision_rwkv"): one(both_ways, **BI_WKV, inputs=("k", "v"), recurrence="bi_wkv_mean"),
    ("vision_rwkv", "vision_rwkv_log"): one(both_ways, **BI_WKV, inputs=("k",), recurrence="bi_wkv_log"),
    ("vmamba", "cross2d"): one(cross),
    ("vmamba", "unidi"): one(lambda h, w: (raster(h, w),) * 4),
    ("vmamba", "bidi"): one(lambda h, w: each_way(raster(h, w), raster(h, w))),
    ("vmamba", "cascade_rows"): one(rows_apart, outputs=lambda h, w: (raster(h, w),) * 2),
    ("vmamba", "cascade_columns"): one(columns_apart, outputs=lambda h, w: (walks.columns(h, w),) * 2),
    ("vmamba", "xv"): one(cross, projected=()),
    ("vmamba", "m0"): one(cross, **{**SSD, "recurrence": "ssd_m0"}),
    ("vmambair", "vmambair_channels"): one(both_ways, grids=((7,), (1,), (24,)), channels=1),
    ("vortexmamba", "vortexmamba"): one(lambda h, w: (backwards(walks.spiral(cells(h, w))),), **GATED),
    ("voxelmamba", "voxelmamba_forward"): one(as_given, **GATED, given="template", grids=((11,), (1,), (24,))),
    ("voxelmamba", "voxelmamba_backward"): one(against_given, **GATED, given="template", grids=((11,), (1,), (24,))),
    ("zigma", "zigma"): one(*(partial(zigma, layer) for layer in range(8)), **GATED),
}


def centre_out(h: int, w: int) -> list[int]:
    """Mamba-in-Mamba sorts the cells by their distance from the centre, in steps; those as far stay in raster order."""
    return sorted(range(h * w), key=lambda cell: abs(h // 2 - cell // w) + abs(w // 2 - cell % w))
