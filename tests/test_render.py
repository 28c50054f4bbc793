"""The text and the JSON of a finding: gutters, carets under tabs and wide letters, several lines, long lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from scanlang.diagnostics import Diagnostic, Label, ScanError
from scanlang.render import render, to_json
from scanlang.source import Source, Span


@dataclass(frozen=True)
class Example(Diagnostic):
    code: ClassVar[str] = "S201"
    words: str = "why"
    advice: str | None = None
    others: tuple[Label, ...] = ()

    @property
    def title(self) -> str:
        return "order `cols` does not visit every cell exactly once"

    @property
    def label(self) -> str:
        return self.words

    @property
    def help(self) -> str | None:
        return self.advice

    @property
    def related(self) -> tuple[Label, ...]:
        return self.others


def at(text: str, part: str, name: str = "cross.scan") -> Span:
    start = text.index(part)
    return Span(Source(name, text), start, start + len(part))


def body(diagnostic: Diagnostic) -> list[str]:
    """The lines after the title and the place."""
    return render(diagnostic).split("\n")[2:]


def test_the_example_of_the_design() -> None:
    text = "grid h, w\n\norder cols(t) = (t % h, t // w)\n"
    words = "steps 0 and 2 both visit cell (0, 0) when h = 2, w = 3"
    advice = "a column-major order divides by `h`, the length of the axis it walks first"
    assert (
        render(Example(at(text, "(t % h, t // w)"), words, advice))
        == """\
error[S201]: order `cols` does not visit every cell exactly once
 --> cross.scan:3:17
  |
3 | order cols(t) = (t % h, t // w)
  |                 ^^^^^^^^^^^^^^^ steps 0 and 2 both visit cell (0, 0) when h = 2, w = 3
  = help: a column-major order divides by `h`, the length of the axis it walks first"""
    )


def test_gutter_is_as_wide_as_the_largest_number() -> None:
    text = "one\n" * 11 + "two"
    label = Label(Span(Source("cross.scan", text), 0, 3), "first")
    assert render(Example(at(text, "two"), others=(label,), advice="a\nb")).split("\n")[1:] == [
        "  --> cross.scan:12:1",
        "   |",
        "12 | two",
        "   | ^^^ why",
        "  ::: cross.scan:1:1",
        "   |",
        " 1 | one",
        "   | --- first",
        "   = help: a",
        "           b",
    ]


def test_tabs_and_wide_letters_take_their_columns() -> None:
    assert body(Example(at("\tab", "b"))) == ["  |", "1 |     ab", "  |      ^ why"]
    assert body(Example(at("# 漢字 b", "b"))) == ["  |", "1 | # 漢字 b", "  |        ^ why"]


def test_control_characters_are_written_out() -> None:
    assert body(Example(at("a\x1b[31m\x00b", "b"), "\x1b[2J")) == [
        "  |",
        "1 | a\\x1b[31m\\x00b",
        "  |              ^ \\x1b[2J",
    ]


def test_name_of_the_file_cannot_move_the_cursor() -> None:
    assert "\x1b" not in render(Example(at("b", "b", name="\x1b[2J.scan")))


def test_several_lines_show_the_first_and_the_last() -> None:
    text = "merge (a\n  +\n  b) * c\n"
    assert body(Example(at(text, "(a\n  +\n  b)"))) == [
        "  |",
        "1 | merge (a",
        "  |       ^^",
        "...",
        "3 |   b) * c",
        "  |   ^^ why",
    ]


def test_two_lines_have_no_dots() -> None:
    assert body(Example(at("ab\ncd", "b\nc"))) == ["  |", "1 | ab", "  |  ^", "2 | cd", "  | ^ why"]


def test_end_of_the_file() -> None:
    for text, place, shown in (("ab", 2, "1 | ab"), ("ab\n", 3, "2 |"), ("", 0, "1 |")):
        lines = body(Example(Span(Source("cross.scan", text), place, place)))
        assert lines[1] == shown
        assert lines[2].endswith("^ why")


def test_long_line_is_cut_around_the_span() -> None:
    text = "a" * 500 + "HERE" + "b" * 500
    _, line, marks = body(Example(at(text, "HERE")))
    assert len(line) < 140
    assert line.startswith("1 | ...a")
    assert line.endswith("b...")
    assert line.index("HERE") == marks.index("^^^^")
    assert marks.endswith("^^^^ why")


def test_span_longer_than_a_line_shows() -> None:
    _, line, marks = body(Example(at("a" * 500, "a" * 500)))
    assert len(line) < 140
    assert marks.count("^") == 120


def test_windows_line_end_is_not_shown() -> None:
    assert body(Example(at("ab\r\ncd", "b")))[1] == "1 | ab"


def test_colour_changes_nothing_but_the_colour() -> None:
    import re

    example = Example(at("ab", "b"), advice="do", others=(Label(at("ab", "a"), "here"),))
    coloured = render(example, color=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render(example)


def test_json() -> None:
    text = "grid h\norder x = y"
    example = Example(at(text, "y"), others=(Label(at(text, "x"), "here"),), advice="do")
    assert to_json([example]) == {
        "version": 1,
        "findings": [
            {
                "code": "S201",
                "severity": "error",
                "message": "order `cols` does not visit every cell exactly once",
                "label": "why",
                "file": "cross.scan",
                "start": {"line": 2, "column": 11},
                "end": {"line": 2, "column": 12},
                "related": [
                    {
                        "label": "here",
                        "file": "cross.scan",
                        "start": {"line": 2, "column": 7},
                        "end": {"line": 2, "column": 8},
                    }
                ],
                "help": "do",
            }
        ],
    }


def test_exception_shows_every_finding() -> None:
    both = ScanError([Example(at("ab", "a"), "one"), Example(at("ab", "b"), "two")])
    assert str(both).count("error[S201]") == 2
