"""Channels, grids and tokens followed through a network: what every call is given, and what does not fit.

The findings one by one are `errors/S33*` and `errors/S34*`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch.nn import functional

import scanlang
from scanlang.backbones.feature import Feature, feature_of_image
from scanlang.backbones.layers import call_layer
from scanlang.backbones.modules import PositionEmbedding
from scanlang.backbones.parts import make
from scanlang.check import network_numbers
from scanlang.diagnostics import ScanError
from scanlang.limits import LIMITS
from scanlang.networks import widths
from scanlang.networks.extents import IMAGE, Enlarged, Extent, Windows, agree, may_agree
from scanlang.networks.instantiate import instantiate, instantiate_block
from scanlang.networks.network import Network
from scanlang.networks.trace import FeatureInfo, Trace
from scanlang.networks.values import Map, Vector
from scanlang.networks.widths import check_network, features, num_features, trace, trace_block

TEXT = """\
import std.selective

grid h, w

order middle = insert(raster, cls at middle)

scan cross2d(dim) {
  directions raster, columns, reverse(raster), reverse(columns)
  recur      selective(state = 1, rank = 2)
  project    low, B, C from x
}

scan vim_v2(dim) {
  input      x, z
  directions middle, reverse(middle)
  conv       4
  recur      selective(state = 4, rank = 2)
  project    low, B, C from x
  merge      (y[0] + y[1]) * silu(z) / 2
}

block ss2d(dim, scan core = cross2d) {
  inner    = 2 * dim
  in_proj  = linear(dim, 2 * inner)
  conv     = depthwise_conv2d(inner, 3)
  op       = core(inner)
  out_proj = linear(inner, dim)
  forward x = let u, z = split(in_proj(x), 2) in out_proj(op(silu(conv(u))) * silu(z))
}

block vss(dim, scan core = cross2d) {
  norm = layer_norm(dim)
  mix  = ss2d(dim, core)
  ffn  = mlp(dim)
  forward x = let y = x + mix(norm(x)) in y + ffn(y)
}

block squeeze(dim) {
  down = linear(dim, ceil(dim / 4))
  up   = linear(ceil(dim / 4), dim)
  forward x = x * sigmoid(up(relu(down(mean(cells: x)))))
}

block mean_pool() { forward x = mean(cells: x) }

backbone pyramid(in_chans = 3, num_classes = 10, dim = 8) {
  stem           = conv2d(in_chans, dim, 3, stride = 2)
  feature stage1 = vss(dim) * 2
  down           = space_to_depth(2)
  feature stage2 = squeeze(4 * dim)
  norm           = layer_norm(4 * dim)
  pool           = mean_pool()
  head           = linear(4 * dim, num_classes)
}

block both_ways(dim, scan core = vim_v2) {
  in_proj  = linear(dim, 2 * dim)
  op       = core(dim)
  out_proj = linear(dim, dim)
  forward x = let u, z = split(in_proj(x), 2) in x + out_proj(op(u, z))
}

block read_out() { forward x = token(x, cls) }

backbone columnar(dim = 16) {
  patches         = conv2d(3, dim, 16, stride = 8, padding = 0)
  cls             = token(dim)
  position        = position_embedding(dim, 14, 14)
  features layers = both_ways(dim) * 3
  pool            = read_out()
}

block unet(dim) {
  pool  = max_pool(2)
  inner = depthwise_conv2d(dim, 5)
  bring = linear(2 * dim, dim)
  forward x = bring(concat(x, resize(inner(pool(x)), x)))
}

block odd(dim) {
  pool = avg_pool(2)
  up   = upsample(2)
  forward x = x + up(pool(x))
}

