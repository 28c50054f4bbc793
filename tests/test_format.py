"""`fmt`: what is read back is the same program, formatting twice changes nothing, no comment is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies_syntax import programs
from syntax_checks import parsed

from scanlang.diagnostics import ScanError
from scanlang.syntax import nodes
from scanlang.syntax.format import format_program, format_text

slow_strategy = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

ROOT = Path(__file__).parent.parent
UNTIDY = """\


# top
  # second
grid h, # axis one
  w # axis two


order a = walk h, # in
  w by 4 from 2
# about b
order longer = (walk w, h) # trail
recurrence f(state n) { # opening
  # inside
  input x input z

  y = (x - (x - z)) * (-(x*x)) # y
  zed[n] = where((x < 1), 1e-3, .5) # zed
  # last
}
scan s {
   # only a comment
}
# tail"""

TIDY = """\
# top
# second
# axis one
grid h, w  # axis two

# in
order a = walk h, w by 4 from 2
# about b
order longer = walk w, h  # trail

recurrence f(state n) {  # opening
  # inside
  input x
  input z

  y      = (x - (x - z)) * -(x * x)  # y
  zed[n] = where(x < 1, 1e-3, .5)    # zed
  # last
}

scan s() {
  # only a comment
}
# tail
"""


def test_style() -> None:
    assert format_text(UNTIDY) == TIDY


def test_formatting_twice_changes_nothing() -> None:
    assert format_text(TIDY) == TIDY


def test_program_stays_the_same() -> None:
    assert parsed(TIDY) == parsed(UNTIDY)


def test_empty_program() -> None:
    assert format_text("") == ""
    assert format_text("\n\n  # alone\n\n") == "# alone\n"


def test_windows_line_ends_and_byte_order_mark() -> None:
    assert format_text("\ufeffgrid h, w\r\n# end\r\n") == "grid h, w\n# end\n"


def test_wrong_text_is_a_finding() -> None:
    with pytest.raises(ScanError):
        format_text("grid grid grid")


@pytest.mark.parametrize(
    "text", ["a - (b - c)", "a / (b * c)", "-(a + b)", "-(a * b)", "(a + b) * c", "a % (b // c)", "(-(a + b) - c) * d"]
)
def test_parentheses_that_matter_stay(text: str) -> None:
    assert format_text(f"recurrence r() {{ y = {text} }}") == f"recurrence r() {{\n  y = {text}\n}}\n"


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("((a - b)) - c", "a - b - c"),
        ("(-a) * b", "-a * b"),
        ("-(-a)", "--a"),
        ("a + (-b)", "a + -b"),
        ("f((a + b))", "f(a + b)"),
        ("sum(n: (a + b))", "sum(n: a + b)"),
        ("(a * b) + (c / d)", "a * b + c / d"),
    ],
)
def test_parentheses_that_do_not_matter_go(text: str, tidy: str) -> None:
    assert format_text(f"recurrence r() {{ y = {text} }}") == f"recurrence r() {{\n  y = {tidy}\n}}\n"


def test_walks_have_parentheses_among_orders_only() -> None:
    text = "scan s() { directions (walk h,w), reverse((walk -h,~w)), flip((walk h,~~w), h) }"
    assert "directions (walk h, w), reverse(walk -h, ~w), flip((walk h, ~~w), h)\n" in format_text(text)


def test_clauses_are_aligned() -> None:
    text = """scan s { input x,z layers cycle (a,b),(c) , (walk h,w),((walk w,h),a) channels split 2,1 conv 4 operands
        B ,x along (walk h,w) back writes rows label moves use g=linear(dim,dim//4,bias=false) uncovered=0 merge ( max ) }"""
    assert (
        format_text(text)
        == """\
scan s() {
  input     x, z
  layers    cycle (a, b), c, (walk h, w), ((walk w, h), a)
  channels  split 2, 1
  conv      4
  operands  B, x along (walk h, w)
  back      writes rows
  label     moves
  use       g = linear(dim, dim // 4, bias = false)
  uncovered = 0
  merge     (max)
}
"""
    )


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("window((raster),7,7,outer=((walk h,~w)),pad=skip)", "window(raster, 7, 7, outer = (walk h, ~w), pad = skip)"),
        ("dilate(raster,2,phase=( 1,- 1))", "dilate(raster, 2, phase = (1, -1))"),
        ("insert((walk h,w),cls at middle,a at  7,b at every w)", "insert((walk h, w), cls at middle, a at 7, b at every w)"),
        ("reset(columns,every  window)", "reset(columns, every window)"),
        ('table("a,  b.npy")', 'table("a,  b.npy")'),
        ("(input)", "(input)"),
        ("input", "input"),
    ],
)
def test_orders(text: str, tidy: str) -> None:
    assert format_text(f"order o={text}") == f"order o = {tidy}\n"


def test_a_choice_called_global_stays_a_choice() -> None:
    text = "scan s() { layers cycle (global), global layers cycle global (global) layers list global }"
    assert "cycle (global), global\n" in format_text(text)
    assert "cycle global (global)\n" in format_text(text)
    assert parsed(format_text(text)) == parsed(text)


@slow_strategy
@given(programs)
def test_parse_after_format_is_the_program(program: nodes.Program) -> None:
    assert parsed(format_program(program)) == program


@slow_strategy
@given(programs, st.data())
def test_comments_anywhere_are_kept_and_formatting_is_stable(program: nodes.Program, data: st.DataObject) -> None:
    """The text is torn at its blanks: line ends, blank lines and comments are put between its words."""
    words = format_program(program).split()
    glue = st.sampled_from((" ", " ", "\n", "\n\n\n", " # c{}\n", "\n  # c{}\n", "\n\n# c{} # \n\n"))
    torn = "".join(word + data.draw(glue).format(number) for number, word in enumerate(words))
    comments = re.findall(r"# c\d+(?: #)?", torn)
    written = format_text(torn)
    assert parsed(written) == program
    assert sorted(re.findall(r"# c\d+(?: #)?", written)) == sorted(comments)
    assert format_text(written) == written


SHIPPED = sorted(path for folder in ("examples", "scanlang/std", "tests/programs") for path in (ROOT / folder).glob("*.scan"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_programs_are_formatted(path: Path) -> None:
    assert format_text(path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8")


def test_long_lists_of_directions_go_on_in_the_next_line() -> None:
    windows = [f"window(raster, {n}000, {n}000, pad = decay)" for n in range(1, 6)]
    text = format_text(f"scan s(dim) {{ directions {', '.join(windows)} recur r channels split }}")
    _, *directions, recur, channels, _ = text.splitlines()
    assert [line.strip().removeprefix("directions").strip().rstrip(",") for line in directions] == [
        ", ".join(windows[:2]),
        ", ".join(windows[2:4]),
        windows[4],
    ]
    assert {len(line) - len(line.lstrip()) for line in directions} == {2, len("  directions ")}
    assert [recur, channels] == ["  recur      r()", "  channels   split"]
    assert format_text(text) == text
