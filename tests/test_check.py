"""The checks: names, imports, orders and scans. The algebra of recurrences is in `test_check_linearity.py`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanlang.check import Importer, check
from scanlang.check.program import CheckedProgram, FlipOrder, Phases, ReverseOrder, Tiles, WalkOrder, Whole
from scanlang.check.sizes import evaluate_size
from scanlang.diagnostics import ScanError
from scanlang.source import Source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.parse import parse_text
from scanlang.syntax.text import read_source

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.scan"))
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.scan"))
LEAKY = "recurrence leaky { input x  param a  h = exp(-a) * h + x }\n"


def checked(text: str, importer: Importer | None = None, name: str = "test.scan") -> CheckedProgram:
    source = Source(name, text)
    return check(build_syntax(parse_text(source), source), source, importer)


def checked_file(path: Path) -> CheckedProgram:
    source = read_source(path, path.name)
    return check(build_syntax(parse_text(source), source), source, Importer(path))


def findings(text: str, importer: Importer | None = None) -> list[str]:
    """Each finding as `S101 2:5 title`."""
    with pytest.raises(ScanError) as caught:
        checked(text, importer)
    return [f"{d.code} {d.span.line}:{d.span.column} {d.title}" for d in caught.value.diagnostics]


def walk(text: str) -> WalkOrder:
    order = checked(f"grid h, w\norder o = {text}\n").orders["o"]
    assert isinstance(order, WalkOrder)
    return order


@pytest.mark.parametrize("path", PROGRAMS + EXAMPLES, ids=lambda path: path.stem)
def test_valid_programs_are_checked(path: Path) -> None:
    program = checked_file(path)
    assert program.scans or program.orders
    assert all(scan.recurrence in program.recurrences.values() for scan in program.scans.values())


def test_walks_are_loops_over_axis_numbers() -> None:
    expected = (Tiles(1, "", 7, 2), Phases(0, "", 2), Whole(0, "-"), Whole(1, "~"))
    assert walk("walk w by 7 from 2, h mod 2, -h, ~w").loops == expected


def test_named_orders_go_by_position_of_the_axes() -> None:
    program = checked("grid row, col\norder a = columns\norder b = snake")
    assert program.orders["a"].loops == (Whole(1, ""), Whole(0, ""))
    assert program.orders["b"].loops == (Whole(0, ""), Whole(1, "~"))
    assert program.axes == ("row", "col")


def test_orders_are_inlined_in_any_sequence() -> None:
    program = checked("grid h, w\norder b = flip(a, w)\norder a = reverse(raster)")
    flipped = program.orders["b"]
    assert isinstance(flipped, FlipOrder)
    assert flipped.axis == 1
    assert isinstance(flipped.of, ReverseOrder)
    assert list(program.orders) == ["b", "a"]


def test_own_order_shadows_the_named_one() -> None:
    text = "grid h, w\norder snake = walk w, ~h\n" + LEAKY + "scan s(dim) { directions snake  recur leaky }"
    assert checked(text).scans["s"].directions[0].order.loops == (Whole(1, ""), Whole(0, "~"))


def test_own_recurrence_shadows_the_library() -> None:
    own = "recurrence selective { input x  param a  h = exp(-a) * h + x }\n"
    program = checked("grid h, w\nimport std.selective\n" + own + "scan s(dim) { directions raster  recur selective }")
    assert program.scans["s"].recurrence.formals == ()


def test_scopes_do_not_leak() -> None:
    body = "recurrence r(rows t) { input x  param w[t]  h[t] = exp(-w[t]) * h[t] + x  raster = sum(t: h[t]) }\n"
    scan = "scan h(dim) { directions f  recur r(rows = 2) }"
    program = checked("grid h, w\norder f(t) = (t // w, t % w)\n" + body + scan)
    assert program.scans["h"].recurrence.readout == "raster"


def test_formals_and_defaults_become_sizes_of_the_scan() -> None:
    text = "grid h, w\nrecurrence r(state n, twice m = 2 * state, more k = twice + state) {\n"
    text += "input x  param a[n], b[m], c[k]  h[n] = exp(-a[n]) * h[n] + x\n"
    text += "y = sum(n: h[n]) + sum(m: b[m]) + sum(k: c[k]) }\n"
    scan = checked(text + "scan s(dim, width = dim / 4) { directions raster  recur r(state = width + 1) }").scans["s"]
    values = {label: evaluate_size(expr, {"dim": 8, "width": 2}) for label, expr in scan.sizes.items()}
    assert values == {"state": 3, "twice": 6, "more": 9}


@pytest.mark.parametrize(
    "clause, shared",
    [
        ("", set()),
        ("share nothing", set()),
        ("share D, project", {"D", "project"}),
        ("share all", {"dt_weight", "dt_bias", "A_log", "D", "project"}),
        ("share all except A_log", {"dt_weight", "dt_bias", "D", "project"}),
    ],
)
def test_share(clause: str, shared: set[str]) -> None:
    body = f"directions raster recur selective(state = 1, rank = 1) project low, B, C from x {clause}"
    assert checked(f"import std.selective grid h, w scan s(dim) {{ {body} }}").scans["s"].shared == shared


def test_direction_text_is_on_one_line_without_comments() -> None:
    text = "grid h, w\n" + LEAKY + "scan s(dim) { directions reverse( # back\n  raster), (walk w,\n h)  recur leaky }"
    assert [d.text for d in checked(text).scans["s"].directions] == ["reverse( raster)", "walk w, h"]


def test_scans_in_named_orders_need_no_grid() -> None:
    assert checked(LEAKY + "scan s(dim) { directions raster, reverse(snake) recur leaky }").scans["s"]
    for order in ("(walk h, w)", "reverse(flip(raster, h))"):
        assert findings(LEAKY + f"scan s(dim) {{ directions raster, {order} recur leaky }}")[0].startswith("S109")


def test_default_input_and_merge() -> None:
    scan = checked("grid h, w\n" + LEAKY + "scan s(dim) { directions raster recur leaky }").scans["s"]
    assert (scan.inputs, scan.merge, scan.projections) == (("x",), "sum", ())


# several findings, and none that only follows from another


def test_findings_of_a_stage_come_together_in_the_order_of_the_text() -> None:
    text = "grid h, w\norder a = walk h\norder b = reverse(c)\n" + LEAKY + "scan s(dim) {\n directions a, z\n merge y[7]\n}"
    assert findings(text) == [
        "S114 2:11 the walk misses axis `w`",
        "S101 3:19 unknown order `c`",
        "S135 5:6 scan `s` has no `recur`",
        "S101 6:16 unknown order `z`",
    ]


def test_unknown_name_is_said_once_and_hides_what_follows() -> None:
    text = "recurrence r(state n) {\n input x\n shared B[n]\n param a[n]\n"
    text += " h[n] = exp(-a[n]) * h[n] + bee[n] * x + bee[n]\n y = sum(n: h[n])\n}"
    assert findings(text) == ["S101 5:29 unknown name `bee`"]


def test_broken_recurrence_is_not_unknown_to_its_scan() -> None:
    text = "grid h, w\nrecurrence r { input x  h = exp(h) }\nscan s(dim) { directions raster recur r() }"
    assert findings(text) == ["S129 2:29 the update of `h` is not linear in `h`"]


def test_broken_order_is_not_unknown_to_its_users() -> None:
    text = "grid h, w\norder a = walk h\norder b = reverse(a)\n" + LEAKY + "scan s(dim) { directions a, b recur leaky }"
    assert findings(text) == ["S114 2:11 the walk misses axis `w`"]


def test_longer_circle_of_orders_is_said_once() -> None:
    text = "grid h, w\norder a = reverse(b)\norder b = reverse(c)\norder c = reverse(a)\norder d = reverse(c)"
    assert findings(text) == ["S112 2:7 order `a` is defined by itself"]


def test_long_chain_of_orders_is_bounded_in_both_sequences() -> None:
    chain = [f"order o{k} = reverse(o{k - 1})" for k in range(1, 1000)]
    start = "grid h, w\norder o0 = walk h, w\n"
    assert findings(start + "\n".join(chain[:300]))[0].startswith("S106")
    assert findings(start + "\n".join(chain[:300:-1] + chain[300::-1]))[0].startswith("S106")


def test_sizes_that_double_are_bounded() -> None:
    formals = ", ".join(["state n = 1", "s0 = 1", *(f"s{k} = s{k - 1} * s{k - 1}" for k in range(1, 60))])
    text = f"grid h, w recurrence r({formals}) {{ input x param a[n] h[n] = a[n] * h[n] + x y = sum(n: h[n]) }}"
    assert findings(text + "scan s(dim) { directions raster recur r }")[0].startswith("S106")


@pytest.mark.parametrize(
    "merge, code",
    [
        ("y[0] + y[1] + q", "S101"),
        ("y[0] + y[1] + x[0]", "S123"),
        ("y[0] + y[1.5]", "S123"),
        ("y[0] + y[-1]", "S139"),
        ("y[0]", "S140"),
        ("2 * x", "S140"),
        ("sum(k: y[k] * k)", "S123"),
        ("sum(k: sum(k: y[k]))", "S124"),
        ("sum(x: y[x])", "S108"),
        ("y[0] // y[1]", "S120"),
    ],
)
def test_wrong_merges(merge: str, code: str) -> None:
    text = "grid h, w\n" + LEAKY + f"scan s(dim) {{ directions raster, columns  recur leaky  merge {merge} }}"
    assert [finding.split()[0] for finding in findings(text)] == [code]


@pytest.mark.parametrize(
    "clauses, code",
    [
        ("recur selective(state = 1, rank = 1, state = 2)", "S102"),
        ("recur selective(state = 1, rank = 1 / 0)", "S134"),
        ("recur selective(state = 5000, rank = 1)", "S134"),
        ("recur selective(state = exp(1), rank = 1)", "S101"),
        ("recur selective(state = 1, rank = 1) project B, B from x", "S102"),
        ("recur selective(state = 1, rank = 1) project x from x", "S138"),
        ("recur selective(state = 1, rank = 1) project Bee from x", "S101"),
        ("recur selective(state = 1, rank = 1) share low", "S101"),
        ("recur selective(state = 1, rank = 1) share D, D", "S102"),
        ("input x, x recur selective(state = 1, rank = 1)", "S102"),
        ("input z recur selective(state = 1, rank = 1)", "S137"),
        ("recur selectiv(state = 1, rank = 1)", "S101"),
    ],
)
def test_wrong_scans(clauses: str, code: str) -> None:
    text = f"import std.selective grid h, w\nscan s(dim) {{ directions raster {clauses} }}"
    assert [finding.split()[0] for finding in findings(text)] == [code]


@pytest.mark.parametrize("text", ["scan s(dim = 0) {", "scan s(dim, rank = dim / 0 * 0 - 1, other = rnk) {"])
def test_formals_of_scans_are_checked(text: str) -> None:
    found = findings("grid h, w\n" + LEAKY + text + " directions raster recur leaky }")
    assert [finding.split()[0] for finding in found] == (["S101"] if "rnk" in text else ["S134"])


# imports


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "main.scan"


def codes(path: Path) -> list[str]:
    with pytest.raises(ScanError) as caught:
        checked_file(path)
    return [f"{d.code} {d.span}" for d in caught.value.diagnostics]


def test_imported_names_are_unqualified_and_axes_go_by_position(tmp_path: Path) -> None:
    shared = {"lib/mine.scan": "grid a, b\norder zig = walk b, ~a\n" + LEAKY}
    main = 'import "lib/mine.scan"\ngrid h, w\nscan s(dim) { directions zig, reverse(zig) recur leaky }'
    program = checked_file(write(tmp_path, {"main.scan": main, **shared}))
    assert program.orders["zig"].loops == (Whole(1, ""), Whole(0, "~"))
    assert program.axes == ("h", "w")
    assert program.scans["s"].recurrence.name == "leaky"


def test_diamond_and_repeated_imports_are_fine(tmp_path: Path) -> None:
    files = {
        "main.scan": 'import "a.scan" import "b.scan" import "common.scan" import "common.scan" grid h, w order m = a',
        "a.scan": 'import "common.scan" grid h, w order a = reverse(c)',
        "b.scan": 'import "./common.scan" grid h, w order b = flip(c, h)',
        "common.scan": "grid h, w order c = snake",
    }
    assert set(checked_file(write(tmp_path, files)).orders) == {"a", "b", "c", "m"}


def test_an_import_brings_in_only_what_the_file_defines(tmp_path: Path) -> None:
    files = {
        "main.scan": 'import "a.scan"\ngrid h, w\norder m = reverse(c)',
        "a.scan": 'import "c.scan"\ngrid h, w\norder a = c',
        "c.scan": "grid h, w order c = snake",
    }
    assert codes(write(tmp_path, files)) == ["S101 main.scan:3:19"]


def test_users_names_shadow_the_library_whatever_comes_first(tmp_path: Path) -> None:
    own = "recurrence selective { input x  param a  h = exp(-a) * h + x }\n"
    for imports in ('import std.selective import "own.scan"', 'import "own.scan" import std.selective'):
        program = checked_file(write(tmp_path, {"main.scan": imports, "own.scan": own}))
        assert program.recurrences["selective"].formals == ()


def test_own_and_imported_name_clash(tmp_path: Path) -> None:
    files = {"main.scan": 'grid h, w\nimport "a.scan"\norder o = snake', "a.scan": "grid h, w order o = raster"}
    assert codes(write(tmp_path, files)) == ["S102 main.scan:2:1"]


def test_findings_are_shown_in_the_imported_file(tmp_path: Path) -> None:
    files = {
        "main.scan": 'import "lib/a.scan" import "lib/b.scan"\ngrid h, w\norder m = reverse(o)\norder n = reverse(p)',
        "lib/a.scan": "grid h, w\norder o = walk h",
        "lib/b.scan": "grid h, w\nordr p = walk h, w",
    }
    assert codes(write(tmp_path, files)) == ["S114 lib/a.scan:2:11", "S001 lib/b.scan:2:1"]


def test_circles_are_found_at_the_import_that_closes_them(tmp_path: Path) -> None:
    assert codes(write(tmp_path, {"main.scan": 'import "main.scan"'})) == ["S105 main.scan:1:1"]
    files = {"main.scan": 'import "a.scan"', "a.scan": '# back\nimport "main.scan"'}
    assert codes(write(tmp_path, files)) == ["S105 a.scan:2:1"]


@pytest.mark.parametrize("deep, is_fine", [(32, True), (33, False)])
def test_depth_of_imports_is_bounded(tmp_path: Path, deep: int, is_fine: bool) -> None:
    files = {f"f{k}.scan": f'import "f{k + 1}.scan"' for k in range(1, deep)}
    main = write(tmp_path, {"main.scan": 'import "f1.scan"', **files, f"f{deep}.scan": ""})
    if is_fine:
        checked_file(main)
    else:
        assert codes(main) == ["S106 f32.scan:1:1"]


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "../other.scan", "sub/../../other.scan", "C:/x.scan", "sub\\x.scan", "//host/x.scan"]
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, path: str) -> None:
    write(tmp_path, {"other.scan": ""})
    assert codes(write(tmp_path / "here", {"main.scan": f'import "{path}"'})) == ["S104 main.scan:1:1"]


def test_an_imported_file_starts_from_its_own_folder(tmp_path: Path) -> None:
    files = {"main.scan": 'import "sub/a.scan"', "sub/a.scan": 'import "../b.scan"', "b.scan": ""}
    assert codes(write(tmp_path, files)) == ["S104 sub/a.scan:1:1"]


def test_symbolic_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"secret.scan": "grid h, w"})
    main = write(tmp_path / "here", {"main.scan": 'import "link.scan"\nimport "folder/secret.scan"'})
    (main.parent / "link.scan").symlink_to(tmp_path / "secret.scan")
    (main.parent / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert codes(main) == ["S104 main.scan:1:1", "S104 main.scan:2:1"]


def test_a_link_to_itself_and_a_folder_are_findings(tmp_path: Path) -> None:
    main = write(tmp_path, {"main.scan": 'import "loop.scan"\nimport "folder"\nimport ""', "folder/a.scan": ""})
    (tmp_path / "loop.scan").symlink_to(tmp_path / "loop.scan")
    found = codes(main)
    assert [finding.split()[1] for finding in found] == ["main.scan:1:1", "main.scan:2:1", "main.scan:3:1"]
    assert {finding.split()[0] for finding in found} <= {"S103", "S104"}


def test_text_imports_only_the_library() -> None:
    assert "selective" in checked("import std.selective").recurrences
    assert findings('import "mine.scan"\ngrid h, w\norder o = reverse(mine)') == [
        'S107 1:1 cannot import "mine.scan" into a program given as text'
    ]


def test_library_recurrence_is_suggested_with_its_import() -> None:
    with pytest.raises(ScanError) as caught:
        checked("grid h, w scan s(dim) { directions raster recur selective(state = 1, rank = 1) }")
    assert caught.value.diagnostics[0].help == "`import std.selective` brings in `selective`"


# wrong programs near right ones


@given(st.data())
def test_mutated_programs_give_findings_never_a_traceback(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PROGRAMS + EXAMPLES))
    tokens = re.findall(r"#[^\n]*\n|\w+|\s+|.", path.read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        here, there = (data.draw(st.integers(0, len(tokens) - 1)) for _ in range(2))
        match data.draw(st.sampled_from(["drop", "copy", "swap", "number"])):
            case "drop":
                tokens[here] = " "
            case "copy":
                tokens[here] = tokens[there]
            case "swap":
                tokens[here], tokens[there] = tokens[there], tokens[here]
            case _:
                tokens[here] = data.draw(st.sampled_from(["0", "1", "2.5", "99999", "n", "h", "y", "x"]))
    error: ScanError | None = None
    try:
        checked("".join(tokens))
    except ScanError as caught:
        error = caught
    assert error is None or str(error).startswith("error[S")


def test_sizes_are_exact() -> None:
    text = "grid h, w recurrence r(state n) { input x param a[n] h[n] = a[n] * h[n] + x y = sum(n: h[n]) }"
    scan = checked(text + "scan s(dim) { directions raster recur r(state = dim / 3 * 3 + ceil(dim / 4)) }").scans["s"]
    assert evaluate_size(scan.sizes["state"], {"dim": 7}) == 9
