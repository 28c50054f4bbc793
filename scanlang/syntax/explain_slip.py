"""Slips in one construct, and what was probably meant: a token without `at`, a forgotten comma, colon or equals sign, what
other languages and papers write.

In: the tokens before the place where a text goes wrong, and the word there. Out: a piece of advice, or nothing.
"""

from __future__ import annotations

from re import fullmatch, match

from lark import Token

from scanlang.source import Source, Span
from scanlang.syntax.grammar import accepted_at, spellings
from scanlang.syntax.text import open_bracket

_PLACES = ("head", "middle", "tail", "every", "spread")
_OPTIONS = {"outer": "outer = snake", "pad": "pad = skip", "phase": "phase = (1, 0)"}
_STARTS = ("(", "-", "~", "~~")
_ALONG = ("on", "in", "over", "by")


def explain_slip(source: Source, tokens: list[Token], span: Span) -> str | None:
    """What is surely meant."""
    if not tokens or not span.text:
        return None
    accepted = accepted_at(source, span.start)
    last = str(tokens[-1]) if tokens[-1].type == "NAME" else ""
    before = _before_bracket(source, tokens, span)
    after = source.text[span.end :]
    return (
        (_equals(last, span.text) if last and "EQUALS" in accepted else None)
        or (_token(last, span.text) if last and before[-1:] == ["insert"] else None)
        or (_index(before, last) if last and "COLON" in accepted and span.text != "," else None)
        or (_quotes(last, span.text) if before[-1:] == ["table"] else None)
        or (_sizes(span.text) if accepted & {"INTEGER", "COMMA"} else None)
        or (_along(span.text) if "ALONG" in accepted else None)
        or (_units(str(tokens[-1])) if accepted == {"UNIT", "UNITS"} else None)
        or (_previous(tokens) if "EQUALS" in accepted else None)
        or (_brackets(before) if span.text == "," else None)
        or (_power(tokens, span.text, after) if span.text in ("*", "^") else None)
        or (_in_place(source, tokens, span) if accepted <= {"EQUALS", "LSQB"} and after.startswith("=") else None)
        or (_subscript(last, span.text, after, "EQUALS" in accepted) if last else None)
    )


def _equals(last: str, found: str) -> str | None:
    """`pad: skip`, `outer snake`."""
    if found == ":":
        return f"write `{last} = ...`"
    return f"write `{_OPTIONS[last]}`" if last in _OPTIONS and found[0].isalnum() else None


def _token(last: str, found: str) -> str | None:
    """`cls middle`, `cls 7`."""
    return f"write `{last} at {found}`" if found in _PLACES or found.isdigit() else None


def _index(before: list[str], last: str) -> str | None:
    """`sum(k y[k])`."""
    return f"a colon stands after the index: `{before[-1]}({last}: ...)`" if before[-1] in ("sum", "mean") else None


def _quotes(last: str, found: str) -> str | None:
    """`table(my.npy)`."""
    return f'write `table("{last}.npy")`' if last and found.startswith(".") else None


def _sizes(found: str) -> str | None:
    """`7x7`."""
    sizes = fullmatch("([0-9]+)[xX]([0-9]+)", found)
    return f"write `{sizes[1]}, {sizes[2]}`" if sizes else None


def _along(found: str) -> str | None:
    """`conv 4 on raster`."""
    return "did you mean `along`?" if found in _ALONG else None


def _units(size: str) -> str:
    """`per 4 heads`, `per unit`."""
    return "write `per 1 unit`" if size in ("unit", "head", "group") else f"write `per {size} units`"


def _previous(tokens: list[Token]) -> str | None:
    """`prev h + x`."""
    is_call = len(tokens) > 2 and str(tokens[-2]) == "prev" and tokens[-3].type not in ("COMMA", "NAME", "RSQB")
    return f"write `prev({tokens[-1]})`" if is_call else None


def _brackets(before: list[str]) -> str | None:
    """`phase = (h, 0)`, `layers cycle ((a, b), (c, d))`."""
    if before[-2:] == ["phase", "="]:
        return "a phase is made of whole numbers: `phase = (1, 0)`"
    if len(before) > 1 and before[-1] == "(" and before[-2] in ("cycle", "list", "global"):
        return f"no parentheses around them all: `{before[-2]} (a, b), (c, d)`"
    return None


def _power(tokens: list[Token], found: str, after: str) -> str | None:
    """`x ** 2`, `x^2`."""
    base = tokens[:-1] if found == "*" else tokens
    if not base or (found == "*" and tokens[-1].type != "STAR"):
        return None
    factor, exponent = str(base[-1]) if base[-1].type == "NAME" else "a", match(r"\s*([234])(?![\w.])", after)
    product = " * ".join([factor] * (int(exponent[1]) if exponent else 2))
    return f"write `{product}`" if exponent and factor != "a" else f"a power is a product: `{product}`"


def _in_place(source: Source, tokens: list[Token], span: Span) -> str | None:
    """`h += x`, `h[n] *= a`."""
    if span.text not in ("+", "-", "*", "/"):
        return None
    names = [token for token in tokens if token.type == "NAME"]
    opened = tokens[-1].type == "RSQB" and max(i for i, token in enumerate(tokens) if token.type == "LSQB")
    first = tokens[opened - 1] if opened else names[-1] if names else None
    if first is None or first.start_pos is None:
        return None
    left = " ".join(source.text[first.start_pos : span.start].split())
    return f"write `{left} = {left} {span.text} ...`"


def _subscript(last: str, found: str, after: str, is_left: bool) -> str | None:
    """`h_{t-1}`, `h'`; `is_left`: of an equation."""
    name = last.rstrip("_")
    if found == "'" and name and not is_left:
        return f"the value at the step before is `prev({name})`"
    if found != "{" or not name or not last.endswith("_") or (step := match(r"\s*t\s*(-\s*1)?\s*\}", after)) is None:
        return None
    return f"the value at the step before is `prev({name})`" if step[1] else f"the value at this step is `{name}`"


def _before_bracket(source: Source, tokens: list[Token], span: Span) -> list[str]:
    """The words before the innermost open parenthesis."""
    opened = open_bracket(source, span.start)
    if opened is None or opened.text != "(":
        return []
    return [str(token) for token in tokens if (token.start_pos or 0) < opened.start]


def explain_gap(source: Source, tokens: list[Token], span: Span) -> str | None:
    """What may be missing before a word that is no slip of another."""
    if tokens and tokens[-1].type == "LAYERS":
        return "`layers cycle` starts again after the last, `layers list` has one for each layer"
    accepted = accepted_at(source, span.start)
    is_new_line = bool(tokens) and "\n" in source.text[tokens[-1].end_pos or 0 : span.start]
    if is_new_line and "$END" in accepted:
        return None
    if "COMMA" not in accepted or "PLUS" in accepted or _kind(span.text) not in accepted_at(source, span.start, ", "):
        return None
    keyword = [spellings()[name] for name in ("ALONG", "FROM") if name in accepted and "RBRACE" not in accepted]
    return f"a comma before `{span.text}`{''.join(f', or `{word}`' for word in keyword)}?"


def _kind(text: str) -> str:
    """The terminal that a text would be as part of a list."""
    if text in _STARTS:
        return next(name for name, spelling in spellings().items() if spelling == text)
    return "INTEGER" if text.isdigit() else "NAME" if text.isidentifier() else ""
