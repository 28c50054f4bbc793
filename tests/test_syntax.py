"""The grammar and the nodes: what is read, where keywords are names, spans, and the place and words of what is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from syntax_checks import WHOLE, parsed

from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.limits import LIMITS
from scanlang.syntax import nodes
from scanlang.syntax.grammar import grammar_text, parser, spellings
from scanlang.syntax.text import make_source, read_source


def findings(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(ScanError) as caught:
        parsed(text)
    return caught.value.diagnostics


def expression(text: str) -> nodes.Expr:
    (item,) = parsed(f"recurrence r() {{ y = {text} }}").items
    assert isinstance(item, nodes.RecurrenceDefinition)
    (equation,) = item.body
    assert isinstance(equation, nodes.Equation)
    return equation.value


def orders(text: str) -> dict[str, nodes.OrderExpr | nodes.GivenOrder]:
    return {item.name: item.value for item in parsed(text).items if isinstance(item, nodes.OrderDefinition)}


def order(text: str) -> nodes.OrderExpr | nodes.GivenOrder:
    return orders(f"order o = {text}")["o"]


def argument(text: str) -> nodes.OrderArgument:
    """The second argument of an order's call."""
    call = order(f"f(o, {text})")
    assert isinstance(call, nodes.OrderCall)
    return call.arguments[1]


def clauses(text: str) -> tuple[nodes.Clause, ...]:
    (scan,) = parsed(f"scan s() {{ {text} }}").items
    assert isinstance(scan, nodes.ScanDefinition)
    return scan.clauses


def test_grammar_is_strict_and_every_terminal_is_named() -> None:
    strict = Lark(grammar_text(), parser="lalr", strict=True, propagate_positions=True)
    assert {terminal.name for terminal in strict.terminals} == {terminal.name for terminal in parser().terminals}
    assert not [terminal.name for terminal in strict.terminals if terminal.name.startswith("__")]
    assert all(re.search(rf"^{terminal.name}(\.1)?: ", grammar_text(), re.MULTILINE) for terminal in strict.terminals)


def test_whole_program() -> None:
    kinds = [type(item).__name__ for item in parsed(WHOLE).items]
    orders = ["OrderDefinition"] * 3 + ["FormulaDefinition"] + ["OrderDefinition"] * 9
    networks = ["BlockDefinition", *["BackboneDefinition"] * 3]
    assert kinds == ["Grid", "Import", "Import", *orders, *networks, *["RecurrenceDefinition"] * 2, *["ScanDefinition"] * 2]


def test_line_ends_mean_nothing() -> None:
    lines = [line.split("#")[0] for line in WHOLE.split("\n")]
    assert parsed(" ".join(lines)) == parsed("\r\n".join(lines)) == parsed("\n\n\t".join(lines)) == parsed(WHOLE)


def test_walk_items() -> None:
    walk = orders(WHOLE)["tiles"]
    assert isinstance(walk, nodes.Walk)
    first, second, third, fourth = walk.items
    assert (first.axis, first.direction, first.by and first.by.span.text, first.start) == ("h", "-", "7", None)
    assert (second.axis, second.direction, second.start and second.start.span.text) == ("w", "~", "2")
    assert (third.axis, third.direction, third.by, third.mod) == ("h", "~~", None, None)
    assert (fourth.axis, fourth.direction) == ("w", "")


