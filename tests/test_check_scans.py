"""The clauses of a scan, right and wrong, and what a recurrence may say of labels; what is no scan is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanlang.check import Importer, check
from scanlang.check.program import CheckedProgram, CheckedScan, Conv, Use
from scanlang.check.widths import misfit
from scanlang.diagnostics import ScanError
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import Name, Number
from scanlang.syntax.parse import parse_text

ORDERS = "grid h, w\norder rows = walk h, w\norder back = reverse(rows)\norder given = input\n"
LEAKY = "recurrence leaky { input x  param a  shared param t  h = exp(-a) * h + t * x }\n"
GATED = "recurrence gated(state n) { input x, g  shared B[n]  param a[n]\n"
GATED += " h[n] = a[n] * h[n] + B[n] * x  y = g * sum(n: h[n]) }\n"
MOVES = "recurrence moves(state n) { input x  shared param dB[label, n]  param a[n]\n"
MOVES += " h[n] = a[n] * h[n] + dB[label, n] * x  y = sum(n: h[n]) }\n"
PROGRAM = ORDERS + LEAKY + GATED + MOVES


def checked(text: str) -> CheckedProgram:
    source = Source("test.scan", text)
    return check(build_syntax(parse_text(source), source), source, Importer())


def scan(clauses: str, formals: str = "dim") -> CheckedScan:
    return checked(f"{PROGRAM}scan s({formals}) {{ {clauses} }}").scans["s"]


def refused(text: str) -> list[str]:
    """Each finding as `S101 title`."""
    with pytest.raises(ScanError) as caught:
        checked(text)
    assert str(caught.value)
    return [f"{found.code} {found.title}" for found in caught.value.diagnostics]


def findings(clauses: str, formals: str = "dim") -> list[str]:
    return refused(f"{PROGRAM}scan s({formals}) {{ {clauses} }}")


def codes(clauses: str, formals: str = "dim") -> list[str]:
    return [finding.split()[0] for finding in findings(clauses, formals)]


# layers


def test_layers_are_the_directions_of_each_layer() -> None:
    found = scan("layers cycle (rows, back), (columns, reverse(columns)), snake  recur leaky")
    assert [[direction.text for direction in layer] for layer in found.layers] == [
        ["rows", "back"],
        ["columns", "reverse(columns)"],
        ["snake"],
    ]
    assert (found.layer_rule, found.whole_backbone) == ("cycle", False)
    assert [direction.text for direction in found.at_layer(5).directions] == ["snake"]
    assert found.at_layer(5).layer_rule == "directions"


def test_a_cycle_over_the_backbone_and_a_list() -> None:
    assert scan("layers cycle global rows, back  recur leaky").whole_backbone
    found = scan("layers list rows, back  recur leaky")
    assert (found.layer_rule, found.at_layer(1).directions[0].text) == ("list", "back")
    with pytest.raises(IndexError):
        found.at_layer(2)


def test_directions_are_one_layer() -> None:
    found = scan("directions rows, back  recur leaky")
    assert (len(found.layers), found.layer_rule) == (1, "directions")
    assert found.at_layer(7).directions == found.directions


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("directions rows layers cycle back recur leaky", ["S164"]),
        ("recur leaky", ["S135"]),
        ("layers cycle rows layers list back recur leaky", ["S111"]),
        ("layers cycle rows, nowhere recur leaky", ["S101"]),
        (f"layers cycle {', '.join(['rows'] * 65)} recur leaky", ["S106"]),
        (f"layers cycle rows, ({', '.join(['rows'] * 65)}) recur leaky", ["S106"]),
    ],
)
def test_wrong_layers(clauses: str, found: list[str]) -> None:
    assert codes(clauses) == found


@pytest.mark.parametrize(
    "merge, found",
    [
        ("y[0] + y[1]", ["S139 `y[1]` is the output of no direction"]),
        ("silu(y[0])", ["S140 the merge never uses `y[1]`"]),
        ("sum(k: silu(y[k]))", []),
        ("mean", []),
    ],
)
def test_a_merge_fits_every_layer(merge: str, found: list[str]) -> None:
    clauses = f"layers cycle (rows, back), columns  recur leaky  merge {merge}"
    if found:
        assert findings(clauses) == found
    else:
        assert scan(clauses)


@pytest.mark.parametrize(("merge", "known"), [("add", True), ("avg", True), ("y[0] + back", False)])
def test_a_merge_that_is_no_word_says_which_there_are(merge: str, known: bool) -> None:
    with pytest.raises(ScanError) as caught:
        scan(f"directions rows recur leaky merge {merge}")
    (finding,) = caught.value.diagnostics
    words = "a merge is `sum`, `mean`, `max`, `concat` or `weighted`, or an expression such as `y[0] + y[1]`"
    assert finding.help == (words if known else "known here: `y` and `x`")


# channels


@pytest.mark.parametrize(
    "clauses, split",
    [
        ("directions rows, back channels all", None),
        ("directions rows, back", None),
        ("directions rows, back channels split", (1, 1)),
        ("directions rows, back, columns channels split 2, 1, 1", (2, 1, 1)),
        ("directions rows, back channels split 4, 2", (2, 1)),
        ("directions rows, back channels split 3, 3 merge concat share all", (1, 1)),
        ("directions rows channels split merge sum", (1,)),
        ("layers cycle (rows, back), (columns, snake) channels split 2, 1", (2, 1)),
    ],
)
def test_split(clauses: str, split: tuple[int, ...] | None) -> None:
    assert scan(f"{clauses} recur leaky").split == split


def test_equal_parts_go_by_the_layer() -> None:
    found = scan("layers cycle (rows, back), (rows, back, columns) channels split recur leaky")
    assert [found.at_layer(layer).split for layer in (0, 1)] == [(1, 1), (1, 1, 1)]


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("directions rows, back channels split 2, 1, 1", ["S166"]),
        ("layers cycle (rows, back), rows channels split 2, 1", ["S166"]),
        ("directions rows, back channels split 0, 0", ["S167", "S167"]),
        ("directions rows, back channels split merge mean", ["S168"]),
        ("directions rows, back channels split merge weighted", ["S168"]),
        ("directions rows, back channels split merge y[0] * y[1]", ["S168"]),
        ("directions rows, back channels split 2, 1 share a", ["S169"]),
        ("directions rows, back channels split 2, 1 share all", ["S169"]),
        ("directions rows, back channels split 2, 1 share conv conv 4", ["S169"]),
        ("directions rows, back channels all channels split", ["S111"]),
    ],
)
def test_wrong_split(clauses: str, found: list[str]) -> None:
    assert codes(f"{clauses} recur leaky") == found


def test_unequal_parts_share_what_has_no_channels() -> None:
    assert scan("directions rows, back channels split 2, 1 share t recur leaky").shared == {"t"}


def test_projections_of_split_channels() -> None:
    clauses = "input x, g directions rows, back channels split recur gated(state = 2) project B from x"
    assert scan(f"{clauses} share project").split == (1, 1)
    assert codes("directions rows, back channels split recur gated(state = 2) project B, g from x") == ["S174"]


# streams


UNITS = """recurrence units(state n, head p) { input x[p], dt, k[n]  shared B[n] per 2 units  param a
  S[n, p] = sigmoid(a * dt) * S[n, p] + B[n] * k[n] * x[p]  y[p] = sum(n: S[n, p]) }
