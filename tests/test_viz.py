"""Receptive fields and influence maps: what is known beforehand about whom a cell hears, and pictures of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import scanlang
from scanlang import viz
from scanlang.backbones.one_direction import one_direction
from scanlang.diagnostics import ScanError

PROGRAM = """
import std.selective
grid h, w

order middle = insert(raster, cls at middle)

scan there(dim) {
  directions raster
  recur      selective(state = 2, rank = 1)
  project    low, B, C from x
}

scan both(dim) {
  directions raster, reverse(raster)
  recur      selective(state = 2, rank = 1)
  project    low, B, C from x
  share      A_log, project
}

scan gated(dim) {
  input      x, z
  directions middle, reverse(middle)
  conv       3
  recur      selective(state = 2, rank = 1)
  project    low, B, C from x
  merge      (y[0] + y[1]) * silu(z)
}

scan parts(dim) {
  directions raster, reverse(raster)
  channels   split
  recur      selective(state = 2, rank = 1)
  project    low, B, C from x
}

block two_convolutions(in_chans, dim) {
  first  = conv2d(in_chans, dim, 3)
  second = conv2d(dim, dim, 3)
  forward x = second(first(x))
}

backbone net(in_chans = 2, dim = 4, scan core = both) {
  feature stem = conv2d(in_chans, dim, 3)
  feature next = two_convolutions(dim, dim)
  last         = core(dim)
}
"""
H, W, C = 3, 4, 4


@pytest.fixture(scope="module")
def program() -> scanlang.Program:
    return scanlang.loads(PROGRAM)


def core(program: scanlang.Program, name: str) -> scanlang.Scan2d:
    torch.manual_seed(0)
    return scanlang.Scan2d(program, name, C)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def reached(height: int, width: int, rows: range, columns: range) -> Tensor:
    field = torch.zeros(height, width, dtype=torch.bool)
    field[rows.start : rows.stop, columns.start : columns.stop] = True
    return field


def positive(model: nn.Module) -> nn.Module:
    """No gradient of a convolution is cut off then."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()
    return model


# Receptive fields.


@pytest.mark.parametrize("size", [(9, 12), (8, 8), (1, 5)])
def test_one_convolution_sees_three_by_three(size: tuple[int, int]) -> None:
    field = viz.erf(positive(nn.Conv2d(2, 3, 3, padding=1)), drawn(4, 2, *size).abs())
    row, column = size[0] // 2, size[1] // 2
    assert torch.equal(field > 0, reached(*size, range(max(0, row - 1), row + 2), range(column - 1, column + 2)))
    assert field.max() == 1


def test_field_of_a_feature_map_and_a_cell(program: scanlang.Program) -> None:
    model, images = positive(scanlang.Backbone(program, "net")), drawn(4, 2, 9, 11).abs()
    assert torch.equal(viz.erf(model, images, feature=0) > 0, reached(9, 11, range(3, 6), range(4, 7)))
    assert torch.equal(viz.erf(model, images, cell=(0, 10)) > 0, reached(9, 11, range(4), range(7, 11)))
    assert torch.equal(viz.erf(model, images, feature=-1), viz.erf(model, images, feature=1))


def test_field_is_the_published_measure() -> None:
    torch.manual_seed(0)
    model, images = nn.Conv2d(2, 3, 3, padding=1), drawn(3, 2, 5, 4)
    total = torch.zeros(5, 4)
    for image in images:
        pixels = image[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[:, :, 2, 2].relu().sum(), pixels)
        total += gradient.relu().sum((0, 1)) / 3
    torch.testing.assert_close(viz.erf(model, images), total**0.2 / (total**0.2).max())


def test_batches_are_as_good_as_one(program: scanlang.Program) -> None:
    model, images = scanlang.Backbone(program, "net"), drawn(5, 2, 6, 7)
    torch.testing.assert_close(viz.erf(model, images.split(2)), viz.erf(model, images))


def test_lists_of_maps_are_counted_as_features() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x, x.roll(1, -1)]

    field = viz.erf(Two(), drawn(2, 1, 5, 5).abs())
    assert field.nonzero().tolist() == [[2, 1]]
    assert viz.erf(Two(), drawn(2, 1, 5, 5).abs(), feature=0).nonzero().tolist() == [[2, 2]]


