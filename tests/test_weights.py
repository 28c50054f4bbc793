"""Weights in files: reading what was published, a network and its program in one file, networks by name."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import types
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

import scanlang
from scanlang.backbones import create_model, list_models, load, read_published, save
from scanlang.backbones.backbone import Backbone
from scanlang.backbones.features import FeatureMaps
from scanlang.backbones.weights.convert import published_weights
from scanlang.backbones.weights.fit import fitted_weights, named_weights, with_channels
from scanlang.backbones.weights.positions import on_grid
from scanlang.diagnostics import ScanError

TINY: dict[str, Any] = {"dim": 16, "depth1": 1, "depth2": 1, "depth3": 1, "depth4": 1}

SCANS = """\
grid h, w
import std.selective
import "orders/spiral.scan"

scan both(dim, state = 2, rank = 2) {
  directions raster, spiral
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
}
"""

SPIRAL = """\
grid h, w
order spiral = table("spiral.npy")
"""

NETWORK = """\
import "scans.scan"

block layer(dim, scan core, block norm = layer_norm) {
  before = norm(dim)
  op     = core(dim)
  forward x = x + op(before(x))
}

block mean_pool() { forward x = mean(cells: x) }

backbone small(in_chans = 3, num_classes = 4, dim = 8, scan core = both, block norm = layer_norm) {
  stem          = conv2d(in_chans, dim, 4, stride = 4, padding = 0)
  feature stage = layer(dim, core, norm) * 2
  pool          = mean_pool()
  head          = linear(dim, num_classes)
}
"""

OTHER = """\
grid h, w
import std.selective