"""


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("input x directions rows recur units(state = 4, head = 2) project dt, k, B from x", []),
        ("input x, dt, k directions rows recur units(state = 4, head = 2) conv 4 share a", []),
        ("input x, dt, k, z directions rows recur units(state = 4, head = 2) merge y[0] * z", []),
        ("input x, dt, k directions rows recur units(state = 4, head = 2) operands dt, k along back", []),
        ("directions rows recur units(state = 4) project dt, k, B from x", ["S136"]),
        ("directions rows recur units(state = 4, head = 0) project dt, k, B from x", ["S134"]),
        ("directions rows recur units(state = 4, head = 2) project B from x", ["S137", "S137"]),
        ("directions rows, back channels split recur units(state = 4, head = 2) project dt, k, B from x", ["S174"] * 3),
        ("input dt, x, k directions rows recur units(state = 4, head = 2) conv 4", ["S165"]),
        ("input k, x, dt directions rows recur units(state = 4, head = 2) conv 4", ["S165"]),
        ("input x, dt, k directions rows recur units(state = 4, head = 2) project B from dt", ["S191"]),
        ("input x, dt, k directions rows recur units(state = 4, head = 2) project B from k", ["S191"]),
        ("input x, dt, k directions rows recur units(state = 4, head = 2) merge y[0] * dt", ["S101"]),
    ],
)
def test_scans_of_units(clauses: str, found: list[str]) -> None:
    program = f"{ORDERS}{UNITS}scan s(dim) {{ {clauses} }}"
    if not found:
        assert checked(program).scans["s"].recurrence.head == "p"
    else:
        assert [finding.split()[0] for finding in refused(program)] == found


def test_conv() -> None:
    found = scan("directions rows conv 4 recur leaky").conv
    assert isinstance(found, Conv)
    assert (found.width, found.along) == (4, None)
    along = scan("directions rows conv 16 along back recur leaky").conv
    assert along is not None
    assert along.along is not None
    assert (along.width, along.along.text) == (16, "back")


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("conv 0 recur leaky", ["S165"]),
        ("conv 17 recur leaky", ["S165"]),
        ("conv 4 conv 3 recur leaky", ["S111"]),
        ("conv 4 along nowhere recur leaky", ["S101"]),
        ("input z, x conv 4 recur leaky merge y[0] * z", ["S165"]),
        ("input z, x, g conv 4 recur gated(state = 1) project B from z", []),
        ("input B, x, g conv 4 recur gated(state = 1)", ["S165"]),
    ],
)
def test_conv_takes_the_place_of_the_first_input(clauses: str, found: list[str]) -> None:
    if found:
        assert codes(f"directions rows {clauses}") == found
    else:
        assert scan(f"directions rows {clauses}").conv


def test_operands_along_another_order() -> None:
    clauses = "input x, g directions rows recur gated(state = 2) project B from x"
    found = scan(f"{clauses} operands B along columns operands x, g along back")
    assert {name: order.text for name, order in found.along.items()} == {"B": "columns", "x": "back", "g": "back"}


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("operands a along back", ["S171 `a` cannot run along an order"]),
        ("operands t along back", ["S171 `t` cannot run along an order"]),
        ("operands z along back", ["S101 unknown operand `z` of `leaky`"]),
        ("operands x along back operands x along columns", ["S102 the order of operand `x` is given twice"]),
        ("operands x, x along back", ["S102 the order of operand `x` is given twice"]),
        ("operands x along nowhere", ["S101 unknown order `nowhere`"]),
    ],
)
def test_wrong_operands(clauses: str, found: list[str]) -> None:
    assert findings(f"directions rows recur leaky {clauses}") == found


def test_an_input_of_the_merge_alone_runs_along_no_order() -> None:
    clauses = "input x, z directions rows recur leaky operands z along back merge y[0] * z"
    assert findings(clauses) == ["S101 unknown operand `z` of `leaky`"]


def test_directions_write_elsewhere() -> None:
    found = scan("directions rows, back, back, reverse(back) recur leaky back writes rows rows writes columns")
    assert [d.writes.text if d.writes else None for d in found.directions] == ["columns", "rows", "rows", None]
    in_layers = scan("layers cycle rows, (rows, back) recur leaky back writes snake")
    assert [[bool(d.writes) for d in layer] for layer in in_layers.layers] == [[False], [False, True]]


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("columns writes rows", ["S172 `columns` is no direction of this scan"]),
        ("rows writes columns rows writes back", ["S102 the target of `rows` is given twice"]),
        ("rows writes nowhere", ["S101 unknown order `nowhere`"]),
    ],
)
def test_wrong_writes(clauses: str, found: list[str]) -> None:
    assert findings(f"directions rows, reverse(columns) recur leaky {clauses}") == found


def test_tokens_elsewhere_are_those_of_the_directions() -> None:
    inserted = "directions insert(rows, cls at head) recur leaky"
    assert scan(f"{inserted} operands x along insert(back, cls at tail)")
    assert codes(f"{inserted} operands x along insert(back, reg at tail)") == ["S178"]
    assert codes("directions back recur leaky back writes insert(rows, cls at head)") == ["S178"]
    assert codes("layers cycle insert(rows, cls at head), rows recur leaky conv 4 along insert(rows, cls at head)") == ["S178"]


# labels


def test_labels_go_with_a_table_by_label() -> None:
    found = scan("directions rows recur moves(state = 2) label moves share dB")
    assert found.labelled
    assert found.shared == {"dB"}
    table = found.recurrence.of_kind("shared param")[0]
    assert (table.indices, found.recurrence.indices) == (("label", "n"), {"n": "state"})
    assert codes("directions rows recur moves(state = 2)") == ["S170"]
    assert codes("directions rows recur leaky label moves") == ["S170"]


@pytest.mark.parametrize(
    "body, found",
    [
        ("shared param d[label] = log(label + 1)  h = 0.9 * h + d[label] * x", []),
        ("shared param d[label, n]  h[n] = 0.9 * h[n] + d[label, n] * x  y = sum(n: h[n])", []),
        ("shared param d[n], e = 1 / 3  h[n] = e * h[n] + d[n] * x  y = sum(n: h[n])", []),
        ("shared param d[n, label]  h[n] = 0.9 * h[n] + d[n, label] * x  y = sum(n: h[n])", ["S123"]),
        ("param d[label]  h = 0.9 * h + d[label] * x", ["S123"]),
        ("shared d[label]  h = 0.9 * h + d[label] * x", ["S123"]),
        ("shared param d[label]  f[label] = d[label] * x  h = 0.9 * h + f[label]", ["S123"]),
        ("shared param d[label]  h = 0.9 * h + sum(label: d[label] * x)", ["S123"]),
        ("shared param d[label]  h = 0.9 * h + d[label] * label * x", ["S123"]),
        ("shared param d[label]  h = 0.9 * h + d[n] * x", ["S123"]),
        ("shared param d[label], e[n]  h = 0.9 * h + d[label] * sum(n: e[label]) * x", ["S123"]),
        ("shared param d[label]  h = 0.9 * h + d * x", ["S121"]),
        ("shared param d[label]  label = 0.9 * label + d[label] * x", ["S108"]),
        ("shared param d[label] = 1 / (label - 3)  h = 0.9 * h + d[label] * x", ["S133"]),
        ("shared param d[label] = n  h = 0.9 * h + d[label] * x", ["S101"]),
        ("shared param d[label]  h = 0.9 * h + x", ["S126"]),
        ("shared param conv  h = 0.9 * h + conv * x", ["S108"]),
        ("shared param d  d = 0.9 * d + x", ["S125"]),
        ("h = 0.9 * h + x * x[label]", ["S121"]),
    ],
)
def test_shared_parameters(body: str, found: list[str]) -> None:
    text = f"recurrence r(state n) {{ input x {body} }}"
    if found:
        assert [finding.split()[0] for finding in refused(text)] == found
    else:
        assert checked(text).recurrences["r"].of_kind("shared param")


@pytest.mark.parametrize("formal, title", [("state label", "an index"), ("label n", "a size")])
def test_label_is_no_formal(formal: str, title: str) -> None:
    text = f"recurrence r({formal}) {{ input x  h = 0.9 * h + x }}"
    assert refused(text) == [f"S108 {title} may not be named `label`"]


def test_an_input_may_be_called_label_where_nothing_is_read_by_label() -> None:
    assert checked("recurrence r { input label  h = 0.9 * h + label }").recurrences["r"]


# sharing


@pytest.mark.parametrize(
    "clauses, shared",
    [
        ("share all", {"a", "t"}),
        ("share all conv 4", {"a", "t", "conv"}),
        ("share all except conv conv 4", {"a", "t"}),
        ("share conv, t conv 4", {"conv", "t"}),
        ("share nothing", set()),
    ],
)
def test_share(clauses: str, shared: set[str]) -> None:
    assert scan(f"directions rows, back recur leaky {clauses}").shared == shared


@pytest.mark.parametrize(
    "share, found",
    [
        ("project", ["S173 `share` names `project`, and the scan has none"]),
        ("conv", ["S173 `share` names `conv`, and the scan has none"]),
        ("all except conv", ["S173 `share` names `conv`, and the scan has none"]),
        ("x", ["S101 unknown parameter `x` of `leaky`"]),
    ],
)
def test_wrong_share(share: str, found: list[str]) -> None:
    assert findings(f"directions rows, back recur leaky share {share}") == found


# merges and the layers they use


@pytest.mark.parametrize("rule", ["sum", "mean", "max", "concat", "weighted"])
def test_merges_by_word(rule: str) -> None:
    assert scan(f"directions rows, back recur leaky merge {rule}").merge == rule
    assert scan(f"directions rows recur leaky merge {rule}").merge == rule


@pytest.mark.parametrize(
    "merge",
    [
        "sum(k: y[k] * g(mean(cells: y[k])))",
        "y[0] * down(y[1])",
        "up(down(y[0])) + norm(y[1])",
        "y[0] + one(y[1]) * mean(cells: y[0] * y[1])",
        "max(y[0], y[1]) * sigmoid(mean(cells: x))",
        "up(mean(cells: sum(k: down(y[k]))))",
    ],
)
def test_merges_with_layers(merge: str) -> None:
    layers = {"g": "linear(dim, dim)", "norm": "layer_norm(dim)", "down": "linear(dim, part, bias = false)"}
    layers |= {"up": "linear(part, dim, bias = true)", "one": "linear(dim, 1)"}
    used = {name: layer for name, layer in layers.items() if f"{name}(" in merge}
    formals = "dim, part = dim" if merge == "y[0] * down(y[1])" else "dim, part = ceil(dim / 4)"
    uses = " ".join(f"use {name} = {layer}" for name, layer in used.items())
    found = scan(f"directions rows, back recur leaky merge {merge} {uses}", formals)
    assert [use.name for use in found.uses] == list(used)


def test_a_use_is_its_layer_with_sizes() -> None:
    (found,) = scan("directions rows recur leaky use mix = linear(dim, 4, bias = false) merge mix(y[0])").uses
    assert isinstance(found, Use)
    assert (found.name, found.layer, found.keywords["bias"]) == ("mix", "linear", Name("false", span=found.span))
    assert found.arguments == (Name("dim", span=found.span), Number(4, True, span=found.span))


@pytest.mark.parametrize(
    "use, found",
    [
        ("mix = liner(dim, dim)", ["S101 unknown layer `liner`"]),
        ("mix = linear(dim)", ["S113 wrong arguments for `linear`"]),
        ("mix = layer_norm(dim, dim)", ["S113 wrong arguments for `layer_norm`"]),
        ("mix = linear(dim, dims)", ["S101 unknown size `dims`"]),
        ("mix = linear(dim, 0)", ["S134 `out` is not a size"]),
        ("mix = linear(dim, dim, bias = 1)", ["S177 `bias` is `true` or `false`"]),
        ("mix = linear(dim, dim, bias = maybe)", ["S177 `bias` is `true` or `false`"]),
        ("mix = linear(dim, dim, bias = true, bias = true)", ["S102 keyword `bias` is given twice"]),
        ("mix = linear(dim, dim, base = true)", ["S101 unknown keyword `base` of `linear`"]),
        ("mix = rms_norm(dim, bias = true)", ["S101 unknown keyword `bias` of `rms_norm`"]),
        ("mix = rms_norm(dim) use mix = rms_norm(dim)", ["S102 layer `mix` is given twice"]),
    ],
)
def test_wrong_layers_of_a_merge(use: str, found: list[str]) -> None:
    assert findings(f"directions rows recur leaky use {use} merge mix(y[0])") == found


@pytest.mark.parametrize("name", ["silu", "sum", "mean", "y", "x", "z", "a", "t", "class"])
def test_names_that_a_layer_may_not_have(name: str) -> None:
    found = findings(f"input x, z directions rows recur leaky use {name} = rms_norm(dim) merge max(y[0], z)")
    assert found[0] == f"S108 a layer may not be named `{name}`"


@pytest.mark.parametrize(
    "merge, found",
    [
        ("mix(y[0], y[0])", ["S113"]),
        ("mix()", ["S113"]),
        ("y[0] * mix", ["S113"]),
        ("mix[0] * y[0]", ["S113"]),
        ("y[0]", ["S126"]),
        ("mix(2) * y[0]", ["S175"]),
        ("y[0] * mean(cells: 2) * mix(y[0])", ["S113"]),
        ("y[0] * mean(cells: mean(cells: y[0])) * mix(y[0])", ["S120"]),
        ("y[0] // mean(cells: mix(y[0]) // 2)", ["S120", "S120"]),
        ("mean(cells: y[3]) * mix(y[0])", ["S139"]),
        ("sum(k: y[k] * mean(cells: k)) * mix(y[0])", ["S123"]),
        ("sum", ["S126"]),
    ],
)
def test_wrong_merges_with_layers(merge: str, found: list[str]) -> None:
    assert codes(f"directions rows recur leaky use mix = linear(dim, dim) merge {merge}") == found


@pytest.mark.parametrize(
    "item",
    [
        "recurrence r { input x  h = 0.9 * h + mean(cells: x) }",
        "recurrence r { input x  param a = mean(cells: 2)  h = a * h + x }",
        "order o(t) = (mean(cells: t), 1)",
        "recurrence r(state = mean(cells: 2)) { input x  h = 0.9 * h + x }",
    ],
)
def test_means_over_cells_stand_in_merges_only(item: str) -> None:
    assert refused(f"grid h, w {item}")[0].startswith("S120 `mean(cells: ...)` cannot be used in")


@pytest.mark.parametrize(
    "uses, merge, is_fine",
    [
        ("use f = linear(dim, 4)", "f(y[0])", True),
        ("use f = linear(dim, 4)", "f(y[0]) * x", True),  # where dim is 4
        ("use f = linear(dim, 2 * dim)", "f(y[0]) * x", False),
        ("use f = linear(dim, 2 * dim)", "f(y[0]) * f(x)", False),
        ("use f = linear(dim, 2 * dim) use g = linear(2 * dim, dim)", "g(f(y[0]) * f(x))", True),
        ("use f = linear(dim, 1)", "f(y[0])", True),  # where dim is 1
        ("use f = linear(dim, 1)", "f(y[0]) * x", True),
        ("use f = linear(96, 96)", "f(y[0]) * x", True),
        ("use f = linear(96, 96) use g = linear(64, 64)", "f(y[0]) * g(x)", False),
        ("use f = layer_norm(dim // 2)", "f(y[0])", False),
        ("use f = linear(dim, dim // 2) use g = rms_norm(dim // 2)", "g(f(mean(cells: y[0])))", False),
        ("use f = linear(dim, dim // 2) use g = linear(dim // 2, dim)", "g(f(mean(cells: y[0])))", True),
        ("use f = linear(other, dim)", "f(y[0])", True),  # where other is dim
        ("use f = linear(other + dim, dim)", "f(y[0])", False),
        ("use f = linear(dim, ratio * dim) use g = linear(2 * dim, dim)", "g(f(y[0]))", True),  # where ratio is 2
    ],
)
def test_channels_that_never_fit(uses: str, merge: str, is_fine: bool) -> None:
    clauses = f"input x directions rows recur leaky {uses} merge {merge}"
    formals = "dim, ratio, other = dim" if "ratio" in uses or "other" in uses else "dim"
    if is_fine:
        assert scan(clauses, formals)
    else:
        assert codes(clauses, formals) == ["S175"]


def test_channels_are_checked_at_the_sizes_of_a_module() -> None:
    found = scan("directions rows recur leaky use f = linear(dim, 4) merge y[0] * f(y[0])")
    assert not isinstance(found.merge, str)
    assert misfit(found.merge, found.uses, 4, {"dim": 4}) is None
    wrong = misfit(found.merge, found.uses, 6, {"dim": 6})
    assert wrong is not None
    assert "4 and 6 meet" in wrong.label
    found = scan("directions rows recur leaky use f = linear(dim, dim // (dim - 4)) merge y[0] * f(y[0])")
    assert not isinstance(found.merge, str)
    problems = [misfit(found.merge, found.uses, channels, {"dim": channels}) for channels in (3, 4)]
    assert [problem.code for problem in problems if problem is not None] == ["S134", "S134"]


@pytest.mark.parametrize("value, found", [("0", []), ("0.0", []), ("1", ["S176"]), ("0.5", ["S176"])])
def test_uncovered(value: str, found: list[str]) -> None:
    clauses = f"directions rows recur leaky uncovered = {value}"
    if found:
        assert codes(clauses) == found
    else:
        assert scan(clauses).uncovered


# names of arguments and weights


@pytest.mark.parametrize(
    "operand, clauses, is_fine",
    [
        ("merge_weight", "merge weighted", False),
        ("merge_weight", "merge mean", True),
        ("conv_weight", "conv 4", False),
        ("conv_bias", "conv 4", False),
        ("conv_bias", "", True),
        ("project_weight", "project g from x", False),
    ],
)
def test_weights_that_clauses_make(operand: str, clauses: str, is_fine: bool) -> None:
    recurrence = f"recurrence r {{ input x, g  param {operand}  h = {operand} * h + x * g }}\n"
    inputs = "x" if "project" in clauses else "x, g"
    text = f"{recurrence} scan s(dim) {{ input {inputs} directions raster, columns recur r {clauses} }}"
    if is_fine:
        assert checked(text).scans["s"]
    else:
        assert refused(text) == [f"S108 a parameter may not be named `{operand}`"]


@pytest.mark.parametrize(
    "clauses, found",
    [
        ("directions given recur leaky", []),
        ("directions given, reverse(given) recur leaky", []),
        ("input x, given directions given recur leaky merge y[0] * given", ["S108 an order given at run time may not be"]),
        ("directions rows recur leaky rows writes given use given = rms_norm(dim) merge given(y[0])", ["S108"]),
        ("directions rows recur leaky operands x along given use given = rms_norm(dim) merge given(y[0])", ["S108"]),
        ("directions insert(rows, cls at head), insert(back, cls at tail, reg at head) recur leaky", []),
        ("directions insert(rows, x at head) recur leaky", ["S108 a token may not be named `x`"]),
        ("directions insert(rows, a at head) recur leaky", ["S108 a token may not be named `a`"]),
        ("input x, z, z_cls directions insert(rows, cls at head) recur leaky merge y[0] * z * z_cls", ["S108"]),
        ("directions insert(rows, class at head) recur leaky", ["S108 a token may not be named `class`"]),
        ("directions insert(given, given at head) recur leaky", ["S108 a token may not be named `given`"]),
    ],
)
def test_arguments_have_names_of_their_own(clauses: str, found: list[str]) -> None:
    if found:
        assert [text[: len(found[0])] for text in findings(clauses)] == found
    else:
        assert scan(clauses)


# several findings, and what is no scan


def test_findings_of_all_clauses_come_together() -> None:
    clauses = "layers cycle rows, nowhere  conv 99  share conv, D  use f = liner(dim)  uncovered = 2\n"
    clauses += "channels split 0  merge f(y[0]) + q  operands a along rows  label moves  recur leaky"
    assert findings(clauses) == [
        "S101 unknown order `nowhere`",
        "S165 the scan has no such `conv`",
        "S101 unknown parameter `D` of `leaky`",
        "S101 unknown layer `liner`",
        "S176 cells that no direction visits are 0",
        "S167 `0` is no share of the channels",
        "S168 split channels are merged side by side only",
        "S101 unknown name `q`",
        "S171 `a` cannot run along an order",
        "S170 nothing in `leaky` reads the labels",
    ]


def test_a_broken_recurrence_has_its_own_findings_only() -> None:
    text = "recurrence r { input x  h = exp(h) }\nscan s(dim) { directions raster  recur r  label moves  share a, conv\n"
    text += "conv 4  operands B along columns  project C from x  channels split 2  use f = rms_norm(dim)  merge f(y[0]) }"
    assert [finding.split()[0] for finding in refused(text)] == ["S129", "S168"]


SEVERAL, TREE, MATRIX, GATE = "S160", "S161", "S162", "S163"


@pytest.mark.parametrize(
    "equations, code",
    [
        ("h = a * h_left + b * h_top + x", SEVERAL),
        ("h = a * h + b * h_up + x", SEVERAL),
        ("h = a * left + b * top + x", SEVERAL),
        ("h[i, j] = a * h[i-1, j] + b * h[i, j-1] + x[i, j]  y = h[i, j]", SEVERAL),
        ("h[r, q] = a * h[r - 1, q - 1] + x  y = h[r, q]", SEVERAL),
        ("h = a * h + b * shift(h, 1, 0) + x", SEVERAL),
        ("h = a * neighbors(h) + x", SEVERAL),
        ("h = sum(n: a * predecessor(h)) + x", SEVERAL),
        ("predecessors left, top  h = a * h + x", SEVERAL),
        ("h = a * tree_parent + x", TREE),
        ("tree mst  h = a * h + x", TREE),
        ("h[n] = matmul(a, h) + x  y = sum(n: h[n])", MATRIX),
        ("h = a @ h + x", MATRIX),
        ("h = c * h - b * g + x  g = b * h + c * g", MATRIX),
        ("h[n] = sum(m: w[n, m] * h[m]) + x  y = sum(n: h[n])", "S130"),
        ("h[n] = a * h[n] + b * h[n - 1] + x  y = sum(n: h[n])", "S130"),
        ("f = sigmoid(a * x + b * h)  h = f * h + x", GATE),
        ("f = sigmoid(x + b * h)  q = f * q + x  h = a * tanh(q)", GATE),
        ("g = sigmoid(h) * g + x  h = a * h + g", GATE),
        ("h = sigmoid(b * h) * h + x", "S129"),
        ("h = tanh(b * h + x)", "S129"),
        ("h[t] = a * h[t - 1] + x  y = h", "S123"),
        ("h[t] = a * h[t - 1] + b * h[t - 2] + x  y = h[t]", "S123"),
        ("h = a * h_prev + x", "S123"),
        ("h = a * old + x", "S101"),
    ],
)
def test_what_is_no_scan_is_refused_by_name(equations: str, code: str) -> None:
    operands = "input x, a  param b, c, w[n, m]"
    found = refused(f"recurrence r(state n, other m) {{ {operands}  {equations} }}")
    assert [finding.split()[0] for finding in found] == [code]


@pytest.mark.parametrize(
    "clause, code",
    [
        ("predecessors left, top", SEVERAL),
        ("wavefront", SEVERAL),
        ("neighbours 4", SEVERAL),
        ("tree mst", TREE),
        ("mst tree", TREE),
        ("merge y[0] wavefront", SEVERAL),
    ],
)
def test_clauses_of_what_is_no_scan(clause: str, code: str) -> None:
    assert codes(f"directions rows recur leaky {clause}") == [code]


@pytest.mark.parametrize("name, code", [("gspn", SEVERAL), ("mamba2d", SEVERAL), ("tree_scan", TREE), ("leak", "S101")])
def test_recurrences_that_are_none(name: str, code: str) -> None:
    assert codes(f"directions rows recur {name}") == [code]


def test_words_are_refused_only_where_nothing_defines_them() -> None:
    text = "grid h, w order tree = walk w, h recurrence r { input x, left, h_top\n"
    text += " matrix = left * x  h = 0.9 * h + matrix + h_top }\n"
    assert checked(f"{text} scan s(dim) {{ input x, left, h_top directions tree recur r }}")
    assert refused(f"{text} scan s(dim) {{ directions raster tree recur r }}")[0].startswith("S001")


def test_an_output_above_the_update_is_used_before_its_equation() -> None:
    text = "recurrence r { input x  s = 2 * h  h = 0.9 * h + x  y = s + h }"
    assert refused(text) == ["S132 `h` is used before its equation"]


def test_every_refusal_says_what_can_be_done() -> None:
    folder = Path(__file__).parent / "errors"
    cases = [path for code in (SEVERAL, TREE, MATRIX, GATE, "S129", "S130") for path in folder.glob(f"{code}_*.err")]
    assert len(cases) > 15
    assert all("= help: " in path.read_text(encoding="utf-8") for path in cases)


# no program makes the checker fall over

NAMES = st.sampled_from(["x", "z", "g", "B", "a", "t", "dB", "y", "f", "k", "label", "rows", "cls", "class", "conv", "project"])
ORDERS_IN_SCANS = st.sampled_from(
    [
        *(
            "rows",
            "back",
            "columns",
            "given",
            "nowhere",
            "tree",
            "spiral",
            "reverse(rows)",
            "(walk h, w)",
            "concat(rows, back)",
        ),
        *("insert(rows, cls at head)", "insert(back, x at 3)", "reverse(insert(given, reg at tail))"),
        "window(raster, 2, 2, pad = decay)",
    ]
)
SIZES = st.sampled_from(["dim", "dim // 4", "rank", "4", "0", "1 / 2", "none", "dim * dim * 99999999", "dim % dim"])


def listed(of: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(of, min_size=1, max_size=most).map(", ".join)


def grown(atoms: list[str], functions: list[str], indices: list[str], most: int) -> st.SearchStrategy[str]:
    """Expressions of these words."""
    return st.recursive(
        st.sampled_from(atoms),
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from(["+", "*", "-", "/", "//"]), inner),
            st.builds("{}({})".format, st.sampled_from(functions), listed(inner, 2)),
            st.builds("sum({}: {})".format, st.sampled_from(indices), inner),
            inner.map("mean(cells: {})".format),
        ),
        max_leaves=most,
    )


MERGES = grown(
    ["y[0]", "y[1]", "y[k]", "y[2]", "y", "x", "z", "2", "0.5", "k", "f", "dim", "y[-1]", "x[0]"],
    ["silu", "f", "g", "mix", "max", "shift"],
    ["k", "y", "x"],
    6,
)
OPTIONS = st.sampled_from(["", ", bias = false", ", bias = 0", ", bias = dim"])
PARTS = st.one_of(st.just(""), listed(st.sampled_from(["0", "1", "2", "2147483647"]), 4))
LAYER_RULES = st.sampled_from(["cycle", "list", "cycle global"])


def clauses() -> st.SearchStrategy[str]:
    word = st.sampled_from
    return st.one_of(
        st.builds("input {}".format, listed(NAMES)),
        st.builds("directions {}".format, listed(ORDERS_IN_SCANS)),
        st.builds("layers {} ({}), ({})".format, LAYER_RULES, listed(ORDERS_IN_SCANS), listed(ORDERS_IN_SCANS)),
        st.builds("channels split {}".format, PARTS),
        st.builds("recur {}".format, word(["leaky", "gated(state = 2)", "moves(state = rank)", "gated", "gspn"])),
        st.builds("project {} from {}".format, listed(NAMES), NAMES),
        st.builds("conv {}".format, word(["0", "4", "16", "99"])),
        st.builds("conv 4 along {}".format, ORDERS_IN_SCANS),
        st.builds("operands {} along {}".format, listed(NAMES), ORDERS_IN_SCANS),
        st.builds("{} writes {}".format, word(["rows", "back", "columns", "given"]), ORDERS_IN_SCANS),
        st.builds("share {}".format, word(["all", "nothing", "a", "project, conv", "all except conv", "t, a, dB"])),
        st.builds("uncovered = {}".format, word(["0", "1", "0.0"])),
        st.builds("merge {}".format, st.one_of(word(["sum", "max", "concat", "weighted", "mean"]), MERGES)),
        st.builds("use {} = linear({}, {}{})".format, word(["f", "g", "mix", "x", "sum"]), SIZES, SIZES, OPTIONS),
        st.builds("use {} = {}({})".format, word(["f", "g", "mix"]), word(["rms_norm", "layer_norm", "conv"]), SIZES),
        st.just("label moves"),
    )


RIGHT = st.sampled_from(
    [
        "directions rows, back recur leaky",
        "layers cycle (rows, back), (columns, given) recur leaky",
        "directions rows, insert(back, cls at head) recur gated(state = 2) project B, g from x",
        "directions snake recur moves(state = rank) label moves",
    ]
)


def outcome(text: str) -> CheckedProgram | None:
    """None for a program that is refused, in a text."""
    try:
        return checked(text)
    except ScanError as error:
        if not re.match(r"error\[S\d{3}\]: ", str(error)):
            raise
        return None


@settings(max_examples=300, deadline=None)
@given(
    RIGHT,
    st.lists(clauses(), max_size=4, unique_by=lambda text: text.split()[0]),
    st.sampled_from(["dim", "dim, rank = dim / 8", "dim, rank", "rank = 0", ""]),
)
def test_any_scan_is_checked_or_refused(right: str, more: list[str], formals: str) -> None:
    program = outcome(f"{PROGRAM}scan s({formals}) {{ {' '.join([right, *more])} }}")
    if program is None:
        return
    whole = program.scans["s"]
    for layer in range(len(whole.layers)):
        one = whole.at_layer(layer)
        assert one.split is None or len(one.split) == len(one.directions)
        assert one.conv is None or 1 <= one.conv.width <= 16
        assert replace(one, layers=whole.layers, layer_rule=whole.layer_rule, split=whole.split) == whole
    kinds = whole.recurrence.kinds
    assert whole.shared <= {*kinds, "project", "conv"}
    assert all(kinds[name] in ("input", "shared") for name in whole.along)


VALUES = grown(
    [
        "h",
        "x",
        "a",
        "b",
        "h[n]",
        "b[n]",
        "T[label]",
        "T[n]",
        "h[label]",
        "h[n - 1]",
        "g",
        "h_left",
        "h[i, j - 1]",
        "2",
        "label",
    ],
    ["sigmoid", "tanh", "max", "shift", "matmul"],
    ["n", "label", "m"],
    3,
)
LEFT = st.sampled_from(["h", "h[n]", "g", "y", "h[label]", "x", "f[n]", "label", "h[i, j]"])
BODIES = st.lists(st.builds("{} = {}".format, LEFT, VALUES), max_size=2).map("\n".join)


@settings(max_examples=300, deadline=None)
@given(BODIES, st.sampled_from(["state n", "state n, other m = state", "state label", ""]))
def test_any_recurrence_is_checked_or_refused(body: str, formals: str) -> None:
    text = f"recurrence r({formals}) {{ input x  param a, b[n]  shared param T[label] = label / 2\n"
    program = outcome(f"{text}{body}\n k = 0.5 * k + x * a * T[label] * sum(n: b[n])\n out = k }}")
    assert program is None or "label" not in program.recurrences["r"].indices
