"""Findings as text with carets, or as JSON.

In: diagnostics. Out: `render` gives the lines a person reads, in ASCII but for the user's own text; `to_json` what a
tool reads. Columns are counted in characters; the carets stand under what a terminal shows (tabs, wide letters).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from scanlang.diagnostics import Diagnostic
from scanlang.source import Source, Span

_TAB = 4
_WIDEST = 120
_BEFORE_SPAN = 40


def render(diagnostic: Diagnostic, color: bool = False) -> str:
    """`render(error.diagnostics[0])`: title, place with carets, related places, help; no final newline."""
    paint = _Paint(color)
    parts = [(diagnostic.span, diagnostic.label), *((label.span, label.text) for label in diagnostic.related)]
    gutter = max(len(str(_last_line(span))) for span, _ in parts)
    title = paint.strong(f": {_one_line(diagnostic.title)}")
    lines = [paint.error(f"error[{diagnostic.code}]") + title]
    for number, (span, text) in enumerate(parts):
        lines += _snippet(span, _one_line(text), gutter, paint, is_related=number > 0)
    if diagnostic.help is not None:
        first, *more = diagnostic.help.split("\n")
        lines.append(f"{' ' * gutter} {paint.gutter('=')} help: {printable(first)}")
        lines += [f"{' ' * gutter}         {printable(line)}" for line in more]
    return "\n".join(line.rstrip() for line in lines)


def to_json(diagnostics: Iterable[Diagnostic]) -> dict[str, Any]:
    """`{"version": 1, "findings": [...]}`; lines and columns from 1, the end just after the last character."""
    return {"version": 1, "findings": [_finding(diagnostic) for diagnostic in diagnostics]}


def _finding(diagnostic: Diagnostic) -> dict[str, Any]:
    return {
        "code": diagnostic.code,
        "severity": "error",
        "message": diagnostic.title,
        "label": diagnostic.label,
        **_place(diagnostic.span),
        "related": [{"label": label.text, **_place(label.span)} for label in diagnostic.related],
        "help": diagnostic.help,
    }


def _place(span: Span) -> dict[str, Any]:
    start, end = (span.source.position(offset) for offset in (span.start, max(span.start, span.end)))
    return {
        "file": span.source.name,
        "start": {"line": start[0], "column": start[1]},
        "end": {"line": end[0], "column": end[1]},
    }


@dataclass(frozen=True)
class _Paint:
    """ANSI colours, or nothing."""

    on: bool

    def _in(self, codes: str, text: str) -> str:
        return f"\x1b[{codes}m{text}\x1b[0m" if self.on and text else text

    def error(self, text: str) -> str:
        return self._in("1;31", text)

    def strong(self, text: str) -> str:
        return self._in("1", text)

    def gutter(self, text: str) -> str:
        return self._in("1;34", text)


def printable(text: str) -> str:
    """The text with what a terminal would obey written out."""
    return "".join(map(_shown, text))


def _one_line(text: str) -> str:
    return printable(" ".join(text.split("\n")))


def _shown(character: str) -> str:
    if character == "\t":
        return " " * _TAB
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def _width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return 2
    return len(_shown(character))


def _columns(text: str) -> int:
    return sum(map(_width, text))


def _snippet(span: Span, text: str, gutter: int, paint: _Paint, is_related: bool) -> Iterator[str]:
    pad = " " * gutter
    bar = paint.gutter("|")
    arrow = paint.gutter(":::" if is_related else "-->")
    yield f"{pad}{arrow} {printable(str(span))}"
    yield f"{pad} {bar}"
    pieces = list(_pieces(span))
    previous = pieces[0].line
    for piece in pieces:
        if piece.line > previous + 1:
            yield "..."
        previous = piece.line
        shown, offset, length = _fitted(span.source, piece)
        mark = ("-" if is_related else "^") * length
        last = text if piece is pieces[-1] else ""
        yield f"{paint.gutter(str(piece.line).rjust(gutter))} {bar} {shown}"
        yield f"{pad} {bar} {' ' * offset}{paint.gutter(mark) if is_related else paint.error(mark)} {last}"


@dataclass(frozen=True)
class _Piece:
    """Characters `start` to `end` of a line, counted from 0."""

    line: int
    start: int
    end: int


def _last_line(span: Span) -> int:
    return span.source.position(max(span.start, span.end - 1))[0]


def _pieces(span: Span) -> Iterator[_Piece]:
    """The first and the last line of a span; one piece if they are the same."""
    line, column = span.source.position(span.start)
    last = _last_line(span)
    if line == last:
        yield _Piece(line, column - 1, column - 1 + max(span.end - span.start, 1))
        return
    yield _Piece(line, column - 1, len(span.source.line(line)))
    text = span.source.line(last)
    yield _Piece(last, len(text) - len(text.lstrip()), span.source.position(span.end - 1)[1])


def _fitted(source: Source, piece: _Piece) -> tuple[str, int, int]:
    """The line cut to a readable width around the piece, and where its marks start and how many there are."""
    text = source.line(piece.line)
    first, last = 0, len(text)
    if _columns(text) > _WIDEST:
        first = max(0, min(piece.start - _BEFORE_SPAN, len(text) - _WIDEST))
        last = min(len(text), first + _WIDEST)
    before = "..." if first else ""
    after = "..." if last < len(text) else ""
    offset = len(before) + _columns(text[first : piece.start])
    length = max(1, _columns(text[piece.start : min(piece.end, last)]))
    return before + printable(text[first:last]) + after, offset, length
