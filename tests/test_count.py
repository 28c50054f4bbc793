"""Parameters and operations of networks: the published numbers, rules by hand, and the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import scanlang
from scanlang.check.program import CheckedScan
from scanlang.cli import main
from scanlang.library import backbone_programs, library
from scanlang.networks.count import Count, count, parameter_shapes
from scanlang.networks.instantiate import instantiate
from scanlang.networks.network import Network, ScanLayer
from scanlang.networks.rules import DENSE, RULES, SCANS
from scanlang.networks.scan_shape import scan_shape
from scanlang.networks.scan_work import scan_work
from scanlang.networks.values import Map
from scanlang.networks.work_counts import Work

PHOTOGRAPH = (224, 224)
VMAMBA = {
    "vanilla_vmamba_tiny": (22_893_448, 5.627),
    "vanilla_vmamba_small": (44_417_416, 11.232),
    "vanilla_vmamba_base": (76_254_056, 18.020),
    "vmamba_tiny_s2l5": (30_705_832, 4.858),
    "vmamba_small_s2l15": (50_147_752, 8.716),
    "vmamba_base_s2l15": (88_557_800, 15.359),
    "vmamba_tiny_s1l8": (30_249_064, 4.906),
    "vmamba_small_s1l20": (49_012_840, 8.612),
    "vmamba_base_s1l20": (86_614_504, 15.221),
}
VIM = {
    "vim_tiny": (7_148_008, 1.293, 0.523),
    "vim_tiny_stride8": (7_250_344, 4.790, 1.938),
    "vim_small": (25_796_584, 4.851, 1.046),
    "vim_small_stride8": (26_001_256, 17.976, 3.875),
    "vim_base": (97_598_440, 18.766, 2.092),
}


@cache
def program(name: str) -> scanlang.Program:
    return scanlang.load(name)


def network(name: str, backbone: str, **given: int) -> Network:
    loaded = program(name)
    return instantiate(loaded.backbones[backbone], loaded.axes, given)


# The published numbers.


@pytest.mark.parametrize("name", VMAMBA)
def test_vmamba_as_published(name: str) -> None:
    counted = count(network("backbones.vmamba", name), PHOTOGRAPH)
    parameters, billions = VMAMBA[name]
    assert counted.parameters == parameters
    assert round(counted.operations(RULES["vmamba"]) / 1e9, 3) == billions


@pytest.mark.parametrize("name", VIM)
def test_vim_as_published(name: str) -> None:
    counted = count(network("backbones.vim", name), PHOTOGRAPH)
    parameters, dense, scans = VIM[name]
    parts = RULES["vim"].parts(counted.work)
    assert counted.parameters == parameters
    assert (round(parts[DENSE] / 1e9, 3), round(parts[SCANS] / 1e9, 3)) == (dense, scans)


def check_module(name: str, backbone: str) -> None:
    """Shallow and narrow, which says the same."""
    formals = [formal.name for formal in program(name).backbones[backbone].formals]
    sizes = {"dim": 32, **{formal: 2 for formal in formals if formal.startswith("depth")}}
    model = scanlang.Backbone(program(name), backbone, **sizes)
    shapes = {key: tuple(parameter.shape) for key, parameter in model.named_parameters()}
    assert parameter_shapes(network(name, backbone, **sizes)) == shapes


@pytest.mark.parametrize("name, backbone", [("backbones.vim", "vim_tiny")])
def test_parameters_are_those_of_the_module(name: str, backbone: str) -> None:
    check_module(name, backbone)


@pytest.mark.long
@pytest.mark.parametrize("name", backbone_programs())
def test_parameters_are_those_of_all_modules(name: str) -> None:
    for backbone in program(name).backbones:
        if "small" not in backbone and "base" not in backbone:
            check_module(name, backbone)


# Rules by hand.

SMALL = """\
import std.selective

grid h, w

scan two(dim) {
  directions raster, reverse(raster)
  conv       3
  recur      selective(state = 4, rank = 2)
  project    low, B, C from x
}

block mix(dim) {
  norm = layer_norm(dim)
  op   = two(dim)
  fc   = linear(dim, 2 * dim)
  forward x = fc(op(norm(x)))
}

block mean_pool() { forward x = mean(cells: x) }

