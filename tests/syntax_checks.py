"""Texts read into syntax trees, for tests."""

from __future__ import annotations

from scanlang.source import Source
from scanlang.syntax import nodes
from scanlang.syntax.build import build_syntax
from scanlang.syntax.parse import parse_text


def parsed(text: str) -> nodes.Program:
    source = Source("t.scan", text)
    return build_syntax(parse_text(source), source)
