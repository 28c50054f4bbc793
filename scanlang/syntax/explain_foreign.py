"""What other languages write and this one does not: `from std import …`, `directions: a`, `return y`, `torch.exp(x)`, a comma
at the end of a list, products without a sign.

In: the tokens before the place where a text goes wrong, and the word there. Out: a piece of advice, or nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from re import match

from lark import Token

from scanlang.source import Source, Span
from scanlang.syntax.explain_block import definition_start
from scanlang.syntax.grammar import accepted_at, spellings

_SAYS_MORE = {
    *("INPUT", "SHARED", "PARAM", "DIRECTIONS", "CHANNELS", "RECUR", "PROJECT", "CONV", "OPERANDS", "SHARE", "MERGE"),
    *("GRID", "IMPORT"),
}
"""What these words say stands right behind them."""
_MODULES = ("torch", "np", "numpy", "math", "F", "jnp", "tl")
_DECLARATIONS = {"INPUT", "SHARED", "PARAM"}
_FACTORS = {"NAME", "INTEGER", "FLOAT"}
_BEFORE_NAMES = {
    "return": "the last equation is the output: `y = ...`",
    "if": "a choice is `where(a < b, yes, no)`",
    "else": "a choice is `where(a < b, yes, no)`",
    "for": "a recurrence is one step: the order says what is next",
    "while": "a recurrence is one step: the order says what is next",
}
"""Read as the beginning of an equation."""


@dataclass(frozen=True)
class _Here:
    """`kinds` are those of the tokens; `after` is the text behind what is found."""

    tokens: list[Token]
    kinds: list[str]
    found: str
    after: str
    accepted: frozenset[str]

    @property
    def last(self) -> str:
        return str(self.tokens[-1]) if self.tokens else ""

    def ends_in(self, *kinds: str) -> bool:
        return self.kinds[-len(kinds) :] == list(kinds)


def explain_foreign(source: Source, tokens: list[Token], span: Span) -> str | None:
    """What is surely meant."""
    kinds, accepted = [token.type for token in tokens], accepted_at(source, span.start)
    here = _Here(tokens, kinds, span.text, source.text[span.end :], accepted)
    rules = (_import, _word, _sign, _comma, _call, _default_before_index, _equation)
    return next((advice for rule in rules if (advice := rule(here)) is not None), None)


def _import(here: _Here) -> str | None:
    """`from std import vim`, `import 'mine.scan'`, `import std/vim`, `import std.vim as v`, `import std.vim, std.vil`."""
    words = match(r"\s+(\w+(?:\.\w+)*)\s+import\s+(\w+)", here.after)
    if here.found == "from" and words is not None and "IMPORT" in here.accepted:
        return f"write `import {words[1]}.{words[2]}`"
    if here.found == "'" and "STRING" in here.accepted:
        return "a file name stands in double quotes"
    if here.found == "/" and here.ends_in("IMPORT", "NAME"):
        return f'a file of the library is `import {here.last}.name`, one of your own `import "{here.last}/name.scan"`'
    if here.found in (",", "as") and "IMPORT" in here.kinds[-4:] and here.kinds[-1] in ("NAME", "STRING"):
        return "an import brings in all that its file defines; each has a line of its own"
    return None


def _word(here: _Here) -> str | None:
    """`share all but D`."""
    return "did you mean `except`?" if "EXCEPT" in here.accepted and here.found in ("but", "without") else None


def _sign(here: _Here) -> str | None:
    """`directions: a`, `merge = sum`, `directions [a, b]`, `scan s(dim):`, `walk(h, w)`, `torch.exp(x)`."""
    if here.kinds[-1:] and here.kinds[-1] in _SAYS_MORE and here.found in (":", "=", "["):
        return f"what `{here.last}` says stands right behind it, with no `{here.found}`"
    if here.found == ":" and "LBRACE" in here.accepted:
        return "braces stand around what belongs to it: `{ ... }`"
    if here.found == "(" and here.ends_in("WALK"):
        return "no parentheses around the loops of a walk: `walk h, w`"
    return "functions have no module: `exp(x)`" if here.found == "." and here.last in _MODULES else None


def _comma(here: _Here) -> str | None:
    """`h = a * h,`, `f(x,)`; `directions a,` and a clause below, whose keyword was read as a name."""
    if here.found == "," and here.accepted & {"RBRACE", "FORWARD"}:
        return "nothing stands between statements; a new line is enough"
    if here.found in (")", "]", "}") and here.ends_in("COMMA"):
        return f"no comma before `{here.found}`"
    is_keyword = here.ends_in("COMMA", "NAME") and here.last in spellings().values()
    return f"no comma before `{here.last}`" if is_keyword else None


def _call(here: _Here) -> str | None:
    """`order o = reverse raster`, `recur r(4)`."""
    if here.ends_in("EQUALS", "NAME") and here.accepted >= {"LPAR", "$END"} and here.found.isidentifier():
        return f"write `{here.last}({here.found})`"
    if here.ends_in("RECUR", "NAME", "LPAR") and here.found.isalnum():
        return f"sizes are given by their names: `{here.tokens[-2]}(state = {here.found})`"
    return None


def _default_before_index(here: _Here) -> str | None:
    """`recurrence r(state = 4 n)`."""
    first, depth = definition_start(here.tokens)
    in_formals = first is not None and here.kinds[first] == "RECURRENCE" and depth == 1
    if not in_formals or not here.ends_in("NAME", "EQUALS", "INTEGER") or not here.found.isidentifier():
        return None
    return f"the index stands before the default: `{here.tokens[-3]} {here.found} = {here.last}`"


def _equation(here: _Here) -> str | None:
    """`return h`, `a h + x`, `input x a`: the last name was read as the beginning of an equation."""
    if not here.ends_in("NAME") or not here.accepted <= {"EQUALS", "LSQB"}:
        return None
    if here.last in _BEFORE_NAMES:
        return _BEFORE_NAMES[here.last]
    line = [token for token in here.tokens if token.line == here.tokens[-1].line]
    before = line[-2] if len(line) > 1 else None
    if before is None or before.type not in _FACTORS | {"RSQB", "RPAR"}:
        return None
    if line[0].type in _DECLARATIONS:
        return f"a comma before `{here.last}`?"
    product = f" A product is `{before} * {here.last}`" if before.type in _FACTORS else ""
    return f"an operator before `{here.last}`?{product}"
