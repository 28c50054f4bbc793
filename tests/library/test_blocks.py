"""The blocks of the library against the same written by hand from the catalogue: plain torch, a scan step by step, in float64.

Values and all gradients, on grids that are not square and have odd sides. What is made is random, so that layers of the same
shape cannot change places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import torch
from library import walks
from library.slow import Slow
from library.transcriptions import DESIGNS, Design, total
from library.walks import cells
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv1d, gelu, interpolate, layer_norm, linear, pad, relu, silu

import scanlang
from scanlang.library import library, library_source
from scanlang.testing import assert_close

Maps = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A block of a program, what it does by hand, the formals it is made with, and its inputs' shapes without the batch."""

    program: str
    block: str
    by_hand: Callable[..., Tensor]
    given: Mapping[str, Any]
    shapes: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any] = field(default_factory=dict)


def chosen(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64).requires_grad_()


def randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for parameter in module.double().parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2
    return module


def compare(block: nn.Module, ours: Tensor, theirs: Tensor, inputs: Maps) -> None:
    assert_close("the output", ours, theirs, 1e-11)
    leaves = [*inputs, *block.parameters()]
    cotangent = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = [torch.autograd.grad(made, leaves, cotangent) for made in (ours, theirs)]
    for mine, exactly in zip(*gradients, strict=True):
        assert_close("a gradient", mine, exactly, 1e-9)


# What the transcriptions are made of: channels last, weights as the layers have them.


def slow(core: Any, of: tuple[str, str], *inputs: Tensor, **given: Tensor) -> Tensor:
    """A scan step by step, from its transcription and the weights of the module; sizes are those of the weights."""
    sizes = {"rank": core.dt_weight.shape[-1], "state": core.A_log.shape[-1]}
    design = replace(DESIGNS[of], sizes=sizes)
    run = Slow(design, 0, tuple(inputs[0].shape[1:-1]), dict(core.named_parameters()), dict(core.named_children()))
    return run({**dict(zip(design.inputs, inputs, strict=True)), **given})[0]