backbone with_odd(dim = 4) { stem = linear(3, dim)  odd = odd(dim) }
"""


@pytest.fixture(scope="module")
def program() -> scanlang.Program:
    return scanlang.loads(TEXT)


def network(program: scanlang.Program, name: str, **given: int) -> Network:
    return instantiate(program.backbones[name], program.axes, given)


def outputs(traced: Trace) -> dict[str, object]:
    return {section.name: section.output for section in traced.sections}


HALF, QUARTER = IMAGE.then(Windows(3, 2, 1)), IMAGE.then(Windows(3, 2, 1)).then(Windows(2, 2, ragged=True))


def test_every_link_of_a_chain(program: scanlang.Program) -> None:
    assert outputs(trace(network(program, "pyramid"))) == {
        "stem": Map(8, HALF),
        "stage1": Map(8, HALF),
        "down": Map(32, QUARTER),
        "stage2": Map(32, QUARTER),
        "norm": Map(32, QUARTER),
        "pool": Vector(32),
        "head": Vector(10),
    }


def test_every_call_with_its_path(program: scanlang.Program) -> None:
    traced = trace(network(program, "pyramid"), grid=(30, 21))
    calls: Mapping[str, tuple[object, ...]] = {call.path: (*call.inputs, call.output) for call in traced.calls}
    mixer = [f"stage1.0.mix.{name}" for name in ("in_proj", "conv", "op", "out_proj")]
    assert [path for path in calls if path.startswith("stage1.0.mix")] == mixer
    assert calls["stage1.1.mix.in_proj"] == (Map(8, HALF), Map(32, HALF))
    assert calls["stage1.1.mix.op"] == (Map(16, HALF), Map(16, HALF))
    assert calls["stage2.down"] == (Vector(32), Vector(8))
    assert Map(8, HALF).grid((30, 21)) == (15, 11)
    assert Map(8, QUARTER).grid((30, 21)) == (8, 6)
    assert [call.callee for call in traced.calls_of("stage2")] == ["mean"]


def test_features_and_their_channels(program: scanlang.Program) -> None:
    pyramid, columnar = network(program, "pyramid", dim=16), network(program, "columnar")
    assert features(pyramid) == (FeatureInfo("stage1", 16, Fraction(2)), FeatureInfo("stage2", 64, Fraction(4)))
    assert features(columnar) == tuple(FeatureInfo(f"layers.{k}", 16, Fraction(8)) for k in range(3))
    assert num_features(pyramid) == 64
    assert num_features(columnar) == 16


def test_tokens_go_along(program: scanlang.Program) -> None:
    found = outputs(trace(network(program, "columnar"), grid=(224, 224)))
    assert found["layers"] == Map(16, Extent((Windows(16, 8),)), (("cls", 1),))
    assert Map(16, Extent((Windows(16, 8),)), (("cls", 1),)).rows((224, 224)) == 27 * 27 + 1
    assert found["pool"] == Vector(16)


def test_other_channels_of_images_are_a_finding(program: scanlang.Program) -> None:
    grey = network(program, "pyramid", in_chans=1)
    trace(grey)
    with pytest.raises(ScanError, match="`stem` takes 1 channel and is given 3") as caught:
        trace(grey, in_chans=3)
    assert [finding.code for finding in caught.value.diagnostics] == ["S330"]


def test_a_grid_of_numbers_says_more_than_factors(program: scanlang.Program) -> None:
    odd = network(program, "with_odd")
    check_network(odd)
    trace(odd, grid=(16, 32))
    with pytest.raises(ScanError, match="maps of 16 × 31 and 16 × 32 cells meet"):
        trace(odd, grid=(16, 31))


def test_a_place_is_said_once_and_all_places_are() -> None:
    text = """
    block wrong(dim) { fc = linear(dim, 2 * dim)  forward x = x + fc(x) }
    backbone b(dim = 4) { stem = linear(3, dim)  stage = wrong(dim) * 3  norm = layer_norm(dim) }
    backbone c(dim = 4) { stem = linear(3, dim)  small = avg_pool(2)  norm = layer_norm(2 * dim) }
    """
    with pytest.raises(ScanError) as caught:
        scanlang.loads(text)
    assert sorted(finding.code for finding in caught.value.diagnostics) == ["S330", "S333"]
    (sums,) = (finding for finding in caught.value.diagnostics if finding.code == "S333")
    assert "in `stage.0`" in sums.label


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a block is repeated, however much it calls, and however many backbones do so."""
    for module in (widths, network_numbers):
        monkeypatch.setattr(module, "LIMITS", replace(LIMITS, network_calls=100, file_calls=120))
    block = "block b(dim) { l = layer_norm(dim) forward x = l(l(l(l(x)))) } "
    network = "backbone n{}(dim = 8) {{ stem = conv2d(3, dim, 3) s = b(dim) * 10 {} }} "
    assert scanlang.loads(block + network.format(0, "t = b(dim) * 10"))
    for text in (network.format(0, "t = b(dim) * 11"), "".join(network.format(number, "") for number in range(3))):
        with pytest.raises(ScanError) as caught:
            scanlang.loads(block + text)
        (finding,) = caught.value.diagnostics
        assert (finding.code, finding.title[:32]) == ("S106", "too many calls and operations in")