def test_every_span_is_the_text_of_its_node() -> None:
    program = parsed(WHOLE)
    recurrence, stabilised, scan, layered = program.items[-4:]
    assert isinstance(recurrence, nodes.RecurrenceDefinition)
    assert isinstance(stabilised, nodes.RecurrenceDefinition)
    assert isinstance(scan, nodes.ScanDefinition)
    assert recurrence.name_span.text == "selective"
    assert recurrence.formals[0].span.text == "state n = 16"
    assert recurrence.body[1].span.text == "shared low[r], B[n], C[n]"
    assert recurrence.body[4].span.text == "dt   = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))"
    assert stabilised.body[1].span.text == "shared q[n] per group units"
    assert stabilised.body[4].span.text == "scale m = max(prev(m) + f, i)"
    assert scan.clauses[3].span.text == "project    low, B from x bias"
    assert scan.span.text.startswith("scan cross(")
    assert scan.span.text.endswith("}")
    assert (scan.span.line, scan.span.column) == (53, 1)
    assert isinstance(layered, nodes.ScanDefinition)
    assert [clause.span.text.split()[0] for clause in layered.clauses] == [
        *("input", "layers", "channels", "recur", "conv", "operands", "back", "label", "share", "use", "use", "uncovered"),
        "merge",
    ]
    assert layered.clauses[6].span.text == "back       writes rows"
    insert = orders(WHOLE)["tokens"]
    assert isinstance(insert, nodes.OrderCall)
    assert [argument.span.text for argument in insert.arguments[2:4]] == ["reg at every 16", "line_end at every w"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a / b * c", "(a / b) * c"),
        ("-a * b", "(-a) * b"),
        ("a - -b", "a - (-b)"),
        ("a // b % c", "(a // b) % c"),
        ("where(a + b < c, a, b)", "where((a + b) < c, a, b)"),
    ],
)
def test_precedence(text: str, same: str) -> None:
    assert expression(text) == expression(same)


def test_numbers() -> None:
    here = parsed("").span
    assert expression("16") == nodes.Number(16, True, span=here)
    assert expression("2.0") == nodes.Number(2.0, False, span=here)
    assert expression("1e-3") == nodes.Number(1e-3, False, span=here)
    assert expression(".5") == expression("0.5") == expression("5e-1")
    assert expression(str(LIMITS.integer)) == nodes.Number(LIMITS.integer, True, span=here)


def test_share_and_merge() -> None:
    shares = "share nothing share all share a, project"
    (scan,) = parsed(f"scan s() {{ {shares} merge sum merge mean merge sum(k: y[k]) }}").items
    assert isinstance(scan, nodes.ScanDefinition)
    nothing, everything, some, total, mean, each = scan.clauses
    assert (nothing, everything) == (nodes.Share(False, span=scan.span), nodes.Share(True, span=scan.span))
    assert isinstance(some, nodes.Share)
    assert [name.name for name in some.names] == ["a", "project"]
    assert (total, mean) == (nodes.Merge("sum", span=scan.span), nodes.Merge("mean", span=scan.span))
    assert isinstance(each, nodes.Merge)
    assert isinstance(each.rule, nodes.Sum)


HERE = parsed("").span


def number(value: int) -> nodes.Number:
    return nodes.Number(value, True, span=HERE)


def named(name: str) -> nodes.OrderName:
    return nodes.OrderName(name, span=HERE)


def name_of(name: str) -> nodes.Name:
    return nodes.Name(name, span=HERE)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("w", named("w")),
        ("every", named("every")),
        ("-3", nodes.Number(-3, True, span=HERE)),
        ('"a b.npy"', nodes.Text("a b.npy", span=HERE)),
        ("every h", nodes.Every("h", span=HERE)),
        ("every window", nodes.Every("window", span=HERE)),
        ("every every", nodes.Every("every", span=HERE)),
        ("outer = snake", nodes.Keyword("outer", named("snake"), span=HERE)),
        ("outer = (a)", nodes.Keyword("outer", named("a"), span=HERE)),
        ("seed = -7", nodes.Keyword("seed", number(-7), span=HERE)),
        ("phase = (1, -2)", nodes.Keyword("phase", nodes.Phase((number(1), number(-2)), span=HERE), span=HERE)),
        ("phase = (1)", nodes.Keyword("phase", nodes.Phase((number(1),), span=HERE), span=HERE)),
        ("cls at head", nodes.TokenAt("cls", "head", span=HERE)),
        ("cls at middle", nodes.TokenAt("cls", "middle", span=HERE)),
        ("at at tail", nodes.TokenAt("at", "tail", span=HERE)),
        ("cls at 7", nodes.TokenAt("cls", "index", number(7), span=HERE)),
        ("every at every 16", nodes.TokenAt("every", "every", number(16), span=HERE)),
        ("cls at every w", nodes.TokenAt("cls", "every", name_of("w"), span=HERE)),
        ("cls at spread 12", nodes.TokenAt("cls", "spread", number(12), span=HERE)),
    ],
)
def test_arguments_of_orders(text: str, meant: nodes.OrderArgument) -> None:
    assert argument(text) == meant
    assert argument(text).span.text == text


