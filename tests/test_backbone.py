"""Backbones as modules: against the same network in plain torch, and the methods that timm's models have."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import scanlang
from scanlang.backbones.modules import DropPath
from scanlang.backbones.parts import RepeatModule
from scanlang.check.module_names import MODEL
from scanlang.diagnostics import ScanError
from scanlang.testing import assert_close

TEXT = """
import std.selective
grid h, w
order middle = insert(raster, cls at middle)

scan two(dim, state = 1, rank = 2) {
  directions raster, reverse(columns)
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
}
scan both(dim, state = 2, rank = 2) {
  input      x, z
  directions middle, reverse(middle)
  conv       3
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
  merge      (y[0] + y[1]) * silu(z) / 2
}

block mean_pool() { forward x = mean(cells: x) }
block class_token() { forward x = token(x, cls) }
block vss(dim, drop, scan core = two) {
  norm     = layer_norm(dim)
  in_proj  = linear(dim, 2 * dim, bias = false)
  conv     = depthwise_conv2d(dim, 3)
  op       = core(dim)
  out_proj = linear(dim, dim, weight = truncated_normal(0.02))
  skip     = drop_path(drop)
  forward x = let u, z = split(in_proj(norm(x)), 2) in x + skip(out_proj(op(silu(conv(u))) * silu(z)))
}
block vim_layer(dim) {
  norm     = rms_norm(dim)
  in_proj  = linear(dim, 2 * dim, bias = false)
  op       = both(dim)
  forward x = let u, z = split(in_proj(norm(x)), 2) in x + op(u, z)
}

