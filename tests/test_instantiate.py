"""Blocks and backbones with their sizes in numbers: values, defaults, repeats and ramps, what formals stand for, findings."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scanlang
from scanlang.check.program import Word
from scanlang.diagnostics import ScanError
from scanlang.errors import BadNumber
from scanlang.limits import LIMITS
from scanlang.networks.instantiate import instantiate, instantiate_block
from scanlang.networks.layers import default_of
from scanlang.networks.network import Block, Initial, Layer, Network, Part, Repeat, ScanLayer, size_of
from scanlang.networks.numbers import Budget, NumberProblem, Numbers
from scanlang.networks.vocabulary import LAYERS
from scanlang.syntax.format_expression import format_expression

SCANS = """
import std.selective
scan plain(dim) { directions raster recur selective(state = 1, rank = 2) project low, B, C from x }
scan sized(dim, state = 2, rank = ceil(dim / 16)) {
  directions raster recur selective(state = state, rank = rank) project low, B, C from x
}
scan local(dim) { layers cycle raster, columns, hilbert recur selective(state = 1, rank = 2) project low, B, C from x }
scan whole(dim) { layers cycle global raster, columns recur selective(state = 1, rank = 2) project low, B, C from x }
scan listed(dim) { layers list raster, columns recur selective(state = 1, rank = 2) project low, B, C from x }
scan parts(dim) {
  directions raster, columns channels split recur selective(state = 1, rank = 2) project low, B, C from x merge concat
}
"""


def program(text: str, scans: bool = False) -> scanlang.Program:
    return scanlang.loads(SCANS + text if scans else text, "t.scan")


def block(text: str, name: str = "b", scans: bool = False, **given: Any) -> Block:
    return instantiate_block(program(text, scans).blocks[name], given)


def network(text: str, name: str = "n", scans: bool = False, **given: Any) -> Network:
    loaded = program(text, scans)
    return instantiate(loaded.backbones[name], loaded.axes, given)


def findings(text: str, scans: bool = False) -> list[tuple[str, str, str]]:
    """Code, place and label of every finding of the check."""
    with pytest.raises(ScanError) as caught:
        program(text, scans)
    return [(found.code, found.span.text, found.label) for found in caught.value.diagnostics]


def layer(part: Part) -> Layer:
    assert isinstance(part, Layer)
    return part


def parts_of(part: Part) -> dict[str, Part]:
    assert isinstance(part, Block)
    return part.parts


def repeats(part: Part) -> tuple[Part, ...]:
    assert isinstance(part, Repeat)
    return part.parts


def section(made: Network, name: str) -> Part:
    return next(one.part for one in made.sections if one.name == name)


# numbers


def value(text: str, **names: int | Fraction | bool) -> Fraction | bool:
    known = {name: number if isinstance(number, bool) else Fraction(number) for name, number in names.items()}
    return Numbers(known, Budget()).value(default_of(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2", Fraction(2)),
        ("0.2", Fraction(1, 5)),
        ("1e-5", Fraction(1, 100_000)),
        ("0.1 + 0.2", Fraction(3, 10)),
        ("0.1 * 3", Fraction(3, 10)),
        ("-7 // 2", Fraction(-4)),
        ("-7 % 3", Fraction(2)),
        ("7 / 2", Fraction(7, 2)),
        ("7.5 // 2", Fraction(3)),
        ("ceil(7 / 2) + floor(7 / 2)", Fraction(7)),
        ("min(2, 3) * max(2, 3)", Fraction(6)),
        ("sqrt(16)", Fraction(4)),
        ("sqrt(4 / 9)", Fraction(2, 3)),
        ("sqrt(2)", Fraction(math.sqrt(2))),
        ("sqrt(0)", Fraction(0)),
        ("dim * 3 / 4", Fraction(72)),
        ("true", True),
        ("flag", False),
    ],
)
def test_arithmetic_is_exact(text: str, expected: Fraction | bool) -> None:
    assert value(text, dim=96, flag=False) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 / 0", "this comes to 0, and divides"),
        ("1 // (dim - 96)", "this comes to 0, and divides"),
        ("1 % 0", "this comes to 0, and divides"),
        ("sqrt(0 - dim)", "the square root of -96"),
        ("sqrt(0 - 1 / 3)", "the square root of about -0.333"),
        ("flag + 1", "`flag` is `false`, and no number"),
        ("-flag", "`flag` is `false`, and no number"),
        (" * ".join(["1e300"] * 14), "this number takes more than 4096 bits"),
        ("sqrt(1e300 * 1e300 * 2)", "it is larger than a double"),
    ],
)
def test_what_has_no_value(text: str, problem: str) -> None:
    with pytest.raises(NumberProblem, match="^" + problem.replace("(", r"\(")):
        value(text, dim=96, flag=False)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda three: f"({three[0]} {three[1]} {three[2]})"),
        max_leaves=12,
    )
)
def test_integers_are_those_of_python(text: str) -> None:
    assert value(text) == eval(text)


SCALES = program("block b(a, c) { n = scale(1, a) m = scale(1, c / 2) forward x = m(n(x)) }").blocks["b"]


@settings(max_examples=100, deadline=None)
@given(st.floats(0, allow_nan=False, allow_infinity=False), st.floats(0, 1e9))
def test_decimals_come_back_as_written(first: float, second: float) -> None:
    made = instantiate_block(SCALES, {"a": first, "c": second})
    assert float(layer(made.parts["n"]).numbers["initial"]) == first
    assert layer(made.parts["m"]).numbers["initial"] == pytest.approx(second / 2, rel=1e-15, abs=1e-300)


# layers of the vocabulary


def made_layer(text: str, formals: str = "dim = 8") -> Layer:
    return layer(block(f"block b({formals}) {{ a = {text} forward x = a(x) }}").parts["a"])


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("linear(dim, 2 * dim)", {"in": 8, "out": 16, "bias": True}),
        ("linear(out = dim, in = 3, bias = false)", {"in": 3, "out": 8, "bias": False}),
        ("linear(dim / 2, sqrt(dim * 2), false)", {"in": 4, "out": 4, "bias": False}),
        ("conv2d(3, dim, 7)", {"in": 3, "out": 8, "kernel": 7, "stride": 1, "padding": 3, "groups": 1, "bias": True}),
        ("conv2d(3, dim, 4, 4, 0)", {"in": 3, "out": 8, "kernel": 4, "stride": 4, "padding": 0, "groups": 1, "bias": True}),
        ("avg_pool(3)", {"kernel": 3, "stride": 3}),
        ("avg_pool(3, stride = 2)", {"kernel": 3, "stride": 2}),
        ("layer_norm(dim, affine = false)", {"dim": 8, "eps": 1e-5, "affine": False}),
        ("rms_norm(dim, 1e-6)", {"dim": 8, "eps": 1e-6}),
        ("mlp(dim, 8 / 3)", {"dim": 8, "ratio": 8 / 3}),
        ("drop_path(0)", {"rate": 0}),
        ("scale(dim, 1e-4)", {"dim": 8, "initial": 1e-4, "bias": False}),
    ],
)
def test_numbers_of_layers(text: str, numbers: dict[str, object]) -> None:
    found = made_layer(text)
    assert found == Layer(text.split("(")[0], numbers, found.span)  # type: ignore[arg-type]
    assert list(map(type, found.numbers.values())) == list(map(type, numbers.values()))
    assert found.span.text == f"a = {text}"


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("truncated_normal(0.02)", Initial("truncated_normal", 0.02)),
        ("normal(1 / 2)", Initial("normal", 0.5)),
        ("uniform(1 / sqrt(dim * 2))", Initial("uniform", 0.25)),
        ("constant(-1)", Initial("constant", -1.0)),
    ],
)
def test_first_weights(text: str, weight: Initial) -> None:
    assert made_layer(f"linear(dim, dim, weight = {text})").weight == weight


@pytest.mark.parametrize("word", LAYERS)
def test_defaults_of_the_vocabulary(word: str) -> None:
    """Every layer has a value for every formal; a default is what would be written."""
    entry = LAYERS[word]
    given = {formal.name: "0.5" if formal.kind == "rate" else "2" for formal in entry.formals if formal.default is None}
    arguments = ", ".join(f"{name} = {value}" for name, value in given.items())
    found = made_layer(f"{word}({arguments})")
    assert list(found.numbers) == [formal.name for formal in entry.formals]
    for formal in entry.formals:
        if formal.default is not None:
            assert format_expression(default_of(formal.default)) == formal.default


@pytest.mark.parametrize(
    ("text", "place", "label"),
    [
        ("linear(dim / 3, dim)", "dim / 3", "it comes to about 2.67, which is not an integer"),
        ("linear(dim / 16, dim)", "dim / 16", "it comes to 0.5, which is not an integer"),
        ("linear(dim - 8, dim)", "dim - 8", "it comes to 0; it is at least 1"),
        ("linear(dim * 2147483647, dim)", "dim * 2147483647", "it comes to about 1.72e+10; it is at most 2147483647"),
        ("linear(dim, dim, bias = 1)", "1", "it comes to 1; a flag is `true` or `false`"),
        ("linear(dim, true)", "true", "it is `true`, and no number"),
        ("conv2d(3, dim, 3, padding = -1)", "-1", "it comes to -1; it is at least 0"),
        ("drop_path(1 / (dim - 8))", "dim - 8", "this comes to 0, and divides"),
        ("drop_path(2 / dim + 1)", "2 / dim + 1", "it comes to 1.25; it is from 0 to 1"),
        ("dropout(-0.5)", "-0.5", "it comes to -0.5; it is from 0 to 1"),
        ("layer_norm(dim, eps = -1)", "-1", "it comes to -1; it is at least 0"),
        ("mlp(dim, -1)", "-1", "it comes to -1; it is at least 0"),
        ("mlp(dim, 0.1)", "a = mlp(dim, 0.1)", "it comes to 0; it is at least 1"),
        ("linear(dim, dim, weight = normal(-1))", "-1", "it comes to -1; it is at least 0"),
        ("linear(dim, dim, weight = normal(sqrt(-1)))", "sqrt(-1)", "the square root of -1"),
        ("linear(dim, dim) * 0", "0", "it comes to 0; it is at least 1"),
        ("linear(dim, dim) * 1.5", "1.5", "it comes to 1.5, which is not an integer"),
        ("linear(dim, dim) * 1025", "1025", "it comes to 1025; it is at most 1024"),
        ("linear(dim, dim) * false", "false", "`false` is `false`, and no number"),
    ],
)
def test_wrong_numbers(text: str, place: str, label: str) -> None:
    assert findings(f"block b(dim = 8) {{ a = {text} forward x = a(x) }}") == [("S312", place, label)]


def test_a_default_of_the_vocabulary_that_goes_wrong() -> None:
    """What is written is at fault, so the layer is shown."""
    (finding,) = findings("block b(dim = 8) { a = avg_pool(dim / 3) c = avg_pool(0) forward x = a(c(x)) }")[:1]
    assert finding == ("S312", "dim / 3", "it comes to about 2.67, which is not an integer")


# blocks


def test_numbers_of_a_block() -> None:
    made = block("block b(dim, ratio = 2, flag = true) { inner = dim * ratio half = inner / 32 forward x = x * half }", dim=8)
    assert made.numbers == {"dim": 8, "ratio": 2, "flag": True, "inner": 16, "half": 0.5}
    assert (made.name, made.inputs, made.parts) == ("b", ("x",), {})


def test_arguments_by_position_and_name() -> None:
    text = "block c(dim, ratio = 2, drop = 0) { forward x = x } block b() { a = c(3, drop = 0.5) forward x = a(x) }"
    inner = block(text).parts["a"]
    assert isinstance(inner, Block)
    assert inner.numbers == {"dim": 3, "ratio": 2, "drop": 0.5}


def test_defaults_use_what_was_given_before_them() -> None:
    text = "block c(dim, inner = 2 * dim) { forward x = x } block b() { a = c(3) d = c(3, 4) forward x = a(d(x)) }"
    one, other = block(text).parts.values()
    assert isinstance(one, Block)
    assert isinstance(other, Block)
    assert (one.numbers["inner"], other.numbers["inner"]) == (6, 4)


def test_formals_stand_for_words_blocks_and_scans() -> None:
    text = """
    block id(dim) { forward x = x }
    block c(dim, block norm = layer_norm, scan core = sized) { n = norm(dim) op = core(dim) forward x = op(n(x)) }
    block b(dim, scan mine = plain, block other = rms_norm) {
      a1 = c(dim) a2 = c(dim, id) a3 = c(dim, other, mine) a4 = c(dim, norm = other, core = sized)
      forward x = a1(a2(a3(a4(x))))
    }"""
    loaded = program(text, scans=True)
    made = instantiate_block(loaded.blocks["b"], {"dim": 32})
    parts = [parts_of(part) for part in made.parts.values()]
    assert [getattr(part["n"], "word", None) or getattr(part["n"], "name", "") for part in parts] == [
        *("layer_norm", "id", "rms_norm", "rms_norm")
    ]
    scans = [part["op"] for part in parts]
    assert all(isinstance(scan, ScanLayer) for scan in scans)
    assert [scan.scan.name for scan in scans if isinstance(scan, ScanLayer)] == ["sized", "sized", "plain", "sized"]
    given = instantiate_block(loaded.blocks["b"], {"dim": 32, "mine": loaded.scans["sized"], "other": loaded.blocks["id"]})
    assert getattr(parts_of(given.parts["a3"])["n"], "name", "") == "id"
    word = instantiate_block(loaded.blocks["b"], {"dim": 32, "other": Word("batch_norm")})
    assert layer(parts_of(word.parts["a3"])["n"]).word == "batch_norm"


def test_sizes_of_scans() -> None:
    layers = "a = core(dim) c = core(dim, rank = 3) d = sized(dim = 4)"
    text = f"block b(dim = 40, scan core = sized) {{ {layers} forward x = a(c(d(x))) }}"
    scans = [part for part in block(text, scans=True).parts.values() if isinstance(part, ScanLayer)]
    assert [(scan.channels, scan.sizes) for scan in scans] == [
        (40, {"dim": 40, "state": 2, "rank": 3}),
        (40, {"dim": 40, "state": 2, "rank": 3}),
        (4, {"dim": 4, "state": 2, "rank": 1}),
    ]
    assert [scan.layer for scan in scans] == [0, 0, 0]
    bare = "scan bare { directions raster recur selective(state = 1, rank = 2) project low, B, C from x }"
    (scan,) = block(f"{bare} block b(dim = 40) {{ a = bare(dim) forward x = a(x) }}", scans=True).parts.values()
    assert isinstance(scan, ScanLayer)
    assert (scan.channels, scan.sizes) == (40, {})


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("sized(dim, rank = dim / 3)", ("S312", "dim / 3", "it comes to about 2.67, which is not an integer")),
        ("sized(dim, state = 5000)", ("S312", "state", "it comes to 5000; it is at most 4096")),
        ("sized(dim / 16)", ("S312", "dim / 16", "it comes to 0.5, which is not an integer")),
        ("parts(dim + 1)", ("S509", "a = parts(dim + 1)", None)),
        ("listed(dim) * 3", ("S511", "a = listed(dim) * 3", None)),
        ("sized(dim, heads = 2)", ("S101", "heads", None)),
        ("sized(dim, 2)", ("S304", "sized(dim, 2)", None)),
        ("plain()", ("S304", "plain()", "`dim` is not given")),
    ],
)
def test_wrong_sizes_of_scans(call: str, expected: tuple[str, str, str | None]) -> None:
    (finding,) = findings(f"block b(dim = 8) {{ a = {call} forward x = a(x) }}", scans=True)
    assert finding[: 3 if expected[2] else 2] == expected[: 3 if expected[2] else 2]


def test_a_scan_without_a_size_says_how_it_would_be_written() -> None:
    text = "block b(dim, scan core) { a = core(dim, state = 1, rank = ceil(dim / 16), heads = 2 * n) n = 3 forward x = a(x) }"
    loaded = program(text.replace("a = core", "n = 3 a = core").replace(") n = 3", ")"), scans=True)
    with pytest.raises(ScanError) as caught:
        instantiate_block(loaded.blocks["b"], {"dim": 8, "core": loaded.scans["plain"]})
    (finding,) = caught.value.diagnostics
    assert finding.code == "S305"
    assert finding.help == (
        "write it as `scan plain(dim, state = 1, rank = ceil(dim / 16), heads = 6) { ... }`; it need not use all of them"
    )


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("linear", "`out` is not given"),
        ("drop_path", "it comes to 3; it is from 0 to 1"),
        ("identity2", "1 argument stands without a name, none may"),
        ("wide", "`ratio` is not given"),
        ("two", "1 argument given, and it is the block `two`"),
    ],
)
def test_what_a_formal_stands_for_may_not_fit(norm: str, expected: str) -> None:
    text = f"""block identity2() {{ forward x = x }} block wide(dim, ratio) {{ forward x = x * ratio }}
    block two(dim) {{ forward x, z = x * z }}
    block c(dim, block norm) {{ n = norm(dim) forward x = n(x) }} block b(dim = 3) {{ a = c(dim, {norm}) forward x = a(x) }}"""
    (finding,) = findings(text)
    assert finding[2] == expected


def test_no_norm_stands_where_a_norm_does() -> None:
    """`identity` takes the channels that a norm is made for."""
    text = """block c(dim, block norm) { n = norm(dim) forward x = n(x) }
    block b(dim = 3, block norm = identity) { a = c(dim, norm) forward x = a(x) }"""
    inner = block(text, "b").parts["a"]
    assert isinstance(inner, Block)
    assert layer(inner.parts["n"]).numbers == {"dim": 3}


def test_one_wrong_number_from_python_is_one_finding() -> None:
    """All that it makes wrong would be many."""
    text = "block b(dim) { a = linear(dim, 2 * dim) c = linear(2 * dim, dim) forward x = c(a(x)) }"
    with pytest.raises(ScanError) as caught:
        block(text, dim=-4)
    assert [(one.code, one.span.text) for one in caught.value.diagnostics] == [("S312", "dim")]


def test_kinds_may_not_fit_through_a_formal() -> None:
    inner = "block d(dim, block f, scan s) { n = f(dim) op = s(dim) forward x = op(n(x)) }"
    text = f"""{inner} block c(block outer, block g, scan h) {{ a = outer(ARGUMENTS) forward x = a(x) }}
    block b() {{ a = c(d, rms_norm, plain) forward x = a(x) }}"""
    assert program(text.replace("ARGUMENTS", "3, g, h"), scans=True)
    wrong = {
        "3, h, h": ("S303", "a = outer(3, h, h)", "this is the scan `plain`"),
        "3, g, g": ("S303", "a = outer(3, g, g)", "this is the layer `rms_norm`"),
        "3, 4, h": ("S303", "4", "this is a number"),
        "g, g, h": ("S302", "a = outer(g, g, h)", "a number is wanted here"),
        "3, g, h, x = 3": ("S304", "a = outer(3, g, h, x = 3)", "it has no `x`"),
    }
    for arguments, expected in wrong.items():
        assert findings(text.replace("ARGUMENTS", arguments), scans=True) == [expected]


def test_first_weights_through_a_formal() -> None:
    text = """block c(dim, block f) { a = f(dim, dim, weight = normal(dim / 8)) forward x = a(x) }
    block b() { a = c(4, MINE) forward x = a(x) } block own(dim, out, weight) { forward x = x * weight }"""
    made = block(text.replace("MINE", "linear"))
    assert layer(parts_of(made.parts["a"])["a"]).weight == Initial("normal", 0.5)
    place = "a = f(dim, dim, weight = normal(dim / 8))"
    assert findings(text.replace("MINE", "layer_norm")) == [("S311", place, "`layer_norm` takes no first weights")]
    assert findings(text.replace("MINE", "own")) == [("S312", "normal(dim / 8)", "these are first weights, and no number")]


def test_the_layers_around_a_finding_are_shown() -> None:
    text = """block c(dim) { a = linear(dim, dim / 2) forward x = a(x) } block b(dim) { a = c(dim) forward x = a(x) }
    backbone n(dim = 3) { stem = conv2d(3, dim, 4) stage = b(dim) * 2 last = b(dim) }"""
    with pytest.raises(ScanError) as caught:
        program(text)
    (finding,) = caught.value.diagnostics
    assert isinstance(finding, BadNumber)
    assert (finding.title, finding.label) == (
        "`out` of `linear` cannot have this value",
        "it comes to 1.5, which is not an integer",
    )
    assert [label.span.text for label in finding.related] == ["a = c(dim)", "stage = b(dim) * 2"]
    assert {label.text for label in finding.related} == {"in this layer"}


def test_every_finding_is_there() -> None:
    text = "block b(dim = 3) { a = linear(dim / 2, dim / 2) n = dim / 0 m = n * 2 c = linear(n, m) forward x = c(a(x)) }"
    assert [place for _, place, _ in findings(text)] == ["dim / 2", "dim / 2", "0"]


# repeats


def test_repeats() -> None:
    text = "block b(dim = 8, depth = 3) { a = linear(dim, dim) * depth c = linear(dim, dim) * 1 forward x = c(a(x)) }"
    made = block(text)
    assert len(repeats(made.parts["a"])) == 3
    assert len(repeats(made.parts["c"])) == 1
    assert size_of(made) == 5


CHAIN = """
block c(dim, drop, scan core) {{ op = core(dim) skip = drop_path(drop) forward x = x + skip(op(x)) }}
backbone n(dim = 4, rate = 0.3, d1 = 2, d2 = 3, scan core = {core}) {{
  stem = conv2d(3, dim, 4)
  one  = c(dim, ramp(rate), core) * d1
  mid  = c(dim, 0, core)
  two  = c(dim, 2 * ramp(rate), core = core) * d2
}}
"""


def rates(made: Network, name: str) -> list[object]:
    return [layer(parts_of(part)["skip"]).numbers["rate"] for part in repeats(section(made, name))]


def numbers_of_layers(made: Network, name: str) -> list[int]:
    scans = [parts_of(part)["op"] for part in repeats(section(made, name))]
    return [scan.layer for scan in scans if isinstance(scan, ScanLayer)]


def test_a_ramp_goes_over_all_repeats_of_the_backbone() -> None:
    made = network(CHAIN.format(core="plain"), scans=True)
    assert rates(made, "one") == [0, 0.075]
    assert rates(made, "two") == [0.3, 0.45, 0.6]
    expected = np.linspace(0, 0.25, 7)
    deeper = network(CHAIN.format(core="plain"), scans=True, d1=3, d2=4, rate=0.25)
    assert rates(deeper, "one") == pytest.approx(expected[:3].tolist())
    assert rates(deeper, "two") == pytest.approx((2 * expected[3:]).tolist())


def test_a_ramp_over_one_repeat_is_nothing() -> None:
    text = "block c(drop) { skip = drop_path(drop) forward x = skip(x) } backbone n(rate = 0.3) { a = c(ramp(rate)) * 1 }"
    assert rates(network(text), "a") == [0]


def test_layers_are_counted_within_a_repeat_or_through_the_backbone() -> None:
    made = network(CHAIN.format(core="local"), scans=True)
    assert (numbers_of_layers(made, "one"), numbers_of_layers(made, "two")) == ([0, 1], [0, 1, 2])
    made = network(CHAIN.format(core="whole"), scans=True)
    assert (numbers_of_layers(made, "one"), numbers_of_layers(made, "two")) == ([0, 1], [2, 3, 4])
    mid = parts_of(section(made, "mid"))["op"]
    assert isinstance(mid, ScanLayer)
    assert mid.layer == 0


def test_a_repeat_in_a_block_counts_for_itself_and_through_the_one_around() -> None:
    text = """block pair(dim) {{ op = {core}(dim) * 2 forward x = op(x) }}
    backbone n(dim = 3) {{ a = pair(dim) * 3 }}"""
    for core, expected in (("local", [0, 1, 0, 1, 0, 1]), ("whole", [0, 1, 2, 3, 4, 5])):
        made = network(text.format(core=core), scans=True)
        scans = [scan for pair in repeats(section(made, "a")) for scan in repeats(parts_of(pair)["op"])]
        assert [scan.layer for scan in scans if isinstance(scan, ScanLayer)] == expected


def test_a_list_of_layers_has_an_end() -> None:
    text = "backbone n(dim = 3, depth = 2) { a = listed(dim) * depth }"
    assert network(text, scans=True)
    with pytest.raises(ScanError) as caught:
        network(text, scans=True, depth=3)
    assert [finding.code for finding in caught.value.diagnostics] == ["S511"]


# backbones


def test_a_network_has_its_sections_and_numbers() -> None:
    text = """backbone n(in_chans = 3, dim = 8, flag = true, block f = layer_norm) {
      wide = dim * 2 stem = conv2d(in_chans, wide, 4, bias = flag) feature norm = f(wide) features tail = f(wide) * 2
    } backbone m from n { dim = 4 }"""
    made = network(text, in_chans=1)
    assert made.numbers == {"in_chans": 1, "dim": 8, "flag": True}
    assert [(one.name, one.feature, one.span.text.split(" =")[0]) for one in made.sections] == [
        ("stem", "", "stem"),
        ("norm", "feature", "feature norm"),
        ("tail", "features", "features tail"),
    ]
    assert (made.name, made.axes) == ("n", ("h", "w"))
    assert layer(section(made, "stem")).numbers["in"] == 1
    assert layer(section(network(text, "m"), "stem")).numbers["out"] == 8


def test_the_same_twice_is_equal() -> None:
    text = CHAIN.format(core="plain")
    loaded = program(text, scans=True)
    first, second = (instantiate(loaded.backbones["n"], loaded.axes) for _ in range(2))
    assert first == second
    assert first != instantiate(loaded.backbones["n"], loaded.axes, {"rate": 0.2})


@pytest.mark.parametrize(
    ("given", "number"),
    [(2, 2), (2.0, 2), (np.int64(2), 2), (np.float32(0.5), 0.5), (Fraction(1, 2), 0.5), (0.1, 0.1), (True, True)],
)
def test_numbers_from_python(given: Any, number: object) -> None:
    made = block("block b(dim) { forward x = x * dim }", dim=given)
    assert made.numbers == {"dim": number}
    assert type(made.numbers["dim"]) is type(number)


def test_decimals_from_python_are_what_they_say() -> None:
    """0.3 * 10 is 3, though the double nearest to 0.3 is less."""
    made = block("block b(ratio) { a = linear(ratio * 10, 100 * ratio) forward x = a(x) }", ratio=0.3)
    assert layer(made.parts["a"]).numbers == {"in": 3, "out": 30, "bias": True}


def test_variants_do_not_say_again_what_is_wrong_in_their_base() -> None:
    text = "backbone n(dim = 3) { a = linear(3, dim / 2) } backbone m from n { dim = 5 } backbone l from n { dim = 4 }"
    assert findings(text) == [("S312", "dim / 2", "it comes to 1.5, which is not an integer")]


@pytest.mark.parametrize(
    ("given", "code", "label"),
    [
        ({"dim": "8"}, "S312", "it is '8', and no number"),
        ({"dim": None}, "S312", "it is None, and no number"),
        ({"dim": math.nan}, "S312", "it is nan, which is not finite"),
        ({"dim": -math.inf}, "S312", "it is -inf, which is not finite"),
        ({"dim": 10**5000}, "S312", "this number takes more than 4096 bits"),
        ({"dim": 1j}, "S312", "it is 1j, and no number"),
        ({"dim": 8, "core": 3}, "S303", "this is 3"),
        ({"dim": 8, "core": Word("linear")}, "S303", "this is the layer `linear`"),
        ({"dim": 8, "norm": "layer_norm"}, "S303", "this is 'layer_norm'"),
        ({}, "S316", ""),
        ({"dim": 8, "cor": 3}, "S316", "did you mean `core`?"),
        ({"dim": 8.5}, "S312", "it comes to 8.5, which is not an integer"),
        ({"dim": True}, "S312", "it is `true`, and no number"),
    ],
)
def test_wrong_values_from_python(given: dict[str, Any], code: str, label: str) -> None:
    text = "block b(dim, scan core = plain, block norm = layer_norm) { a = core(dim) n = norm(dim) forward x = a(n(x)) }"
    with pytest.raises(ScanError) as caught:
        block(text, scans=True, **given)
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].label) == (code, label)
    assert str(caught.value)


def test_a_scan_given_for_a_link_takes_one_value() -> None:
    gated = """scan gated(dim) { input x, z directions raster recur selective(state = 1, rank = 2)
      project low, B, C from x merge y[0] * silu(z) }"""
    text = f"{gated} backbone n(dim = 3, scan core = plain) {{ a = core(dim) }}"
    loaded = program(text, scans=True)
    with pytest.raises(ScanError) as caught:
        instantiate(loaded.backbones["n"], loaded.axes, {"core": loaded.scans["gated"]})
    assert [finding.code for finding in caught.value.diagnostics] == ["S313"]
    repeated = f"{gated} block b(dim = 3, scan core = gated) {{ a = core(dim) * 2 forward x = a(x) }}"
    assert [code for code, _, _ in findings(repeated, scans=True)] == ["S313"]


# bounds


def test_blocks_that_grow_without_end_are_a_finding() -> None:
    once = "block f(block g) { a = g(g) forward x = a(x) } block b() { a = f(f) forward x = a(x) }"
    assert [code for code, _, _ in findings(once)] == ["S106"]
    twice = "block f(block g) { a = g(g) c = g(g) forward x = a(c(x)) } block b() { a = f(f) forward x = a(x) }"
    assert [code for code, _, _ in findings(twice)] == ["S106"]


def test_a_block_may_be_in_itself_through_a_formal() -> None:
    text = """block residual(dim, block f) { inner = f(dim) forward x = x + inner(x) }
    block inner(dim) { a = residual(dim, layer_norm) forward x = a(x) }
    block b(dim = 3) { a = residual(dim, inner) forward x = a(x) }"""
    assert size_of(block(text)) == 5


def test_layers_are_bounded() -> None:
    text = (
        "backbone n(depth = %d) { stem = conv2d(3, 4, 4) a = b() * depth } block b() { n = layer_norm(4) * 8 forward x = n(x) }"
    )
    assert size_of(section(network(text % 450), "a")) == 4050
    assert [(code, label) for code, _, label in findings(text % 460)] == [("S106", f"more than {LIMITS.network_layers}")]
    twice = " ".join(f"block b{n} {{ a = b{n + 1}() c = b{n + 1}() forward x = a(c(x)) }}" for n in range(30))
    assert [code for code, _, _ in findings(f"{twice} block b30 {{ forward x = x }}")] == ["S106"]


def test_numbers_are_bounded_work() -> None:
    numbers = " ".join(f"n{k} = {' + '.join(['dim'] * 50)}" for k in range(8))
    text = f"block c(dim) {{ {numbers} forward x = x }} block b() {{ a = c(2) * 1000 forward x = a(x) }}"
    assert [code for code, _, _ in findings(text)] == ["S106"]


def test_growing_numbers_are_bounded() -> None:
    squares = " ".join(f"n{k + 1} = n{k} * n{k}" for k in range(40))
    ((code, _, label),) = findings(f"block b(n0 = 3) {{ {squares} forward x = x }}")
    assert (code, label) == ("S312", f"this number takes more than {LIMITS.number_bits} bits")


def test_files_are_bounded() -> None:
    variants = " ".join(f"backbone v{k} from n" for k in range(9))
    text = f"backbone n() {{ stem = conv2d(3, 4, 4) norm = layer_norm(4) * 10 }} {variants}"
    assert program(text).backbones
    with patch("scanlang.check.network_numbers.LIMITS", replace(LIMITS, file_layers=100)):
        assert findings(text) == [("S106", "v8", "more than 100")]