def test_an_order_given_at_run_time() -> None:
    assert order("input") == nodes.GivenOrder(span=HERE)
    assert order("(input)") == named("input")


@pytest.mark.parametrize(
    ("text", "rule", "whole_backbone", "choices"),
    [
        ("layers cycle (a, b), (b, a)", "cycle", False, [["a", "b"], ["b", "a"]]),
        ("layers cycle a, (b), (b, a)", "cycle", False, [["a"], ["b"], ["b", "a"]]),
        ("layers list a", "list", False, [["a"]]),
        ("layers cycle global a, b", "cycle", True, [["a"], ["b"]]),
        ("layers cycle (global), global", "cycle", False, [["global"], ["global"]]),
        ("layers list global", "list", False, [["global"]]),
    ],
)
def test_layers(text: str, rule: str, whole_backbone: bool, choices: list[list[str]]) -> None:
    (layers,) = clauses(text)
    assert isinstance(layers, nodes.Layers)
    assert (layers.rule, layers.whole_backbone) == (rule, whole_backbone)
    assert layers.choices == tuple(tuple(map(named, choice)) for choice in choices)


def test_a_walk_is_one_choice_of_layers() -> None:
    (layers,) = clauses("layers list (walk h, w), ((walk w, h), a), (((walk h, ~w)), reverse(walk h, w))")
    assert isinstance(layers, nodes.Layers)
    assert [len(choice) for choice in layers.choices] == [1, 2, 2]


def test_new_clauses() -> None:
    rows = named("rows")
    down = nodes.Use(
        name_of("down"),
        "linear",
        (name_of("dim"), nodes.Actual("bias", name_of("false"), span=HERE)),
        span=HERE,
    )
    text = """channels all channels split channels split 2, 1 conv 4 conv 3 along rows operands low, B along rows
        back writes rows label moves use down = linear(dim, bias = false) use n = norm() uncovered = 0 merge weighted"""
    assert clauses(text) == (
        nodes.Channels(False, span=HERE),
        nodes.Channels(True, span=HERE),
        nodes.Channels(True, (number(2), number(1)), span=HERE),
        nodes.Conv(number(4), span=HERE),
        nodes.Conv(number(3), rows, span=HERE),
        nodes.Along((name_of("low"), name_of("B")), rows, span=HERE),
        nodes.Writes(name_of("back"), rows, span=HERE),
        nodes.Label("moves", span=HERE),
        down,
        nodes.Use(name_of("n"), "norm", (), span=HERE),
        nodes.Uncovered(number(0), span=HERE),
        nodes.Merge("weighted", span=HERE),
    )


@pytest.mark.parametrize("word", ["sum", "mean", "max", "concat", "weighted"])
def test_words_of_merges(word: str) -> None:
    assert clauses(f"merge {word}") == (nodes.Merge(word, span=HERE),)  # type: ignore[arg-type]
    assert clauses(f"merge ({word})") == (nodes.Merge(name_of(word), span=HERE),)


def test_mean_over_cells() -> None:
    y = nodes.Name("y", (name_of("k"),), span=HERE)
    assert clauses("merge mean(cells: y[k])") == (nodes.Merge(nodes.CellMean(y, span=HERE), span=HERE),)
    assert clauses("merge sum(cells: y[k])") == (nodes.Merge(nodes.Sum("cells", y, span=HERE), span=HERE),)


def test_kinds_of_declarations() -> None:
    (recurrence,) = parsed("recurrence r(state n) { input x shared B[n], param shared param T[n] = 1, q param a }").items
    assert isinstance(recurrence, nodes.RecurrenceDefinition)
    kinds = [part.kind for part in recurrence.body if isinstance(part, nodes.Declaration)]
    assert kinds == ["input", "shared", "shared param", "param"]


