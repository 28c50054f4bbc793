"""Which program of the library has which network. In: nothing; out: names, without torch and without checking a program."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from scanlang.library import backbone_programs, library_source
from scanlang.syntax.build import build_syntax
from scanlang.syntax.nodes import BackboneDefinition
from scanlang.syntax.parse import parse_text


@cache
def backbone_names() -> Mapping[str, str]:
    """The program of every network: `{"vim_tiny": "backbones.vim", …}`."""
    found: dict[str, str] = {}
    for program in backbone_programs():
        source = library_source(program)
        items = build_syntax(parse_text(source), source).items
        found |= {item.name: program for item in items if isinstance(item, BackboneDefinition)}
    return MappingProxyType(found)
