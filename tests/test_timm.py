"""The networks under timm: what its own functions ask of a model. Small ones, by formals that timm passes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from with_timm import timm

import scanlang.timm
from scanlang.backbones import create_model, list_models, save
from scanlang.backbones.backbone import Backbone
from scanlang.backbones.weights.convert import published_weights
from scanlang.backbones.weights.fit import first_convolution

VMAMBA: dict[str, Any] = {"dim": 16, "depth1": 1, "depth2": 1, "depth3": 2, "depth4": 1}
VIM: dict[str, Any] = {"dim": 16, "depth": 5}


def vmamba(**arguments: Any) -> nn.Module:
    made: nn.Module = timm.create_model("vmamba_tiny_s1l8", **{**VMAMBA, **arguments})
    return made


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_network_is_registered() -> None:
    assert set(list_models()) <= set(timm.list_models())
    assert set(timm.list_models("vmamba_tiny_s*")) == set(list_models("vmamba_tiny_s*"))
    assert timm.list_models("vmamba*", pretrained=True) == []
    assert timm.is_model("vim_tiny")


def test_arguments_of_timm_arrive() -> None:
    model = vmamba(num_classes=7, in_chans=1, drop_path_rate=0.3, drop_rate=0.0, global_pool="max", img_size=64)
    assert isinstance(model, Backbone)
    assert (model.num_classes, model.in_chans, model.num_features) == (7, 1, 128)
    assert max(module.rate for name, module in model.named_modules() if name.endswith("skip")) == 0.3
    assert model(torch.rand(2, 1, 32, 40)).shape == (2, 7)
    assert model.pretrained_cfg["architecture"] == "vmamba_tiny_s1l8"
    assert timm.data.resolve_data_config(model=model)["input_size"][1:] in ((224, 224), (64, 64))


def test_what_a_network_does_not_have_is_a_finding() -> None:
    with pytest.raises(scanlang.ScanError, match="drop_rate"):
        vmamba(drop_rate=0.1)
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        vmamba(pretrained=True)


def test_feature_maps_of_all_stages_or_some() -> None:
    images = torch.rand(1, 3, 64, 64)
    stages = vmamba(features_only=True)
    assert [one.shape[1:] for one in stages(images)] == [(16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2)]
    assert (stages.feature_info.channels(), stages.feature_info.reduction()) == ([16, 32, 64, 128], [4, 8, 16, 32])
    some = vmamba(features_only=True, out_indices=(1, -2))
    assert some.feature_info.channels() == [32, 64]
    assert not any("stage4" in name for name, _ in some.named_parameters())
    assert [one.shape[1] for one in some(images)] == [32, 64]
    layers = timm.create_model("vim_tiny", **VIM, features_only=True, img_size=64)
    assert [one.shape[1:] for one in layers(images)] == [(16, 4, 4)] * 4


def test_feature_maps_are_intermediates() -> None:
    images, model = torch.rand(1, 3, 32, 32), vmamba(num_classes=5).eval()
    end, maps = model.forward_intermediates(images, indices=[0, 2])
    assert [one.shape[1] for one in maps] == [16, 64]
    assert torch.allclose(model.forward_head(end), model(images), atol=1e-6)


def test_layers_learn_at_rates_that_grow_with_depth() -> None:
    model = vmamba()
    groups = timm.optim.param_groups_layer_decay(model, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    rates = sorted({group["lr_scale"] for group in groups})
    assert rates[-1] == 1.0
    assert len(rates) >= 6, "stem, five layers, head"
    of = {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}
    in_order = [of[id(model.get_parameter(name))] for name in ("stem.conv1.weight", "stage1.0.norm1.weight", "head.weight")]
    assert in_order == sorted(in_order)
    assert in_order[0] < in_order[1] < in_order[2]
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.5)
    free = {id(one) for group in optimizer.param_groups if group["weight_decay"] == 0 for one in group["params"]}
    assert all(id(model.get_parameter(name)) in free for name in ("stage1.0.op.scan.A_log", "stage1.0.op.scan.D", "head.bias"))
    assert id(model.get_parameter("head.weight")) not in free


def test_layers_are_frozen() -> None:
    model = vmamba()
    timm.utils.freeze(model, ["stem", "stage1"])
    learned = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert "stem" not in learned
    assert "stage1" not in learned
    assert "stage2" in learned


@pytest.mark.parametrize("arguments", [{}, {"num_classes": 9}, {"in_chans": 1}, {"in_chans": 4, "num_classes": 9}])
def test_files_are_taken_as_published(tmp_path: Path, arguments: dict[str, Any]) -> None:
    published = create_model("vmamba_tiny_s1l8", **VMAMBA)
    torch.save({"model": published_weights(published)}, tmp_path / "file.pth")
    made = vmamba(pretrained=True, pretrained_cfg_overlay={"file": str(tmp_path / "file.pth")}, **arguments).state_dict()
    for name, tensor in published.state_dict().items():
        if name == "stem.conv1.weight" and "in_chans" in arguments:
            assert torch.allclose(made[name].sum(1), tensor.sum(1) if arguments["in_chans"] == 1 else made[name].sum(1))
        elif not (name.startswith("head.") and "num_classes" in arguments):
            assert torch.equal(made[name], tensor), name


def test_checkpoints_of_training_are_loaded(tmp_path: Path) -> None:
    model, other = vmamba(), vmamba()
    torch.save(
        {"state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}}, tmp_path / "a.pth.tar"
    )
    timm.models.load_checkpoint(other, str(tmp_path / "a.pth.tar"))
    assert same(model, other)
    save(model, tmp_path / "b.safetensors")
    fresh = vmamba(checkpoint_path=str(tmp_path / "b.safetensors"))
    assert same(model, fresh)


def test_a_folder_of_the_hub_makes_the_model_again(tmp_path: Path) -> None:
    from timm.models._hub import save_for_hf

    model = timm.create_model("vim_tiny", **VIM, num_classes=6, img_size=64)
    save_for_hf(model, tmp_path, model_args={**VIM, "img_size": 64}, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert same(model, again)
    assert again.num_classes == 6
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=3)
    assert other.head.weight.shape == (3, 16)
    assert torch.equal(other.position.cells, model.position.cells)


def test_without_timm_the_door_says_what_to_install() -> None:
    code = "import sys; sys.modules['timm'] = None; import scanlang.timm"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode != 0
    assert "timm is not installed: pip install 'scanlang[timm]'" in result.stderr


def test_the_door_gives_the_filter() -> None:
    assert scanlang.timm.checkpoint_filter_fn(vmamba().state_dict(), vmamba()).keys() == vmamba().state_dict().keys()


@pytest.mark.long
@pytest.mark.parametrize("name", list_models())
def test_the_configuration_names_stem_and_head(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    assert isinstance(model, Backbone)
    assert model.pretrained_cfg["first_conv"] == first_convolution(model)
    assert f"{model.pretrained_cfg['classifier']}.weight" in model.state_dict()
    assert model.pretrained_cfg["paper_ids"].startswith("arXiv:")


@pytest.mark.long
@pytest.mark.parametrize("name", ["vmamba_tiny_s1l8", "vanilla_vmamba_tiny", "vim_tiny"])
def test_whole_networks_work_in_timm(name: str, tmp_path: Path) -> None:
    model = timm.create_model(name, num_classes=10).eval()
    images = torch.rand(1, 3, 224, 224)
    scores = model(images)
    assert scores.shape == (1, 10)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    again = timm.create_model(name, num_classes=10, checkpoint_path=str(tmp_path / "weights.pth")).eval()
    assert torch.equal(again(images), scores)
    maps = timm.create_model(name, features_only=True)
    assert [one.shape[1] for one in maps(images)] == maps.feature_info.channels()