def test_units_and_scales() -> None:
    *_, recurrence, _, _ = parsed(WHOLE).items
    assert isinstance(recurrence, nodes.RecurrenceDefinition)
    declarations = [part for part in recurrence.body if isinstance(part, nodes.Declaration)]
    assert [None if part.per is None else part.per.span.text for part in declarations] == [None, "group", "2", None]
    equations = [part for part in recurrence.body if isinstance(part, nodes.Equation)]
    assert [(part.name, part.scale) for part in equations] == [("m", True), ("C", False), ("y", False)]
    assert parsed("recurrence r { shared B per # four\n4 units }") == parsed("recurrence r { shared B per 4 units }")
    assert parsed("recurrence r { shared B per 1 unit }") == parsed("recurrence r { shared B per 1 units }")


KEYWORDS = sorted(text for text in spellings().values() if text.isidentifier())


@pytest.mark.parametrize("word", KEYWORDS)
def test_keywords_are_names_where_only_a_name_can_stand(word: str) -> None:
    parsed(f"grid {word}, w order {word} = walk {word} by {word}, w order {word}({word}) = ({word}, -{word})")
    parsed(f"recurrence {word}({word} = {word}, size {word} = {word}) {{ input {word} param {word}[{word}] }}")
    parsed(f"recurrence r() {{ y = {word} * {word}[{word}] - {word}({word}) + sum({word}: {word}) }}")
    parsed(f"scan {word}({word}) {{ recur {word}({word} = {word}) project {word} from {word} merge {word} + {word} }}")


@pytest.mark.parametrize("word", KEYWORDS)
def test_orders_may_be_called_like_a_keyword(word: str) -> None:
    parsed(f"order {word} = f(a, {word}) order o = f(a, {word} at every {word}) order o = f(a, outer = {word})")
    parsed(f"scan s() {{ directions {word}, {word} layers list {word}, (a, {word}) conv 4 along {word} a writes {word} }}")


@pytest.mark.parametrize("word", KEYWORDS)
def test_names_in_clauses_may_be_keywords(word: str) -> None:
    parsed(f"scan s() {{ input {word}, {word} operands {word}, {word} along o share a, {word} share all except {word} }}")
    parsed(f"scan s() {{ use {word} = {word}({word}, {word} = {word}) }}")


@pytest.mark.parametrize("word", KEYWORDS)
def test_equations_may_be_called_like_a_keyword(word: str) -> None:
    parsed(f"recurrence r(state n) {{ input x {word} = x {word}[n] = x shared y {word} = x shared param z {word} = x }}")
    parsed(f"recurrence r() {{ y = 2 {word} = 1.5 {word} = (x) {word} = f() {word} = a[2] {word} = sum(n: x) {word} = x }}")


def test_names_of_a_definition_without_formals() -> None:
    assert parsed("recurrence r { } scan s { recur r }") == parsed("recurrence r() { } scan s() { recur r() }")


