"""What the names in a block or backbone mean: its formals, numbers and layers, and the scans and blocks of the file.

In: declarations, one after the other. Out: what a name is; findings for names that are taken or reserved.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from scanlang.check.findings import Findings
from scanlang.check.layer_calls import Thing
from scanlang.check.module_names import ARGUMENTS, taken_by_modules
from scanlang.check.program import FormalCallee, Word
from scanlang.errors import DuplicateName, ReservedName
from scanlang.networks.vocabulary import FUNCTIONS, LAYERS, NUMBER_FUNCTIONS, RAMP
from scanlang.source import Span

FLAGS = ("true", "false")
OVER_CELLS = ("mean", "max", "softmax")
CALLED = frozenset({*FUNCTIONS, *OVER_CELLS})
"""The functions of `forward`."""

Kind = Literal["number", "scan", "block", "layer"]


@dataclass(frozen=True)
class Things:
    """The scans and blocks that a file can name. `find` gives None for one with findings, `kinds` says `scan` or `block` of
    each without a look inside."""

    kinds: Mapping[str, str]
    find: Callable[[str], Thing | None]
    backbones: frozenset[str]
    complete: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.kinds)


@dataclass
class Scope:
    """`kinds` and `spans` of the names that were declared so far."""

    things: Things
    findings: Findings
    in_backbone: bool
    kinds: dict[str, Kind] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    formals: set[str] = field(default_factory=set)

    def declare_formal(self, name: str, kind: Literal["number", "scan", "block"], span: Span) -> None:
        reason = self._reserved(name)
        if keyword.iskeyword(name):
            reason = "Python reserves this word"
        elif self.in_backbone and name in ARGUMENTS:
            reason = "`create_model` takes an argument of that name"
        if reason is not None:
            self.findings.report(ReservedName(span, "a formal", name, reason))
        self.formals.add(name)
        self._declare(name, kind, span)

    def declare_number(self, name: str, span: Span) -> None:
        reason = self._reserved(name)
        if reason is not None:
            self.findings.report(ReservedName(span, "a number", name, reason))
        self._declare(name, "number", span)

    def declare_layer(self, name: str, span: Span) -> None:
        reason = self._reserved(name) or taken_by_modules(name, self.in_backbone)
        if reason is not None:
            self.findings.report(ReservedName(span, "a layer", name, reason))
        self._declare(name, "layer", span)

    def _declare(self, name: str, kind: Kind, span: Span) -> None:
        """Of a name that is given twice, lines below mean the later."""
        if name in self.spans:
            self.findings.report(DuplicateName(span, "name", name, self.spans[name]))
        self.kinds[name] = kind
        self.spans.setdefault(name, span)

    def _reserved(self, name: str) -> str | None:
        if name in FLAGS:
            return "it is a flag"
        if name in CALLED or name in NUMBER_FUNCTIONS or name == RAMP:
            return "it is a function"
        return None

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(name for name, kind in self.kinds.items() if kind == "number")

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(name for name, kind in self.kinds.items() if kind == "layer")

    def is_callee(self, name: str) -> bool:
        """Whether a statement can call it, to make a layer."""
        return self.formal_kind(name) is not None or name in self.things.kinds or name in LAYERS

    def formal_kind(self, name: str) -> Literal["scan", "block"] | None:
        """What a formal stands for, if it is one that stands for a scan or block."""
        kind = self.kinds.get(name) if name in self.formals else None
        return kind if kind == "scan" or kind == "block" else None

    def callee(self, name: str) -> FormalCallee | Thing | None:
        """What `is_callee` says is there; None if that has findings of its own."""
        if self.formal_kind(name) is not None:
            return FormalCallee(name)
        return self.things.find(name) if name in self.things.kinds else Word(name)

    @property
    def callable_names(self) -> tuple[str, ...]:
        formals = (name for name in self.formals if self.formal_kind(name) is not None)
        return (*sorted(formals), *self.things.names, *LAYERS)


def kind_of(scope: Scope, name: str) -> str | None:
    """`scan`, `block`, `layer`, `number`, `backbone`: what a name is, for a message."""
    if name in scope.kinds:
        return scope.kinds[name]
    if name in scope.things.kinds:
        return scope.things.kinds[name]
    if name in LAYERS:
        return "layer"
    return "backbone" if name in scope.things.backbones else None