def test_a_block_alone(program: scanlang.Program) -> None:
    block = instantiate_block(program.blocks["unet"], {"dim": 6})
    output, calls = trace_block(block, (Map(6),), program.axes, (11, 7))
    assert output == Map(6)
    assert {call.path: call.output.grid((11, 7)) for call in calls if isinstance(call.output, Map)} == {
        "pool": (6, 4),
        "inner": (6, 4),
        "bring": (11, 7),
        "": (11, 7),
    }
    with pytest.raises(ScanError, match="`inner` takes 6 channels and is given 2"):
        trace_block(block, (Map(2),), program.axes)


def test_tokens_that_depend_on_the_grid_are_counted_on_one() -> None:
    text = """
    import std.selective
    grid h, w
    order o = insert(raster, reg at every 16)
    scan s(dim) { directions o, reverse(o)  recur selective(state = 1, rank = 2)  project low, B, C from x }
    block mix(dim) { op = s(dim)  forward x = op(x) }
    backbone b(dim = 4) { stem = linear(3, dim)  reg = token(dim, 3)  mix = mix(dim) }
    """
    program = scanlang.loads(text)
    registers = network(program, "b")
    trace(registers, grid=(6, 8))
    with pytest.raises(ScanError, match="`op` scans 4 tokens `reg` and is given 3"):
        trace(registers, grid=(8, 8))


def test_side_by_side_merges_have_the_channels_of_all_directions() -> None:
    text = """
    import std.selective
    grid h, w
    scan s(dim) { directions raster, columns  recur selective(state = 1, rank = 2)  project low, B, C from x  merge concat }
    block mix(dim) { op = s(dim)  fc = linear(2 * dim, dim)  forward x = fc(op(x)) }
    backbone b(dim = 4) { stem = linear(3, dim)  mix = mix(dim) }
    """
    program = scanlang.loads(text)
    (call,) = trace(network(program, "b")).calls_of("mix.op")
    assert call.output == Map(8)


# What is said of a network is what its modules do.

BLOCKS = """\
block squeeze(dim) {
  down = linear(dim, ceil(dim / 2))
  up   = linear(ceil(dim / 2), dim)
  forward x = x * sigmoid(up(relu(down(mean(cells: x)))))
}
block means() { forward x = mean(cells: x) }
block halves(dim) {
  fc = linear(dim, 3 * dim)
  forward x = let a, b = split(fc(x), dim, 2 * dim) in concat(a, max(b, 0))
}
block unet(dim) {
  pool = max_pool(2)
  conv = depthwise_conv2d(dim, 3)
  forward x = cells(x) + resize(conv(pool(cells(x))), cells(x)) / 2
}
"""