backbone stages(in_chans = 3, num_classes = 5, dim = 4, drop_path_rate = 0.5, scan core = two) {
  stem           = conv2d(in_chans, dim, 3, stride = 2)
  feature stage1 = vss(dim, ramp(drop_path_rate), core) * 2
  down           = conv2d(dim, 2 * dim, 2, stride = 2, padding = 0)
  feature stage2 = vss(2 * dim, ramp(drop_path_rate), core) * 3
  norm           = layer_norm(2 * dim)
  pool           = mean_pool()
  head           = linear(2 * dim, num_classes)
}
backbone tokens(in_chans = 3, num_classes = 5, dim = 4, img_height = 12, img_width = 8) {
  patch           = conv2d(in_chans, dim, 4, stride = 4, padding = 0)
  cls             = token(dim)
  position        = position_embedding(dim, img_height // 4, img_width // 4)
  features layers = vim_layer(dim) * 3
  norm            = rms_norm(dim)
  pool            = class_token()
  head            = linear(dim, num_classes)
}
backbone dense(dim = 4) { stem = conv2d(3, dim, 3)  feature stage = vss(dim, 0) }
"""


@cache
def program() -> scanlang.Program:
    return scanlang.loads(TEXT)


def made(name: str = "stages", dtype: torch.dtype = torch.float64, **given: Any) -> scanlang.Backbone:
    """With weights other than they start, and without chance."""
    torch.manual_seed(3)
    model = scanlang.Backbone(program(), name, **given).to(dtype).eval()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    return model


def drawn(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(4)
    return torch.randn(batch, 3, *(size or (11, 14)), dtype=dtype)


def conv(layer: Any, x: Tensor) -> Tensor:
    result: Tensor = layer(x.movedim(-1, 1)).movedim(1, -1).contiguous()
    return result


def by_vss(block: Any, x: Tensor) -> Tensor:
    u, z = block.in_proj(block.norm(x)).chunk(2, -1)
    result: Tensor = x + block.out_proj(block.op(functional.silu(conv(block.conv, u))) * functional.silu(z))
    return result


def by_stages(model: Any, images: Tensor) -> list[Tensor]:
    """Feature maps, features, class scores."""
    x = conv(model.stem, images.movedim(1, -1))
    for number in range(2):
        x = by_vss(model.stage1.get_submodule(str(number)), x)
    y = conv(model.down, x)
    for number in range(3):
        y = by_vss(model.stage2.get_submodule(str(number)), y)
    last = model.norm(y)
    return [x.movedim(-1, 1), y.movedim(-1, 1), last, model.head(last.mean((1, 2)))]


def by_tokens(model: Any, images: Tensor) -> list[Tensor]:
    x = conv(model.patch, images.movedim(1, -1))
    positions = functional.interpolate(model.position.cells.movedim(-1, 0)[None], x.shape[1:3], mode="bicubic")
    x, cls = x + positions[0].movedim(0, -1), (model.cls.weight + model.position.cls).expand(len(x), 1, 4)
    maps = []
    for number in range(3):
        layer = model.layers.get_submodule(str(number))
        (u, z), (u_cls, z_cls) = (layer.in_proj(layer.norm(one)).chunk(2, -1) for one in (x, cls))
        y, y_cls = layer.op(u, z, cls=u_cls, z_cls=z_cls)
        x, cls = x + y, cls + y_cls
        maps.append(x.movedim(-1, 1))
    last = model.norm(torch.cat((cls, x.flatten(1, 2)), 1))
    return [*maps, last, model.head(last[:, 0])]


BY_HAND: dict[str, Callable[[Any, Tensor], list[Tensor]]] = {"stages": by_stages, "tokens": by_tokens}
CASES = [
    ("stages", (11, 14)), ("stages", (8, 8)), ("stages", (5, 21)), ("stages", (4, 3)),
    ("tokens", (12, 8)), ("tokens", (17, 9)), ("tokens", (4, 4)),
]  # fmt: skip


@pytest.mark.parametrize("name, size", CASES)
def test_a_backbone_is_the_chain_of_its_layers(name: str, size: tuple[int, int]) -> None:
    model, images = made(name), drawn(*size).requires_grad_()
    *maps, last, scores = BY_HAND[name](model, images)
    ours = model(images)
    assert_close("the scores", ours, scores, 1e-11)
    leaves = [images, *model.parameters()]
    pairs = (torch.autograd.grad(one.square().sum(), leaves) for one in (ours, scores))
    for mine, exactly in zip(*pairs, strict=True):
        assert_close("a gradient", mine, exactly, 1e-9)
    end, found = model.forward_intermediates(images)
    for mine, exactly in zip(found, maps, strict=True):
        assert_close("a feature map", mine, exactly, 1e-11)
    assert_close("the features", model.forward_features(images), last, 1e-11)
    assert torch.equal(end, model.forward_features(images))
    assert_close("the head", model.forward_head(last), scores, 1e-11)


def test_there_may_be_no_images() -> None:
    assert made()(drawn(batch=0)).shape == (0, 5)
    assert made("tokens")(drawn(12, 8, batch=0)).shape == (0, 5)


def test_other_scans_numbers_and_channels() -> None:
    clauses = "directions snake recur selective(state = 1, rank = 1) project low, B, C from x"
    other = scanlang.loads(f"import std.selective scan snakes(dim) {{ {clauses} }}")
    model = made(in_chans=1, num_classes=7, dim=2, core=other)
    images = drawn()[:, :1]
    assert model.stage2.get_submodule("1.op").scan.name == "snakes"
    assert_close("the scores", model(images), by_stages(model, images)[-1], 1e-11)
    assert (model.in_chans, model.num_classes, model.num_features) == (1, 7, 4)


def test_a_scan_goes_another_way_in_every_layer() -> None:
    text = """import std.selective
    scan ways(dim) {
      layers  RULE raster, columns, (snake, reverse(snake))
      recur   selective(state = 1, rank = 1)
      project low, B, C from x
    }
    block layer(dim) { op = ways(dim) forward x = x + op(x) }
    backbone b(dim = 2) { stem = conv2d(3, dim, 3) a = layer(dim) * 2 b = layer(dim) * 2 }"""
    for rule, expected in {"cycle": (1, 1, 1, 1), "cycle global": (1, 1, 2, 1)}.items():
        model = scanlang.Backbone(scanlang.loads(text.replace("RULE", rule)))
        scans = [module for module in model.modules() if isinstance(module, scanlang.Scan2d)]
        assert tuple(len(one.scan.directions) for one in scans) == expected
        ways = [one.scan.directions[0].text for one in scans]
        assert ways == ["raster", "columns", *(["snake", "raster"] if rule == "cycle global" else ["raster", "columns"])]
        x = torch.randn(1, 3, 4, 2)
        assert scans[0].op.graph.orders[0].name == "raster" != scans[1].op.graph.orders[0].name
        assert scans[1](x).shape == x.shape


def test_without_pool_and_head_there_are_features() -> None:
    model = made("dense")
    assert model(drawn()).shape == (2, 11, 14, 4)
    assert torch.equal(model(drawn()), model.forward_head(model.forward_features(drawn())))
    assert isinstance(model.get_classifier(), nn.Identity)
    assert model.num_classes == 0


# The methods of timm's models.


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_said_of_a_model(name: str) -> None:
    model = made(name)
    shown = {
        "stages": [(4, 2, "stage1"), (8, 4, "stage2")],
        "tokens": [(4, 4, "layers.0"), (4, 4, "layers.1"), (4, 4, "layers.2")],
    }
    assert [(one["num_chs"], one["reduction"], one["module"]) for one in model.feature_info] == shown[name]
    assert all(isinstance(model.get_submodule(one["module"]), nn.Module) for one in model.feature_info)
    assert model.num_features == model.head_hidden_size == shown[name][-1][0]
    assert model.num_prefix_tokens == (1 if name == "tokens" else 0)
    assert (model.num_classes, model.in_chans, model.grad_checkpointing) == (5, 3, False)
    assert model.get_classifier() is model.head


def test_names_of_parameters_are_those_of_the_text() -> None:
    names = list(made("tokens").state_dict())
    assert names[:6] == ["patch.weight", "patch.bias", "cls.weight", "position.cells", "position.cls", "layers.0.norm.weight"]
    assert names[-3:] == ["norm.weight", "head.weight", "head.bias"]
    assert "stage2.1.op.A_log" in made().state_dict()


def test_no_layer_of_a_backbone_can_have_the_name_of_a_method() -> None:
    model = made("dense")
    own = {name for name in dir(model) if not name.startswith("_")} - set(dir(nn.Module())) - set(model._modules)
    assert own <= MODEL


@pytest.mark.parametrize(
    "indices, expected", [(None, [0, 1, 2]), (2, [1, 2]), ([0], [0]), ((-1, 0), [2, 0]), (range(1, 2), [1])]
)
def test_feature_maps_are_chosen_by_number(indices: Any, expected: list[int]) -> None:
    model, images = made("tokens"), drawn(12, 8)
    _, every = model.forward_intermediates(images)
    chosen = model.forward_intermediates(images, indices, stop_early=True, intermediates_only=True)
    assert isinstance(chosen, list)
    for mine, number in zip(chosen, expected, strict=True):
        assert torch.equal(mine, every[number])


def test_feature_maps_are_views_of_what_lies_there() -> None:
    model, images = made(), drawn()
    found = model.forward_intermediates(images, intermediates_only=True)
    assert [tuple(one.shape) for one in found] == [(2, 4, 6, 7), (2, 8, 3, 3)]
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in found)
    last = model.forward_intermediates(images, output_fmt="NHWC", intermediates_only=True)
    assert all(torch.equal(one, other.movedim(1, -1)) for one, other in zip(last, found, strict=True))
    normed = model.forward_intermediates(images, norm=True, output_fmt="NHWC", intermediates_only=True)
    assert torch.equal(normed[0], last[0])
    assert torch.equal(normed[1], model.forward_features(images))
    vim = made("tokens")
    (first, *_), features = vim.forward_intermediates(images, norm=True, intermediates_only=True), vim.forward_features(images)
    assert first.shape == (2, 4, 2, 3)
    assert features.shape == (2, 1 + 2 * 3, 4)


def test_stopping_early_stops() -> None:
    model, called = made(), list[str]()
    for name, module in model.named_children():
        module.register_forward_pre_hook(lambda module, given, name=name: called.append(name))
    model.forward_intermediates(drawn(), [0], stop_early=True, intermediates_only=True)
    assert called == ["stem", "stage1"]
    model.forward_intermediates(drawn(), [0], stop_early=True)
    assert called[2:] == ["stem", "stage1", "down", "stage2", "norm"]


@pytest.mark.parametrize("name", BY_HAND)
def test_a_head_is_made_anew(name: str) -> None:
    model, images = made(name), drawn(12, 8)
    before = model.forward_features(images)
    assert torch.equal(model(images), model.head(model.forward_head(before, pre_logits=True)))
    model.reset_classifier(9)
    assert model.num_classes == model.get_classifier().out_features == 9
    assert model(images).shape == (2, 9)
    assert model.head.weight.dtype == torch.float64
    model.reset_classifier(0)
    pooled = model(images)
    assert torch.equal(pooled, model.forward_head(before, pre_logits=True))
    assert torch.equal(pooled, made(name, num_classes=0)(images))
    assert isinstance(model.get_classifier(), nn.Identity)
    model.reset_classifier(0, "max")
    flat = before[:, 1:] if name == "tokens" else before.flatten(1, 2)
    assert torch.equal(model(images), flat.amax(1))
    model.reset_classifier(0, "avg")
    assert_close("the mean", model(images), flat.mean(1), 1e-14)
    model.reset_classifier(0, "")
    assert torch.equal(model(images), before)
    model.reset_classifier(6, "avg")
    assert model(images).shape == (2, 6)
    assert model.origin.given["num_classes"] == 6


def test_a_token_can_be_the_pool() -> None:
    model, images = made("tokens"), drawn(12, 8)
    want = model(images)
    model.reset_classifier(0, "avg")
    model.reset_classifier(0, "token")
    assert torch.equal(model(images), model.forward_features(images)[:, 0])
    assert want.shape == (2, 5)
    with pytest.raises(ScanError, match="no token to pool"):
        made().reset_classifier(0, "token")


@pytest.mark.parametrize("name", BY_HAND)
def test_checkpointing_changes_no_gradient(name: str) -> None:
    model, images = made(name).train(), drawn(12, 8)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        assert model.grad_checkpointing is enable
        torch.manual_seed(9)  # of the paths that are dropped
        gradients.append(torch.autograd.grad(model(images).square().sum(), list(model.parameters())))
    for mine, other in zip(*gradients, strict=True):
        assert torch.equal(mine, other)


def test_checkpointing_computes_every_repeat_again() -> None:
    model, calls = made(), []
    for number, block in enumerate(model.stage2.children()):
        block.register_forward_pre_hook(lambda module, given, number=number: calls.append(number))
    model.set_grad_checkpointing()
    model(drawn()).sum().backward()
    assert calls == [0, 1, 2, 2, 1, 0]


STAGES = ("stage1.0", "stage1.1", "down", "stage2.0", "stage2.1", "stage2.2")
ORDERS = {
    ("stages", False): [("stem",), *((name,) for name in STAGES)],
    ("stages", True): [("stem",), ("stage1",), ("down",), ("stage2",)],
    ("tokens", False): [("patch", "cls", "position"), ("layers.0",), ("layers.1",), ("layers.2",)],
    ("tokens", True): [("patch", "cls", "position"), ("layers",)],
}


@pytest.mark.parametrize("name, coarse", ORDERS)
def test_parameters_are_grouped_by_depth(name: str, coarse: bool) -> None:
    groups = made(name).group_matcher(coarse)
    places = {parameter: place_in(groups, parameter) for parameter, _ in made(name).named_parameters()}
    order = ORDERS[name, coarse]
    for depth, prefixes in enumerate(order):
        own = {place for parameter, place in places.items() if parameter.startswith(tuple(f"{prefix}." for prefix in prefixes))}
        assert own == {(0.0,) if depth == 0 else (1.0, float(depth - 1))}
    assert places["norm.weight"] == (1.0, 99999.0)
    assert places["head.weight"] == (math.inf,)


def place_in(groups: dict[str, Any], name: str) -> tuple[float, ...]:
    """As timm reads the groups."""
    for ordinal, found in enumerate(groups.values()):
        for pattern, suffix in found if isinstance(found, list) else [(found, None)]:
            if re.match(pattern, name):
                return (float(ordinal), *map(float, suffix or ()))
    return (math.inf,)


def test_what_does_not_decay() -> None:
    tokens = made("tokens").no_weight_decay()
    scans = {f"layers.{number}.op.{name}" for number in range(3) for name in ("A_log", "D")}
    assert tokens == {"cls.weight", "position.cells", "position.cls"} | scans


def test_a_pruned_backbone_gives_the_maps_it_kept() -> None:
    model, images = made(), drawn()
    want = model.forward_intermediates(images, [0], intermediates_only=True)[0]
    assert model.prune_intermediate_layers([0]) == [0]
    assert {name for name, _ in model.named_children()} == {"stem", "stage1"}
    assert torch.equal(model.forward_intermediates(images, intermediates_only=True)[0], want)
    assert torch.equal(model(images), want.movedim(1, -1))
    assert [one["module"] for one in model.feature_info] == ["stage1"]
    assert (model.num_features, model.num_classes) == (4, 0)
    with pytest.raises(ScanError, match="pruned"):
        model.reset_classifier(3)
    vim = made("tokens")
    maps = vim.forward_intermediates(images, intermediates_only=True)
    assert vim.prune_intermediate_layers((1, 0), prune_head=False) == [1, 0]
    assert {name for name, _ in vim.named_children()} == {"patch", "cls", "position", "layers", "norm", "pool", "head"}
    assert len(vim.layers) == len(list(vim.layers.children())) == 2
    assert torch.equal(vim.forward_intermediates(images, [1], intermediates_only=True)[0], maps[1])
    vim.prune_intermediate_layers([0], prune_norm=True)
    assert {name for name, _ in vim.named_children()} == {"patch", "cls", "position", "layers"}
    vim.reset_classifier(4)


def test_positions_for_images_of_another_size() -> None:
    model, images = made("tokens"), drawn(20, 12)
    want = model(images)
    model.set_input_size((20, 12))
    assert model.position.cells.shape == (5, 3, 4)
    assert_close("the scores", model(images), want, 1e-13)
    assert model.origin.given["img_height"] == 20
    model.set_input_size(8)
    assert model.position.cells.shape == (2, 2, 4)
    made().set_input_size(64)


def test_first_weights_are_drawn_anew() -> None:
    torch.manual_seed(6)
    model = scanlang.Backbone(program(), "tokens")
    first = copy.deepcopy(model.state_dict())
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    model.init_weights(needs_reset=False)
    assert (model.patch.weight == 1).all()
    torch.manual_seed(6)
    with torch.device("meta"):
        model.init_weights()
    assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items())
    with torch.device("meta"):
        empty = scanlang.Backbone(program(), "stages")
    assert empty.head.weight.is_meta
    empty.to_empty(device="cpu").init_weights()
    assert empty.stage1.get_submodule("0.op").A_log.abs().max() == 0
    assert 0.01 < empty.stage1.get_submodule("0.out_proj").weight.abs().max() < 0.1


# In training.


def test_drop_path_grows_with_depth() -> None:
    rates = [module.rate for module in made(drop_path_rate=0.2).modules() if isinstance(module, DropPath)]
    assert rates == [pytest.approx(0.2 * number / 4) for number in range(5)]


def test_paths_are_dropped_in_training_alone() -> None:
    model, images = made().train(), drawn(batch=1).expand(256, -1, -1, -1)
    torch.manual_seed(0)
    outputs = model(images)
    assert len(outputs.unique(dim=0)) > 10
    model.eval()
    assert_close("the scores", model(images), model(images[:1]).expand(256, -1), 1e-12)
    quiet = made(drop_path_rate=0).train()
    assert torch.equal(quiet(images[:2]), quiet.eval()(images[:2]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", BY_HAND)
def test_autocast_and_the_residual_stream(name: str, dtype: torch.dtype) -> None:
    model, images = made(name, torch.float32).train(), drawn(12, 8, dtype=torch.float32)
    for module in model.modules():
        if isinstance(module, DropPath):
            module.rate = 0.0
    seen: list[torch.dtype] = []
    repeats = next(module for module in model.modules() if isinstance(module, RepeatModule))
    repeats.register_forward_hook(lambda module, given, result: seen.append(result.rows.dtype))
    want = model(images)
    with torch.autocast("cpu", dtype):
        got = model(images)
    assert seen == [
        torch.float32,
        torch.float32 if name == "tokens" else dtype,
    ]  # a convolution makes it narrow, positions wide
    assert got.dtype == dtype
    assert_close("the scores", got.float(), want, 0.1)
    got.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in model.parameters())


def test_a_model_in_bfloat16() -> None:
    model = made(dtype=torch.bfloat16)
    assert model(drawn(dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"])
def test_a_copy_computes_the_same_and_is_independent(again: Callable[[scanlang.Backbone], scanlang.Backbone]) -> None:
    model, images = made("tokens"), drawn(12, 8)
    other = again(model)
    assert torch.equal(model(images), other(images))
    nn.init.zeros_(other.head.weight)
    assert not torch.equal(model(images), other(images))
    other.reset_classifier(3)
    assert model(images).shape == (2, 5)


def test_a_state_dict_goes_into_another_model() -> None:
    first, second = made(), scanlang.Backbone(program(), "stages").double().eval()
    assert second.load_state_dict(first.state_dict()) == nn.modules.module._IncompatibleKeys([], [])
    assert torch.equal(first(drawn()), second(drawn()))


def test_it_says_what_it_is() -> None:
    text = repr(made(num_classes=2, core="two"))
    assert text.startswith("Backbone(\n  stages, num_classes=2, core=two\n  (stem): Conv2d(3, 4")
    assert "(op): Scan2d(two, dim=4, state=1, rank=2, 2 directions)" in text
    assert "(skip): DropPath(0.5)" in text


def test_the_only_backbone_needs_no_name() -> None:
    only = scanlang.loads("backbone b(dim = 4) { stem = conv2d(3, dim, 3) }")
    assert scanlang.Backbone(only).origin.name == "b"


@pytest.mark.parametrize(
    "code, call",
    [
        ("S521", lambda model: model(drawn()[0])),
        ("S521", lambda model: model(drawn()[:, :2])),
        ("S521", lambda model: model(drawn().float())),
        ("S521", lambda model: model("cat.png")),
        ("S521", lambda model: model(drawn(0, 8))),
        ("S521", lambda model: model.forward_features(drawn(8, 0))),
        ("S521", lambda model: model(drawn().to("meta"))),
        ("S521", lambda model: model.forward_head(torch.ones(2, 3, 4).double())),
        ("S345", lambda model: model(drawn(1, 1))),
        ("S522", lambda model: model.forward_intermediates(drawn(), [2])),
        ("S522", lambda model: model.forward_intermediates(drawn(), [])),
        ("S522", lambda model: model.forward_intermediates(drawn(), 3)),
        ("S522", lambda model: model.forward_intermediates(drawn(), "1")),
        ("S522", lambda model: model.forward_intermediates(drawn(), output_fmt="NLC")),
        ("S522", lambda model: model.reset_classifier(-1)),
        ("S522", lambda model: model.reset_classifier(2.5)),
        ("S522", lambda model: model.set_input_size((1, 2, 3))),
        ("S523", lambda model: scanlang.Backbone(program(), "stage")),
    ],
)
def test_wrong_calls(code: str, call: Callable[[scanlang.Backbone], object]) -> None:
    with pytest.raises(ScanError) as caught:
        call(made())
    assert caught.value.diagnostics[0].code == code


@pytest.mark.parametrize("given", [{"dims": 4}, {"dim": 0}, {"core": 3}, {"num_classes": "ten"}, {"core": ("two",)}])
def test_wrong_values(given: dict[str, Any]) -> None:
    with pytest.raises(ScanError) as caught:
        scanlang.Backbone(program(), "stages", **given)
    assert caught.value.diagnostics[0].code.startswith("S3")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(OSError):
        scanlang.Backbone(program(), "stages", core="nowhere/mine.scan")


@pytest.mark.long
@pytest.mark.parametrize("name, checkpointing", [("stages", True), ("tokens", False)])
def test_backbones_compile_without_a_break(name: str, checkpointing: bool) -> None:
    model = made(name)
    model.set_grad_checkpointing(checkpointing)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for size in ((12, 8), (16, 12)):
        images = drawn(*size)
        gradients = [torch.autograd.grad(one(images).square().sum(), list(model.parameters())) for one in (model, compiled)]
        assert_close("the scores", compiled(images), model(images), 1e-11)
        for mine, exactly in zip(*gradients, strict=True):
            assert_close("a gradient", mine, exactly, 1e-9)
    torch._dynamo.reset()
