"""Networks with the parameters of `tests/golden`, and what is recorded of them, compared on any device.

A comparison raises AssertionError with what is off by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from golden import golden_rules
from torch import Tensor, nn

import scanlang
from scanlang.backbones.feature import Feature
from scanlang.backbones.weights.convert import convert_weights, published_weights
from scanlang.codegen.module import Scan2d

VMAMBA, VIM = golden_rules.load("vmamba"), golden_rules.load("vim")
(VIM_NAME,) = VIM["models"]
RULE_B: Mapping[str, Any] = VIM["models"][VIM_NAME]["rule_B"]

MICRO: Mapping[str, Any] = {"dim": 32, "depth1": 1, "depth2": 1, "depth3": 2, "depth4": 1, "num_classes": 10}
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any], str]] = {
    "vmamba_tiny_s1l8": ("vmamba_tiny_s1l8", {}, "b2_224"),
    "micro_v05_noz": ("vmamba_tiny_s1l8", MICRO, "b2_56x88"),
    "micro_v052d_noz": ("vmamba_tiny_s1l8_bidi", MICRO, "b2_56x88"),
}
"""Of each record: the backbone, its formals, the images."""

GRADIENT_RTOL = 2e-5


program = cache(scanlang.load)


def golden_vmamba(name: str, changed: scanlang.Program | None = None) -> scanlang.Backbone:
    backbone, given, _ = NETWORKS[name]
    weights = golden_rules.state_dict(VMAMBA["models"][name]["state_dict"], golden_rules.vmamba_parameter)
    return loaded(scanlang.Backbone(changed or program("backbones.vmamba"), backbone, **given), weights)


def golden_vim(changed: scanlang.Program | None = None) -> scanlang.Backbone:
    return loaded(scanlang.Backbone(changed or program("backbones.vim"), "vim_tiny"), vim_weights())


@cache
def vim_weights() -> dict[str, Tensor]:
    return golden_rules.state_dict(VIM["models"][VIM_NAME]["shapes"], golden_rules.vim_parameter)


def loaded(model: scanlang.Backbone, weights: Mapping[str, Tensor]) -> scanlang.Backbone:
    model.load_state_dict(convert_weights(weights, model), strict=True)
    return model.eval()


def vmamba_images(name: str) -> Tensor:
    return golden_rules.image(tuple(VMAMBA["inputs"][NETWORKS[name][2]]["shape"]))


def vim_images() -> Tensor:
    return golden_rules.image((2, 3, 224, 224))


def near(what: str, value: float, wanted: float, tolerance: float) -> None:
    assert abs(value - wanted) <= tolerance, (
        f"{what} is {value}, {abs(value - wanted):.2e} from {wanted}; {tolerance:.2e} is allowed"
    )


def all_near(what: str, values: Tensor, wanted: list[float], tolerance: float) -> None:
    right = torch.tensor(wanted, dtype=torch.float64)
    off = (values.detach().double().cpu().flatten() - right).abs().max().item()
    assert off <= tolerance, f"{what} is off by {off:.2e}; {tolerance:.2e} is allowed"


def norm(x: Tensor) -> float:
    return x.detach().double().norm().item()


def total(x: Tensor) -> float:
    return x.detach().double().sum().item()


# What modules make, by the names of the text.


@contextmanager
def watched(model: nn.Module, outputs: Mapping[str, str], inputs: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """What modules give and take, by other names."""
    seen: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, given, made=None: seen.update({name: given[0] if made is None else made})

    hooks = [model.get_submodule(path).register_forward_hook(keep(name)) for name, path in outputs.items()]
    hooks += [model.get_submodule(path).register_forward_pre_hook(keep(name)) for name, path in (inputs or {}).items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def path_of(name: str) -> str:
    """The module of a published one of VMamba, `layers.0.blocks.1.op`."""
    if name == "patch_embed":
        return "stem"
    _, stage, *rest = name.split(".")
    if not rest:
        return f"down{int(stage) + 1}" if stage != "3" else "stage4"
    return ".".join((f"stage{int(stage) + 1}", *rest[1:]))


def check_vmamba(name: str, model: scanlang.Backbone, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
    """Logits, the ends of stages, and what lies between."""
    record = VMAMBA["results"][f"{name}/strong/{NETWORKS[name][2]}"]
    rtol = record["suggested_rtol"]
    stages = {f"stage {number}": path_of(f"layers.{number}") for number in range(4)}
    with torch.no_grad(), watched(model, {**stages, **{one: path_of(one) for one in record["features"]}}) as seen:
        logits = model(vmamba_images(name).to(device, dtype))
    check_logits(logits, record if dtype == torch.float32 else record | fp64_of(record), rtol)
    assert logits.argmax(-1).tolist() == record["argmax"]
    for number, wanted in enumerate(record["stage_l2"]):
        near(f"stage {number}", norm(seen[f"stage {number}"].rows), wanted, rtol * wanted)
    for one, feature in record["features"].items():
        check_feature(one, seen[one], feature, rtol)


def fp64_of(record: Mapping[str, Any]) -> dict[str, Any]:
    return {f"logits_{name}": value for name, value in record["fp64_ref"].items()}


def check_logits(logits: Tensor, record: Mapping[str, Any], rtol: float) -> None:
    wanted = record["logits_first32"]
    all_near("logits", logits.flatten()[:32], wanted, rtol * max(map(abs, wanted)))
    near("their norm", norm(logits), record["logits_l2"], rtol * record["logits_l2"])
    near("their sum", total(logits), record["logits_sum"], rtol * record["logits_l2"] * logits.numel() ** 0.5)


def check_feature(name: str, feature: Feature, record: Mapping[str, Any], rtol: float) -> None:
    h, w = record["probe_hw"]
    batch, channels, *grid = record["shape_nchw"]
    assert tuple(feature.map.shape) == (batch, *grid, channels)
    near(name, norm(feature.rows), record["l2"], rtol * record["l2"])
    near(f"the sum of {name}", total(feature.rows), record["sum"], rtol * (record["l2"] * feature.rows.numel() ** 0.5))
    wanted = record["probe"]
    all_near(f"a cell of {name}", feature.map[0, h, w, : len(wanted)], wanted, 2 * rtol * max(1.0, *map(abs, wanted)))


APART = """
import std.selective
grid h, w
scan apart(dim, state = 1, rank = ceil(dim / 16)) {
  directions DIRECTIONS
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
  merge      concat
}
"""


def check_core(name: str, model: scanlang.Backbone, directions: str) -> None:
    """The scan of the first block: what it reads and makes, each direction in its own time."""
    record = VMAMBA["results"][f"{name}/strong/{NETWORKS[name][2]}"]
    parts, rtol = record["ss2d_core_layers0_blocks0"], record["suggested_rtol"]
    with torch.no_grad(), watched(model, {"x": "stage1.0.op.conv"}, {"y": "stage1.0.op.norm"}) as seen:
        model(vmamba_images(name))
        x, y = seen["x"], seen["y"]
        scan = model.get_submodule("stage1.0.op.scan")
        assert isinstance(scan, Scan2d)
        ways_apart = scanlang.loads(APART.replace("DIRECTIONS", directions))
        apart = Scan2d(ways_apart, "apart", scan.channels, **{name: scan.sizes[name] for name in ("state", "rank")})
        apart.load_state_dict(scan.state_dict())
        orders = [torch.from_numpy(order.positions(*x.grid)) for order in ways_apart.directions()]
        ways = apart(x.map).flatten(1, 2).unflatten(-1, (len(orders), scan.channels))
        rows = torch.stack([x.rows[:, order] for order in orders], 1)
        low, B, C = (rows @ scan.project_weight.mT).split([scan.sizes["rank"], scan.sizes["state"], scan.sizes["state"]], -1)
        found = {
            "us": rows.mT.flatten(1, 2),
            "dts": (low @ scan.dt_weight.mT).mT.flatten(1, 2),
            "Bs": B.mT,
            "Cs": C.mT,
            "ys": torch.stack([ways[:, order, k] for k, order in enumerate(orders)], 1).mT.unflatten(-1, x.grid),
            "y": y.mT,
        }
    for part, value in found.items():
        assert list(value.shape) == parts[part]["shape"]
        near(part, norm(value), parts[part]["l2"], rtol * parts[part]["l2"])
        wanted = parts[part]["first8"]
        all_near(f"the start of {part}", value.flatten()[:8], wanted, 2 * rtol * max(1.0, *map(abs, wanted)))


def gradients(
    model: scanlang.Backbone, images: Tensor, cotangent: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Of the images, and of the parameters by their published names; and the loss."""
    images.requires_grad_()
    logits = model(images)
    loss = (logits * cotangent(logits).to(logits)).sum()
    own = dict(model.named_parameters())
    of_images, *of_own = torch.autograd.grad(loss, [images, *own.values()])
    return of_images, published_weights(model, dict(zip(own, of_own, strict=True))), loss