def test_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[2].eval()
    with torch.no_grad():
        first, second = (viz.erf(model, drawn(3, 1, 6, 6)) for _ in range(2))
    assert torch.equal(first, second)
    assert [module.training for module in model.modules()] == [True, True, True, False]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model[1].num_batches_tracked == 0


# Influence.


def test_raster_hears_what_comes_before_and_reverse_what_comes_after(program: scanlang.Program) -> None:
    scan, x = core(program, "both"), drawn(2, H, W, C)
    before = torch.arange(H * W).reshape(H, W) <= 1 * W + 2
    after = torch.arange(H * W).reshape(H, W) >= 1 * W + 2
    there, back = (viz.influence(scan, x, (1, 2), direction=number).map for number in (0, 1))
    assert torch.equal(there > 0, before)
    assert torch.equal(back > 0, after)
    assert bool((viz.influence(scan, x, (1, 2)).map > 0).all())


def test_merged_is_the_sum_where_directions_do_not_meet(program: scanlang.Program) -> None:
    scan, x = core(program, "both"), drawn(1, H, W, C)
    merged = viz.influence(scan, x, (1, 2)).map
    apart = sum(viz.influence(scan, x, (1, 2), direction=number).map for number in (0, 1))
    assert isinstance(apart, Tensor)
    elsewhere = torch.arange(H * W).reshape(H, W) != 1 * W + 2
    torch.testing.assert_close(merged[elsewhere], apart[elsewhere])
    assert merged[1, 2] <= apart[1, 2] * (1 + 1e-6)


def test_influence_is_the_jacobian(program: scanlang.Program, monkeypatch: pytest.MonkeyPatch) -> None:
    scan, x = core(program, "there").double(), drawn(2, H, W, C).double()
    whole = torch.autograd.functional.jacobian(lambda u: scan(u)[:, 2, 1], x)
    wanted = sum(whole[number, :, number].abs().sum((0, -1)) for number in range(2)) / 2
    for most in (1 << 24, 3 * H * W * C):
        monkeypatch.setattr("scanlang.backbones.influence.MOST_ELEMENTS", most)
        torch.testing.assert_close(viz.influence(scan, x, (2, 1)).map, wanted.float())


def test_gradients_sum_to_what_the_query_changes(program: scanlang.Program) -> None:
    """The scan of the image turned round is the scan in reverse, so what is heard is the same, turned round."""
    scan, x = core(program, "both"), drawn(1, H, W, C)
    with torch.no_grad():
        for name, value in scan.named_parameters():
            if value.shape[0] == 2 and name not in scan.scan.shared:
                value.copy_(value[:1].expand_as(value))
    there = viz.influence(scan, x, (1, 2), direction=0)
    back = viz.influence(scan, x.flip(1, 2), (H - 1 - 1, W - 1 - 2), direction=1)
    torch.testing.assert_close(there.map, back.map.flip(0, 1))
    assert there.total == pytest.approx(back.total)


def test_tokens_are_heard_and_hear(program: scanlang.Program) -> None:
    scan, x, z = core(program, "gated"), drawn(1, H, W, C), drawn(1, H, W, C)
    tokens = {"cls": drawn(1, 1, C), "z_cls": drawn(1, 1, C)}
    before = torch.arange(H * W).reshape(H, W) < H * W // 2
    there = viz.influence(scan, (x, z), "cls", direction=0, **tokens)
    assert torch.equal(there.map > 0, before)
    assert float(there.tokens["cls"]) > 0
    cell = viz.influence(scan, (x, z), (0, 0), direction=0, **tokens)
    assert cell.map.nonzero().tolist() == [[0, 0]]
    assert float(cell.tokens["cls"]) == 0
    merged = viz.influence(scan, (x, z), ("cls", 0), **tokens)
    assert bool((merged.map > 0).all())
    assert merged.total == pytest.approx(float(merged.map.sum() + merged.tokens["cls"].sum()))


def test_split_channels_are_directions_of_their_own(program: scanlang.Program) -> None:
    scan, x = core(program, "parts"), drawn(1, H, W, C)
    maps = [viz.influence(scan, x, (1, 2), direction=number).map for number in (0, 1)]
    assert torch.equal(maps[0] > 0, torch.arange(H * W).reshape(H, W) <= W + 2)
    torch.testing.assert_close(viz.influence(scan, x, (1, 2)).map, maps[0] + maps[1])