scan snakes(dim, state = 2, rank = 2) {
  directions snake, reverse(snake)
  recur      selective(state = state, rank = rank)
  project    low, B, C from x
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A backbone in three files and a table of 4 × 4 cells, and a scan in another."""
    place = tmp_path / "programs"
    (place / "orders").mkdir(parents=True)
    (place / "network.scan").write_text(NETWORK, encoding="utf-8")
    (place / "scans.scan").write_text(SCANS, encoding="utf-8")
    (place / "orders" / "spiral.scan").write_text(SPIRAL, encoding="utf-8")
    (place / "other.scan").write_text(OTHER, encoding="utf-8")
    spiral = [0, 1, 2, 3, 7, 11, 15, 14, 13, 12, 8, 4, 5, 6, 10, 9]
    np.save(place / "orders" / "spiral.npy", np.array(spiral))
    return place


def small(folder: Path, **given: Any) -> Backbone:
    return scanlang.Backbone(folder / "network.scan", **given)


def same(first: nn.Module, second: nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def codes(error: pytest.ExceptionInfo[ScanError]) -> list[str]:
    return [diagnostic.code for diagnostic in error.value.diagnostics]


# What others wrote


WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "stem.bias": torch.ones(2, dtype=torch.float16)}


@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_torch_are_read_with_what_scripts_keep_beside(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("yacs.config")
    settings = type("CfgNode", (dict,), {"__module__": "yacs.config"})
    module.CfgNode = settings  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    held = {"model": OrderedDict(WEIGHTS), "args": argparse.Namespace(lr=0.1), "config": settings(a=settings(b=2)), "epoch": 3}
    torch.save(held, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    monkeypatch.undo()
    read = read_published(tmp_path / "file.pth")
    assert read["config"] == {"a": {"b": 2}}
    assert read["args"].lr == 0.1
    assert all(torch.equal(read["model"][name], tensor) for name, tensor in WEIGHTS.items())


def test_the_file_says_whether_it_is_safetensors_not_its_name(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "file.pth")
    torch.save(WEIGHTS, tmp_path / "file.safetensors")
    for name in ("file.pth", "file.safetensors"):
        assert torch.equal(read_published(tmp_path / name)["stem.weight"], WEIGHTS["stem.weight"])


class Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("it-was-run",)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": WEIGHTS, "more": Runs()}, tmp_path / "file.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ScanError, match=r"it holds `posix\.mkdir`") as error:
        read_published("file.pth")
    assert codes(error) == ["S536"]
    assert not (tmp_path / "it-was-run").exists()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "it is empty"),
        (b"<!doctype html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04 not a zip file", "damaged"),
        (b"\x10\0\0\0\0\0\0\0{not a table of it", "damaged"),
        (b"weights", "damaged"),
    ],
)
def test_what_is_no_file_of_weights_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(ScanError, match=reason) as error:
        read_published(tmp_path / "file.pth")
    assert codes(error) == ["S535"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_damaged_files_are_findings(tmp_path: Path, kind: str) -> None:
    path, random = tmp_path / "file.pth", np.random.default_rng(0)
    if kind == "safetensors":
        save_file(WEIGHTS, path)
    else:
        torch.save({"model": WEIGHTS}, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    found = 0
    for _ in range(60):
        data = bytearray(whole[: random.integers(len(whole))] if random.random() < 0.3 else whole)
        for place in random.integers(len(data), size=random.integers(1, 12)) if data else ():
            data[place] = random.integers(256)
        path.write_bytes(data)
        try:
            read_published(path)
        except ScanError:
            found += 1
    assert found > 10


def test_a_list_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "file.pth")
    with pytest.raises(ScanError, match="it holds a list, not tensors by name"):
        read_published(tmp_path / "file.pth")


# A network and its program in one file


def test_a_network_travels_with_its_programs(folder: Path, tmp_path: Path) -> None:
    model = small(folder, num_classes=3, norm="rms_norm")
    other = small(folder, core=(folder / "other.scan", "snakes"))
    save(model, tmp_path / "one.safetensors")
    save(other, tmp_path / "two.safetensors")
    images = torch.rand(2, 3, 16, 16)
    expected = [one(images) for one in (model, other)]
    shutil.rmtree(folder)
    for name, before, scores in zip(("one", "two"), (model, other), expected, strict=True):
        again = load(tmp_path / f"{name}.safetensors")
        assert same(before, again)
        assert torch.equal(again(images), scores)
    assert again.origin.name == "small"
    assert [order.name for order in again.origin.program.directions("both")] == ["raster", "spiral"]


def test_a_network_is_saved_again_after_loading(folder: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    save(small(folder, core=(folder / "other.scan", "snakes")), first)
    shutil.rmtree(folder)
    save(load(first), second)
    assert first.read_bytes() == second.read_bytes()


def test_the_file_is_plain_safetensors_and_tells_nothing_of_the_disk(folder: Path, tmp_path: Path) -> None:
    save(small(folder), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        described = file.metadata()["scanlang"]
        assert "stage.0.op.A_log" in set(file.keys())
    assert str(tmp_path) not in described
    assert json.loads(described)["version"] == scanlang.__version__
    assert json.loads(described)["program"]["files"].keys() == {"scans.scan", "orders/spiral.scan"}
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name, given", [("vmamba_tiny_s1l8", TINY), ("vim_tiny", {"dim": 16, "depth": 2})])
def test_a_network_of_the_library_travels_too(tmp_path: Path, name: str, given: dict[str, Any]) -> None:
    model = create_model(name, **given, num_classes=0)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert same(model, again)
    assert again.num_classes == 0


def test_positions_are_resized_for_other_images(tmp_path: Path) -> None:
    model = create_model("vim_tiny", dim=16, depth=1, img_size=64)
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors", img_height=96)
    assert again.position.cells.shape == (6, 4, 16)
    assert torch.equal(again.position.cells, on_grid(model.position.cells, (6, 4)))
    assert torch.equal(again.position.cls, model.position.cls)


def test_what_wraps_a_network_is_left_out(folder: Path, tmp_path: Path) -> None:
    model = small(folder)
    wrapped = nn.DataParallel(model)
    save(wrapped, tmp_path / "model.safetensors")
    assert same(load(tmp_path / "model.safetensors"), model)


def test_another_head_and_another_pool_are_kept(folder: Path, tmp_path: Path) -> None:
    model = small(folder)
    model.reset_classifier(7, "max")
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(again(images), model(images))


def test_a_network_is_loaded_for_other_classes_and_images(folder: Path, tmp_path: Path) -> None:
    model = small(folder)
    save(model, tmp_path / "model.safetensors")
    with pytest.warns(UserWarning, match="a head for 4 classes; the model's, for 9, starts anew"):
        again = load(tmp_path / "model.safetensors", num_classes=9, in_chans=1)
    assert again.head.weight.shape == (9, 8)
    assert torch.equal(again.stem.weight, model.stem.weight.sum(1, keepdim=True))
    assert torch.equal(again.stage.get_submodule("1").op.A_log, model.stage.get_submodule("1").op.A_log)


def test_what_could_not_be_made_again_is_not_saved(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    strange = scanlang.load(folder / "other.scan").scans["snakes"]
    cut = small(folder)
    cut.prune_intermediate_layers([0])
    changed = small(folder)
    changed.stem = nn.Conv2d(3, 8, 2)
    for model, reason in (
        (nn.Linear(2, 2), r"`save` takes a `scanlang\.Backbone`"),
        (small(folder, core=strange), r"`core=\(program, name\)` says it"),
        (cut, r"no longer as its program says: `head"),
        (changed, r"no longer as its program says: `stem\.weight`"),
    ):
        with pytest.raises(ScanError, match=reason) as error:
            save(model, path)
        assert codes(error) == ["S539"]
    assert not path.exists()


def test_a_scan_of_the_same_program_needs_no_program(folder: Path, tmp_path: Path) -> None:
    program = scanlang.load(folder / "network.scan")
    save(scanlang.Backbone(program, core=program.scans["both"]), tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").origin.name == "small"


def described(folder: Path, tmp_path: Path) -> dict[str, Any]:
    save(small(folder), tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        made: dict[str, Any] = json.loads(file.metadata()["scanlang"])
    return made


def rewritten(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"scanlang": text})
    return path


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"form": 2, "version": "9.9"}, r"scanlang 9\.9 saved it in another form"),
        ({"program": None}, "a program is missing"),
        ({"program": {"name": "a", "text": 3}}, "the text of a program is missing"),
        ({"program": {"name": "a", "text": "", "files": {"../out.scan": ""}}}, r"`\.\./out\.scan` leaves the folder"),
        ({"program": {"name": "a", "text": "", "files": {"/tmp/out.scan": ""}}}, "leaves the folder"),
        ({"program": {"name": "a", "text": "", "files": {"a": "", "a/b": ""}}}, "cannot be written"),
        ({"program": {"name": "a", "text": "", "files": {"a": 3}}}, "are damaged"),
        ({"program": {"name": "a", "text": "", "tables": {"a.npy": "é"}}}, "the table `a.npy` is damaged"),
        ({"program": {"name": "a", "text": "", "files": dict.fromkeys(map(str, range(1001)), "")}}, "1001 files"),
        ({"backbone": None}, "the name of its backbone is missing"),
        ({"given": [1]}, "its `given` is damaged"),
        ({"given": {"dim": "8"}}, "given for the network is damaged"),
        ({"given": {"core": {"program": {}}}}, "a name is missing"),
    ],
)
def test_a_program_that_is_none_is_not_loaded(folder: Path, tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = rewritten_with(folder, tmp_path, change)
    with pytest.raises(ScanError, match=reason) as error:
        load(path)
    assert codes(error) == ["S537"]
    assert {one.name for one in tmp_path.iterdir()} == {"model.safetensors", "programs"}


def rewritten_with(folder: Path, tmp_path: Path, change: dict[str, Any]) -> Path:
    return rewritten(tmp_path, json.dumps({**described(folder, tmp_path), **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_a_damaged_description_is_not_loaded(folder: Path, tmp_path: Path, text: str) -> None:
    described(folder, tmp_path)
    with pytest.raises(ScanError, match="damaged"):
        load(rewritten(tmp_path, text))


def test_a_program_with_mistakes_says_where_and_who_saved_it(folder: Path, tmp_path: Path) -> None:
    program = {"name": "mine.scan", "text": "grid h, w\norder a = rastr", "files": {}}
    with pytest.raises(ScanError, match=r"mine\.scan:2:11") as error:
        load(rewritten_with(folder, tmp_path, {"program": program}))
    assert any("saved by scanlang" in note for note in error.value.__notes__)


def test_weights_of_another_network_are_findings(folder: Path, tmp_path: Path) -> None:
    path = rewritten_with(folder, tmp_path, {"given": {"dim": 16}})
    with pytest.raises(ScanError) as error:
        load(path)
    assert codes(error) == ["S532"]


def test_other_files_are_not_loaded(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    save_file(WEIGHTS, tmp_path / "b.safetensors")
    for name, reason in (("a.pth", "it is no file of safetensors"), ("b.safetensors", "without a program")):
        with pytest.raises(ScanError, match=reason) as error:
            load(tmp_path / name)
        assert codes(error) == ["S537"]
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "c.safetensors")


# Networks by name


def test_names_are_those_of_the_programs() -> None:
    assert {"vmamba_tiny_s1l8", "vanilla_vmamba_base", "vim_tiny", "vim_small_stride8"} <= set(list_models())
    assert list_models("vim_s*") == ["vim_small", "vim_small_stride8"]
    assert list_models() == sorted(list_models())
    assert list_models("resnet*") == []


def test_a_name_that_is_none_is_corrected(folder: Path) -> None:
    with pytest.raises(ScanError, match="did you mean `vmamba_tiny_s1l8`") as error:
        create_model("vmamba_tiny_s1l9")
    assert codes(error) == ["S538"]
    with pytest.raises(ScanError, match="it has `small`"):
        create_model("large", program=folder / "network.scan")


def test_the_size_of_images_is_for_networks_that_have_one() -> None:
    size = create_model("vim_tiny", dim=16, depth=1, img_size=(64, 96)).position.cells.shape
    assert size == (4, 6, 16)
    create_model("vmamba_tiny_s1l8", **TINY, img_size=64, drop_path_rate=None)


def test_features_are_maps(folder: Path) -> None:
    model = create_model("small", program=folder / "network.scan", features_only=True, out_indices=(-1,))
    assert isinstance(model, FeatureMaps)
    (made,) = model(torch.rand(2, 3, 16, 16))
    assert made.shape == (2, 8, 4, 4)
    info = model.feature_info
    assert (info.channels(), info.reduction(), info.module_name()) == ([8], [4], ["stage"])


@pytest.mark.parametrize("name, given", [("vmamba_tiny_s1l8", TINY), ("vim_tiny", {"dim": 16, "depth": 2})])
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": {f"module.{n}": t for n, t in w.items()}}])
def test_published_weights_go_into_other_heads_and_stems(tmp_path: Path, name: str, given: dict[str, Any], wrap: Any) -> None:
    published = create_model(name, **given, num_classes=20)
    torch.save(wrap(published_weights(published)), tmp_path / "file.pth")
    with warnings.catch_warnings(action="error"):
        assert same(published, create_model(name, **given, num_classes=20, weights=tmp_path / "file.pth"))
    with pytest.warns(UserWarning, match="a head for 20 classes; the model's, for 5, starts anew"):
        other = create_model(name, **given, num_classes=5, in_chans=1, weights=tmp_path / "file.pth")
    theirs, ours = published.state_dict(), other.state_dict()
    changed = {key for key in theirs if theirs[key].shape != ours[key].shape}
    stem = next(key for key in changed if not key.startswith("head."))
    assert changed == {stem, "head.weight", "head.bias"}
    assert torch.equal(ours[stem], theirs[stem].sum(1, keepdim=True))
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs.keys() - changed)
    headless = create_model(name, **given, num_classes=0, weights=tmp_path / "file.pth").state_dict()
    assert all(torch.equal(theirs[key], headless[key]) for key in headless)
    with warnings.catch_warnings(action="error"):
        features = create_model(name, **given, features_only=True, weights=tmp_path / "file.pth")
    assert torch.equal(features.state_dict()[f"model.{stem}"], theirs[stem])


def test_head_and_stem_are_given_as_in_the_file_to_those_who_fit_them() -> None:
    published = create_model("vmamba_tiny_s1l8", **TINY, num_classes=20)
    model = create_model("vmamba_tiny_s1l8", **TINY, num_classes=5, in_chans=1)
    named = named_weights(published_weights(published), model)
    assert all(torch.equal(tensor, named[name]) for name, tensor in published.state_dict().items())


def test_a_stem_sees_other_channels_with_the_same_sum() -> None:
    weight = torch.rand(4, 3, 2, 2)
    assert torch.equal(with_channels(weight, 1), weight.sum(1, keepdim=True))
    grown = with_channels(weight, 5)
    assert torch.allclose(grown, weight[:, [0, 1, 2, 0, 1]] * 0.6)


def test_own_files_go_into_a_network_that_is_named(folder: Path, tmp_path: Path) -> None:
    model = small(folder, core=(folder / "other.scan", "snakes"))
    save(model, tmp_path / "model.safetensors")
    again = create_model(
        "small", program=folder / "network.scan", core=folder / "other.scan", weights=tmp_path / "model.safetensors"
    )
    assert same(model, again)
    detector = {f"backbone.{name}": one for name, one in model.state_dict().items() if not name.startswith("head.")}
    with pytest.warns(UserWarning, match="the file has no head; the model's, for 4, starts anew"):
        fresh = fitted_weights({"state_dict": detector}, model)
    assert all(torch.equal(fresh[name], tensor) for name, tensor in model.state_dict().items())
    headless = create_model("small", program=folder / "network.scan", num_classes=0, core=folder / "other.scan")
    headless.load_state_dict(fitted_weights(model.state_dict(), headless))


def test_the_package_is_imported_without_torch() -> None:
    code = "import sys, scanlang.backbones; dir(scanlang.backbones); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
