"""The lark parser of grammar.lark, made on first use, and what it can say about a place in a text."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

import lark.lexer
from lark import Lark, Token
from lark.lark import PostLex

from scanlang.source import Source


@cache
def grammar_text() -> str:
    return resources.files("scanlang.syntax").joinpath("grammar.lark").read_text(encoding="utf-8")


class WholeWords(PostLex):
    """Has the lexer look for names everywhere, so that `bye` is never the keyword `by` and a name `e`."""

    always_accept = ("NAME",)

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        return stream


@cache
def parser() -> Lark:
    """Made without lark's comparison of all terminals, which takes most of a start-up; a test makes it once."""
    compares = lark.lexer.has_interegular
    try:
        lark.lexer.has_interegular = False
        return Lark(grammar_text(), parser="lalr", propagate_positions=True, keep_all_tokens=True, postlex=WholeWords())
    finally:
        lark.lexer.has_interegular = compares


@cache
def spellings() -> dict[str, str]:
    """How each terminal of fixed text is written: `ORDER` → `order`."""
    fixed = {terminal.name: terminal.pattern.value for terminal in parser().terminals if terminal.pattern.type == "str"}
    return {**fixed, "PER": "per"}


def tokens_before(source: Source, end: int) -> list[Token]:
    """The tokens of the text up to a place that it parses to."""
    return list(parser().parse_interactive(source.text[:end]).iter_parse())


@lru_cache(maxsize=8)
def accepted_at(source: Source, end: int, more: str = "") -> frozenset[str]:
    """The names of the terminals that could follow the text up to `end`, and `more` after it."""
    interactive = parser().parse_interactive(source.text[:end] + more)
    interactive.exhaust_lexer()
    return frozenset(interactive.accepts())  # type: ignore[no-untyped-call]
