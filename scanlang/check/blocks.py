"""The blocks of a file: every name in them resolved, what they call inside them, to come along when they are imported.

In: definitions as written, and the scans and blocks that the file can name. Out: a `CheckedBlock` each, or None after findings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from scanlang.check.findings import Findings
from scanlang.check.forward import ForwardChecker
from scanlang.check.layer_calls import Thing
from scanlang.check.network_formals import check_formals
from scanlang.check.network_layers import Statements
from scanlang.check.network_parts import nesting
from scanlang.check.network_scope import Scope, Things
from scanlang.check.program import (
    Callee,
    CheckedBlock,
    CheckedLayer,
    CheckedScan,
    FormalCallee,
    NetworkFormal,
    Word,
)
from scanlang.diagnostics import Reporter
from scanlang.errors import ContainsItself, ReservedName, TooMany
from scanlang.limits import LIMITS
from scanlang.networks.vocabulary import NUMBER_FUNCTIONS, RAMP
from scanlang.syntax.nodes import BlockDefinition

Found = TypeVar("Found")


@dataclass
class BlockResolver:
    """Resolves the blocks of one file. `others` are its scans, and what it imports; None for one with findings of its own.

    `chain` holds the blocks that are being resolved, each of which calls the next.
    """

    definitions: Mapping[str, BlockDefinition]
    others: Mapping[str, CheckedScan | CheckedBlock | None]
    backbones: frozenset[str]
    names_complete: bool
    reporter: Reporter
    resolved: dict[str, CheckedBlock | None] = field(default_factory=dict)
    chain: list[str] = field(default_factory=list)

    @cached_property
    def things(self) -> Things:
        own = dict.fromkeys(self.definitions, "block")
        others = {name: "block" if isinstance(thing, CheckedBlock) else "scan" for name, thing in self.others.items()}
        return Things(
            own | {name: kind for name, kind in others.items() if name not in own},
            self.find,
            self.backbones,
            self.names_complete,
        )

    def find(self, name: str) -> Thing | None:
        return self.define(name) if name in self.definitions else self.others[name]

    def define(self, name: str) -> CheckedBlock | None:
        """The block that this file defines under `name`."""
        if name in self.resolved:
            return self.resolved[name]
        definition = self.definitions[name]
        if name in self.chain:
            around = (*self.chain[self.chain.index(name) :], name)
            self.reporter.report(ContainsItself(self.definitions[around[0]].name_span, "block", around))
            self.resolved.update(dict.fromkeys(around))
            return None
        if len(self.chain) >= LIMITS.block_depth:
            self.reporter.report(TooMany(definition.name_span, "blocks inside each other", LIMITS.block_depth))
            self.resolved[name] = None
            return None
        self.chain.append(name)
        block = self._checked(definition)
        self.chain.pop()
        return self.resolved.setdefault(name, block)

    def _checked(self, definition: BlockDefinition) -> CheckedBlock | None:
        findings = Findings(self.reporter)
        if definition.name in (*NUMBER_FUNCTIONS, RAMP):
            findings.report(ReservedName(definition.name_span, "a block", definition.name, "it is a function of numbers"))
        scope = Scope(self.things, findings, in_backbone=False)
        formals = check_formals(definition.formals, scope)
        statements = Statements(scope, defaults_of(formals))
        checked = [statements.check(item) for item in definition.statements]
        layers = {
            item.name: found if isinstance(found, CheckedLayer) else None
            for item, found in zip(definition.statements, checked, strict=True)
            if scope.kinds.get(item.name) == "layer"
        }
        ForwardChecker(scope, layers).check(definition.forward)
        block = CheckedBlock(
            name=definition.name,
            formals=all_there(formals),
            statements=all_there(checked),
            inputs=tuple(name.name for name in definition.forward.inputs),
            body=definition.forward.body,
            span=definition.name_span,
        )
        if findings.none and nesting(block) > LIMITS.block_depth:
            findings.report(TooMany(definition.name_span, "blocks inside each other", LIMITS.block_depth))
        return block if findings.none else None


def defaults_of(formals: list[NetworkFormal | None]) -> dict[str, Callee]:
    """Those of kind scan and block."""
    kinds = (CheckedScan, CheckedBlock, Word, FormalCallee)
    return {f.name: f.default for f in formals if f is not None and isinstance(f.default, kinds)}


def all_there(things: list[Found | None]) -> tuple[Found, ...]:
    """Those without findings."""
    return tuple(thing for thing in things if thing is not None)