def check_vmamba_gradients(
    name: str, model: scanlang.Backbone, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> None:
    record = VMAMBA["grads"][f"{name}/strong/{NETWORKS[name][2]}"]
    of_images, found, _ = gradients(model, vmamba_images(name).to(device, dtype), golden_rules.vmamba_cotangent)
    near("the images' gradient", norm(of_images), record["input"]["l2"], GRADIENT_RTOL * record["input"]["l2"])
    all_near("its start", of_images.flatten()[:8], record["input"]["first8"], GRADIENT_RTOL)
    assert found.keys() == record["params"].keys()
    for one, wanted in record["params"].items():
        near(one, norm(found[one]), wanted["l2"], GRADIENT_RTOL * wanted["l2"])
        all_near(f"the start of {one}", found[one].flatten()[:4], wanted["first4"], GRADIENT_RTOL * max(1.0, wanted["l2"]))


def check_vim(model: scanlang.Backbone, dtype: torch.dtype = torch.float32, device: str = "cpu") -> None:
    """Logits, the class token's features, and every layer's norms."""
    kind = "fp64" if dtype == torch.float64 else "fp32"
    record, atol = RULE_B[kind], VIM["suggested_atol"][kind]
    layers = range(len(record["mixer_out_l2_0..23"]))
    outputs = {f"mixer {layer}": f"layers.{layer}.mixer" for layer in layers}
    inputs = {**{f"residual {layer}": f"layers.{layer}.norm" for layer in layers}, "residual 24": "norm", "features": "head"}
    with torch.no_grad(), watched(model, {**outputs, "patch_embed": "patch_embed"}, inputs) as seen:
        logits = model(vim_images().to(device, dtype))
    for image in range(2):
        all_near(f"logits of image {image}", logits[image, :32], record[f"logits_first32_img{image}"], atol)
    near("the sum of all logits", total(logits), record["sum"], atol * logits.numel())
    near("their norm", norm(logits), record["l2"], atol * logits.numel() ** 0.5)
    assert logits.argmax(-1).tolist() == record["argmax"]
    near("the features' norm", norm(seen["features"]), record["cls_feature_l2"], atol * 10)
    for layer, wanted in enumerate(record["mixer_out_l2_0..23"]):
        near(f"the mixer of layer {layer}", norm(seen[f"mixer {layer}"].rows), wanted, atol * 10)
    for layer, wanted in enumerate(record["residual_l2_before_each_norm_0..23_then_norm_f"]):
        near(f"what layer {layer} reads", norm(seen[f"residual {layer}"]), wanted, atol * 10)
    if kind == "fp64":
        all_near("the features", seen["features"][0], record["cls_feature_before_head_img0"], atol)
        near("patches", norm(seen["patch_embed"]), record["patch_embed_l2"], atol)
        first = seen["mixer 0"].rows[0]
        all_near("the first patch", first[0, :16], record["mixer0_out_first16_img0_tok0"], atol)
        all_near("the last patch", first[195, :16], record["mixer0_out_first16_img0_tok196"], atol)


def check_vim_gradients(model: scanlang.Backbone) -> None:
    record, rtol = RULE_B["grad_fp64"], 1e-9
    of_images, found, loss = gradients(model, vim_images().double(), golden_rules.vim_cotangent)
    near("the loss", loss.item(), record["loss"], rtol)
    near("the images' gradient", norm(of_images), record["input_grad_l2"], rtol * record["input_grad_l2"])
    all_near("its start", of_images.flatten()[:8], record["input_grad_first8"], rtol)
    assert found.keys() == record["param_grad_l2"].keys()
    for one, wanted in record["param_grad_l2"].items():
        near(one, norm(found[one]), wanted, rtol * max(1.0, wanted))
        near(
            f"the sum of {one}",
            total(found[one]),
            record["param_grad_sum"][one],
            rtol * max(1.0, wanted) * found[one].numel() ** 0.5,
        )
