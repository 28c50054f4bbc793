"""Published files of weights as they come: wrappers, old spellings, other layouts, other grids; and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pytest
import torch
from golden import golden_rules
from golden_checks import VMAMBA, program
from torch import Tensor
from torch.nn import functional

import scanlang
from scanlang.backbones.weights.convert import convert_weights, published_weights

SMALL: Mapping[str, Any] = {"dim": 16, "depth1": 1, "depth2": 1, "depth3": 1, "depth4": 1, "num_classes": 5}
SMALL_VIM: Mapping[str, Any] = {"dim": 16, "depth": 2, "num_classes": 5, "state": 2}


@cache
def network(name: str, **given: Any) -> scanlang.Backbone:
    family, small = ("vim", SMALL_VIM) if name.startswith("vim") else ("vmamba", SMALL)
    return scanlang.Backbone(program(f"backbones.{family}"), name, **{**small, **given})


def published(name: str, **given: Any) -> dict[str, Tensor]:
    return {one: torch.randn_like(weight) for one, weight in published_weights(network(name, **given)).items()}


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def check_same(model: scanlang.Backbone, file: Mapping[str, Any], usual: Mapping[str, Tensor]) -> None:
    found = convert_weights(file, model)
    assert same(found, convert_weights(usual, model))
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def codes(file: Mapping[str, Any], model: scanlang.Backbone) -> tuple[list[str], str]:
    with pytest.raises(scanlang.ScanError) as caught:
        convert_weights(file, model)
    return [finding.code for finding in caught.value.diagnostics], str(caught.value)


WRAPPED: Mapping[str, Callable[[dict[str, Tensor]], dict[str, Any]]] = {
    "model": lambda weights: {"model": weights, "epoch": 299},
    "both": lambda weights: {"model_ema": {"x": torch.zeros(1)}, "model": weights, "optimizer": {"state": {}}},
    "ema alone": lambda weights: {"model_ema": weights},
    "state_dict": lambda weights: {"state_dict": weights, "meta": {}},
    "twice": lambda weights: {"model": {"state_dict": weights}},
    "module": lambda weights: {f"module.{name}": weight for name, weight in weights.items()},
    "backbone": lambda weights: {
        "state_dict": {**{f"backbone.{name}": weight for name, weight in weights.items()}, "neck.weight": torch.zeros(1)}
    },
}


@pytest.mark.parametrize("wrapper", WRAPPED)
@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vim_tiny"])
def test_wrappers(name: str, wrapper: str) -> None:
    weights = published(name)
    check_same(network(name), WRAPPED[wrapper](weights), weights)


def renamed(weights: Mapping[str, Tensor], *changes: tuple[str, str]) -> dict[str, Tensor]:
    found = {}
    for name, weight in weights.items():
        for old, new in changes:
            name = name.replace(old, new)
        found[name] = weight
    return found


def test_the_first_names() -> None:
    weights = published("vanilla_vmamba_tiny")
    changes = [("patch_embed.0.", "patch_embed.proj."), ("patch_embed.2.", "patch_embed.norm."), ("classifier.", "")]
    old = renamed(weights, *changes, (".0.norm.", ".0.ln_1."), (".op.", ".self_attention."))
    assert "layers.3.blocks.0.self_attention.out_norm.weight" in old
    check_same(network("vanilla_vmamba_tiny"), old, weights)


@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vanilla_vmamba_tiny"])
def test_names_of_the_code_in_one_file(name: str) -> None:
    weights = published(name)
    new = renamed(weights, (".x_proj_weight", ".x_proj.weight"), (".dt_projs_weight", ".dt_projs.weight"))
    new = renamed(new, ("downsample.norm.", "downsample.1."), ("downsample.reduction.", "downsample.2."))
    new = {
        one: value.flatten(0, 1) if one.endswith(("x_proj.weight", "dt_projs.weight")) else value for one, value in new.items()
    }
    check_same(network(name), new, weights)


def test_linear_maps_as_convolutions() -> None:
    weights = published("vmamba_tiny_s2l5", depth3=1)
    wide = {one: value[:, :, None, None] if value.dim() == 2 and "proj.w" in one else value for one, value in weights.items()}
    assert any(value.shape[2:] == (1, 1) for value in wide.values())
    check_same(network("vmamba_tiny_s2l5", depth3=1), wide, weights)


def test_layouts_of_mamba_2() -> None:
    weights = published("vmamba_tiny_m2", depth3=1, dim=32)
    op = "layers.1.blocks.0.op"
    shapes = {one.removeprefix(f"{op}."): tuple(value.shape) for one, value in weights.items() if one.startswith(f"{op}.")}
    assert shapes["A_logs"] == shapes["dt_projs_bias"] == (4, 4)
    assert shapes["Ds"] == (4, 4, 16)
    assert shapes["x_proj_weight"] == (4, 4 + 2 * 64, 64)
    assert "dt_projs_weight" not in shapes
    check_same(network("vmamba_tiny_m2", depth3=1, dim=32), renamed(weights, (".conv2d.", ".conv2d.1.")), weights)


def test_a_convolution_for_a_norm_as_it_was() -> None:
    weights = published("vmamba_tiny_s1l8_norm_conv")
    check_same(network("vmamba_tiny_s1l8_norm_conv"), renamed(weights, ("out_norm.1.", "out_norm.")), weights)


@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vmamba_tiny_s1l8_cascade", "vanilla_vmamba_tiny"])
def test_directions_stay_in_order(name: str) -> None:
    """Rows of `x_proj_weight` and the like that say which direction they are."""
    weights = published(name)
    weights |= {one: torch.arange(4.0)[:, None, None].expand(value.shape) for one, value in weights.items() if "x_proj" in one}
    found = convert_weights(weights, network(name))
    ways = [value for one, value in found.items() if one.startswith("stage1.0.op.") and one.endswith("project_weight")]
    assert torch.cat(ways)[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_rotary_buffers_are_of_no_use() -> None:
    weights = published("vim_tiny")
    check_same(network("vim_tiny"), {**weights, "rope.freqs_cos": torch.zeros(3), "rope.freqs_sin": torch.zeros(3)}, weights)


@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vim_tiny"])
def test_a_detector_keeps_the_models_classifier(name: str) -> None:
    weights, model = published(name), network(name)
    of_classes = ("classifier.", "norm_f.", "head.")
    inner = {f"backbone.{one}": value for one, value in weights.items() if not one.startswith(of_classes)}
    norms = {f"backbone.outnorm{i}.weight": torch.zeros(1) for i in range(4)} if "vmamba" in name else {}
    with pytest.warns(UserWarning, match=r"no classifier.*norm\.weight.*head\.weight"):
        found = convert_weights({"state_dict": {**inner, **norms}}, model)
    own = {one: value for one, value in model.state_dict().items() if one.startswith(("norm.", "head."))}
    assert same(found, {**convert_weights(weights, model), **own})


def test_a_network_without_classes_needs_none() -> None:
    found = convert_weights(published("vmamba_tiny_s1l8"), network("vmamba_tiny_s1l8", num_classes=0))
    assert not any(one.startswith("head") for one in found)


def test_own_names() -> None:
    model = network("vim_tiny")
    check_same(model, {"model": model.state_dict()}, published_weights(model))
    assert codes({"cls.weight": torch.zeros(1, 2), "other": torch.zeros(1)}, model)[0] == ["S530", "S531", "S532"]


# Positions.


def test_tokens_are_rows_at_their_places() -> None:
    """14 × 14 patches: the token is row 98; with one at either end, rows 0 and 197."""
    for name, places in {
        "vim_tiny": {"cls": 98},
        "vim_tiny_head_token": {"cls": 0},
        "vim_tiny_double_token": {"cls": 0, "dist": 197},
    }.items():
        weights = published(name)
        (rows,) = weights["pos_embed"]
        found = convert_weights(weights, network(name))
        for token, place in places.items():
            assert torch.equal(found[f"position.{token}"], rows[place : place + 1])
        cells = [row for row in range(len(rows)) if row not in places.values()]
        assert torch.equal(found["position.cells"].flatten(0, 1), rows[cells])


def bicubic(rows: Tensor, side: int, grid: tuple[int, int]) -> Tensor:
    image = rows.view(side, side, -1).permute(2, 0, 1)[None]
    return functional.interpolate(image, grid, mode="bicubic", align_corners=False)[0].permute(1, 2, 0)


@pytest.mark.parametrize("given", [{"stride": 8}, {"img_height": 96, "img_width": 160}], ids=["stride", "size"])
def test_resized_positions(given: Mapping[str, int]) -> None:
    """The token keeps its own row; the published way takes the first for it."""
    weights, model = published("vim_tiny"), network("vim_tiny", **given)
    (rows,) = weights["pos_embed"]
    cells = model.state_dict()["position.cells"]
    grid = cells.shape[0], cells.shape[1]
    right = bicubic(torch.cat((rows[:98], rows[99:])), 14, grid)
    found = convert_weights(weights, model)
    assert torch.allclose(found["position.cells"], right, atol=1e-6)
    assert torch.equal(found["position.cls"], rows[98:99])
    middle = grid[0] * grid[1] // 2
    wrong = torch.cat((rows[:1], bicubic(rows[1:], 14, grid).flatten(0, 1)))
    found = convert_weights(weights, model, position="published")
    assert torch.allclose(found["position.cls"], wrong[middle : middle + 1], atol=1e-6)
    assert torch.allclose(found["position.cells"].flatten(0, 1), torch.cat((wrong[:middle], wrong[middle + 1 :])), atol=1e-6)


@pytest.mark.parametrize("position", ["resized", "published"])
def test_positions_without_tokens(position: Any) -> None:
    weights = published("vim_tiny_mean")
    right = bicubic(weights["pos_embed"][0], 14, (27, 27))
    found = convert_weights(weights, network("vim_tiny_mean", stride=8), position=position)
    assert torch.allclose(found["position.cells"], right, atol=1e-6)


def test_weights_of_closer_patches_are_refused() -> None:
    given, text = codes(published("vim_tiny", stride=8), network("vim_tiny"))
    assert given == ["S534"]
    assert "27 × 27 patches, 8 pixels apart" in text
    assert "vim_tiny_stride8" in text


def test_positions_that_are_no_grid() -> None:
    weights = {**published("vim_tiny"), "pos_embed": torch.zeros(1, 196, 16)}
    given, text = codes(weights, network("vim_tiny"))
    assert given == ["S534"]
    assert "195 patches" in text


def test_a_map_of_positions() -> None:
    weights, model = published("vmamba_tiny_s1l8_position"), network("vmamba_tiny_s1l8_position")
    assert weights["pos_embed"].shape == (1, 16, 56, 56)
    small = functional.interpolate(weights["pos_embed"], (28, 42), mode="bicubic", align_corners=False)
    found = convert_weights({**weights, "pos_embed": small}, model)["stem.position.cells"]
    right = functional.interpolate(small, (56, 56), mode="bicubic", align_corners=False)
    assert torch.allclose(found, right[0].permute(1, 2, 0), atol=1e-6)


def test_a_position_that_is_no_option() -> None:
    with pytest.raises(scanlang.ScanError, match="S522"):
        convert_weights(published("vim_tiny"), network("vim_tiny"), position="bicubic")  # type: ignore[arg-type]


# What does not fit.


def test_everything_that_does_not_fit_is_named() -> None:
    weights = published("vmamba_tiny_s1l8")
    del weights["layers.0.blocks.0.op.Ds"], weights["classifier.norm.bias"]
    weights["layers.0.blocks.0.op.gamma"] = weights["layers.9.blocks.0.norm.weight"] = torch.zeros(16)
    weights["classifier.head.weight"] = torch.zeros(7, 128)
    weights["layers.1.blocks.0.mlp.fc1.weight"] = weights["layers.1.blocks.0.mlp.fc1.weight"].mT
    given, text = codes({f"module.{name}": weight for name, weight in weights.items()}, network("vmamba_tiny_s1l8"))
    assert given == ["S530", "S531", "S532"]
    for name in ("layers.0.blocks.0.op.Ds", "classifier.norm.bias", "op.gamma", "module.layers.9.blocks.0.norm.weight"):
        assert name in text
    assert "`module.classifier.head.weight` is (7, 128) and not (5, 128)" in text
    assert "`module.layers.1.blocks.0.mlp.fc1.weight` is (32, 128) and not (128, 32)" in text


@pytest.mark.parametrize(
    "file, model", [("vim_tiny", "vim_tiny_v1"), ("vim_tiny_v1", "vim_tiny"), ("vim_tiny", "vim_tiny_mean")]
)
def test_other_directions(file: str, model: str) -> None:
    given, text = codes(published(file), network(model))
    assert set(given) <= {"S530", "S531", "S534"}
    assert ("cls_token" if model == "vim_tiny_mean" else "layers.1.mixer.conv1d_b.bias") in text


def test_directions_that_have_no_published_names() -> None:
    given, text = codes(published("vim_tiny"), network("vim_tiny_cross"))
    assert "nothing published stands for `layers.0.mixer.scan.dt_weight`" in text
    assert given[0] == "S530"


def test_layers_of_a_users_own() -> None:
    scaled = "block scaled(dim) { norm = rms_norm(dim)  gamma = scale(dim)  forward x = gamma(norm(x)) }"
    own = scanlang.loads(f"import backbones.vim\ngrid h, w\n{scaled}\nbackbone own from vim_tiny {{ norm = scaled(dim) }}")
    given, text = codes(published("vim_tiny"), scanlang.Backbone(own, "own", **SMALL_VIM))
    assert given == ["S530", "S531"]
    assert all(
        name in text
        for name in ("nothing published stands for", "`norm.norm.weight`", "`norm.gamma.weight`", "`norm_f.weight`")
    )


@pytest.mark.parametrize(
    "file", [{}, {"conv1.weight": torch.zeros(3)}, {"model": {"a": 3}}], ids=["nothing", "others", "no tensors"]
)
def test_weights_of_no_known_network(file: dict[str, Any]) -> None:
    given, text = codes(file, network("vim_tiny"))
    assert given == ["S533"]
    assert "neither VMamba's nor Vim's" in text


def test_weights_of_the_other_family() -> None:
    given, text = codes(published("vim_tiny"), network("vmamba_tiny_s1l8"))
    assert given == ["S533"]
    assert "weights of Vim, and `vmamba_tiny_s1l8` is no such network" in text


def test_published_shapes() -> None:
    record = VMAMBA["models"]["micro_v05_noz"]
    given = {"dim": 32, "depth1": 1, "depth2": 1, "depth3": 2, "depth4": 1, "num_classes": 10}
    model = scanlang.Backbone(program("backbones.vmamba"), "vmamba_tiny_s1l8", **given)
    assert {name: list(weight.shape) for name, weight in published_weights(model).items()} == record["state_dict"]
    assert golden_rules.vim_parameter("layers.0.mixer.D", (4,)).shape == (4,)