@pytest.mark.parametrize(
    ("text", "code", "line", "column", "words"),
    [
        ("grid h, w\nordr x = walk h", "S001", 2, 1, "`order`"),
        ("order x = wlak h, w", "S001", 1, 11, "did you mean `walk`?"),
        ("order x = walk h bye 7", "S001", 1, 18, "`by`"),
        ("order x = walk h byw", "S001", 1, 18, "unexpected `byw`"),
        ("order x = walk h by -7", "S001", 1, 21, "a name or a number"),
        ("order x = walk h by (7)", "S001", 1, 21, "a name or a number"),
        ("order x = walk h, w)", "S001", 1, 20, "unexpected `)`"),
        ("order x = walk h\norder y = walk h w", "S001", 2, 18, "unexpected `w`"),
        ("scan s() { share al }\nscan", "S002", 2, 5, "a name"),
        ("scan s() {\n  directons a\n}", "S001", 2, 3, "did you mean `directions`?"),
        ("recurrence r() { y = a ** 2 }", "S001", 1, 25, "unexpected `*`"),
        ("recurrence r() { y = 1.2.3 }", "S001", 1, 22, "unexpected `1.2.3`"),
        ("recurrence r() {\n  y = (a\n", "S002", 2, 9, "still open"),
        ("order x = (walk h\norder y = walk w", "S001", 2, 1, "still open"),
        ("order a $ b", "S001", 1, 9, "unexpected `$`"),
        ("grid h\x07", "S003", 1, 7, "U+0007"),
        ("grid h\rgrid w", "S003", 1, 7, "U+000D"),
        ("grid h # \u202e", "S003", 1, 10, "U+202E"),
        ("grid h # \ud800", "S003", 1, 10, "U+D800"),
        ("grid ħ", "S003", 1, 6, "`ħ`"),
        ("grid h\ufeff", "S003", 1, 7, "U+FEFF"),
        ("order x = walk h by 2147483648", "S007", 1, 21, "2147483647"),
        ("order x = walk h by " + "9" * 5000, "S007", 1, 21, "2147483647"),
        ("recurrence r() { param p = 1e999 }", "S007", 1, 28, "infinite"),
        ("exp order x = raster", "S001", 1, 1, "`block`, `backbone` or the end of the program"),
        ("block b() { forward x = f(a = 1, x) }", "S015", 1, 34, "has no name"),
        ("recurrence r() { y = f(a = 1) }", "S014", 1, 24, "`f` takes no keywords"),
        ("scan s() { schedule { } }", "S008", 1, 12, "leave it out"),
        ("recurrence r() { let a = 3 }", "S001", 1, 22, "every equation names a value"),
        ("scan s() { merge y[0] < y[1] }", "S009", 1, 23, "`<`"),
        ("recurrence r() { y = where(x, a < b, c) }", "S009", 1, 33, "`<`"),
        ("recurrence r() { y = where(1 + (a < b), a, c) }", "S009", 1, 35, "`<`"),
        ("recurrence r() { y = where(a < b == c, a, c) }", "S010", 1, 28, "chained"),
        ("recurrence r() { input x = 1 }", "S011", 1, 28, "`x` is `input`"),
        ("order x = flip(rows, walk h, w)", "S012", 1, 22, "parentheses"),
        ("scan s() { directions walk -h, w }", "S012", 1, 23, "parentheses"),
        ("scan s() { directions walk h, w }", "S012", 1, 23, "parentheses"),
        ("scan s() { layers cycle walk h, w }", "S012", 1, 25, "parentheses"),
        ("scan s() { layers list (a, walk h, w) }", "S012", 1, 28, "parentheses"),
        ("scan s() { conv 4 along walk h, w }", "S012", 1, 25, "parentheses"),
        ("scan s() { operands x along walk ~h, w }", "S012", 1, 29, "parentheses"),
        ("scan s() { back writes walk h, w }", "S012", 1, 24, "parentheses"),
        ("order x = window(a, 7, 7, outer = walk h, w)", "S012", 1, 35, "parentheses"),
        ("recurrence r() { y = sum(a) }", "S013", 1, 22, "sum(index: expression)"),
        ("recurrence r() { y = max(a: 2) }", "S013", 1, 22, "`max`"),
        ("scan s() { merge mean(y[0]) }", "S013", 1, 18, "write mean(cells: expression)"),
        ("scan s() { merge mean(k: y[k]) }", "S013", 1, 18, "`merge mean`"),
    ],
)
def test_place_and_words(text: str, code: str, line: int, column: int, words: str) -> None:
    first = findings(text)[0]
    assert (first.code, first.span.line, first.span.column) == (code, line, column)
    assert words in str(ScanError([first]))


