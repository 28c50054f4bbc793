"""The grammar and the nodes: what is read, where keywords are names, spans, and the place and words of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from syntax_checks import parsed

from scanlang.diagnostics import Diagnostic, ScanError
from scanlang.limits import LIMITS
from scanlang.syntax import nodes
from scanlang.syntax.grammar import grammar_text, parser
from scanlang.syntax.text import make_source, read_source

WHOLE = """\
# VMamba's four-corner cross-scan
grid h, w
import std.selective
import "mine.scan"

order rows    = walk h, w          # outer loop first: row-major
order tiles   = walk -h by 7, ~w by 4 from 2, ~~h, w
order phases  = walk h mod 2, w mod k, h, w
order cols(t) = (t % h, t // h)
order both    = flip((walk h, w), h)

recurrence selective(state n = 16, rank r) {
  input  x
  shared low[r], B[n], C[n]
  param  dt_weight[r], dt_bias = inv_softplus(loguniform(1e-3, 1e-1)), A_log[n] = log(n + 1), D = 1
  dt   = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))
  h[n] = exp(-exp(A_log[n]) * dt) * h[n] + dt * B[n] * x
  y    = sum(n: C[n] * h[n]) + where(x >= 0, D * x, 0)
}

scan cross(dim, rank = ceil(dim / 16)) {
  input x, z
  directions rows, (walk h, w), reverse(rows), reverse(walk w, h)
  recur      selective(state = 1, rank = rank)
  project    low, B from x bias
  project    C from z
  share      all except A_log
  merge      (y[0] + y[1]) * silu(z) / 2
}
"""


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


def test_grammar_is_strict_and_every_terminal_is_named() -> None:
    strict = Lark(grammar_text(), parser="lalr", strict=True, propagate_positions=True)
    assert {terminal.name for terminal in strict.terminals} == {terminal.name for terminal in parser().terminals}
    assert not [terminal.name for terminal in strict.terminals if terminal.name.startswith("__")]
    assert all(f"\n{terminal.name}: " in grammar_text() for terminal in strict.terminals)


def test_whole_program() -> None:
    kinds = [type(item).__name__ for item in parsed(WHOLE).items]
    orders = ["OrderDefinition"] * 3 + ["FormulaDefinition", "OrderDefinition"]
    assert kinds == ["Grid", "Import", "Import", *orders, "RecurrenceDefinition", "ScanDefinition"]


def test_line_ends_mean_nothing() -> None:
    lines = [line.split("#")[0] for line in WHOLE.split("\n")]
    assert parsed(" ".join(lines)) == parsed("\r\n".join(lines)) == parsed("\n\n\t".join(lines)) == parsed(WHOLE)


def test_walk_items() -> None:
    order = parsed(WHOLE).items[4]
    assert isinstance(order, nodes.OrderDefinition)
    assert isinstance(order.value, nodes.Walk)
    first, second, third, fourth = order.value.items
    assert (first.axis, first.direction, first.by and first.by.span.text, first.start) == ("h", "-", "7", None)
    assert (second.axis, second.direction, second.start and second.start.span.text) == ("w", "~", "2")
    assert (third.axis, third.direction, third.by, third.mod) == ("h", "~~", None, None)
    assert (fourth.axis, fourth.direction) == ("w", "")


def test_every_span_is_the_text_of_its_node() -> None:
    program = parsed(WHOLE)
    recurrence, scan = program.items[-2:]
    assert isinstance(recurrence, nodes.RecurrenceDefinition)
    assert isinstance(scan, nodes.ScanDefinition)
    assert recurrence.name_span.text == "selective"
    assert recurrence.formals[0].span.text == "state n = 16"
    assert recurrence.body[1].span.text == "shared low[r], B[n], C[n]"
    assert recurrence.body[3].span.text == "dt   = softplus(dt_bias + sum(r: dt_weight[r] * low[r]))"
    assert scan.clauses[3].span.text == "project    low, B from x bias"
    assert scan.span.text.startswith("scan cross(")
    assert scan.span.text.endswith("}")
    assert (scan.span.line, scan.span.column) == (21, 1)


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


@pytest.mark.parametrize("word", ["grid", "import", "order", "scan", "walk", "by", "from", "mod", "input", "param"])
def test_keywords_are_names_where_only_a_name_can_stand(word: str) -> None:
    parsed(f"grid {word}, w order {word} = walk {word} by {word}, w order {word}({word}) = ({word}, -{word})")
    parsed(f"recurrence {word}({word} {word} = {word}) {{ input {word} param {word}[{word}] }}")
    parsed(f"recurrence r() {{ y = {word} * {word}[{word}] - {word}({word}) + sum({word}: {word}) }}")
    parsed(f"scan {word}({word}) {{ recur {word}({word} = {word}) project {word} from {word} merge {word} + {word} }}")


@pytest.mark.parametrize("word", ["input", "shared", "param", "directions", "recur", "project", "share", "merge"])
def test_equations_may_be_called_like_a_keyword(word: str) -> None:
    parsed(f"recurrence r(state n) {{ input x {word} = x {word}[n] = x shared y {word} = x }}")


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
        ("order a @ b", "S001", 1, 9, "unexpected `@`"),
        ("grid h\x07", "S003", 1, 7, "U+0007"),
        ("grid h\rgrid w", "S003", 1, 7, "U+000D"),
        ("grid h # \u202e", "S003", 1, 10, "U+202E"),
        ("grid h # \ud800", "S003", 1, 10, "U+D800"),
        ("grid ħ", "S003", 1, 6, "`ħ`"),
        ("grid h\ufeff", "S003", 1, 7, "U+FEFF"),
        ("order x = walk h by 2147483648", "S007", 1, 21, "2147483647"),
        ("order x = walk h by " + "9" * 5000, "S007", 1, 21, "2147483647"),
        ("recurrence r() { param p = 1e999 }", "S007", 1, 28, "infinite"),
        ("backbone vim { }", "S008", 1, 1, "not in this version of the language: `backbone`"),
        ("scan s() { layers cycle (a, b) }", "S008", 1, 12, "`layers`"),
        ("scan s() { directions a conv 4 along seq }", "S008", 1, 25, "`conv`"),
        ("scan s() { recur r() channels split }", "S008", 1, 22, "`channels`"),
        ("scan s() { merge weighted }", "S008", 1, 18, "`merge weighted`"),
        ("recurrence r(head p) { }", "S008", 1, 14, "`head`"),
        ("recurrence r() { scale m = max(a, m) }", "S008", 1, 18, "`scale`"),
        ("recurrence r() { shared B[n] per 4 units }", "S008", 1, 30, "`per`"),
        ("recurrence r() { y = prev(y) }", "S008", 1, 22, "`prev`"),
        ("order x = insert(o, cls at middle)", "S008", 1, 11, "`insert`"),
        ("order x = reset(o, every h)", "S008", 1, 11, "`reset`"),
        ("order x = shift(o, -1, 2)", "S008", 1, 11, "`shift`"),
        ('order x = table("a.npy")', "S008", 1, 11, "`table`"),
        ("order x = rotate(o, 90)", "S008", 1, 11, "`rotate`"),
        ("order x = input", "S008", 1, 11, "`input`"),
        ("order x = reverse(hilbert)", "S008", 1, 19, "`hilbert`"),
        ("scan s() { merge y[0] < y[1] }", "S009", 1, 23, "`<`"),
        ("recurrence r() { y = where(x, a < b, c) }", "S009", 1, 33, "`<`"),
        ("recurrence r() { y = where(1 + (a < b), a, c) }", "S009", 1, 35, "`<`"),
        ("recurrence r() { y = where(a < b == c, a, c) }", "S010", 1, 28, "chained"),
        ("recurrence r() { input x = 1 }", "S011", 1, 28, "`x` is `input`"),
        ("order x = flip(rows, walk h, w)", "S012", 1, 22, "parentheses"),
        ("scan s() { directions walk -h, w }", "S012", 1, 23, "parentheses"),
        ("recurrence r() { y = sum(a) }", "S013", 1, 22, "sum(index: expression)"),
        ("recurrence r() { y = max(a: 2) }", "S013", 1, 22, "`max`"),
    ],
)
def test_place_and_words(text: str, code: str, line: int, column: int, words: str) -> None:
    first = findings(text)[0]
    assert (first.code, first.span.line, first.span.column) == (code, line, column)
    assert words in str(ScanError([first]))


def test_a_named_order_of_later_can_be_the_users_own() -> None:
    parsed("order diagonal = walk h, w order x = reverse(diagonal)")
    parsed('import "mine.scan" order x = reverse(diagonal)')


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
    assert findings(f"order x = {'reverse(' * 300}rows{')' * 300}")[0].code == "S006"


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
WORDS = (*WHOLE.split(), *SIGNS, "by", "from", "window(", "block", "conv", "1e999", "99999999999")


def never_anything_but_findings(text: str) -> None:
    """Either a program, or findings whose text can be shown."""
    shown = ""
    try:
        parsed(text)
    except ScanError as error:
        shown = str(error)
    assert shown == "" or shown.startswith("error[S0")


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
