"""Text to lark's tree, by grammar.lark. Every text that the grammar does not accept is a finding with its place.

The meaning of the tree is not looked at here; build.py turns it into nodes.
"""

from __future__ import annotations

import re

from lark import ParseTree, UnexpectedCharacters, UnexpectedToken

from scanlang.diagnostics import ScanError
from scanlang.source import Source
from scanlang.syntax.explain_unexpected import explain_unexpected
from scanlang.syntax.grammar import parser
from scanlang.syntax.text import check_text

_WORD_OR_SIGN = re.compile(r"[A-Za-z_0-9.]+|.", re.DOTALL)


def parse_text(source: Source) -> ParseTree:
    """`parse_text(Source("cross.scan", text))`; raises ScanError with the one place where the text goes wrong."""
    check_text(source)
    try:
        return parser().parse(source.text)
    except UnexpectedToken as error:
        at_end = error.token.type == "$END" or error.token.start_pos is None
        start, found = (len(source.text), "") if at_end else (error.token.start_pos or 0, str(error.token))
    except UnexpectedCharacters as error:
        start = error.pos_in_stream or 0
        word = _WORD_OR_SIGN.match(source.text, start)
        found = word[0] if word else ""
    raise ScanError([explain_unexpected(source, start, found)])