@st.composite
def chains(draw: st.DrawFn) -> str:
    """The layers of a backbone, most of which fit."""
    small, channels, lines = st.integers(1, 4), 3, []
    for number in range(draw(st.integers(1, 6))):
        given = channels if draw(st.integers(0, 15)) else channels + 1
        a, b, c = draw(small), draw(small), draw(small)
        text, channels = draw(
            st.sampled_from(
                (
                    (f"linear({given}, {a})", a),
                    (f"conv2d({given}, {a}, {b}, stride = {c})", a),
                    (f"conv2d({given}, {a * given}, {b}, padding = {c}, groups = {given}, bias = false)", a * given),
                    (f"depthwise_conv2d({given}, {a}, stride = {b})", given),
                    (f"depthwise_conv1d({given}, {a})", given),
                    (f"layer_norm({given})", given),
                    (f"rms_norm({given}) * {a}", given),
                    (f"batch_norm({given})", given),
                    (f"mlp({given}, {a})", given),
                    (f"scale({given}, bias = true)", given),
                    ("scale(1)", channels),
                    (f"group_norm({given}, {a})", given),
                    ("haar()", 4 * channels),
                    ("inverse_haar()", max(channels // 4, 1)),
                    (f"token({given}, {a})", given),
                    (f"position_embedding({given}, {a}, {b})", given),
                    (f"avg_pool({a}, stride = {b})", channels),
                    (f"max_pool({a})", channels),
                    (f"upsample({a})", channels),
                    (f"space_to_depth({a})", channels * a * a),
                    (f"depth_to_space({a})", max(channels // (a * a), 1)),
                    (f"squeeze({given})", given),
                    (f"halves({given})", 3 * given),
                    (f"unet({given})", given),
                    ("means()", channels),
                )
            )
        )
        lines.append(f"l{number} = {text}")
    return "\n".join(lines)


@settings(deadline=None)
@given(chain=chains(), image=st.tuples(st.integers(1, 13), st.integers(1, 13)))
def test_modules_make_what_is_said(chain: str, image: tuple[int, int]) -> None:
    codes: set[str] = set()
    try:
        loaded = scanlang.loads(f"{BLOCKS}backbone b() {{\n{chain}\n}}")
        built = network(loaded, "b")
        traced = trace(built, grid=image)
    except ScanError as error:
        codes = {finding.code for finding in error.diagnostics}
    if codes:
        event(f"does not fit: {', '.join(sorted(codes))}")
        assert {code[:3] for code in codes} <= {"S33", "S34"}
        return
    event("fits")
    value: Feature | torch.Tensor | float = feature_of_image(torch.zeros(2, 3, *image))
    for section, said in zip(built.sections, traced.sections, strict=True):
        made = make(section.part, section.name, built.axes)
        if isinstance(made.module, PositionEmbedding) and isinstance(value, Feature):
            made.module.learn(value.tokens)
        value = call_layer(made.how, made.module.eval(), value)
        assert isinstance(said.output, Map | Vector)
        if isinstance(value, Feature):
            assert isinstance(said.output, Map)
            assert (value.grid, value.tokens) == (said.output.grid(image), said.output.tokens)
            assert value.rows.shape == (2, said.output.rows(image), said.output.channels)
        else:
            assert isinstance(value, torch.Tensor)
            assert (value.shape, said.output) == ((2, value.shape[1]), Vector(value.shape[1]))


sizes = st.integers(1, 7)


@given(length=st.integers(1, 40), kernel=sizes, stride=sizes, padding=st.integers(0, 3))
def test_windows_are_those_of_torch(length: int, kernel: int, stride: int, padding: int) -> None:
    row = torch.zeros(1, 1, length)
    windows = Windows(kernel, stride, padding)
    if length + 2 * padding < kernel:
        assert windows.at(length) == 0
    else:
        assert windows.at(length) == functional.conv1d(row, torch.zeros(1, 1, kernel), stride=stride, padding=padding).shape[-1]
    pooled = functional.max_pool1d(row, min(kernel, length), stride, ceil_mode=True)
    assert Windows(kernel, stride, ragged=True).at(length) == pooled.shape[-1]


@given(changes=st.lists(st.builds(Windows, sizes, sizes, st.integers(0, 3)) | st.builds(Enlarged, sizes), max_size=4))
def test_extents_of_the_same_length_agree(changes: list[Windows | Enlarged]) -> None:
    extent = IMAGE
    for change in changes:
        extent = extent.then(change)
    assert Extent(tuple(changes)).at(64) == extent.at(64)
    assert Extent(tuple(changes)).reduction == extent.reduction
    assert agree(extent, Extent(tuple(changes)), (64, 48))
    assert may_agree(extent, extent.then(Windows(3, 1, 1)))
    assert not may_agree(extent, extent.then(Windows(2, 2)))