@pytest.mark.parametrize(
    ("text", "column", "advice"),
    [
        ("order o = window(raster, 7 7)", 28, "a comma before `7`?"),
        ("order o = window(raster, 7x7)", 26, "write `7, 7`"),
        ("order o = window(raster, 7, 7, outer snake)", 38, "write `outer = snake`"),
        ("order o = window(raster, 7, 7, pad: skip)", 35, "write `pad = ...`"),
        ("order o = dilate(raster, 2, phase = (h, 0))", 39, "a phase is made of whole numbers: `phase = (1, 0)`"),
        ("order o = insert(raster, cls middle)", 30, "write `cls at middle`"),
        ("order o = insert(raster, cls head)", 30, "write `cls at head`"),
        ("order o = insert(raster, cls 7)", 30, "write `cls at 7`"),
        ("order o = insert(raster, cls at spread12)", 33, "did you mean `spread 12`?"),
        ("order o = reset(raster every h)", 24, "a comma before `every`?"),
        ("order o = shift(raster, -1 -2)", 28, "a comma before `-`?"),
        ("order o = table(my.npy)", 19, 'write `table("my.npy")`'),
        ("order o = walk h by7, h", 18, "did you mean `by 7`?"),
        ("order o = walk h w", 18, "a comma before `w`?"),
        ("grid h w", 8, "a comma before `w`?"),
        ("scan s() { directions a conv4 recur r() }", 25, "did you mean `conv 4`?"),
        ("scan s() { directions a conv4 along b }", 25, "did you mean `conv 4`?"),
        ("scan s() { directions a b recur r() }", 25, "a comma before `b`?"),
        ("scan s() { directions a recr r() }", 25, "did you mean `recur`?"),
        ("scan s() { channels spilt }", 21, "did you mean `split`?"),
        ("scan s() { layers (a, b) }", 19, "`layers cycle` starts again after the last, `layers list` has one for each layer"),
        ("scan s() { layers cycel (a, b) }", 19, "did you mean `cycle`?"),
        ("scan s() { layers list ((a, b), (c, d)) }", 27, "no parentheses around them all: `list (a, b), (c, d)`"),
        ("scan s() { conv 4 on b }", 19, "did you mean `along`?"),
        ("scan s() { operands low B along raster }", 25, "a comma before `B`, or `along`?"),
        ("scan s() { project a b from x }", 22, "a comma before `b`, or `from`?"),
        ("scan s() { back write rows }", 17, "did you mean `writes`?"),
        ("scan s() { label move }", 18, "did you mean `moves`?"),
        ("scan s() { recur r(state: 4) }", 25, "write `state = ...`"),
        ("recurrence r { shared B per 4 heads h = h }", 31, "write `per 4 units`"),
        ("recurrence r { shared B per unit h = h }", 34, "write `per 1 unit`"),
        ("recurrence r { shared B peer 4 units h = h }", 25, "did you mean `per`?"),
        ("recurrence r { h = prev h + x }", 27, "write `prev(h)`"),
        ("recurrence r { sclae m = h }", 16, "did you mean `scale`?"),
        ("scan s() { merge sum(k y[k]) }", 24, "a colon stands after the index: `sum(k: ...)`"),
        ("scan s() { merge mean(cells y[0]) }", 29, "a colon stands after the index: `mean(cells: ...)`"),
        ("scan s() { projection a from x }", 12, "did you mean `project`?"),
        ("scan s() { recurrence r(state = 4) }", 12, "did you mean `recur`?"),
        ("scan s() { convolution 4 }", 12, "did you mean `conv`?"),
        ("recurrence r { parameter a h = a * h }", 16, "did you mean `param`?"),
    ],
)
def test_advice_after_a_slip(text: str, column: int, advice: str) -> None:
    (finding,) = findings(text)
    assert (finding.code, finding.span.column, finding.help) == ("S001", column, advice)


BETWEEN = "nothing stands between statements; a new line is enough"
OTHERS = "what `{}` says stands right behind it, with no `{}`"