def dense(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def normed(layer: Any, x: Tensor, eps: float = 1e-5) -> Tensor:
    return layer_norm(x, x.shape[-1:], layer.weight, layer.bias, eps)


def conv(layer: Any, x: Tensor, stride: int = 1, weight: Tensor | None = None) -> Tensor:
    """A depthwise convolution as a sum over its places, with zeros around the map."""
    weight = layer.weight if weight is None else weight
    kernel, (rows, columns) = weight.shape[-1], x.shape[1:3]
    edge = kernel // 2
    around = pad(x, (0, 0, edge, edge, edge, edge))
    total = torch.zeros_like(x)
    for i in range(kernel):
        for j in range(kernel):
            total = total + around[:, i : i + rows, j : j + columns] * weight[:, 0, i, j]
    total = total if layer.bias is None else total + layer.bias
    return total[:, ::stride, ::stride]


def same(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """A depthwise convolution along the sequence of a map's cells, as long as before."""
    sequence = x.flatten(1, -2).transpose(1, 2)
    made = conv1d(sequence, weight, bias, padding=weight.shape[-1] // 2, groups=x.shape[-1])
    return made.transpose(1, 2).reshape(x.shape)


def pooled(x: Tensor) -> Tensor:
    return x.mean((1, 2), keepdim=True)


def bilinear(x: Tensor, size: torch.Size, mode: str = "bilinear") -> Tensor:
    align = False if mode == "bilinear" else None
    return interpolate(x.movedim(-1, 1), tuple(size), mode=mode, align_corners=align).movedim(1, -1)


# The designs.


def cascade(block: Any, x: Tensor) -> Tensor:
    """VMamba's cascade2d: rows on their own, then columns, each behind a LayerNorm without weights."""
    x = silu(conv(block.conv.depthwise, dense(block.in_proj, x)))
    x = slow(block.rows, ("vmamba", "cascade_rows"), layer_norm(x, x.shape[-1:]))
    x = slow(block.columns, ("vmamba", "cascade_columns"), layer_norm(x, x.shape[-1:]))
    return dense(block.out_proj, normed(block.norm, x))


def group_mamba(block: Any, x: Tensor) -> Tensor:
    """The four groups one after the other, each an SS2D of its own along one order."""
    x = normed(block.norm, x)
    affinity = torch.sigmoid(dense(block.fc2, relu(dense(block.fc1, pooled(x)))))
    part, found, core = x.shape[-1] // 4, [], dict(block.core.named_parameters())
    orders = (walks.raster, walks.columns, walks.raster, walks.columns)
    for g, group in enumerate(x.chunk(4, -1)):
        own = slice(g * part, (g + 1) * part)
        u, z = linear(group, block.in_proj.weight[2 * g * part : 2 * (g + 1) * part, :, 0, 0]).chunk(2, -1)
        local = nn.Conv2d(part, part, 3, padding=1, groups=part).double()
        del local.weight, local.bias
        local.weight, local.bias = block.conv.weight[own], block.conv.bias[own]
        u = silu(conv(local, u))
        weights = {name: (p[:, own] if name == "project_weight" else p[own])[None] for name, p in core.items()}
        order = orders[g](*u.shape[1:3])
        visits = walks.backwards(order) if g > 1 else order
        alone = Design((partial(of_any_size, visits),), total, sizes={"rank": 1, "state": 1})
        y = Slow(alone, 0, tuple(u.shape[1:3]), weights, {})({"x": u})[0]
        y = normed(getattr(block, f"norm{g + 1}"), y) * silu(z)
        found.append(linear(y, block.out_proj.weight[own, :, 0, 0]))
    x = torch.cat(found, -1) * block.skip_scale.weight * x
    return dense(block.proj, normed(block.norm, x * affinity))


def of_any_size(visits: walks.Walk, *grid: int) -> walks.Walks:
    return (visits,)


def mamba_vision(block: Any, x: Tensor) -> Tensor:
    u, z = dense(block.in_proj, x).chunk(2, -1)
    u, z = silu(same(block.conv_x.weight, None, u)), silu(same(block.conv_z.weight, None, z))
    return dense(block.out_proj, torch.cat((slow(block.core, ("msvmamba", "msvmamba_full"), u), z), -1))


def vmambair(block: Any, x: Tensor) -> Tensor:
    u, z = dense(block.in_conv, x).chunk(2, -1)
    return normed(block.norm, slow(block.core, ("vmamba", "cross2d"), silu(conv(block.conv, u)))) * silu(z)


def evssm(block: Any, x: Tensor) -> Tensor:
    """As released: before even layers the map is transposed, before odd ones turned, and not moved back. The layers here leave
    it where it is, so that their kernels move with it."""
    moved, moves = x, 0
    for number in range(4):
        layer = block.get_submodule(f"layers.{number}")
        moved, moves = move(moved, number), moves + 1
        kernel = layer.conv.weight
        for before in range(moves):
            kernel = kernel.transpose(2, 3) if before % 2 == 0 else kernel.flip((2, 3))
        u, z = dense(layer.in_proj, moved).chunk(2, -1)
        y = slow(layer.core, ("msvmamba", "msvmamba_full"), gelu(conv(layer.conv, u, weight=kernel)))
        moved = dense(layer.out_proj, normed(layer.norm, y) * gelu(z))
    return moved.flip((1, 2)).transpose(1, 2).flip((1, 2)).transpose(1, 2)


def move(x: Tensor, number: int) -> Tensor:
    return x.transpose(1, 2) if number % 2 == 0 else x.flip((1, 2))


def evssm_operands(block: Any, x: Tensor) -> Tensor:
    return same(block.conv.weight, block.conv.bias, linear(x, block.project.weight))


def mair(block: Any, x: Tensor) -> Tensor:
    """The shuffle and the convolution in groups: a group has the four means of a channel, and makes its four gates."""
    u, z = dense(block.in_proj, x).chunk(2, -1)
    y = slow(block.core, ("mair", "mair_apart"), silu(conv(block.conv, u)))
    apart = y.unflatten(-1, (4, -1))
    gates = [getattr(block, f"gate{k + 1}") for k in range(4)]
    weight = torch.stack([torch.stack([getattr(gate, f"from{j + 1}").weight for j in range(4)]) for gate in gates])
    bias = torch.stack([gate.from1.bias for gate in gates])
    shuffled = apart.mean((1, 2)).transpose(1, 2)
    gate = torch.sigmoid(torch.einsum("bdj,kjd->bkd", shuffled, weight) + bias)
    total = (apart * gate[:, None, None]).sum(3)
    return dense(block.out_proj, normed(block.norm, total) * silu(z))


def heads(block: Any, x: Tensor) -> Tensor:
    names = [name for name in "cxsz" if hasattr(block, f"head_{name}")]
    parts = zip(names, dense(block.enter, x).chunk(len(names), -1), strict=True)
    made = [slow(getattr(block, f"head_{name}"), ("mhs_vm", f"mhs_vm_{name}"), part) for name, part in parts]
    return dense(block.leave, normed(block.norm, torch.cat(made, -1)))


def mamba(block: Any, x: Tensor, core: Any = None) -> Tensor:
    """A plain Mamba along the raster, without norm and residual."""
    u, z = dense(block.in_proj, x).chunk(2, -1)
    core = block.core if core is None else core
    return dense(block.out_proj, slow(core, ("mambahsi_spatial", "mambahsi_spatial"), u, z))


def layer_pair(block: Any, x: Tensor) -> Tensor:
    """Vim's if_bidirectional: the second layer on the sequence reversed; hidden states and residuals are added apart."""
    hidden, residual = torch.zeros_like(x), torch.zeros_like(x)
    for layer, turn in ((block.ahead, as_it_is), (block.back, reversed_sequence)):
        given = turn(x)
        scale = (given.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
        hidden = hidden + turn(mamba(layer.mixer, given * scale * layer.norm.weight, layer.mixer.scan))
        residual = residual + turn(given)
    return hidden + residual


def as_it_is(x: Tensor) -> Tensor:
    return x


def reversed_sequence(x: Tensor) -> Tensor:
    return x.flatten(1, 2).flip(1).reshape(x.shape)


def point_mamba(block: Any, x: Tensor) -> Tensor:
    return x + mamba(block, normed(block.norm, x))


def rsmamba_gate(block: Any, y: Tensor, z: Tensor) -> Tensor:
    made = [linear(one * silu(z), block.out_proj.weight) for one in y.chunk(3, -1)]
    gate = linear(torch.cat([one.mean((1, 2)) for one in made], -1), block.gate.weight).softmax(-1)
    return torch.stack([gate[:, k, None, None, None] * one for k, one in enumerate(made)]).sum(0)


def spatial_hsi(block: Any, x: Tensor) -> Tensor:
    y = mamba(block, x).unflatten(-1, (2, -1))
    y = (y - y.mean((1, 2, 4), keepdim=True)) / (y.var((1, 2, 4), correction=0, keepdim=True) + 1e-5).sqrt()
    return x + silu(y.flatten(-2) * block.norm.weight + block.norm.bias)


def spectral_hsi(block: Any, x: Tensor) -> Tensor:
    """Every pixel an image of its own, of one line of groups."""
    pixels = x.flatten(0, 2).unsqueeze(1)
    return mamba(block, pixels).reshape(x.shape)


def lfss(block: Any, x: Tensor) -> Tensor:
    u, z = dense(block.in_proj, normed(block.norm1, x, 1e-6)).chunk(2, -1)
    y = normed(block.norm, slow(block.core, ("vmamba", "cross2d"), silu(conv(block.conv, u)))) * silu(z)
    x = x * block.scale1.weight + dense(block.out_proj, y)
    a, b = conv(block.conv2, dense(block.conv1, normed(block.norm2, x))).chunk(2, -1)
    return x * block.scale2.weight + dense(block.conv3, gelu(a) * b)


def wave_mamba(block: Any, x: Tensor) -> Tensor:
    """The published transform and its inverse, cell by cell of a window."""
    a, b, c, d = x[:, ::2, ::2], x[:, 1::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2]
    hl, lh, hh = (c + d - a - b) / 2, (b + d - a - c) / 2, (a + d - b - c) / 2
    ll = lfss(block.layer, (a + b + c + d) / 2)
    made = torch.zeros_like(x)
    made[:, ::2, ::2], made[:, 1::2, ::2] = (ll - hl - lh + hh) / 2, (ll - hl + lh - hh) / 2
    made[:, ::2, 1::2], made[:, 1::2, 1::2] = (ll + hl - lh - hh) / 2, (ll + hl + lh + hh) / 2
    return made


def msvmamba(block: Any, x: Tensor) -> Tensor:
    u, z = dense(block.in_proj, x).chunk(2, -1)
    full = slow(block.full, ("msvmamba", "msvmamba_full"), silu(conv(block.conv, u)))
    low = slow(block.lower, ("msvmamba", "msvmamba_half"), silu(conv(block.conv_half, u, 2)))
    low = bilinear(normed(block.norm, low), x.shape[1:3])
    return dense(block.out_proj, (normed(block.norm, full) + low) * silu(z))


def tinyvim(block: Any, x: Tensor, factor: int) -> Tensor:
    low, high = x[..., :3], x[..., 3:]
    rows, columns = (-(-length // factor) for length in x.shape[1:3])
    means = [
        [low[:, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].mean((1, 2)) for j in range(columns)]
        for i in range(rows)
    ]
    small = torch.stack([torch.stack(row, 1) for row in means], 1)
    made = bilinear(normed(block.norm, slow(block.core, ("tinyvim", "tinyvim"), small)), x.shape[1:3])
    rest = low - bilinear(small, x.shape[1:3], "nearest")
    local = block.local
    branch = over_batch(local.norm, conv(local.conv, high)) + high * local.point.weight[:, 0, 0, 0] + local.point.bias
    return torch.cat((made + rest, over_batch(local.out, branch + high)), -1)


def over_batch(layer: Any, x: Tensor) -> Tensor:
    return batch_norm(x.movedim(-1, 1), None, None, layer.weight, layer.bias, training=True).movedim(1, -1)


SS2D = {"ratio": 1, "state": 2, "core": "cross2d", "local": "conv_silu", "out_norm": "layer_norm"}
CASES = (
    Case("backbones.vmamba", "cascade_ss2d", cascade, {"dim": 4, **SS2D}, ((3, 5, 4),)),
    Case("backbones.vim", "layer_pair", layer_pair, {"dim": 3, "depth": 2, "drop": 0, "state": 2}, ((3, 5, 3),)),
    Case("std.groupmamba", "groupmamba_layer", group_mamba, {"dim": 8, "reduction": 4}, ((5, 3, 8),)),
    Case("std.mambavision", "mambavision_mixer", mamba_vision, {"dim": 6, "state": 2}, ((5, 3, 6),)),
    Case("std.vmambair_spatial", "vmambair_spatial", vmambair, {"dim": 3, "state": 2}, ((5, 3, 3),)),
    Case("std.evssm", "evssm_operands", evssm_operands, {"dim": 3, "state": 2}, ((5, 3, 3),)),
    Case("std.mair", "mair_mixer", mair, {"dim": 3, "state": 2}, ((3, 5, 3),)),
    Case("std.mhs_vm", "mhs_vm_heads", heads, {"dim": 8, "state": 2}, ((3, 4, 8),)),
    Case("std.mhs_vm", "mhs_vm_three_heads", heads, {"dim": 7, "state": 2}, ((3, 4, 7),)),
    Case("std.fractal", "pointmamba_layer", point_mamba, {"dim": 3, "state": 2}, ((2, 7, 3),)),
    Case("std.rsmamba", "rsmamba_gate", rsmamba_gate, {"dim": 3, "inner": 4}, ((5, 3, 12), (5, 3, 4))),
    Case("std.mambahsi_spatial", "mambahsi_spatial_layer", spatial_hsi, {"dim": 4, "groups": 2, "state": 2}, ((5, 3, 4),)),
    Case("std.mambahsi_spectral", "mambahsi_spectral_mixer", spectral_hsi, {"dim": 3, "state": 2}, ((3, 2, 5, 3),)),
    Case("std.wavemamba", "wavemamba_layer", lfss, {"dim": 4, "state": 2}, ((5, 3, 4),)),
    Case("std.wavemamba", "wavemamba_bands", wave_mamba, {"dim": 3, "state": 2}, ((6, 10, 3),)),
    Case("std.msvmamba", "msvmamba_mixer", msvmamba, {"dim": 3}, ((5, 8, 3),)),
    Case("std.msvmamba", "msvmamba_mixer", msvmamba, {"dim": 3}, ((7, 3, 3),)),
    Case("std.tinyvim", "tinyvim_laplace", tinyvim, {"dim": 5, "low": 3, "factor": 2}, ((4, 6, 5),), {"factor": 2}),
    Case("std.tinyvim", "tinyvim_laplace", tinyvim, {"dim": 5, "low": 3, "factor": 4}, ((5, 7, 5),), {"factor": 4}),
)


LONG = {"cascade_ss2d", "layer_pair", "mhs_vm_heads", "mhs_vm_three_heads"}
"""Whose kernels take seconds to build."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=f"{case.block}-{'x'.join(map(str, case.shapes[0]))}",
            marks=[pytest.mark.long] if case.block in LONG else [],
        )
        for case in CASES
    ],
)
def test_a_block_is_what_the_design_says(case: Case) -> None:
    block = randomised(scanlang.Block(case.program, case.block, **case.given))
    inputs = tuple(chosen(shape, 3 + number) for number, shape in enumerate(case.shapes))
    compare(block, block(*inputs), case.by_hand(block, *inputs, **case.options), inputs)


def test_every_block_of_the_library_is_compared() -> None:
    """But for the layer of EVSSM, below, and those that others here are made of."""
    texts = (library_source(name).text for name in library())
    blocks = {name for text in texts for name in re.findall(r"^block (\w+)", text, re.MULTILINE)}
    assert blocks <= {case.block for case in CASES} | {"evssm_mixer", "mair_gate", "tinyvim_local"}


def test_layers_of_evssm_move_the_scan_where_the_release_moves_the_map() -> None:
    text = "import std.evssm grid h, w block four(dim) { layers = evssm_mixer(dim, state = 2) * 4 forward x = layers(x) }"
    block = randomised(scanlang.Block(scanlang.loads(text), "four", dim=3))
    x = chosen((3, 5, 3), 3)
    compare(block, block(x), evssm(block, x), (x,))


def test_evssm_with_the_convolution_of_the_release() -> None:
    """low, B and C are convolved along the sequence in which they are scanned."""
    operands = randomised(scanlang.Block("std.evssm", "evssm_operands", dim=3, state=2, rank=1))
    core = randomised(scanlang.Scan2d("std.evssm", "evssm_released", 3, state=2, rank=1))
    both = nn.ModuleList((operands, core))
    x = chosen((5, 3, 3), 3)

    def split(made: Tensor) -> dict[str, Tensor]:
        return dict(zip(("low", "B", "C"), made.unsqueeze(-2).split((1, 2, 2), -1), strict=True))

    ours = core(x, **split(operands(x)))
    theirs = slow(core, ("evssm", "evssm_released"), x, **split(evssm_operands(operands, x)))
    compare(both, ours, theirs, (x,))


def test_rsmamba_with_its_gates() -> None:
    """The scan, called with a permutation, in front of the block: as each of the three sequences alone and their gates."""
    core = randomised(scanlang.Scan2d("std.rsmamba", "rsmamba_apart", 4, state=2, rank=1))
    gate = randomised(scanlang.Block("std.rsmamba", "rsmamba_gate", dim=3, inner=4))
    u, z = chosen((5, 3, 4), 3), chosen((5, 3, 4), 4)
    order = torch.stack([torch.randperm(15, generator=torch.Generator().manual_seed(5)) for _ in range(2)])
    ours = gate(core(u, shuffled=order), z)
    theirs = rsmamba_gate(gate, slow(core, ("rsmamba", "rsmamba_apart"), u, shuffled=order), z)
    compare(nn.ModuleList((core, gate)), ours, theirs, (u, z))


def test_vmambair_with_its_channels() -> None:
    """Both halves: the means of the channels as a sequence, scanned both ways, normed and put on the map."""
    spatial = randomised(scanlang.Block("std.vmambair_spatial", "vmambair_spatial", dim=3, state=2))
    channels = randomised(scanlang.Scan2d("std.vmambair", "vmambair_channels", 1, state=2, rank=1))
    x = chosen((5, 3, 3), 3)
    y = spatial(x)
    ours = y * (1 + channels(y.mean((1, 2)).unsqueeze(-1)).transpose(1, 2).unsqueeze(1))
    z = vmambair(spatial, x)
    sequence = z.flatten(1, 2).mean(1)[..., None]
    theirs = z + z * slow(channels, ("vmambair", "vmambair_channels"), sequence)[:, None, None, :, 0]
    compare(nn.ModuleList((spatial, channels)), ours, theirs, (x,))


def test_pointmamba_with_a_scale_for_each_order() -> None:
    """Points along one curve, then along another one, each with a scale of its own: two layers of one sequence."""
    layers = [randomised(scanlang.Block("std.fractal", "pointmamba_layer", dim=3, state=2)) for _ in range(2)]
    points = chosen((8, 3), 3)
    scales = [(chosen((3,), 10 + k)[0].detach(), chosen((3,), 20 + k)[0].detach()) for k in range(2)]
    curves = [torch.tensor(walks.hilbert(lines).steps) for lines in (cells(2, 4), cells(2, 4).T)]

    def rows() -> list[Tensor]:
        return [points[:, curve] * gamma + beta for curve, (gamma, beta) in zip(curves, scales, strict=True)]

    ours, theirs = torch.stack(rows(), 1), torch.cat(rows(), 1).unsqueeze(1)
    for layer in layers:
        ours, theirs = layer(ours), point_mamba(layer, theirs)
    compare(nn.ModuleList(layers), ours.flatten(1, 2), theirs.flatten(1, 2), (points,))
