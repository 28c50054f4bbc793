"""Slips in blocks and backbones, and what was probably meant: what stands behind `forward`, a `let` without `in`, lists.

In: the tokens before the place where a text goes wrong, and the word there. Out: a piece of advice, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from re import match
from typing import Literal

from lark import Token

from scanlang.source import Source, Span
from scanlang.syntax.grammar import accepted_at

_DEFINITIONS = {"RECURRENCE", "SCAN", "BLOCK", "BACKBONE"}
_NUMBER_WORDS = ("int", "float", "bool", "number", "size", "flag", "param")
_QUESTIONS = {
    "if": "nothing is chosen here: a formal such as `block mixer = ss2d` leaves it to the caller",
    "for": "a layer is repeated by `name = layer(...) * 3`",
    "while": "a layer is repeated by `name = layer(...) * 3`",
    "return": "what a block makes stands behind `forward x =`",
    "def": "a block is written `block name(dim) { ... }`, beside the others",
    "class": "a block is written `block name(dim) { ... }`, beside the others",
}


@dataclass(frozen=True)
class _Here:
    """`head` is what stands before the braces, formals among it; `forward` what stands behind that word."""

    kind: str
    name: str
    place: Literal["head", "formals", "body", "forward"]
    tokens: list[Token]
    found: str
    after: str
    accepted: frozenset[str]

    @property
    def last(self) -> str:
        return str(self.tokens[-1])

    @property
    def is_word(self) -> bool:
        return self.found.isidentifier()

    @property
    def open_let(self) -> Token | None:
        """The last `let` that has no `in` yet."""
        lets: list[Token] = []
        for token in self.tokens:
            if token.type == "LET":
                lets.append(token)
            elif token.type == "IN" and lets:
                lets.pop()
        return lets[-1] if lets and self.place == "forward" else None


def explain_block(source: Source, tokens: list[Token], span: Span) -> str | None:
    """What is surely meant, in a block or backbone; and where `let` stands in no block."""
    here = _here(source, tokens, span)
    if here is None:
        is_let = (
            bool(tokens)
            and str(tokens[-1]) == "let"
            and span.text.isidentifier()
            and "EQUALS" in accepted_at(source, span.start)
        )
        return f"every equation names a value: `{span.text} = ...`, then `{span.text}` where it is needed" if is_let else None
    rules: dict[str, tuple[Callable[[_Here], str | None], ...]] = {
        "head": (_head,),
        "formals": (_formal, _list),
        "body": (_list, _opened, _statement, _ending, _anywhere),
        "forward": (_list, _opened, _let, _behind, _anywhere),
    }
    return next((advice for rule in rules[here.place] if (advice := rule(here)) is not None), None)


def _here(source: Source, tokens: list[Token], span: Span) -> _Here | None:
    """Where it is; None where that is in no block or backbone."""
    first, depth = definition_start(tokens)
    if first is None or tokens[first].type not in ("BLOCK", "BACKBONE") or len(tokens) < first + 2:
        return None
    inside = tokens[first + 1 :]
    words = [token.type for token in inside]
    place: Literal["head", "formals", "body", "forward"] = "formals" if depth else "head"
    if "LBRACE" in words:
        is_forward = any(one == "FORWARD" and other == "NAME" for one, other in pairwise(words))
        place = "forward" if is_forward else "body"
    accepted = accepted_at(source, span.start)
    kind, name = str(tokens[first]), str(inside[0])
    return _Here(kind, name, place, inside, span.text, source.text[span.end :], accepted)


def definition_start(tokens: list[Token]) -> tuple[int | None, int]:
    """Where the definition begins that the tokens end in, and how many brackets are open there."""
    first: int | None = None
    depth = 0
    for number, token in enumerate(tokens):
        if depth == 0 and token.type in _DEFINITIONS:
            first = number
        depth += (str(token) in "([{") - (str(token) in ")]}")
        if token.type == "RBRACE" and depth == 0:
            first = None
    return first, depth


def _head(here: _Here) -> str | None:
    """`block b(dim):`, `backbone b(dim = 3) from a`, `backbone b extends a`, `backbone b from a(depth = 2)`."""
    base = here.tokens[here.tokens.index(token) + 1] if (token := _token(here, "FROM")) and here.last != "from" else None
    if base is not None and here.found in ("(", ":", "with", "where"):
        return f"what is different stands in braces: `backbone {here.name} from {base} {{ ... }}`"
    if here.found == ":":
        return "braces stand around what a block or backbone is made of: `{ ... }`"
    if here.found == "from" and here.last == ")":
        return f"a variant has the formals of its base: `backbone {here.name} from ... {{ dim = 192 }}`"
    if here.found in ("extends", "of", "like", "is", "=", ":"):
        return f"a variant is written `backbone {here.name} from ...`"
    return None


def _token(here: _Here, kind: str) -> Token | None:
    return next((token for token in here.tokens if token.type == kind), None)


def _formal(here: _Here) -> str | None:
    """`int dim`, `recurrence r`."""
    if not here.is_word or "RPAR" not in here.accepted or here.tokens[-1].type != "NAME":
        return None
    if here.last in _NUMBER_WORDS:
        return f"a formal that is a number has no word before it: `{here.found}`"
    if here.last in ("recurrence", "order", "backbone", "layer", "module"):
        return f"formals are numbers, scans and blocks: `{here.found}`, `scan {here.found}` or `block {here.found}`"
    return None


def _list(here: _Here) -> str | None:
    """`[2, 2, 8, 2]`."""
    if here.found != "[" or "NAME" not in here.accepted:
        return None
    if here.place == "formals":
        return "there are no lists: `depth1 = 2, depth2 = 2`"
    if here.place == "forward":
        return "there are no lists: `concat(x, y)` puts channels side by side"
    return "there are no lists: every layer has a line of its own, and `name = layer(...) * 3` is three of them"


def _opened(here: _Here) -> str | None:
    """A line that begins before the bracket of the line above is closed."""
    opened: list[int] = []
    for number, token in enumerate(here.tokens):
        if str(token) in "([{":
            opened.append(number)
        elif str(token) in ")]}" and opened:
            opened.pop()
    is_start = here.is_word and match(r"\s*=(?!=)", here.after) is not None
    if not is_start or not opened or here.tokens[opened[-1]].type != "LPAR" or here.last in (",", "("):
        return None
    return f"the bracket of `{here.tokens[opened[-1] - 1]}(` is not closed"


def _let(here: _Here) -> str | None:
    """`let y = f(x)` and no `in`."""
    if here.open_let is None or "IN" not in here.accepted:
        return None
    place = next(number for number, token in enumerate(here.tokens) if token is here.open_let)
    name = str(here.tokens[place + 1])
    if here.found == ",":
        return "one after the other: `let y = ... in let z = ... in ...`"
    if here.found == "}":
        return f"a `let` goes on: `let {name} = ... in ...`"
    if here.found in (";", "let", "(") or here.is_word or here.found[:1].isdigit():
        return f"`in` stands before what `{name}` is for: `let {name} = ... in ...`"
    return None


def _behind(here: _Here) -> str | None:
    """What follows `forward x = …`."""
    if here.last == "forward" and here.found == "(":
        return "no parentheses: `forward x = ...`"
    if here.found == ":" and here.tokens[-2].type == "FORWARD" and "EQUALS" in here.accepted:
        return f"write `forward {here.last} = ...`"
    if "RBRACE" not in here.accepted or not here.is_word:
        return None
    if here.found == "forward":
        return "a block has one `forward`; several inputs are `forward x, z = ...`"
    if match(r"\s*=(?!=)", here.after):
        return f"`forward` is the last line of a block: `{here.found} = ...` goes above it"
    return None


def _statement(here: _Here) -> str | None:
    """`return x`, `forward` in a backbone, `feature` in a block, a block in a block."""
    kind = here.tokens[-1].type
    if here.last in ("block", "backbone", "scan", "recurrence", "order") and here.is_word and kind == "NAME":
        return f"a {here.last} stands beside others, in none: close this {here.kind} before it"
    if kind == "FORWARD" and here.kind == "backbone":
        return "a backbone has no `forward`: its layers are applied one after the other, from the top to the bottom"
    if kind == "FORWARD" and here.found == "(":
        return "no parentheses: `forward x = ...`"
    if kind in ("FEATURE", "FEATURES") and here.kind == "block" and here.is_word:
        return f"a block has no features; a backbone says which of its layers are some: `{here.last} name = ...`"
    if here.last == "x" and here.found.isdigit():
        return f"a layer is repeated by `* {here.found}`"
    if here.last == "let" and here.is_word:
        return f"a line gives a name to a number or layer: `{here.found} = ...`"
    return _QUESTIONS.get(here.last) if kind == "NAME" and here.found != "=" else None


def _ending(here: _Here) -> str | None:
    """A block without `forward`."""
    if here.found != "}" or here.kind != "block" or "FORWARD" not in here.accepted:
        return None
    return "a block ends with what it makes of its input: `forward x = ...`"


def _anywhere(here: _Here) -> str | None:
    """`drop_path(0.1)(x)`, `self.fc(x)`, `x.mean()`, `x @ y`, a text in quotes, a comment behind slashes."""
    name = match(r"\w+", here.after)
    if here.found == "(" and here.last == ")":
        return "a layer is made on a line of its own, and called by its name: `skip = drop_path(0.1)`, then `skip(x)`"
    if here.found == "." and name is not None:
        over = "cells: " if name[0] in ("mean", "softmax") else ""
        is_value = here.last.isidentifier() and here.last not in ("self", "nn", "torch", "F")
        call = f"{name[0]}({over}...)" if not is_value else f"{name[0]}({over}{here.last})"
        return f"nothing has methods: write `{call}`"
    if here.found == "@":
        return "there are no products of matrices: `linear(in, out)` is a learned one, a scan mixes cells"
    if here.found.startswith('"'):
        return "names stand without quotation marks"
    if here.found in ("//", "/") and "EQUALS" not in here.accepted and "STAR" not in here.accepted:
        return "a comment begins with `#`"
    return _QUESTIONS.get(here.last) if here.tokens[-1].type == "NAME" and here.found != "=" else None