@pytest.mark.parametrize(
    ("text", "found", "advice"),
    [
        ("from std import selective", "from", "write `import std.selective`"),
        ("import 'mine.scan'", "'", "a file name stands in double quotes"),
        ("import std/vim", "/", 'a file of the library is `import std.name`, one of your own `import "std/name.scan"`'),
        ("import std.vim as v", "as", "an import brings in all that its file defines; each has a line of its own"),
        ("import std.vim, std.vil", ",", "an import brings in all that its file defines; each has a line of its own"),
        ("grid: h, w", ":", OTHERS.format("grid", ":")),
        ("order o = walk(h, w)", "(", "no parentheses around the loops of a walk: `walk h, w`"),
        ("order o = reverse raster", "raster", "write `reverse(raster)`"),
        ("order o = walk h, w,\nscan s() { }", "s", "no comma before `scan`"),
        ("grid h, w\ndef f(x)", "def", None),
        ("scan s(dim):\n  conv 4", ":", "braces stand around what belongs to it: `{ ... }`"),
        ("scan s() { directions: a }", ":", OTHERS.format("directions", ":")),
        ("scan s() { directions [a, b] }", "[", OTHERS.format("directions", "[")),
        ("scan s() { merge = sum }", "=", OTHERS.format("merge", "=")),
        ("scan s() { share all but D }", "but", "did you mean `except`?"),
        ("scan s() { recur r(4, 2) }", "4", "sizes are given by their names: `r(state = 4)`"),
        ("scan s() { directions a,\n recur r() }", "r", "no comma before `recur`"),
        ("recurrence r { input: x }", ":", OTHERS.format("input", ":")),
        ("recurrence r(state = 4 n) { }", "n", "the index stands before the default: `state n = 4`"),
        ("recurrence r {\n input x a\n h = a * h }", "h", "a comma before `a`?"),
        ("recurrence r {\n h = a h + x }", "+", "an operator before `h`? A product is `a * h`"),
        ("recurrence r {\n h = a\n y = 2 h }", "}", "an operator before `h`? A product is `2 * h`"),
        ("recurrence r {\n h = f(a) h\n }", "}", "an operator before `h`?"),
        ("recurrence r {\n h = a\n return h }", "h", "the last equation is the output: `y = ...`"),
        ("recurrence r {\n h = a if x > 0 }", "x", "a choice is `where(a < b, yes, no)`"),
        ("recurrence r { h = torch.exp(a) * h }", ".", "functions have no module: `exp(x)`"),
        ("recurrence r { h = a * h, y = h }", ",", BETWEEN),
        ("block b(dim) { n = linear(dim, dim), forward x = n(x) }", ",", BETWEEN),
        ("block b(dim) { n = linear(dim, dim,) forward x = n(x) }", ")", "no comma before `)`"),
        ("block b(dim) { forward x: x }", ":", "write `forward x = ...`"),
        ("block b(dim) { forward x = f(x).mean() }", ".", "nothing has methods: write `mean(cells: ...)`"),
        ("backbone b from a { dim = 3, depth = 2 }", ",", BETWEEN),
    ],
)
def test_advice_for_what_others_write(text: str, found: str, advice: str | None) -> None:
    (finding,) = findings(text)
    assert (finding.code, finding.span.text, finding.help) == ("S001", found, advice)


@pytest.mark.parametrize(
    ("character", "advice"),
    [
        *(("\u2013", "write `-`"), ("\u00d7", "write `*`"), ("\u00b7", "write `*`"), ("\u00f7", "write `/`")),
        *(("\u00a0", "write a space"), ("\u201c", 'write `"`'), ("\u2264", "write `<=`"), ("\u00f6", None)),
    ],
)
def test_signs_that_look_like_those_of_programs(character: str, advice: str | None) -> None:
    (finding,) = findings(f"order a = walk {character}h, w")
    assert (finding.code, finding.help) == ("S003", advice)


def test_a_comma_before_an_equation() -> None:
    (finding,) = findings("recurrence r {\n input x, a,\n h = a * h + x\n}")
    assert (finding.code, finding.help) == ("S011", "no comma before `h`, if that is an equation")
    (finding,) = findings("recurrence r { input x, a = 2 h = a * h + x }")
    assert (finding.code, finding.help) == ("S011", None)


@pytest.mark.parametrize(
    "text",
    [
        "scan s() { directions a grid h, w",
        "scan s() { directions a order b = c",
        "scan s() { recur r recurrence r(state n) { h = h }",
    ],
)
def test_an_item_in_open_braces_shows_the_brace(text: str) -> None:
    (finding,) = findings(text)
    assert (finding.help, [label.text for label in finding.related]) == (None, ["still open"])