backbone small(in_chans = 3, num_classes = 5, dim = 6) {
  stem = conv2d(in_chans, dim, 2, stride = 2, padding = 0)
  mix  = mix(dim)
  pool = mean_pool()
  head = linear(2 * dim, num_classes, bias = false)
}
"""


def small(size: tuple[int, int] = (8, 10)) -> Count:
    loaded = scanlang.loads(SMALL)
    return count(instantiate(loaded.backbones["small"], loaded.axes), size)


def test_a_small_network_by_hand() -> None:
    cells, dim, state, rank, width = 4 * 5, 6, 4, 2, 3
    directions = 2
    steps = directions * cells
    projections = steps * dim * (rank + 2 * state) + steps * dim * width + steps * dim * rank
    wanted = {
        "stem": Work(dense=cells * dim * 3 * 4),
        "mix": Work(
            dense=projections + cells * dim * 2 * dim,
            recurrent=steps * dim * 2 * state,
            entries=steps * dim * state,
            outputs=steps * dim,
            normalised=cells * dim,
        ),
        "pool": Work(pooled=cells * 2 * dim),
        "head": Work(dense=2 * dim * 5),
    }
    assert {section.name: section.work for section in small().sections} == wanted
    per_direction = dim * (rank + 1 + state + 1) + (rank + 2 * state) * dim + width * dim + dim
    learned = {"stem": 3 * 4 * dim + dim, "mix": 2 * dim + directions * per_direction + 2 * dim * dim + 2 * dim}
    assert {section.name: section.parameters for section in small().sections} == {**learned, "pool": 0, "head": 60}


def test_rules_weigh_the_same_work() -> None:
    work = Work(dense=1000, recurrent=100, entries=10, outputs=2, normalised=3, standardised=5, pooled=7, resized=11)
    assert {name: rule.total(work) for name, rule in RULES.items()} == {
        "macs": 1100,
        "vmamba": 1000 + 92 + 15 + 20 + 7 + 44,
        "vim": 1090,
    }


def of_scan(text: str, channels: int = 4, grid: tuple[int, int] = (6, 8), tokens: tuple[tuple[str, int], ...] = ()) -> Work:
    """The work of the scan `s`, with its clauses, over a recurrence of two states."""
    loaded = scanlang.loads(
        "grid h, w\n"
        "order o = insert(raster, cls at middle)\n"
        "recurrence r(state n) { input x  shared B[n]  h[n] = 0.5 * h[n] + B[n] * x  y = sum(n: h[n]) }\n"
        f"scan s(dim) {{ recur r(state = 2)  {text} }}"
    )
    layer = ScanLayer(loaded.scans["s"], channels, {"dim": channels}, 0, loaded.scans["s"].span)
    return scan_work(layer, Map(channels, tokens=tokens), loaded.axes, grid)


@pytest.mark.parametrize(
    "clauses, steps, projected",
    [
        ("directions raster, columns  project B from x", 96, 2 * 4 * 96),
        ("directions raster, columns  project B from x  share project", 96, 2 * 4 * 48),
        ("directions raster, columns  project B from x  share project  conv 3", 96, 2 * 4 * 96 + 3 * 4 * 96),
        ("directions raster, columns  project B from x  share all  conv 3 along raster", 96, 2 * 4 * 48 + 3 * 4 * 48),
        ("directions raster, columns  project B from x  conv 3 along raster", 96, 2 * 4 * 96 + 3 * 4 * 96),
        ("directions dilate(raster, 2)  uncovered = 0  project B from x", 12, 2 * 4 * 12),
        ("directions concat(raster, reverse(raster))  project B from x", 96, 2 * 4 * 96),
    ],
    ids=["own", "shared", "convolved", "along, shared", "along", "fewer", "twice"],
)
def test_directions_cost_their_steps(clauses: str, steps: int, projected: int) -> None:
    work = of_scan(clauses)
    assert (work.outputs, work.entries, work.dense) == (4 * steps, 8 * steps, projected)


def test_channels_that_are_split_are_paid_for_once() -> None:
    work = of_scan("directions raster, columns  channels split 3, 1  project B from x")
    assert (work.outputs, work.dense) == (4 * 48, 2 * 4 * 48)


def test_tokens_are_steps() -> None:
    assert of_scan("directions o  project B from x", tokens=(("cls", 1),)).outputs == 4 * 49


def test_layers_of_a_merge() -> None:
    merge = "use down = linear(dim, 2)  use up = linear(2, dim)  use norm = layer_norm(dim)"
    clauses = f"directions raster, columns  project B from x  {merge}"
    plain = of_scan("directions raster, columns  project B from x")
    gated = of_scan(f"{clauses}  merge sum(k: norm(y[k]) * sigmoid(up(silu(down(mean(cells: y[k]))))))")
    assert gated == plain + Work(dense=2 * 16, normalised=2 * 4 * 48, pooled=2 * 4 * 48)
    each = of_scan(f"{clauses}  merge norm(up(down(y[0] + y[1])))")
    assert each == plain + Work(dense=16 * 48, normalised=4 * 48)


def channels_of(scan: CheckedScan) -> int:
    """So many that heads, groups and parts are whole."""
    return 384 * (1 if scan.split is None else math.lcm(len(scan.directions), sum(scan.split)))


def check_shapes(name: str) -> None:
    loaded = scanlang.load(name)
    for scan in loaded.scans:
        found = loaded.scans[scan]
        channels = channels_of(found)
        module = scanlang.Scan2d(loaded, scan, channels)
        shapes = {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}
        assert scan_shape(ScanLayer(found, channels, module.sizes, 0, found.span)).parameters() == shapes, scan


@pytest.mark.parametrize("name", ["std.vim", "std.ssd", "std.eamamba"])
def test_parameters_of_scans_are_those_of_the_module(name: str) -> None:
    check_shapes(name)


@pytest.mark.long
@pytest.mark.parametrize("name", library())
def test_parameters_of_all_scans_are_those_of_the_module(name: str) -> None:
    check_shapes(name)


# The command.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.scan").write_text(SMALL, encoding="utf-8")
    other = "backbone other(dim = 2) { fc = linear(3, dim) }"
    (tmp_path / "two.scan").write_text(f"{SMALL}{other}\n", encoding="utf-8")
    (tmp_path / "none.scan").write_text("grid h, w\n", encoding="utf-8")
    (tmp_path / "row.scan").write_text(f"grid l\n{other}\n", encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["count", *arguments])
    assert "Traceback" not in result.output
    return result


def test_a_table_with_the_rule_beside_the_number(folder: Path) -> None:
    result = run("small.scan", "--size", "8x10")
    assert result.exit_code == 0
    assert (
        result.output
        == """\
