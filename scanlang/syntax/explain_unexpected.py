"""From the place where a text stops following the grammar to the finding that says it best.

In: the place and what stands there. Out: one diagnostic; the first of the rules that knows the mistake writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from re import escape, fullmatch, match, search

from lark import Token

from scanlang.diagnostics import Diagnostic
from scanlang.errors import BareWalk, NotSupportedYet, UnexpectedEnd, UnexpectedText
from scanlang.source import Source, Span
from scanlang.syntax.build_expression import token_span
from scanlang.syntax.explain_block import definition_start, explain_block
from scanlang.syntax.explain_foreign import explain_foreign
from scanlang.syntax.explain_slip import explain_gap, explain_slip
from scanlang.syntax.grammar import accepted_at, spellings, tokens_before
from scanlang.syntax.later import LATER_KEYWORDS
from scanlang.syntax.never import refusal
from scanlang.syntax.text import closes, open_bracket

_WORDS = {"NAME": "a name", "STRING": "a file name in quotes", "$END": "the end of the program"}
_NUMBERS = {"INTEGER", "FLOAT"}
_BEFORE_NUMBERS = {"CONV", "SPLIT", "BY", "MOD", "EVERY", "SPREAD"}
_OPERATORS = {"PLUS", "MINUS", "STAR", "SLASH", "TWO_SLASHES", "PERCENT"}
_COMPARISONS = {"LESS", "AT_MOST", "GREATER", "AT_LEAST", "EQUAL", "NOT_EQUAL"}
_ITEMS = ("grid", "import", "order", "recurrence", "scan", "block", "backbone")
_CLAUSES = {
    *("DIRECTIONS", "LAYERS", "CHANNELS", "RECUR", "PROJECT", "CONV"),
    *("OPERANDS", "LABEL", "SHARE", "USE", "UNCOVERED", "MERGE"),
}
_NAMES_ELSEWHERE = {
    "recurrence": _CLAUSES | {"FEATURE", "FEATURES", "FORWARD", "IN"},
    "block": _CLAUSES | {"INPUT", "SHARED", "PARAM", "SCALE", "FEATURE", "FEATURES", "IN"},
    "backbone": _CLAUSES | {"INPUT", "SHARED", "PARAM", "SCALE", "FORWARD", "IN"},
}
"""Keywords that begin a statement of a definition only as its name."""
_BEFORE_WALKS = ("directions", ",", "=", "along", "writes", "cycle", "global", "list")
_LONGEST_QUOTE = 40
_SHORTEST_BEGINNING = 4


def explain_unexpected(source: Source, start: int, found: str) -> Diagnostic:
    """`found` is the word or sign at `start`, empty at the end of the text. The text before `start` is accepted."""
    tokens = tokens_before(source, start)
    span = Span(source, start, start + len(found))
    if _follows_no_direction(source, span):
        span = token_span(tokens.pop(), source)
    return (
        _slip(source, tokens, span)
        or _never(source, tokens, span)
        or _later(source, tokens, span)
        or _bare_walk(source, tokens, span)
        or (None if not span.text else _misspelt(source, tokens, span))
        or (_end(source, tokens) if not span.text else _otherwise(source, tokens, span))
    )


def _otherwise(source: Source, tokens: list[Token], span: Span) -> UnexpectedText:
    return _unexpected(source, span, explain_foreign(source, tokens, span) or explain_gap(source, tokens, span))


def _follows_no_direction(source: Source, span: Span) -> bool:
    """After a name where a clause begins: read as the direction of `back writes rows`, whatever it was to be."""
    return accepted_at(source, span.start) == {"WRITES"} and not _close_keyword(span.text, {"WRITES"})


def _slip(source: Source, tokens: list[Token], span: Span) -> UnexpectedText | None:
    advice = explain_block(source, tokens, span) or explain_slip(source, tokens, span)
    return _unexpected(source, span, advice) if advice else None


def _never(source: Source, tokens: list[Token], span: Span) -> Diagnostic | None:
    """`tree mst`, `predecessors left`: a word that means no scan along orders, here or just before, no order of the file."""
    before = [token_span(tokens[-1], source)] if tokens and tokens[-1].type == "NAME" and span.text[:1].isalnum() else []
    words = [word for word in (*before, span) if not search(rf"\border\s+{escape(word.text)}\b", source.text)]
    return next((found for word in words if (found := refusal(word.text, word)) is not None), None)


def _later(source: Source, tokens: list[Token], span: Span) -> NotSupportedYet | None:
    """Constructs of later versions: their keyword here, or just before a second name."""
    if span.text in LATER_KEYWORDS and not _is_name(tokens, "="):
        return NotSupportedYet(span, f"`{span.text}`", LATER_KEYWORDS[span.text])
    if _is_name(tokens, *LATER_KEYWORDS) and span.text[:1].isalnum():
        return NotSupportedYet(token_span(tokens[-1], source), f"`{tokens[-1]}`", LATER_KEYWORDS[str(tokens[-1])])
    return None


def _is_name(tokens: list[Token], *texts: str) -> bool:
    return bool(tokens) and str(tokens[-1]) in texts


def _bare_walk(source: Source, tokens: list[Token], span: Span) -> BareWalk | None:
    starts_item = span.text in ("-", "~", "~~") or span.text[:1].isidentifier()
    if not starts_item or not _is_name(tokens, "walk") or tokens[-1].type != "NAME":
        return None
    walk = token_span(tokens[-1], source)
    listed = {"WALK", "FLOAT", "NAME"} & accepted_at(source, walk.start) == {"NAME"}
    return BareWalk(walk) if listed and len(tokens) > 1 and str(tokens[-2]) in _BEFORE_WALKS else None


def _misspelt(source: Source, tokens: list[Token], span: Span) -> UnexpectedText | None:
    """A keyword with a slip, here or as the name just before a text that cannot follow a name."""
    is_item = span.text in _ITEMS and match(r"[^\n]*\{", source.text[span.end :]) is not None
    here = None if is_item else _close_keyword(span.text, _keywords_at(source, span.start))
    if here:
        return UnexpectedText(span, quoted(span.text), _expected(source, span), f"did you mean `{here}`?")
    if not tokens or tokens[-1].type != "NAME":
        return None
    before = token_span(tokens[-1], source)
    meant = _close_keyword(before.text, _keywords_at(source, before.start))
    return UnexpectedText(before, f"`{before.text}`", (f"`{meant}`",), f"did you mean `{meant}`?") if meant else None


def _close_keyword(word: str, accepted: Iterable[str]) -> str | None:
    """`conv` for `cnov` and `convolution`, `conv 4` for `conv4`."""
    left = set(accepted)
    keywords = {text: name for name, text in spellings().items() if name in left and text.isidentifier()}
    joined = fullmatch("([a-z]+)([0-9]+)", word)
    if joined and keywords.get(joined[1]) in _BEFORE_NUMBERS:
        return " ".join(joined.groups())
    longer = [keyword for keyword in sorted(keywords) if len(keyword) >= _SHORTEST_BEGINNING and word.startswith(keyword)]
    close = (longer if word.isalpha() else None) or get_close_matches(word.lower(), sorted(keywords), n=1, cutoff=0.7)
    return close[0] if word.isidentifier() and close else None


def _end(source: Source, tokens: list[Token]) -> UnexpectedEnd:
    end = (tokens[-1].end_pos or 0) if tokens else 0
    words = in_user_words(_keywords_at(source, len(source.text)))
    return UnexpectedEnd(Span(source, end, end), words, open_bracket(source, len(source.text)))


def _unexpected(source: Source, span: Span, suggestion: str | None) -> UnexpectedText:
    opened = open_bracket(source, span.start)
    mismatch = span.text in (")", "]", "}") and opened is not None and not closes(opened.text, span.text)
    is_open = mismatch or (opened is not None and span.text in _ITEMS)
    advice = (None if is_open else suggestion) or _advice(span.text)
    return UnexpectedText(span, quoted(span.text), _expected(source, span), advice, opened if is_open else None)


def _expected(source: Source, span: Span) -> tuple[str, ...]:
    return in_user_words(_keywords_at(source, span.start))


def _advice(found: str) -> str | None:
    if found == '"':
        return "a file name ends with a quotation mark on the same line"
    if found == ";":
        return "nothing stands between statements; a new line is enough"
    if found[:1].isdigit() and not found.isdigit():
        return "a number ends before a letter; a name cannot begin with a digit"
    return None


def quoted(text: str) -> str:
    return f"`{text}`" if len(text) <= _LONGEST_QUOTE else f"`{text[: _LONGEST_QUOTE - 3]}...`"


def _keywords_at(source: Source, start: int) -> set[str]:
    """What is accepted, but as a name only: of equations, layers, and the direction that `writes`."""
    left = set(accepted_at(source, start))
    if left >= _CLAUSES and "SHARED" not in left:
        return left - {"NAME"}
    if "SHARED" not in left:
        return left
    tokens = tokens_before(source, start)
    first, _ = definition_start(tokens)
    return left - _NAMES_ELSEWHERE.get("" if first is None else str(tokens[first]), _CLAUSES)


def in_user_words(accepted: Iterable[str]) -> tuple[str, ...]:
    """Terminals as words for the user: operators and numbers as one, keywords and signs in backquotes."""
    left = set(accepted)
    words = [word for name, word in _WORDS.items() if name in left and name != "$END"]
    if left & _NUMBERS:
        words.append("a number")
    if "STAR" in left:
        words.append("an operator")
        left -= _OPERATORS | _COMPARISONS
    words += [f"`{text}`" for name, text in spellings().items() if name in left]
    return (*words, *(_WORDS["$END"] for _ in left & {"$END"}))