def test_findings_of_a_stage_come_together() -> None:
    codes = [finding.code for finding in findings("recurrence r() { input x = 1e999 y = (a < b) + sum(c) }")]
    assert codes == ["S007", "S011", "S009", "S013"]


@pytest.mark.parametrize("opening", ["(", "-", "f(", "a[", "1 + (", "sum(n: ", "where(a < ", "-(", "(-("])
def test_any_nesting_is_a_finding(opening: str) -> None:
    closing = "".join({"(": ")", "[": "]"}.get(letter, "") for letter in reversed(opening))
    for levels in (200, 9_000):
        for finding in findings(f"recurrence r() {{ y = {opening * levels}x{closing * levels} }}"):
            assert finding.code in ("S006", "S005")


@pytest.mark.parametrize("operator", ["+", "*", "-", "//"])
def test_long_chains_are_a_finding(operator: str) -> None:
    chain = operator.join(["x"] * LIMITS.expression_depth)
    assert expression(chain)
    (finding,) = findings(f"recurrence r() {{ y = {chain}{operator}x }}")
    assert finding.code == "S006"


def test_nesting_of_orders_is_a_finding() -> None:
    for opening in ("reverse(", "f(a, outer = g(", "("):
        opened = opening * 300
        assert findings(f"order x = {opened}rows{')' * opened.count('(')}")[0].code == "S006"


def test_long_text_is_a_finding() -> None:
    (finding,) = findings("#" * (LIMITS.text + 1))
    assert (finding.code, finding.span.column) == ("S005", LIMITS.text + 1)


def test_file_is_read_with_any_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.scan"
    path.write_bytes(b"\xef\xbb\xbfgrid h, w\r\norder x = walk h\rorder y = walk w")
    source = read_source(path)
    assert source == make_source(str(path), "grid h, w\norder x = walk h\norder y = walk w")
    assert len(parsed(source.text).items) == 3


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [(b"\xff", 1, 1), (b"grid h\n# \xe9t\xe9", 2, 3), (b"\xff\xfeg\0", 1, 1), ("# é".encode() + b"\xc3", 1, 4)],
)
def test_undecodable_bytes_have_a_place(tmp_path: Path, data: bytes, line: int, column: int) -> None:
    path = tmp_path / "a.scan"
    path.write_bytes(data)
    with pytest.raises(ScanError) as caught:
        read_source(path)
    (finding,) = caught.value.diagnostics
    assert (finding.code, finding.span.line, finding.span.column) == ("S004", line, column)
    assert f"{path}:{line}:{column}" in str(caught.value)


def test_too_long_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.scan"
    path.write_bytes(b"#" * (LIMITS.text + 1))
    with pytest.raises(ScanError) as caught:
        read_source(path)
    assert caught.value.diagnostics[0].code == "S005"


def test_missing_file_is_left_to_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "none.scan")


SIGNS = ("(", ")", "[", "]", "{", "}", ",", "=", "==", "<", ":", "~", "~~", "-", "#", '"', "\x00", "é")
WORDS = (*WHOLE.split(), *SIGNS, *KEYWORDS, "window(", "block", "1e999", "99999999999")


def never_anything_but_findings(text: str) -> None:
    """Either a program, or findings whose text can be shown."""
    shown = ""
    try:
        parsed(text)
    except ScanError as error:
        shown = str(error)
    assert shown == "" or shown.startswith(("error[S0", "error[S16"))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_programs(data: st.DataObject) -> None:
    text = WHOLE
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = start + data.draw(st.sampled_from((0, 1, 2, 5, 40)))
        inserted = data.draw(st.sampled_from(WORDS) | st.text(max_size=3))
        text = text[:start] + data.draw(st.sampled_from(("", " "))) + inserted + text[end:]
    never_anything_but_findings(text)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30))
def test_shuffled_words(words: list[str]) -> None:
    never_anything_but_findings(" ".join(words))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.scan"
    path.write_bytes(data)
    try:
        text = read_source(path).text
    except ScanError as error:
        text = error.diagnostics[0].span.source.text
    never_anything_but_findings(text)
