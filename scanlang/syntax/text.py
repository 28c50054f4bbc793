"""A program's text before it is parsed: file to `Source`, and the bounds and characters checked on the text itself.

Nothing here knows the grammar, only comments, quoted file names and brackets.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from scanlang.diagnostics import Reporter, ScanError
from scanlang.errors import ForeignCharacter, NestedTooDeeply, NotText, ProgramTooLong
from scanlang.limits import LIMITS
from scanlang.source import Source, Span

_COMMENT_OR_STRING = re.compile(r'#[^\n]*|"[^"\n]*"')
_TOKEN = re.compile(r"[A-Za-z_0-9.]+|[^\s]")
_BRACKET = re.compile(r"[()\[\]{}]")
_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)|(?<!^)\ufeff|[\ud800-\udfff]")
_REORDERING = re.compile(r"[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")

_LOOKALIKES = {
    " ": "\u00a0\u2002\u2003\u2007\u2009\u202f\u3000",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2212",
    "*": "\u00b7\u00d7\u2217\u2299\u22c5",
    "/": "\u00f7\u2215",
    '"': "\u00ab\u00bb\u201c\u201d\u201e",
    "<=": "\u2264",
    ">=": "\u2265",
    "!=": "\u2260",
    ",": "\u3001\uff0c",
    "(": "\uff08",
    ")": "\uff09",
}
"""Signs of programs, and what word processors, papers and other keyboards have for them."""


def make_source(name: str, text: str) -> Source:
    """The text with `\\n` for every line end and without a byte order mark."""
    return Source(name, text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def read_source(path: str | Path, name: str | None = None) -> Source:
    """The text of a file, shown in messages as `name` or else as `path`. OSErrors are the caller's to report."""
    shown = str(path) if name is None else name
    with open(path, "rb") as file:
        return decode_source(shown, file.read(LIMITS.text + 1))


def decode_source(shown: str, data: bytes) -> Source:
    """The text of bytes that need not be text, nor short enough."""
    if len(data) > LIMITS.text:
        source = make_source(shown, data[: LIMITS.text].decode("utf-8", errors="replace"))
        raise ScanError([ProgramTooLong(_end_of(source), LIMITS.text, "bytes")])
    try:
        return make_source(shown, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        readable = make_source(shown, data[: error.start].decode("utf-8"))
        rest = data[error.start :].split(b"\n")[0].decode("utf-8", errors="replace")
        source = Source(shown, readable.text + rest)
        span = Span(source, len(readable.text), len(readable.text) + 1)
        raise ScanError([NotText(span, data[error.start], error.start)]) from None


def _end_of(source: Source) -> Span:
    return Span(source, len(source.text), len(source.text))


def masked(text: str) -> str:
    """The text with comments as spaces and quoted names as underscores, of the same length."""
    return _COMMENT_OR_STRING.sub(lambda found: (" " if found[0][0] == "#" else "_") * len(found[0]), text)


def comment_spans(source: Source) -> tuple[Span, ...]:
    """Every comment of a text that parses, from its `#` to the end of its line."""
    found = (match for match in _COMMENT_OR_STRING.finditer(source.text) if match[0][0] == "#")
    return tuple(Span(source, match.start(), match.start() + len(match[0].rstrip())) for match in found)


def check_text(source: Source) -> None:
    """Raise what is wrong with the text before any grammar: its length, its characters, its depth of brackets."""
    if len(source.text) > LIMITS.text:
        raise ScanError([ProgramTooLong(Span(source, LIMITS.text, LIMITS.text + 1), LIMITS.text, "characters")])
    code = masked(source.text)
    reporter = Reporter()
    _check_characters(source, code, reporter)
    reporter.check()
    _check_tokens(source, code, reporter)
    _check_brackets(source, code, reporter)
    reporter.check()


def _check_characters(source: Source, code: str, reporter: Reporter) -> None:
    """Each foreign character once, where it first stands."""
    rules = (
        (_CONTROL, source.text, "a program is text: only tabs and line ends are allowed of these"),
        (_REORDERING, source.text, "it changes how the text looks on the screen"),
        (_NOT_ASCII, code, "names are made of a to z, A to Z, digits and `_`"),
    )
    seen = {"\ufeff"} if source.text.startswith("\ufeff") else set()
    for pattern, text, reason in rules:
        for match in pattern.finditer(text):
            if match[0] not in seen:
                seen.add(match[0])
                found = Span(source, *match.span())
                reporter.report(ForeignCharacter(found, _described(match[0]), reason, _instead(match[0])))


def _instead(character: str) -> str | None:
    """What a word processor or a paper writes for a sign of programs."""
    sign = next((sign for sign, others in _LOOKALIKES.items() if character in others), None)
    return None if sign is None else "write a space" if sign == " " else f"write `{sign}`"


def _described(character: str) -> str:
    number = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "")
    if character.isprintable():
        return f"the character `{character}` ({number} {name})"
    return f"the character {number} ({name})" if name else f"the control character {number}"


def _check_tokens(source: Source, code: str, reporter: Reporter) -> None:
    for count, match in enumerate(_TOKEN.finditer(code)):
        if count == LIMITS.tokens:
            reporter.report(ProgramTooLong(Span(source, *match.span()), LIMITS.tokens, "words and signs"))
            return


def _check_brackets(source: Source, code: str, reporter: Reporter) -> None:
    depth = 0
    for match in _BRACKET.finditer(code):
        depth += 1 if match[0] in _CLOSED_BY else -1
        if depth > LIMITS.nesting:
            reporter.report(NestedTooDeeply(Span(source, *match.span()), LIMITS.nesting, "brackets"))
            return


def open_bracket(source: Source, end: int) -> Span | None:
    """The innermost bracket before `end` that is not closed there."""
    stack: list[int] = []
    for match in _BRACKET.finditer(masked(source.text)[:end]):
        if match[0] in _CLOSED_BY:
            stack.append(match.start())
        elif stack:
            stack.pop()
    return Span(source, stack[-1], stack[-1] + 1) if stack else None


def closes(opened: str, closing: str) -> bool:
    return _CLOSED_BY.get(opened) == closing
