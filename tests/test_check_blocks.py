"""Blocks and backbones checked: what their names mean, what they call, variants, imports, wrong programs near right ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import scanlang
from scanlang.check.module_names import MODEL, MODULE
from scanlang.check.network_parts import nesting, scans_in
from scanlang.check.program import CheckedBlock, CheckedLayer, CheckedNumber, CheckedScan, FormalCallee, Word
from scanlang.cli_summary import summary
from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.errors import CATALOGUE
from scanlang.library import backbone_programs
from scanlang.limits import LIMITS
from scanlang.networks.vocabulary import FUNCTIONS, LAYERS, POINTWISE
from scanlang.syntax.nodes import Name

MIX = """
import std.vmamba

block mix(dim, ratio = 2, scan core = cross2d, block norm = layer_norm) {
  inner = dim * ratio
  n     = norm(dim)
  up    = linear(dim, inner, weight = truncated_normal(0.02))
  op    = core(inner, state = 1)
  down  = linear(inner, dim)
  forward x = x + down(op(silu(up(n(x)))))
}
"""
NET = """
backbone net(in_chans = 3, num_classes = 10, dim = 8, depth = 2, rate = 0.1, scan core = cross2d) {
  stem           = conv2d(in_chans, dim, 4, stride = 4)
  wide           = 2 * dim
  feature stage1 = mix(dim, core = core) * depth
  down           = conv2d(dim, wide, 2, stride = 2)
  feature stage2 = mix(wide, 1) * 2
  pool           = mean_pool()
  head           = linear(wide, num_classes)
}
block mean_pool() { forward x = mean(cells: x) }
"""


def checked(text: str) -> scanlang.Program:
    return scanlang.loads(text, "t.scan")


def findings(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ScanError) as caught:
        checked(text)
    return caught.value.diagnostics


def said(text: str) -> list[tuple[str, str]]:
    """The codes of the findings, and the text that each points at."""
    return [(finding.code, finding.span.text) for finding in findings(text)]


def in_block(body: str, formals: str = "dim") -> list[tuple[str, str]]:
    return said(f"block b({formals}) {{ {body} }}")


def in_forward(body: str) -> list[tuple[str, str]]:
    return in_block(f"n = layer_norm(dim) two = dim * 2 forward x = let m = n(x) in {body}")


def test_what_a_block_calls_is_resolved() -> None:
    program = checked(MIX + NET)
    mix = program.blocks["mix"]
    assert [formal.kind for formal in mix.formals] == ["number", "number", "scan", "block"]
    assert mix.formals[2].default is program.scans["cross2d"]
    assert mix.formals[3].default == Word("layer_norm")
    inner, n, up, op, _ = mix.statements
    assert isinstance(inner, CheckedNumber)
    assert isinstance(n, CheckedLayer)
    assert isinstance(up, CheckedLayer)
    assert isinstance(op, CheckedLayer)
    assert (n.callee, up.callee, op.callee) == (FormalCallee("norm"), Word("linear"), FormalCallee("core"))
    assert list(up.keywords) == ["weight"]
    assert mix.inputs == ("x",)


def test_a_backbone_is_resolved_whatever_the_order_of_the_file() -> None:
    program = checked(MIX + NET)
    net = program.backbones["net"]
    assert list(program.blocks) == ["mix", "mean_pool"]
    stage = net.statements[2]
    assert isinstance(stage, CheckedLayer)
    assert stage.callee is program.blocks["mix"]
    assert (stage.feature, stage.keywords) == ("feature", {"core": FormalCallee("core")})
    assert isinstance(stage.repeat, Name)
    pool = net.statements[5]
    assert isinstance(pool, CheckedLayer)
    assert pool.callee is program.blocks["mean_pool"]
    assert net.base is None


def test_the_program_says_what_it_has() -> None:
    program = checked(MIX + NET)
    assert program.axes == ("h", "w")
    assert repr(program).endswith("; blocks mix, mean_pool; backbones net>")
    assert "blocks" not in repr(scanlang.load("std.vim"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = linear(dim)", [("S304", "linear(dim)")]),
        ("a = linear(dim, dim, dim, dim)", [("S304", "linear(dim, dim, dim, dim)")]),
        ("a = linear(dim, out = dim, out = 3)", [("S102", "out = 3")]),
        ("a = linear(dim, dim, out = 3)", [("S304", "linear(dim, dim, out = 3)")]),
        ("a = linear(dim, dim, biass = false)", [("S101", "biass")]),
        ("a = linear(dim, width)", [("S101", "width")]),
        ("a = linear(dim, dim, weight = dim)", [("S311", "dim")]),
        ("a = linear(dim, dim, weight = normal())", [("S311", "normal()")]),
        ("a = linear(dim, dim, weight = normal(a = 2))", [("S311", "normal(a = 2)")]),
        ("a = linear(dim, dim, weight = normal(width))", [("S101", "width")]),
        ("a = drop_path(0.1, weight = normal(1))", [("S311", "weight")]),
        ("a = lineer(dim, dim)", [("S101", "lineer")]),
        ("a = linear(dim, linear(dim, dim))", [("S301", "linear")]),
        ("a = linear(dim, -norm(dim))", [("S301", "norm")]),
        ("a = linear(dim, b(dim))", [("S301", "b")]),
        ("a = 2 * linear(dim, dim)", [("S301", "linear")]),
        ("a = linear(dim, dim) * 2 * 3", [("S301", "linear")]),
        ("a = linear(dim, dim) + linear(dim, dim)", [("S301", "linear"), ("S301", "linear")]),
        ("a = dim * norm", [("S302", "norm")]),
        ("a = layer_norm", [("S301", "layer_norm")]),
        ("a = norm", [("S301", "norm")]),
        ("a = layer_norm * 2", [("S301", "layer_norm")]),
        ("scale = 2 a = linear(scale, dim)", []),
        ("a = dim * linear", [("S302", "linear")]),
        ("a = ceil(dim, 2)", [("S113", "ceil(dim, 2)")]),
        ("a = ceil(value = dim)", [("S014", "value = dim")]),
        ("a = 2 + exp(dim)", [("S101", "exp")]),
        ("a = silu()", [("S120", "silu")]),
        ("a = dim[0]", [("S123", "dim[0]")]),
        ("a = dim + true", [("S120", "true")]),
        ("a = mean(cells: dim)", [("S120", "mean")]),
        ("a = ramp(dim)", [("S310", "ramp")]),
        ("a = drop_path(ramp(dim)) * 2", [("S310", "ramp")]),
        ("a = linear(dim, dim) * width", [("S101", "width")]),
        ("a = linear(dim, dim) * false", []),
        ("a = normal(0.02)", [("S301", "normal")]),
        ("a = norm(dim, weight = 2)", []),
        ("a = b(dim)", [("S306", "b")]),
        ("dim = 3", [("S102", "dim")]),
        ("a = 3 a = 4", [("S102", "a")]),
        ("norm = layer_norm(dim)", [("S102", "norm")]),
        ("norm = norm(dim) a = norm", [("S102", "norm"), ("S302", "norm")]),
        ("a = dim a = linear(dim, dim) c = linear(a, dim)", [("S102", "a"), ("S302", "a")]),
        ("x = 3", [("S102", "x")]),
        ("true = 3", [("S108", "true")]),
        ("max = 3", [("S108", "max")]),
        ("silu = linear(dim, dim)", [("S108", "silu")]),
        ("state_dict = linear(dim, dim)", [("S108", "state_dict")]),
        ("_a = linear(dim, dim)", [("S108", "_a")]),
        ("_a = 3", []),
        ("num_classes = 3", []),
        ("a = linear(dim, later) later = 3", [("S101", "later")]),
    ],
)
def test_statements(text: str, expected: list[tuple[str, str]]) -> None:
    """An unused layer, and what does not fit a formal that has no default, is not said here."""
    body = f"block b(dim, block norm) {{ {text} forward x = x }}"
    try:
        checked(body)
        found = []
    except ScanError as error:
        found = [(finding.code, finding.span.text) for finding in error.diagnostics if finding.code != "S126"]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n(m)", []),
        ("n(x) * two - 1 / (1 + m)", []),
        ("n(m) * (dim // 2 + ceil(dim / 3) % 2)", []),
        ("n(x) * sqrt(dim) + min(dim, 3) * max(m, x)", []),
        ("concat(n(x), m, cells(x)) + resize(x, m) + token(x, cls)", []),
        ("n(softmax(cells: m) * mean(cells: x)) - max(cells: x)", []),
        ("split(n(m), 2)", []),
        ("split(n(m), two, dim / 2)", []),
        ("n(x, m)", [("S113", "n(x, m)")]),
        ("n()", [("S113", "n()")]),
        ("n(x = m)", [("S014", "x = m")]),
        ("n(y)", [("S101", "y")]),
        ("n(m[0])", [("S123", "m[0]")]),
        ("n(m) + n", [("S301", "n")]),
        ("norm(m)", [("S301", "norm")]),
        ("linear(m)", [("S301", "linear")]),
        ("b(m)", [("S301", "b")]),
        ("x(m)", [("S302", "x")]),
        ("two(m)", [("S302", "two")]),
        ("gellu(m)", [("S101", "gellu")]),
        ("exp(m, x)", [("S113", "exp(m, x)")]),
        ("min(m)", [("S113", "min(m)")]),
        ("concat(m)", [("S113", "concat(m)")]),
        ("split(m)", [("S113", "split(m)")]),
        ("split(m, m)", [("S113", "m")]),
        ("resize(m)", [("S113", "resize(m)")]),
        ("token(m)", [("S113", "token(m)")]),
        ("token(m, 2)", [("S113", "2")]),
        ("cells(m, x)", [("S113", "cells(m, x)")]),
        ("softmax(m)", [("S113", "softmax(m)")]),
        ("ceil(m)", [("S101", "ceil")]),
        ("ramp(m)", [("S101", "ramp")]),
        ("m // 2", [("S120", "//")]),
        ("2 % m", [("S120", "%")]),
        ("m + true", [("S120", "true")]),
        ("let x = m in x", [("S102", "x")]),
        ("let m = m in m", [("S102", "m")]),
        ("let n = m in n", [("S102", "n")]),
        ("let dim = m in dim", [("S102", "dim")]),
        ("let a, a = split(m, 2) in a", [("S102", "a")]),
        ("let true = m in true", [("S108", "true")]),
        ("let a = a in a", [("S101", "a")]),
    ],
)
def test_forward(text: str, expected: list[tuple[str, str]]) -> None:
    body = f"n = layer_norm(dim) two = dim * 2 forward x = let m = n(x) in {text}"
    try:
        checked(f"block b(dim, block norm = layer_norm) {{ {body} }}")
        found = []
    except ScanError as error:
        found = [(finding.code, finding.span.text) for finding in error.diagnostics]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = identity() c = identity() forward x = a(x)", [("S126", "c")]),
        ("a = identity() forward x, z = a(x)", [("S126", "z")]),
        ("a = identity() forward x = let y = a(x) in x", [("S126", "y")]),
        ("a = identity() forward x = let y, z = split(a(x), 2) in z", []),
        ("a = identity() forward x = 2 * x", [("S126", "a")]),
        ("a = identity() forward x, x = a(x)", [("S102", "x")]),
        ("unused = 2 forward x = x", []),
    ],
)
def test_everything_that_is_made_is_used(text: str, expected: list[tuple[str, str]]) -> None:
    body = f"block b(unused_too) {{ {text} }}"
    assert (said(body) if expected else checked(body) and []) == expected


@pytest.mark.parametrize("function", sorted({*FUNCTIONS, "mean", "softmax", "ceil", "floor"}))
def test_nothing_is_called_like_a_function(function: str) -> None:
    assert ("S108", function) in in_block(f"{function} = identity() forward x = x")
    assert ("S108", function) in in_block(f"{function} = 3 forward x = x")
    assert ("S108", function) in in_block("forward x = x", function)


@pytest.mark.parametrize("function", POINTWISE)
def test_functions_of_one_value(function: str) -> None:
    assert checked(f"block b() {{ forward x = {function}(x) }}").blocks


def test_names_of_modules_are_those_of_torch() -> None:
    module = nn.Module()
    public = {name for name in {*dir(nn.Module), *vars(module)} if not name.startswith("_")}
    assert public - MODULE == set(), "no layer may be called like these: scanlang/check/module_names.py"
    assert not MODULE & MODEL


def test_names_of_models_are_those_of_backbones() -> None:
    backbone = scanlang.Backbone(checked(MIX + NET))
    layers = {statement.name for statement in checked(MIX + NET).backbones["net"].statements}
    public = {name for name in {*dir(backbone), *vars(backbone)} if not name.startswith("_")}
    assert public - MODULE - MODEL - layers == set()


def test_every_layer_of_the_vocabulary_can_be_called() -> None:
    for word, entry in LAYERS.items():
        arguments = ", ".join(f"{formal.name} = 1" for formal in entry.formals if formal.default is None)
        program = checked(f"block b() {{ a = {word}({arguments}) forward x = a(x) }}")
        assert isinstance(program.blocks["b"].statements[0], CheckedLayer)
        wrong = f"block b() {{ a = {word}({arguments}, mistake = 1) forward x = a(x) }}".replace("(, ", "(")
        assert said(wrong) == [("S101", "mistake")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("norm = 3", [("S303", "3")]),
        ("norm = dim", [("S303", "dim")]),
        ("norm = layer_norm(dim)", [("S303", "layer_norm(dim)")]),
        ("norm = core", [("S303", "core")]),
        ("norm = cross2d", [("S303", "cross2d")]),
        ("norm = layernorm", [("S101", "layernorm")]),
        ("norm = c", []),
        ("norm = other", []),
        ("scan_of = layer_norm", [("S303", "layer_norm")]),
        ("scan_of = cross2d", []),
        ("scan_of = core", []),
        ("scan_of = crosstd", [("S101", "crosstd")]),
        ("size = layer_norm", [("S302", "layer_norm")]),
        ("size = core", [("S302", "core")]),
    ],
)
def test_what_formals_take(text: str, expected: list[tuple[str, str]]) -> None:
    formals = "block norm = layer_norm, scan scan_of = cross2d, size = 1"
    body = f"""import std.vmamba
        block c({formals}) {{ n = norm(size) op = scan_of(size) forward x = op(n(x)) }}
        block b(dim, scan core, block other) {{ a = c({text}) forward x = a(x) }}"""
    assert (said(body) if expected else checked(body) and []) == expected


def test_arguments_through_a_formal_keep_their_kinds() -> None:
    (use,) = (
        checked("block b(dim, block f, scan s, block g) { a = f(dim, s, g, rms_norm, k = 2, h = g) forward x = a(x) }")
        .blocks["b"]
        .statements
    )
    assert isinstance(use, CheckedLayer)
    dim, scan, block, word = use.arguments
    assert isinstance(dim, Name)
    assert (scan, block, word) == (FormalCallee("s"), FormalCallee("g"), Word("rms_norm"))
    assert use.keywords["h"] == FormalCallee("g")


def test_a_default_shows_a_wrong_call_of_a_formal() -> None:
    assert in_block("n = norm(dim, dim, dim, dim) forward x = n(x)", "dim, block norm = layer_norm") == [
        ("S304", "norm(dim, dim, dim, dim)")
    ]


def test_defaults_use_formals_before_them() -> None:
    assert checked("block b(dim, inner = 2 * dim) { forward x = x * inner }").blocks
    assert said("block b(inner = 2 * dim, dim) { forward x = x * inner }") == [("S101", "dim")]
    assert said("block b(dim, dim) { forward x = x * dim }") == [("S102", "dim")]
    assert said("block b(lambda) { forward x = x }") == [("S108", "lambda")]
    assert said("block b(scan core = later) { forward x = x }") == [("S101", "later")]


def test_scans_of_blocks_have_all_they_need() -> None:
    scan = "import std.selective scan s(dim) { directions raster recur selective(state = 1, rank = 2) project low, B from x }"
    block = "block b(dim) { op = s(dim) forward x = op(x) }"
    assert said(f"{scan} {block}") == [("S315", "s")]
    through = "block c(dim, scan core) { op = core(dim) forward x = op(x) } backbone n(dim = 4) { a = c(dim, s) }"
    assert said(f"{scan} {through}") == [("S315", "op = core(dim)")]


def test_scans_have_their_number_of_inputs() -> None:
    scan = """import std.selective scan s(dim) { input x, z directions raster recur selective(state = 1, rank = 2)
        project low, B, C from x merge y[0] * silu(z) }"""
    assert checked(f"{scan} block b(dim) {{ op = s(dim) forward x = op(x, x) }}").blocks
    assert said(f"{scan} block b(dim) {{ op = s(dim) forward x = op(x) }}") == [("S113", "op(x)")]
    assert said(f"{scan} block b(dim) {{ op = s(dim) * 2 forward x = op(x) }}") == [("S313", "s")]
    assert said(f"{scan} backbone b(dim = 3) {{ op = s(dim) }}") == [("S313", "s")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pool = identity() a = identity()", [("S309", "pool")]),
        ("head = linear(3, 3) pool = identity()", [("S309", "head")]),
        ("a = identity() pool = identity() head = linear(3, 3) b = identity()", [("S309", "pool"), ("S309", "head")]),
        ("feature n = 3 a = identity()", [("S308", "feature")]),
        ("features a = identity()", [("S308", "features")]),
        ("feature pool = identity()", [("S308", "feature")]),
        ("a = identity() * dim", []),
        ("a = net(3)", [("S301", "net")]),
        ("num_features = identity()", [("S108", "num_features")]),
        ("n = 3", [("S314", "b")]),
        ("", [("S314", "b")]),
        ("half = ramp(dim) a = identity()", [("S310", "ramp")]),
        ("a = drop_path(ramp(dim))", [("S310", "ramp")]),
        ("a = identity() * ramp(dim)", [("S310", "ramp")]),
        ("a = drop_path(rate = ramp(dim) / 2) * 2", []),
    ],
)
def test_backbones(text: str, expected: list[tuple[str, str]]) -> None:
    body = f"backbone b(dim) {{ {text} }} backbone net(dim) {{ a = linear(dim, dim) }}"
    assert (said(body) if expected else checked(body) and []) == expected


def test_what_create_model_takes_is_no_formal() -> None:
    assert said("backbone b(weights = 3) { a = identity() }") == [("S108", "weights = 3")]
    assert checked("block b(weights = 3) { forward x = x * weights }").blocks


# variants

BASE = (
    "block id(dim) { forward x = x } backbone vim(dim = 8, depth = 2, block layer = id) { n = 2 * dim stem = conv2d(3, n, 4) "
    "features stages = layer(n) * depth feature last = id(n) }"
)


def test_a_variant_has_the_rest_from_its_base() -> None:
    program = checked(f"{BASE} backbone small from vim {{ depth = 3 last = id(dim * 2) }} backbone same from small")
    vim, small, same = (program.backbones[name] for name in ("vim", "small", "same"))
    assert [formal.name for formal in small.formals] == ["dim", "depth", "layer"]
    assert small.formals[0] is vim.formals[0]
    assert small.formals[1].default != vim.formals[1].default
    assert small.statements[:3] == vim.statements[:3]
    last = small.statements[3]
    assert isinstance(last, CheckedLayer)
    assert (last.name, last.feature) == ("last", "feature")
    assert (small.base, same.base, vim.base) == ("vim", "small", None)
    assert same.statements == small.statements


def test_a_variant_says_anew_what_is_a_feature() -> None:
    program = checked(f"{BASE} backbone small from vim {{ feature stages = id(n) * 2 }}")
    stages = program.backbones["small"].statements[2]
    assert isinstance(stages, CheckedLayer)
    assert stages.feature == "feature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("depht = 3", [("S101", "depht")]),
        ("depth = 3 depth = 4", [("S102", "depth")]),
        ("depth = width", [("S101", "width")]),
        ("depth = layer_norm", [("S302", "layer_norm")]),
        ("depth = n", [("S101", "n")]),
        ("depth = 2 * dim", []),
        ("layer = 3", [("S303", "3")]),
        ("layer = rms_norm", []),
        ("layer = layer", [("S101", "layer")]),
        ("feature depth = 3", [("S308", "feature")]),
        ("last = 3", [("S307", "last = 3")]),
        ("last = identity", [("S301", "identity")]),
        ("stages = id * 2", [("S301", "id")]),
        ("n = id", [("S307", "n = id")]),
        ("n = id(dim)", [("S307", "n = id(dim)")]),
        ("n = dim", []),
        ("stem = conv2d(3, dim, depth)", [("S330", "norm(x)")]),
        ("stem = conv2d(3, n, 4, stride = last)", [("S101", "last")]),
        ("stages = id(n)", [("S308", "stages")]),
        ("feature stages = id(n)", []),
        ("last = drop_path(ramp(0.1)) * 2", []),
    ],
)
def test_variants(changes: str, expected: list[tuple[str, str]]) -> None:
    base = BASE.replace("block id(dim) { forward x = x }", "block id(dim) { norm = rms_norm(dim) forward x = norm(x) }")
    body = f"{base} backbone small from vim {{ {changes} }}"
    assert (said(body) if expected else checked(body) and []) == expected


def test_bases_are_found_in_any_order_and_circles_are_not() -> None:
    assert list(checked(f"backbone tiny from small {{ dim = 2 }} backbone small from vim {BASE}").backbones) == [
        "tiny",
        "small",
        "vim",
    ]
    assert said("backbone a from b backbone b from a backbone c from a") == [("S306", "a")]
    assert said("backbone a from a { dim = 3 }") == [("S306", "a")]
    assert said("backbone a from vim") == [("S101", "vim")]
    many = " ".join(f"backbone b{number} from b{number + 1}" for number in range(LIMITS.nesting + 1))
    assert {code for code, _ in said(f"{many} backbone b{LIMITS.nesting + 1}() {{ a = identity() }}")} == {"S106"}


def test_a_variant_of_a_wrong_base_says_nothing_more() -> None:
    assert said("backbone a(dim = 3) { stem = linear(dim) } backbone b from a { stm = 3 }") == [("S304", "linear(dim)")]


# blocks in blocks


def test_blocks_do_not_contain_themselves() -> None:
    assert said("block a() { c = b() forward x = c(x) } block b() { c = a() forward x = c(x) }") == [("S306", "a")]
    assert said("block a(block f = a) { c = f() forward x = c(x) }") == [("S306", "a")]
    assert said("block a() { c = b(a) forward x = c(x) } block b(block f) { c = f() forward x = c(x) }") == [("S306", "a")]


def test_depth_is_bounded() -> None:
    def chain(count: int) -> str:
        inner = (f"block b{n} {{ a = b{n + 1}() forward x = a(x) }}" for n in range(count - 1))
        return f"{' '.join(inner)} block b{count - 1} {{ forward x = x }}"

    deepest = checked(chain(LIMITS.block_depth)).blocks["b0"]
    assert nesting(deepest) == LIMITS.block_depth
    assert "S106" in [code for code, _ in said(chain(LIMITS.block_depth + 1))]
    reverse = " ".join(reversed(re.findall(r"block b\d+ \{.*?\}", chain(LIMITS.block_depth + 1))))
    assert "S106" in [code for code, _ in said(reverse)]
    assert "S106" in [code for code, _ in said(chain(300))]


def test_blocks_shared_many_times_are_checked_once() -> None:
    """Two of the next one in each: 2 ** 30 in all, though each is written once."""
    twice = (f"block b{n}(dim) {{ a = b{n + 1}(dim) c = b{n + 1}(dim) forward x = a(c(x)) }}" for n in range(30))
    program = checked(f"{' '.join(twice)} block b30(dim) {{ n = layer_norm(dim) forward x = n(x) }}")
    assert scans_in(program.blocks.values()) == []
    assert nesting(program.blocks["b0"]) == 31


# imports


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.scan").write_text(text, encoding="utf-8")


def test_an_imported_block_brings_its_scans(tmp_path: Path) -> None:
    write(tmp_path, blocks=MIX, main='import "blocks.scan" block outer(dim) { m = mix(dim) forward x = m(x) }')
    program = scanlang.load(tmp_path / "main.scan")
    assert (list(program.scans), list(program.blocks)) == ([], ["mix", "outer"])
    (scan,) = scans_in(program.blocks.values())
    assert scan.name == "cross2d"
    alone = scanlang.Scan2d.of_checked(scan, program.axes, 4)
    assert alone.op.graph.traversal.orders[0].positions(2, 3).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_scan_that_a_block_brings_along_is_verified(tmp_path: Path) -> None:
    scan = """import std.selective grid h, w order half(t) = (t // w // 2, t % w)
        scan s(dim) { directions half recur selective(state = 1, rank = 2) project low, B, C from x }"""
    block = 'import "scan.scan" block mix(dim) { op = s(dim) forward x = op(x) }'
    write(tmp_path, scan=scan, block=block, main='import "block.scan" backbone b(dim = 3) { a = mix(dim) }')
    with pytest.raises(ScanError) as caught:
        scanlang.load(tmp_path / "main.scan")
    assert [finding.code for finding in caught.value.diagnostics] == ["S201"]


def test_a_variant_of_an_imported_backbone(tmp_path: Path) -> None:
    write(tmp_path, net=MIX + NET, main='import "net.scan" backbone small from net { dim = 4 depth = 1 }')
    program = scanlang.load(tmp_path / "main.scan")
    assert list(program.backbones) == ["net", "small"]
    text = "import std.fractal import backbones.vmamba backbone mine from vmamba_tiny_s1l8 { core = hilbert_scan }"
    assert [code for code, _ in said(text)] in ([], ["S101"])


def test_library_names_give_way(tmp_path: Path) -> None:
    mine = "block cross2d(dim) { n = layer_norm(dim) forward x = n(x) }"
    program = checked(f"import std.vmamba {mine} block b(dim) {{ a = cross2d(dim) forward x = a(x) }}")
    (use,) = program.blocks["b"].statements
    assert isinstance(use, CheckedLayer)
    assert use.callee is program.blocks["cross2d"]
    write(tmp_path, mine=mine, main='import "mine.scan" import std.vmamba block b(dim) { a = cross2d(dim) forward x = a(x) }')
    program = scanlang.load(tmp_path / "main.scan")
    (use,) = program.blocks["b"].statements
    assert isinstance(use, CheckedLayer)
    assert use.callee is program.blocks["cross2d"]
    word = checked("block linear(dim) { forward x = x } block b(dim) { a = linear(dim) forward x = a(x) }")
    assert isinstance(word.blocks["b"].statements[0], CheckedLayer)


def test_names_of_two_files_are_a_finding(tmp_path: Path) -> None:
    block, net = "block b(dim) { forward x = x }", "backbone n(dim) { a = identity() }"
    scan = (
        "import std.selective scan b(dim) { directions raster recur selective(state = 1, rank = 2) project low, B, C from x }"
    )
    for first, second, kind in ((block, block, "block"), (net, net, "backbone"), (block, scan, "scan or block")):
        write(tmp_path, one=first, two=second, main='import "one.scan" import "two.scan"', own=f'import "one.scan" {second}')
        for name in ("main", "own"):
            with pytest.raises(ScanError) as caught:
                scanlang.load(tmp_path / f"{name}.scan")
            assert next(finding.title for finding in caught.value.diagnostics).startswith(f"{kind} `")
    write(tmp_path, main=f'import "one.scan" import "one.scan" {net.replace(" n(", " m(")}')
    assert scanlang.load(tmp_path / "main.scan").blocks
    assert said(f"{block} {block}") == [("S102", "b")]
    assert said(f"{scan} {block}") == [("S102", "b")]


def test_findings_of_an_imported_file_are_shown_there(tmp_path: Path) -> None:
    wrong = "backbone n(dim = 3) { a = linear(3, dim / 2) }"
    write(tmp_path, wrong=wrong, main='import "wrong.scan" backbone m from n { dim = 4 }')
    with pytest.raises(ScanError) as caught:
        scanlang.load(tmp_path / "main.scan")
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.span.source.name) == ("S312", str(tmp_path / "wrong.scan"))


def test_after_a_failed_import_unknown_names_say_nothing() -> None:
    text = """import "gone.scan" block c(scan core, block norm) { forward x = x } backbone n from vim
    block b(dim) { a = mix(dim) d = c(cross, norm) e = layer_norm(more) forward x = a(d(e(x))) }"""
    assert [place for _, place in said(text)] == ['import "gone.scan"', "more"]


def test_blocks_of_another_number_of_axes(tmp_path: Path) -> None:
    write(tmp_path, mix=MIX, main='grid t, h, w order o = walk t, h, w import "mix.scan"')
    with pytest.raises(ScanError) as caught:
        scanlang.load(tmp_path / "main.scan")
    assert [finding.code for finding in caught.value.diagnostics] == ["S151"]
    write(tmp_path, mix="block id(dim) { forward x = x }")
    assert scanlang.load(tmp_path / "main.scan").blocks


def test_an_unknown_name_of_the_library_says_what_to_import() -> None:
    text = "block b(dim) { a = cross2d(dim) forward x = a(x) } backbone n from vmamba_tiny_s1l8"
    assert [finding.help for finding in findings(text)] == [
        "`import std.vmamba` brings in `cross2d`",
        "`import backbones.vmamba` brings in `vmamba_tiny_s1l8`",
    ]


@pytest.mark.parametrize("name", backbone_programs())
def test_programs_of_published_networks(name: str) -> None:
    program = scanlang.load(name)
    assert program.backbones
    assert all(isinstance(scan, CheckedScan) for scan in scans_in(program.backbones.values()))
    assert all(isinstance(block, CheckedBlock) for block in program.blocks.values())


# what is said

EXPLAINED = [code for code in CATALOGUE if "S301" <= code <= "S314" and code not in ("S305", "S313")]


@pytest.mark.parametrize("code", EXPLAINED)
def test_explanations_are_programs(code: str) -> None:
    wrong, right = re.findall(r"```\n(.*?)```", CATALOGUE[code].explanation, re.DOTALL)
    assert [finding.code for finding in findings(wrong)] == [code]
    assert checked(right)


def test_the_summary_counts_blocks_and_backbones() -> None:
    assert summary(checked(MIX + NET).verified).endswith("; 2 blocks, 1 backbone")
    one = "backbone n(dim, a, b = 2) { x = linear(dim, a) } backbone m(dim) { x = linear(3, dim) }"
    assert summary(checked(one).verified) == (
        "no orders; 2 backbones; backbone n: channels not followed, dim, a have no defaults; "
        "backbone m: channels not followed, dim has no default"
    )


def test_the_summary_is_of_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "base.scan").write_text(MIX + NET)
    (tmp_path / "mine.scan").write_text('import "base.scan"\nbackbone mine from net { dim = 16 }')
    (tmp_path / "step.scan").write_text("recurrence r { input x, a h = a * h + x y = h }")
    told = {path.name: summary(scanlang.load(path).verified).split("; ")[1:] for path in tmp_path.glob("*.scan")}
    assert told == {"base.scan": ["2 blocks, 1 backbone"], "mine.scan": ["1 backbone"], "step.scan": ["1 recurrence"]}


def test_what_is_being_defined_is_not_known_yet() -> None:
    order = "known here: `b`, `raster`, `columns`, `snake`, `diagonal`, `antidiagonal`, `wrapped_diagonal`, "
    order += "`wrapped_antidiagonal`, `zigzag`, `spiral`, `hilbert` and `morton`"
    for text, advice in (
        ("grid h, w order a = c order b = raster", order),
        ("backbone n() { a = identity() } backbone m from o", "known here: `n`"),
    ):
        (finding,) = findings(text)
        assert finding.help == advice


def test_a_mean_is_made_by_a_block() -> None:
    (finding,) = findings("backbone n() { stem = conv2d(3, 8, 4) pool = mean(cells: x) }")
    wanted = "a block makes it: `block means() { forward x = mean(cells: x) }`, and `means()` is a layer"
    assert (finding.code, finding.help) == ("S120", wanted)


def test_what_changes_a_feature_is_no_layer() -> None:
    for value in ("silu", "silu()"):
        (finding,) = findings(f"block b(dim) {{ a = {value} forward x = x }}")
        assert finding.help == "what changes a feature stands in `forward`: `silu(x)`"


def test_a_layer_that_is_not_called_says_how() -> None:
    def advice(text: str) -> list[str | None]:
        with pytest.raises(ScanError) as caught:
            scanlang.loads(text)
        return [finding.help for finding in caught.value.diagnostics]

    block = "block b(dim, scan core = cross2d) {{ a = {} forward x = a(x) }}"
    begin = "import std.vmamba grid h, w " + block
    assert advice(begin.format("identity")) == ["write `a = identity(dim = 1)`"]
    assert advice(begin.format("core")) == ["write `a = core(...)`"]
    assert advice(begin.format("unidi * 2")) == ["write `a = unidi(dim, state = 1, rank = ceil(dim / 16)) * 2`"]


# wrong programs near right ones

WORDS = (
    *("dim", "x", "2", "0.5", "core", "norm", "linear", "mix", "net", "cross2d", "true", "silu", "ramp", "split", "in", "let"),
    *(
        "forward",
        "feature",
        "features",
        "pool",
        "head",
        "=",
        "*",
        "(",
        ")",
        "{",
        "}",
        ",",
        "mean(cells: x)",
        "weight = normal(1)",
    ),
)
TOKENS = re.findall(r"[A-Za-z_0-9.]+|\S", MIX + NET + "backbone small from net { dim = 4 head = linear(8, 2) }")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_mutated_programs_give_findings_never_a_traceback(data: st.DataObject) -> None:
    tokens = list(TOKENS)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(3, len(tokens) - 1))
        tokens[place : place + data.draw(st.integers(0, 2))] = [data.draw(st.sampled_from(WORDS))]
    shown = "error[S"
    try:
        checked(" ".join(tokens))
    except ScanError as error:
        shown = str(error)
    assert shown.startswith("error[S")