small, on images of 8x10
parameters  498
MACs           0.008 M
               0.007 M  linear maps and convolutions
               0.002 M  scans
rule macs: multiply-adds of linear maps, convolutions, projections and recurrences (one for every update of a state's
            entry)

section  output  channels  parameters     MACs
stem        4x5         6          78  0.001 M
mix         4x5        12         360  0.007 M
pool          1        12           0  0.000 M
head          1         5          60  0.000 M
"""
    )


def test_json_has_the_numbers(folder: Path) -> None:
    document = json.loads(run("small.scan", "--size", "8x10", "--rule", "vmamba", "--format", "json").output)
    counted = small()
    assert document["version"] == 1
    assert document["parameters"] == counted.parameters
    assert (document["rule"]["name"], document["operations"]) == ("vmamba", counted.operations(RULES["vmamba"]))
    assert sum(document["parts"].values()) == document["operations"]
    assert [section["name"] for section in document["sections"]] == ["stem", "mix", "pool", "head"]
    assert document["sections"][0]["grid"] == [4, 5]
    assert document["sections"][3]["grid"] is None


def test_the_command_imports_nothing_heavy(folder: Path) -> None:
    heavy = ("torch", "triton", "matplotlib", "sympy", "networkx")
    code = (
        "import sys\nfrom scanlang.cli import main\n"
        f"try:\n    main()\nfinally:\n    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, "count", "small.scan"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == "[]\n"


def test_formals_are_set(folder: Path) -> None:
    scan = SMALL.replace("raster, reverse(raster)", "raster")
    (folder / "mine.scan").write_text(scan.split("block")[0], encoding="utf-8")
    text = SMALL.replace("block mix(dim) {", "block mix(dim, scan core) {").replace("op   = two(dim)", "op   = core(dim)")
    text = text.replace("dim = 6)", "dim = 6, scan core = two)").replace("mix(dim)\n", "mix(dim, core)\n")
    (folder / "open.scan").write_text(text, encoding="utf-8")
    usual, own = (json.loads(run("open.scan", *more, "--format", "json").output) for more in ([], ["--set", "core=mine.scan"]))
    assert usual["size"] == [224, 224]
    assert own["parameters"] < usual["parameters"]
    assert own["parts"][SCANS] * 2 == usual["parts"][SCANS]
    wider = json.loads(run("open.scan", "--set", "dim=12", "--set", "core=two", "--format", "json").output)
    assert wider["sections"][0]["channels"] == 12


def test_a_published_network_by_its_name(folder: Path) -> None:
    result = run("vmamba_tiny_s1l8")
    assert result.exit_code == 0
    assert "parameters  30,249,064\nFLOPs          4.906 G\n" in result.output
    assert "rule vmamba: " in result.output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["missing.scan"], "no file and no published network missing.scan"),
        (["missing.scan", "small"], "no file missing.scan"),
        (["vmamba_tiny_s1l9"], "did you mean vmamba_tiny_s1l8?"),
        (["two.scan"], "say which: small, other"),
        (["two.scan", "smal"], "did you mean small?"),
        (["none.scan"], "has no backbone"),
        (["small.scan", "--size", "8"], "2 axes, h, w"),
        (["small.scan", "--size", "8x8x8"], "2 axes, h, w"),
        (["small.scan", "--size", "x"], "no grid size"),
        (["row.scan"], "1 axis, l"),
        (["small.scan", "--rule", "flops"], "macs, vmamba, vim"),
        (["small.scan", "--set", "dim"], "such as dim=96"),
        (["small.scan", "--set", "dims=8"], "did you mean dim?"),
        (["small.scan", "--set", "dim=wide"], "wide is no number"),
        (["small.scan", "--set", "dim=1e999"], "1e999 is no number"),
        (["."], "directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_exit_code_2(folder: Path, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["small.scan", "--size", "1x8"], "S345"),
        (["small.scan", "--set", "dim=0"], "S3"),
        (["small.scan", "--set", "in_chans=2.5"], "S3"),
        (["std.vmanba"], "S520"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_a_finding(folder: Path, arguments: list[str], code: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert f"error[{code}" in result.output