def test_one_direction_has_the_weights_of_the_scan(program: scanlang.Program) -> None:
    scan, x = core(program, "both"), drawn(2, H, W, C)
    state = torch.random.get_rng_state()
    parts = [one_direction(scan, number) for number in (0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(parts[0](x) + parts[1](x), scan(x))


@pytest.mark.parametrize("name", ["both", "gated"])
def test_scan_inside_a_model(program: scanlang.Program, name: str) -> None:
    torch.manual_seed(0)
    scan = core(program, name)

    class Around(nn.Module):
        """Calls the scan as any module."""

        def __init__(self) -> None:
            super().__init__()
            self.core = scan

        def forward(self, x: Tensor) -> object:
            tokens = {"cls": x[:, 0, :1], "z_cls": x[:, 1, :1]} if name == "gated" else {}
            return self.core(*([2 * x] * len(scan.scan.inputs)), **tokens)

    x = drawn(1, H, W, C)
    tokens = {"cls": x[:, 0, :1], "z_cls": x[:, 1, :1]} if name == "gated" else {}
    alone = viz.influence(scan, [2 * x] * len(scan.scan.inputs), (1, 1), **tokens)
    assert torch.equal(viz.influence(Around(), x, (1, 1)).map, alone.map)


def test_scan_inside_a_backbone(program: scanlang.Program) -> None:
    torch.manual_seed(0)
    model, images = scanlang.Backbone(program, "net"), drawn(2, 2, H, W)
    features = model.forward_intermediates(images, indices=[-1], output_fmt="NHWC", intermediates_only=True)
    scan = model.get_submodule("last")
    found = viz.influence(model, images, (1, 1), scan="last", direction=1)
    torch.testing.assert_close(found.map, viz.influence(scan, features[0], (1, 1), direction=1).map)
    assert "on_rows" not in vars(scan)
    assert not scan._forward_pre_hooks


# Pictures and mistakes.


def test_pictures(program: scanlang.Program, tmp_path: Path) -> None:
    scan, x = core(program, "gated"), drawn(1, H, W, C)
    tokens = {"cls": drawn(1, 1, C), "z_cls": drawn(1, 1, C)}
    viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 1, 6, 20), path=tmp_path / "erf.png")
    viz.influence(scan, (x, x), (1, 1), path=tmp_path / "cell.png", **tokens)
    viz.influence(scan, (x, x), "cls", direction=1, path=str(tmp_path / "token.png"), **tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.png", "erf.png", "token.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_without_matplotlib_there_are_numbers_and_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 1, 6, 6)).shape == (6, 6)
    with pytest.raises(ModuleNotFoundError, match=r"scanlang\[viz\]"):
        viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 1, 6, 6), path=tmp_path / "erf.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda program: viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 6, 6)),
        lambda program: viz.erf(nn.Conv2d(1, 2, 3), [1.0]),  # type: ignore[list-item]
        lambda program: viz.erf(nn.Conv2d(1, 2, 3), []),
        lambda program: viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 1, 6, 6), cell=(4, 0)),
        lambda program: viz.erf(nn.Conv2d(1, 2, 3), drawn(1, 1, 6, 6), cell=(1,)),  # type: ignore[arg-type]
        lambda program: viz.erf(nn.Flatten(), drawn(1, 1, 6, 6)),
        lambda program: viz.influence(core(program, "both"), drawn(1, H, W, C), (H, 0)),
        lambda program: viz.influence(core(program, "both"), drawn(1, H, W, C), (-1, 0)),
        lambda program: viz.influence(core(program, "both"), drawn(1, H, W, C), "cls"),
        lambda program: viz.influence(core(program, "both"), drawn(1, H, W, C), (0, 0), direction=2),
        lambda program: viz.influence(core(program, "both"), drawn(1, H, W, C), (0, 0), direction=True),
        lambda program: viz.influence(nn.Linear(2, 2), drawn(1, 2), (0, 0)),
        lambda program: viz.influence(scanlang.Backbone(program, "net"), drawn(1, 2, H, W), (0, 0), scan="first"),
    ],
)
def test_what_cannot_be_looked_at_is_said(program: scanlang.Program, wrong: Callable[[scanlang.Program], object]) -> None:
    with pytest.raises(ScanError) as caught:
        wrong(program)
    assert caught.value.diagnostics[0].code == "S540"
